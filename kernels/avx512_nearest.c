/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_nearest.c - nearest vectors: sixteen of them in the lanes, entries broadcast one by one.
 *
 * As avx2_nearest.c: single precision (nearest.h) with the least and the second least distance of
 * each lane; where these are too near to each other the specification decides. */
#include "kernels/avx512.h"

#if defined(QK_HAS_AVX512)
#include "kernels/nearest.h"

enum { LANES = 16 };

/* Coordinates of sixteen vectors and what each counts, by component. */
typedef struct sixteen {
    __m512 x0, x1, x2, x3, w0, w1, w2, w3;
} sixteen;

typedef struct found {
    __m512 best, second;
    __m512i at;
} found;

/* 16 floats from number `at` on of `floats` that are there; 0 for those beyond. */
QK_INLINE __m512 some_16(const float *p, size_t at, size_t floats)
{
    return _mm512_maskz_loadu_ps(at < floats ? first_of_16(floats - at) : 0, p + at);
}

/* Every second or every fourth float of one or two registers. */
QK_INLINE __m512 second_of(__m512 a, __m512 b, int first)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28,
                                           30);
    return _mm512_permutex2var_ps(a, _mm512_add_epi32(even, _mm512_set1_epi32(first)), b);
}

/* Rows of `four ? 4 : 2` floats by component. */
QK_INLINE void part(const float *p, size_t floats, bool four, __m512 c[4])
{
    const __m512 a = some_16(p, 0, floats), b = some_16(p, 16, floats);
    const __m512 even = second_of(a, b, 0), odd = second_of(a, b, 1);
    if (!four) {
        c[0] = even;
        c[1] = odd;
        return;
    }
    const __m512 d = some_16(p, 32, floats), e = some_16(p, 48, floats);
    const __m512 even2 = second_of(d, e, 0), odd2 = second_of(d, e, 1);
    c[0] = second_of(even, even2, 0);
    c[1] = second_of(odd, odd2, 0);
    c[2] = second_of(even, even2, 1);
    c[3] = second_of(odd, odd2, 1);
}

/* Weights that are all 0 become 1. */
QK_INLINE void lift(__m512 c[4], bool four)
{
    const __m512 one = _mm512_set1_ps(1.0f);
    __m512 any = _mm512_or_ps(c[0], c[1]);
    any = four ? _mm512_or_ps(any, _mm512_or_ps(c[2], c[3])) : any;
    const __mmask16 none = _mm512_cmp_ps_mask(any, _mm512_setzero_ps(), _CMP_EQ_OQ);
    c[0] = _mm512_mask_mov_ps(c[0], none, one);
    c[1] = _mm512_mask_mov_ps(c[1], none, one);
    if (four) {
        c[2] = _mm512_mask_mov_ps(c[2], none, one);
        c[3] = _mm512_mask_mov_ps(c[3], none, one);
    }
}

QK_INLINE sixteen load_sixteen(const float *x, const float *w, size_t floats, bool four,
                               bool weighted)
{
    const __m512 zero = _mm512_setzero_ps();
    __m512 c[4] = {zero, zero, zero, zero}, u[4] = {zero, zero, zero, zero};
    part(x, floats, four, c);
    if (weighted) {
        part(w, floats, four, u);
        lift(u, four);
    }
    return (sixteen){c[0], c[1], c[2], c[3], u[0], u[1], u[2], u[3]};
}

QK_INLINE __m512 square(__m512 x, float c, __m512 w, bool weighted)
{
    const __m512 e = _mm512_sub_ps(x, _mm512_set1_ps(c)), s = _mm512_mul_ps(e, e);
    return weighted ? _mm512_mul_ps(w, s) : s;
}

QK_INLINE __m512 distance(const sixteen *v, const float *c, bool four, bool weighted)
{
    const __m512 a = _mm512_add_ps(square(v->x0, c[0], v->w0, weighted),
                                   square(v->x1, c[1], v->w1, weighted));
    return !four ? a
                 : _mm512_add_ps(a, _mm512_add_ps(square(v->x2, c[2], v->w2, weighted),
                                                  square(v->x3, c[3], v->w3, weighted)));
}

QK_INLINE found search(const sixteen *v, const float *entry, size_t entries, bool four,
                       bool weighted)
{
    const __m512i one = _mm512_set1_epi32(1);
    __m512i j = _mm512_setzero_si512();
    found f = {_mm512_set1_ps(INFINITY), _mm512_set1_ps(INFINITY), j};
    for (const float *end = entry + entries * (four ? 4 : 2); entry < end; entry += four ? 4 : 2) {
        const __m512 d = distance(v, entry, four, weighted);
        const __mmask16 nearer = _mm512_cmp_ps_mask(d, f.best, _CMP_LT_OQ);
        f.second = _mm512_min_ps(f.second, _mm512_max_ps(f.best, d));
        f.best = _mm512_min_ps(f.best, d);
        f.at = _mm512_mask_mov_epi32(f.at, nearer, j);
        j = _mm512_add_epi32(j, one);
    }
    return f;
}

QK_INLINE __m512 largest(const sixteen *v, bool four)
{
    const __m512 a = _mm512_max_ps(_mm512_abs_ps(v->x0), _mm512_abs_ps(v->x1));
    return !four ? a
                 : _mm512_max_ps(a, _mm512_max_ps(_mm512_abs_ps(v->x2), _mm512_abs_ps(v->x3)));
}

/* 1 + the sum of w. */
QK_INLINE __m512 weight_sum(const sixteen *v, bool four)
{
    const __m512 a = _mm512_add_ps(_mm512_set1_ps(1.0f), _mm512_add_ps(v->w0, v->w1));
    return four ? _mm512_add_ps(a, _mm512_add_ps(v->w2, v->w3)) : a;
}

/* Lanes whose second least distance is clearly above the least. */
QK_INLINE __mmask16 is_clear(const sixteen *v, const found *f, bool four, bool weighted)
{
    __m512 floor = _mm512_set1_ps(QK_NEAREST_FLOOR);
    floor = weighted ? _mm512_mul_ps(floor, weight_sum(v, four)) : floor;
    const __m512 limit =
        _mm512_add_ps(_mm512_mul_ps(f->best, _mm512_set1_ps(QK_NEAREST_SHARE)), floor);
    const __mmask16 apart = _mm512_cmp_ps_mask(f->second, limit, _CMP_GT_OQ);
    return _mm512_mask_cmp_ps_mask(apart, largest(v, four), _mm512_set1_ps(QK_NEAREST_MOST),
                                   _CMP_LE_OQ);
}

/* Inlined with constants, so that nothing is asked inside the loop over entries. */
QK_INLINE void search_all(const qk_nearest *a, size_t n, uint8_t *codes, double *error, bool four,
                          bool weighted)
{
    const size_t dim = four ? 4 : 2;
    for (size_t i = 0; i < n; i += LANES) {
        const size_t take = n - i < LANES ? n - i : LANES;
        const __mmask16 there = first_of_16(take);
        const sixteen v = load_sixteen(a->x + i * dim, weighted ? a->w + i * dim : NULL,
                                       take * dim, four, weighted);
        const found f = search(&v, a->entry, a->entries, four, weighted);
        _mm512_mask_cvtepi32_storeu_epi8(codes + i, there, f.at);
        const uint32_t doubt = there & ~(uint32_t)is_clear(&v, &f, four, weighted);
        qk_nearest_settle(a, i, take, doubt, codes, error);
    }
}

void qk_nearest_vectors_avx512(const qk_nearest *a, size_t n, uint8_t *codes, double *error)
{
    if (!qk_nearest_in_range(a, qk_absmax_f32_avx512)) {
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
