/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_encode.c - a packed bank, by the rules of compare: what compare keeps is kept here. */
#include <string.h>

#include "quant/bank/output.h"
#include "quant/bank/packed.h"
#include "quant/cli/cli.h"
#include "quant/internal.h"
#include "quant/lab/inspect.h"
#include "quant/report/progress.h"

typedef struct encoding {
    quant_bank *bank;
    quant_pack_item *items; /* one per tensor, file order */
    size_t count;
    quant_bank *importance; /* NULL: none was given */
    size_t unfit, bad;      /* kept because the scheme does not fit, or not finite */
} encoding;

/* The scheme of tensor i, or NULL when it is kept. */
static const quant_scheme *choose_one(quant_context *ctx, const cli_args *args,
                                      const quant_recipe *recipe, encoding *e, size_t i)
{
    const char *glob = args->text[OPT_TENSORS];
    const quant_tensor *t = quant_bank_tensor(e->bank, i);
    const quant_scheme *scheme = quant_recipe_match(recipe, t->name, &(size_t){0});
    quant_layout layout;
    if (!scheme || quant_keep_reason(t, args->number[OPT_MIN_ELEMENTS]) ||
        (glob && !quant_glob_match(glob, t->name))) {
        return NULL;
    }
    quant_scheme applied = quant_scheme_for_shape(scheme, &t->shape);
    if (quant_encode_layout(ctx, &applied, &t->shape, &layout) != QUANT_OK) {
        e->unfit++;
        return NULL;
    }
    return scheme;
}

static quant_status choose(quant_context *ctx, const cli_args *args, const quant_recipe *recipe,
                           encoding *e)
{
    size_t chosen = 0, weighed = 0;
    for (size_t i = 0; i < e->count; i++) {
        const quant_scheme *scheme = choose_one(ctx, args, recipe, e, i);
        e->items[i] = (quant_pack_item){.tensor = i, .keep = scheme == NULL,
                                        .importance = e->importance};
        if (scheme) {
            weighed += quant_scheme_takes_importance(scheme);
            const quant_shape *shape = &quant_bank_tensor(e->bank, i)->shape;
            e->items[i].scheme = quant_scheme_for_shape(scheme, shape);
            chosen++;
        }
    }
    if (chosen == 0) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "%s: expected a tensor to quantize, found none "
                          "among %zu (1-D, integer, unmatched and unfit tensors are kept)",
                          args->operand[0], e->count);
    }
    if (e->importance && weighed == 0) {
        return quant_fail(ctx, QUANT_EINVAL, "--importance: expected a scheme of mode=kmeans "
                          "or scale=mse for some tensor, found none");
    }
    return QUANT_OK;
}

/* --nonfinite=keep: look at all values first. */
static quant_status keep_nonfinite(quant_context *ctx, encoding *e, quant_progress *progress)
{
    size_t filled = 0;
    quant_inspect_row *rows = quant_alloc(ctx, e->count, sizeof *rows);
    if (!rows) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_inspect(ctx, e->bank, NULL, quant_progress_step, progress, rows,
                                   &filled);
    for (size_t i = 0; s == QUANT_OK && i < filled; i++) {
        quant_pack_item *item = &e->items[rows[i].tensor];
        if (!item->keep && rows[i].figures.nonfinite > 0) {
            item->keep = true;
            e->bad++;
        }
    }
    quant_release(ctx, rows, e->count, sizeof *rows);
    return s;
}

static quant_status write_packed(quant_context *ctx, const cli_args *args, encoding *e)
{
    quant_progress progress;
    quant_progress_begin(&progress, stderr, args->text[OPT_QUIET] != NULL);
    quant_status s = QUANT_OK;
    if (args->number[OPT_NONFINITE] == CLI_KEEP) {
        s = keep_nonfinite(ctx, e, &progress);
    }
    if (s == QUANT_OK) {
        s = quant_pack_write(ctx, e->bank, e->items, e->count, args->text[OPT_OUTPUT],
                             quant_progress_step, &progress);
    }
    quant_progress_end(&progress);
    bool of_tensor = strncmp(quant_context_message(ctx), "tensor ", 7) == 0;
    return s != QUANT_OK && of_tensor ? quant_fail_prefix(ctx, s, args->operand[0]) : s;
}

static void print_count(const char *before, size_t count, const char *after)
{
    if (count > 0) {
        printf("%s%zu%s", before, count, after);
    }
}

static void print_result(const cli_args *args, const encoding *e)
{
    size_t kept = 0, escalated = 0;
    for (size_t i = 0; i < e->count; i++) {
        kept += e->items[i].keep;
        escalated += !e->items[i].keep && e->items[i].escalated;
    }
    char shown[CLI_SHOWN];
    printf("%s: %zu tensor%s quantized", cli_shown(args->text[OPT_OUTPUT], shown), e->count - kept,
           e->count - kept == 1 ? "" : "s");
    print_count(", ", kept, " kept");
    print_count(", of them ", e->bad, " with NaN or infinite values");
    print_count(", of them ", e->unfit, " that the scheme does not fit");
    print_count(", ", escalated, " with f32 scales because theirs overflowed");
    putchar('\n');
}

/* Scales and tables of a packed bank are not weights, and its codes would lose their meaning. */
static quant_status may_encode(quant_context *ctx, const cli_args *args, const quant_bank *bank)
{
    return quant_pack_is(bank)
               ? quant_fail(ctx, QUANT_EUNSUPPORTED, "%s: expected a plain bank, found a packed "
                            "one (" QUANT_PACK_SCHEMA "): decode it first", args->operand[0])
               : QUANT_OK;
}

static quant_status encode(quant_context *ctx, const cli_args *args, const quant_recipe *recipe)
{
    encoding e = {.bank = NULL};
    QUANT_TRY(quant_bank_open(ctx, args->operand[0], &e.bank));
    e.count = quant_bank_count(e.bank);
    e.items = quant_alloc(ctx, e.count, sizeof *e.items);
    quant_status s = e.items ? may_encode(ctx, args, e.bank) : QUANT_ENOMEM;
    s = s == QUANT_OK ? cli_open_importance(ctx, args, e.bank, &e.importance) : s;
    if (s == QUANT_OK) {
        s = choose(ctx, args, recipe, &e);
    }
    if (s == QUANT_OK) {
        s = write_packed(ctx, args, &e);
    }
    if (s == QUANT_OK && !args->text[OPT_QUIET]) {
        print_result(args, &e);
    }
    quant_release(ctx, e.items, e.count, sizeof *e.items);
    quant_bank_close(ctx, e.importance);
    quant_bank_close(ctx, e.bank);
    return s;
}

int cli_encode(quant_context *ctx, const cli_args *args)
{
    quant_recipe *recipe = NULL;
    quant_output_guard_signals();
    quant_status s = cli_may_write(ctx, args);
    if (s == QUANT_OK) {
        s = cli_one_recipe(ctx, args, &recipe);
    }
    if (s == QUANT_OK) {
        s = encode(ctx, args, recipe);
    }
    quant_recipe_free(ctx, recipe);
    return s == QUANT_OK ? 0 : cli_fail(ctx, s);
}
