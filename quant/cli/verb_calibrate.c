/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_calibrate.c - what linear layers see of prompts, recorded and shown. */
#include "quant/bank/output.h"
#include "quant/cli/cli.h"
#include "quant/internal.h"
#include "quant/lab/calibrate.h"
#include "quant/report/calibrate_report.h"
#include "quant/report/text.h"

typedef struct job {
    quant_context *ctx;
    const cli_args *args;
    quant_model *model;
    cli_tokens tokens;
    quant_scheme scheme;
    quant_progress progress;
    quant_stats *ranges, *stats;   /* --stats; what was recorded */
    quant_scheme *schemes;
    size_t scheme_count;
    quant_adequacy *curve;
} job;

/* ---- is it enough? --------------------------------------------------------------------------- */

/* Options that mean something to one of the two jobs only. */
static quant_status check_options(const job *j)
{
    static const struct {
        int option;
        const char *name;
        bool enough;
    } list[] = {
        {OPT_SCHEMES, "--schemes", true}, {OPT_HELD_OUT, "--held-out", true},
        {OPT_SEED, "--seed", true},       {OPT_OUTPUT, "-o", false},
        {OPT_FORCE, "--force", false},    {OPT_POSITIONS, "--positions", false},
        {OPT_SCHEME, "--scheme", false},  {OPT_MOMENTS, "--moments", false},
        {OPT_STATS, "--stats", false},    {OPT_LOGITS, "--logits", true},
        {OPT_DRAWS, "--draws", true},
    };
    bool enough = j->args->text[OPT_ENOUGH] != NULL;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        if (j->args->text[list[i].option] && list[i].enough != enough) {
            return quant_fail(j->ctx, QUANT_EINVAL, "%s: expected %s --enough", list[i].name,
                              enough ? "it without" : "it with");
        }
    }
    return QUANT_OK;
}

static quant_status run_enough(job *j)
{
    const cli_args *args = j->args;
    const char *list = args->text[OPT_SCHEMES];
    quant_adequacy_options o = {.error = 0.05, .saturation = 1e-4, .seed = args->number[OPT_SEED],
                             .draws = args->number[OPT_DRAWS],
                             .logits = args->text[OPT_LOGITS] != NULL,
                             .progress = quant_progress_step, .user = &j->progress};
    if (args->text[OPT_DRAWS] && o.draws == 0) {
        return quant_fail(j->ctx, QUANT_EINVAL, "draws: expected 1..%d, found 0",
                          QUANT_ADEQUACY_DRAWS);
    }
    if (args->number[OPT_FORMAT] == CLI_CSV && (o.logits || o.draws > 1)) {
        return quant_fail(j->ctx, QUANT_EINVAL, "--format: expected table or json with %s, CSV "
                          "lists inputs alone", o.logits ? "--logits" : "--draws");
    }
    QUANT_TRY(cli_parse_range(j->ctx, "sequences", args->text[OPT_SEQUENCES], &o.first_sequence,
                              &o.sequences));
    QUANT_TRY(cli_parse_range(j->ctx, "held-out", args->text[OPT_HELD_OUT], &o.first_held_out,
                              &o.held_out));
    QUANT_TRY(cli_parse_schemes(j->ctx, list ? list : "w8a8,act=static;w4a8,act=static",
                                &j->schemes, &j->scheme_count));
    o.schemes = j->schemes;
    o.scheme_count = j->scheme_count;
    QUANT_TRY(quant_model_open(j->ctx, args->operand[0], &j->model));
    QUANT_TRY(cli_read_tokens(j->ctx, args, &j->tokens));
    return quant_adequacy_run(j->ctx, j->model, &j->tokens.all, &o, &j->curve);
}

static quant_status print_enough(const job *j, const char *name)
{
    const quant_adequacy_report report = {name, j->curve};
    switch (j->args->number[OPT_FORMAT]) {
    case CLI_JSON:
        return quant_adequacy_report_json(j->ctx, &report, stdout);
    case CLI_CSV:
        return quant_adequacy_report_csv(j->ctx, &report, stdout);
    default:
        return quant_adequacy_report_table(j->ctx, &report, stdout);
    }
}

/* ---- statistics ------------------------------------------------------------------------------ */

static quant_status run(void *user)
{
    job *j = user;
    const cli_args *args = j->args;
    QUANT_TRY(check_options(j));
    if (args->text[OPT_ENOUGH]) {
        return run_enough(j);
    }
    quant_calibrate_options o = {.moments = args->text[OPT_MOMENTS] != NULL,
                                 .replace = args->text[OPT_FORCE] != NULL,
                                 .progress = quant_progress_step, .user = &j->progress};
    QUANT_TRY(cli_parse_range(j->ctx, "sequences", args->text[OPT_SEQUENCES], &o.first_sequence,
                              &o.sequences));
    QUANT_TRY(cli_parse_range(j->ctx, "positions", args->text[OPT_POSITIONS], &o.first_position,
                              &o.positions));
    if (args->text[OPT_SCHEME]) {
        quant_status s = quant_scheme_parse(j->ctx, args->text[OPT_SCHEME], &j->scheme);
        if (s != QUANT_OK) {
            return quant_fail_prefix(j->ctx, s, "--scheme");
        }
        o.scheme = &j->scheme;
    }
    QUANT_TRY(cli_read_stats(j->ctx, args, &j->ranges));
    o.stats = j->ranges;
    QUANT_TRY(quant_model_open(j->ctx, args->operand[0], &j->model));
    QUANT_TRY(cli_read_tokens(j->ctx, args, &j->tokens));
    quant_status s = quant_calibrate(j->ctx, j->model, &j->tokens.all, &o, args->text[OPT_OUTPUT],
                                     &j->stats);
    bool ranges = j->ranges && (s == QUANT_ECHECKSUM || s == QUANT_ESIZE);
    return ranges ? quant_fail_prefix(j->ctx, s, args->text[OPT_STATS]) : s;
}

static quant_status print(void *user)
{
    const job *j = user;
    char name[512];
    quant_text_base(j->args->operand[0], name, sizeof name);
    if (j->curve) {
        return print_enough(j, name);
    }
    const quant_calibrate_report report = {name, j->stats};
    switch (j->args->number[OPT_FORMAT]) {
    case CLI_JSON:
        return quant_calibrate_report_json(j->ctx, &report, stdout);
    case CLI_CSV:
        return quant_calibrate_report_csv(j->ctx, &report, stdout);
    default:
        return quant_calibrate_report_table(j->ctx, &report, stdout);
    }
}

int cli_calibrate(quant_context *ctx, const cli_args *args)
{
    job j = {.ctx = ctx, .args = args};
    quant_output_guard_signals();
    int status = cli_run_and_print(ctx, args, &j.progress, run, print, &j);
    quant_stats_close(ctx, j.stats);
    quant_stats_close(ctx, j.ranges);
    quant_adequacy_free(ctx, j.curve);
    quant_release(ctx, j.schemes, j.scheme_count, sizeof *j.schemes);
    quant_model_close(ctx, j.model);
    cli_free_tokens(ctx, &j.tokens);
    return status;
}
