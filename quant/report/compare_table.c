/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_table.c - compare for people: at most 100 columns, weight and output apart. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/report/compare_notes.h"
#include "quant/report/compare_report.h"
#include "quant/report/table.h"
#include "quant/report/text.h"

enum { HEADING_BYTES = 2 * QUANT_SCHEME_TEXT };

typedef void number_text(double value, char out[QUANT_TEXT_NUMBER]);

static void add_number(quant_table *t, number_text *format, double value)
{
    char text[QUANT_TEXT_NUMBER];
    format(value, text);
    quant_table_add(t, text);
}

static void add_bytes(quant_table *t, uint64_t bytes)
{
    char text[QUANT_TEXT_NUMBER];
    quant_text_bytes(bytes, text);
    quant_table_add(t, text);
}

static void add_live(quant_table *t, const quant_output_fidelity *o)
{
    char text[64];
    snprintf(text, sizeof text, "%" PRIu64 "/%" PRIu64, o->live, o->pairs);
    quant_table_add(t, text);
}

/* Print and free; a table that could not be made is QUANT_ENOMEM. */
static quant_status show(quant_table *t, FILE *to)
{
    if (!t) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_table_print(t, to);
    quant_table_free(t);
    return s;
}

/* Name in at most `columns` columns for running text. */
static const char *brief(const char *name, int columns, char out[512])
{
    quant_text_fit(name, columns, out, 512);
    return out;
}

static quant_status print_weights(quant_context *ctx, const quant_compare_report *report,
                                  const quant_compare_summary *sums, size_t count, FILE *to)
{
    static const quant_column columns[] = {
        {"scheme", true, 16}, {"bits/\nweight", false, 0}, {"size", false, 0},
        {"weight\ncosine ↑", false, 0}, {"weight\nSQNR dB ↑", false, 0},
        {"weight\nrelative\nerror ↓", false, 0}, {"worst\nweight\ncosine ↑", false, 0},
        {"worst tensor", true, 12}, {"predicted\nrelative\nerror ↓", false, 0}};
    static const quant_column weighted = {"weighted\nrelative\nerror ↓", false, 0};
    enum { COLUMNS = sizeof columns / sizeof *columns };
    quant_column used[COLUMNS];
    memcpy(used, columns, sizeof columns);
    bool last = report->with_predicted || report->with_importance; /* never both */
    used[COLUMNS - 1] = report->with_importance ? weighted : used[COLUMNS - 1];
    quant_table *t = quant_table_new(ctx, used, COLUMNS - !last, count);
    for (size_t i = 0; t && i < count; i++) {
        const quant_compare_summary *s = &sums[i];
        quant_table_add(t, s->scheme_text);
        add_number(t, quant_text_bits, s->bits_per_weight);
        add_bytes(t, s->stored_bytes);
        add_number(t, quant_text_cosine, quant_cosine(&s->weight));
        add_number(t, quant_text_decibel, quant_sqnr_db(&s->weight));
        add_number(t, quant_text_real, quant_relative_error(&s->weight));
        add_number(t, quant_text_cosine, s->cosine_worst);
        quant_table_add(t, s->tensor_worst ? s->tensor_worst : "-");
        if (report->with_predicted) {
            add_number(t, quant_text_real, s->predicted);
        } else if (report->with_importance) {
            double error = quant_weighted_relative_error(s->weighted_err2, s->weighted_ref2);
            add_number(t, quant_text_real, error);
        }
    }
    return show(t, to);
}

static const quant_column output_columns[] = {
    {"scheme", true, 24}, {"output\ncosine ↑\nmean", false, 0}, {"output\ncosine ↑\nmin", false, 0},
    {"live\npairs", false, 0}, {"output\nSQNR dB ↑", false, 0},
    {"output\nrelative\nerror ↓", false, 0}};
enum { OUTPUT_COLUMNS = sizeof output_columns / sizeof *output_columns };

static void add_output(quant_table *t, const quant_output_fidelity *o)
{
    add_number(t, quant_text_cosine, o->cosine_mean);
    add_number(t, quant_text_cosine, o->cosine_min);
    add_live(t, o);
    add_number(t, quant_text_decibel, quant_sqnr_db(&o->pooled));
    add_number(t, quant_text_real, quant_relative_error(&o->pooled));
}

static quant_status print_outputs(quant_context *ctx, const quant_compare_summary *sums,
                                  size_t count, FILE *to)
{
    quant_table *t = quant_table_new(ctx, output_columns, OUTPUT_COLUMNS, count);
    for (size_t i = 0; t && i < count; i++) {
        quant_table_add(t, sums[i].scheme_text);
        add_output(t, &sums[i].output);
    }
    return show(t, to);
}

/* "0.012 (31.0 %)": norm relative to the clean outputs, and share of the squared error; without an
 * error there are no shares. */
static void add_part(quant_table *t, double energy, double clean2, double share)
{
    char number[QUANT_TEXT_NUMBER], percent[QUANT_TEXT_NUMBER], text[2 * QUANT_TEXT_NUMBER + 4];
    quant_text_real(clean2 > 0 ? sqrt(energy / clean2) : (double)NAN, number);
    quant_text_percent(share, percent);
    snprintf(text, sizeof text, isnan(share) ? "%s" : "%s (%s)", number, percent);
    quant_table_add(t, text);
}

static quant_status print_parts(quant_context *ctx, const quant_compare_summary *sums, size_t count,
                                FILE *to)
{
    static const quant_column columns[] = {
        {"scheme", true, 24}, {"output\nrelative\nerror ↓", false, 0},
        {"of weights\nW^ x - W x", false, 0}, {"of activations\nW x^ - W x", false, 0},
        {"cross term", false, 0}, {"inputs\nsaturated", false, 0}};
    fputs("\nWhere the output error comes from: norms over |W x|, and shares of the squared error, "
          "which sum\nto 100 %\n", to);
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns, count);
    for (size_t i = 0; t && i < count; i++) {
        const quant_output_parts *p = &sums[i].parts;
        quant_output_shares s = quant_output_shares_of(p);
        char saturated[QUANT_TEXT_NUMBER];
        if (p->n == 0) {
            continue;
        }
        quant_table_add(t, sums[i].scheme_text);
        add_number(t, quant_text_real, p->clean2 > 0 ? sqrt(p->error2 / p->clean2) : (double)NAN);
        add_part(t, p->weights2, p->clean2, s.weights);
        add_part(t, p->activations2, p->clean2, s.activations);
        add_part(t, p->cross2, p->clean2, s.cross);
        snprintf(saturated, sizeof saturated, "%.3f %%",
                 100 * (double)p->saturated / (double)p->inputs);
        quant_table_add(t, saturated);
    }
    return show(t, to);
}

static bool has_parts(const quant_compare_summary *s)
{
    return s->parts.n > 0;
}

static bool has_estimate(const quant_compare_summary *s)
{
    return s->estimate.inputs > 0;
}

typedef bool summary_test(const quant_compare_summary *s);

static bool any(summary_test *test, const quant_compare_summary *sums, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (test(&sums[i])) {
            return true;
        }
    }
    return false;
}

static bool any_of_report(summary_test *test, const quant_compare_report *report)
{
    bool found = any(test, report->overall, report->overall_count);
    for (size_t b = 0; b < report->bank_count; b++) {
        const quant_compare_result *r = report->banks[b].result;
        found |= r && any(test, r->summary, r->summary_count);
    }
    return found;
}

bool quant_compare_has_parts(const quant_compare_report *report)
{
    return any_of_report(has_parts, report);
}

bool quant_compare_has_estimate(const quant_compare_report *report)
{
    return any_of_report(has_estimate, report);
}

static quant_status print_pooled(quant_context *ctx, const quant_compare_report *report,
                                 const quant_compare_summary *sums, size_t count, FILE *to)
{
    fputs("\nWeight fidelity, energies pooled (bits and size: codes, scales, tables; MB = 10^6 "
          "bytes)\n", to);
    QUANT_TRY(print_weights(ctx, report, sums, count, to));
    if (report->with_outputs) {
        fprintf(to, "\nOutput fidelity, W x against W^ x%s, over all pairs of matrix and input\n",
                any(has_parts, sums, count) ? " (w8a8, w4a8: W^ x^)" : "");
        QUANT_TRY(print_outputs(ctx, sums, count, to));
    }
    if (report->with_outputs && any(has_parts, sums, count)) {
        QUANT_TRY(print_parts(ctx, sums, count, to));
    }
    return any(has_estimate, sums, count) ? quant_compare_print_estimates(ctx, sums, count, to)
                                          : QUANT_OK;
}

/* "int4:block=32,asym" as lines broken after ':' and ','. */
static void heading_of(const char *scheme, char out[HEADING_BYTES])
{
    size_t at = 0;
    for (const char *p = scheme; *p; p++) {
        out[at++] = *p;
        if (*p == ':' || *p == ',') {
            out[at++] = '\n';
        }
    }
    out[at] = '\0';
}

static double row_metric(const quant_compare_report *report, const quant_compare_row *row)
{
    if (!report->metric_of_output) {
        return report->metric->value(&row->weight);
    }
    bool cosine = strcmp(report->metric->name, "cosine") == 0;
    return row->output.pairs == 0 ? (double)NAN
           : cosine               ? row->output.cosine_min
                                  : report->metric->value(&row->output.pooled);
}

static size_t count_tensors(const quant_compare_result *r)
{
    size_t tensors = 0;
    for (size_t i = 0; i < r->row_count; i++) {
        tensors += i == 0 || r->rows[i].tensor != r->rows[i - 1].tensor;
    }
    return tensors;
}

/* One line a tensor; a scheme that has no row for it shows "-". */
static void fill_matrix(const quant_compare_report *report, const quant_compare_result *r,
                        quant_table *t)
{
    for (size_t i = 0; i < r->row_count;) {
        size_t tensor = r->rows[i].tensor;
        quant_table_add(t, r->rows[i].name);
        for (size_t scheme = 0; scheme < r->summary_count; scheme++) {
            char text[QUANT_TEXT_NUMBER] = "-";
            if (i < r->row_count && r->rows[i].tensor == tensor && r->rows[i].scheme == scheme) {
                quant_text_metric(report->metric, row_metric(report, &r->rows[i]), text);
                i++;
            }
            quant_table_add(t, text);
        }
        while (i < r->row_count && r->rows[i].tensor == tensor) {
            i++;
        }
    }
}

static quant_status print_matrix(quant_context *ctx, const quant_compare_report *report,
                                 const quant_compare_result *r, FILE *to)
{
    size_t columns = r->summary_count + 1;
    quant_column *column = quant_alloc(ctx, columns, sizeof *column);
    char(*heading)[HEADING_BYTES] = quant_alloc(ctx, columns, sizeof *heading);
    quant_status s = column && heading ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        column[0] = (quant_column){"tensor", true, 24};
        for (size_t i = 1; i < columns; i++) {
            heading_of(r->summary[i - 1].scheme_text, heading[i]);
            column[i] = (quant_column){heading[i], false, 0};
        }
        bool higher = report->metric->higher_is_better;
        fprintf(to, "\n%s %s %s of each tensor (%s is better)\n",
                report->metric_of_output ? "Output" : "Weight", report->metric->heading,
                higher ? "↑" : "↓", higher ? "higher" : "lower");
        quant_table *t = quant_table_new(ctx, column, columns, count_tensors(r));
        if (t) {
            fill_matrix(report, r, t);
        }
        s = show(t, to);
    }
    quant_release(ctx, heading, columns, sizeof *heading);
    quant_release(ctx, column, columns, sizeof *column);
    return s;
}

static quant_status print_triples(quant_context *ctx, const quant_compare_result *r, FILE *to)
{
    quant_column columns[OUTPUT_COLUMNS + 1] = {{"gate/up/down", true, 24}};
    memcpy(columns + 1, output_columns, sizeof output_columns);
    fputs("\nOutput fidelity of gate/up/down blocks: down(silu(gate x) * (up x))\n", to);
    quant_table *t = quant_table_new(ctx, columns, OUTPUT_COLUMNS + 1, r->triple_count);
    for (size_t i = 0; t && i < r->triple_count; i++) {
        const quant_compare_triple *triple = &r->triples[i];
        quant_table_add(t, triple->name);
        quant_table_add(t, r->summary[triple->scheme].scheme_text);
        add_output(t, &triple->output);
    }
    return show(t, to);
}

static quant_status print_gates(quant_context *ctx, const quant_compare_report *report,
                                size_t bank, FILE *to)
{
    static const quant_column columns[] = {
        {"gate", true, 20}, {"scheme", true, 16}, {"verdict", true, 0}, {"value", false, 0},
        {"where", true, 16}};
    quant_table *t = quant_table_new(ctx, columns, 5, report->verdict_count);
    for (size_t i = 0; t && i < report->verdict_count; i++) {
        const quant_gate_verdict *v = &report->verdicts[i].verdict;
        if (report->verdicts[i].bank == bank) {
            char value[QUANT_TEXT_NUMBER];
            quant_text_against(v->value, v->threshold, value);
            quant_table_add(t, v->text);
            quant_table_add(t, v->scheme_text);
            quant_table_add(t, v->held ? "held" : "FAILED");
            quant_table_add(t, value);
            quant_table_add(t, v->why ? v->why : v->where ? v->where : "-");
        }
    }
    fputs("\nGates\n", to);
    return show(t, to);
}

static void print_bank_line(const quant_report_bank *bank, FILE *to)
{
    char name[512], count[QUANT_TEXT_NUMBER], bytes[QUANT_TEXT_NUMBER];
    quant_text_count(bank->elements, count);
    quant_text_bytes(bank->file_bytes, bytes);
    fprintf(to, "%s: %s, %zu tensor%s, %s weights, %s\n", brief(bank->name, 40, name), bank->format,
            bank->tensors, bank->tensors == 1 ? "" : "s", count, bytes);
}

static quant_status print_bank(quant_context *ctx, const quant_compare_report *report,
                               size_t bank, FILE *to)
{
    const quant_report_bank *b = &report->banks[bank];
    const quant_compare_result *r = b->result;
    print_bank_line(b, to);
    if (r->row_count > 0) {
        QUANT_TRY(print_pooled(ctx, report, r->summary, r->summary_count, to));
        QUANT_TRY(print_matrix(ctx, report, r, to));
    }
    if (r->triple_count > 0) {
        QUANT_TRY(print_triples(ctx, r, to));
    }
    fputs(r->kept_count + r->refused_count + b->note_count > 0 ? "\n" : "", to);
    quant_compare_print_listed(r, report->verbose, to);
    quant_compare_print_row_notes(r, to);
    for (size_t i = 0; i < b->note_count; i++) {
        char note[512];
        snprintf(note, sizeof note, "note: %s", b->notes[i]);
        quant_text_wrap(note, QUANT_TABLE_WIDTH, to);
    }
    return report->verdict_count > 0 ? print_gates(ctx, report, bank, to) : QUANT_OK;
}

quant_status quant_compare_report_table(quant_context *ctx, const quant_compare_report *report,
                                        FILE *to)
{
    bool before = false;
    for (size_t i = 0; i < report->bank_count; i++) {
        if (report->banks[i].result) {
            fputs(before ? "\n" : "", to);
            QUANT_TRY(print_bank(ctx, report, i, to));
            before = true;
        }
    }
    if (report->bank_count > 1 && report->overall_count > 0) {
        fputs("\nAll banks together\n", to);
        QUANT_TRY(print_pooled(ctx, report, report->overall, report->overall_count, to));
    }
    if (report->timing) {
        fprintf(to, "\n%.3f s, %d thread%s, %s\n", report->seconds, report->threads,
                report->threads == 1 ? "" : "s", report->isa);
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "table: writing failed") : QUANT_OK;
}
