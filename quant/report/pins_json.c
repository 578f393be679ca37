/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/pins_json.h"

#include <inttypes.h>

#include "quant/internal.h"
#include "quant/report/gate_fields.h"
#include "quant/report/json_out.h"

static quant_status check(quant_context *ctx, const quant_array_result *r)
{
    size_t gates = 0;
    char text[QUANT_PIN_TEXT];
    for (size_t i = 0; i < r->row_count; i++) {
        const quant_array_row *row = &r->rows[i];
        if (row->broken > 0) {
            return quant_fail(ctx, QUANT_ENONFINITE, "array \"%s\": expected finite values to pin, "
                              "found NaN or infinity at %" PRIu64 " of %" PRIu64 " positions",
                              row->name, row->broken, row->positions);
        }
        gates += quant_pin_gate(row, 0, text);
    }
    return gates > 0 ? QUANT_OK : quant_fail(ctx, QUANT_EFIELD, "expected an array with elements "
                                             "to pin, found none");
}

static void put_file(quant_json_writer *w, const char *key, const char *name, const char *sha256)
{
    quant_json_open(w, key, '{', QUANT_JSON_INLINE);
    quant_json_put(w, "name", quant_value_text(name));
    quant_json_put(w, "sha256", quant_value_text(sha256));
    quant_json_close(w);
}

static void put_scheme(quant_json_writer *w, const char *scheme)
{
    char digest[QUANT_SHA256_TEXT];
    if (!scheme) {
        quant_json_put(w, "scheme", quant_value_text(NULL));
        return;
    }
    quant_pin_sha256(scheme, digest);
    quant_json_open(w, "scheme", '{', QUANT_JSON_INLINE);
    quant_json_put(w, "text", quant_value_text(scheme));
    quant_json_put(w, "sha256", quant_value_text(digest));
    quant_json_close(w);
}

static void put_array(quant_json_writer *w, const quant_array_row *row)
{
    char text[QUANT_PIN_TEXT];
    quant_json_open(w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(w, "array", quant_value_text(row->name));
    quant_json_open(w, "measured", '{', QUANT_JSON_LINES);
    quant_gate_put_row(w, row);
    quant_json_close(w);
    quant_json_open(w, "gates", '[', QUANT_JSON_LINES);
    for (size_t i = 0; quant_pin_gate(row, i, text); i++) {
        quant_json_put(w, NULL, quant_value_text(text));
    }
    quant_json_close(w);
    quant_json_close(w);
}

quant_status quant_pins_json(quant_context *ctx, const quant_pins_report *report, FILE *to)
{
    const quant_array_result *r = report->result;
    quant_json_writer w;
    QUANT_TRY(check(ctx, r));
    quant_json_start(&w, to);
    quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(&w, "schema", quant_value_text("quant.pins/1"));
    quant_json_put(&w, "note", quant_value_text(report->note));
    quant_json_put(&w, "margin", quant_value_text(quant_pin_margin));
    put_file(&w, "reference", report->reference, report->reference_sha256);
    put_file(&w, "candidate", report->candidate, report->candidate_sha256);
    quant_json_put(&w, "tokens_sha256", quant_value_text(r->tokens[0] ? r->tokens : NULL));
    put_scheme(&w, report->scheme);
    quant_json_open(&w, "arrays", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < r->row_count; i++) {
        put_array(&w, &r->rows[i]);
    }
    quant_json_close(&w);
    quant_json_close(&w);
    return quant_json_finish(ctx, &w);
}
