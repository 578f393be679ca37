/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_forward.c - run a model over tokens and write what it says. */
#include <inttypes.h>
#include <limits.h>

#include "quant/bank/npz_write.h"
#include "quant/bank/output.h"
#include "quant/cli/cli.h"
#include "quant/encode.h"
#include "quant/internal.h"
#include "quant/model/forward.h"
#include "quant/report/progress.h"
#include "quant/report/smooth_report.h"

enum { TOKENS, LOGITS, HIDDEN, ARRAYS };

typedef struct job {
    quant_context *ctx;
    const cli_args *args;
    quant_model *model;
    quant_recipe *recipe;   /* NULL: weights as stored */
    quant_npz_writer *out;
    quant_progress progress;
    cli_tokens tokens;
    cli_static fixed;
} job;

/* What the recipe says, unless the scheme does not fit: such tensors are kept, as in encode. */
static const quant_scheme *pick(void *user, const quant_tensor *t)
{
    const job *j = user;
    quant_layout layout;
    const quant_scheme *scheme = quant_recipe_match(j->recipe, t->name, &(size_t){0});
    if (!scheme || quant_keep_reason(t, 0)) {
        return NULL;
    }
    quant_scheme applied = quant_scheme_for_shape(scheme, &t->shape);
    return quant_encode_layout(NULL, &applied, &t->shape, &layout) == QUANT_OK ? scheme : NULL;
}

static quant_status write_stage(void *user, const quant_stage_view *v)
{
    job *j = user;
    uint64_t layers = quant_model_sizes_of(j->model)->layers;
    bool logits = v->stage == QUANT_STAGE_LOGITS;
    uint64_t done = logits ? layers + 1 : v->stage == QUANT_STAGE_EMBED ? 0 : v->layer + 1;
    quant_progress_step(&j->progress, quant_stage_name(v->stage), done, layers + 1);
    if (!logits && !j->args->text[OPT_HIDDEN]) {
        return QUANT_OK;
    }
    return quant_npz_put(j->ctx, j->out, logits ? LOGITS : HIDDEN, v->data,
                         v->rows * v->cols * sizeof *v->data);
}

/* ---- runs ----------------------------------------------------------------------------------- */

static quant_forward_variant variant_of(job *j)
{
    quant_forward_variant v = {.scheme = j->recipe ? pick : NULL, .user = j,
                               .grid = j->fixed.grids ? quant_grids_of : NULL,
                               .smooth = j->fixed.grids ? quant_grids_smooth_of : NULL,
                               .grid_user = j->fixed.grids};
    return v;
}

static quant_compute compute_of(const job *j)
{
    static const quant_compute types[] = {[CLI_F32] = QUANT_COMPUTE_F32,
                                          [CLI_F16] = QUANT_COMPUTE_F16,
                                          [CLI_BF16] = QUANT_COMPUTE_BF16};
    return types[j->args->number[OPT_COMPUTE]];
}

/* --decode: the ids become the longer text. */
static quant_status decode(job *j)
{
    const quant_forward_variant v = variant_of(j);
    const quant_forward_options o = {.compute = compute_of(j)};
    size_t steps = (size_t)j->args->number[OPT_DECODE], whole, count;
    if (steps == 0) {
        return QUANT_OK;
    }
    if (__builtin_add_overflow(j->tokens.all.s, steps, &whole) ||
        __builtin_mul_overflow(whole, j->tokens.all.n, &count) || count > INT_MAX) {
        return quant_fail(j->ctx, QUANT_EINVAL, "--decode: expected fewer steps, found %zu", steps);
    }
    int64_t *out = quant_alloc(j->ctx, count, sizeof *out);
    if (!out) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_forward_greedy(j->ctx, j->model, &j->tokens.all, &v,
                                          &o, steps, out);
    cli_free_tokens(j->ctx, &j->tokens);
    j->tokens = (cli_tokens){{out, j->tokens.all.n, whole}, out, count};
    return s;
}

static quant_status put_tokens(job *j)
{
    for (size_t i = 0; i < j->tokens.all.n * j->tokens.all.s; i++) {
        int32_t id = (int32_t)j->tokens.all.id[i];
        QUANT_TRY(quant_npz_put(j->ctx, j->out, TOKENS, &id, sizeof id));
    }
    return QUANT_OK;
}

static quant_status write_all(job *j)
{
    const quant_model_sizes *z = quant_model_sizes_of(j->model);
    uint64_t n = j->tokens.all.n, s = j->tokens.all.s;
    const quant_npz_item items[ARRAYS] = {
        [TOKENS] = {"tokens", QUANT_I32, {2, {n, s}}},
        [LOGITS] = {"logits_full", QUANT_F32, {3, {n, s, z->vocab}}},
        [HIDDEN] = {"hidden", QUANT_F32, {4, {z->layers + 1, n, s, z->width}}}};
    const quant_forward_variant v = variant_of(j);
    const quant_forward_options o = {
        .compute = compute_of(j), .visit = write_stage, .user = j,
        .stages = 1u << QUANT_STAGE_EMBED | 1u << QUANT_STAGE_RESIDUAL | 1u << QUANT_STAGE_LOGITS};
    QUANT_TRY(quant_npz_create(j->ctx, j->args->text[OPT_OUTPUT], items,
                               j->args->text[OPT_HIDDEN] ? ARRAYS : HIDDEN, &j->out));
    QUANT_TRY(quant_forward_run(j->ctx, j->model, &j->tokens.all, &v, 1, &o));
    QUANT_TRY(put_tokens(j));
    quant_npz_writer *out = j->out;
    j->out = NULL;
    return quant_npz_commit(j->ctx, out);
}

static quant_status forward(job *j)
{
    bool scheme = j->args->text[OPT_SCHEME] || j->args->text[OPT_RECIPE];
    QUANT_TRY(cli_may_write(j->ctx, j->args));
    if (scheme) {
        QUANT_TRY(cli_one_recipe(j->ctx, j->args, &j->recipe));
    }
    QUANT_TRY(quant_model_open(j->ctx, j->args->operand[0], &j->model));
    QUANT_TRY(cli_read_tokens(j->ctx, j->args, &j->tokens));
    QUANT_TRY(cli_take_sequences(j->ctx, j->args, &j->tokens));
    QUANT_TRY(cli_read_static(j->ctx, j->args, j->model, &j->fixed));
    QUANT_TRY(cli_smooth_recipe(j->ctx, &j->fixed, quant_model_bank(j->model), j->recipe));
    QUANT_TRY(decode(j));
    return write_all(j);
}

int cli_forward(quant_context *ctx, const cli_args *args)
{
    job j = {.ctx = ctx, .args = args};
    quant_output_guard_signals();
    quant_progress_begin(&j.progress, stderr, args->text[OPT_QUIET] != NULL);
    quant_status s = forward(&j);
    quant_progress_end(&j.progress);
    if (s == QUANT_OK && !args->text[OPT_QUIET]) {
        char shown[CLI_SHOWN];
        printf("%s: %zu sequence%s of %zu tokens through %" PRIu64 " layers\n",
               cli_shown(args->text[OPT_OUTPUT], shown), j.tokens.all.n,
               j.tokens.all.n == 1 ? "" : "s", j.tokens.all.s,
               quant_model_sizes_of(j.model)->layers);
        quant_smooth_report_text(j.fixed.grids, stdout);
    }
    quant_npz_discard(ctx, j.out);
    cli_free_static(ctx, &j.fixed);
    cli_free_tokens(ctx, &j.tokens);
    quant_model_close(ctx, j.model);
    quant_recipe_free(ctx, j.recipe);
    return s == QUANT_OK ? 0 : cli_fail(ctx, s);
}
