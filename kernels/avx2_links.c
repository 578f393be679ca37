/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_links.c - four predecessors of one row at once, then four rows at once. */
#include "kernels/avx2.h"

#if defined(QK_HAS_AVX2)

/* Cheapest so far in each lane, and its predecessor as a double. */
typedef struct lead {
    __m256d cost, at;
} lead;

static inline __m256d reach(__m256d g, __m256d s, __m256d w)
{
    return _mm256_sub_pd(g, _mm256_div_pd(_mm256_mul_pd(s, s), w));
}

static inline void challenge(lead *l, __m256d cost, __m256d at, __m256d allowed)
{
    __m256d won = _mm256_and_pd(_mm256_cmp_pd(cost, l->cost, _CMP_LT_OQ), allowed);
    l->cost = _mm256_blendv_pd(l->cost, cost, won);
    l->at = _mm256_blendv_pd(l->at, at, won);
}

/* The least cost; of the lanes that have it, the first predecessor. */
static inline double settle(lead l, size_t *at)
{
    __m256d least = _mm256_min_pd(l.cost, _mm256_permute_pd(l.cost, 5));
    least = _mm256_min_pd(least, _mm256_permute2f128_pd(least, least, 1));
    __m256d tied = _mm256_cmp_pd(l.cost, least, _CMP_EQ_OQ);
    __m256d first = _mm256_blendv_pd(_mm256_set1_pd(0x1p60), l.at, tied);
    first = _mm256_min_pd(first, _mm256_permute_pd(first, 5));
    first = _mm256_min_pd(first, _mm256_permute2f128_pd(first, first, 1));
    *at = (size_t)_mm256_cvtsd_f64(first);
    return _mm256_cvtsd_f64(least) + 0.0; /* no -0 */
}

/* The last of [low, end) come masked; places beyond count as infinitely dear. */
static inline double choose(const qk_links *a, size_t low, size_t end, size_t t, size_t *at)
{
    const __m256d st = _mm256_set1_pd(a->s[t]), wt = _mm256_set1_pd(a->w[t]);
    const __m256d limit = _mm256_set1_pd((double)end), four = _mm256_set1_pd(4.0);
    __m256d place = _mm256_add_pd(_mm256_set1_pd((double)low), _mm256_setr_pd(0, 1, 2, 3));
    lead l = {_mm256_set1_pd(__builtin_inf()), place};
    size_t i = low;
    for (; i + 4 <= end; i += 4) {
        __m256d s = _mm256_sub_pd(st, _mm256_loadu_pd(a->s + i));
        __m256d w = _mm256_sub_pd(wt, _mm256_loadu_pd(a->w + i));
        __m256d cost = reach(_mm256_loadu_pd(a->g + i), s, w);
        __m256d won = _mm256_cmp_pd(cost, l.cost, _CMP_LT_OQ);
        l.cost = _mm256_blendv_pd(l.cost, cost, won);
        l.at = _mm256_blendv_pd(l.at, place, won);
        place = _mm256_add_pd(place, four);
    }
    if (i < end) {
        __m256d allowed = _mm256_cmp_pd(place, limit, _CMP_LT_OQ);
        __m256i mask = _mm256_castpd_si256(allowed);
        __m256d s = _mm256_sub_pd(st, _mm256_maskload_pd(a->s + i, mask));
        __m256d w = _mm256_sub_pd(wt, _mm256_maskload_pd(a->w + i, mask));
        challenge(&l, reach(_mm256_maskload_pd(a->g + i, mask), s, w), place, allowed);
    }
    return settle(l, at);
}

/* Rows r .. r + 3 among predecessors low .. last. */
static inline void choose_four(const qk_links *a, size_t low, size_t last, size_t r, double *best,
                               uint32_t *from)
{
    const __m256d st = _mm256_loadu_pd(a->s + a->row + r), wt = _mm256_loadu_pd(a->w + a->row + r);
    lead l = {_mm256_set1_pd(__builtin_inf()), _mm256_set1_pd(0)};
    for (size_t i = low; i <= last; i++) {
        __m256d s = _mm256_sub_pd(st, _mm256_broadcast_sd(a->s + i));
        __m256d w = _mm256_sub_pd(wt, _mm256_broadcast_sd(a->w + i));
        __m256d cost = reach(_mm256_broadcast_sd(a->g + i), s, w);
        __m256d won = _mm256_cmp_pd(cost, l.cost, _CMP_LT_OQ);
        l.cost = _mm256_blendv_pd(l.cost, cost, won);
        l.at = _mm256_blendv_pd(l.at, _mm256_set1_pd((double)i), won);
    }
    _mm256_storeu_pd(best + r, _mm256_add_pd(l.cost, _mm256_setzero_pd()));
    __m256i wide = _mm256_castpd_si256(_mm256_add_pd(l.at, _mm256_set1_pd(0x1p52)));
    wide = _mm256_permutevar8x32_epi32(wide, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    store_half(from + r, _mm256_castsi256_si128(wide)); /* a whole number's bits end the mantissa */
}

void qk_cheapest_links_avx2(const qk_links *a, size_t rows, double *best, uint32_t *from)
{
    size_t at;
    if (rows == 0) {
        return;
    }
    best[rows - 1] = choose(a, a->low, a->row, a->row + rows - 1, &at);
    from[rows - 1] = (uint32_t)at;
    for (size_t half = rows / 2; half >= 4; half /= 2) {
        size_t low = a->low;
        for (size_t r = half - 1; r < rows; r += 2 * half) {
            size_t last = from[r + half];
            choose(a, low, last + 1, a->row + r, &at);
            from[r] = (uint32_t)at;
            low = last;
        }
    }
    size_t low = a->low;
    for (size_t r = 0; r + 4 <= rows; r += 4) {
        size_t last = from[r + 3];
        choose_four(a, low, last, r, best, from);
        low = last;
    }
}
#endif
