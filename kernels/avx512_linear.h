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

/* Sixteen codes; `outside` is the mask of those that were clamped. */
static inline __m128i encode_16(__m512 x, const grid *g, __mmask16 *outside)
{
    __m512 code = unclamped(x, g), kept = clamped(code, g);
    *outside = _mm512_cmp_ps_mask(code, kept, _CMP_NEQ_UQ);
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(kept));
}

/* The line a store will meet a KiB later: a store that finds it gone holds up those behind it. */
static inline void ask_for_room(const uint8_t *codes)
{
    _mm_prefetch((const char *)((uintptr_t)codes + 1024), _MM_HINT_T0);
}

/* n elements on one grid whose scale is not 0; returns how many were clamped. While they are coded,
 * as many from `next` on are asked for: memory would be idle otherwise. */
static inline size_t encode_run(const float *x, size_t n, const grid *g, uint8_t *codes,
                                const float *next)
{
    size_t outside = 0, i = 0;
    for (; n - i >= 16; i += 16) {
        __mmask16 out;
        _mm_prefetch((const char *)(next + i), _MM_HINT_T1);
        ask_for_room(codes + i);
        _mm_storeu_si128((void *)(codes + i), encode_16(_mm512_loadu_ps(x + i), g, &out));
        outside += (size_t)__builtin_popcount(out);
    }
    if (i < n) {
        __mmask16 m = first_of_16(n - i), out;
        __m128i c = encode_16(_mm512_maskz_loadu_ps(m, x + i), g, &out);
        _mm_mask_storeu_epi8(codes + i, m, c);
        outside += (size_t)__builtin_popcount(out & m);
    }
    return outside;
}

/* Up to sixteen values. */
static inline void decode_some(const uint8_t *codes, size_t n, const grid *g, float *y)
{
    __mmask16 m = first_of_16(n);
    __m512i code = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(m, codes));
    _mm512_mask_storeu_ps(y, m, decoded(code, g));
}

QK_INLINE void decode_run(const uint8_t *codes, size_t n, const grid *g, float *y, bool past)
{
    size_t i = before_line(y, n, past);
    if (i > 0) {
        decode_some(codes, i, g, y);
    }
    for (; n - i >= 16; i += 16) {
        __m512i code = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(codes + i)));
        prefetch_ahead(codes + i, past);
        put_16(y + i, decoded(code, g), past);
    }
    if (i < n) {
        decode_some(codes + i, n - i, g, y + i);
    }
}

#endif
#endif
