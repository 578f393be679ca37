/* SPDX-License-Identifier: Apache-2.0 */
/* Cheapest path from node 0 to node n when every link costs its sum of squares plus a penalty.
 *
 * Costs obey the quadrangle inequality c(a,c) + c(b,d) <= c(a,d) + c(b,c) for a < b < c < d, so
 * once a later predecessor beats an earlier one it does so for good. The predecessors that are
 * best somewhere ahead form a queue, each with the node from which it is best (Hirschberg and
 * Larmore 1987; Galil and Park 1990): O(n log n), near O(n) here since the crossing of a new
 * predecessor lies a few nodes behind the one of the predecessor before. */
#include "quant/kmeans1d_internal.h"

/* Cost of reaching t through i, without what all predecessors of t share. */
static inline double through(const quant_kmeans1d_path *p, size_t i, size_t t)
{
    double s = p->s[t] - p->s[i], w = p->w[t] - p->w[i];
    return p->g[i] - s * s / (w > p->least ? w : p->least);
}

static inline int beats(const quant_kmeans1d_path *p, size_t young, size_t old, size_t t)
{
    return through(p, young, t) < through(p, old, t);
}

/* The first node in (low, high] from which young beats old, where it does not at low and does at
 * high; high itself is not looked at. Gallops, since the answer is mostly near low. */
static size_t crossing(const quant_kmeans1d_path *p, size_t young, size_t old, size_t low,
                       size_t high)
{
    for (size_t step = 1; high - low > step; step *= 2) {
        if (beats(p, young, old, low + step)) {
            high = low + step;
        } else {
            low += step;
        }
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (beats(p, young, old, middle)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    return high;
}

static size_t count_links(const quant_kmeans1d_path *p)
{
    size_t links = 0;
    for (size_t j = p->n; j > 0; j = p->from[j]) {
        links++;
    }
    return links;
}

size_t quant_kmeans1d_path_run(quant_kmeans1d_path *p, double penalty)
{
    size_t head = 0, tail = 0, n = p->n;
    p->f[0] = 0;
    p->g[0] = -p->q[0];
    p->candidate[0] = 0;
    p->start[0] = 1;
    for (size_t j = 1;; j++) {
        while (head < tail && p->start[head + 1] <= j) {
            head++;
        }
        size_t high = n + 1, i = p->candidate[head];
        p->g[j] = through(p, i, j) + penalty;
        p->f[j] = p->g[j] + p->q[j];
        p->from[j] = (uint32_t)i;
        if (j == n) {
            return count_links(p);
        }
        while (p->start[tail] > j && beats(p, j, p->candidate[tail], p->start[tail])) {
            high = p->start[tail--];
        }
        size_t low = p->start[tail] > j ? p->start[tail] : j;
        size_t start = crossing(p, j, p->candidate[tail], low, high);
        if (start <= n) {
            p->candidate[++tail] = (uint32_t)j;
            p->start[tail] = (uint32_t)start;
        }
    }
}

/* Let a path tied up to slack leave ours, going backwards, at node d by the link a -> d, and let
 * our links be b -> c -> d. For a < b the quadrangle inequality gives
 *     excess(a -> d) - excess(b -> d) >= excess(a -> c) - excess(b -> c) = excess(a -> c) >= 0,
 * so b -> d is tied up to slack too. Hence predecessors of d from b on tell, 2 n in all. */
int quant_kmeans1d_path_alone(const quant_kmeans1d_path *p, double penalty, double slack)
{
    for (size_t d = p->n; d > 0; d = p->from[d]) {
        size_t c = p->from[d], b = c > 0 ? p->from[c] : 0, near = 0;
        double limit = p->f[d] + slack - penalty - p->q[d];
        for (size_t i = b; i < d; i++) {
            near += through(p, i, d) <= limit;
        }
        if (near > 1) { /* c itself is one */
            return 0;
        }
    }
    return 1;
}
