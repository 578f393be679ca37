/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_override.c - what the AVX2 level has of its own. */
#include "kernels/avx2.h"

bool qk_override_avx2(qk_table *t)
{
#if defined(QK_HAS_AVX2)
#define QK_OP(op, cls) t->op = qk_##op##_avx2;
#include "kernels/kernels.def"
#undef QK_OP
    return true;
#else
    (void)t;
    return false;
#endif
}
