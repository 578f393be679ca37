/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/inspect_report.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "quant/bank/packed.h"
#include "quant/internal.h"
#include "quant/lab/recipe.h"
#include "quant/report/csv.h"
#include "quant/report/curve_report.h"
#include "quant/report/json_out.h"
#include "quant/report/table.h"
#include "quant/report/text.h"

/* Figures exist for decoded types with at least one finite element. */
static double figure(const quant_inspect_row *r, double value)
{
    const quant_summary *f = &r->figures;
    return r->measured && f->elements > f->nonfinite ? value : (double)NAN;
}

static double max_over_rms(const quant_inspect_row *r)
{
    return r->figures.rms > 0 ? figure(r, r->figures.absmax / r->figures.rms) : (double)NAN;
}

#define FIELD(name, value) \
    static quant_value name(const quant_inspect_row *r) \
    { \
        return value; \
    }
FIELD(tensor, quant_value_text(r->info->name))
FIELD(dtype, quant_value_text(r->info->dtype_text))
FIELD(shape, quant_value_shape(&r->info->shape))
FIELD(elements, quant_value_count(r->info->elements))
FIELD(bytes, quant_value_count(r->info->bytes))
FIELD(measured, quant_value_flag(r->measured))
FIELD(lowest, quant_value_real(figure(r, (double)r->figures.lowest)))
FIELD(highest, quant_value_real(figure(r, (double)r->figures.highest)))
FIELD(rms, quant_value_real(figure(r, r->figures.rms)))
FIELD(over, quant_value_real(max_over_rms(r)))
FIELD(mean, quant_value_real(figure(r, r->figures.mean)))
FIELD(kurtosis, quant_value_real(figure(r, r->figures.kurtosis)))
FIELD(row_spread, quant_value_real(r->measured ? r->row_spread : (double)NAN))
FIELD(zeros, r->measured ? quant_value_count(r->figures.zeros) : quant_value_text(NULL))
FIELD(nonfinite, r->measured ? quant_value_count(r->figures.nonfinite) : quant_value_text(NULL))
FIELD(first_bad, r->measured && r->figures.nonfinite > 0
                     ? quant_value_count(r->figures.first_nonfinite) : quant_value_text(NULL))
FIELD(stack, quant_value_flag(r->looks_like_stack))
FIELD(kept, quant_value_text(quant_keep_reason(r->info, 0)))

static const struct {
    const char *key;
    quant_value (*of)(const quant_inspect_row *r);
} fields[] = {
    {"tensor", tensor},         {"dtype", dtype},       {"shape", shape},
    {"elements", elements},     {"bytes", bytes},       {"measured", measured},
    {"min", lowest},            {"max", highest},       {"rms", rms},
    {"max_over_rms", over},     {"mean", mean},         {"kurtosis", kurtosis},
    {"row_spread", row_spread}, {"zeros", zeros},       {"nonfinite", nonfinite},
    {"first_nonfinite", first_bad}, {"looks_like_stack", stack}, {"kept", kept},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static void add_real(quant_table *t, double value)
{
    char text[QUANT_TEXT_NUMBER];
    quant_text_real(value, text);
    quant_table_add(t, text);
}

static void add_row(quant_table *t, const quant_inspect_row *r)
{
    char text[256];
    const char *reason = quant_keep_reason(r->info, 0);
    quant_table_add(t, r->info->name);
    quant_table_add(t, r->info->dtype_text);
    quant_text_shape(&r->info->shape, text, sizeof text);
    quant_table_add(t, text);
    add_real(t, figure(r, (double)r->figures.lowest));
    add_real(t, figure(r, (double)r->figures.highest));
    add_real(t, figure(r, r->figures.rms));
    add_real(t, max_over_rms(r));
    add_real(t, figure(r, r->figures.kurtosis));
    snprintf(text, sizeof text, "%" PRIu64, r->figures.nonfinite);
    quant_table_add(t, r->measured ? text : "-");
    quant_table_add(t, r->looks_like_stack ? "a stack?" : reason ? reason : "");
}

typedef struct undecoded {
    const char *type; /* NULL: all types that found no row of their own */
    size_t tensors;
} undecoded;
enum { UNDECODED_ROWS = 64 };

/* Types that are listed but not decoded, each once with its number of tensors. */
static void print_undecoded(const quant_inspect_report *report, FILE *to)
{
    undecoded rows[UNDECODED_ROWS + 1] = {{NULL, 0}};
    for (size_t i = 0; i < report->count; i++) {
        const quant_tensor *own = report->rows[i].info;
        size_t k = 0;
        if (quant_dtype_is_decoded(own->dtype)) {
            continue;
        }
        while (k < UNDECODED_ROWS && rows[k].type && strcmp(rows[k].type, own->dtype_text) != 0) {
            k++;
        }
        rows[k].type = k < UNDECODED_ROWS ? own->dtype_text : NULL;
        rows[k].tensors++;
    }
    for (size_t k = 0; k <= UNDECODED_ROWS; k++) {
        char type[256];
        quant_text_fit(rows[k].type ? rows[k].type : "other types", 30, type, sizeof type);
        if (rows[k].tensors > 0) {
            fprintf(to, "not decoded: %s, %zu tensor%s\n", type, rows[k].tensors,
                    rows[k].tensors == 1 ? "" : "s");
        }
    }
}

static void print_remarks(const quant_inspect_report *report, FILE *to)
{
    uint64_t bad = 0;
    size_t bad_tensors = 0, stacks = 0;
    for (size_t i = 0; i < report->count; i++) {
        const quant_inspect_row *r = &report->rows[i];
        bad += r->measured ? r->figures.nonfinite : 0;
        bad_tensors += r->measured && r->figures.nonfinite > 0;
        stacks += r->looks_like_stack;
    }
    print_undecoded(report, to);
    if (bad > 0) {
        fprintf(to, "non-finite: %" PRIu64 " values in %zu tensor%s\n", bad, bad_tensors,
                bad_tensors == 1 ? "" : "s");
    }
    if (stacks > 0) {
        fprintf(to, "a stack?: %zu rank-3 tensor%s that may be matrices one after another: add "
                "stack=1 to the scheme\n", stacks, stacks == 1 ? "" : "s");
    }
    if (quant_pack_is(report->bank)) {
        fputs("note: a packed bank (" QUANT_PACK_SCHEMA "): quant decode writes the tensors that "
              "it stands for\n", to);
    }
    for (size_t i = 0; quant_bank_note(report->bank, i); i++) {
        char note[512];
        snprintf(note, sizeof note, "note: %s", quant_bank_note(report->bank, i));
        quant_text_wrap(note, QUANT_TABLE_WIDTH, to);
    }
}

static quant_status print_one(quant_context *ctx, const quant_inspect_report *report, FILE *to)
{
    static const quant_column columns[] = {
        {"tensor", true, 20}, {"dtype", true, 0}, {"shape", true, 0}, {"min", false, 0},
        {"max", false, 0}, {"RMS", false, 0}, {"max/\nRMS", false, 0}, {"kur-\ntosis", false, 0},
        {"non-\nfinite", false, 0}, {"\nnotes", true, 12}};
    char name[512], count[QUANT_TEXT_NUMBER], bytes[QUANT_TEXT_NUMBER];
    uint64_t total = 0;
    for (size_t i = 0; i < report->count; i++) {
        total += report->rows[i].info->elements;
    }
    quant_text_count(total, count);
    quant_text_bytes(quant_bank_file_bytes(report->bank), bytes);
    quant_text_fit(report->name, 40, name, sizeof name);
    size_t all = quant_bank_count(report->bank);
    char shown[32] = "";
    if (report->count < all) {
        snprintf(shown, sizeof shown, "%zu of ", report->count);
    }
    fprintf(to, "%s: %s, %s%zu tensor%s, %s weights, %s\n", name, quant_bank_format(report->bank),
            shown, all, all == 1 ? "" : "s", count, bytes);
    if (report->count > 0) {
        quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                         report->count);
        for (size_t i = 0; t && i < report->count; i++) {
            add_row(t, &report->rows[i]);
        }
        quant_status s = t ? quant_table_print(t, to) : QUANT_ENOMEM;
        quant_table_free(t);
        QUANT_TRY(s);
    }
    QUANT_TRY(quant_curve_report_table(ctx, report, to));
    print_remarks(report, to);
    return QUANT_OK;
}

quant_status quant_inspect_report_table(quant_context *ctx, const quant_inspect_report *reports,
                                        size_t count, FILE *to)
{
    bool before = false;
    for (size_t i = 0; i < count; i++) {
        if (reports[i].bank) {
            fputs(before ? "\n" : "", to);
            QUANT_TRY(print_one(ctx, &reports[i], to));
            before = true;
        }
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "table: writing failed") : QUANT_OK;
}

static void put_bank(quant_json_writer *w, const quant_inspect_report *report)
{
    quant_json_open(w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(w, "path", quant_value_text(report->name));
    if (!report->bank) {
        quant_json_put(w, "error", quant_value_text(report->error));
        quant_json_close(w);
        return;
    }
    quant_json_put(w, "format", quant_value_text(quant_bank_format(report->bank)));
    quant_json_put(w, "file_bytes", quant_value_count(quant_bank_file_bytes(report->bank)));
    quant_json_open(w, "tensors", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < report->count; i++) {
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        for (size_t f = 0; f < FIELDS; f++) {
            quant_json_put(w, fields[f].key, fields[f].of(&report->rows[i]));
        }
        quant_curve_report_json(w, report->rows[i].curve);
        quant_json_close(w);
    }
    quant_json_close(w);
    quant_json_open(w, "notes", '[', QUANT_JSON_LINES);
    for (size_t i = 0; quant_bank_note(report->bank, i); i++) {
        quant_json_put(w, NULL, quant_value_text(quant_bank_note(report->bank, i)));
    }
    quant_json_close(w);
    quant_json_close(w);
}

quant_status quant_inspect_report_json(quant_context *ctx, const quant_inspect_report *reports,
                                       size_t count, FILE *to)
{
    quant_json_writer w;
    quant_json_start(&w, to);
    quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(&w, "schema", quant_value_text("quant.inspect/1"));
    quant_json_open(&w, "banks", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < count; i++) {
        put_bank(&w, &reports[i]);
    }
    quant_json_close(&w);
    quant_json_close(&w);
    return quant_json_finish(ctx, &w);
}

quant_status quant_inspect_report_csv(quant_context *ctx, const quant_inspect_report *reports,
                                      size_t count, FILE *to)
{
    quant_csv_writer w = {to, false};
    quant_csv_put(&w, quant_value_text("path"));
    for (size_t f = 0; f < FIELDS; f++) {
        quant_csv_put(&w, quant_value_text(fields[f].key));
    }
    bool curves = quant_curve_report_any(reports, count);
    quant_curve_report_csv(&w, curves, NULL);
    quant_csv_end_row(&w);
    for (size_t b = 0; b < count; b++) {
        for (size_t i = 0; reports[b].bank && i < reports[b].count; i++) {
            quant_csv_put(&w, quant_value_text(reports[b].name));
            for (size_t f = 0; f < FIELDS; f++) {
                quant_csv_put(&w, fields[f].of(&reports[b].rows[i]));
            }
            quant_curve_report_csv(&w, curves, &reports[b].rows[i]);
            quant_csv_end_row(&w);
        }
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "CSV: writing failed") : QUANT_OK;
}
