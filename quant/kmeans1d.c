/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"

/* best[j] = min over i of before[i] + cost(i, j) for j >= m; the best i never decreases with j,
 * so the middle row of a span bounds the search of its neighbours: O(n log n). */
static void fill_layer(const quant_kmeans1d_sums *a, size_t m, const quant_dd *before,
                       quant_dd *best, size_t *argument)
{
    size_t rows = a->n + 1 - m, step = 1;
    while (step <= rows / 2) {
        step *= 2;
    }
    for (; step > 0; step /= 2) {
        for (size_t r = step - 1; r < rows; r += 2 * step) {
            size_t j = m + r, low = r >= step ? argument[r - step] : m - 1;
            size_t high = r + step < rows && argument[r + step] < j ? argument[r + step] : j - 1;
            best[j] = quant_dd_add(before[low], quant_kmeans1d_cost(a, low, j));
            argument[r] = low;
            for (size_t i = low + 1; i <= high; i++) {
                quant_dd v = quant_dd_add(before[i], quant_kmeans1d_cost(a, i, j));
                if (quant_dd_less(v, best[j])) {
                    best[j] = v;
                    argument[r] = i;
                }
            }
        }
    }
}

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

size_t quant_kmeans1d_work_bytes(size_t max_points, size_t k)
{
    size_t room = k < max_points ? k : max_points, stride, bytes;
    if (__builtin_add_overflow(max_points, 1, &stride) ||
        __builtin_mul_overflow(stride, (room + 4) * sizeof(quant_dd), &bytes)) {
        return 0;
    }
    return bytes;
}

void quant_kmeans1d_run(const quant_points *points, size_t k, void *work,
                        quant_clusters *clusters)
{
    size_t stride = points->n + 1;
    quant_dd *room = work, *best = room + 3 * stride;
    quant_kmeans1d_sums sums = {.w = room, .s = room + stride, .q = room + 2 * stride};
    quant_kmeans1d_sums_fill(&sums, points);
    clusters->k = k < points->n ? k : points->n;
    size_t *argument = (size_t *)(void *)(best + clusters->k * stride), end = points->n;
    for (size_t j = 1; j <= points->n; j++) {
        best[j] = quant_kmeans1d_cost(&sums, 0, j);
    }
    for (size_t m = 2; m <= clusters->k; m++) {
        fill_layer(&sums, m, best + (m - 2) * stride, best + (m - 1) * stride, argument);
    }
    double bound = best[(clusters->k - 1) * stride + end].hi;
    for (size_t m = clusters->k; m > 1; m--) {
        end = leftmost(&sums, best + (m - 2) * stride, best[(m - 1) * stride + end], m, end);
        clusters->first[m - 1] = end;
    }
    clusters->first[0] = 0;
    quant_kmeans1d_finish(&sums, points, bound, clusters);
}

quant_status quant_kmeans1d(quant_context *ctx, const quant_points *points, size_t k,
                            quant_clusters *clusters)
{
    QUANT_TRY(quant_kmeans1d_check(ctx, points, k, clusters));
    size_t bytes = quant_kmeans1d_work_bytes(points->n, k);
    if (bytes == 0) {
        return quant_fail(ctx, QUANT_ENOMEM, "memory: %zu points do not fit", points->n);
    }
    void *work = quant_alloc(ctx, bytes, 1);
    if (!work) {
        return QUANT_ENOMEM;
    }
    quant_kmeans1d_run(points, k, work, clusters);
    quant_release(ctx, work, bytes, 1);
    return QUANT_OK;
}
