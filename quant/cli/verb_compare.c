/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_compare.c - every scheme on every tensor of every bank, one report at the end. */
#include <string.h>

#include "quant/cli/cli.h"
#include "quant/cli/compare_run.h"
#include "quant/internal.h"
#include "quant/quant.h"
#include "quant/report/progress.h"
#include "quant/report/text.h"

static quant_status measure(quant_context *ctx, const cli_args *args, compare_run *run, size_t i)
{
    compare_bank *b = &run->banks[i];
    quant_progress progress;
    QUANT_TRY(quant_bank_open(ctx, args->operand[i], &b->bank));
    if (run->other && quant_pack_is(b->bank)) {
        return quant_fail(ctx, QUANT_EINVAL, "%s: expected a plain bank to measure %s against, "
                          "found a packed one", args->operand[i], args->text[OPT_AGAINST]);
    }
    QUANT_TRY(cli_open_importance(ctx, args, b->bank, &run->importance));
    run->options.importance = run->importance;
    if (run->stats) {
        quant_status match = quant_stats_match(ctx, run->stats, b->bank);
        QUANT_TRY(match == QUANT_OK ? match
                                    : quant_fail_prefix(ctx, match, args->text[OPT_STATS]));
    }
    quant_progress_begin(&progress, stderr, args->text[OPT_QUIET] != NULL);
    run->options.progress = quant_progress_step;
    run->options.user = &progress;
    quant_status s = run->other ? quant_compare_against(ctx, b->bank, run->other, &run->options,
                                                        &b->result)
                                : quant_compare(ctx, b->bank, &run->options, &b->result);
    quant_progress_end(&progress);
    if (run->inputs && (s == QUANT_ESHAPE || s == QUANT_ENONFINITE)) { /* of the inputs */
        quant_fail_prefix(ctx, s, args->text[OPT_INPUTS]);
    }
    QUANT_TRY(s);
    return quant_bank_unchanged(ctx, b->bank);
}

/* Bank, shape and notes of a measured bank for the report. */
static void describe(quant_context *ctx, compare_run *run, size_t i)
{
    compare_bank *b = &run->banks[i];
    quant_report_bank *r = &run->reports[i];
    r->format = quant_bank_format(b->bank);
    r->tensors = quant_bank_count(b->bank);
    r->file_bytes = quant_bank_file_bytes(b->bank);
    for (size_t t = 0; t < r->tensors; t++) {
        r->elements += quant_bank_tensor(b->bank, t)->elements;
    }
    r->result = b->result;
    compare_notes(ctx, run, i);
}

/* One line on stderr for all refused tensors of a bank. */
static int report_refused(quant_context *ctx, const cli_args *args, const compare_run *run,
                          size_t i)
{
    const quant_compare_result *r = run->banks[i].result;
    if (r->refused_count == 0) {
        return 0;
    }
    char more[64] = "";
    if (r->refused_count > 1) {
        snprintf(more, sizeof more, " (%zu tensors refused)", r->refused_count);
    }
    return cli_fail(ctx, quant_fail(ctx, QUANT_ENONFINITE, "%s: tensor %s: %s%s", args->operand[i],
                                    r->refused[0].name, r->refused[0].reason, more));
}

/* --tensors that selects nothing at all is a slip of the pen. */
static int report_unmatched(quant_context *ctx, const cli_args *args, const compare_run *run)
{
    size_t tensors = 0, listed = 0;
    for (size_t i = 0; i < args->operands; i++) {
        const quant_compare_result *r = run->banks[i].result;
        tensors += r ? run->reports[i].tensors : 0;
        listed += r ? r->kept_count + r->refused_count : 0;
    }
    if (!args->text[OPT_TENSORS] || tensors == 0 || listed > 0) {
        return 0;
    }
    return cli_fail(ctx, quant_fail(ctx, QUANT_EINVAL, "%s: --tensors: expected a glob that "
                                    "matches a name, found '%s' and %zu tensors",
                                    args->operand[0], args->text[OPT_TENSORS], tensors));
}

/* Exit 4 when nothing could be measured and a type that is not decoded is the reason. */
static int report_unsupported(quant_context *ctx, const cli_args *args, const compare_run *run)
{
    for (size_t i = 0; i < args->operands; i++) {
        const compare_bank *b = &run->banks[i];
        for (size_t k = 0; b->result && k < b->result->kept_count; k++) {
            const quant_tensor *t = quant_bank_tensor(b->bank, b->result->kept[k].tensor);
            if (t && quant_dtype_is_float(t->dtype) && !quant_dtype_is_decoded(t->dtype)) {
                return cli_fail(ctx, quant_fail(ctx, QUANT_EUNSUPPORTED, "%s: tensor %s: expected "
                                "type F64, F32, F16 or BF16, found %s, and nothing else is left",
                                args->operand[i], t->name, t->dtype_text));
            }
        }
    }
    return 0;
}

/* Exit 4 when --against names a bank that has no tensor in common with this one. */
static int report_unshared(quant_context *ctx, const cli_args *args, const compare_run *run)
{
    const quant_compare_result *r = run->banks[0].result;
    size_t absent = 0;
    for (size_t k = 0; run->other && r && k < r->kept_count; k++) {
        absent += strcmp(r->kept[k].reason, QUANT_KEPT_NOT_IN_OTHER) == 0;
    }
    return absent == 0 ? 0
                       : cli_fail(ctx, quant_fail(ctx, QUANT_EUNSUPPORTED, "%s: expected a tensor "
                                                  "that %s has too, found none", args->operand[0],
                                                  args->text[OPT_AGAINST]));
}

/* Exit 3 when --inputs fits no matrix at all: dashes would look like a result. */
static int report_idle_inputs(quant_context *ctx, const cli_args *args, const compare_run *run,
                              size_t rows)
{
    uint64_t pairs = 0;
    for (size_t i = 0; i < args->operands; i++) {
        const quant_compare_result *r = run->banks[i].result;
        for (size_t k = 0; r && k < r->row_count; k++) {
            pairs += r->rows[k].output.pairs;
        }
    }
    return !run->inputs || pairs > 0 || rows == 0
               ? 0
               : cli_fail(ctx, quant_fail(ctx, QUANT_ESHAPE, "%s: expected inputs [k, in] under "
                                          "the name of a matrix, or one .npy of a matrix's "
                                          "width, found none that fits", args->text[OPT_INPUTS]));
}

static quant_status print(quant_context *ctx, const cli_args *args, const compare_run *run,
                          double seconds)
{
    const char *metric = args->text[OPT_METRIC];
    quant_compare_report report = {
        .banks = run->reports, .bank_count = args->operands, .overall = run->overall,
        .overall_count = run->overall_count, .verdicts = run->verdicts,
        .verdict_count = run->verdict_count, .metric = run->metric,
        .metric_of_output = metric && strncmp(metric, "output.", 7) == 0,
        .verbose = args->text[OPT_VERBOSE] != NULL,
        .with_outputs = run->options.probe > 0 || run->options.inputs,
        .with_predicted = run->options.predict, .with_importance = run->importance != NULL,
        .timing = args->text[OPT_TIMING] != NULL,
        .seconds = seconds, .threads = quant_context_threads(ctx), .isa = quant_isa()};
    switch (args->number[OPT_FORMAT]) {
    case CLI_JSON:
        return quant_compare_report_json(ctx, &report, stdout);
    case CLI_CSV:
        return quant_compare_report_csv(ctx, &report, stdout);
    default:
        return quant_compare_report_table(ctx, &report, stdout);
    }
}

/* Measure all banks; the exit status so far. *measured counts banks, *rows what was tried. */
static int measure_all(quant_context *ctx, const cli_args *args, compare_run *run, size_t *measured,
                       size_t *rows)
{
    int status = 0;
    for (size_t i = 0; i < args->operands; i++) {
        quant_text_base(args->operand[i], run->banks[i].name, sizeof run->banks[i].name);
        run->reports[i].name = run->banks[i].name;
        quant_status s = measure(ctx, args, run, i);
        run->reports[i].error = quant_status_word(s);
        if (s != QUANT_OK) {
            status = cli_worse(status, cli_fail(ctx, s));
            continue;
        }
        describe(ctx, run, i);
        status = cli_worse(status, report_refused(ctx, args, run, i));
        *measured += 1;
        *rows += run->banks[i].result->row_count;
    }
    return status;
}

static int compare(quant_context *ctx, const cli_args *args, compare_run *run)
{
    size_t measured = 0, rows = 0;
    double start = quant_progress_clock();
    quant_status s = compare_set_up(ctx, args, run);
    if (s != QUANT_OK) {
        return cli_fail(ctx, s);
    }
    int status = measure_all(ctx, args, run, &measured, &rows);
    if (measured == 0) {
        return status;
    }
    if (rows == 0 && status == 0) {
        status = cli_worse(report_unmatched(ctx, args, run), report_unsupported(ctx, args, run));
        status = status == 0 ? report_unshared(ctx, args, run) : status;
    }
    status = cli_worse(status, report_idle_inputs(ctx, args, run, rows));
    s = compare_judge(ctx, args, run);
    if (s == QUANT_OK) {
        s = print(ctx, args, run, quant_progress_clock() - start);
    }
    if (s != QUANT_OK && !ferror(stdout)) {
        return cli_worse(status, cli_fail(ctx, s));
    }
    return cli_worse(status, compare_gate_status(ctx, args, run));
}

int cli_compare(quant_context *ctx, const cli_args *args)
{
    compare_run run;
    int status = compare(ctx, args, &run);
    compare_tear_down(ctx, args, &run);
    return status;
}
