/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_lanes.c - sums over the 64 virtual lanes.
 *
 * Sixteen lanes are walked at a time (two registers of doubles a sum), through the rows of 64
 * elements of a block that stays in the first-level cache, then the next sixteen through the same
 * rows: every lane sees its elements in ascending order. An incomplete group is masked; the zeros
 * in it add +0 to lanes, which changes none, as no lane is ever -0.
 *
 * The product of two floats is exact in double, so a fused multiply-add of one gives what a product
 * and an addition give; the square of a difference of doubles is not, and is added apart. */
#include <math.h>

#include "kernels/avx512_linear.h"
#include "kernels/lanes.h"

#if defined(QK_HAS_AVX512)

enum { GROUP = 16, BLOCK = 32 * QK_LANES };

/* Sixteen floats as two registers of doubles. */
typedef struct pair {
    __m512d a, b;
} pair;

static inline pair doubles_of(__m512 x)
{
    pair p = {_mm512_cvtps_pd(_mm512_castps512_ps256(x)),
              _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))};
    return p;
}

/* `left` elements from x on, the missing ones 0. */
static inline pair doubles(const float *x, size_t left)
{
    if (left >= GROUP) {
        pair p = {_mm512_cvtps_pd(_mm256_loadu_ps(x)), _mm512_cvtps_pd(_mm256_loadu_ps(x + 8))};
        return p;
    }
    return doubles_of(_mm512_maskz_loadu_ps(first_of_16(left), x));
}

static inline pair load_lanes(const double *lane)
{
    pair p = {_mm512_loadu_pd(lane), _mm512_loadu_pd(lane + 8)};
    return p;
}

static inline void store_lanes(double *lane, pair p)
{
    _mm512_storeu_pd(lane, p.a);
    _mm512_storeu_pd(lane + 8, p.b);
}

/* Adds the products of floats, which are exact. */
static inline pair add_exact(pair sum, pair x, pair y)
{
    pair p = {_mm512_fmadd_pd(x.a, y.a, sum.a), _mm512_fmadd_pd(x.b, y.b, sum.b)};
    return p;
}

static inline pair add_squares(pair sum, pair e)
{
    pair p = {_mm512_add_pd(sum.a, _mm512_mul_pd(e.a, e.a)),
              _mm512_add_pd(sum.b, _mm512_mul_pd(e.b, e.b))};
    return p;
}

static inline pair difference(pair x, pair y)
{
    pair p = {_mm512_sub_pd(x.a, y.a), _mm512_sub_pd(x.b, y.b)};
    return p;
}

/* The walk leaves the order in which memory comes, so the prefetcher is told: while a block is
 * walked, the lines behind it are asked for one by one. At the end of the array that is what
 * follows in memory, as a rule the caller's next piece; asking reads nothing. */
static inline void ask_behind(const float *block, size_t g, size_t i)
{
    const size_t line = (BLOCK / QK_LANES) * g + (i - g) / 4;
    _mm_prefetch((const char *)((uintptr_t)block + (BLOCK + line) * sizeof *block), _MM_HINT_T0);
}

/* ((lanes + 32) + 16) ... in registers: the fold of kernels.h. */
static double fold(const double *lane)
{
    __m512d v[QK_LANES / 8];
    for (int j = 0; j < QK_LANES / 8; j++) {
        v[j] = _mm512_loadu_pd(lane + 8 * j);
    }
    for (int h = QK_LANES / 16; h > 0; h /= 2) {
        for (int j = 0; j < h; j++) {
            v[j] = _mm512_add_pd(v[j], v[j + h]);
        }
    }
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(v[0]), _mm512_extractf64x4_pd(v[0], 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return qk_one_nan(_mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two))));
}

double qk_dot_f32_avx512(const float *x, const float *y, size_t n)
{
    double lane[QK_LANES] = {0};
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t m = n - begin < BLOCK ? n - begin : BLOCK;
        for (size_t g = 0; g < QK_LANES && g < m; g += GROUP) {
            pair sum = load_lanes(lane + g);
            for (size_t i = g; i < m; i += QK_LANES) {
                ask_behind(x + begin, g, i);
                ask_behind(y + begin, g, i);
                sum = add_exact(sum, doubles(x + begin + i, m - i), doubles(y + begin + i, m - i));
            }
            store_lanes(lane + g, sum);
        }
    }
    return fold(lane);
}

/* Sixteen values as encode and decode would give them. */
static inline __m512 copy_of(__m512 x, const grid *g)
{
    return decoded(_mm512_cvtps_epi32(clamped(unclamped(x, g), g)), g);
}

double qk_sse_linear_avx512(const float *x, size_t n, qk_linear p)
{
    const grid g = grid_of(p);
    double lane[QK_LANES] = {0};
    if (p.scale == 0.0f) {
        return qk_dot_f32_avx512(x, x, n); /* the copy is all zeros: (x - 0)^2 */
    }
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t m = n - begin < BLOCK ? n - begin : BLOCK;
        for (size_t k = 0; k < QK_LANES && k < m; k += GROUP) {
            pair sum = load_lanes(lane + k);
            for (size_t i = k; i < m; i += QK_LANES) {
                ask_behind(x + begin, k, i);
                __mmask16 there = first_of_16(m - i);
                __m512 w = _mm512_maskz_loadu_ps(there, x + begin + i);
                __m512 y = _mm512_maskz_mov_ps(there, copy_of(w, &g));
                sum = add_squares(sum, difference(doubles_of(w), doubles_of(y)));
            }
            store_lanes(lane + k, sum);
        }
    }
    return fold(lane);
}

/* One group of lanes through the rows of a block of m; returns the largest |w - y|, in which NaN
 * is left out: the caller sees it in the energies. */
static inline __m512d walk_group(qk_energies *s, size_t g, const float *ref, const float *got,
                                 size_t m, __m512d most)
{
    pair ref2 = load_lanes(s->ref2 + g), got2 = load_lanes(s->got2 + g);
    pair dot = load_lanes(s->dot + g), err2 = load_lanes(s->err2 + g);
    for (size_t i = g; i < m; i += QK_LANES) {
        ask_behind(ref, g, i);
        ask_behind(got, g, i);
        pair w = doubles(ref + i, m - i), y = doubles(got + i, m - i), e = difference(w, y);
        ref2 = add_exact(ref2, w, w);
        got2 = add_exact(got2, y, y);
        dot = add_exact(dot, w, y);
        err2 = add_squares(err2, e);
        most = _mm512_max_pd(_mm512_abs_pd(e.a), most); /* NaN: the second operand */
        most = _mm512_max_pd(_mm512_abs_pd(e.b), most);
    }
    store_lanes(s->ref2 + g, ref2);
    store_lanes(s->got2 + g, got2);
    store_lanes(s->dot + g, dot);
    store_lanes(s->err2 + g, err2);
    return most;
}

/* From `from` on, where the first sixteen begin among which a difference is `most`; at the latest
 * the incomplete ones at the end. */
static size_t near_most(const float *ref, const float *got, size_t from, size_t n, double most)
{
    const __m512d m = _mm512_set1_pd(most);
    for (; n - from >= GROUP; from += GROUP) {
        const pair e = difference(doubles(ref + from, GROUP), doubles(got + from, GROUP));
        if (_mm512_cmp_pd_mask(_mm512_abs_pd(e.a), m, _CMP_EQ_OQ) |
            _mm512_cmp_pd_mask(_mm512_abs_pd(e.b), m, _CMP_EQ_OQ)) {
            break;
        }
    }
    return from;
}

void qk_fidelity_f32_avx512(const float *ref, const float *got, size_t n, qk_fidelity *out)
{
    qk_energies s = {{0}, {0}, {0}, {0}};
    double most = 0.0;
    size_t where = 0; /* begin of the block that raised `most` */
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t m = n - begin < BLOCK ? n - begin : BLOCK;
        __m512d here = _mm512_set1_pd(most);
        for (size_t g = 0; g < QK_LANES && g < m; g += GROUP) {
            here = walk_group(&s, g, ref + begin, got + begin, m, here);
        }
        double highest = _mm512_reduce_max_pd(here);
        where = highest > most ? begin : where;
        most = highest > most ? highest : most;
    }
    out->ref2 = fold(s.ref2);
    out->got2 = fold(s.got2);
    out->dot = fold(s.dot);
    out->err2 = fold(s.err2);
    qk_place_most(ref, got, n, most, near_most(ref, got, where, n, most), out);
}

#endif
