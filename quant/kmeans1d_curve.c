/* SPDX-License-Identifier: Apache-2.0 */
/* The optimum for every number of clusters. Least sums of squares f(k) are convex in k, so the
 * cheapest path at the penalty (f(a) - f(b)) / (b - a) has between a and b links, and strictly
 * between unless f is straight from a to b: each path gives a k that was not known. Where rounding
 * or ties leave a doubt, that k is decided by itself. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"

typedef struct tracing {
    const quant_points *points;
    quant_point_list list; /* the same */
    quant_curve *curve;
    void *work;
    quant_kmeans1d_scratch t;
    quant_kmeans1d_sums exact; /* for the bounds, where t's sums are too rough */
    size_t first[QUANT_KMEANS1D_MAX_K];
    double centroid[QUANT_KMEANS1D_MAX_K];
    double f[QUANT_KMEANS1D_MAX_K + 1]; /* scaled, for the penalties; 0: not known yet */
} tracing;

/* -sum p log2 p over the clusters' shares of the weight. */
static double entropy_of(const tracing *c, size_t k)
{
    const double *w = c->t.sums.w.hi;
    size_t n = c->points->n;
    double bits = 0;
    for (size_t j = 0; j < k; j++) {
        size_t end = j + 1 < k ? c->first[j + 1] : n;
        double share = (w[end] - w[c->first[j]]) / w[n];
        bits -= share > 0 ? share * quant_log(share) : 0;
    }
    return bits > 0 ? bits / 0.693147180559945309417 : 0;
}

static void record(const tracing *c, size_t k, const quant_clusters *q)
{
    quant_curve *v = c->curve;
    v->sse[k - 1] = q->sse;
    if (v->lower_bound) {
        v->lower_bound[k - 1] = q->lower_bound;
    }
    if (v->entropy) {
        v->entropy[k - 1] = entropy_of(c, q->k);
    }
    if (v->centroid) {
        double *row = v->centroid + k * (k - 1) / 2;
        memcpy(row, c->centroid, q->k * sizeof *row);
        memset(row + q->k, 0, (k - q->k) * sizeof *row);
    }
}

static quant_clusters room_of(tracing *c, size_t k)
{
    return (quant_clusters){.k = k, .first = c->first, .centroid = c->centroid};
}

/* This k alone. */
static void decide(tracing *c, size_t k)
{
    quant_clusters q = room_of(c, k);
    quant_kmeans1d_run(c->points, k, c->work, &q);
    quant_kmeans1d_begin(&c->t, &c->list); /* the run has left its own */
    c->t.exact = &c->exact;
    record(c, k, &q);
    c->f[k] = ldexp(q.sse, -2 * c->t.sums.value_exponent - c->t.sums.weight_exponent);
}

/* The path that was just found, of k links. */
static void take(tracing *c, size_t k, double penalty)
{
    size_t n = c->points->n;
    c->f[k] = c->t.path.g[n] + c->t.sums.square - penalty * (double)k;
    if (!quant_kmeans1d_path_alone(&c->t.path, penalty, quant_kmeans1d_margin(&c->t, k))) {
        decide(c, k);
        return;
    }
    quant_clusters q = room_of(c, k);
    quant_kmeans1d_take_path(&c->t.path, k, c->first);
    quant_kmeans1d_complete(&c->t, &c->list, &q, NULL);
    record(c, k, &q);
}

/* All k between a and b, which are known; at most 255 deep. */
static void between(tracing *c, size_t a, size_t b)
{
    while (b - a > 1) {
        double penalty = (c->f[a] - c->f[b]) / (double)(b - a);
        size_t k = quant_kmeans1d_path_run(&c->t.path, penalty);
        if (k <= a || k >= b) { /* straight, as far as rounding can tell */
            k = a + (b - a) / 2;
            decide(c, k);
        } else {
            take(c, k, penalty);
        }
        between(c, a, k);
        a = k;
    }
}

static quant_status check(quant_context *ctx, const quant_points *points, const quant_curve *curve)
{
    size_t first;
    double centroid;
    quant_clusters room = {.first = &first, .centroid = &centroid};
    if (!curve || !curve->sse) {
        return quant_fail(ctx, QUANT_EINVAL, "k-means: curve: expected an array, found NULL");
    }
    return quant_kmeans1d_check(ctx, points, curve->most, &room);
}

static void trace(tracing *c)
{
    size_t n = c->points->n, most = c->curve->most, last = most < n ? most : n;
    decide(c, 1);
    if (last > 1) {
        decide(c, last);
    }
    for (size_t k = last + 1; k <= most; k++) { /* no point is left to part */
        quant_clusters q = room_of(c, n);
        record(c, k, &q);
    }
    between(c, 1, last);
}

quant_status quant_kmeans1d_curve(quant_context *ctx, const quant_points *points,
                                  quant_curve *curve)
{
    QUANT_TRY(check(ctx, points, curve));
    size_t stride = points->n + 1, bytes = quant_kmeans1d_work_bytes(points->n, curve->most);
    if (bytes == 0) {
        return quant_fail(ctx, QUANT_ENOMEM, "memory: %zu points do not fit", points->n);
    }
    tracing c = {.points = points, .list = quant_point_list_of(points), .curve = curve};
    c.work = quant_alloc(ctx, bytes, 1);
    double *sums = quant_alloc(ctx, 6 * sizeof *sums, stride);
    if (c.work && sums) {
        c.exact.w = (quant_dd_array){sums, sums + stride};
        c.exact.s = (quant_dd_array){sums + 2 * stride, sums + 3 * stride};
        c.exact.q = (quant_dd_array){sums + 4 * stride, sums + 5 * stride};
        quant_kmeans1d_sums_fill(&c.exact, &c.list);
        quant_kmeans1d_divide(&c.t, stride, c.work);
        trace(&c);
    }
    quant_status s = c.work && sums ? QUANT_OK : QUANT_ENOMEM;
    quant_release(ctx, sums, 6 * sizeof *sums, stride);
    quant_release(ctx, c.work, bytes, 1);
    return s;
}
