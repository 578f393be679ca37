/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_range.c - maxima and minima do not depend on order, so the last eight elements may be
 * taken twice instead of one by one. */
#include "kernels/avx2.h"

#if defined(QK_HAS_AVX2)

static float highest_of(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

static float lowest_of(__m256 v)
{
    __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_min_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_min_ss(m, _mm_movehdup_ps(m)));
}

float qk_absmax_f32_avx2(const float *x, size_t n)
{
    if (n < 8) {
        return qk_absmax_f32_scalar(x, n);
    }
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 a = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + n - 8)), b = a, c = a, d = a;
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        a = _mm256_max_ps(a, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)));
        b = _mm256_max_ps(b, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i + 8)));
        c = _mm256_max_ps(c, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i + 16)));
        d = _mm256_max_ps(d, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i + 24)));
    }
    for (; n - i >= 8; i += 8) {
        a = _mm256_max_ps(a, _mm256_andnot_ps(sign, _mm256_loadu_ps(x + i)));
    }
    return highest_of(_mm256_max_ps(_mm256_max_ps(a, b), _mm256_max_ps(c, d)));
}

void qk_minmax_f32_avx2(const float *x, size_t n, float *lowest, float *highest)
{
    if (n < 8) {
        qk_minmax_f32_scalar(x, n, lowest, highest);
        return;
    }
    __m256 low0 = _mm256_loadu_ps(x + n - 8), low1 = low0, low2 = low0, low3 = low0;
    __m256 high0 = low0, high1 = low0, high2 = low0, high3 = low0;
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
        __m256 c = _mm256_loadu_ps(x + i + 16), d = _mm256_loadu_ps(x + i + 24);
        low0 = _mm256_min_ps(low0, a);
        low1 = _mm256_min_ps(low1, b);
        low2 = _mm256_min_ps(low2, c);
        low3 = _mm256_min_ps(low3, d);
        high0 = _mm256_max_ps(high0, a);
        high1 = _mm256_max_ps(high1, b);
        high2 = _mm256_max_ps(high2, c);
        high3 = _mm256_max_ps(high3, d);
    }
    for (; n - i >= 8; i += 8) {
        low0 = _mm256_min_ps(low0, _mm256_loadu_ps(x + i));
        high0 = _mm256_max_ps(high0, _mm256_loadu_ps(x + i));
    }
    low0 = _mm256_min_ps(_mm256_min_ps(low0, low1), _mm256_min_ps(low2, low3));
    high0 = _mm256_max_ps(_mm256_max_ps(high0, high1), _mm256_max_ps(high2, high3));
    *lowest = lowest_of(low0) + 0.0f; /* a zero of either sign becomes +0 */
    *highest = highest_of(high0) + 0.0f;
}

/* All ones where the exponent bits are all ones. */
static __m256i nonfinite(const float *x)
{
    const __m256i exponent = _mm256_set1_epi32(0x7f800000);
    return _mm256_cmpeq_epi32(_mm256_and_si256(load_bytes(x), exponent), exponent);
}

size_t qk_nonfinite_f32_avx2(const float *x, size_t n, size_t *first)
{
    size_t count = 0, i = 0, at;
    *first = n;
    for (; n - i >= 32; i += 32) {
        __m256i a = _mm256_or_si256(nonfinite(x + i), nonfinite(x + i + 8));
        __m256i b = _mm256_or_si256(nonfinite(x + i + 16), nonfinite(x + i + 24));
        __m256i any = _mm256_or_si256(a, b);
        if (!_mm256_testz_si256(any, any)) { /* rare in any bank that is worth reading */
            size_t here = qk_nonfinite_f32_scalar(x + i, 32, &at);
            *first = count == 0 ? i + at : *first;
            count += here;
        }
    }
    size_t here = qk_nonfinite_f32_scalar(x + i, n - i, &at);
    *first = count == 0 && here > 0 ? i + at : *first;
    return count + here;
}

#endif
