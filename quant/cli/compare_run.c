/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/cli/compare_run.h"

#include <math.h>
#include <string.h>

#include "quant/bank/packed.h"
#include "quant/internal.h"
#include "quant/lab/inspect.h"
#include "quant/report/text.h"

static quant_status parse_metric(quant_context *ctx, const cli_args *args, compare_run *run)
{
    const char *name = args->text[OPT_METRIC] ? args->text[OPT_METRIC] : "sqnr_db";
    bool of_output = strncmp(name, "output.", 7) == 0;
    char known[256] = "";
    run->metric = quant_metric_find(of_output ? name + 7 : name);
    if (!run->metric) {
        for (int i = 0; i < QUANT_METRIC_COUNT; i++) {
            size_t at = strlen(known);
            snprintf(known + at, sizeof known - at, " %s", quant_metric_row(i)->name);
        }
        return quant_fail(ctx, QUANT_EINVAL, "--metric: expected one of%s, or output. before it, "
                          "found '%s'", known, name);
    }
    if (of_output && run->options.probe == 0 && !args->text[OPT_INPUTS]) {
        return quant_fail(ctx, QUANT_EINVAL, "--metric: %s: expected --probe or --inputs too, "
                          "found neither", name);
    }
    return QUANT_OK;
}

/* Combinations that contradict each other. */
static quant_status check_together(quant_context *ctx, const cli_args *args)
{
    const char *const *text = args->text;
    if (text[OPT_SCHEMES] && text[OPT_RECIPE]) {
        return quant_fail(ctx, QUANT_EINVAL, "expected one of --schemes and --recipe, found both");
    }
    if (text[OPT_PROBE] && text[OPT_INPUTS]) {
        return quant_fail(ctx, QUANT_EINVAL, "expected one of --probe and --inputs, found both");
    }
    if (text[OPT_AGAINST] && (text[OPT_SCHEMES] || text[OPT_RECIPE])) {
        return quant_fail(ctx, QUANT_EINVAL, "--against: expected no --schemes or --recipe, found "
                          "one");
    }
    if (text[OPT_AGAINST] && args->operands != 1) {
        return quant_fail(ctx, QUANT_EINVAL, "--against: expected one BANK, found %zu",
                          args->operands);
    }
    if (text[OPT_IMPORTANCE] && (text[OPT_AGAINST] || text[OPT_PREDICT])) {
        return quant_fail(ctx, QUANT_EINVAL, "--importance: expected neither --against nor "
                          "--predict, which know nothing of it, found one");
    }
    if (text[OPT_IMPORTANCE] && args->operands != 1) {
        return quant_fail(ctx, QUANT_EINVAL, "--importance: expected one BANK, found %zu",
                          args->operands);
    }
    if (args->number[OPT_PROBE] > 65536) {
        return quant_fail(ctx, QUANT_EINVAL, "--probe: expected at most 65536, found %s",
                          text[OPT_PROBE]);
    }
    return QUANT_OK;
}

static quant_status make_room(quant_context *ctx, const cli_args *args, compare_run *run)
{
    run->gates = quant_alloc(ctx, args->gates, sizeof *run->gates);
    run->banks = quant_alloc(ctx, args->operands, sizeof *run->banks);
    run->reports = quant_alloc(ctx, args->operands, sizeof *run->reports);
    for (size_t i = 0; run->gates && i < args->gates; i++) {
        run->gates[i] = NULL;
    }
    for (size_t i = 0; run->banks && i < args->operands; i++) {
        run->banks[i] = (compare_bank){.bank = NULL};
    }
    for (size_t i = 0; run->reports && i < args->operands; i++) {
        run->reports[i] = (quant_report_bank){.name = NULL};
    }
    return run->gates && run->banks && run->reports ? QUANT_OK : QUANT_ENOMEM;
}

static quant_status parse_gates(quant_context *ctx, const cli_args *args, compare_run *run)
{
    for (size_t i = 0; i < args->gates; i++) {
        quant_status s = quant_gate_parse(ctx, args->gate[i], &run->gates[i]);
        if (s != QUANT_OK) {
            return quant_fail_prefix(ctx, s, "--gate");
        }
    }
    return QUANT_OK;
}

/* The bank of --against; its directory is read once here, so that what is wrong with it is said of
 * that file. */
static quant_status open_other(quant_context *ctx, const char *path, compare_run *run)
{
    quant_packed *packed = NULL;
    QUANT_TRY(quant_bank_open(ctx, path, &run->other));
    if (!quant_pack_is(run->other)) {
        return QUANT_OK;
    }
    quant_status s = quant_packed_open(ctx, run->other, &packed);
    quant_packed_close(ctx, packed);
    return s == QUANT_OK ? s : quant_fail_prefix(ctx, s, path);
}

quant_status compare_set_up(quant_context *ctx, const cli_args *args, compare_run *run)
{
    *run = (compare_run){.metric = NULL};
    run->options = (quant_compare_options){
        .tensors = args->text[OPT_TENSORS], .min_elements = args->number[OPT_MIN_ELEMENTS],
        .keep_nonfinite = args->number[OPT_NONFINITE] == CLI_KEEP,
        .seed = args->number[OPT_SEED], .predict = args->text[OPT_PREDICT] != NULL};
    QUANT_TRY(check_together(ctx, args));
    run->options.probe = (int)args->number[OPT_PROBE];
    QUANT_TRY(make_room(ctx, args, run));
    QUANT_TRY(parse_metric(ctx, args, run));
    QUANT_TRY(parse_gates(ctx, args, run));
    if (args->text[OPT_RECIPE]) {
        QUANT_TRY(quant_recipe_read(ctx, args->text[OPT_RECIPE], &run->recipe));
        run->options.recipe = run->recipe;
    } else if (!args->text[OPT_AGAINST]) {
        const char *list = args->text[OPT_SCHEMES];
        QUANT_TRY(cli_parse_schemes(ctx, list ? list : quant_scheme_default_list(), &run->schemes,
                                    &run->options.scheme_count));
        run->options.schemes = run->schemes;
    }
    if (args->text[OPT_INPUTS]) {
        QUANT_TRY(quant_bank_open(ctx, args->text[OPT_INPUTS], &run->inputs));
        run->options.inputs = run->inputs;
    }
    QUANT_TRY(cli_read_stats(ctx, args, &run->stats));
    run->options.stats = run->stats;
    return args->text[OPT_AGAINST] ? open_other(ctx, args->text[OPT_AGAINST], run) : QUANT_OK;
}

void compare_tear_down(quant_context *ctx, const cli_args *args, compare_run *run)
{
    for (size_t i = 0; run->gates && i < args->gates; i++) {
        quant_gate_free(ctx, run->gates[i]);
    }
    for (size_t i = 0; run->banks && i < args->operands; i++) {
        quant_compare_free(ctx, run->banks[i].result);
        quant_bank_close(ctx, run->banks[i].bank);
    }
    quant_stats_close(ctx, run->stats);
    quant_bank_close(ctx, run->inputs);
    quant_bank_close(ctx, run->other);
    quant_bank_close(ctx, run->importance);
    quant_recipe_free(ctx, run->recipe);
    quant_release(ctx, run->schemes, run->options.scheme_count, sizeof *run->schemes);
    quant_release(ctx, run->verdicts, run->verdict_count, sizeof *run->verdicts);
    quant_release(ctx, run->overall, run->overall_room, sizeof *run->overall);
    quant_release(ctx, run->gates, args->gates, sizeof(quant_gate *));
    quant_release(ctx, run->reports, args->operands, sizeof *run->reports);
    quant_release(ctx, run->banks, args->operands, sizeof *run->banks);
}

/* Rules of the recipe that no tensor of the bank meets first: "a, b"; false when there is none.
 * What does not fit `out` is left out. */
static bool idle_rules(quant_context *ctx, const compare_run *run, const quant_bank *bank,
                       char *out, size_t capacity)
{
    size_t rules = 0, idle = 0, which;
    while (run->recipe && quant_recipe_glob(run->recipe, rules)) {
        rules++;
    }
    bool *met = quant_alloc(ctx, rules, sizeof *met);
    if (!met) {
        return false;
    }
    memset(met, 0, rules * sizeof *met);
    for (size_t t = 0; rules > 0 && t < quant_bank_count(bank); t++) {
        quant_recipe_match(run->recipe, quant_bank_tensor(bank, t)->name, &which);
        if (which < rules) {
            met[which] = true;
        }
    }
    size_t at = (size_t)snprintf(out, capacity, "recipe rules that decided no tensor:");
    for (size_t rule = 0; rule < rules && at < capacity; rule++) {
        if (!met[rule]) {
            at += (size_t)snprintf(out + at, capacity - at, "%s %s", idle++ ? "," : "",
                                   quant_recipe_glob(run->recipe, rule));
        }
    }
    quant_release(ctx, met, rules, sizeof *met);
    return idle > 0;
}

static size_t count_stacks(const quant_compare_result *r, const quant_bank *bank)
{
    size_t count = 0;
    for (size_t i = 0; i < r->row_count; i++) {
        bool again = i > 0 && r->rows[i].tensor == r->rows[i - 1].tensor;
        bool whole = !strstr(r->rows[i].scheme_text, "stack=");
        count += !again && whole &&
                 quant_tensor_looks_like_stack(quant_bank_tensor(bank, r->rows[i].tensor));
    }
    return count;
}

void compare_notes(quant_context *ctx, compare_run *run, size_t i)
{
    compare_bank *b = &run->banks[i];
    size_t count = 0;
    while (count < COMPARE_BANK_NOTES - 3 && quant_bank_note(b->bank, count)) {
        b->notes[count] = quant_bank_note(b->bank, count);
        count++;
    }
    if (idle_rules(ctx, run, b->bank, b->own_note[0], sizeof b->own_note[0])) {
        b->notes[count++] = b->own_note[0];
    }
    size_t stacks = count_stacks(b->result, b->bank);
    if (stacks > 0 && !run->other) {
        snprintf(b->own_note[1], sizeof b->own_note[1], "%zu rank-3 tensor%s that look%s like a "
                 "stack of matrices %s taken as one matrix: add stack=1 to the scheme", stacks,
                 stacks == 1 ? "" : "s", stacks == 1 ? "s" : "", stacks == 1 ? "is" : "are");
        b->notes[count++] = b->own_note[1];
    }
    if (quant_pack_is(b->bank)) {
        b->notes[count++] = "a packed bank (" QUANT_PACK_SCHEMA "), whose codes are kept: to "
                            "measure it, compare its source --against it";
    }
    run->reports[i].notes = b->notes;
    run->reports[i].note_count = count;
}

static quant_status pool(quant_context *ctx, const cli_args *args, compare_run *run)
{
    for (size_t i = 0; i < args->operands; i++) {
        const quant_compare_result *r = run->banks[i].result;
        if (r && !run->overall) {
            run->overall_room = r->summary_count;
            run->overall = quant_alloc(ctx, run->overall_room, sizeof *run->overall);
            if (!run->overall) {
                return QUANT_ENOMEM;
            }
            run->overall_count = r->summary_count;
            memcpy(run->overall, r->summary, r->summary_count * sizeof *r->summary);
        } else if (r) {
            for (size_t k = 0; k < run->overall_count && k < r->summary_count; k++) {
                quant_compare_summary_add(&run->overall[k], &r->summary[k]);
            }
        }
    }
    return QUANT_OK;
}

/* Visit every verdict; out may be NULL to count. */
static size_t judge_all(const cli_args *args, const compare_run *run, quant_report_verdict *out)
{
    size_t count = 0;
    for (size_t b = 0; b < args->operands; b++) {
        const quant_compare_result *r = run->banks[b].result;
        for (size_t g = 0; r && g < args->gates; g++) {
            quant_gate_verdict verdict;
            for (size_t k = 0; k < r->summary_count; k++) {
                for (size_t i = 0; quant_gate_judge(run->gates[g], i, r, k, &verdict); i++) {
                    if (out) {
                        out[count] = (quant_report_verdict){b, verdict};
                    }
                    count++;
                }
            }
        }
    }
    return count;
}

quant_status compare_judge(quant_context *ctx, const cli_args *args, compare_run *run)
{
    QUANT_TRY(pool(ctx, args, run));
    size_t count = judge_all(args, run, NULL);
    run->verdicts = quant_alloc(ctx, count, sizeof *run->verdicts);
    if (!run->verdicts) {
        return QUANT_ENOMEM;
    }
    run->verdict_count = count;
    judge_all(args, run, run->verdicts);
    return QUANT_OK;
}

int compare_gate_status(quant_context *ctx, const cli_args *args, const compare_run *run)
{
    const quant_report_verdict *first = NULL;
    size_t failed = 0;
    for (size_t i = 0; i < run->verdict_count; i++) {
        if (!run->verdicts[i].verdict.held) {
            first = first ? first : &run->verdicts[i];
            failed++;
        }
    }
    if (!first) {
        return 0;
    }
    const quant_gate_verdict *v = &first->verdict;
    char value[QUANT_TEXT_NUMBER];
    quant_text_against(v->value, v->threshold, value);
    bool somewhere = !isnan(v->value) || (v->where && v->where[0] && strcmp(v->why, "NaN") == 0);
    quant_fail(ctx, QUANT_EINVAL, "%s: gate: %s: expected %s, found %s%s%s (%zu of %zu failed)",
               args->operand[first->bank], v->scheme_text, v->text, v->why ? v->why : value,
               somewhere ? " at " : "", somewhere ? v->where : "", failed, run->verdict_count);
    cli_fail(ctx, QUANT_EINVAL);
    return EXIT_GATE;
}
