/* SPDX-License-Identifier: Apache-2.0 */
/* avx512vnni_override.c - what the avx512vnni level has of its own. */
#include "kernels/avx512.h"

bool qk_override_avx512vnni(qk_table *t)
{
#if defined(QK_HAS_AVX512VNNI)
#define QK_OP(op, cls) t->op = qk_##op##_avx512vnni;
#include "kernels/avx512vnni.def"
#undef QK_OP
    (void)t;
    return true;
#else
    (void)t;
    return false;
#endif
}
