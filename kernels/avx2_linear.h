/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_linear.h - one register of the even grid: the steps of scalar_linear.c in its order. */
#ifndef QUANT_KERNELS_AVX2_LINEAR_H
#define QUANT_KERNELS_AVX2_LINEAR_H

#include "kernels/avx2.h"

#if defined(QK_HAS_AVX2)

typedef struct grid {
    __m256 scale, zero, lowest, highest;
    __m256i zero_int;
} grid;

static inline grid grid_of(qk_linear p)
{
    grid g = {_mm256_set1_ps(p.scale), _mm256_set1_ps((float)p.zero),
              _mm256_set1_ps((float)p.lowest), _mm256_set1_ps((float)p.highest),
              _mm256_set1_epi32(p.zero)};
    return g;
}

static inline __m256 unclamped(__m256 x, const grid *g)
{
    __m256 steps = _mm256_round_ps(_mm256_div_ps(x, g->scale),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm256_add_ps(steps, g->zero);
}

static inline __m256 clamped(__m256 code, const grid *g)
{
    return _mm256_min_ps(_mm256_max_ps(code, g->lowest), g->highest);
}

static inline __m256 decoded(__m256i code, const grid *g)
{
    __m256 steps = _mm256_cvtepi32_ps(_mm256_sub_epi32(code, g->zero_int));
    return _mm256_add_ps(_mm256_mul_ps(g->scale, steps), _mm256_setzero_ps());
}

#endif
#endif
