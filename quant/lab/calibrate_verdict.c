/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_verdict.c - shares, ratios with their intervals, and the rule. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/calibrate_parts.h"
#include "quant/lab/propagate_parts.h"
#include "quant/random.h"

typedef struct draws {
    lab_curve *w;
    uint16_t *times;
    double *scratch; /* for each task [3][LAB_RESAMPLES], [inputs] */
} draws;

void lab_curve_draw(const lab_curve *w, uint16_t *times)
{
    quant_random stream = quant_random_stream(w->c->options.seed, "calibrate.bootstrap");
    memset(times, 0, LAB_RESAMPLES * w->units * sizeof *times);
    for (size_t b = 0; b < LAB_RESAMPLES; b++) {
        for (size_t i = 0; i < w->units; i++) {
            times[b * w->units + quant_random_below(&stream, b * w->units + i, w->units)]++;
        }
    }
}

double lab_curve_total(const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum;
}

double lab_curve_weighted(const uint16_t *times, const double *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += times[i] * x[i];
    }
    return sum;
}

/* sqrt(a / b): 1 when both are 0, infinite when only b is. */
static double ratio_of(double a, double b)
{
    return a == 0 && b == 0 ? 1 : sqrt(a / b);
}

/* ---- cells ---------------------------------------------------------------------------------- */

/* What a slot had measured, or the slot of the same grid. */
static const double *error2_of(const lab_curve *w, const lab_measure *m, size_t slot)
{
    return m->same[slot] == SIZE_MAX ? NULL : lab_error2(w, m, m->same[slot]);
}

static quant_adequacy_cell *cell_at(const lab_curve *w, size_t scheme, size_t point, size_t input)
{
    size_t points = lab_points(w);
    return &w->c->cells[(scheme * points + point) * w->c->input_count + input];
}

static void fill_cell(const lab_curve *w, size_t scheme, size_t point, size_t input)
{
    const lab_measure *m = lab_measure_at(w, input, scheme);
    const double *output2 = w->output2 + input * w->units;
    const double *error2 = error2_of(w, m, point), *limit2 = error2_of(w, m, LAB_LIMIT);
    size_t usual = lab_point(w, QUANT_SOURCE_PROMPTS, w->c->count_n - 1);
    double elements = (double)w->c->inputs[input].elements, none = (double)NAN;
    quant_adequacy_cell *c = cell_at(w, scheme, point, input);
    *c = (quant_adequacy_cell){.reached = m->reached[point], .scale = none, .saturated = none,
                            .flipped = none, .error = none, .ratio = none, .low = none,
                            .high = none};
    if (!c->reached) {
        return;
    }
    c->scale = m->reached[usual] ? (double)m->grid[point].scale / (double)m->grid[usual].scale
                                 : none;
    if (elements > 0) {
        double own = lab_curve_total(error2, w->units);
        c->saturated = (double)m->saturated[m->same[point]] / elements;
        c->flipped = (double)m->flipped[m->same[point]] / elements;
        c->error = sqrt(own / lab_curve_total(output2, w->units));
        c->ratio = ratio_of(own, lab_curve_total(limit2, w->units));
    }
}

/* Saturated by the limit's grid, as a share. */
static double limit_saturation(const lab_curve *w, size_t scheme, size_t input)
{
    const lab_measure *m = lab_measure_at(w, input, scheme);
    return (double)m->saturated[m->same[LAB_LIMIT]] / (double)w->c->inputs[input].elements;
}

/* ---- one point ------------------------------------------------------------------------------ */

typedef struct sums {
    double *ratio, *own, *limit; /* [LAB_RESAMPLES]: of the input at work; pooled, both sides */
    double pooled_own, pooled_limit;
    size_t inputs;
} sums;

static void add_input(const draws *d, size_t scheme, size_t point, size_t input, sums *s)
{
    const lab_curve *w = d->w;
    const lab_measure *m = lab_measure_at(w, input, scheme);
    const double *own = error2_of(w, m, point), *limit = error2_of(w, m, LAB_LIMIT);
    const double *out = w->output2 + input * w->units;
    quant_adequacy_cell *c = cell_at(w, scheme, point, input);
    size_t used = 0;
    for (size_t b = 0; b < LAB_RESAMPLES && w->units > 1; b++) {
        const uint16_t *times = d->times + b * w->units;
        double e = lab_curve_weighted(times, own, w->units);
        double l = lab_curve_weighted(times, limit, w->units);
        double y = lab_curve_weighted(times, out, w->units);
        if (y > 0) {
            s->ratio[used++] = ratio_of(e, l);
            s->own[b] += e / y;
            s->limit[b] += l / y;
        }
    }
    double y = lab_curve_total(out, w->units);
    s->pooled_own += y > 0 ? lab_curve_total(own, w->units) / y : 0;
    s->pooled_limit += y > 0 ? lab_curve_total(limit, w->units) / y : 0;
    s->inputs += y > 0;
    if (used > 0) {
        c->low = lab_order_statistic(s->ratio, used, 0.025);
        c->high = lab_order_statistic(s->ratio, used, 0.975);
    }
    double more = c->saturated - limit_saturation(w, scheme, input);
    c->served = c->high <= 1 + w->c->options.error && more <= w->c->options.saturation;
}

static double median_of(double *x, size_t n)
{
    return n > 0 ? lab_order_statistic(x, n, 0.5) : (double)NAN;
}

/* Scales of the point over all inputs; room [inputs]. */
static void sum_scales(const lab_curve *w, size_t scheme, size_t point, double *room,
                       quant_adequacy_point *p)
{
    size_t n = 0;
    p->scale_least = p->scale_greatest = (double)NAN;
    for (size_t i = 0; i < w->c->input_count; i++) {
        const quant_adequacy_cell *c = cell_at(w, scheme, point, i);
        p->unreached += !c->reached;
        if (c->reached && !isnan(c->scale)) {
            room[n++] = c->scale;
        }
    }
    p->scale_median = median_of(room, n);
    if (n > 0) {
        p->scale_least = room[0];
        p->scale_greatest = room[n - 1];
    }
}

/* Shares of all held-out values. */
static void sum_shares(const lab_curve *w, size_t scheme, size_t point, quant_adequacy_point *p)
{
    double values = 0, saturated = 0, flipped = 0;
    for (size_t i = 0; i < w->c->input_count; i++) {
        const quant_adequacy_cell *c = cell_at(w, scheme, point, i);
        double n = (double)w->c->inputs[i].elements;
        if (c->reached && n > 0) {
            values += n;
            saturated += c->saturated * n;
            flipped += c->flipped * n;
        }
        p->unserved += n > 0 && !c->served;
    }
    p->saturated = saturated / values;
    p->flipped = flipped / values;
}

static void judge_point(const draws *d, size_t scheme, size_t point, double *scratch)
{
    const lab_curve *w = d->w;
    sums s = {.ratio = scratch, .own = scratch + LAB_RESAMPLES,
              .limit = scratch + 2 * LAB_RESAMPLES};
    quant_adequacy_point *p = &w->c->point[scheme][point];
    memset(s.own, 0, 2 * LAB_RESAMPLES * sizeof *s.own);
    for (size_t i = 0; i < w->c->input_count; i++) {
        fill_cell(w, scheme, point, i);
        if (cell_at(w, scheme, point, i)->reached && w->c->inputs[i].elements > 0) {
            add_input(d, scheme, point, i, &s);
        }
    }
    for (size_t b = 0; b < LAB_RESAMPLES; b++) {
        s.ratio[b] = ratio_of(s.own[b], s.limit[b]);
    }
    bool drawn = w->units > 1 && s.inputs > 0;
    p->error = sqrt(s.pooled_own / (double)s.inputs);
    p->ratio = s.inputs > 0 ? ratio_of(s.pooled_own, s.pooled_limit) : (double)NAN;
    p->low = drawn ? lab_order_statistic(s.ratio, LAB_RESAMPLES, 0.025) : (double)NAN;
    p->high = drawn ? lab_order_statistic(s.ratio, LAB_RESAMPLES, 0.975) : (double)NAN;
    sum_shares(w, scheme, point, p);
    sum_scales(w, scheme, point, scratch + 3 * LAB_RESAMPLES, p);
}

/* ---- over all ------------------------------------------------------------------------------- */

/* Root of the mean of squared relative errors of one slot. */
static double pooled_error(const lab_curve *w, size_t scheme, size_t slot)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < w->c->input_count; i++) {
        double y = lab_curve_total(w->output2 + i * w->units, w->units);
        if (w->c->inputs[i].elements > 0 && y > 0) {
            sum += lab_curve_total(error2_of(w, lab_measure_at(w, i, scheme), slot), w->units) / y;
            n++;
        }
    }
    return sqrt(sum / (double)n);
}

static void pool_spectra(const lab_curve *w, size_t point)
{
    quant_adequacy_spectra *s = &w->c->spectrum[point];
    double rank = 0;
    size_t n = 0;
    *s = (quant_adequacy_spectra){.smallest = (double)NAN};
    for (size_t i = 0; i < w->c->input_count; i++) {
        const quant_adequacy_spectrum *one = &w->c->spectra[point * w->c->input_count + i];
        if (isnan(one->effective_rank)) {
            continue;
        }
        n++;
        rank += one->effective_rank / (double)w->c->inputs[i].cols;
        s->singular += !one->resolved;
        if (one->resolved && !(one->smallest / one->largest >= s->smallest)) {
            s->smallest = one->smallest / one->largest;
        }
    }
    s->rank = n > 0 ? rank / (double)n : (double)NAN;
}

size_t lab_curve_from(const quant_adequacy *c, const bool *good)
{
    size_t first = c->count_n;
    while (first > 0 && good[first - 1]) {
        first--;
    }
    return first;
}

static void find_enough(const lab_curve *w, size_t scheme)
{
    bool good[QUANT_ADEQUACY_COUNTS];
    for (size_t i = 0; i < w->c->count_n; i++) {
        const quant_adequacy_point *p = &w->c->point[scheme][lab_point(w, QUANT_SOURCE_PROMPTS, i)];
        good[i] = p->unserved == 0 && p->unreached == 0;
    }
    w->c->enough[scheme] = lab_curve_from(w->c, good);
}

static void judge_all(draws *d)
{
    lab_curve *w = d->w;
    size_t points = lab_points(w), tasks = points * w->scheme_count;
    size_t room = 3 * LAB_RESAMPLES + w->c->input_count;
    int threads = quant_context_threads(w->ctx);
    lab_curve_draw(w, d->times);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t t = 0; t < tasks; t++) {
        judge_point(d, t / points, t % points, d->scratch + t * room);
    }
    for (size_t point = 0; point < QUANT_SOURCE_COUNT * w->c->count_n; point++) {
        pool_spectra(w, point);
    }
    for (size_t k = 0; k < w->scheme_count; k++) {
        w->c->limit[k] = pooled_error(w, k, LAB_LIMIT);
        w->c->weights[k] = pooled_error(w, k, LAB_FLOAT);
        find_enough(w, k);
    }
    for (size_t i = 0; i < w->c->input_count; i++) {
        w->c->measured += w->c->inputs[i].elements > 0;
    }
}

quant_status lab_curve_judge(lab_curve *w)
{
    size_t tasks = lab_points(w) * w->scheme_count;
    size_t room = tasks * (3 * LAB_RESAMPLES + w->c->input_count), count = LAB_RESAMPLES * w->units;
    draws d = {.w = w, .times = quant_alloc(w->ctx, count, sizeof *d.times),
               .scratch = quant_alloc(w->ctx, room, sizeof *d.scratch)};
    quant_status s = d.times && d.scratch ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        judge_all(&d);
    }
    quant_release(w->ctx, d.times, count, sizeof *d.times);
    quant_release(w->ctx, d.scratch, room, sizeof *d.scratch);
    return s;
}
