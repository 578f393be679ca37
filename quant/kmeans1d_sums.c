/* SPDX-License-Identifier: Apache-2.0 */
/* Running sums over points, and the figures of a finished partition. */
#include <math.h>

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

static void choose_scales(quant_kmeans1d_sums *a, const quant_points *p)
{
    double low = fabs(p->value[0]), high = fabs(p->value[p->n - 1]), heaviest = 0;
    for (size_t i = 0; p->weight && i < p->n; i++) {
        heaviest = p->weight[i] > heaviest ? p->weight[i] : heaviest;
    }
    frexp(low > high ? low : high, &a->value_exponent);
    a->weight_exponent = 0;
    if (p->weight) {
        frexp(heaviest, &a->weight_exponent);
    }
    split_power(a->value_exponent, a->value_scale);
    split_power(a->weight_exponent, a->weight_scale);
}

/* The mean only has to be near: it moves the origin to where the squares are small. */
static double rough_mean(const quant_kmeans1d_sums *a, const quant_points *p)
{
    double w = 0, s = 0;
    for (size_t i = 0; i < p->n; i++) {
        double weight = scaled_weight(a, p, i);
        w += weight;
        s += weight * scaled_value(a, p, i);
    }
    return s / w;
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

void quant_kmeans1d_sums_fill(quant_kmeans1d_sums *a, const quant_points *p)
{
    quant_dd w = {0, 0}, s = {0, 0}, q = {0, 0};
    begin(a, p);
    for (size_t i = 0; i < p->n; i++) {
        quant_dd x = quant_dd_two_sum(scaled_value(a, p, i), -a->mean);
        quant_dd weight = quant_dd_of(scaled_weight(a, p, i)), wx = quant_dd_mul(x, weight);
        put(a->w, i + 1, w = quant_dd_add(w, weight));
        put(a->s, i + 1, s = quant_dd_add(s, wx));
        put(a->q, i + 1, q = quant_dd_add(q, quant_dd_mul(wx, x)));
    }
    a->total = quant_kmeans1d_cost(a, 0, a->n).hi;
}

/* sum.hi += x, the rounding error gathered in sum.lo. */
static inline void gather(quant_dd *sum, double x)
{
    quant_dd s = quant_dd_two_sum(sum->hi, x);
    sum->hi = s.hi;
    sum->lo += s.lo;
}

/* The bound, with u = 2^-53, X = max |x|, S = max |s|, for the links of a whole path together:
 * a sum is stored with an error of u of itself. That of q cancels between neighbouring links;
 * that of s enters with the factor 2 m, m the mean of the link, so that neighbours leave
 * 2 (m - m'), over the path 2 u S 2 X, for the means ascend; that of w likewise with m^2,
 * 2 u w[n] X^2, and not at all when no addition of weights rounded, as with counts. Where a weight
 * vanishes beside its sum, the sum is raised by 2 u all the same: dw is never 0. Terms w x and
 * w x^2 are off by 2 u and 4 u of themselves, over the path by 8 u q[n]; the four operations of a
 * link by 4 u dq, over the path 4 u q[n]. */
double quant_kmeans1d_sums_rough(quant_kmeans1d_sums *a, const quant_points *p)
{
    quant_dd w = {0, 0}, s = {0, 0}, q = {0, 0};
    double far = 0, peak = 0, lost = 0, raised = 0;
    begin(a, p);
    for (size_t i = 0; i < p->n; i++) {
        double x = scaled_value(a, p, i) - a->mean;
        double weight = scaled_weight(a, p, i), wx = weight * x;
        gather(&w, weight);
        gather(&s, wx);
        gather(&q, wx * x);
        double rounded = w.hi + w.lo, least = a->w.hi[i] * (1 + 0x1p-52);
        raised += rounded < least;
        a->w.hi[i + 1] = rounded < least ? least : rounded;
        a->s.hi[i + 1] = s.hi + s.lo;
        a->q.hi[i + 1] = q.hi + q.lo;
        peak = fabs(s.hi) > peak ? fabs(s.hi) : peak;
        lost = fabs(w.lo) > lost ? fabs(w.lo) : lost;
    }
    far = fabs(scaled_value(a, p, 0) - a->mean);
    double high = fabs(scaled_value(a, p, a->n - 1) - a->mean);
    far = far > high ? far : high;
    a->total = q.hi - s.hi * s.hi / w.hi;
    double uneven = lost > 0 ? (2 + 4 * raised) * far * far * w.hi : 0;
    return 0x1p-53 * (12 * q.hi + 4 * far * peak + uneven);
}

/* Distance from the cluster's first value to its mean: differences of neighbours are exact or
 * nearly so, whatever the offset. */
static double mean_step(const quant_kmeans1d_sums *a, const quant_points *p, size_t from, size_t to)
{
    quant_dd w = {0, 0}, s = {0, 0};
    double anchor = scaled_value(a, p, from);
    for (size_t i = from; i < to; i++) {
        double weight = scaled_weight(a, p, i);
        gather(&w, weight);
        gather(&s, weight * (scaled_value(a, p, i) - anchor));
    }
    double step = (s.hi + s.lo) / (w.hi + w.lo); /* weights that vanish leave 0 / 0 */
    return step > 0 ? step : 0;
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
        for (size_t i = from; i < to; i++) {
            double d = (scaled_value(a, p, i) - anchor) - step;
            gather(&sse, scaled_weight(a, p, i) * (d * d));
        }
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
