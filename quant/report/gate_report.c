/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/gate_report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/report/csv.h"
#include "quant/report/gate_fields.h"
#include "quant/report/json_out.h"
#include "quant/report/table.h"
#include "quant/report/text.h"

/* ---- fields of an array, for JSON and CSV ---------------------------------------------------- */

#define FIELD(name, value) \
    static quant_value name(const quant_array_row *r) \
    { \
        return value; \
    }
#define SPAN(r, id, which) \
    ((r)->span[id].count ? (r)->span[id].which : (double)NAN)
#define POOLED(r, id) (quant_metric_row(id)->value(&(r)->pooled))
FIELD(array, quant_value_text(r->name))
FIELD(shape, quant_value_shape(&r->shape))
FIELD(positions, quant_value_count(r->positions))
FIELD(live, quant_value_count(r->live))
FIELD(nonfinite, quant_value_count(r->broken))
FIELD(cosine_mean, quant_value_real(r->cosine_mean))
FIELD(cosine_worst, quant_value_real(SPAN(r, QUANT_COSINE, least)))
FIELD(relative_error_worst, quant_value_real(SPAN(r, QUANT_RELATIVE_ERROR, greatest)))
FIELD(sqnr_db_worst, quant_value_real(SPAN(r, QUANT_SQNR_DB, least)))
FIELD(mse_worst, quant_value_real(SPAN(r, QUANT_MSE, greatest)))
FIELD(max_abs_error, quant_value_real(SPAN(r, QUANT_MAX_ABS_ERROR, greatest)))
FIELD(pooled_cosine, quant_value_real(POOLED(r, QUANT_COSINE)))
FIELD(pooled_relative_error, quant_value_real(POOLED(r, QUANT_RELATIVE_ERROR)))
FIELD(pooled_sqnr_db, quant_value_real(POOLED(r, QUANT_SQNR_DB)))
FIELD(pooled_mse, quant_value_real(POOLED(r, QUANT_MSE)))
FIELD(argmax_agreement, quant_value_real(quant_array_argmax(r)))
FIELD(best_factor, quant_value_real(quant_array_factor(r)))
FIELD(scale_share, quant_value_real(quant_array_scale_share(r)))
FIELD(scale_each, quant_value_real(quant_array_scale_share_each(r)))

static const struct {
    const char *key;
    quant_value (*of)(const quant_array_row *r);
} fields[] = {
    {"array", array}, {"shape", shape}, {"positions", positions}, {"live", live},
    {"nonfinite", nonfinite}, {"cosine_mean", cosine_mean}, {"cosine_worst", cosine_worst},
    {"relative_error_worst", relative_error_worst}, {"sqnr_db_worst", sqnr_db_worst},
    {"mse_worst", mse_worst}, {"max_abs_error", max_abs_error}, {"pooled_cosine", pooled_cosine},
    {"pooled_relative_error", pooled_relative_error}, {"pooled_sqnr_db", pooled_sqnr_db},
    {"pooled_mse", pooled_mse}, {"argmax_agreement", argmax_agreement},
    {"best_factor", best_factor}, {"scale_share", scale_share}, {"scale_share_each", scale_each},
};
enum { FIELDS = sizeof fields / sizeof *fields };

void quant_gate_put_row(quant_json_writer *w, const quant_array_row *row)
{
    char at[QUANT_ARRAY_INDEX_TEXT];
    for (size_t f = 0; f < FIELDS; f++) {
        quant_json_put(w, fields[f].key, fields[f].of(row));
    }
    quant_array_index_text(&row->shape, row->span[QUANT_COSINE].least_at, at);
    quant_json_put(w, "worst_position",
                   quant_value_text(row->span[QUANT_COSINE].count ? at : NULL));
}

/* ---- table ----------------------------------------------------------------------------------- */

static void add_metric(quant_table *t, int metric, double value)
{
    char text[QUANT_TEXT_NUMBER];
    quant_text_metric(quant_metric_row(metric), value, text);
    quant_table_add(t, text);
}

static void add_row(quant_table *t, const quant_array_row *r)
{
    char text[256];
    quant_table_add(t, r->name);
    quant_text_shape(&r->shape, text, sizeof text);
    quant_table_add(t, text);
    snprintf(text, sizeof text, "%" PRIu64 "/%" PRIu64, r->live, r->positions);
    quant_table_add(t, text);
    add_metric(t, QUANT_COSINE, r->cosine_mean);
    add_metric(t, QUANT_COSINE, SPAN(r, QUANT_COSINE, least));
    quant_array_index_text(&r->shape, r->span[QUANT_COSINE].least_at, text);
    quant_table_add(t, r->span[QUANT_COSINE].count && text[0] ? text : "-");
    add_metric(t, QUANT_SQNR_DB, POOLED(r, QUANT_SQNR_DB));
    add_metric(t, QUANT_RELATIVE_ERROR, POOLED(r, QUANT_RELATIVE_ERROR));
    double share = quant_array_argmax(r);
    snprintf(text, sizeof text, "%.4f", share);
    quant_table_add(t, isnan(share) ? "-" : text);
}

static quant_status show(quant_table *t, FILE *to)
{
    quant_status s = t ? quant_table_print(t, to) : QUANT_ENOMEM;
    quant_table_free(t);
    return s;
}

static quant_status print_rows(quant_context *ctx, const quant_gate_report *report, FILE *to)
{
    static const quant_column columns[] = {
        {"array", true, 16}, {"shape", true, 0}, {"live", false, 0},
        {"cosine ↑\nmean", false, 0}, {"cosine ↑\nworst", false, 0}, {"worst\nposition", true, 0},
        {"pooled\nSQNR dB ↑", false, 0}, {"pooled\nrel.error ↓", false, 0},
        {"argmax\nagrees ↑", false, 0}};
    const quant_array_result *r = report->result;
    if (r->row_count == 0) {
        return QUANT_OK;
    }
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns, r->row_count);
    for (size_t i = 0; t && i < r->row_count; i++) {
        add_row(t, &r->rows[i]);
    }
    return show(t, to);
}

/* "logits_full[3, 7]" */
static void where_text(const quant_gate_report *report, const quant_gate_verdict *v, char *out,
                       size_t room)
{
    char at[QUANT_ARRAY_INDEX_TEXT] = "";
    for (size_t i = 0; v->has_position && i < report->result->row_count; i++) {
        const quant_array_row *row = &report->result->rows[i];
        if (strcmp(row->name, v->where) == 0) {
            quant_array_index_text(&row->shape, v->position, at);
        }
    }
    snprintf(out, room, "%s%s", v->where, at);
}

static quant_status print_gates(quant_context *ctx, const quant_gate_report *report, FILE *to)
{
    static const quant_column columns[] = {{"gate", true, 20}, {"", true, 0}, {"verdict", true, 0},
                                           {"value", false, 0}, {"where", true, 16}};
    if (report->line_count == 0) {
        return QUANT_OK;
    }
    quant_table *t = quant_table_new(ctx, columns, 5, report->line_count);
    for (size_t i = 0; t && i < report->line_count; i++) {
        const quant_gate_verdict *v = &report->lines[i].verdict;
        char value[QUANT_TEXT_NUMBER], where[1024];
        quant_text_against(v->value, v->threshold, value);
        where_text(report, v, where, sizeof where);
        quant_table_add(t, v->text);
        quant_table_add(t, report->lines[i].pinned ? "pinned" : "");
        quant_table_add(t, v->held ? "held" : "FAILED");
        quant_table_add(t, value);
        if (v->why) {
            size_t n = strlen(where);
            snprintf(where + n, sizeof where - n, "%s%s", n ? ": " : "", v->why);
        }
        quant_table_add(t, where);
    }
    fputs("\nGates\n", to);
    return show(t, to);
}

static void print_note(void *user, const char *text)
{
    char line[2048];
    snprintf(line, sizeof line, "note: %s", text);
    quant_text_wrap(line, QUANT_TABLE_WIDTH, user);
}

quant_status quant_gate_report_table(quant_context *ctx, const quant_gate_report *report, FILE *to)
{
    char a[512], b[512];
    const quant_array_result *r = report->result;
    quant_text_fit(report->candidate, 40, a, sizeof a);
    quant_text_fit(report->reference, 40, b, sizeof b);
    fprintf(to, "%s against %s: %zu array%s measured\n", a, b, r->row_count,
            r->row_count == 1 ? "" : "s");
    QUANT_TRY(print_rows(ctx, report, to));
    for (size_t i = 0; i < r->listed_count; i++) {
        quant_text_fit(r->listed[i].name, 60, a, sizeof a);
        fprintf(to, "%s: %s\n", a, r->listed[i].reason);
    }
    quant_gate_notes(report, print_note, to);
    QUANT_TRY(print_gates(ctx, report, to));
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "table: writing failed") : QUANT_OK;
}

/* ---- JSON and CSV ---------------------------------------------------------------------------- */

static void put_note(void *user, const char *text)
{
    quant_json_put(user, NULL, quant_value_text(text));
}

static void put_gates(quant_json_writer *w, const quant_gate_report *report)
{
    quant_json_open(w, "gates", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < report->line_count; i++) {
        const quant_gate_verdict *v = &report->lines[i].verdict;
        char where[1024];
        where_text(report, v, where, sizeof where);
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "gate", quant_value_text(v->text));
        quant_json_put(w, "pinned", quant_value_flag(report->lines[i].pinned));
        quant_json_put(w, "held", quant_value_flag(v->held));
        quant_json_put(w, "value", quant_value_real(v->value));
        quant_json_put(w, "threshold", quant_value_real(v->threshold));
        quant_json_put(w, "where", quant_value_text(where));
        quant_json_put(w, "why", quant_value_text(v->why));
        quant_json_close(w);
    }
    quant_json_close(w);
}

static void put_arrays(quant_json_writer *w, const quant_array_result *r)
{
    quant_json_open(w, "arrays", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < r->row_count; i++) {
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_gate_put_row(w, &r->rows[i]);
        quant_json_close(w);
    }
    quant_json_close(w);
    quant_json_open(w, "listed", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < r->listed_count; i++) {
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "array", quant_value_text(r->listed[i].name));
        quant_json_put(w, "reason", quant_value_text(r->listed[i].reason));
        quant_json_close(w);
    }
    quant_json_close(w);
}

quant_status quant_gate_report_json(quant_context *ctx, const quant_gate_report *report, FILE *to)
{
    quant_json_writer w;
    quant_json_start(&w, to);
    quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(&w, "schema", quant_value_text("quant.gate/1"));
    quant_json_put(&w, "reference", quant_value_text(report->reference));
    quant_json_put(&w, "candidate", quant_value_text(report->candidate));
    put_arrays(&w, report->result);
    put_gates(&w, report);
    quant_json_open(&w, "notes", '[', QUANT_JSON_LINES);
    quant_gate_notes(report, put_note, &w);
    quant_json_close(&w);
    quant_json_close(&w);
    return quant_json_finish(ctx, &w);
}

quant_status quant_gate_report_csv(quant_context *ctx, const quant_gate_report *report, FILE *to)
{
    quant_csv_writer w = {to, false};
    for (size_t f = 0; f < FIELDS; f++) {
        quant_csv_put(&w, quant_value_text(fields[f].key));
    }
    quant_csv_put(&w, quant_value_text("worst_position"));
    quant_csv_end_row(&w);
    for (size_t i = 0; i < report->result->row_count; i++) {
        const quant_array_row *row = &report->result->rows[i];
        char at[QUANT_ARRAY_INDEX_TEXT];
        for (size_t f = 0; f < FIELDS; f++) {
            quant_csv_put(&w, fields[f].of(row));
        }
        quant_array_index_text(&row->shape, row->span[QUANT_COSINE].least_at, at);
        quant_csv_put(&w, quant_value_text(row->span[QUANT_COSINE].count ? at : NULL));
        quant_csv_end_row(&w);
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "CSV: writing failed") : QUANT_OK;
}
