/* SPDX-License-Identifier: Apache-2.0 */
/* Sums of squares f(m) of the best m clusters are convex in m (links of a path whose costs obey
 * the quadrangle inequality: Aggarwal, Schieber and Tokuyama 1994), so that k clusters are the
 * cheapest at some penalty per cluster, and one cheapest path of any length per penalty replaces
 * k layers of a dynamic programme. The penalty is searched for; about two paths are needed.
 *
 * The path is found in plain double. When it leads every rival by more than rounding can
 * amount to, it is the one optimum. Otherwise the nodes on rivals' paths are collected and the
 * decision is taken among them in double-double, to the same boundaries as the reference.
 * Either way no clustering into k can be better: f(k) >= min over paths - k penalty. */
#include <math.h>

#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"

enum { DOUBLES = 10, WORDS = 5, STEPS = 48 };

size_t quant_kmeans1d_work_bytes(size_t max_points, size_t k)
{
    size_t bytes, each = DOUBLES * sizeof(double) + WORDS * sizeof(uint32_t);
    (void)k;
    if (max_points >= UINT32_MAX || __builtin_mul_overflow(max_points + 1, each, &bytes)) {
        return 0;
    }
    return bytes;
}

void quant_kmeans1d_divide(quant_kmeans1d_scratch *t, size_t stride, void *work)
{
    double *d = work;
    uint32_t *u = (uint32_t *)(void *)(d + DOUBLES * stride);
    t->sums.w = (quant_dd_array){d, d + stride};
    t->sums.s = (quant_dd_array){d + 2 * stride, d + 3 * stride};
    t->sums.q = (quant_dd_array){d + 4 * stride, d + 5 * stride};
    t->f = (quant_dd_array){d + 6 * stride, d + 7 * stride};
    t->behind = d + 8 * stride;
    t->path = (quant_kmeans1d_path){.n = stride - 1, .w = d, .s = d + 2 * stride,
                                    .g = d + 9 * stride, .from = u};
    t->start = u + stride;
    t->id = u + 2 * stride;
    t->fewest = u + 3 * stride;
    t->most = u + 4 * stride;
}

/* What is known of f and the penalties tried: few < k < many links, penalties above and below. */
typedef struct bracket {
    size_t few, many;
    double f_few, f_many;
    double above, below;
    int tried_above, tried_below;
} bracket;

static double chord(const bracket *b)
{
    return (b->f_few - b->f_many) / (double)(b->many - b->few);
}

static void narrow(bracket *b, size_t k, size_t links, double f, double penalty)
{
    if (links < k) {
        b->few = links;
        b->f_few = f;
        b->above = penalty;
        b->tried_above = 1;
    } else {
        b->many = links;
        b->f_many = f;
        b->below = penalty;
        b->tried_below = 1;
    }
}

/* Penalties go like links^-3. While one side only is known, extrapolate by that (from next door
 * not all the way: the guess was good, so the edge is near); between two sides interpolate
 * penalty^(-1/4), near linear in links and made of square roots. The chord is slower far away
 * but never fails to narrow the bracket: taken when near and when it lasts. */
static double next_penalty(const bracket *b, size_t k, size_t links, double penalty, int step)
{
    if (b->tried_above && b->tried_below && b->many - b->few > 2 && step < 8 && b->below > 0) {
        double high = 1 / sqrt(sqrt(b->below)), low = 1 / sqrt(sqrt(b->above));
        double x = low + (high - low) * (double)(k - b->few) / (double)(b->many - b->few);
        return 1 / (x * x * x * x);
    }
    if (!(b->tried_above && b->tried_below) && step < 4 && penalty > 0) {
        double short_of = links + 1 == k ? -0.4 : links == k + 1 ? 0.4 : 0;
        double ratio = ((double)links + 0.4) / ((double)k + short_of + 0.4);
        return penalty * ratio * ratio * ratio;
    }
    return chord(b);
}

/* A path of k links in plain double: each link adds three roundings of a cost up to q[n]. */
static double noise_of(const quant_kmeans1d_scratch *t, size_t k)
{
    return t->rough + 4 * 0x1p-53 * (double)k * t->sums.square;
}

double quant_kmeans1d_margin(const quant_kmeans1d_scratch *t, size_t k)
{
    return 4 * noise_of(t, k);
}

/* f(k) is below the chord by convexity. */
int quant_kmeans1d_search(quant_kmeans1d_scratch *t, size_t k, double *penalty, double *slack)
{
    size_t n = t->sums.n;
    double margin = quant_kmeans1d_margin(t, k);
    bracket b = {.few = 1, .many = n, .f_few = t->sums.total, .f_many = t->finest,
                 .above = INFINITY};
    for (int step = 0; step < STEPS; step++) {
        size_t links = quant_kmeans1d_path_run(&t->path, *penalty);
        double cheapest = t->path.g[n] + t->sums.square;
        if (links == k) {
            *slack = margin;
            return 1;
        }
        narrow(&b, k, links, cheapest - *penalty * (double)links, *penalty);
        double most = b.f_few - chord(&b) * (double)(k - b.few);
        *slack = most + *penalty * (double)k - cheapest + 2 * margin;
        double next = next_penalty(&b, k, links, *penalty, step);
        if (*slack <= 4 * margin || !(next > b.below && next < b.above) || next == *penalty) {
            break;
        }
        *penalty = next;
    }
    return 0;
}

/* Running sums from node n back to node 0, in their place: the same costs, read backwards. */
static void mirror(double *sum, size_t n)
{
    for (size_t i = 0; 2 * i <= n; i++) {
        double x = sum[i];
        sum[i] = -sum[n - i];
        sum[n - i] = -x;
    }
}

void quant_kmeans1d_begin(quant_kmeans1d_scratch *t, const quant_point_list *points)
{
    t->rough = quant_kmeans1d_sums_rough(&t->sums, points);
    t->finest = 0;
    t->exact = NULL;
}

void quant_kmeans1d_behind(quant_kmeans1d_scratch *t, double penalty)
{
    quant_kmeans1d_path back = t->path;
    back.g = t->behind;
    mirror(t->sums.w.hi, t->sums.n);
    mirror(t->sums.s.hi, t->sums.n);
    quant_kmeans1d_path_run(&back, penalty);
}

void quant_kmeans1d_settle(quant_kmeans1d_scratch *t, const quant_point_list *points, size_t m,
                           size_t k, double penalty, size_t *first)
{
    quant_kmeans1d_sums_fill_at(&t->sums, points, t->id, m);
    quant_kmeans1d_corridor c = {.sums = &t->sums, .id = t->id, .m = m,
                                 .f = t->f, .fewest = t->fewest,
                                 .most = t->most, .candidate = t->path.from,
                                 .start = t->start,
                                 .tie = QUANT_KMEANS1D_TIE * t->sums.total};
    quant_kmeans1d_corridor_run(&c, k, penalty, first);
}

static void decide(quant_kmeans1d_scratch *t, const quant_point_list *points, size_t k,
                   double penalty, double slack, size_t *first)
{
    size_t n = t->sums.n, m = 0;
    quant_kmeans1d_behind(t, penalty);
    double limit = t->path.g[n] + slack;
    for (; m <= k; limit = INFINITY) { /* all of them, should the bound ever prove too tight */
        m = 0;
        for (size_t i = 0; i <= n; i++) {
            if (quant_kmeans1d_near(t, i, limit)) {
                t->id[m++] = (uint32_t)i;
            }
        }
    }
    quant_kmeans1d_settle(t, points, m, k, penalty, first);
    quant_kmeans1d_begin(t, points); /* figures are the same, however the decision came about */
}

static void solve(quant_kmeans1d_scratch *t, const quant_point_list *points, size_t k,
                  size_t *first)
{
    double slack, penalty = quant_kmeans1d_penalty_guess(&t->sums, &points->wide, k, t->id);
    if (quant_kmeans1d_search(t, k, &penalty, &slack) &&
        quant_kmeans1d_path_alone(&t->path, penalty, slack)) {
        quant_kmeans1d_take_path(&t->path, k, first);
    } else {
        decide(t, points, k, penalty, slack, first);
    }
}

/* The dual value min over paths - k penalty at the optimum: the costs of its own links, taken from
 * the running sums and so apart from the two passes that give the SSE. Where the error of a path's
 * cost could show in ten digits, the sums are taken in double-double. */
static double lower_bound(quant_kmeans1d_scratch *t, const quant_point_list *points,
                          const quant_clusters *clusters, const uint32_t *id)
{
    size_t k = clusters->k;
    double noise = noise_of(t, k);
    int rough = quant_kmeans1d_unscaled(&t->sums, noise) <= 1e-10 * clusters->sse;
    const quant_kmeans1d_sums *a = rough || !t->exact ? &t->sums : t->exact;
    quant_dd bound = quant_dd_of(rough ? a->square : 0);
    if (!rough && !t->exact) {
        quant_kmeans1d_sums_fill_at(&t->sums, points, id, id ? k + 1 : points->n + 1);
    }
    for (size_t c = 0; c < k; c++) {
        size_t from = clusters->first[c], to = c + 1 < k ? clusters->first[c + 1] : points->n;
        size_t i = id ? c : from, j = id ? c + 1 : to;
        double s = a->s.hi[j] - a->s.hi[i], w = a->w.hi[j] - a->w.hi[i];
        bound = quant_dd_add(bound, rough ? quant_dd_of(-(s * s / w))
                                          : quant_kmeans1d_cost_of(a, i, j, to - from));
    }
    return quant_kmeans1d_unscaled(&t->sums, bound.hi);
}

void quant_kmeans1d_complete(quant_kmeans1d_scratch *t, const quant_point_list *points,
                             quant_clusters *clusters, const uint32_t *id)
{
    quant_kmeans1d_finish(&t->sums, points, clusters);
    clusters->lower_bound = lower_bound(t, points, clusters, id);
}

void quant_kmeans1d_take_path(const quant_kmeans1d_path *path, size_t k, size_t *first)
{
    for (size_t j = path->n, c = k; c-- > 0;) {
        j = path->from[j];
        first[c] = j;
    }
}

void quant_kmeans1d_run(const quant_points *points, size_t k, void *work,
                        quant_clusters *clusters)
{
    const quant_point_list list = quant_point_list_of(points);
    size_t nodes = quant_kmeans1d_level_nodes(points->n, k);
    if (nodes == 0 || !quant_kmeans1d_levels(&list, k, nodes, work, clusters)) {
        quant_kmeans1d_run_whole(points, k, work, clusters);
    }
}

void quant_kmeans1d_run_whole(const quant_points *points, size_t k, void *work,
                              quant_clusters *clusters)
{
    const quant_point_list list = quant_point_list_of(points);
    size_t n = points->n;
    quant_kmeans1d_scratch t;
    quant_kmeans1d_divide(&t, n + 1, work);
    quant_kmeans1d_begin(&t, &list);
    clusters->k = k < n ? k : n;
    if (clusters->k == 1 || clusters->k == n) {
        for (size_t c = 0; c < clusters->k; c++) {
            clusters->first[c] = c;
        }
    } else {
        solve(&t, &list, clusters->k, clusters->first);
    }
    quant_kmeans1d_complete(&t, &list, clusters, NULL);
}

/* In little room; QUANT_ENOMEM when that is refused or does not do. */
static quant_status run_levels(quant_context *ctx, const quant_points *points, size_t k,
                               quant_clusters *clusters)
{
    const quant_point_list list = quant_point_list_of(points);
    size_t nodes = quant_kmeans1d_level_nodes(points->n, k);
    size_t bytes = nodes ? quant_kmeans1d_work_bytes(nodes - 1, k) : 0;
    void *work = bytes ? quant_alloc(ctx, bytes, 1) : NULL;
    int done = work && quant_kmeans1d_levels(&list, k, nodes, work, clusters);
    quant_release(ctx, work, bytes, 1);
    return done ? QUANT_OK : QUANT_ENOMEM;
}

quant_status quant_kmeans1d(quant_context *ctx, const quant_points *points, size_t k,
                            quant_clusters *clusters)
{
    QUANT_TRY(quant_kmeans1d_check(ctx, points, k, clusters));
    size_t bytes = quant_kmeans1d_work_bytes(points->n, k);
    if (bytes == 0) {
        return quant_fail(ctx, QUANT_ENOMEM, "memory: %zu points do not fit", points->n);
    }
    if (run_levels(ctx, points, k, clusters) == QUANT_OK) {
        return QUANT_OK;
    }
    void *work = quant_alloc(ctx, bytes, 1);
    if (!work) {
        return QUANT_ENOMEM;
    }
    quant_kmeans1d_run_whole(points, k, work, clusters);
    quant_release(ctx, work, bytes, 1);
    return QUANT_OK;
}
