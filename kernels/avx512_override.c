/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_override.c - what the avx512 level has of its own. */
#include "kernels/avx512.h"

bool qk_override_avx512(qk_table *t)
{
#if defined(QK_HAS_AVX512)
#define QK_OP(op, cls) t->op = qk_##op##_avx512;
#include "kernels/avx512.def"
#undef QK_OP
    (void)t;
    return true;
#else
    (void)t;
    return false;
#endif
}
