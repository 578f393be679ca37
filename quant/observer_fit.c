/* SPDX-License-Identifier: Apache-2.0 */
/* observer_fit.c - from what was seen to a grid, and what the grid costs. */
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "quant/activation.h"
#include "quant/entropy.h"
#include "quant/internal.h"
#include "quant/linear_range.h"
#include "quant/observer_bins.h"

/* A group on its way to a grid. */
typedef struct work {
    const quant_observer *o;
    uint64_t g, n;
    double lowest, highest, most; /* extremes; the larger magnitude */
    bool asymmetric;
} work;

typedef struct limits {
    double lowest, highest;
} limits;

static quant_activation_grid grid_of(bool asymmetric, limits v)
{
    return quant_activation_grid_of(asymmetric, (float)v.lowest, (float)v.highest);
}

/* ---- error ---------------------------------------------------------------------------------- */

/* Integral over u = 0 .. x of (u - nearest of 0, s, ..., K s)^2: whole cells of s^3/12 and the rest
 * from the nearest level; beyond the last one the same with K. */
static double integral(double x, double s, double last)
{
    double k = rint(x / s);
    k = k < last ? k : last;
    double rest = x - k * s;
    return k * (s * s * s) / 12 + rest * rest * rest / 3;
}

static double cube_below(double x, double from)
{
    double d = x > from ? x - from : 0;
    return d * d * d / 3;
}

/* Mean of the squared distance over [from, to] to the codes 0 .. last of step s. */
static double mean_error(const observer_span *v, double s, double last)
{
    if (v->to > v->from) {
        return (integral(v->to, s, last) - integral(v->from, s, last)) / (v->to - v->from);
    }
    double k = rint(v->from / s), e;
    k = k < last ? k : last;
    e = v->from - k * s;
    return e * e;
}

/* What of it comes from beyond `edge`, the codes ending at `end`; and the share that lies there. */
static double mean_clipping(const observer_span *v, double edge, double end, double *share)
{
    if (v->to <= edge) {
        *share = 0;
        return 0;
    }
    if (v->from >= v->to) {
        *share = 1;
        return (v->to - end) * (v->to - end);
    }
    double from = v->from > edge ? v->from : edge, width = v->to - v->from;
    *share = (v->to - from) / width;
    return (cube_below(v->to, end) - cube_below(from, end)) / width;
}

static void add_span(quant_activation_error *e, const observer_span *v, double s, double last)
{
    double n = (double)v->n, share = 0, clipped = 0;
    double square = (v->from * v->from + v->from * v->to + v->to * v->to) / 3, all = square;
    if (s > 0) {
        all = mean_error(v, s, last);
        clipped = mean_clipping(v, (last + 0.5) * s, last * s, &share);
    }
    e->energy2 += n * square;
    e->saturated += n * share;
    e->clipping2 += n * clipped;
    e->rounding2 += n * (all > clipped ? all - clipped : 0);
}

quant_activation_error quant_observer_predict(const quant_observer *o, uint64_t g,
                                              const quant_activation_grid *grid)
{
    quant_activation_error e = {0, 0, 0, 0};
    for (int sign = 0; sign < 2; sign++) {
        observer_reach r = observer_reach_of(o, g, sign);
        double last = sign ? grid->zero - grid->lowest : grid->highest - grid->zero;
        for (uint32_t b = 0; b < QUANT_OBSERVER_BINS; b++) {
            observer_span v = observer_span_of(o, g, sign, b, r);
            if (v.n > 0) {
                add_span(&e, &v, (double)grid->scale, last);
            }
        }
    }
    return e;
}

/* ---- rules ---------------------------------------------------------------------------------- */

static limits by_extremes(const work *w)
{
    return (limits){w->lowest, w->highest};
}

static limits by_average(const work *w)
{
    const quant_observer *o = w->o;
    limits r = {0, 0};
    bool begun = false;
    for (uint64_t b = 0; b < o->batches; b++) {
        double lowest = (double)o->batch_lowest[b * o->groups + w->g];
        double highest = (double)o->batch_highest[b * o->groups + w->g];
        if (o->batch_rows[b] > 0 && !w->asymmetric) { /* the magnitude is what is averaged */
            highest = -lowest > highest ? -lowest : highest;
            lowest = -highest;
        }
        if (o->batch_rows[b] > 0) {
            r.lowest = begun ? 0.9 * r.lowest + 0.1 * lowest : lowest;
            r.highest = begun ? 0.9 * r.highest + 0.1 * highest : highest;
            begun = true;
        }
    }
    return r;
}

/* The `rank`-th value from the far end of a sign (descending): upper edge of its bin, 0 when it is
 * not of that sign. */
static double from_end(const work *w, int sign, uint64_t rank)
{
    observer_reach r = observer_reach_of(w->o, w->g, sign);
    for (uint32_t b = QUANT_OBSERVER_BINS; b-- > 0;) {
        observer_span v = observer_span_of(w->o, w->g, sign, b, r);
        if (v.n >= rank) {
            return v.to;
        }
        rank -= v.n;
    }
    return 0;
}

static double magnitude_from_end(const work *w, uint64_t rank)
{
    const observer_reach all = {0, w->most};
    for (uint32_t b = QUANT_OBSERVER_BINS; b-- > 0;) {
        observer_span p = observer_span_of(w->o, w->g, 0, b, all);
        observer_span m = observer_span_of(w->o, w->g, 1, b, all);
        if (p.n + m.n >= rank) {
            return p.to;
        }
        rank -= p.n + m.n;
    }
    return 0;
}

static limits by_percentile(const work *w, double percent)
{
    double of = w->asymmetric ? 50 + percent / 2 : percent;
    uint64_t rank = w->n - quant_percentile_rank(w->n, of) + 1;
    limits r;
    if (w->asymmetric) {
        r = (limits){-from_end(w, 1, rank), from_end(w, 0, rank)};
    } else {
        r.highest = magnitude_from_end(w, rank);
        r.lowest = -r.highest;
    }
    return r.lowest < 0 || r.highest > 0 ? r : by_extremes(w);
}

static double cost(const work *w, limits v)
{
    quant_activation_grid grid = grid_of(w->asymmetric, v);
    quant_activation_error e = quant_observer_predict(w->o, w->g, &grid);
    return e.rounding2 + e.clipping2;
}

/* Which ends a search moves. */
enum { LOWEST = 1, HIGHEST = 2, BOTH = 3 };

static limits scaled(limits v, int ends, double by)
{
    return (limits){ends & LOWEST ? v.lowest * by : v.lowest,
                    ends & HIGHEST ? v.highest * by : v.highest};
}

/* The best of from * ratio^0 .. ratio^(n - 1), ties to the first; *best is kept when none is
 * better. */
static void try_ratios(const work *w, limits from, int ends, double ratio, int n, limits *best,
                       double *least)
{
    double by = 1;
    for (int i = 0; i < n; i++, by *= ratio) {
        limits v = scaled(from, ends, by);
        double e = cost(w, v);
        if (e < *least) {
            *least = e;
            *best = v;
        }
    }
}

#define EIGHTH 0x1.d5818dcfba487p-1 /* 2^-(1/8) */
#define FINE 0x1.fd3c22b8f71f1p-1   /* 2^-(1/128) */

static limits by_error(const work *w)
{
    static const int turns[] = {BOTH, HIGHEST, LOWEST, HIGHEST, LOWEST, HIGHEST, LOWEST};
    limits full = w->asymmetric ? by_extremes(w) : (limits){-w->most, w->most}, best = full;
    double least = cost(w, full);
    size_t n = w->asymmetric ? sizeof turns / sizeof *turns : 1;
    for (size_t t = 0; t < n; t++) {
        limits from = {turns[t] & LOWEST ? full.lowest : best.lowest,
                       turns[t] & HIGHEST ? full.highest : best.highest};
        try_ratios(w, from, turns[t], EIGHTH, 128, &best, &least);
        limits near = scaled(best, turns[t], 1 / EIGHTH);
        near.lowest = near.lowest < full.lowest ? full.lowest : near.lowest;
        near.highest = near.highest > full.highest ? full.highest : near.highest;
        try_ratios(w, near, turns[t], FINE, 32, &best, &least);
    }
    return best;
}

/* ---- entropy -------------------------------------------------------------------------------- */

static void spread(double *bin, const observer_span *v, double width)
{
    int last = (int)(v->to / width), from = (int)(v->from / width);
    last = last < QUANT_ENTROPY_BINS ? last : QUANT_ENTROPY_BINS - 1;
    from = from < last ? from : last;
    for (int i = from; i <= last; i++) {
        double a = i * width > v->from ? i * width : v->from;
        double b = i < last ? (i + 1) * width : v->to;
        bin[i] += v->to > v->from ? (double)v->n * ((b - a) / (v->to - v->from)) : (double)v->n;
    }
}

/* |x| in evenly wide bins. */
static void count_evenly(const work *w, double bin[QUANT_ENTROPY_BINS])
{
    double width = w->most / QUANT_ENTROPY_BINS;
    for (int sign = 0; sign < 2; sign++) {
        observer_reach r = observer_reach_of(w->o, w->g, sign);
        for (uint32_t b = 0; b < QUANT_OBSERVER_BINS; b++) {
            observer_span v = observer_span_of(w->o, w->g, sign, b, r);
            if (v.n > 0) {
                spread(bin, &v, width);
            }
        }
    }
}

static limits by_entropy(const work *w)
{
    double bin[QUANT_ENTROPY_BINS] = {(double)w->o->small[w->g]};
    count_evenly(w, bin);
    int best = quant_entropy_limit(bin, (double)w->n, QUANT_ENTROPY_LEVELS);
    double limit = w->most * best / QUANT_ENTROPY_BINS;
    if (w->asymmetric) {
        return (limits){w->lowest < -limit ? -limit : w->lowest,
                        w->highest > limit ? limit : w->highest};
    }
    return (limits){-limit, limit};
}

static limits by_rule(const work *w, const quant_activation *how)
{
    switch (how->rule) {
    case QUANT_OBSERVER_EMA:
        return by_average(w);
    case QUANT_OBSERVER_PERCENTILE:
        return by_percentile(w, how->percentile);
    case QUANT_OBSERVER_MSE:
        return by_error(w);
    case QUANT_OBSERVER_ENTROPY:
        return by_entropy(w);
    default:
        return by_extremes(w);
    }
}

quant_status quant_observer_fit(quant_context *ctx, const quant_observer *o, uint64_t group,
                                const quant_activation *how, quant_activation_grid *grid)
{
    if (!o || !how || !grid || !(how->percentile > 0 && how->percentile <= 100)) {
        return quant_fail(ctx, QUANT_EINVAL, "observer: expected a rule that was parsed");
    }
    if (group >= o->groups || o->rows == 0) {
        return quant_fail(ctx, QUANT_ERANGE, "observer: expected one of %" PRIu64 " groups that "
                          "saw rows, found group %" PRIu64 " and %" PRIu64 " rows",
                          o->groups, group, o->rows);
    }
    float lowest, highest;
    observer_extremes(o, group, &lowest, &highest);
    work w = {o, group, o->rows * (o->groups == 1 ? o->cols : 1), (double)lowest, (double)highest,
              (double)(-lowest > highest ? -lowest : highest), how->asymmetric};
    bool nothing = !(w.most > 0);
    *grid = grid_of(how->asymmetric, nothing ? by_extremes(&w) : by_rule(&w, how));
    return QUANT_OK;
}
