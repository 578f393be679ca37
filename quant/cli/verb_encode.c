/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_encode.c - a packed bank. The writer refuses a whole file for one tensor; here such a
 * tensor is dealt with as asked and the file is written anew. */
#include <string.h>

#include "quant/bank/output.h"
#include "quant/bank/packed.h"
#include "quant/cli/cli.h"
#include "quant/internal.h"
#include "quant/report/progress.h"

typedef struct encoding {
    quant_bank *bank;
    quant_pack_item *items;
    size_t count;
    quant_progress progress;
    const char *current;   /* tensor that the writer is at */
    size_t widened, kept_bad;
} encoding;

static void step(void *user, const char *name, uint64_t done, uint64_t total)
{
    encoding *e = user;
    e->current = name;
    quant_progress_step(&e->progress, name, done, total);
}

static quant_status choose(quant_context *ctx, const cli_args *args, const quant_recipe *recipe,
                           encoding *e)
{
    const char *glob = args->text[OPT_TENSORS];
    size_t chosen = 0;
    for (size_t i = 0; i < e->count; i++) {
        const quant_tensor *t = quant_bank_tensor(e->bank, i);
        size_t rule;
        const quant_scheme *scheme = quant_recipe_match(recipe, t->name, &rule);
        bool keep = !scheme || quant_keep_reason(t, args->number[OPT_MIN_ELEMENTS]) ||
                    (glob && !quant_glob_match(glob, t->name));
        e->items[i] = (quant_pack_item){.tensor = i, .keep = keep};
        if (!keep) {
            e->items[i].scheme = *scheme;
            chosen++;
        }
    }
    if (chosen == 0) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "%s: expected a tensor to quantize, found none "
                          "of %zu (1-D, integer and unmatched tensors are kept)", args->operand[0],
                          e->count);
    }
    return QUANT_OK;
}

static quant_pack_item *current_item(encoding *e)
{
    for (size_t i = 0; e->current && i < e->count; i++) {
        if (strcmp(quant_bank_tensor(e->bank, e->items[i].tensor)->name, e->current) == 0) {
            return &e->items[i];
        }
    }
    return NULL;
}

/* True when the tensor that failed can be treated otherwise, so that writing may begin anew. At
 * most two attempts are spent on a tensor: widened once, then kept or failed. */
static bool treat_otherwise(const cli_args *args, encoding *e, quant_status s)
{
    quant_pack_item *item = current_item(e);
    if (!item || item->keep) {
        return false;
    }
    bool is_narrow = item->scheme.store != QUANT_STORE_F32 ||
                     item->scheme.table_store != QUANT_STORE_F32;
    if (s == QUANT_ESCALE && item->scheme.family != QUANT_FAMILY_FLOAT && is_narrow) {
        item->scheme.store = QUANT_STORE_F32;
        item->scheme.table_store = QUANT_STORE_F32;
        e->widened++;
        return true;
    }
    if (s == QUANT_ENONFINITE && args->number[OPT_NONFINITE] == CLI_KEEP) {
        item->keep = true;
        e->kept_bad++;
        return true;
    }
    return false;
}

static quant_status write_packed(quant_context *ctx, const cli_args *args, encoding *e)
{
    quant_status s;
    quant_progress_begin(&e->progress, stderr, args->text[OPT_QUIET] != NULL);
    do {
        e->current = NULL;
        s = quant_pack_write(ctx, e->bank, e->items, e->count, args->text[OPT_OUTPUT], step, e);
    } while (s != QUANT_OK && treat_otherwise(args, e, s));
    quant_progress_end(&e->progress);
    return s;
}

static void print_result(const cli_args *args, const encoding *e)
{
    size_t kept = 0;
    for (size_t i = 0; i < e->count; i++) {
        kept += e->items[i].keep;
    }
    printf("%s: %zu tensors quantized, %zu kept", args->text[OPT_OUTPUT], e->count - kept, kept);
    if (e->kept_bad > 0) {
        printf(" (%zu of them non-finite)", e->kept_bad);
    }
    if (e->widened > 0) {
        printf(", %zu with scales widened to f32", e->widened);
    }
    putchar('\n');
}

static quant_status encode(quant_context *ctx, const cli_args *args, const quant_recipe *recipe)
{
    encoding e = {.bank = NULL};
    QUANT_TRY(quant_bank_open(ctx, args->operand[0], &e.bank));
    e.count = quant_bank_count(e.bank);
    e.items = quant_alloc(ctx, e.count, sizeof *e.items);
    quant_status s = e.items ? choose(ctx, args, recipe, &e) : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        s = write_packed(ctx, args, &e);
    }
    if (s == QUANT_OK && !args->text[OPT_QUIET]) {
        print_result(args, &e);
    }
    quant_release(ctx, e.items, e.count, sizeof *e.items);
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
