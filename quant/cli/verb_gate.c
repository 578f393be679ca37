/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_gate.c - two files of arrays: do the gates hold, and write or check pins. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "quant/bank/output.h"
#include "quant/cli/cli.h"
#include "quant/internal.h"
#include "quant/report/gate_report.h"
#include "quant/report/pins_json.h"
#include "quant/report/text.h"

typedef struct job {
    quant_context *ctx;
    const cli_args *args;
    char name[2][512]; /* base names of reference and candidate */
    quant_bank *bank[2];
    char scheme[QUANT_SCHEME_TEXT];
    quant_gate **gates; /* [args->gates] */
    quant_pins *pins;
    quant_array_result *result;
    quant_gate_line *lines;
    size_t line_count;
} job;

/* ---- before anything is measured ------------------------------------------------------------- */

static quant_status check_options(job *j)
{
    const char *const *text = j->args->text;
    struct stat s;
    if (text[OPT_PIN] && text[OPT_PINS]) {
        return quant_fail(j->ctx, QUANT_EINVAL, "expected one of --pin and --pins, found both");
    }
    if (!text[OPT_PIN] && !text[OPT_PINS] && j->args->gates == 0) {
        return quant_fail(j->ctx, QUANT_EINVAL, "expected --gate, --pin or --pins, found none");
    }
    if (text[OPT_NOTE] && !text[OPT_PIN]) {
        return quant_fail(j->ctx, QUANT_EINVAL, "--note: expected --pin too, found none");
    }
    if (text[OPT_PIN] && !text[OPT_FORCE] && lstat(text[OPT_PIN], &s) == 0) {
        return quant_fail(j->ctx, QUANT_EIO, "%s: exists, expected a new file or --force",
                          text[OPT_PIN]);
    }
    if (text[OPT_SCHEME]) {
        quant_scheme scheme;
        QUANT_TRY(quant_scheme_parse(j->ctx, text[OPT_SCHEME], &scheme));
        quant_scheme_print(&scheme, j->scheme);
    }
    return QUANT_OK;
}

static quant_status set_up(job *j)
{
    const cli_args *args = j->args;
    QUANT_TRY(check_options(j));
    j->gates = quant_alloc(j->ctx, args->gates, sizeof *j->gates);
    if (!j->gates) {
        return QUANT_ENOMEM;
    }
    memset(j->gates, 0, args->gates * sizeof *j->gates);
    for (size_t i = 0; i < args->gates; i++) {
        quant_status s = quant_gate_parse_arrays(j->ctx, args->gate[i], &j->gates[i]);
        if (s != QUANT_OK) {
            return quant_fail_prefix(j->ctx, s, "--gate");
        }
    }
    if (args->text[OPT_PINS]) {
        QUANT_TRY(quant_pins_read(j->ctx, args->text[OPT_PINS], &j->pins));
    }
    for (int i = 0; i < 2; i++) {
        quant_text_base(args->operand[i], j->name[i], sizeof j->name[i]);
        QUANT_TRY(quant_bank_open(j->ctx, args->operand[i], &j->bank[i]));
    }
    return QUANT_OK;
}

/* ---- measuring and judging ------------------------------------------------------------------- */

static quant_status measure(job *j)
{
    const char *candidate = j->args->operand[1];
    quant_status s = quant_array_gate(j->ctx, j->bank[0], j->bank[1], j->args->text[OPT_TENSORS],
                                      &j->result);
    if (s != QUANT_OK) {
        bool named = s == QUANT_EIO || s == QUANT_ENOMEM;
        return named ? s : quant_fail_prefix(j->ctx, s, candidate);
    }
    for (int i = 0; i < 2; i++) {
        QUANT_TRY(quant_bank_unchanged(j->ctx, j->bank[i]));
    }
    if (j->result->row_count == 0 && j->result->undecoded > 0) {
        return quant_fail(j->ctx, QUANT_EUNSUPPORTED, "%s: expected arrays of type F64, F32, F16 "
                          "or BF16, found %zu of other float types and nothing else", candidate,
                          j->result->undecoded);
    }
    return QUANT_OK;
}

static quant_status match_pins(job *j)
{
    char reference[QUANT_SHA256_TEXT];
    QUANT_TRY(quant_bank_sha256(j->ctx, j->bank[0], reference));
    quant_status s = quant_pins_match(j->ctx, j->pins, reference, j->result->tokens,
                                      j->args->text[OPT_SCHEME] ? j->scheme : NULL);
    return s == QUANT_OK ? s : quant_fail_prefix(j->ctx, s, j->args->operand[0]);
}

/* Visit every verdict; out may be NULL to count. */
static size_t judge_all(const job *j, quant_gate_line *out)
{
    size_t count = 0;
    quant_gate_verdict v;
    const quant_array_result *r = j->result;
    for (size_t g = 0; g < j->args->gates; g++) {
        for (size_t i = 0;
             quant_gate_judge_arrays(j->gates[g], i, r->rows, r->row_count, &v); i++) {
            if (out) {
                out[count] = (quant_gate_line){v, false};
            }
            count++;
        }
    }
    for (size_t i = 0; j->pins && quant_pins_judge(j->pins, i, r, &v); i++) {
        if (out) {
            out[count] = (quant_gate_line){v, true};
        }
        count++;
    }
    return count;
}

static quant_status judge(job *j)
{
    size_t count = judge_all(j, NULL);
    j->lines = quant_alloc(j->ctx, count, sizeof *j->lines);
    if (!j->lines) {
        return QUANT_ENOMEM;
    }
    j->line_count = judge_all(j, j->lines);
    return QUANT_OK;
}

/* ---- afterwards ------------------------------------------------------------------------------ */

static quant_status print(job *j)
{
    const quant_gate_report report = {j->name[0], j->name[1], j->result, j->lines, j->line_count,
                                      j->pins};
    switch (j->args->number[OPT_FORMAT]) {
    case CLI_JSON:
        return quant_gate_report_json(j->ctx, &report, stdout);
    case CLI_CSV:
        return quant_gate_report_csv(j->ctx, &report, stdout);
    default:
        return quant_gate_report_table(j->ctx, &report, stdout);
    }
}

/* One line for all gates that failed; the exit status. */
static int gate_status(const job *j)
{
    const quant_gate_verdict *first = NULL;
    size_t failed = 0;
    char at[QUANT_ARRAY_INDEX_TEXT] = "";
    for (size_t i = 0; i < j->line_count; i++) {
        first = !first && !j->lines[i].verdict.held ? &j->lines[i].verdict : first;
        failed += !j->lines[i].verdict.held;
    }
    if (!first) {
        return 0;
    }
    for (size_t i = 0; first->has_position && i < j->result->row_count; i++) {
        if (strcmp(j->result->rows[i].name, first->where) == 0) {
            quant_array_index_text(&j->result->rows[i].shape, first->position, at);
        }
    }
    char value[QUANT_TEXT_NUMBER];
    quant_text_against(first->value, first->threshold, value);
    quant_fail(j->ctx, QUANT_EINVAL, "%s: gate: expected %s, found %s%s%s%s (%zu of %zu failed)",
               j->args->operand[1], first->text, first->why ? first->why : value,
               first->where[0] ? " at " : "", first->where, at, failed, j->line_count);
    cli_fail(j->ctx, QUANT_EINVAL);
    return EXIT_GATE;
}

static quant_status write_text(job *j, const char *text, size_t bytes)
{
    quant_output *out = NULL;
    QUANT_TRY(quant_output_open(j->ctx, j->args->text[OPT_PIN], bytes, &out));
    quant_status s = quant_output_write(j->ctx, out, 0, text, bytes);
    if (s != QUANT_OK) {
        quant_output_discard(j->ctx, out);
        return s;
    }
    return quant_output_commit(j->ctx, out);
}

static quant_status write_pins(job *j)
{
    char sha256[2][QUANT_SHA256_TEXT];
    char *text = NULL;
    size_t bytes = 0;
    for (int i = 0; i < 2; i++) {
        QUANT_TRY(quant_bank_sha256(j->ctx, j->bank[i], sha256[i]));
    }
    const quant_pins_report report = {
        j->name[0], j->name[1], sha256[0], sha256[1], j->args->text[OPT_NOTE],
        j->args->text[OPT_SCHEME] ? j->scheme : NULL, j->result};
    FILE *to = open_memstream(&text, &bytes);
    if (!to) {
        return quant_fail(j->ctx, QUANT_ENOMEM, "memory: the pins could not be had");
    }
    quant_status s = quant_pins_json(j->ctx, &report, to);
    bool closed = fclose(to) == 0;
    if (s == QUANT_OK) {
        s = closed ? write_text(j, text, bytes)
                   : quant_fail(j->ctx, QUANT_ENOMEM, "memory: the pins could not be had");
    } else {
        s = quant_fail_prefix(j->ctx, s, j->args->operand[1]);
    }
    free(text);
    return s;
}

static quant_status run(job *j)
{
    QUANT_TRY(set_up(j));
    QUANT_TRY(measure(j));
    if (j->pins) {
        QUANT_TRY(match_pins(j));
    }
    QUANT_TRY(judge(j));
    return print(j);
}

int cli_gate(quant_context *ctx, const cli_args *args)
{
    job j = {.ctx = ctx, .args = args};
    quant_output_guard_signals();
    quant_status s = run(&j);
    int status = s == QUANT_OK ? gate_status(&j) : ferror(stdout) ? 0 : cli_fail(ctx, s);
    if (s == QUANT_OK && status == 0 && args->text[OPT_PIN]) {
        s = write_pins(&j); /* only what passed is worth pinning */
        status = s == QUANT_OK ? 0 : cli_fail(ctx, s);
    }
    for (size_t i = 0; j.gates && i < args->gates; i++) {
        quant_gate_free(ctx, j.gates[i]);
    }
    quant_release(ctx, j.gates, args->gates, sizeof *j.gates);
    quant_release(ctx, j.lines, j.line_count, sizeof *j.lines);
    quant_array_result_free(ctx, j.result);
    quant_pins_free(ctx, j.pins);
    quant_bank_close(ctx, j.bank[0]);
    quant_bank_close(ctx, j.bank[1]);
    return status;
}
