/* SPDX-License-Identifier: Apache-2.0 */
/* The specification of kmeans1d.h: best[m][j] is the least sum of squares of the first j points in
 * exactly m clusters, best[m][j] = min over i of best[m-1][i] + cost(i, j), every i tried. */
#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"

static void fill_layer(const quant_kmeans1d_sums *a, size_t m, const quant_dd *before,
                       quant_dd *layer)
{
    for (size_t j = m; j <= a->n; j++) {
        layer[j] = quant_dd_add(before[m - 1], quant_kmeans1d_cost(a, m - 1, j));
        for (size_t i = m; i < j; i++) {
            quant_dd v = quant_dd_add(before[i], quant_kmeans1d_cost(a, i, j));
            layer[j] = quant_dd_less(v, layer[j]) ? v : layer[j];
        }
    }
}

/* The leftmost start of the last of m clusters over the first j points, among those that tie. */
static size_t leftmost(const quant_kmeans1d_sums *a, const quant_dd *before, quant_dd best,
                       size_t m, size_t j)
{
    quant_dd limit = quant_dd_add(best, quant_dd_of(QUANT_KMEANS1D_TIE * a->total));
    size_t i = m - 1;
    while (quant_dd_less(limit, quant_dd_add(before[i], quant_kmeans1d_cost(a, i, j)))) {
        i++;
    }
    return i;
}

static void solve(const quant_kmeans1d_sums *a, quant_dd *best, quant_clusters *clusters)
{
    size_t stride = a->n + 1, k = clusters->k;
    for (size_t j = 1; j <= a->n; j++) {
        best[j] = quant_kmeans1d_cost(a, 0, j);
    }
    for (size_t m = 2; m <= k; m++) {
        fill_layer(a, m, best + (m - 2) * stride, best + (m - 1) * stride);
    }
    size_t end = a->n;
    for (size_t m = k; m > 1; m--) {
        end = leftmost(a, best + (m - 2) * stride, best[(m - 1) * stride + end], m, end);
        clusters->first[m - 1] = end;
    }
    clusters->first[0] = 0;
}

quant_status quant_kmeans1d_reference(quant_context *ctx, const quant_points *points, size_t k,
                                      quant_clusters *clusters)
{
    QUANT_TRY(quant_kmeans1d_check(ctx, points, k, clusters));
    clusters->k = k < points->n ? k : points->n;
    size_t rows = clusters->k + 3, stride; /* three of running sums, one a layer */
    if (__builtin_add_overflow(points->n, 1, &stride) || stride > SIZE_MAX / 64) {
        return quant_fail(ctx, QUANT_ENOMEM, "memory: %zu points do not fit", points->n);
    }
    quant_dd *room = quant_alloc(ctx, rows, stride * sizeof *room);
    if (!room) {
        return QUANT_ENOMEM;
    }
    double *part = (double *)(void *)(room + clusters->k * stride);
    quant_kmeans1d_sums sums = {.w = {part, part + stride},
                                .s = {part + 2 * stride, part + 3 * stride},
                                .q = {part + 4 * stride, part + 5 * stride}};
    const quant_point_list list = quant_point_list_of(points);
    quant_kmeans1d_sums_fill(&sums, &list);
    quant_dd *best = room;
    solve(&sums, best, clusters);
    quant_kmeans1d_finish(&sums, &list, clusters);
    clusters->lower_bound =
        quant_kmeans1d_unscaled(&sums, best[(clusters->k - 1) * stride + points->n].hi);
    quant_release(ctx, room, rows, stride * sizeof *room);
    return QUANT_OK;
}
