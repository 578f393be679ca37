/* SPDX-License-Identifier: Apache-2.0 */
/* avx512vbmi_override.c - what the avx512vbmi level has of its own. */
#include "kernels/avx512.h"

bool qk_override_avx512vbmi(qk_table *t)
{
#if defined(QK_HAS_AVX512VBMI)
#define QK_OP(op, cls) t->op = qk_##op##_avx512vbmi;
#include "kernels/avx512vbmi.def"
#undef QK_OP
    (void)t;
    return true;
#else
    (void)t;
    return false;
#endif
}
