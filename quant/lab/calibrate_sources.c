/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_sources.c - what prompts, random tokens and random inputs would set static scales to,
 * after so many sequences. Sequences reach an input in order, so one pass serves all counts. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/adapt_lapacke.h"
#include "quant/lab/calibrate_parts.h"
#include "quant/random.h"

/* ---- snapshots ------------------------------------------------------------------------------ */

static quant_status take_spectrum(const lab_curve *w, const lab_site *s, size_t unit,
                                  quant_adequacy_spectrum *out)
{
    size_t n = s->cols;
    *out = (quant_adequacy_spectrum){s->observer[unit]->rows, (double)NAN, (double)NAN, (double)NAN,
                                  false};
    if (!s->moments || out->rows == 0) {
        return QUANT_OK;
    }
    double *m = quant_alloc(w->ctx, n * n + n, sizeof *m), sum = 0, entropy = 0;
    if (!m) {
        return QUANT_ENOMEM;
    }
    double *values = m + n * n;
    memcpy(m, s->moments + unit * n * n, n * n * sizeof *m);
    quant_status status = lab_eigenvalues(w->ctx, m, n, values);
    for (size_t i = 0; i < n; i++) {
        sum += fmax(values[i], 0);
    }
    for (size_t i = 0; i < n; i++) {
        double p = values[i] / sum;
        entropy -= p > 0 ? p * log(p) : 0;
    }
    if (status == QUANT_OK && sum > 0) {
        out->effective_rank = exp(entropy);
        out->smallest = values[0];
        out->largest = values[n - 1];
        out->resolved = values[0] > (double)n * DBL_EPSILON * values[n - 1];
    }
    quant_release(w->ctx, m, n * n + n, sizeof *m);
    return status;
}

static quant_status take_grids(const lab_curve *w, const quant_observer *o, size_t input,
                               size_t slot)
{
    for (size_t k = 0; k < w->scheme_count; k++) {
        lab_measure *m = lab_measure_at(w, input, k);
        m->reached[slot] = o->rows > 0;
        if (o->rows > 0) {
            QUANT_TRY(quant_observer_fit(w->ctx, o, 0, &w->schemes[k].activation,
                                         &m->grid[slot]));
        }
    }
    return QUANT_OK;
}

static quant_status snapshot(lab_curve *w, const quant_stats *stats, quant_site site, size_t unit)
{
    const lab_site *s = &stats->site[site];
    size_t input = w->offset[site] + unit;
    size_t point = lab_point(w, w->lane, w->taken[input]++);
    QUANT_TRY(take_grids(w, s->observer[unit], input, point));
    return w->lane < QUANT_SOURCE_COUNT
               ? take_spectrum(w, s, unit, &w->c->spectra[point * w->c->input_count + input])
               : QUANT_OK;
}

static quant_status before(void *user, const quant_stats *stats, quant_site site, size_t unit,
                           size_t batch)
{
    lab_curve *w = user;
    size_t input = w->offset[site] + unit;
    while (w->taken[input] < w->c->count_n && w->c->count[w->taken[input]] <= batch) {
        QUANT_TRY(snapshot(w, stats, site, unit));
    }
    return QUANT_OK;
}

/* Those for which no row came any more. */
static quant_status snapshot_rest(lab_curve *w, const quant_stats *stats)
{
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        for (size_t u = 0; u < stats->site[k].units; u++) {
            while (w->taken[w->offset[k] + u] < w->c->count_n) {
                QUANT_TRY(snapshot(w, stats, (quant_site)k, u));
            }
        }
    }
    memset(w->taken, 0, w->c->input_count * sizeof *w->taken);
    return QUANT_OK;
}

/* ---- passes --------------------------------------------------------------------------------- */

typedef struct pass {
    lab_curve *w;
    quant_stats *stats;
    size_t first;
} pass;

static quant_status look(void *user, const quant_stage_view *view)
{
    const pass *p = user;
    return lab_stats_add(p->w->ctx, p->stats, view, p->w->s, p->first);
}

static void say(const lab_curve *w, const char *what, uint64_t done, uint64_t total)
{
    if (w->c->options.progress) {
        w->c->options.progress(w->c->options.user, what, done, total);
    }
}

/* n sequences of ids into stats, as batches from `at` on. */
static quant_status trace(lab_curve *w, quant_stats *stats, const int64_t *ids, size_t at, size_t n,
                          const char *what)
{
    const quant_forward_variant v = {.scheme = NULL};
    size_t piece = lab_stats_piece(w->model, w->s, n);
    for (size_t i = 0; i < n; i += piece) {
        size_t some = n - i < piece ? n - i : piece;
        pass p = {w, stats, at + i};
        const quant_forward_options o = {.stages = lab_stats_stages(), .visit = look, .user = &p};
        say(w, what, i, n);
        quant_status s = quant_forward_run(w->ctx, w->model,
                                           &(quant_tokens){ids + i * w->s, some, w->s}, &v, 1, &o);
        if (s != QUANT_OK) {
            return s == QUANT_ENONFINITE ? quant_fail_prefix(w->ctx, s, what) : s;
        }
    }
    stats->info.done = at + n;
    return QUANT_OK;
}

static quant_status new_stats(lab_curve *w, size_t n, bool moments, quant_stats **stats)
{
    const quant_stats_info info = {.scheme = "", .sequences = n, .positions = w->s,
                                   .moments = moments};
    return lab_stats_new(w->ctx, w->model, &info, stats);
}

static void watch(lab_curve *w, quant_stats *stats, size_t lane)
{
    w->lane = lane;
    stats->before = before;
    stats->user = w;
}

/* ---- sources -------------------------------------------------------------------------------- */

/* Rows of one sequence at one input, each value rms times a normal of (seed, input). */
static quant_status draw_rows(lab_curve *w, quant_stats *stats, const quant_stats_row *like,
                              size_t batch, uint64_t *drawn)
{
    char name[96];
    size_t rows = (size_t)like->observer->batch_rows[batch], n = rows * like->cols;
    if (n == 0) {
        return QUANT_OK;
    }
    snprintf(name, sizeof name, "calibrate.normal %s %" PRIu64 " %" PRIu64,
             quant_site_name(like->site), like->layer, like->expert);
    quant_random stream = quant_random_stream(w->c->options.seed, name);
    float rms = (float)quant_stats_rms(like), *x = quant_alloc(w->ctx, n, sizeof *x);
    if (!x) {
        return QUANT_ENOMEM;
    }
    quant_random_fill_normal(&stream, *drawn, n, x);
    for (size_t i = 0; i < n; i++) {
        x[i] *= rms;
    }
    *drawn += n;
    size_t unit = (size_t)(like->layer * stats->site[like->site].experts + like->expert);
    quant_status s = lab_stats_add_rows(w->ctx, stats, like->site, unit, batch, x, rows);
    quant_release(w->ctx, x, n, sizeof *x);
    return s;
}

static quant_status draw_normals(lab_curve *w, quant_stats *stats, const quant_stats *prompts)
{
    quant_stats_row row;
    for (size_t i = 0; quant_stats_each(prompts, i, &row); i++) {
        uint64_t drawn = 0;
        say(w, "random inputs", i, w->c->input_count);
        for (size_t b = 0; b < w->c->options.sequences; b++) {
            QUANT_TRY(draw_rows(w, stats, &row, b, &drawn));
        }
    }
    return QUANT_OK;
}

static quant_status trace_normals(lab_curve *w, const quant_stats *prompts, bool moments)
{
    quant_stats *stats = NULL;
    quant_status s = new_stats(w, (size_t)w->c->options.sequences, moments, &stats);
    if (s == QUANT_OK) {
        watch(w, stats, QUANT_SOURCE_NORMAL);
        s = draw_normals(w, stats, prompts);
    }
    s = s == QUANT_OK ? snapshot_rest(w, stats) : s;
    quant_stats_close(w->ctx, stats);
    return s;
}

/* The grid that all prompts and the held-out ones choose; how many values the latter are. */
static quant_status add_held_out(lab_curve *w, quant_stats *stats)
{
    const quant_adequacy_options *o = &w->c->options;
    size_t known = (size_t)o->sequences, n = (size_t)o->held_out;
    quant_stats_row row;
    stats->before = NULL;
    QUANT_TRY(trace(w, stats, w->tokens->id + o->first_held_out * w->s, known, n, "held out"));
    for (size_t i = 0; quant_stats_each(stats, i, &row); i++) {
        quant_adequacy_input *in = &w->c->inputs[i];
        *in = (quant_adequacy_input){row.site, row.layer, row.expert, row.cols, 0};
        for (size_t b = known; b < known + n; b++) {
            in->elements += row.observer->batch_rows[b] * row.cols;
        }
        QUANT_TRY(take_grids(w, row.observer, i, LAB_LIMIT));
    }
    return QUANT_OK;
}

/* Prompts, Gaussian inputs that resemble them, and the held-out prompts on top. */
static quant_status trace_prompts(lab_curve *w, bool moments)
{
    const quant_adequacy_options *o = &w->c->options;
    quant_stats *stats = NULL;
    size_t n = (size_t)o->sequences;
    quant_status s = new_stats(w, n + (size_t)o->held_out, moments, &stats);
    if (s == QUANT_OK) {
        watch(w, stats, QUANT_SOURCE_PROMPTS);
        s = trace(w, stats, w->tokens->id + o->first_sequence * w->s, 0, n, "prompts");
    }
    s = s == QUANT_OK ? snapshot_rest(w, stats) : s;
    s = s == QUANT_OK ? trace_normals(w, stats, moments) : s;
    s = s == QUANT_OK ? add_held_out(w, stats) : s;
    quant_stats_close(w->ctx, stats);
    return s;
}

/* As many sequences of ids as calibrate, into a lane. */
static quant_status trace_lane(lab_curve *w, size_t lane, const int64_t *ids, bool moments,
                               const char *what)
{
    quant_stats *stats = NULL;
    size_t n = (size_t)w->c->options.sequences;
    quant_status s = new_stats(w, n, moments, &stats);
    if (s == QUANT_OK) {
        watch(w, stats, lane);
        s = trace(w, stats, ids, 0, n, what);
    }
    s = s == QUANT_OK ? snapshot_rest(w, stats) : s;
    quant_stats_close(w->ctx, stats);
    return s;
}

static quant_status trace_tokens(lab_curve *w, int64_t *ids, bool moments)
{
    quant_random stream = quant_random_stream(w->c->options.seed, "calibrate.tokens");
    size_t count = (size_t)w->c->options.sequences * w->s;
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int64_t)quant_random_below(&stream, i, quant_model_sizes_of(w->model)->vocab);
    }
    return trace_lane(w, QUANT_SOURCE_TOKENS, ids, moments, quant_source_name(QUANT_SOURCE_TOKENS));
}

/* The prompts in an order of (seed, order): Fisher and Yates, from the last to the first. */
static quant_status trace_order(lab_curve *w, uint64_t order, int64_t *ids)
{
    char name[64];
    size_t n = (size_t)w->c->options.sequences, bytes = w->s * sizeof *ids;
    snprintf(name, sizeof name, "calibrate.order %" PRIu64, order);
    quant_random stream = quant_random_stream(w->c->options.seed, name);
    size_t *at = quant_alloc(w->ctx, n, sizeof *at);
    for (size_t i = 0; at && i < n; i++) {
        at[i] = i;
    }
    for (size_t i = n; at && i-- > 1;) {
        size_t k = (size_t)quant_random_below(&stream, i, i + 1), moved = at[i];
        at[i] = at[k];
        at[k] = moved;
    }
    for (size_t i = 0; at && i < n; i++) {
        size_t from = (size_t)w->c->options.first_sequence + at[i];
        memcpy(ids + i * w->s, w->tokens->id + from * w->s, bytes);
    }
    quant_status s = at ? trace_lane(w, QUANT_SOURCE_COUNT + (size_t)order - 1, ids, false,
                                     "prompts in another order")
                        : QUANT_ENOMEM;
    quant_release(w->ctx, at, n, sizeof *at);
    return s;
}

static bool narrow_enough(const quant_model *model)
{
    const quant_model_sizes *z = quant_model_sizes_of(model);
    return z->width <= QUANT_ADEQUACY_MOMENTS && z->inner <= QUANT_ADEQUACY_MOMENTS &&
           z->expert_inner <= QUANT_ADEQUACY_MOMENTS &&
           z->heads * z->head_dim <= QUANT_ADEQUACY_MOMENTS;
}

quant_status lab_curve_trace(lab_curve *w)
{
    bool moments = narrow_enough(w->model);
    size_t count = (size_t)w->c->options.sequences * w->s;
    QUANT_TRY(trace_prompts(w, moments));
    int64_t *ids = quant_alloc(w->ctx, count, sizeof *ids);
    quant_status s = ids ? trace_tokens(w, ids, moments) : QUANT_ENOMEM;
    for (uint64_t k = 1; k < w->c->options.draws && s == QUANT_OK; k++) {
        s = trace_order(w, k, ids);
    }
    quant_release(w->ctx, ids, count, sizeof *ids);
    return s;
}
