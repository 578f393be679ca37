/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate.c - the values of every part, for each scheme. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"

enum { BATCH_FLOATS = 1 << 26 };

typedef struct work {
    quant_context *ctx;
    quant_model *model;
    const quant_tokens *tokens;
    const quant_propagate_options *options;
    quant_propagate_result *result;
    size_t batch; /* sequences at a time */
    lab_progress *progress;
} work;

static lab_pick pick_of(const work *w, const quant_propagate_column *c)
{
    const quant_propagate_options *o = w->options;
    return (lab_pick){&c->scheme, o->recipe, o->select, o->user, o->grid, o->smooth,
                      o->grid_user};
}

static bool is_rounded(const work *w)
{
    return w->options->compute != QUANT_COMPUTE_F32;
}

/* ---- memory --------------------------------------------------------------------------------- */

static size_t ledger_terms(const quant_propagate_result *r)
{
    return (size_t)r->depths * QUANT_PLACE_COUNT * r->s;
}

static size_t routing_experts(const quant_routing *r)
{
    return (size_t)r->layers * r->experts;
}

static size_t routing_terms(const quant_routing *r)
{
    return (size_t)r->layers * r->positions;
}

static quant_status new_routing(work *w, quant_propagate_column *c)
{
    const quant_model_sizes *z = quant_model_sizes_of(w->model);
    quant_propagate_result *r = w->result;
    if (z->experts == 0) {
        return QUANT_OK;
    }
    c->routing = (quant_routing){.layers = z->layers, .positions = r->s,
                                 .experts = (size_t)z->experts};
    c->routing.terms = quant_alloc(w->ctx, routing_terms(&c->routing), sizeof *c->routing.terms);
    c->routing.expert = quant_alloc(w->ctx, routing_experts(&c->routing),
                                    sizeof *c->routing.expert);
    c->frozen_rows = quant_alloc(w->ctx, r->n * r->s, sizeof *c->frozen_rows);
    if (!c->routing.terms || !c->routing.expert || !c->frozen_rows) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < routing_terms(&c->routing); i++) {
        c->routing.terms[i] = (quant_routing_terms){.tokens = 0};
    }
    for (size_t i = 0; i < routing_experts(&c->routing); i++) {
        c->routing.expert[i] = (quant_expert_terms){.clean_tokens = 0};
    }
    return QUANT_OK;
}

static quant_status new_sides(work *w, quant_propagate_column *c)
{
    const lab_pick pick = pick_of(w, c);
    size_t depths = (size_t)w->result->depths;
    if (!lab_has_activations(&pick, quant_model_bank(w->model))) {
        return QUANT_OK;
    }
    c->sides = quant_alloc(w->ctx, depths, sizeof *c->sides);
    for (size_t d = 0; c->sides && d < depths; d++) {
        c->sides[d] = (quant_output_parts){.n = 0};
    }
    w->progress->total += LAB_SIDES_WORK * quant_model_sizes_of(w->model)->layers * w->tokens->n;
    return c->sides ? QUANT_OK : QUANT_ENOMEM;
}

static quant_status new_column(work *w, quant_propagate_column *c, size_t index)
{
    quant_propagate_result *r = w->result;
    memset(c, 0, sizeof *c);
    if (w->options->recipe) {
        snprintf(c->text, sizeof c->text, "recipe");
    } else {
        c->scheme = w->options->schemes[index];
        quant_scheme_print(&c->scheme, c->text);
    }
    c->ledger = (quant_ledger){r->depths, r->s, NULL};
    c->ledger.terms = quant_alloc(w->ctx, ledger_terms(r), sizeof *c->ledger.terms);
    c->rows = quant_alloc(w->ctx, r->n * r->s, sizeof *c->rows);
    if (is_rounded(w)) {
        c->arithmetic = quant_alloc(w->ctx, (size_t)r->depths, sizeof *c->arithmetic);
    }
    if (!c->ledger.terms || !c->rows || (is_rounded(w) && !c->arithmetic)) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < ledger_terms(r); i++) {
        c->ledger.terms[i] = (quant_ledger_terms){.n = 0};
    }
    QUANT_TRY(new_routing(w, c));
    QUANT_TRY(new_sides(w, c));
    for (uint64_t d = 0; c->arithmetic && d < r->depths; d++) {
        c->arithmetic[d] = (quant_arithmetic_terms){.n = 0};
    }
    return QUANT_OK;
}

static void free_column(quant_context *ctx, const quant_propagate_result *r,
                        quant_propagate_column *c)
{
    quant_release(ctx, c->ledger.terms, ledger_terms(r), sizeof *c->ledger.terms);
    quant_release(ctx, c->rows, r->n * r->s, sizeof *c->rows);
    quant_release(ctx, c->frozen_rows, r->n * r->s, sizeof *c->frozen_rows);
    quant_release(ctx, c->routing.terms, routing_terms(&c->routing), sizeof *c->routing.terms);
    quant_release(ctx, c->routing.expert, routing_experts(&c->routing), sizeof *c->routing.expert);
    quant_release(ctx, c->arithmetic, (size_t)r->depths, sizeof *c->arithmetic);
    quant_release(ctx, c->sides, (size_t)r->depths, sizeof *c->sides);
    quant_release(ctx, c->whiteness, (size_t)r->depths, sizeof *c->whiteness);
    quant_release(ctx, c->isolated, c->isolated_room, sizeof *c->isolated);
}

void quant_propagate_free(quant_context *ctx, quant_propagate_result *r)
{
    if (!r) {
        return;
    }
    for (size_t i = 0; r->columns && i < r->column_count; i++) {
        free_column(ctx, r, &r->columns[i]);
    }
    quant_release(ctx, r->columns, r->column_count, sizeof *r->columns);
    quant_release(ctx, r->jacobians, (size_t)r->depths - 2, sizeof *r->jacobians);
    quant_release(ctx, r->arithmetic_rows, r->n * r->s, sizeof *r->arithmetic_rows);
    quant_release(ctx, r, 1, sizeof *r);
}

static quant_status new_result(work *w)
{
    quant_propagate_result *r = quant_alloc(w->ctx, 1, sizeof *r);
    if (!r) {
        return QUANT_ENOMEM;
    }
    *r = (quant_propagate_result){
        .n = w->tokens->n, .s = w->tokens->s, .compute = w->options->compute,
        .depths = quant_model_sizes_of(w->model)->layers + 2,
        .column_count = w->options->recipe ? 1 : w->options->scheme_count};
    w->result = r;
    r->columns = quant_alloc(w->ctx, r->column_count, sizeof *r->columns);
    if (!r->columns) {
        return QUANT_ENOMEM;
    }
    memset(r->columns, 0, r->column_count * sizeof *r->columns);
    for (size_t i = 0; i < r->column_count; i++) {
        QUANT_TRY(new_column(w, &r->columns[i], i));
    }
    if (is_rounded(w)) {
        r->arithmetic_rows = quant_alloc(w->ctx, r->n * r->s, sizeof *r->arithmetic_rows);
    }
    return is_rounded(w) && !r->arithmetic_rows ? QUANT_ENOMEM : QUANT_OK;
}

/* ---- runs ----------------------------------------------------------------------------------- */

/* The model as stored, in float. */
static quant_status run_plain(const work *w, lab_recorder *r, const quant_tokens *tokens)
{
    const quant_forward_variant v = {.scheme = NULL};
    r->keep_plain = true;
    const quant_forward_options o = {.stages = lab_recorder_stages(r), .visit = lab_recorder_visit,
                                     .user = r};
    quant_status s = quant_forward_run(w->ctx, w->model, tokens, &v, 1, &o);
    r->keep_plain = false;
    return s;
}

static quant_status run_values(const work *w, lab_recorder *r, const quant_tokens *tokens,
                               lab_pick *pick)
{
    quant_forward_variant v[LAB_MOST] = {
        [LAB_CLEAN] = {.scheme = NULL},
        [LAB_BOTH] = {.scheme = lab_pick_scheme, .user = pick},
        [LAB_INJECTED] = {.scheme = lab_pick_scheme, .user = pick, .follows = true,
                          .leader = LAB_CLEAN},
        [LAB_FROZEN] = {.scheme = lab_pick_scheme, .user = pick, .routed = true,
                        .router = LAB_CLEAN},
        [LAB_FROZEN_INJECTED] = {.scheme = lab_pick_scheme, .user = pick, .follows = true,
                                 .leader = LAB_CLEAN, .routed = true, .router = LAB_CLEAN}};
    v[r->values - 1] = (quant_forward_variant){.follows = true, .leader = LAB_BOTH};
    for (size_t i = 0; i < r->values; i++) {
        v[i].grid = pick->grid;
        v[i].smooth = pick->smooth;
        v[i].grid_user = pick->grid_user;
    }
    const quant_forward_options o = {.compute = w->options->compute,
                                     .stages = lab_recorder_stages(r), .visit = lab_recorder_visit,
                                     .user = r};
    return quant_forward_run(w->ctx, w->model, tokens, v, r->values, &o);
}

/* Rows of a batch that begins at position `first` of all. */
static void compare_logits(const work *w, const lab_recorder *r, const quant_tokens *tokens,
                           quant_propagate_column *c, size_t first)
{
    size_t vocab = (size_t)quant_model_sizes_of(w->model)->vocab, step = r->n * r->s * vocab;
    const float *clean = r->at[QUANT_PLACE_LOGITS];
    lab_logits_rows(w->ctx, clean, clean + LAB_BOTH * step, tokens, vocab, c->rows + first);
    if (c->frozen_rows) {
        lab_logits_rows(w->ctx, clean, clean + LAB_FROZEN * step, tokens, vocab,
                        c->frozen_rows + first);
    }
    if (is_rounded(w) && c == w->result->columns) {
        lab_logits_rows(w->ctx, r->plain_logits, clean, tokens, vocab,
                        w->result->arithmetic_rows + first);
    }
}

static quant_status run_sides(const work *w, quant_propagate_column *c, const quant_tokens *tokens,
                              lab_pick *pick)
{
    const lab_sides in = {.ctx = w->ctx, .model = w->model, .tokens = tokens, .pick = pick,
                          .compute = w->options->compute, .progress = w->progress, .what = c->text,
                          .parts = c->sides};
    return c->sides ? lab_sides_run(&in) : QUANT_OK;
}

/* Sequences [first, first + some). */
static quant_status run_batch(const work *w, quant_propagate_column *c, size_t first, size_t some)
{
    size_t s = w->tokens->s;
    const quant_tokens tokens = {w->tokens->id + first * s, some, s};
    lab_pick pick = pick_of(w, c);
    lab_recorder r = {.ctx = w->ctx, .model = w->model, .n = some, .s = s, .ledger = &c->ledger,
                      .arithmetic = c->arithmetic,
                      .routing = c->routing.experts > 0 ? &c->routing : NULL,
                      .progress = w->progress, .what = c->text};
    quant_status status = lab_recorder_begin(&r, is_rounded(w));
    if (status == QUANT_OK && is_rounded(w)) {
        status = run_plain(w, &r, &tokens);
    }
    if (status == QUANT_OK) {
        status = run_values(w, &r, &tokens, &pick);
    }
    if (status == QUANT_OK) {
        compare_logits(w, &r, &tokens, c, first * s);
    }
    lab_recorder_end(&r, is_rounded(w));
    return status == QUANT_OK ? run_sides(w, c, &tokens, &pick) : status;
}

static void count_tensors(const work *w, quant_propagate_column *c)
{
    const quant_bank *bank = quant_model_bank(w->model);
    lab_pick pick = pick_of(w, c);
    for (size_t i = 0; i < quant_bank_count(bank); i++) {
        bool quantized = lab_pick_scheme(&pick, quant_bank_tensor(bank, i)) != NULL;
        c->quantized += quantized;
        c->kept += !quantized;
    }
}

static quant_status isolate(const work *w, quant_propagate_column *c)
{
    const quant_propagate_options *o = w->options;
    const lab_isolate in = {.ctx = w->ctx, .model = w->model, .tokens = w->tokens,
                            .pick = pick_of(w, c), .mode = o->isolate, .compute = o->compute,
                            .seed = o->seed, .progress = w->progress};
    return o->isolate == QUANT_ISOLATE_NONE
               ? QUANT_OK
               : lab_isolate_run(&in, &c->isolated, &c->isolated_count, &c->isolated_room);
}

static quant_status whiteness(const work *w, quant_propagate_column *c)
{
    const lab_pick pick = pick_of(w, c);
    if (!w->options->whiteness) {
        return QUANT_OK;
    }
    c->whiteness = quant_alloc(w->ctx, (size_t)w->result->depths, sizeof *c->whiteness);
    return c->whiteness ? lab_whiteness_layers(w->ctx, w->model, &pick, w->options->seed,
                                               c->whiteness)
                        : QUANT_ENOMEM;
}

static quant_status weights(const work *w, quant_propagate_column *c)
{
    const lab_pick pick = pick_of(w, c);
    return lab_column_weights(w->ctx, w->model, &pick, &c->weights);
}

static quant_status run_column(const work *w, quant_propagate_column *c)
{
    count_tensors(w, c);
    for (size_t i = 0; i < w->tokens->n; i += w->batch) {
        size_t left = w->tokens->n - i;
        QUANT_TRY(run_batch(w, c, i, left < w->batch ? left : w->batch));
    }
    c->outputs = quant_ledger_outputs_of(&c->ledger);
    QUANT_TRY(weights(w, c));
    QUANT_TRY(isolate(w, c));
    QUANT_TRY(whiteness(w, c));
    if (c->frozen_rows) {
        QUANT_TRY(quant_logits_summarize(w->ctx, c->frozen_rows, w->tokens->n, w->tokens->s,
                                         w->options->seed, &c->frozen));
    }
    for (int g = 0; g < QUANT_GROWTH_COUNT; g++) {
        QUANT_TRY(quant_growth_judge(w->ctx, &c->ledger, (quant_growth)g, &c->growth[g]));
    }
    return quant_logits_summarize(w->ctx, c->rows, w->tokens->n, w->tokens->s, w->options->seed,
                                  &c->logits);
}

static quant_status jacobians(work *w)
{
    quant_propagate_result *r = w->result;
    if (!w->options->jacobians) {
        return QUANT_OK;
    }
    r->jacobians = quant_alloc(w->ctx, (size_t)r->depths - 2, sizeof *r->jacobians);
    return r->jacobians ? lab_jacobian_layers(w->ctx, w->model, w->tokens, w->options->seed,
                                              w->progress, r->jacobians)
                        : QUANT_ENOMEM;
}

/* Of everything but reading, encoding and adding up. */
static uint64_t total_work(const work *w)
{
    const quant_propagate_options *o = w->options;
    const quant_model_sizes *z = quant_model_sizes_of(w->model);
    uint64_t values = (z->experts > 0 ? LAB_MOST : LAB_PLAIN) + (is_rounded(w) ? 1u : 0u);
    uint64_t column = values * z->layers * w->tokens->n +
                      lab_isolate_work(w->model, o->isolate, w->tokens->n);
    return column * (o->recipe ? 1 : o->scheme_count) +
           (o->jacobians ? z->layers * LAB_JACOBIAN_WORK : 0);
}

static quant_status run_all(work *w)
{
    QUANT_TRY(new_result(w));
    QUANT_TRY(jacobians(w));
    for (size_t i = 0; i < w->result->column_count; i++) {
        QUANT_TRY(run_column(w, &w->result->columns[i]));
    }
    QUANT_TRY(lab_find_cliffs(w->ctx, w->result));
    return is_rounded(w) ? quant_logits_summarize(w->ctx, w->result->arithmetic_rows, w->tokens->n,
                                                  w->tokens->s, w->options->seed,
                                                  &w->result->arithmetic)
                         : QUANT_OK;
}

quant_status quant_propagate(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                             const quant_propagate_options *options,
                             quant_propagate_result **result)
{
    uint64_t floats, count;
    *result = NULL;
    if (!model || !tokens || !tokens->id || !options ||
        (!options->recipe && (!options->schemes || options->scheme_count == 0))) {
        return quant_fail(ctx, QUANT_EINVAL, "propagate: expected a model, tokens, and schemes or "
                          "a recipe");
    }
    if (__builtin_mul_overflow(tokens->n, tokens->s, &count) || count == 0 || count > INT_MAX ||
        !lab_recorder_floats(model, tokens->s, true, &floats)) {
        return quant_fail(ctx, QUANT_ERANGE, "tokens: expected 1..2^31-1 that fit in memory, found "
                          "%zu sequences of %zu", tokens->n, tokens->s);
    }
    lab_progress progress = {options->progress, options->progress_user, 0, 0};
    work w = {ctx, model, tokens, options, NULL, (size_t)(BATCH_FLOATS / floats), &progress};
    progress.total = total_work(&w);
    w.batch = w.batch < 1 ? 1 : w.batch > tokens->n ? tokens->n : w.batch;
    quant_status s = run_all(&w);
    if (s != QUANT_OK) {
        quant_propagate_free(ctx, w.result);
        return s;
    }
    *result = w.result;
    return QUANT_OK;
}
