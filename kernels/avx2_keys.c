/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_keys.c - keys of sixteen floats at once; counting them is one at a time. */
#include "kernels/avx2.h"

#if defined(QK_HAS_AVX2)

/* Places of sixteen codes, whose first eight are in the low half of each. */
static inline __m256i places_of(__m256i codes, __m256i first)
{
    __m256i negative = _mm256_srai_epi16(codes, 15);
    __m256i flip = _mm256_or_si256(negative, _mm256_set1_epi16((short)0x8000));
    return _mm256_sub_epi16(_mm256_xor_si256(codes, flip), first);
}

/* Count sixteen codes, or none of them when a place is beyond the last. */
static inline bool count_16(__m256i codes, __m256i first, __m256i last, uint32_t *count)
{
    __m256i place = places_of(codes, first);
    __m256i inside = _mm256_cmpeq_epi16(_mm256_min_epu16(place, last), place);
    if (_mm256_movemask_epi8(inside) != -1) {
        return false;
    }
    uint64_t four[4];
    store_bytes(four, place);
    for (int i = 0; i < 4; i++) {
        count[four[i] & 0xffff]++;
        count[four[i] >> 16 & 0xffff]++;
        count[four[i] >> 32 & 0xffff]++;
        count[four[i] >> 48]++;
    }
    return true;
}

static inline __m256i plus_zero(const float *x)
{
    return _mm256_castps_si256(_mm256_add_ps(_mm256_loadu_ps(x), _mm256_setzero_ps()));
}

size_t qk_count_bf16_avx2(const float *x, size_t n, qk_keys k)
{
    const __m256i first = _mm256_set1_epi16((short)k.first), low = _mm256_set1_epi32(0xffff);
    const __m256i last = _mm256_set1_epi16((short)(k.keys - 1));
    size_t i = 0;
    for (; k.keys > 0 && n - i >= 16; i += 16) {
        __m256i a = plus_zero(x + i), b = plus_zero(x + i + 8);
        if (!_mm256_testz_si256(_mm256_or_si256(a, b), low)) {
            break;
        }
        __m256i codes = _mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16));
        if (!count_16(codes, first, last, k.count)) {
            break;
        }
    }
    return i + qk_count_bf16_scalar(x + i, n - i, k);
}

/* Whether eight floats are f16; what they are as such. */
static inline bool narrow(__m256i x, __m128i *codes)
{
    *codes = _mm256_cvtps_ph(_mm256_castsi256_ps(x),
                             _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256i back = _mm256_castps_si256(_mm256_cvtph_ps(*codes));
    return _mm256_movemask_epi8(_mm256_cmpeq_epi32(back, x)) == -1;
}

size_t qk_count_f16_avx2(const float *x, size_t n, qk_keys k)
{
    const __m256i first = _mm256_set1_epi16((short)k.first);
    const __m256i last = _mm256_set1_epi16((short)(k.keys - 1));
    size_t i = 0;
    for (; k.keys > 0 && n - i >= 16; i += 16) {
        __m128i a, b;
        bool whole = narrow(plus_zero(x + i), &a);
        whole = narrow(plus_zero(x + i + 8), &b) && whole;
        if (!whole || !count_16(_mm256_set_m128i(b, a), first, last, k.count)) {
            break;
        }
    }
    return i + qk_count_f16_scalar(x + i, n - i, k);
}

#endif
