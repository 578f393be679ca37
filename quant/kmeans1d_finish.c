/* SPDX-License-Identifier: Apache-2.0 */
/* The figures of a finished partition, and what the arguments have to keep. */
#include <math.h>

#include "quant/internal.h"
#include "quant/kmeans1d_sums.h"

static inline void gather_lanes(quant_lanes *hi, quant_lanes *lo, quant_lanes x)
{
    quant_lanes s = *hi + x, t = s - *hi;
    *lo += (*hi - (s - t)) + (x - t);
    *hi = s;
}

static quant_dd fold_dd(quant_lanes hi, quant_lanes lo)
{
    quant_dd sum = {hi[0], quant_lanes_fold(lo)};
    quant_dd_gather(&sum, hi[1]);
    return sum;
}

/* Distance from the cluster's first value to its mean: differences of neighbours are exact or
 * nearly so, whatever the offset. */
static double mean_step(const quant_kmeans1d_sums *a, const quant_point_list *l, size_t from,
                        size_t to)
{
    double room[2 * QUANT_PART], anchor = quant_scaled(a, quant_point_value(l, from));
    quant_lanes w = {0}, w_lost = {0}, s = {0}, s_lost = {0};
    quant_points p;
    for (size_t at = from; at < to; at += p.n) {
        p = quant_points_part(l, at, to, room);
        for (size_t i = 0; i + QUANT_LANES <= p.n; i += QUANT_LANES) {
            quant_lanes weight = quant_scaled_weights(a, &p, i);
            quant_lanes x = quant_scaled_lanes(p.value + i, a->value_scale);
            gather_lanes(&w, &w_lost, weight);
            gather_lanes(&s, &s_lost, weight * (x - anchor));
        }
    }
    quant_dd mass = fold_dd(w, w_lost), sum = fold_dd(s, s_lost);
    if ((to - from) % QUANT_LANES) {
        p = quant_points_part(l, to - 1, to, room);
        double weight = quant_scaled_weight(a, &p, 0);
        quant_dd_gather(&mass, weight);
        quant_dd_gather(&sum, weight * (quant_scaled(a, p.value[0]) - anchor));
    }
    double step = (sum.hi + sum.lo) / (mass.hi + mass.lo); /* weights that vanish leave 0 / 0 */
    return step > 0 ? step : 0;
}

/* sse += squares of a cluster about anchor + step. */
static void add_squares(const quant_kmeans1d_sums *a, const quant_point_list *l, size_t from,
                        size_t to, double step, quant_dd *sse)
{
    double room[2 * QUANT_PART], anchor = quant_scaled(a, quant_point_value(l, from));
    quant_lanes sum = {0}, lost = {0};
    quant_points p;
    for (size_t at = from; at < to; at += p.n) {
        p = quant_points_part(l, at, to, room);
        for (size_t i = 0; i + QUANT_LANES <= p.n; i += QUANT_LANES) {
            quant_lanes d = (quant_scaled_lanes(p.value + i, a->value_scale) - anchor) - step;
            gather_lanes(&sum, &lost, quant_scaled_weights(a, &p, i) * (d * d));
        }
    }
    quant_dd part = fold_dd(sum, lost);
    if ((to - from) % QUANT_LANES) {
        p = quant_points_part(l, to - 1, to, room);
        double d = (quant_scaled(a, p.value[0]) - anchor) - step;
        quant_dd_gather(&part, quant_scaled_weight(a, &p, 0) * (d * d));
    }
    quant_dd_gather(sse, part.hi);
    sse->lo += part.lo;
}

double quant_kmeans1d_unscaled(const quant_kmeans1d_sums *a, double sse)
{
    return ldexp(sse, 2 * a->value_exponent + a->weight_exponent);
}

void quant_kmeans1d_finish(const quant_kmeans1d_sums *a, const quant_point_list *l,
                           quant_clusters *clusters)
{
    quant_dd sse = {0, 0};
    for (size_t c = 0; c < clusters->k; c++) {
        size_t from = clusters->first[c], to = c + 1 < clusters->k ? clusters->first[c + 1] : l->n;
        double step = mean_step(a, l, from, to), last = quant_point_value(l, to - 1);
        add_squares(a, l, from, to, step, &sse);
        double anchor = quant_scaled(a, quant_point_value(l, from));
        double centroid = ldexp(anchor + step, a->value_exponent);
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
