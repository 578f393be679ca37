/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/json_out.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"

void quant_json_start(quant_json_writer *w, FILE *to)
{
    memset(w, 0, sizeof *w);
    w->to = to;
}

/* Text as jansson takes it: json_string refuses invalid UTF-8, so bad bytes are replaced one by
 * one. A prefix is good when jansson accepts it with its last sequence complete. */
static json_t *text_value(const char *text)
{
    json_t *value = json_string(text);
    size_t n = strlen(text);
    char *clean = value ? NULL : malloc(3 * n + 1);
    if (!clean) {
        return value;
    }
    size_t to = 0;
    for (size_t i = 0; i < n;) {
        size_t take = 1;
        json_t *one = NULL;
        for (; take <= 4 && i + take <= n && !one; take++) {
            one = json_stringn(text + i, take);
        }
        const char *shown = one ? text + i : "\xef\xbf\xbd";
        size_t bytes = one ? take - 1 : 3;
        memcpy(clean + to, shown, bytes);
        to += bytes;
        i += one ? take - 1 : 1;
        json_decref(one);
    }
    value = json_stringn(clean, to);
    free(clean);
    return value;
}

static void dump(quant_json_writer *w, json_t *value)
{
    const size_t flags = JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(17);
    if (!value) {
        w->failed = true;
    } else if (json_dumpf(value, w->to, flags) != 0 && !ferror(w->to)) {
        w->failed = true;
    }
    json_decref(value);
}

/* Comma, line break and key before the next member. */
static void separate(quant_json_writer *w, const char *key)
{
    if (w->depth > 0) {
        int top = w->depth - 1;
        bool lines = w->level[top].layout == QUANT_JSON_LINES;
        fputs(w->level[top].has_members ? (lines ? "," : ", ") : "", w->to);
        w->level[top].has_members = true;
        if (lines) {
            fprintf(w->to, "\n%*s", w->depth, "");
        }
    }
    if (key) {
        dump(w, text_value(key));
        fputs(": ", w->to);
    }
}

void quant_json_open(quant_json_writer *w, const char *key, char bracket, quant_json_layout layout)
{
    separate(w, key);
    if (w->depth == QUANT_JSON_DEPTH) {
        w->failed = true;
        return;
    }
    putc(bracket, w->to);
    w->level[w->depth].bracket = bracket;
    w->level[w->depth].layout = layout;
    w->level[w->depth].has_members = false;
    w->depth++;
}

void quant_json_close(quant_json_writer *w)
{
    if (w->depth == 0) {
        w->failed = true;
        return;
    }
    w->depth--;
    if (w->level[w->depth].has_members && w->level[w->depth].layout == QUANT_JSON_LINES) {
        fprintf(w->to, "\n%*s", w->depth, "");
    }
    putc(w->level[w->depth].bracket == '{' ? '}' : ']', w->to);
}

void quant_json_put(quant_json_writer *w, const char *key, quant_value value)
{
    if (value.kind == QUANT_VALUE_SHAPE) {
        quant_json_open(w, key, '[', QUANT_JSON_INLINE);
        for (int i = 0; i < value.as.shape->rank; i++) {
            quant_json_put(w, NULL, quant_value_count(value.as.shape->dim[i]));
        }
        quant_json_close(w);
        return;
    }
    separate(w, key);
    switch (value.kind) {
    case QUANT_VALUE_TEXT:
        dump(w, value.as.text ? text_value(value.as.text) : json_null());
        break;
    case QUANT_VALUE_REAL:
        dump(w, isfinite(value.as.real) ? json_real(value.as.real) : json_null());
        break;
    case QUANT_VALUE_COUNT:
        dump(w, json_integer((json_int_t)value.as.count));
        break;
    default:
        dump(w, json_boolean(value.as.flag));
        break;
    }
}

quant_status quant_json_finish(quant_context *ctx, quant_json_writer *w)
{
    putc('\n', w->to);
    if (ferror(w->to)) {
        return quant_fail(ctx, QUANT_EIO, "JSON: writing failed");
    }
    if (w->failed || w->depth != 0) {
        return quant_fail(ctx, QUANT_ENOMEM, "JSON: a value could not be held in memory");
    }
    return QUANT_OK;
}
