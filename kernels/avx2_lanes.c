/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_lanes.c - sums over the 64 virtual lanes.
 *
 * 64 lanes of one sum are all sixteen registers, so eight lanes are walked at a time: through the
 * rows (64 elements each) of a block that stays in the first-level cache, then the next eight
 * lanes through the same rows. Every lane still sees its elements in ascending order. Of the last,
 * incomplete row the groups of eight that are whole are walked too; up to seven elements
 * remain, each the last of its lane. */
#include <math.h>

#include "kernels/avx2_linear.h"
#include "kernels/lanes.h"

#if defined(QK_HAS_AVX2)

enum { GROUP = 8, BLOCK = 16 * QK_LANES };

/* Eight floats as two registers of doubles. */
typedef struct pair {
    __m256d a, b;
} pair;

static inline pair doubles(const float *x)
{
    pair p = {_mm256_cvtps_pd(_mm_loadu_ps(x)), _mm256_cvtps_pd(_mm_loadu_ps(x + 4))};
    return p;
}

static inline pair load_lanes(const double *lane)
{
    pair p = {_mm256_loadu_pd(lane), _mm256_loadu_pd(lane + 4)};
    return p;
}

static inline void store_lanes(double *lane, pair p)
{
    _mm256_storeu_pd(lane, p.a);
    _mm256_storeu_pd(lane + 4, p.b);
}

static inline void add_product(pair *sum, pair x, pair y)
{
    sum->a = _mm256_add_pd(sum->a, _mm256_mul_pd(x.a, y.a));
    sum->b = _mm256_add_pd(sum->b, _mm256_mul_pd(x.b, y.b));
}

static inline pair difference(pair x, pair y)
{
    pair p = {_mm256_sub_pd(x.a, y.a), _mm256_sub_pd(x.b, y.b)};
    return p;
}

/* The walk leaves the order in which memory comes, so the prefetcher is told: while a block is
 * walked, its successor is asked for in equal steps. `next` is the block itself at the end of the
 * array: nothing outside is ever named. */
static inline const float *next_block(const float *block, size_t left)
{
    return left >= 2 * BLOCK ? block + BLOCK : block;
}

static inline void ask_for(const float *next, size_t g, size_t i)
{
    _mm_prefetch((const char *)(next + (BLOCK / QK_LANES) * g + (i - g) / GROUP), _MM_HINT_T0);
}

/* One past the last element at which a group of a block of m elements can begin. */
static inline size_t end_of_group(size_t m)
{
    return m < GROUP ? 0 : m - GROUP + 1;
}

/* ((lanes + 32) + 16) ... in registers: the fold of kernels.h. */
static double fold(const double *lane)
{
    __m256d v[QK_LANES / 4];
    for (int j = 0; j < QK_LANES / 4; j++) {
        v[j] = _mm256_loadu_pd(lane + 4 * j);
    }
    for (int h = QK_LANES / 8; h > 0; h /= 2) {
        for (int j = 0; j < h; j++) {
            v[j] = _mm256_add_pd(v[j], v[j + h]);
        }
    }
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(v[0]), _mm256_extractf128_pd(v[0], 1));
    return qk_one_nan(_mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two))));
}

double qk_dot_f32_avx2(const float *x, const float *y, size_t n)
{
    double lane[QK_LANES] = {0};
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t m = n - begin < BLOCK ? n - begin : BLOCK, end = end_of_group(m);
        const float *nx = next_block(x + begin, n - begin), *ny = next_block(y + begin, n - begin);
        for (size_t g = 0; g < QK_LANES && g < end; g += GROUP) {
            pair sum = load_lanes(lane + g);
            for (size_t i = g; i < end; i += QK_LANES) {
                ask_for(nx, g, i);
                ask_for(ny, g, i);
                add_product(&sum, doubles(x + begin + i), doubles(y + begin + i));
            }
            store_lanes(lane + g, sum);
        }
    }
    for (size_t i = n - n % GROUP; i < n; i++) {
        lane[i % QK_LANES] += (double)x[i] * (double)y[i];
    }
    return fold(lane);
}

/* Eight values as encode and decode would give them. */
static inline __m256 copy_of(__m256 x, const grid *g)
{
    return decoded(_mm256_cvtps_epi32(clamped(unclamped(x, g), g)), g);
}

static inline void add_square_errors(pair *sum, __m256 x, __m256 y)
{
    pair w = {_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
              _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
    pair c = {_mm256_cvtps_pd(_mm256_castps256_ps128(y)),
              _mm256_cvtps_pd(_mm256_extractf128_ps(y, 1))};
    pair e = difference(w, c);
    add_product(sum, e, e);
}

double qk_sse_linear_avx2(const float *x, size_t n, qk_linear p)
{
    const grid g = grid_of(p);
    double lane[QK_LANES] = {0};
    if (p.scale == 0.0f) {
        return qk_dot_f32_avx2(x, x, n); /* the copy is all zeros: (x - 0)^2 */
    }
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t m = n - begin < BLOCK ? n - begin : BLOCK, end = end_of_group(m);
        const float *next = next_block(x + begin, n - begin);
        for (size_t k = 0; k < QK_LANES && k < end; k += GROUP) {
            pair sum = load_lanes(lane + k);
            for (size_t i = k; i < end; i += QK_LANES) {
                ask_for(next, k, i);
                __m256 w = _mm256_loadu_ps(x + begin + i);
                add_square_errors(&sum, w, copy_of(w, &g));
            }
            store_lanes(lane + k, sum);
        }
    }
    const size_t rest = n % GROUP, last = n - rest;
    uint8_t code[GROUP];
    float copy[GROUP];
    qk_encode_linear_scalar(x + last, rest, p, code);
    qk_decode_linear_scalar(code, rest, p, copy);
    for (size_t i = 0; i < rest; i++) {
        double e = (double)x[last + i] - (double)copy[i];
        lane[(last + i) % QK_LANES] += e * e;
    }
    return fold(lane);
}

typedef struct blocks {
    const float *ref, *got, *next_ref, *next_got;
} blocks;

/* One group of eight lanes through the rows of a block; the largest |w - y| of a NaN is left to
 * the caller, who sees NaN in the energies. */
static inline __m256d walk_group(qk_energies *s, size_t g, blocks b, size_t end, __m256d most)
{
    const __m256d sign = _mm256_set1_pd(-0.0);
    pair ref2 = load_lanes(s->ref2 + g), got2 = load_lanes(s->got2 + g);
    pair dot = load_lanes(s->dot + g), err2 = load_lanes(s->err2 + g);
    for (size_t i = g; i < end; i += QK_LANES) {
        ask_for(b.next_ref, g, i);
        ask_for(b.next_got, g, i);
        pair w = doubles(b.ref + i), y = doubles(b.got + i), e = difference(w, y);
        add_product(&ref2, w, w);
        add_product(&got2, y, y);
        add_product(&dot, w, y);
        add_product(&err2, e, e);
        most = _mm256_max_pd(_mm256_andnot_pd(sign, e.a), most); /* NaN: the second operand */
        most = _mm256_max_pd(_mm256_andnot_pd(sign, e.b), most);
    }
    store_lanes(s->ref2 + g, ref2);
    store_lanes(s->got2 + g, got2);
    store_lanes(s->dot + g, dot);
    store_lanes(s->err2 + g, err2);
    return most;
}

static double highest_of(__m256d v)
{
    __m128d m = _mm_max_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(m, _mm_unpackhi_pd(m, m)));
}

void qk_fidelity_f32_avx2(const float *ref, const float *got, size_t n, qk_fidelity *out)
{
    qk_energies s = {{0}, {0}, {0}, {0}};
    double most = 0.0;
    size_t where = 0; /* begin of the block that raised `most` */
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t m = n - begin < BLOCK ? n - begin : BLOCK, end = end_of_group(m);
        const blocks b = {ref + begin, got + begin, next_block(ref + begin, n - begin),
                          next_block(got + begin, n - begin)};
        __m256d here = _mm256_set1_pd(most);
        for (size_t g = 0; g < QK_LANES && g < end; g += GROUP) {
            here = walk_group(&s, g, b, end, here);
        }
        if (highest_of(here) > most) {
            most = highest_of(here);
            where = begin;
        }
    }
    qk_add_rest(&s, ref, got, n - n % GROUP, n, &most, &where);
    out->ref2 = fold(s.ref2);
    out->got2 = fold(s.got2);
    out->dot = fold(s.dot);
    out->err2 = fold(s.err2);
    qk_place_most(ref, got, n, most, where, out);
}

#endif
