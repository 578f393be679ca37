/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_propagate.c - errors across the layers of a model. */
#include "quant/cli/propagate_chain.h"
#include "quant/internal.h"
#include "quant/report/propagate_report.h"
#include "quant/report/text.h"

typedef struct job {
    quant_context *ctx;
    const cli_args *args;
    quant_model *model;
    cli_tokens tokens;
    cli_static fixed;
    cli_columns columns;
    quant_progress progress;
    quant_propagate_result *result;
} job;

static bool is_selected(void *user, const quant_tensor *t)
{
    const job *j = user;
    return quant_glob_match(j->args->text[OPT_TENSORS], t->name);
}

/* --tensors that selects nothing at all is a slip of the pen. */
static quant_status check_selection(const job *j)
{
    const quant_bank *bank = quant_model_bank(j->model);
    const char *glob = j->args->text[OPT_TENSORS];
    size_t i = 0, count = quant_bank_count(bank);
    while (glob && i < count && !quant_glob_match(glob, quant_bank_tensor(bank, i)->name)) {
        i++;
    }
    return !glob || i < count
               ? QUANT_OK
               : quant_fail(j->ctx, QUANT_EINVAL, "%s: --tensors: expected a glob that matches a "
                            "name, found '%s' and %zu tensors", j->args->operand[0], glob, count);
}

static quant_status run(void *user)
{
    job *j = user;
    const cli_args *args = j->args;
    QUANT_TRY(cli_read_columns(j->ctx, args, &j->columns));
    QUANT_TRY(quant_model_open(j->ctx, args->operand[0], &j->model));
    QUANT_TRY(check_selection(j));
    QUANT_TRY(cli_read_tokens(j->ctx, args, &j->tokens));
    QUANT_TRY(cli_take_sequences(j->ctx, args, &j->tokens));
    QUANT_TRY(cli_read_static(j->ctx, args, j->model, &j->fixed));
    QUANT_TRY(cli_smooth_recipe(j->ctx, &j->fixed, quant_model_bank(j->model), j->columns.recipe));
    QUANT_TRY(cli_smooth_static(j->ctx, &j->fixed, j->columns.schemes,
                                j->columns.count));
    static const quant_compute types[] = {[CLI_F32] = QUANT_COMPUTE_F32,
                                          [CLI_F16] = QUANT_COMPUTE_F16,
                                          [CLI_BF16] = QUANT_COMPUTE_BF16};
    const quant_propagate_options options = {
        .schemes = j->columns.schemes, .scheme_count = j->columns.count,
        .recipe = j->columns.recipe, .user = j,
        .progress = quant_progress_step, .progress_user = &j->progress,
        .grid = j->fixed.grids ? quant_grids_of : NULL, .grid_user = j->fixed.grids,
        .smooth = j->fixed.grids ? quant_grids_smooth_of : NULL,
        .select = args->text[OPT_TENSORS] ? is_selected : NULL,
        .jacobians = args->text[OPT_JACOBIANS] != NULL,
        .whiteness = args->text[OPT_WHITENESS] != NULL,
        .compute = types[args->number[OPT_COMPUTE]], .seed = args->number[OPT_SEED],
        .isolate = !args->text[OPT_ISOLATE]        ? QUANT_ISOLATE_NONE
                   : args->number[OPT_ISOLATE] == 0 ? QUANT_ISOLATE_LAYER
                                                    : QUANT_ISOLATE_PROJECTION};
    return quant_propagate(j->ctx, j->model, &j->tokens.all, &options, &j->result);
}

static quant_status print(void *user)
{
    const job *j = user;
    char name[512];
    quant_text_base(j->args->operand[0], name, sizeof name);
    const quant_propagate_report report = {name, j->model, j->result, j->fixed.grids};
    switch (j->args->number[OPT_FORMAT]) {
    case CLI_JSON:
        return quant_propagate_report_json(j->ctx, &report, stdout);
    case CLI_CSV:
        return quant_propagate_report_csv(j->ctx, &report, stdout);
    default:
        return quant_propagate_report_table(j->ctx, &report, stdout);
    }
}

int cli_propagate(quant_context *ctx, const cli_args *args)
{
    job j = {.ctx = ctx, .args = args};
    if (cli_wants_chain(ctx, args)) {
        return cli_propagate_chain(ctx, args);
    }
    int status = cli_run_and_print(ctx, args, &j.progress, run, print, &j);
    quant_propagate_free(ctx, j.result);
    quant_model_close(ctx, j.model);
    cli_free_static(ctx, &j.fixed);
    cli_free_tokens(ctx, &j.tokens);
    cli_free_columns(ctx, &j.columns);
    return status;
}
