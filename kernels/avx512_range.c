/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_range.c - maxima and minima do not depend on order, so four registers run abreast. */
#include "kernels/avx512.h"

#if defined(QK_HAS_AVX512)
/* |x|; elements that are not there are 0. */
static inline __m512 magnitudes(const float *x, size_t left)
{
    return _mm512_abs_ps(_mm512_maskz_loadu_ps(first_of_16(left), x));
}

float qk_absmax_f32_avx512(const float *x, size_t n)
{
    __m512 a = _mm512_setzero_ps(), b = a, c = a, d = a;
    size_t i = 0;
    for (; n - i >= 64; i += 64) {
        a = _mm512_max_ps(a, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
        b = _mm512_max_ps(b, _mm512_abs_ps(_mm512_loadu_ps(x + i + 16)));
        c = _mm512_max_ps(c, _mm512_abs_ps(_mm512_loadu_ps(x + i + 32)));
        d = _mm512_max_ps(d, _mm512_abs_ps(_mm512_loadu_ps(x + i + 48)));
    }
    for (; i < n; i += 16) {
        a = _mm512_max_ps(a, magnitudes(x + i, n - i));
    }
    return _mm512_reduce_max_ps(_mm512_max_ps(_mm512_max_ps(a, b), _mm512_max_ps(c, d)));
}

void qk_minmax_f32_avx512(const float *x, size_t n, float *lowest, float *highest)
{
    const __m512 first = _mm512_set1_ps(n ? x[0] : 0.0f);
    __m512 low0 = first, low1 = first, high0 = first, high1 = first;
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + 16);
        low0 = _mm512_min_ps(low0, a);
        high0 = _mm512_max_ps(high0, a);
        low1 = _mm512_min_ps(low1, b);
        high1 = _mm512_max_ps(high1, b);
    }
    for (; i < n; i += 16) {
        __m512 a = _mm512_mask_loadu_ps(first, first_of_16(n - i), x + i);
        low0 = _mm512_min_ps(low0, a);
        high0 = _mm512_max_ps(high0, a);
    }
    *lowest = _mm512_reduce_min_ps(_mm512_min_ps(low0, low1)) + 0.0f; /* a zero becomes +0 */
    *highest = _mm512_reduce_max_ps(_mm512_max_ps(high0, high1)) + 0.0f;
}

/* Chosen elements whose exponent bits are all ones. */
static inline __mmask16 nonfinite(const float *x, __mmask16 chosen)
{
    const __m512i exponent = _mm512_set1_epi32(0x7f800000);
    __m512i b = _mm512_and_epi32(_mm512_maskz_loadu_epi32(chosen, x), exponent);
    return _mm512_cmpeq_epi32_mask(b, exponent);
}

size_t qk_nonfinite_f32_avx512(const float *x, size_t n, size_t *first)
{
    size_t count = 0;
    *first = n;
    for (size_t i = 0; i < n;) {
        size_t step = n - i >= 64 ? 64 : n - i < 16 ? n - i : 16;
        uint64_t found;
        if (step == 64) {
            found = join_masks(nonfinite(x + i, 0xffff), nonfinite(x + i + 16, 0xffff),
                               nonfinite(x + i + 32, 0xffff), nonfinite(x + i + 48, 0xffff));
        } else {
            found = nonfinite(x + i, first_of_16(step));
        }
        if (found) {
            *first = count ? *first : i + (size_t)__builtin_ctzll(found);
            count += (size_t)__builtin_popcountll(found);
        }
        i += step;
    }
    return count;
}

#endif
