/* SPDX-License-Identifier: Apache-2.0 */
/* Cheapest path from node 0 to node n when every link costs its sum of squares plus a penalty.
 *
 * Costs obey the quadrangle inequality c(a,c) + c(b,d) <= c(a,d) + c(b,c) for a < b < c < d, so
 * once a later predecessor beats an earlier one it does so for good. The predecessors that are
 * best somewhere ahead form a queue, each with the node from which it is best (Hirschberg and
 * Larmore 1987; Galil and Park 1990): O(n log n), near O(n) here since the crossing of a new
 * predecessor lies a few nodes behind the one of the predecessor before. */
#include "quant/kmeans1d_internal.h"

/* Four neighbouring nodes at once; plain lanes of the same arithmetic. */
enum { LANES = 4 };
typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));
typedef int64_t lanes_mask __attribute__((vector_size(LANES * sizeof(int64_t))));

/* As they lie in an array of double. */
typedef double lanes_at __attribute__((vector_size(LANES * sizeof(double)), aligned(8), may_alias));

/* Cost of reaching t through i, without what all predecessors of t share. */
static inline double through(const quant_kmeans1d_path *p, size_t i, size_t t)
{
    double s = p->s[t] - p->s[i], w = p->w[t] - p->w[i];
    return p->g[i] - s * s / w;
}

static inline int beats(const quant_kmeans1d_path *p, size_t young, size_t old, size_t t)
{
    return through(p, young, t) < through(p, old, t);
}

/* At how many of the nodes t .. t + 3 young beats old: at the last so many. */
static inline size_t wins(const quant_kmeans1d_path *p, size_t young, size_t old, size_t t)
{
    lanes s = *(const lanes_at *)(p->s + t), w = *(const lanes_at *)(p->w + t);
    lanes sy = s - p->s[young], wy = w - p->w[young], so = s - p->s[old], wo = w - p->w[old];
    lanes_mask won = p->g[young] - sy * sy / wy < p->g[old] - so * so / wo;
    return (size_t)-(won[0] + won[1] + won[2] + won[3]);
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

/* The node from which young is best, n + 1 when there is none; those at the end of the queue whose
 * whole stretch it takes are dropped. */
static size_t take_over(const quant_kmeans1d_path *p, size_t young, size_t *tail)
{
    size_t end = *tail, high = p->n + 1;
    for (;;) {
        size_t low = p->start[end], old = p->candidate[end];
        if (low <= young) {
            *tail = end;
            return crossing(p, young, old, young, high);
        }
        if (low + LANES > high) {
            if (!beats(p, young, old, low)) {
                *tail = end;
                return crossing(p, young, old, low, high);
            }
        } else {
            size_t won = wins(p, young, old, low);
            if (won < LANES) {
                *tail = end;
                return won > 0 ? low + LANES - won : crossing(p, young, old, low + LANES - 1, high);
            }
        }
        high = low;
        end--;
    }
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
        size_t i = p->candidate[head];
        p->g[j] = through(p, i, j) + penalty;
        p->f[j] = p->g[j] + p->q[j];
        p->from[j] = (uint32_t)i;
        if (j == n) {
            return count_links(p);
        }
        size_t start = take_over(p, j, &tail);
        if (start <= n) {
            p->candidate[++tail] = (uint32_t)j;
            p->start[tail] = (uint32_t)start;
        }
    }
}

/* How many nodes of [from, d) reach d at no more than limit. */
static size_t count_within(const quant_kmeans1d_path *p, size_t from, size_t d, double limit)
{
    lanes_mask count = {0};
    size_t near = 0;
    for (; from + LANES <= d; from += LANES) {
        lanes s = p->s[d] - *(const lanes_at *)(p->s + from);
        lanes w = p->w[d] - *(const lanes_at *)(p->w + from);
        count += *(const lanes_at *)(p->g + from) - s * s / w <= limit;
    }
    for (; from < d; from++) {
        near += through(p, from, d) <= limit;
    }
    return near + (size_t)-(count[0] + count[1] + count[2] + count[3]);
}

/* Let a path tied up to slack leave ours, going backwards, at node d by the link a -> d, and let
 * our links be b -> c -> d. For a < b the quadrangle inequality gives
 *     excess(a -> d) - excess(b -> d) >= excess(a -> c) - excess(b -> c) = excess(a -> c) >= 0,
 * so b -> d is tied up to slack too. Hence predecessors of d from b on tell, 2 n in all. */
int quant_kmeans1d_path_alone(const quant_kmeans1d_path *p, double penalty, double slack)
{
    for (size_t d = p->n; d > 0; d = p->from[d]) {
        size_t c = p->from[d], b = c > 0 ? p->from[c] : 0, near;
        double limit = p->f[d] + slack - penalty - p->q[d];
        near = count_within(p, b, d, limit);
        if (near > 1) { /* c itself is one */
            return 0;
        }
    }
    return 1;
}
