/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_convert.c - 16-bit floats. The conversion to f16 agrees with the specification but for
 * NaN, whose payload it keeps: those are replaced before it sees them. The bf16 instruction of some
 * processors flushes subnormals and is of no use here. */
#include "kernels/avx512.h"

#if defined(QK_HAS_AVX512)

static inline __m256i f16_of(__m512 x)
{
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    __m512 plain = _mm512_or_ps(_mm512_and_ps(x, _mm512_set1_ps(-0.0f)),
                                _mm512_castsi512_ps(_mm512_set1_epi32(0x7fc00000)));
    return _mm512_cvtps_ph(_mm512_mask_mov_ps(x, nan, plain),
                           _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

void qk_f32_to_f16_avx512(const float *x, size_t n, uint16_t *y)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = first_of_16(n - i);
        _mm256_mask_storeu_epi16(y + i, m, f16_of(_mm512_maskz_loadu_ps(m, x + i)));
    }
}

/* The sixteen results as 16-bit words. */
static inline __m256i bf16_of(__m512i b)
{
    __m512 x = _mm512_castsi512_ps(b);
    __m512i odd = _mm512_and_epi32(_mm512_srli_epi32(b, 16), _mm512_set1_epi32(1));
    __m512i near = _mm512_srli_epi32(
        _mm512_add_epi32(b, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    __m512i plain = _mm512_or_epi32(_mm512_slli_epi32(_mm512_srli_epi32(b, 31), 15),
                                    _mm512_set1_epi32(0x7fc0));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(near, nan, plain));
}

void qk_f32_to_bf16_avx512(const float *x, size_t n, uint16_t *y)
{
    for (size_t i = 0; i < n; i += 16) {
        __mmask16 m = first_of_16(n - i);
        _mm256_mask_storeu_epi16(y + i, m, bf16_of(_mm512_maskz_loadu_epi32(m, x + i)));
    }
}

static inline __m512 f32_of_f16(__m256i h)
{
    return _mm512_cvtph_ps(h);
}

static inline __m512 f32_of_bf16(__m256i h)
{
    __m512i b = _mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
    __m512 x = _mm512_castsi512_ps(b);
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    return _mm512_castsi512_ps(_mm512_mask_or_epi32(b, nan, b, _mm512_set1_epi32(0x00400000)));
}

/* Inlined, with its conversion in place. */
QK_INLINE void widen(const uint16_t *x, size_t n, float *y, __m512 (*convert)(__m256i), bool past)
{
    size_t i = before_line(y, n, past);
    __mmask16 m = first_of_16(i);
    if (i > 0) {
        _mm512_mask_storeu_ps(y, m, convert(_mm256_maskz_loadu_epi16(m, x)));
    }
    for (; n - i >= 16; i += 16) {
        prefetch_ahead(x + i, past);
        put_16(y + i, convert(_mm256_loadu_si256((const void *)(x + i))), past);
    }
    m = first_of_16(n - i);
    if (i < n) {
        _mm512_mask_storeu_ps(y + i, m, convert(_mm256_maskz_loadu_epi16(m, x + i)));
    }
}

void qk_f16_to_f32_avx512(const uint16_t *x, size_t n, float *y)
{
    widen(x, n, y, f32_of_f16, false);
}

void qk_bf16_to_f32_avx512(const uint16_t *x, size_t n, float *y)
{
    widen(x, n, y, f32_of_bf16, false);
}

void qk_stream_f16_avx512(const uint16_t *x, size_t n, float *y)
{
    widen(x, n, y, f32_of_f16, true);
}

void qk_stream_bf16_avx512(const uint16_t *x, size_t n, float *y)
{
    widen(x, n, y, f32_of_bf16, true);
}

void qk_stream_f32_avx512(const float *x, size_t n, float *y)
{
    size_t i = before_line(y, n, true);
    _mm512_mask_storeu_ps(y, first_of_16(i), _mm512_maskz_loadu_ps(first_of_16(i), x));
    for (; n - i >= 16; i += 16) {
        put_16(y + i, _mm512_loadu_ps(x + i), true);
    }
    __mmask16 rest = first_of_16(n - i);
    _mm512_mask_storeu_ps(y + i, rest, _mm512_maskz_loadu_ps(rest, x + i));
}

#endif
