/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_convert.c - 16-bit floats. F16C agrees with the specification but for NaN, whose payload
 * it keeps when narrowing: those are replaced before it sees them. */
#include "kernels/avx2.h"

#if defined(QK_HAS_AVX2)

static inline __m128i f16_of(__m256 x)
{
    __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    __m256 plain = _mm256_or_ps(_mm256_and_ps(x, _mm256_set1_ps(-0.0f)),
                                _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)));
    return _mm256_cvtps_ph(_mm256_blendv_ps(x, plain, nan),
                           _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

void qk_f32_to_f16_avx2(const float *x, size_t n, uint16_t *y)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        store_half(y + i, f16_of(_mm256_loadu_ps(x + i)));
        store_half(y + i + 8, f16_of(_mm256_loadu_ps(x + i + 8)));
    }
    qk_f32_to_f16_scalar(x + i, n - i, y + i);
}

/* The result in the low half of each word. */
static inline __m256i bf16_of(__m256i b)
{
    __m256 x = _mm256_castsi256_ps(b);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(b, 16), _mm256_set1_epi32(1));
    __m256i near = _mm256_srli_epi32(
        _mm256_add_epi32(b, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    __m256i plain = _mm256_or_si256(_mm256_slli_epi32(_mm256_srli_epi32(b, 31), 15),
                                    _mm256_set1_epi32(0x7fc0));
    return _mm256_blendv_epi8(near, plain, _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q)));
}

void qk_f32_to_bf16_avx2(const float *x, size_t n, uint16_t *y)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        __m256i v = _mm256_packus_epi32(bf16_of(load_bytes(x + i)), bf16_of(load_bytes(x + i + 8)));
        store_bytes(y + i, _mm256_permute4x64_epi64(v, _MM_SHUFFLE(3, 1, 2, 0)));
    }
    qk_f32_to_bf16_scalar(x + i, n - i, y + i);
}

void qk_f16_to_f32_avx2(const uint16_t *x, size_t n, float *y)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(load_half(x + i)));
        _mm256_storeu_ps(y + i + 8, _mm256_cvtph_ps(load_half(x + i + 8)));
    }
    qk_f16_to_f32_scalar(x + i, n - i, y + i);
}

static inline __m256i f32_of_bf16(__m128i h)
{
    __m256i b = _mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16);
    __m256 x = _mm256_castsi256_ps(b);
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    return _mm256_or_si256(b, _mm256_and_si256(nan, _mm256_set1_epi32(0x00400000)));
}

void qk_bf16_to_f32_avx2(const uint16_t *x, size_t n, float *y)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        store_bytes(y + i, f32_of_bf16(load_half(x + i)));
        store_bytes(y + i + 8, f32_of_bf16(load_half(x + i + 8)));
    }
    qk_bf16_to_f32_scalar(x + i, n - i, y + i);
}

#endif
