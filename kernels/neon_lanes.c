/* SPDX-License-Identifier: Apache-2.0 */
/* neon_lanes.c - sums over the 64 virtual lanes.
 *
 * 64 lanes of doubles are all 32 registers, so eight lanes of each sum are walked at a time:
 * through the rows (64 elements each) of a block that stays in the first-level cache, then the next
 * eight lanes through the same rows. Every lane still sees its elements in ascending order. Of the
 * last, incomplete row the groups of eight that are whole are walked too; up to seven elements
 * remain, each the last of its lane.
 *
 * The product of two floats is exact in double, so it may be fused with its addition; the square of
 * a difference is not. */
#include <math.h>

#include "kernels/lanes.h"
#include "kernels/neon_linear.h"

#if defined(QK_HAS_NEON)

enum { GROUP = 8, QUADS = 4, BLOCK = 16 * QK_LANES };

/* Eight lanes of doubles. */
typedef struct octet {
    float64x2_t v[QUADS];
} octet;

static inline octet doubles(float32x4_t low, float32x4_t high)
{
    octet o = {{vcvt_f64_f32(vget_low_f32(low)), vcvt_high_f64_f32(low),
                vcvt_f64_f32(vget_low_f32(high)), vcvt_high_f64_f32(high)}};
    return o;
}

static inline octet load_floats(const float *x)
{
    return doubles(vld1q_f32(x), vld1q_f32(x + 4));
}

static inline octet load_lanes(const double *lane)
{
    octet o = {{vld1q_f64(lane), vld1q_f64(lane + 2), vld1q_f64(lane + 4), vld1q_f64(lane + 6)}};
    return o;
}

static inline void store_lanes(double *lane, octet o)
{
    QK_UNROLLED
    for (int q = 0; q < QUADS; q++) {
        vst1q_f64(lane + 2 * q, o.v[q]);
    }
}

/* x and y are floats. */
static inline void add_product(octet *sum, octet x, octet y)
{
    QK_UNROLLED
    for (int q = 0; q < QUADS; q++) {
        sum->v[q] = vfmaq_f64(sum->v[q], x.v[q], y.v[q]);
    }
}

static inline void add_square(octet *sum, octet e)
{
    QK_UNROLLED
    for (int q = 0; q < QUADS; q++) {
        sum->v[q] = vaddq_f64(sum->v[q], vmulq_f64(e.v[q], e.v[q]));
    }
}

static inline octet difference(octet x, octet y)
{
    octet e;
    QK_UNROLLED
    for (int q = 0; q < QUADS; q++) {
        e.v[q] = vsubq_f64(x.v[q], y.v[q]);
    }
    return e;
}

/* One past the last element at which a group of a block of m elements can begin. */
static inline size_t end_of_group(size_t m)
{
    return m < GROUP ? 0 : m - GROUP + 1;
}

double qk_dot_f32_neon(const float *x, const float *y, size_t n)
{
    double lane[QK_LANES] = {0};
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t end = end_of_group(n - begin < BLOCK ? n - begin : BLOCK);
        for (size_t g = 0; g < QK_LANES && g < end; g += GROUP) {
            octet sum = load_lanes(lane + g);
            for (size_t i = begin + g; i < begin + end; i += QK_LANES) {
                add_product(&sum, load_floats(x + i), load_floats(y + i));
            }
            store_lanes(lane + g, sum);
        }
    }
    for (size_t i = n - n % GROUP; i < n; i++) {
        lane[i % QK_LANES] += (double)x[i] * (double)y[i];
    }
    return qk_fold_lanes(lane);
}

/* Four values as encode and decode would give them. */
static inline float32x4_t copy_of(float32x4_t x, const grid *g)
{
    int32x4_t code = vcvtq_s32_f32(clamped(unclamped(x, g), g));
    return scaled(vsubq_s32(code, vcvtq_s32_f32(g->zero)), g);
}

double qk_sse_linear_neon(const float *x, size_t n, qk_linear p)
{
    const grid g = grid_of(p);
    double lane[QK_LANES] = {0};
    if (p.scale == 0.0f) {
        return qk_dot_f32_neon(x, x, n); /* the copy is all zeros: (x - 0)^2 */
    }
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t end = end_of_group(n - begin < BLOCK ? n - begin : BLOCK);
        for (size_t k = 0; k < QK_LANES && k < end; k += GROUP) {
            octet sum = load_lanes(lane + k);
            for (size_t i = begin + k; i < begin + end; i += QK_LANES) {
                float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + 4);
                octet copy = doubles(copy_of(a, &g), copy_of(b, &g));
                add_square(&sum, difference(doubles(a, b), copy));
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
    return qk_fold_lanes(lane);
}

/* One group of eight lanes through the rows of a block. FMAXNM passes a NaN over: the caller sees
 * it in the energies. */
static inline float64x2_t walk_group(qk_energies *s, size_t g, const float *ref, const float *got,
                                     size_t end, float64x2_t most)
{
    octet ref2 = load_lanes(s->ref2 + g), got2 = load_lanes(s->got2 + g);
    octet dot = load_lanes(s->dot + g), err2 = load_lanes(s->err2 + g);
    for (size_t i = g; i < end; i += QK_LANES) {
        octet w = load_floats(ref + i), y = load_floats(got + i), e = difference(w, y);
        add_product(&ref2, w, w);
        add_product(&got2, y, y);
        add_product(&dot, w, y);
        add_square(&err2, e);
        QK_UNROLLED
        for (int q = 0; q < QUADS; q++) {
            most = vmaxnmq_f64(most, vabsq_f64(e.v[q]));
        }
    }
    store_lanes(s->ref2 + g, ref2);
    store_lanes(s->got2 + g, got2);
    store_lanes(s->dot + g, dot);
    store_lanes(s->err2 + g, err2);
    return most;
}

void qk_fidelity_f32_neon(const float *ref, const float *got, size_t n, qk_fidelity *out)
{
    qk_energies s = {{0}, {0}, {0}, {0}};
    double most = 0.0;
    size_t where = 0; /* begin of the block that raised `most` */
    for (size_t begin = 0; begin < n; begin += BLOCK) {
        const size_t end = end_of_group(n - begin < BLOCK ? n - begin : BLOCK);
        float64x2_t here = vdupq_n_f64(most);
        for (size_t g = 0; g < QK_LANES && g < end; g += GROUP) {
            here = walk_group(&s, g, ref + begin, got + begin, end, here);
        }
        if (vmaxvq_f64(here) > most) {
            most = vmaxvq_f64(here);
            where = begin;
        }
    }
    qk_add_rest(&s, ref, got, n - n % GROUP, n, &most, &where);
    out->ref2 = qk_fold_lanes(s.ref2);
    out->got2 = qk_fold_lanes(s.got2);
    out->dot = qk_fold_lanes(s.dot);
    out->err2 = qk_fold_lanes(s.err2);
    qk_place_most(ref, got, n, most, where, out);
}

#endif
