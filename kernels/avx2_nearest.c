/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_nearest.c - nearest vectors: eight of them in the lanes, entries broadcast one by one.
 *
 * Single precision (nearest.h) with the least and the second least distance of each lane; where
 * these are too near to each other the specification decides. */
#include <string.h>

#include "kernels/avx2.h"
#include "kernels/nearest.h"

#if defined(QK_HAS_AVX2)

enum { LANES = 8 };

/* Coordinates of eight vectors and what each counts, by component. */
typedef struct eight {
    __m256 x0, x1, x2, x3, w0, w1, w2, w3;
} eight;

typedef struct found {
    __m256 best, second;
    __m256i at;
} found;

/* Rows of two floats by component; lanes in the order 0 1 4 5 2 3 6 7. */
static inline void part_2(const float *p, __m256 *c0, __m256 *c1)
{
    const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    *c0 = _mm256_shuffle_ps(a, b, 0x88);
    *c1 = _mm256_shuffle_ps(a, b, 0xdd);
}

/* Rows of four floats by component; lanes in the order 0 2 4 6 1 3 5 7. */
static inline void part_4(const float *p, __m256 *c0, __m256 *c1, __m256 *c2, __m256 *c3)
{
    const __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + 8);
    const __m256 c = _mm256_loadu_ps(p + 16), d = _mm256_loadu_ps(p + 24);
    const __m256 ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d);
    const __m256 hi_ab = _mm256_unpackhi_ps(a, b), hi_cd = _mm256_unpackhi_ps(c, d);
    *c0 = _mm256_shuffle_ps(ab, cd, 0x44);
    *c1 = _mm256_shuffle_ps(ab, cd, 0xee);
    *c2 = _mm256_shuffle_ps(hi_ab, hi_cd, 0x44);
    *c3 = _mm256_shuffle_ps(hi_ab, hi_cd, 0xee);
}

/* Weights that are all 0 become 1. */
static inline void lift(eight *v, bool four)
{
    const __m256 zero = _mm256_setzero_ps(), one = _mm256_set1_ps(1.0f);
    __m256 any = _mm256_or_ps(v->w0, v->w1);
    any = four ? _mm256_or_ps(any, _mm256_or_ps(v->w2, v->w3)) : any;
    const __m256 none = _mm256_cmp_ps(any, zero, _CMP_EQ_OQ);
    v->w0 = _mm256_blendv_ps(v->w0, one, none);
    v->w1 = _mm256_blendv_ps(v->w1, one, none);
    if (four) {
        v->w2 = _mm256_blendv_ps(v->w2, one, none);
        v->w3 = _mm256_blendv_ps(v->w3, one, none);
    }
}

static inline eight load_eight(const float *x, const float *w, bool four)
{
    eight v;
    memset(&v, 0, sizeof v);
    if (four) {
        part_4(x, &v.x0, &v.x1, &v.x2, &v.x3);
    } else {
        part_2(x, &v.x0, &v.x1);
    }
    if (w && four) {
        part_4(w, &v.w0, &v.w1, &v.w2, &v.w3);
        lift(&v, true);
    } else if (w) {
        part_2(w, &v.w0, &v.w1);
        lift(&v, false);
    }
    return v;
}

static inline __m256 square(__m256 x, float c, __m256 w, bool weighted)
{
    const __m256 e = _mm256_sub_ps(x, _mm256_set1_ps(c)), s = _mm256_mul_ps(e, e);
    return weighted ? _mm256_mul_ps(w, s) : s;
}

static inline __m256 distance(const eight *v, const float *c, bool four, bool weighted)
{
    const __m256 a = _mm256_add_ps(square(v->x0, c[0], v->w0, weighted),
                                   square(v->x1, c[1], v->w1, weighted));
    return !four ? a
                 : _mm256_add_ps(a, _mm256_add_ps(square(v->x2, c[2], v->w2, weighted),
                                                  square(v->x3, c[3], v->w3, weighted)));
}

static inline found search(const eight *v, const float *entry, size_t entries, bool four,
                           bool weighted)
{
    const __m256i one = _mm256_set1_epi32(1);
    __m256i j = _mm256_setzero_si256();
    found f = {_mm256_set1_ps(INFINITY), _mm256_set1_ps(INFINITY), j};
    for (const float *end = entry + entries * (four ? 4 : 2); entry < end; entry += four ? 4 : 2) {
        const __m256 d = distance(v, entry, four, weighted);
        const __m256 nearer = _mm256_cmp_ps(d, f.best, _CMP_LT_OQ);
        f.second = _mm256_min_ps(f.second, _mm256_max_ps(f.best, d));
        f.best = _mm256_min_ps(f.best, d);
        f.at = _mm256_blendv_epi8(f.at, j, _mm256_castps_si256(nearer));
        j = _mm256_add_epi32(j, one);
    }
    return f;
}

/* The largest coordinate's magnitude, and 1 + the sum of w. */
static inline __m256 largest(const eight *v, bool four)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    const __m256 a = _mm256_max_ps(_mm256_andnot_ps(sign, v->x0), _mm256_andnot_ps(sign, v->x1));
    return !four ? a
                 : _mm256_max_ps(a, _mm256_max_ps(_mm256_andnot_ps(sign, v->x2),
                                                  _mm256_andnot_ps(sign, v->x3)));
}
static inline __m256 weight_sum(const eight *v, bool four)
{
    const __m256 a = _mm256_add_ps(_mm256_set1_ps(1.0f), _mm256_add_ps(v->w0, v->w1));
    return four ? _mm256_add_ps(a, _mm256_add_ps(v->w2, v->w3)) : a;
}

/* Lanes whose second least distance is not clearly above the least. */
static inline int in_doubt(const eight *v, const found *f, bool four, bool weighted)
{
    __m256 floor = _mm256_set1_ps(QK_NEAREST_FLOOR);
    floor = weighted ? _mm256_mul_ps(floor, weight_sum(v, four)) : floor;
    const __m256 limit =
        _mm256_add_ps(_mm256_mul_ps(f->best, _mm256_set1_ps(QK_NEAREST_SHARE)), floor);
    const __m256 clear = _mm256_and_ps(
        _mm256_cmp_ps(f->second, limit, _CMP_GT_OQ),
        _mm256_cmp_ps(largest(v, four), _mm256_set1_ps(QK_NEAREST_MOST), _CMP_LE_OQ));
    return ~_mm256_movemask_ps(clear) & 0xff;
}

/* Bits of a mask of lanes in the order of the vectors. */
static inline uint32_t in_order(uint32_t m, bool four)
{
    if (!four) {
        return (m & 0xc3u) | (m & 0x0cu) << 2 | (m & 0x30u) >> 2;
    }
    uint32_t ordered = 0;
    for (uint32_t k = 0; m && k < LANES; k++) {
        ordered |= (m >> k & 1u) << (k % 4 * 2 + k / 4);
    }
    return ordered;
}

/* Codes of eight vectors to `codes`; the mask of those in doubt. */
static inline uint32_t search_eight(const qk_nearest *a, const float *x, const float *w,
                                    uint8_t *codes, bool four, bool weighted)
{
    const __m256i order2 = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    const __m256i order4 = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const eight v = load_eight(x, weighted ? w : NULL, four);
    const found f = search(&v, a->entry, a->entries, four, weighted);
    const __m256i at = _mm256_permutevar8x32_epi32(f.at, four ? order4 : order2);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(at),
                                           _mm256_extracti128_si256(at, 1));
    _mm_storel_epi64((__m128i *)(void *)codes, _mm_packus_epi16(words, words));
    return in_order((uint32_t)in_doubt(&v, &f, four, weighted), four);
}

/* Inlined with constants, so that nothing is asked inside the loop over entries. */
static inline void search_all(const qk_nearest *a, size_t n, uint8_t *codes, double *error,
                              bool four, bool weighted)
{
    const size_t dim = four ? 4 : 2;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const float *w = weighted ? a->w + i * dim : NULL;
        uint32_t doubt = search_eight(a, a->x + i * dim, w, codes + i, four, weighted);
        qk_nearest_settle(a, i, LANES, doubt, codes, error);
    }
    if (i < n) {
        float x[4 * LANES] = {0}, w[4 * LANES] = {0};
        uint8_t some[LANES];
        memcpy(x, a->x + i * dim, (n - i) * dim * sizeof *x);
        if (weighted) {
            memcpy(w, a->w + i * dim, (n - i) * dim * sizeof *w);
        }
        uint32_t doubt = search_eight(a, x, w, some, four, weighted);
        memcpy(codes + i, some, n - i);
        qk_nearest_settle(a, i, n - i, doubt & ((1u << (n - i)) - 1u), codes, error);
    }
}

void qk_nearest_vectors_avx2(const qk_nearest *a, size_t n, uint8_t *codes, double *error)
{
    if (!qk_nearest_in_range(a, qk_absmax_f32_avx2)) {
        qk_nearest_vectors_scalar(a, n, codes, error);
    } else if (a->dim == 2 && a->w) {
        search_all(a, n, codes, error, false, true);
    } else if (a->dim == 2) {
        search_all(a, n, codes, error, false, false);
    } else if (a->w) {
        search_all(a, n, codes, error, true, true);
    } else {
        search_all(a, n, codes, error, true, false);
    }
}

#endif
