/* SPDX-License-Identifier: Apache-2.0 */
/* Running sums over points, and the figures of a finished partition. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"

/* 2^-exponent as two factors, since one alone overflows for subnormal data. */
static void split_power(int exponent, double factor[2])
{
    factor[0] = ldexp(1.0, -(exponent / 2));
    factor[1] = ldexp(1.0, -(exponent - exponent / 2));
}

static double scaled_value(const quant_kmeans1d_sums *a, const quant_points *p, size_t i)
{
    return p->value[i] * a->value_scale[0] * a->value_scale[1];
}

static double scaled_weight(const quant_kmeans1d_sums *a, const quant_points *p, size_t i)
{
    return p->weight ? p->weight[i] * a->weight_scale[0] * a->weight_scale[1] : 1.0;
}

/* Neighbours of an array as they lie, scaled. */
static inline quant_lanes scaled_lanes(const double *x, const double scale[2])
{
    return *(const quant_lanes_at *)x * scale[0] * scale[1];
}

static inline quant_lanes weights_at(const quant_kmeans1d_sums *a, const quant_points *p, size_t i)
{
    const quant_lanes one = {1, 1};
    return p->weight ? scaled_lanes(p->weight + i, a->weight_scale) : one;
}

static double larger(double x, double y)
{
    return x > y ? x : y;
}

static double fold(quant_lanes x)
{
    return x[0] + x[1];
}

/* Sum of the weights, or the heaviest where that overflows; whether all are counts, whose sums are
 * exact. */
static double mass_of(const quant_points *p, int *counts)
{
    const double big = 0x1p52;
    quant_lanes sum = {0}, uneven = {0};
    size_t i = 0;
    for (; i + QUANT_LANES <= p->n; i += QUANT_LANES) {
        quant_lanes w = *(const quant_lanes_at *)(p->weight + i), whole = w + big, d;
        d = (whole - big) - w;
        uneven += d * d;
        sum += w;
    }
    double all = fold(sum), apart = fold(uneven);
    for (; i < p->n; i++) {
        double w = p->weight[i], whole = w + big, d = (whole - big) - w;
        apart += d * d;
        all += w;
    }
    *counts = apart == 0 && 2 * all < big;
    for (i = 0; !isfinite(all) && i < p->n; i++) {
        all = larger(isfinite(all) ? all : 0, p->weight[i]);
    }
    return all;
}

static void choose_scales(quant_kmeans1d_sums *a, const quant_points *p)
{
    double low = fabs(p->value[0]), high = fabs(p->value[p->n - 1]);
    frexp(low > high ? low : high, &a->value_exponent);
    a->weight_exponent = 0;
    a->counts = 1;
    if (p->weight) {
        frexp(mass_of(p, &a->counts), &a->weight_exponent);
    }
    split_power(a->value_exponent, a->value_scale);
    split_power(a->weight_exponent, a->weight_scale);
}

/* The mean only has to be near: it moves the origin to where the squares are small. */
static double rough_mean(const quant_kmeans1d_sums *a, const quant_points *p)
{
    quant_lanes w = {0}, s = {0};
    size_t i = 0;
    for (; i + QUANT_LANES <= p->n; i += QUANT_LANES) {
        quant_lanes weight = weights_at(a, p, i);
        w += weight;
        s += weight * scaled_lanes(p->value + i, a->value_scale);
    }
    for (; i < p->n; i++) {
        double weight = scaled_weight(a, p, i);
        w[0] += weight;
        s[0] += weight * scaled_value(a, p, i);
    }
    return fold(s) / fold(w);
}

static void put(quant_dd_array a, size_t i, quant_dd x)
{
    a.hi[i] = x.hi;
    a.lo[i] = x.lo;
}

static void begin(quant_kmeans1d_sums *a, const quant_points *p)
{
    a->n = p->n;
    choose_scales(a, p);
    a->mean = rough_mean(a, p);
    put(a->w, 0, quant_dd_of(0));
    put(a->s, 0, quant_dd_of(0));
    put(a->q, 0, quant_dd_of(0));
}

/* sum.hi += x, the rounding error gathered in sum.lo. */
static inline void gather(quant_dd *sum, double x)
{
    quant_dd s = quant_dd_two_sum(sum->hi, x);
    sum->hi = s.hi;
    sum->lo += s.lo;
}

void quant_kmeans1d_sums_fill_at(quant_kmeans1d_sums *a, const quant_points *p, const uint32_t *id,
                                 size_t m)
{
    quant_dd w = {0, 0}, s = {0, 0}, q = {0, 0};
    size_t t = 1;
    begin(a, p);
    for (size_t i = 0; i < p->n; i++) {
        quant_dd x = quant_dd_two_sum(scaled_value(a, p, i), -a->mean);
        quant_dd weight = quant_dd_of(scaled_weight(a, p, i)), wx = quant_dd_mul(x, weight);
        w = quant_dd_add(w, weight);
        s = quant_dd_add(s, wx);
        q = quant_dd_add(q, quant_dd_mul(wx, x));
        if (!id || id[t] == i + 1) {
            put(a->w, t, w);
            put(a->s, t, s);
            put(a->q, t++, q);
        }
    }
    a->square = q.hi;
    a->total = quant_kmeans1d_cost_of(a, 0, m - 1, p->n).hi;
}

void quant_kmeans1d_sums_fill(quant_kmeans1d_sums *a, const quant_points *p)
{
    quant_kmeans1d_sums_fill_at(a, p, NULL, p->n + 1);
}

/* Prefixes of two terms behind a sum, which moves on behind them. */
static inline quant_lanes behind(quant_dd *sum, quant_lanes term)
{
    quant_lanes p = {term[0], term[0] + term[1]};
    quant_lanes all = sum->hi + (sum->lo + p);
    gather(sum, p[1]);
    return all;
}

/* Weights that vanish beside their sum raise it all the same: dw is never 0. How many did. */
static double raise_sums(double *w, size_t n)
{
    double raised = 0;
    for (size_t i = 0; i < n; i++) {
        double least = w[i] * (1 + 0x1p-52);
        raised += w[i + 1] < least;
        w[i + 1] = w[i + 1] < least ? least : w[i + 1];
    }
    return raised;
}

typedef struct running {
    quant_dd w, s, q;
    double peak; /* largest |s| */
} running;

/* Two points at node i: sums of w and s to nodes i + 1 and i + 2. */
static inline void fill_two(running *r, quant_lanes value, quant_lanes weight, double *w,
                             double *s)
{
    quant_lanes wx = weight * value;
    *(quant_lanes_at *)w = behind(&r->w, weight);
    *(quant_lanes_at *)s = behind(&r->s, wx);
    behind(&r->q, wx * value);
    r->peak = larger(r->peak, fabs(r->s.hi));
}

static running fill_rough(quant_kmeans1d_sums *a, const quant_points *p)
{
    running r = {{0, 0}, {0, 0}, {0, 0}, 0};
    double w[QUANT_LANES], s[QUANT_LANES];
    size_t i = 0;
    for (; i + QUANT_LANES <= p->n; i += QUANT_LANES) {
        fill_two(&r, scaled_lanes(p->value + i, a->value_scale) - a->mean, weights_at(a, p, i),
                 a->w.hi + i + 1, a->s.hi + i + 1);
    }
    if (i < p->n) { /* nothing lies behind the last */
        quant_lanes x = {scaled_value(a, p, i) - a->mean, 0}, m = {scaled_weight(a, p, i), 0};
        fill_two(&r, x, m, w, s);
        a->w.hi[i + 1] = w[0];
        a->s.hi[i + 1] = s[0];
    }
    return r;
}

/* The bound, with u = 2^-53, X = max |x|, S = max |s|, for the links of a whole path together:
 * a sum is stored with an error of u of itself and 2 u of the terms of its two points, by
 * magnitude. Sums of squares are taken at both ends of all points only, and cost 4 u q[n]. The
 * error of s enters with the factor 2 m, m the mean of the link, so that neighbours leave
 * 2 (m - m'), over the path 2 u S 2 X, for the means ascend, and 16 u S X for the few terms, of
 * which at most two nodes a pair and twice S can be concerned; that of w likewise with m^2, 10 u
 * w[n] X^2, and not at all when weights are counts. Terms w x and w x^2 are off by 2 u and 4 u of
 * themselves, over the path by 8 u q[n]; the four operations of a link by 4 u dq, over the path
 * 4 u q[n]. */
double quant_kmeans1d_sums_rough(quant_kmeans1d_sums *a, const quant_points *p)
{
    begin(a, p);
    running r = fill_rough(a, p);
    double raised = a->counts ? 0 : raise_sums(a->w.hi, p->n);
    double far = larger(fabs(scaled_value(a, p, 0) - a->mean),
                        fabs(scaled_value(a, p, a->n - 1) - a->mean));
    a->square = r.q.hi + r.q.lo;
    a->total = a->square - a->s.hi[a->n] * a->s.hi[a->n] / a->w.hi[a->n];
    double uneven = a->counts ? 0 : (10 + 4 * raised) * far * far * a->w.hi[a->n];
    return 0x1p-53 * (16 * a->square + 20 * far * r.peak + uneven);
}

static inline void gather_lanes(quant_lanes *hi, quant_lanes *lo, quant_lanes x)
{
    quant_lanes s = *hi + x, t = s - *hi;
    *lo += (*hi - (s - t)) + (x - t);
    *hi = s;
}

static quant_dd fold_dd(quant_lanes hi, quant_lanes lo)
{
    quant_dd sum = {hi[0], fold(lo)};
    gather(&sum, hi[1]);
    return sum;
}

/* Distance from the cluster's first value to its mean: differences of neighbours are exact or
 * nearly so, whatever the offset. */
static double mean_step(const quant_kmeans1d_sums *a, const quant_points *p, size_t from, size_t to)
{
    quant_lanes w = {0}, w_lost = {0}, s = {0}, s_lost = {0};
    double anchor = scaled_value(a, p, from);
    size_t i = from;
    for (; i + QUANT_LANES <= to; i += QUANT_LANES) {
        quant_lanes weight = weights_at(a, p, i);
        gather_lanes(&w, &w_lost, weight);
        gather_lanes(&s, &s_lost, weight * (scaled_lanes(p->value + i, a->value_scale) - anchor));
    }
    quant_dd mass = fold_dd(w, w_lost), sum = fold_dd(s, s_lost);
    for (; i < to; i++) {
        double weight = scaled_weight(a, p, i);
        gather(&mass, weight);
        gather(&sum, weight * (scaled_value(a, p, i) - anchor));
    }
    double step = (sum.hi + sum.lo) / (mass.hi + mass.lo); /* weights that vanish leave 0 / 0 */
    return step > 0 ? step : 0;
}

/* sse += squares of a cluster about anchor + step. */
static void add_squares(const quant_kmeans1d_sums *a, const quant_points *p, size_t from, size_t to,
                        double step, quant_dd *sse)
{
    quant_lanes sum = {0}, lost = {0};
    double anchor = scaled_value(a, p, from);
    size_t i = from;
    for (; i + QUANT_LANES <= to; i += QUANT_LANES) {
        quant_lanes d = (scaled_lanes(p->value + i, a->value_scale) - anchor) - step;
        gather_lanes(&sum, &lost, weights_at(a, p, i) * (d * d));
    }
    quant_dd part = fold_dd(sum, lost);
    for (; i < to; i++) {
        double d = (scaled_value(a, p, i) - anchor) - step;
        gather(&part, scaled_weight(a, p, i) * (d * d));
    }
    gather(sse, part.hi);
    sse->lo += part.lo;
}

double quant_kmeans1d_unscaled(const quant_kmeans1d_sums *a, double sse)
{
    return ldexp(sse, 2 * a->value_exponent + a->weight_exponent);
}

void quant_kmeans1d_finish(const quant_kmeans1d_sums *a, const quant_points *p,
                           quant_clusters *clusters)
{
    quant_dd sse = {0, 0};
    for (size_t c = 0; c < clusters->k; c++) {
        size_t from = clusters->first[c], to = c + 1 < clusters->k ? clusters->first[c + 1] : p->n;
        double anchor = scaled_value(a, p, from), step = mean_step(a, p, from, to);
        add_squares(a, p, from, to, step, &sse);
        double centroid = ldexp(anchor + step, a->value_exponent), last = p->value[to - 1];
        clusters->centroid[c] = from + 1 == to || centroid > last ? last : centroid;
    }
    clusters->sse = quant_kmeans1d_unscaled(a, sse.hi + sse.lo);
}

static quant_status check_points(quant_context *ctx, const quant_points *p)
{
    for (size_t i = 0; i < p->n; i++) {
        if (!isfinite(p->value[i])) {
            return quant_fail(ctx, QUANT_EINVAL, "k-means: value %zu: expected finite, found %g", i,
                              p->value[i]);
        }
        if (i > 0 && !(p->value[i - 1] < p->value[i])) {
            return quant_fail(ctx, QUANT_EINVAL,
                              "k-means: value %zu: expected above %.17g, found %.17g", i,
                              p->value[i - 1], p->value[i]);
        }
        if (p->weight && !(p->weight[i] > 0 && isfinite(p->weight[i]))) {
            return quant_fail(ctx, QUANT_EINVAL,
                              "k-means: weight %zu: expected positive and finite, found %g", i,
                              p->weight[i]);
        }
    }
    return QUANT_OK;
}

quant_status quant_kmeans1d_check(quant_context *ctx, const quant_points *p, size_t k,
                                  const quant_clusters *clusters)
{
    if (!p || !p->value || !clusters || !clusters->first || !clusters->centroid) {
        return quant_fail(ctx, QUANT_EINVAL, "k-means: points or clusters: expected an array, "
                                             "found NULL");
    }
    if (k < 1 || k > QUANT_KMEANS1D_MAX_K) {
        return quant_fail(ctx, QUANT_EINVAL, "k-means: k: expected 1..%d, found %zu",
                          QUANT_KMEANS1D_MAX_K, k);
    }
    if (p->n < 1) {
        return quant_fail(ctx, QUANT_EINVAL, "k-means: points: expected at least 1, found 0");
    }
    return check_points(ctx, p);
}
