/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/pins.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/json.h"
#include "quant/internal.h"

enum { PINS_LIMIT = 16 << 20 };

typedef struct pin {
    const char *array;
    quant_gate *gate;
} pin;

struct quant_pins {
    json_t *tree; /* owns all texts */
    const char *reference, *tokens, *scheme; /* SHA-256; tokens and scheme may be NULL */
    pin *list;
    size_t count, room;
};

/* ---- writing: thresholds -------------------------------------------------------------------- */

const char quant_pin_margin[] = "a quarter: 1 - 1.25 (1 - x) for cosine and argmax_agreement, "
                                "1.25 x for errors, x - 20 log10(1.25) for sqnr_db";

static double of_similarity(double x)
{
    return 1 - 1.25 * (1 - x);
}

static double of_error(double x)
{
    return 1.25 * x;
}

static double of_decibel(double x)
{
    return x - 20 * log10(1.25);
}

/* metric: QUANT_METRIC_COUNT for argmax_agreement. */
static const struct {
    const char *name;
    int metric;
    bool pooled, at_least;
    double (*loosen)(double x);
} kinds[] = {
    {"cosine", QUANT_COSINE, false, true, of_similarity},
    {"relative_error", QUANT_RELATIVE_ERROR, false, false, of_error},
    {"max_abs_error", QUANT_MAX_ABS_ERROR, false, false, of_error},
    {"pooled.cosine", QUANT_COSINE, true, true, of_similarity},
    {"pooled.relative_error", QUANT_RELATIVE_ERROR, true, false, of_error},
    {"pooled.sqnr_db", QUANT_SQNR_DB, true, true, of_decibel},
    {"argmax_agreement", QUANT_METRIC_COUNT, true, true, of_similarity},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static double measured(const quant_array_row *row, size_t k)
{
    if (kinds[k].metric == QUANT_METRIC_COUNT) {
        return quant_array_argmax(row);
    }
    if (kinds[k].pooled) {
        return quant_metric_row(kinds[k].metric)->value(&row->pooled);
    }
    const quant_array_span *span = &row->span[kinds[k].metric];
    return span->count == 0 ? (double)NAN : kinds[k].at_least ? span->least : span->greatest;
}

/* The shortest decimal that x passes and that is within a tenth of the margin of `limit`; 17
 * digits are exact. Written and read back in the locale of the process, then given a point. */
static void write_limit(double x, double limit, bool at_least, char *text, size_t room)
{
    for (int digits = 2; digits <= 17; digits++) {
        snprintf(text, room, "%.*g", digits, limit);
        double written = NAN;
        sscanf(text, "%lf", &written);
        bool passes = at_least ? x >= written : x <= written;
        if (passes && fabs(written - limit) <= 0.1 * fabs(x - limit)) {
            break;
        }
    }
    text[strcspn(text, ",")] = strchr(text, ',') ? '.' : '\0';
}

bool quant_pin_gate(const quant_array_row *row, size_t i, char text[QUANT_PIN_TEXT])
{
    for (size_t k = 0; k < KINDS && row->positions > 0; k++) {
        double x = measured(row, k);
        if (isfinite(x) && i-- == 0) {
            char limit[32];
            write_limit(x, kinds[k].loosen(x), kinds[k].at_least, limit, sizeof limit);
            snprintf(text, QUANT_PIN_TEXT, "%s%s%s", kinds[k].name,
                     kinds[k].at_least ? ">=" : "<=", limit);
            return true;
        }
    }
    return false;
}

void quant_pin_sha256(const char *text, char out[QUANT_SHA256_TEXT])
{
    quant_sha256 h;
    quant_sha256_begin(&h);
    quant_sha256_add(&h, text, strlen(text));
    quant_sha256_end(&h, out);
}

/* ---- reading -------------------------------------------------------------------------------- */

static quant_status expect(quant_context *ctx, bool fits, const char *key, const char *what,
                           const json_t *found)
{
    if (fits) {
        return QUANT_OK;
    }
    return quant_fail(ctx, found ? QUANT_ETYPE : QUANT_EFIELD, "\"%s\": expected %s, found %s", key,
                      what, found ? "something else" : "nothing");
}

static bool is_digest(const char *text)
{
    return text && strlen(text) == QUANT_SHA256_TEXT - 1 &&
           strspn(text, "0123456789abcdef") == QUANT_SHA256_TEXT - 1;
}

/* A digest under `key`; with `optional` null is allowed and gives NULL. */
static quant_status take_digest(quant_context *ctx, const json_t *object, const char *key,
                                bool optional, const char **digest)
{
    const json_t *v = json_object_get(object, key);
    *digest = json_string_value(v);
    bool fits = is_digest(*digest) || (optional && json_is_null(v));
    return expect(ctx, fits, key, "64 hexadecimal digits in lower case", v);
}

static quant_status take_header(quant_context *ctx, quant_pins *p)
{
    const char *schema = json_string_value(json_object_get(p->tree, "schema"));
    if (!schema || strcmp(schema, "quant.pins/1") != 0) {
        return quant_fail(ctx, QUANT_EVERSION, "\"schema\": expected quant.pins/1, found %s",
                          schema ? schema : "none");
    }
    const json_t *reference = json_object_get(p->tree, "reference");
    const json_t *scheme = json_object_get(p->tree, "scheme");
    QUANT_TRY(expect(ctx, json_is_object(reference), "reference", "an object", reference));
    QUANT_TRY(take_digest(ctx, reference, "sha256", false, &p->reference));
    QUANT_TRY(take_digest(ctx, p->tree, "tokens_sha256", true, &p->tokens));
    if (!scheme || json_is_null(scheme)) {
        return QUANT_OK;
    }
    QUANT_TRY(expect(ctx, json_is_object(scheme), "scheme", "an object or null", scheme));
    return take_digest(ctx, scheme, "sha256", false, &p->scheme);
}

static quant_status take_gates(quant_context *ctx, quant_pins *p, const char *array,
                               const json_t *gates)
{
    for (size_t i = 0; i < json_array_size(gates); i++) {
        const json_t *gate = json_array_get(gates, i);
        const char *text = json_string_value(gate);
        QUANT_TRY(expect(ctx, text != NULL, "gates", "expressions as cosine>=0.97", gate));
        pin *one = &p->list[p->count];
        quant_status s = quant_gate_parse_arrays(ctx, text, &one->gate);
        if (s == QUANT_EINVAL) {
            return quant_fail(ctx, QUANT_ESYNTAX, "\"gates\" of %s: expected expressions as "
                              "cosine>=0.97, found \"%s\"", array, text);
        }
        QUANT_TRY(s);
        one->array = array;
        p->count++;
    }
    return QUANT_OK;
}

static quant_status take_arrays(quant_context *ctx, quant_pins *p)
{
    const json_t *arrays = json_object_get(p->tree, "arrays");
    QUANT_TRY(expect(ctx, json_is_array(arrays), "arrays", "an array", arrays));
    for (size_t i = 0; i < json_array_size(arrays); i++) {
        p->room += json_array_size(json_object_get(json_array_get(arrays, i), "gates"));
    }
    p->list = quant_alloc(ctx, p->room, sizeof *p->list);
    if (!p->list) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < json_array_size(arrays); i++) {
        const json_t *one = json_array_get(arrays, i);
        const json_t *name = json_object_get(one, "array"), *gates = json_object_get(one, "gates");
        QUANT_TRY(expect(ctx, json_is_string(name), "array", "the name of an array", name));
        QUANT_TRY(expect(ctx, json_is_array(gates), "gates", "an array", gates));
        QUANT_TRY(take_gates(ctx, p, json_string_value(name), gates));
    }
    return p->count > 0 ? QUANT_OK
                        : quant_fail(ctx, QUANT_EFIELD, "expected at least one gate, found none");
}

quant_status quant_pins_read(quant_context *ctx, const char *path, quant_pins **pins)
{
    *pins = NULL;
    quant_pins *p = quant_alloc(ctx, 1, sizeof *p);
    if (!p) {
        return QUANT_ENOMEM;
    }
    *p = (quant_pins){.tree = NULL};
    quant_status s = quant_json_read(ctx, path, PINS_LIMIT, &p->tree);
    if (s == QUANT_OK) {
        s = take_header(ctx, p);
        s = s == QUANT_OK ? take_arrays(ctx, p) : s;
        s = s == QUANT_OK ? s : quant_fail_prefix(ctx, s, path);
    }
    if (s != QUANT_OK) {
        quant_pins_free(ctx, p);
        return s;
    }
    *pins = p;
    return QUANT_OK;
}

void quant_pins_free(quant_context *ctx, quant_pins *pins)
{
    if (pins) {
        for (size_t i = 0; i < pins->count; i++) {
            quant_gate_free(ctx, pins->list[i].gate);
        }
        quant_release(ctx, pins->list, pins->room, sizeof *pins->list);
        json_decref(pins->tree);
        quant_release(ctx, pins, 1, sizeof *pins);
    }
}

/* ---- checking ------------------------------------------------------------------------------- */

static quant_status match(quant_context *ctx, const char *what, const char *pinned,
                          const char *found)
{
    if (strcmp(pinned, found) == 0) {
        return QUANT_OK;
    }
    return quant_fail(ctx, QUANT_ECHECKSUM, "SHA-256 of the %s: expected %s as pinned, found %s",
                      what, pinned[0] ? pinned : "none", found[0] ? found : "none");
}

quant_status quant_pins_match(quant_context *ctx, const quant_pins *pins, const char *reference,
                              const char *tokens, const char *scheme)
{
    char digest[QUANT_SHA256_TEXT];
    QUANT_TRY(match(ctx, "tokens", pins->tokens ? pins->tokens : "", tokens));
    QUANT_TRY(match(ctx, "reference", pins->reference, reference));
    if (!scheme || !pins->scheme) {
        return QUANT_OK;
    }
    quant_pin_sha256(scheme, digest);
    return match(ctx, "scheme", pins->scheme, digest);
}

bool quant_pins_judge(const quant_pins *pins, size_t i, const quant_array_result *result,
                      quant_gate_verdict *verdict)
{
    for (size_t k = 0; k < pins->count; k++) {
        const pin *one = &pins->list[k];
        size_t row = 0;
        while (row < result->row_count && strcmp(result->rows[row].name, one->array) != 0) {
            row++;
        }
        size_t rows = row < result->row_count ? 1 : 0, g = 0;
        while (quant_gate_judge_arrays(one->gate, g++, result->rows + row, rows, verdict)) {
            if (i-- == 0) {
                verdict->where = one->array;
                return true;
            }
        }
    }
    return false;
}

bool quant_pins_know(const quant_pins *pins, const char *array)
{
    for (size_t k = 0; k < pins->count; k++) {
        if (strcmp(pins->list[k].array, array) == 0) {
            return true;
        }
    }
    return false;
}
