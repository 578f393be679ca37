/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/json.h"

#include <inttypes.h>
#include <string.h>

#include "quant/bank/json_scan.h"
#include "quant/bank/source.h"
#include "quant/bank/utf8.h"
#include "quant/internal.h"

/* jansson spends about 400 bytes on a container and 40 on a number; these shares keep the tree
 * within a small multiple of the text, and a real file far below them. */
enum { FREE_VALUES = 4096, BYTES_PER_VALUE = 4, BYTES_PER_CONTAINER = 16 };

static quant_status check_integer(const quant_json_scan *s, const quant_json_token *t)
{
    if (memchr(t->text, '.', t->bytes) || memchr(t->text, 'e', t->bytes) ||
        memchr(t->text, 'E', t->bytes)) {
        return QUANT_OK;
    }
    bool minus = t->text[0] == '-';
    int64_t v = 0;
    for (size_t i = minus; i < t->bytes; i++) {
        int d = t->text[i] - '0';
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, minus ? -d : d, &v)) {
            return quant_fail(s->ctx, QUANT_ERANGE,
                              "JSON offset %zu: expected an integer of 64 bits, found %.*s", t->at,
                              t->bytes < 40 ? (int)t->bytes : 40, t->text);
        }
    }
    return QUANT_OK;
}

/* Everything that jansson would let pass, or would report without saying which rule was broken. */
static quant_status check(quant_context *ctx, const char *text, size_t bytes)
{
    size_t valid = quant_utf8_valid(text, bytes);
    if (valid < bytes) {
        return quant_fail(ctx, QUANT_EUTF8, "JSON offset %zu: expected UTF-8, found byte 0x%02x",
                          valid, (unsigned char)text[valid]);
    }
    quant_json_scan scan = quant_json_begin(ctx, text, bytes);
    quant_json_token t;
    size_t values = 0, containers = 0;
    do {
        QUANT_TRY(quant_json_next(&scan, &t));
        if (t.has_nul) {
            return quant_fail(ctx, QUANT_ESYNTAX, "JSON offset %zu: expected a string without NUL, "
                              "found \\u0000", t.at);
        }
        if (t.kind == QUANT_JSON_NUMBER) {
            QUANT_TRY(check_integer(&scan, &t));
        }
        values++;
        containers += t.kind == QUANT_JSON_OBJECT || t.kind == QUANT_JSON_ARRAY;
        if (values > FREE_VALUES + bytes / BYTES_PER_VALUE ||
            containers > FREE_VALUES + bytes / BYTES_PER_CONTAINER) {
            return quant_fail(ctx, QUANT_ELIMIT, "JSON offset %zu: more values than its size "
                              "justifies", t.at);
        }
    } while (t.kind != QUANT_JSON_END);
    return QUANT_OK;
}

static quant_status refusal(quant_context *ctx, const json_error_t *e)
{
    switch (json_error_code(e)) {
    case json_error_duplicate_key:
        return quant_fail(ctx, QUANT_EDUP, "JSON offset %d: %s", e->position, e->text);
    case json_error_out_of_memory:
        return quant_fail(ctx, QUANT_ENOMEM, "memory: the JSON tree could not be had");
    case json_error_numeric_overflow:
        return quant_fail(ctx, QUANT_ERANGE, "JSON offset %d: %s", e->position, e->text);
    default:
        return quant_fail(ctx, QUANT_ESYNTAX, "JSON offset %d: %s", e->position, e->text);
    }
}

quant_status quant_json_parse(quant_context *ctx, const char *text, size_t bytes,
                              int *leading_space, json_t **value)
{
    QUANT_TRY(check(ctx, text, bytes));
    json_error_t error;
    json_t *v = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!v) {
        return refusal(ctx, &error);
    }
    if (leading_space) {
        *leading_space = text[0] == ' ' || text[0] == '\t' || text[0] == '\n' || text[0] == '\r';
    }
    *value = v;
    return QUANT_OK;
}

static quant_status read_text(quant_context *ctx, const quant_source *source, size_t limit,
                              json_t **value)
{
    if (source->size > limit) {
        return quant_fail(ctx, QUANT_ELIMIT, "size: expected at most %zu bytes, found %" PRIu64,
                          limit, source->size);
    }
    size_t bytes = (size_t)source->size;
    char *text = quant_alloc(ctx, bytes, 1);
    if (!text) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_source_read(ctx, source, 0, text, bytes);
    if (s == QUANT_OK) {
        s = quant_json_parse(ctx, text, bytes, NULL, value);
    }
    quant_release(ctx, text, bytes, 1);
    return s;
}

quant_status quant_json_read(quant_context *ctx, const char *path, size_t limit, json_t **value)
{
    quant_source source;
    QUANT_TRY(quant_source_open(ctx, path, &source));
    quant_status s = read_text(ctx, &source, limit, value);
    quant_source_close(ctx, &source);
    return s == QUANT_OK ? s : quant_fail_prefix(ctx, s, path);
}
