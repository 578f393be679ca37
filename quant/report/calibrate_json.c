/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_json.c - JSON and CSV of calibrate; both read the inputs off one table of fields. */
#include <math.h>

#include "quant/internal.h"
#include "quant/report/calibrate_report.h"
#include "quant/report/csv.h"
#include "quant/report/json_out.h"

#define FIELD(name, value) \
    static quant_value name(const quant_stats_row *r) \
    { \
        return value; \
    }

static float extreme(const quant_stats_row *r, bool high)
{
    float x = high ? r->observer->highest[0] : r->observer->lowest[0];
    for (size_t c = 1; c < r->cols; c++) {
        x = high ? fmaxf(x, r->observer->highest[c]) : fminf(x, r->observer->lowest[c]);
    }
    return x;
}

static double over_median(const quant_stats_row *r)
{
    double over;
    quant_stats_worst_channel(r, &over);
    return over;
}

FIELD(input, quant_value_text(quant_site_name(r->site)))
FIELD(feeds, quant_value_text(quant_site_feeds(r->site)))
FIELD(layer, quant_value_count(r->layer))
FIELD(expert, quant_value_count(r->expert))
FIELD(rows, quant_value_count(r->rows))
FIELD(cols, quant_value_count(r->cols))
FIELD(least, quant_value_real((double)extreme(r, false)))
FIELD(greatest, quant_value_real((double)extreme(r, true)))
FIELD(absmax, quant_value_real((double)quant_stats_absmax(r)))
FIELD(rms, quant_value_real(quant_stats_rms(r)))
FIELD(absmax_over_rms, quant_value_real((double)quant_stats_absmax(r) / quant_stats_rms(r)))
FIELD(kurtosis, quant_value_real(quant_stats_kurtosis(r)))
FIELD(worst_channel, quant_value_count(quant_stats_worst_channel(r, &(double){0})))
FIELD(worst_over_median, quant_value_real(over_median(r)))

static const struct {
    const char *key;
    quant_value (*of)(const quant_stats_row *r);
} fields[] = {
    {"input", input}, {"of", feeds}, {"layer", layer}, {"expert", expert}, {"rows", rows},
    {"cols", cols}, {"least", least}, {"greatest", greatest}, {"absmax", absmax}, {"rms", rms},
    {"absmax_over_rms", absmax_over_rms}, {"kurtosis", kurtosis},
    {"worst_channel", worst_channel}, {"worst_over_median", worst_over_median},
};
enum { FIELDS = sizeof fields / sizeof *fields };

static void put_info(quant_json_writer *w, const quant_calibrate_report *report)
{
    const quant_stats_info *i = quant_stats_info_of(report->stats);
    uint64_t distinct = 0;
    for (uint64_t k = 0; k < i->vocab; k++) {
        distinct += quant_stats_tokens(report->stats)[k] > 0;
    }
    quant_json_put(w, "schema", quant_value_text("quant.calibrate/1"));
    quant_json_put(w, "name", quant_value_text(report->name));
    quant_json_put(w, "model", quant_value_text(i->model));
    quant_json_put(w, "model_sha256", quant_value_text(i->model_sha256));
    quant_json_put(w, "tokens_sha256", quant_value_text(i->tokens_sha256));
    quant_json_put(w, "scheme", quant_value_text(i->scheme[0] ? i->scheme : NULL));
    quant_json_put(w, "first_sequence", quant_value_count(i->first_sequence));
    quant_json_put(w, "sequences", quant_value_count(i->sequences));
    quant_json_put(w, "first_position", quant_value_count(i->first_position));
    quant_json_put(w, "positions", quant_value_count(i->positions));
    quant_json_put(w, "done", quant_value_count(i->done));
    quant_json_put(w, "moments", quant_value_flag(i->moments));
    quant_json_put(w, "vocab", quant_value_count(i->vocab));
    quant_json_put(w, "distinct_tokens", quant_value_count(distinct));
}

quant_status quant_calibrate_report_json(quant_context *ctx, const quant_calibrate_report *report,
                                         FILE *to)
{
    quant_json_writer w;
    quant_stats_row row;
    quant_json_start(&w, to);
    quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
    put_info(&w, report);
    quant_json_open(&w, "inputs", '[', QUANT_JSON_LINES);
    for (size_t i = 0; quant_stats_each(report->stats, i, &row); i++) {
        quant_json_open(&w, NULL, '{', QUANT_JSON_INLINE);
        for (size_t f = 0; f < FIELDS; f++) {
            quant_json_put(&w, fields[f].key, fields[f].of(&row));
        }
        quant_json_close(&w);
    }
    quant_json_close(&w);
    quant_json_close(&w);
    return quant_json_finish(ctx, &w);
}

quant_status quant_calibrate_report_csv(quant_context *ctx, const quant_calibrate_report *report,
                                        FILE *to)
{
    quant_csv_writer w = {to, false};
    quant_stats_row row;
    for (size_t f = 0; f < FIELDS; f++) {
        quant_csv_put(&w, quant_value_text(fields[f].key));
    }
    quant_csv_end_row(&w);
    for (size_t i = 0; quant_stats_each(report->stats, i, &row); i++) {
        for (size_t f = 0; f < FIELDS; f++) {
            quant_csv_put(&w, fields[f].of(&row));
        }
        quant_csv_end_row(&w);
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "CSV: writing failed") : QUANT_OK;
}
