/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_curve.c - what was asked for, memory, and the order of the passes. */
#include "quant/lab/calibrate_curve.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/calibrate_parts.h"

const char *quant_source_name(quant_source source)
{
    static const char *const names[] = {"prompts", "random tokens", "random inputs"};
    return (unsigned)source < QUANT_SOURCE_COUNT ? names[source] : "?";
}

/* ---- what was asked for ---------------------------------------------------------------------- */

static quant_status take_ranges(quant_context *ctx, uint64_t n, quant_adequacy_options *o)
{
    if (o->held_out == 0 && o->first_held_out == 0) {
        o->held_out = (n + 4) / 5;
        o->first_held_out = n - o->held_out;
    } else if (o->held_out == 0) {
        o->held_out = n > o->first_held_out ? n - o->first_held_out : 0;
    }
    if (o->sequences == 0) {
        bool before = o->first_held_out > o->first_sequence && o->first_held_out < n;
        uint64_t end = before ? o->first_held_out : n;
        o->sequences = end > o->first_sequence ? end - o->first_sequence : 0;
    }
    const uint64_t range[2][2] = {{o->first_sequence, o->sequences},
                                  {o->first_held_out, o->held_out}};
    for (int i = 0; i < 2; i++) {
        if (range[i][1] == 0 || range[i][1] > n || range[i][0] > n - range[i][1]) {
            return quant_fail(ctx, QUANT_ERANGE, "%s: expected some of %" PRIu64 " sequences, "
                              "found %" PRIu64 " from %" PRIu64 " on",
                              i ? "held-out prompts" : "prompts", n, range[i][1], range[i][0]);
        }
    }
    if (o->first_sequence < o->first_held_out + o->held_out &&
        o->first_held_out < o->first_sequence + o->sequences) {
        return quant_fail(ctx, QUANT_ERANGE, "held-out prompts: expected none that calibrate, "
                          "found %" PRIu64 "..%" PRIu64 " beside %" PRIu64 "..%" PRIu64,
                          o->first_held_out, o->first_held_out + o->held_out - 1,
                          o->first_sequence, o->first_sequence + o->sequences - 1);
    }
    return QUANT_OK;
}

static quant_status check_options(quant_context *ctx, const quant_adequacy_options *o)
{
    if (!o->schemes || o->scheme_count < 1 || o->scheme_count > QUANT_ADEQUACY_SCHEMES) {
        return quant_fail(ctx, QUANT_EINVAL, "curve: expected 1..%d schemes, found %zu",
                          QUANT_ADEQUACY_SCHEMES, o->scheme_count);
    }
    for (size_t i = 0; i < o->scheme_count; i++) {
        char text[QUANT_SCHEME_TEXT];
        if (o->schemes[i].activation.kind != QUANT_ACTIVATION_STATIC) {
            quant_scheme_print(&o->schemes[i], text);
            return quant_fail(ctx, QUANT_ESCHEME, "curve: expected static activations as "
                              "w8a8,act=static, found %s", text);
        }
        if (o->schemes[i].activation.smooth != 0) {
            quant_scheme_print(&o->schemes[i], text);
            return quant_fail(ctx, QUANT_ESCHEME, "curve: expected inputs as they are, without "
                              "smooth=, found %s", text);
        }
    }
    if (o->draws > QUANT_ADEQUACY_DRAWS) {
        return quant_fail(ctx, QUANT_EINVAL, "draws: expected 1..%d, found %" PRIu64,
                          QUANT_ADEQUACY_DRAWS, o->draws);
    }
    return o->error >= 0 && o->saturation >= 0
               ? QUANT_OK
               : quant_fail(ctx, QUANT_EINVAL, "curve: expected limits of 0 or more");
}

static void take_counts(quant_adequacy *c)
{
    static const uint64_t counts[] = {1, 2, 5, 8, 16, 32, 64};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        if (counts[i] < c->options.sequences) {
            c->count[c->count_n++] = counts[i];
        }
    }
    c->count[c->count_n++] = c->options.sequences;
}

/* ---- memory --------------------------------------------------------------------------------- */

static size_t cell_count(const quant_adequacy *c)
{
    return c->options.scheme_count * c->lanes * c->count_n * c->input_count;
}

static size_t spectrum_count(const quant_adequacy *c)
{
    return QUANT_SOURCE_COUNT * c->count_n * c->input_count;
}

void quant_adequacy_free(quant_context *ctx, quant_adequacy *c)
{
    if (c) {
        quant_release(ctx, c->inputs, c->input_count, sizeof *c->inputs);
        quant_release(ctx, c->cells, cell_count(c), sizeof *c->cells);
        quant_release(ctx, c->spectra, spectrum_count(c), sizeof *c->spectra);
        quant_release(ctx, c, 1, sizeof *c);
    }
}

/* Inputs of the model, by the statistics of one sequence that is never run. */
static quant_status count_inputs(lab_curve *w)
{
    const quant_stats_info info = {.scheme = "", .sequences = 1, .positions = 1};
    quant_stats *stats = NULL;
    QUANT_TRY(lab_stats_new(w->ctx, w->model, &info, &stats));
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        w->offset[k] = w->c->input_count;
        w->c->input_count += stats->site[k].units;
    }
    quant_stats_close(w->ctx, stats);
    return QUANT_OK;
}

static quant_status allocate(lab_curve *w)
{
    quant_adequacy *c = w->c;
    size_t slots = lab_points(w) + LAB_SLOTS - LAB_LIMIT, each = w->scheme_count * slots + 1;
    c->inputs = quant_alloc(w->ctx, c->input_count, sizeof *c->inputs);
    c->cells = quant_alloc(w->ctx, cell_count(c), sizeof *c->cells);
    c->spectra = quant_alloc(w->ctx, spectrum_count(c), sizeof *c->spectra);
    w->measure = quant_alloc(w->ctx, c->input_count * w->scheme_count, sizeof *w->measure);
    w->taken = quant_alloc(w->ctx, c->input_count, sizeof *w->taken);
    w->double_count = c->input_count * each * w->units;
    w->doubles = quant_alloc(w->ctx, w->double_count, sizeof *w->doubles);
    if (!c->inputs || !c->cells || !c->spectra || !w->measure || !w->taken || !w->doubles) {
        return QUANT_ENOMEM;
    }
    memset(w->measure, 0, c->input_count * w->scheme_count * sizeof *w->measure);
    memset(w->taken, 0, c->input_count * sizeof *w->taken);
    memset(w->doubles, 0, w->double_count * sizeof *w->doubles);
    w->output2 = w->doubles;
    for (size_t i = 0; i < c->input_count * w->scheme_count; i++) {
        w->measure[i].error2 = w->doubles + (c->input_count + i * slots) * w->units;
    }
    return QUANT_OK;
}

static void release(lab_curve *w)
{
    const quant_adequacy *c = w->c;
    quant_release(w->ctx, w->measure, c->input_count * w->scheme_count, sizeof *w->measure);
    quant_release(w->ctx, w->taken, c->input_count, sizeof *w->taken);
    quant_release(w->ctx, w->doubles, w->double_count, sizeof *w->doubles);
}

/* ---- all of it ------------------------------------------------------------------------------ */

static quant_status run_all(lab_curve *w)
{
    quant_adequacy *c = w->c;
    QUANT_TRY(take_ranges(w->ctx, w->tokens->n, &c->options));
    take_counts(c);
    QUANT_TRY(count_inputs(w));
    c->by_sequence = c->options.held_out >= LAB_SEQUENCES;
    w->per_sequence = c->by_sequence ? 1 : (w->s + LAB_RUN - 1) / LAB_RUN;
    c->units = w->units = (size_t)c->options.held_out * w->per_sequence;
    QUANT_TRY(allocate(w));
    QUANT_TRY(lab_curve_trace(w));
    QUANT_TRY(lab_curve_measure(w));
    QUANT_TRY(lab_curve_judge(w));
    return c->options.logits ? lab_curve_logits(w) : QUANT_OK;
}

quant_status quant_adequacy_run(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                             const quant_adequacy_options *options, quant_adequacy **curve)
{
    *curve = NULL;
    if (!model || !tokens || !tokens->id || !options) {
        return quant_fail(ctx, QUANT_EINVAL, "curve: expected a model, tokens and options");
    }
    QUANT_TRY(check_options(ctx, options));
    quant_adequacy *c = quant_alloc(ctx, 1, sizeof *c);
    if (!c) {
        return QUANT_ENOMEM;
    }
    memset(c, 0, sizeof *c);
    c->options = *options;
    c->options.draws = options->draws > 0 ? options->draws : 1;
    c->lanes = QUANT_SOURCE_COUNT + (size_t)c->options.draws - 1;
    for (size_t i = 0; i < options->scheme_count; i++) {
        quant_scheme_print(&options->schemes[i], c->text[i]);
    }
    lab_curve w = {.ctx = ctx, .model = model, .tokens = tokens, .schemes = options->schemes,
                   .scheme_count = options->scheme_count, .c = c, .s = tokens->s};
    quant_status s = run_all(&w);
    release(&w);
    c->options.schemes = NULL;
    c->options.progress = NULL;
    c->options.user = NULL;
    if (s != QUANT_OK) {
        quant_adequacy_free(ctx, c);
        return s;
    }
    *curve = c;
    return QUANT_OK;
}
