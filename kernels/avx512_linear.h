/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_linear.h - one register of the even grid: the steps of scalar_linear.c in its order. */
#ifndef QUANT_KERNELS_AVX512_LINEAR_H
#define QUANT_KERNELS_AVX512_LINEAR_H

#include "kernels/avx512.h"

#if defined(QK_HAS_AVX512)

typedef struct grid {
    __m512 scale, zero, lowest, highest;
    __m512i zero_int;
} grid;

static inline grid grid_of(qk_linear p)
{
    grid g = {_mm512_set1_ps(p.scale), _mm512_set1_ps((float)p.zero),
              _mm512_set1_ps((float)p.lowest), _mm512_set1_ps((float)p.highest),
              _mm512_set1_epi32(p.zero)};
    return g;
}

static inline __m512 unclamped(__m512 x, const grid *g)
{
    __m512 steps = _mm512_roundscale_ps(_mm512_div_ps(x, g->scale),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_add_ps(steps, g->zero);
}

static inline __m512 clamped(__m512 code, const grid *g)
{
    return _mm512_min_ps(_mm512_max_ps(code, g->lowest), g->highest);
}

static inline __m512 decoded(__m512i code, const grid *g)
{
    __m512 steps = _mm512_cvtepi32_ps(_mm512_sub_epi32(code, g->zero_int));
    return _mm512_add_ps(_mm512_mul_ps(g->scale, steps), _mm512_setzero_ps());
}

#endif
#endif
