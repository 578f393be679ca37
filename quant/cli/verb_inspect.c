/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_inspect.c - what is in a bank. NaN is reported, not refused; an empty bank is fine. */
#include "quant/cli/cli.h"
#include "quant/internal.h"
#include "quant/lab/inspect.h"
#include "quant/report/inspect_report.h"
#include "quant/report/progress.h"
#include "quant/report/text.h"

typedef struct seen_bank {
    char name[512];
    quant_bank *bank;
    quant_inspect_row *rows;
    quant_inspect_curve *curves; /* NULL without --curve */
    size_t room;
} seen_bank;

static quant_status trace(quant_context *ctx, const cli_args *args, seen_bank *seen, size_t count)
{
    quant_progress progress;
    seen->curves = quant_alloc(ctx, seen->room, sizeof *seen->curves);
    if (!seen->curves) {
        return QUANT_ENOMEM;
    }
    quant_progress_begin(&progress, stderr, args->text[OPT_QUIET] != NULL);
    quant_status s = quant_inspect_curves(ctx, seen->bank, quant_progress_step, &progress,
                                          seen->rows, count, seen->curves);
    quant_progress_end(&progress);
    return s;
}

static quant_status look(quant_context *ctx, const cli_args *args, const char *path,
                         seen_bank *seen, quant_inspect_report *report)
{
    quant_progress progress;
    quant_text_base(path, seen->name, sizeof seen->name);
    report->name = seen->name;
    QUANT_TRY(quant_bank_open(ctx, path, &seen->bank));
    seen->room = quant_bank_count(seen->bank);
    seen->rows = quant_alloc(ctx, seen->room, sizeof *seen->rows);
    if (!seen->rows) {
        return QUANT_ENOMEM;
    }
    quant_progress_begin(&progress, stderr, args->text[OPT_QUIET] != NULL);
    quant_status s = quant_inspect(ctx, seen->bank, args->text[OPT_TENSORS], quant_progress_step,
                                   &progress, seen->rows, &report->count);
    quant_progress_end(&progress);
    QUANT_TRY(s);
    QUANT_TRY(args->text[OPT_CURVE] ? trace(ctx, args, seen, report->count) : QUANT_OK);
    QUANT_TRY(quant_bank_unchanged(ctx, seen->bank));
    report->bank = seen->bank;
    report->rows = seen->rows;
    return QUANT_OK;
}

static quant_status print(quant_context *ctx, const cli_args *args,
                          const quant_inspect_report *reports)
{
    switch (args->number[OPT_FORMAT]) {
    case CLI_JSON:
        return quant_inspect_report_json(ctx, reports, args->operands, stdout);
    case CLI_CSV:
        return quant_inspect_report_csv(ctx, reports, args->operands, stdout);
    default:
        return quant_inspect_report_table(ctx, reports, args->operands, stdout);
    }
}

/* As in compare: --tensors that selects nothing at all is a slip of the pen. */
static int report_unmatched(quant_context *ctx, const cli_args *args,
                            const quant_inspect_report *reports)
{
    size_t tensors = 0, matched = 0;
    for (size_t i = 0; i < args->operands; i++) {
        tensors += reports[i].bank ? quant_bank_count(reports[i].bank) : 0;
        matched += reports[i].count;
    }
    if (!args->text[OPT_TENSORS] || tensors == 0 || matched > 0) {
        return 0;
    }
    return cli_fail(ctx, quant_fail(ctx, QUANT_EINVAL, "%s: --tensors: expected a glob that "
                                    "matches a name, found '%s' and %zu tensors",
                                    args->operand[0], args->text[OPT_TENSORS], tensors));
}

static int inspect_all(quant_context *ctx, const cli_args *args, seen_bank *seen,
                       quant_inspect_report *reports)
{
    int status = 0;
    size_t read = 0;
    for (size_t i = 0; i < args->operands; i++) {
        quant_status s = look(ctx, args, args->operand[i], &seen[i], &reports[i]);
        reports[i].error = quant_status_word(s);
        status = s == QUANT_OK ? status : cli_worse(status, cli_fail(ctx, s));
        read += s == QUANT_OK;
    }
    status = cli_worse(status, report_unmatched(ctx, args, reports));
    quant_status s = read > 0 ? print(ctx, args, reports) : QUANT_OK;
    return s == QUANT_OK || ferror(stdout) ? status : cli_worse(status, cli_fail(ctx, s));
}

int cli_inspect(quant_context *ctx, const cli_args *args)
{
    seen_bank *seen = quant_alloc(ctx, args->operands, sizeof *seen);
    quant_inspect_report *reports = quant_alloc(ctx, args->operands, sizeof *reports);
    int status = quant_status_exit(QUANT_ENOMEM);
    if (seen && reports) {
        for (size_t i = 0; i < args->operands; i++) {
            seen[i] = (seen_bank){.bank = NULL};
            reports[i] = (quant_inspect_report){.bank = NULL};
        }
        status = inspect_all(ctx, args, seen, reports);
        for (size_t i = 0; i < args->operands; i++) {
            quant_release(ctx, seen[i].curves, seen[i].room, sizeof *seen[i].curves);
            quant_release(ctx, seen[i].rows, seen[i].room, sizeof *seen[i].rows);
            quant_bank_close(ctx, seen[i].bank);
        }
    } else {
        cli_fail(ctx, QUANT_ENOMEM);
    }
    quant_release(ctx, reports, args->operands, sizeof *reports);
    quant_release(ctx, seen, args->operands, sizeof *seen);
    return status;
}
