/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_json.c - JSON and CSV of compare, both read off one table of fields. */
#include <math.h>

#include "quant/internal.h"
#include "quant/report/compare_report.h"
#include "quant/report/csv.h"
#include "quant/report/json_out.h"

enum {
    NEEDS_OUTPUTS = 1,
    NEEDS_PREDICTED = 2,
    NEEDS_PARTS = 4,
    NEEDS_IMPORTANCE = 8,
    NEEDS_ESTIMATE = 16
};

/* |term| of quantized activations over |W x|. */
static double part(const quant_output_parts *p, double energy)
{
    return p->n > 0 && p->clean2 > 0 ? sqrt(energy / p->clean2) : (double)NAN;
}

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : (double)NAN;
}

#define REAL(x) quant_value_real(x)
#define COUNT(x) quant_value_count(x)
#define TEXT(x) quant_value_text(x)
#define FLAG(x) quant_value_flag(x)
#define FIELD(type, name, value) \
    static quant_value name(const type *r) \
    { \
        return value; \
    }

#define ROW(name, value) FIELD(quant_compare_row, row_##name, value)
ROW(tensor, TEXT(r->name))
ROW(shape, quant_value_shape(&r->shape))
ROW(dtype, TEXT(r->dtype))
ROW(scheme, TEXT(r->scheme_text))
ROW(cosine, REAL(quant_cosine(&r->weight)))
ROW(relative_error, REAL(quant_relative_error(&r->weight)))
ROW(sqnr_db, REAL(quant_sqnr_db(&r->weight)))
ROW(mse, REAL(quant_mse(&r->weight)))
ROW(max_abs_error, REAL(quant_max_abs_error(&r->weight)))
ROW(max_abs_index, COUNT(r->weight.max_index))
ROW(bits_per_weight, REAL(r->bits_per_weight))
ROW(bytes, COUNT(r->stored_bytes))
ROW(saturated_share, REAL(share(r->info.saturated, r->info.elements)))
ROW(zero_code_share, REAL(share(r->info.zero_codes, r->info.elements)))
ROW(distinct_codes, COUNT(r->info.distinct_codes))
ROW(raised_scales, COUNT(r->info.raised_scales))
ROW(escalated, FLAG(r->escalated))
ROW(foldable, FLAG(r->foldable))
ROW(predicted, REAL(r->predicted))
ROW(weighted, REAL(quant_weighted_relative_error(r->weighted_err2, r->weighted_ref2)))
ROW(estimate, REAL(quant_estimate_error(&r->estimate)))
ROW(output_cosine, REAL(r->output.cosine_mean))
ROW(output_cosine_min, REAL(r->output.cosine_min))
ROW(output_live, COUNT(r->output.live))
ROW(output_pairs, COUNT(r->output.pairs))
ROW(output_sqnr_db, REAL(quant_sqnr_db(&r->output.pooled)))
ROW(output_relative_error, REAL(quant_relative_error(&r->output.pooled)))
#define PARTS(type, row) \
    FIELD(type, row##_weights, REAL(part(&r->parts, r->parts.weights2))) \
    FIELD(type, row##_activations, REAL(part(&r->parts, r->parts.activations2))) \
    FIELD(type, row##_cross, REAL(part(&r->parts, r->parts.cross2))) \
    FIELD(type, row##_weights_share, REAL(quant_output_shares_of(&r->parts).weights)) \
    FIELD(type, row##_activations_share, REAL(quant_output_shares_of(&r->parts).activations)) \
    FIELD(type, row##_cross_share, REAL(quant_output_shares_of(&r->parts).cross)) \
    FIELD(type, row##_saturated, REAL(share(r->parts.saturated, r->parts.inputs)))
FIELD(quant_compare_row, row_smooth, REAL(r->smooth))
PARTS(quant_compare_row, row)
PARTS(quant_compare_summary, sum)

#define SUM(name, value) FIELD(quant_compare_summary, sum_##name, value)
SUM(scheme, TEXT(r->scheme_text))
SUM(tensors, COUNT(r->tensors))
SUM(elements, COUNT(r->elements))
SUM(cosine, REAL(quant_cosine(&r->weight)))
SUM(cosine_worst, REAL(r->cosine_worst))
SUM(tensor_worst, TEXT(r->tensor_worst))
SUM(sqnr_db, REAL(quant_sqnr_db(&r->weight)))
SUM(relative_error, REAL(quant_relative_error(&r->weight)))
SUM(mse, REAL(quant_mse(&r->weight)))
SUM(max_abs_error, REAL(quant_max_abs_error(&r->weight)))
SUM(bits_per_weight, REAL(r->bits_per_weight))
SUM(bytes, COUNT(r->stored_bytes))
SUM(bank_bytes, COUNT(r->bank_bytes))
SUM(saturated_share, REAL(share(r->saturated, r->elements)))
SUM(zero_code_share, REAL(share(r->zero_codes, r->elements)))
SUM(predicted, REAL(r->predicted))
SUM(weighted, REAL(quant_weighted_relative_error(r->weighted_err2, r->weighted_ref2)))
SUM(estimate, REAL(quant_estimate_error(&r->estimate)))
SUM(output_cosine, REAL(r->output.cosine_mean))
SUM(output_cosine_min, REAL(r->output.cosine_min))
SUM(output_live, COUNT(r->output.live))
SUM(output_pairs, COUNT(r->output.pairs))
SUM(output_sqnr_db, REAL(quant_sqnr_db(&r->output.pooled)))
SUM(output_relative_error, REAL(quant_relative_error(&r->output.pooled)))

typedef struct row_field {
    const char *key;
    quant_value (*of)(const quant_compare_row *r);
    int needs;
} row_field;

typedef struct sum_field {
    const char *key;
    quant_value (*of)(const quant_compare_summary *r);
    int needs;
} sum_field;

static const row_field row_fields[] = {
    {"tensor", row_tensor, 0},
    {"shape", row_shape, 0},
    {"dtype", row_dtype, 0},
    {"scheme", row_scheme, 0},
    {"cosine", row_cosine, 0},
    {"relative_error", row_relative_error, 0},
    {"sqnr_db", row_sqnr_db, 0},
    {"mse", row_mse, 0},
    {"max_abs_error", row_max_abs_error, 0},
    {"max_abs_index", row_max_abs_index, 0},
    {"bits_per_weight", row_bits_per_weight, 0},
    {"bytes", row_bytes, 0},
    {"saturated_share", row_saturated_share, 0},
    {"zero_code_share", row_zero_code_share, 0},
    {"distinct_codes", row_distinct_codes, 0},
    {"raised_scales", row_raised_scales, 0},
    {"escalated", row_escalated, 0},
    {"foldable", row_foldable, 0},
    {"predicted_relative_error", row_predicted, NEEDS_PREDICTED},
    {"weighted_relative_error", row_weighted, NEEDS_IMPORTANCE},
    {"estimated_output_error", row_estimate, NEEDS_ESTIMATE},
    {"output_cosine", row_output_cosine, NEEDS_OUTPUTS},
    {"output_cosine_min", row_output_cosine_min, NEEDS_OUTPUTS},
    {"output_live", row_output_live, NEEDS_OUTPUTS},
    {"output_pairs", row_output_pairs, NEEDS_OUTPUTS},
    {"output_sqnr_db", row_output_sqnr_db, NEEDS_OUTPUTS},
    {"output_relative_error", row_output_relative_error, NEEDS_OUTPUTS},
    {"output_weights_error", row_weights, NEEDS_PARTS},
    {"output_activations_error", row_activations, NEEDS_PARTS},
    {"output_cross_error", row_cross, NEEDS_PARTS},
    {"output_weights_share", row_weights_share, NEEDS_PARTS},
    {"output_activations_share", row_activations_share, NEEDS_PARTS},
    {"output_cross_share", row_cross_share, NEEDS_PARTS},
    {"input_saturated_share", row_saturated, NEEDS_PARTS},
    {"smooth", row_smooth, NEEDS_PARTS},
};

static const sum_field sum_fields[] = {
    {"scheme", sum_scheme, 0},
    {"tensors", sum_tensors, 0},
    {"elements", sum_elements, 0},
    {"cosine", sum_cosine, 0},
    {"cosine_worst", sum_cosine_worst, 0},
    {"tensor_worst", sum_tensor_worst, 0},
    {"sqnr_db", sum_sqnr_db, 0},
    {"relative_error", sum_relative_error, 0},
    {"mse", sum_mse, 0},
    {"max_abs_error", sum_max_abs_error, 0},
    {"bits_per_weight", sum_bits_per_weight, 0},
    {"bytes", sum_bytes, 0},
    {"bank_bytes", sum_bank_bytes, 0},
    {"saturated_share", sum_saturated_share, 0},
    {"zero_code_share", sum_zero_code_share, 0},
    {"predicted_relative_error", sum_predicted, NEEDS_PREDICTED},
    {"weighted_relative_error", sum_weighted, NEEDS_IMPORTANCE},
    {"estimated_output_error", sum_estimate, NEEDS_ESTIMATE},
    {"output_cosine", sum_output_cosine, NEEDS_OUTPUTS},
    {"output_cosine_min", sum_output_cosine_min, NEEDS_OUTPUTS},
    {"output_live", sum_output_live, NEEDS_OUTPUTS},
    {"output_pairs", sum_output_pairs, NEEDS_OUTPUTS},
    {"output_sqnr_db", sum_output_sqnr_db, NEEDS_OUTPUTS},
    {"output_relative_error", sum_output_relative_error, NEEDS_OUTPUTS},
    {"output_weights_error", sum_weights, NEEDS_PARTS},
    {"output_activations_error", sum_activations, NEEDS_PARTS},
    {"output_cross_error", sum_cross, NEEDS_PARTS},
    {"output_weights_share", sum_weights_share, NEEDS_PARTS},
    {"output_activations_share", sum_activations_share, NEEDS_PARTS},
    {"output_cross_share", sum_cross_share, NEEDS_PARTS},
    {"input_saturated_share", sum_saturated, NEEDS_PARTS},
};
enum {
    ROW_FIELDS = sizeof row_fields / sizeof *row_fields,
    SUM_FIELDS = sizeof sum_fields / sizeof *sum_fields
};

static bool wanted(const quant_compare_report *report, int needs)
{
    return (!(needs & NEEDS_OUTPUTS) || report->with_outputs) &&
           (!(needs & NEEDS_PREDICTED) || report->with_predicted) &&
           (!(needs & NEEDS_IMPORTANCE) || report->with_importance) &&
           (!(needs & NEEDS_PARTS) || quant_compare_has_parts(report)) &&
           (!(needs & NEEDS_ESTIMATE) || quant_compare_has_estimate(report));
}

static void put_summaries(quant_json_writer *w, const quant_compare_report *report,
                          const quant_compare_summary *sums, size_t count)
{
    quant_json_open(w, "summary", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < count; i++) {
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        for (size_t f = 0; f < SUM_FIELDS; f++) {
            if (wanted(report, sum_fields[f].needs)) {
                quant_json_put(w, sum_fields[f].key, sum_fields[f].of(&sums[i]));
            }
        }
        quant_json_close(w);
    }
    quant_json_close(w);
}

static void put_rows(quant_json_writer *w, const quant_compare_report *report,
                     const quant_compare_result *result)
{
    quant_json_open(w, "rows", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < result->row_count; i++) {
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        for (size_t f = 0; f < ROW_FIELDS; f++) {
            if (wanted(report, row_fields[f].needs)) {
                quant_json_put(w, row_fields[f].key, row_fields[f].of(&result->rows[i]));
            }
        }
        quant_json_close(w);
    }
    quant_json_close(w);
}

/* A list of its own column names its scheme; null is every column. */
static void put_listed(quant_json_writer *w, const char *key, const quant_compare_result *r,
                       const quant_compare_listed *listed, size_t count)
{
    quant_json_open(w, key, '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < count; i++) {
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        size_t column = listed[i].scheme;
        const char *scheme = column < r->summary_count ? r->summary[column].scheme_text : NULL;
        quant_json_put(w, "tensor", TEXT(listed[i].name));
        quant_json_put(w, "scheme", TEXT(scheme));
        quant_json_put(w, "reason", TEXT(listed[i].reason));
        quant_json_close(w);
    }
    quant_json_close(w);
}

static void put_triples(quant_json_writer *w, const quant_compare_result *result)
{
    quant_json_open(w, "triples", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < result->triple_count; i++) {
        const quant_compare_triple *t = &result->triples[i];
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "triple", TEXT(t->name));
        quant_json_put(w, "scheme", TEXT(result->summary[t->scheme].scheme_text));
        quant_json_put(w, "output_cosine", REAL(t->output.cosine_mean));
        quant_json_put(w, "output_cosine_min", REAL(t->output.cosine_min));
        quant_json_put(w, "output_live", COUNT(t->output.live));
        quant_json_put(w, "output_pairs", COUNT(t->output.pairs));
        quant_json_put(w, "output_sqnr_db", REAL(quant_sqnr_db(&t->output.pooled)));
        quant_json_put(w, "output_relative_error", REAL(quant_relative_error(&t->output.pooled)));
        quant_json_close(w);
    }
    quant_json_close(w);
}

static void put_bank(quant_json_writer *w, const quant_compare_report *report,
                     const quant_report_bank *bank)
{
    const quant_compare_result *r = bank->result;
    quant_json_open(w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(w, "path", TEXT(bank->name));
    if (!r) {
        quant_json_put(w, "error", TEXT(bank->error));
        quant_json_close(w);
        return;
    }
    quant_json_put(w, "format", TEXT(bank->format));
    quant_json_put(w, "tensors", COUNT(bank->tensors));
    quant_json_put(w, "elements", COUNT(bank->elements));
    quant_json_put(w, "file_bytes", COUNT(bank->file_bytes));
    put_rows(w, report, r);
    if (report->with_outputs) {
        put_triples(w, r);
    }
    put_listed(w, "kept", r, r->kept, r->kept_count);
    put_listed(w, "refused", r, r->refused, r->refused_count);
    quant_json_open(w, "notes", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < bank->note_count; i++) {
        quant_json_put(w, NULL, TEXT(bank->notes[i]));
    }
    quant_json_close(w);
    put_summaries(w, report, r->summary, r->summary_count);
    quant_json_close(w);
}

static void put_gates(quant_json_writer *w, const quant_compare_report *report)
{
    quant_json_open(w, "gates", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < report->verdict_count; i++) {
        const quant_gate_verdict *v = &report->verdicts[i].verdict;
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "gate", TEXT(v->text));
        quant_json_put(w, "path", TEXT(report->banks[report->verdicts[i].bank].name));
        quant_json_put(w, "scheme", TEXT(v->scheme_text));
        quant_json_put(w, "held", FLAG(v->held));
        quant_json_put(w, "value", REAL(v->value));
        quant_json_put(w, "threshold", REAL(v->threshold));
        quant_json_put(w, "where", TEXT(v->where));
        quant_json_put(w, "why", TEXT(v->why));
        quant_json_close(w);
    }
    quant_json_close(w);
}

quant_status quant_compare_report_json(quant_context *ctx, const quant_compare_report *report,
                                       FILE *to)
{
    quant_json_writer w;
    quant_json_start(&w, to);
    quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(&w, "schema", TEXT("quant.compare/1"));
    quant_json_open(&w, "banks", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < report->bank_count; i++) {
        put_bank(&w, report, &report->banks[i]);
    }
    quant_json_close(&w);
    put_summaries(&w, report, report->overall, report->overall_count);
    if (report->verdict_count > 0) {
        put_gates(&w, report);
    }
    if (report->timing) {
        quant_json_open(&w, "timing", '{', QUANT_JSON_INLINE);
        quant_json_put(&w, "seconds", REAL(report->seconds));
        quant_json_put(&w, "threads", COUNT((uint64_t)report->threads));
        quant_json_put(&w, "isa", TEXT(report->isa));
        quant_json_close(&w);
    }
    quant_json_close(&w);
    return quant_json_finish(ctx, &w);
}

quant_status quant_compare_report_csv(quant_context *ctx, const quant_compare_report *report,
                                      FILE *to)
{
    quant_csv_writer w = {to, false};
    quant_csv_put(&w, TEXT("path"));
    for (size_t f = 0; f < ROW_FIELDS; f++) {
        if (wanted(report, row_fields[f].needs)) {
            quant_csv_put(&w, TEXT(row_fields[f].key));
        }
    }
    quant_csv_end_row(&w);
    for (size_t b = 0; b < report->bank_count; b++) {
        const quant_compare_result *r = report->banks[b].result;
        for (size_t i = 0; r && i < r->row_count; i++) {
            quant_csv_put(&w, TEXT(report->banks[b].name));
            for (size_t f = 0; f < ROW_FIELDS; f++) {
                if (wanted(report, row_fields[f].needs)) {
                    quant_csv_put(&w, row_fields[f].of(&r->rows[i]));
                }
            }
            quant_csv_end_row(&w);
        }
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "CSV: writing failed") : QUANT_OK;
}
