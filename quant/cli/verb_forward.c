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

enum { TOKENS, LOGITS, HIDDEN, ARRAYS };

typedef struct job {
    quant_context *ctx;
    const cli_args *args;
    quant_model *model;
    quant_recipe *recipe;   /* NULL: weights as stored */
    quant_npz_writer *out;
    quant_progress progress;
    int64_t *ids;           /* [n][s] */
    size_t n, s;
    size_t ids_count;
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

/* ---- tokens --------------------------------------------------------------------------------- */

/* [n, s], or [s] for one sequence. */
static quant_status take_tokens(job *j, quant_bank *bank, size_t i)
{
    const quant_tensor *t = quant_bank_tensor(bank, i);
    if (t->shape.rank < 1 || t->shape.rank > 2 || t->elements == 0 || t->elements > INT_MAX) {
        return quant_fail(j->ctx, QUANT_ESHAPE, "tensor \"%s\": expected integers [n, s], found %d "
                          "axes and %" PRIu64 " elements", t->name, t->shape.rank, t->elements);
    }
    j->n = t->shape.rank == 2 ? (size_t)t->shape.dim[0] : 1;
    j->s = (size_t)t->shape.dim[t->shape.rank - 1];
    j->ids_count = (size_t)t->elements;
    j->ids = quant_alloc(j->ctx, j->ids_count, sizeof *j->ids);
    return j->ids ? quant_bank_read_i64(j->ctx, bank, i, 0, t->elements, j->ids) : QUANT_ENOMEM;
}

/* The one tensor of the file, or the one that is called "tokens". */
static quant_status read_tokens(job *j)
{
    const char *path = j->args->text[OPT_TOKENS];
    quant_bank *bank = NULL;
    size_t i = 0;
    if (!path) {
        return quant_fail(j->ctx, QUANT_EINVAL, "--tokens: expected a file of token ids, found "
                          "none");
    }
    QUANT_TRY(quant_bank_open(j->ctx, path, &bank));
    quant_status s = quant_bank_count(bank) == 1
                         ? QUANT_OK
                         : quant_bank_find(j->ctx, bank, "tokens", &i);
    if (s == QUANT_OK) {
        s = take_tokens(j, bank, i);
        s = s == QUANT_ESHAPE ? quant_fail_prefix(j->ctx, s, path) : s;
    }
    quant_bank_close(j->ctx, bank);
    return s;
}

/* ---- runs ----------------------------------------------------------------------------------- */

static quant_forward_variant variant_of(job *j)
{
    quant_forward_variant v = {.scheme = j->recipe ? pick : NULL, .user = j};
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
    if (__builtin_add_overflow(j->s, steps, &whole) ||
        __builtin_mul_overflow(whole, j->n, &count) || count > INT_MAX) {
        return quant_fail(j->ctx, QUANT_EINVAL, "--decode: expected fewer steps, found %zu", steps);
    }
    int64_t *out = quant_alloc(j->ctx, count, sizeof *out);
    if (!out) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_forward_greedy(j->ctx, j->model, &(quant_tokens){j->ids, j->n, j->s}, &v,
                                          &o, steps, out);
    quant_release(j->ctx, j->ids, j->ids_count, sizeof *j->ids);
    j->ids = out;
    j->ids_count = count;
    j->s = whole;
    return s;
}

static quant_status put_tokens(job *j)
{
    for (size_t i = 0; i < j->ids_count; i++) {
        int32_t id = (int32_t)j->ids[i];
        QUANT_TRY(quant_npz_put(j->ctx, j->out, TOKENS, &id, sizeof id));
    }
    return QUANT_OK;
}

static quant_status write_all(job *j)
{
    const quant_model_sizes *z = quant_model_sizes_of(j->model);
    uint64_t n = j->n, s = j->s;
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
    QUANT_TRY(quant_forward_run(j->ctx, j->model, &(quant_tokens){j->ids, j->n, j->s}, &v, 1, &o));
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
    QUANT_TRY(read_tokens(j));
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
               cli_shown(args->text[OPT_OUTPUT], shown), j.n, j.n == 1 ? "" : "s", j.s,
               quant_model_sizes_of(j.model)->layers);
    }
    quant_npz_discard(ctx, j.out);
    quant_release(ctx, j.ids, j.ids_count, sizeof *j.ids);
    quant_model_close(ctx, j.model);
    quant_recipe_free(ctx, j.recipe);
    return s == QUANT_OK ? 0 : cli_fail(ctx, s);
}
