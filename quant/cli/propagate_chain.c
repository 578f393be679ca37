/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_chain.c - propagate without tokens on a bank of no known architecture. */
#include "quant/cli/propagate_chain.h"

#include "quant/internal.h"
#include "quant/model/model.h"
#include "quant/report/chain_report.h"
#include "quant/report/text.h"

typedef struct job {
    quant_context *ctx;
    const cli_args *args;
    quant_bank *bank;
    cli_columns columns;
    quant_progress progress;
    quant_chain_result *result;
} job;

bool cli_wants_chain(quant_context *ctx, const cli_args *args)
{
    quant_model *model = NULL;
    if (args->text[OPT_TOKENS]) {
        return false;
    }
    quant_status s = quant_model_open(ctx, args->operand[0], &model);
    quant_model_close(ctx, model);
    return s == QUANT_EIO || s == QUANT_EUNSUPPORTED;
}

static bool is_selected(void *user, const quant_tensor *t)
{
    const job *j = user;
    return quant_glob_match(j->args->text[OPT_TENSORS], t->name);
}

/* What only a model has. */
static quant_status check_options(const job *j)
{
    static const struct {
        cli_option option;
        const char *name;
    } rows[] = {{OPT_ISOLATE, "isolate"}, {OPT_WHITENESS, "whiteness"},
                {OPT_JACOBIANS, "jacobians"}, {OPT_COMPUTE, "compute"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (j->args->text[rows[i].option]) {
            return quant_fail(j->ctx, QUANT_EINVAL, "--%s: expected a model and --tokens, found a "
                              "bank of no known architecture", rows[i].name);
        }
    }
    return QUANT_OK;
}

static quant_status run(void *user)
{
    job *j = user;
    const cli_args *args = j->args;
    QUANT_TRY(check_options(j));
    QUANT_TRY(cli_read_columns(j->ctx, args, &j->columns));
    QUANT_TRY(quant_bank_open(j->ctx, args->operand[0], &j->bank));
    const quant_chain_options o = {
        .schemes = j->columns.schemes, .scheme_count = j->columns.count,
        .recipe = j->columns.recipe, .user = j,
        .select = args->text[OPT_TENSORS] ? is_selected : NULL, .seed = args->number[OPT_SEED],
        .progress = quant_progress_step, .progress_user = &j->progress};
    quant_status s = quant_chain_run(j->ctx, j->bank, &o, &j->result);
    return s == QUANT_OK || s == QUANT_ENOMEM ? s
                                              : quant_fail_prefix(j->ctx, s, args->operand[0]);
}

static quant_status print(void *user)
{
    const job *j = user;
    char name[512];
    quant_text_base(j->args->operand[0], name, sizeof name);
    switch (j->args->number[OPT_FORMAT]) {
    case CLI_JSON:
        return quant_chain_report_json(j->ctx, name, j->result, stdout);
    case CLI_CSV:
        return quant_chain_report_csv(j->ctx, j->result, stdout);
    default:
        return quant_chain_report_table(j->ctx, name, j->result, stdout);
    }
}

int cli_propagate_chain(quant_context *ctx, const cli_args *args)
{
    job j = {.ctx = ctx, .args = args};
    int status = cli_run_and_print(ctx, args, &j.progress, run, print, &j);
    quant_chain_free(ctx, j.result);
    quant_bank_close(ctx, j.bank);
    cli_free_columns(ctx, &j.columns);
    return status;
}
