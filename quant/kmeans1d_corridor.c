/* SPDX-License-Identifier: Apache-2.0 */
/* The rare case in which plain double cannot tell the best path from its rivals, decided in
 * double-double among the few nodes that matter.
 *
 * Sums of squares f(m) of the best paths with m links are convex in m, and so they are for the
 * paths to any node; at the penalty f(k-1) - f(k) >= p >= f(k) - f(k+1) a path of k links is among
 * the cheapest. The link counts of cheapest paths to a node form a whole range fewest .. most, so
 * a cheapest path of exactly k links is found backwards: any predecessor that is tied and has
 * k - 1 in its range will do, and the leftmost is wanted. Leftmost from the last boundary down is
 * leftmost in every boundary, for the boundaries' minimum of two optimal paths is optimal. */
#include "quant/kmeans1d_internal.h"

static quant_dd at(quant_dd_array a, size_t i)
{
    return (quant_dd){a.hi[i], a.lo[i]};
}

static quant_dd cost(const quant_kmeans1d_corridor *c, size_t i, size_t t)
{
    return quant_kmeans1d_cost_of(c->sums, i, t, c->id[t] - c->id[i]);
}

static quant_dd through(const quant_kmeans1d_corridor *c, size_t i, size_t t)
{
    return quant_dd_add(at(c->f, i), cost(c, i, t));
}

/* Cheaper, or tied with fewer (sign < 0) or more (sign > 0) links. */
static int beats(const quant_kmeans1d_corridor *c, const uint32_t *links, int sign, size_t young,
                 size_t old, size_t t)
{
    quant_dd gain = quant_dd_sub(through(c, old, t), through(c, young, t));
    if (gain.hi > c->tie || gain.hi < -c->tie) {
        return gain.hi > 0;
    }
    return sign < 0 ? links[young] < links[old] : links[young] > links[old];
}

static size_t crossing(const quant_kmeans1d_corridor *c, const uint32_t *links, int sign,
                       const size_t pair[2], size_t low, size_t high)
{
    for (size_t step = 1; high - low > 1;) {
        size_t probe = step < high - low ? low + step : low + (high - low) / 2;
        if (beats(c, links, sign, pair[0], pair[1], probe)) {
            high = probe;
            step = high - low; /* bisect from here on */
        } else {
            low = probe;
            step *= 2;
        }
    }
    return high;
}

/* The queue of kmeans1d_path.c over the nodes of the corridor. */
static void run(quant_kmeans1d_corridor *c, quant_dd penalty, uint32_t *links, int sign)
{
    size_t head = 0, tail = 0, end = c->m - 1;
    c->f.hi[0] = c->f.lo[0] = 0;
    links[0] = c->candidate[0] = 0;
    c->start[0] = 1;
    for (size_t j = 1;; j++) {
        while (head < tail && c->start[head + 1] <= j) {
            head++;
        }
        size_t high = end + 1, i = c->candidate[head];
        quant_dd f = quant_dd_add(through(c, i, j), penalty);
        c->f.hi[j] = f.hi;
        c->f.lo[j] = f.lo;
        links[j] = links[i] + 1;
        if (j == end) {
            return;
        }
        while (c->start[tail] > j && beats(c, links, sign, j, c->candidate[tail], c->start[tail])) {
            high = c->start[tail--];
        }
        size_t low = c->start[tail] > j ? c->start[tail] : j;
        size_t start = crossing(c, links, sign, (size_t[2]){j, c->candidate[tail]}, low, high);
        if (start <= end) {
            c->candidate[++tail] = (uint32_t)j;
            c->start[tail] = (uint32_t)start;
        }
    }
}

/* Best sums of squares with fewer and with more links than wanted, and the penalty between. */
typedef struct bracket {
    size_t few, many;
    quant_dd f_few, f_many;
} bracket;

static bracket widest(const quant_kmeans1d_corridor *c)
{
    bracket b = {1, c->m - 1, cost(c, 0, c->m - 1), {0, 0}};
    for (size_t v = 1; v < c->m; v++) {
        b.f_many = quant_dd_add(b.f_many, cost(c, v - 1, v));
    }
    return b;
}

static quant_dd chord(const bracket *b)
{
    return quant_dd_div(quant_dd_sub(b->f_few, b->f_many), quant_dd_of((double)(b->many - b->few)));
}

/* Set fewest and most for a penalty at which k is between them. The chord of a bracket touches
 * f at its ends only, or else a path below it gives a smaller bracket: at most k + m steps, a
 * handful in practice. A bracket that rounding keeps from shrinking is settled by a wider tie. */
static quant_dd settle(quant_kmeans1d_corridor *c, size_t k, quant_dd penalty)
{
    bracket b = widest(c);
    for (;;) {
        run(c, penalty, c->most, 1);
        run(c, penalty, c->fewest, -1);
        size_t fewest = c->fewest[c->m - 1], most = c->most[c->m - 1];
        if (fewest <= k && k <= most) {
            return penalty;
        }
        size_t links = most < k ? most : fewest;
        quant_dd paid = quant_dd_mul(penalty, quant_dd_of((double)links));
        quant_dd f = quant_dd_sub(at(c->f, c->m - 1), paid);
        if (most < k && most > b.few) {
            b.few = most;
            b.f_few = f;
        } else if (fewest > k && fewest < b.many) {
            b.many = fewest;
            b.f_many = f;
        } else if (quant_dd_less(chord(&b), penalty) || quant_dd_less(penalty, chord(&b))) {
            penalty = chord(&b);
            continue;
        } else {
            c->tie = c->tie > 0 ? 16 * c->tie : 0x1p-1000;
        }
        penalty = chord(&b);
    }
}

void quant_kmeans1d_corridor_run(quant_kmeans1d_corridor *c, size_t k, double guess,
                                 size_t *first)
{
    quant_dd penalty = settle(c, k, quant_dd_of(guess));
    size_t j = c->m - 1;
    for (size_t links = k; links-- > 1;) {
        quant_dd limit = quant_dd_sub(quant_dd_add(at(c->f, j), quant_dd_of(c->tie)), penalty);
        size_t i = 0;
        while (i + 1 < j && (c->fewest[i] > links || c->most[i] < links ||
                             quant_dd_less(limit, through(c, i, j)))) {
            i++;
        }
        j = i;
        first[links] = c->id[j];
    }
    first[0] = 0;
}
