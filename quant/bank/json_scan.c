/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/json_scan.h"

#include <string.h>

#include "quant/bank/utf8.h"
#include "quant/internal.h"

/* What may come next. */
enum { VALUE, VALUE_OR_END, KEY, KEY_OR_END, COMMA_OR_END, DONE };

quant_json_scan quant_json_begin(quant_context *ctx, const char *text, size_t bytes)
{
    return (quant_json_scan){.ctx = ctx, .text = text, .bytes = bytes, .state = VALUE};
}

const char *quant_json_kind_name(quant_json_kind kind)
{
    static const char *const names[] = {"the end",  "an object", "the end of an object", "an array",
                                        "the end of an array", "a key", "a string", "a number",
                                        "true", "false", "null"};
    return names[kind];
}

static quant_status wrong(const quant_json_scan *s, const char *expected)
{
    if (s->at >= s->bytes) {
        return quant_fail(s->ctx, QUANT_ESYNTAX, "JSON offset %zu: expected %s, found the end",
                          s->at, expected);
    }
    unsigned char c = (unsigned char)s->text[s->at];
    return quant_fail(s->ctx, QUANT_ESYNTAX,
                      c > 0x20 && c < 0x7f ? "JSON offset %zu: expected %s, found '%c'"
                                           : "JSON offset %zu: expected %s, found byte 0x%02x",
                      s->at, expected, c);
}

static void skip_space(quant_json_scan *s)
{
    while (s->at < s->bytes && (s->text[s->at] == ' ' || s->text[s->at] == '\n' ||
                                s->text[s->at] == '\r' || s->text[s->at] == '\t')) {
        s->at++;
    }
}

/* Four hexadecimal digits at `at`; -1 when they are not there. */
static int hex4(const char *text, size_t bytes, size_t at)
{
    int value = 0;
    for (size_t i = at; i < at + 4; i++) {
        static const char digits[] = "0123456789abcdef0123456789ABCDEF";
        const char *d = i < bytes && text[i] ? strchr(digits, text[i]) : NULL;
        if (!d) {
            return -1;
        }
        value = value * 16 + (int)((d - digits) % 16);
    }
    return value;
}

/* s->at is on the backslash; leaves it behind the escape. */
static quant_status escape(quant_json_scan *s, quant_json_token *t)
{
    s->at++;
    char c = s->at < s->bytes ? s->text[s->at] : '\0';
    if (c && strchr("\"\\/bfnrt", c)) {
        s->at++;
        return QUANT_OK;
    }
    int unit = c == 'u' ? hex4(s->text, s->bytes, s->at + 1) : -1;
    if (unit < 0) {
        return wrong(s, "an escape");
    }
    bool low_follows = unit >= 0xd800 && unit <= 0xdbff && s->bytes - s->at > 6 &&
                       s->text[s->at + 5] == '\\' && s->text[s->at + 6] == 'u';
    int low = low_follows ? hex4(s->text, s->bytes, s->at + 7) : -1;
    if (unit >= 0xd800 && unit <= 0xdfff && (low < 0xdc00 || low > 0xdfff)) {
        return quant_fail(s->ctx, QUANT_EUTF8, "JSON offset %zu: expected a pair of surrogates, "
                          "found a lone \\u%04x", s->at - 1, (unsigned)unit);
    }
    t->has_nul = t->has_nul || unit == 0;
    s->at += low_follows ? 11 : 5;
    return QUANT_OK;
}

static quant_status string(quant_json_scan *s, quant_json_token *t)
{
    size_t start = ++s->at;
    for (;;) {
        if (s->at >= s->bytes || (unsigned char)s->text[s->at] < 0x20) {
            return wrong(s, "a string to go on");
        }
        if (s->text[s->at] == '"') {
            break;
        }
        if (s->text[s->at] == '\\') {
            QUANT_TRY(escape(s, t));
        } else {
            s->at++;
        }
    }
    t->text = s->text + start;
    t->bytes = s->at++ - start;
    return QUANT_OK;
}

static size_t digits(quant_json_scan *s)
{
    size_t start = s->at;
    while (s->at < s->bytes && s->text[s->at] >= '0' && s->text[s->at] <= '9') {
        s->at++;
    }
    return s->at - start;
}

static bool take(quant_json_scan *s, const char *any)
{
    bool yes = s->at < s->bytes && s->text[s->at] && strchr(any, s->text[s->at]);
    s->at += yes;
    return yes;
}

static quant_status number(quant_json_scan *s, quant_json_token *t)
{
    size_t start = s->at;
    bool minus = take(s, "-");
    bool zero = take(s, "0");
    if (!zero && digits(s) == 0) {
        return wrong(s, "a digit");
    }
    bool integer = true;
    if (take(s, ".")) {
        integer = false;
        if (digits(s) == 0) {
            return wrong(s, "a digit");
        }
    }
    if (take(s, "eE")) {
        integer = false;
        take(s, "+-");
        if (digits(s) == 0) {
            return wrong(s, "a digit");
        }
    }
    if (minus && zero && integer) {
        return quant_fail(s->ctx, QUANT_ERANGE, "JSON offset %zu: expected an integer, found -0",
                          start);
    }
    t->kind = QUANT_JSON_NUMBER;
    t->text = s->text + start;
    t->bytes = s->at - start;
    return QUANT_OK;
}

static quant_status word(quant_json_scan *s, quant_json_token *t)
{
    static const struct {
        const char *text;
        size_t bytes;
        quant_json_kind kind;
    } words[] = {{"true", 4, QUANT_JSON_TRUE},
                 {"false", 5, QUANT_JSON_FALSE},
                 {"null", 4, QUANT_JSON_NULL}};
    for (size_t i = 0; i < 3; i++) {
        if (s->bytes - s->at >= words[i].bytes &&
            memcmp(s->text + s->at, words[i].text, words[i].bytes) == 0) {
            s->at += words[i].bytes;
            t->kind = words[i].kind;
            return QUANT_OK;
        }
    }
    return wrong(s, "a value");
}

static quant_status open_container(quant_json_scan *s, quant_json_token *t)
{
    char c = s->text[s->at];
    if (s->depth == QUANT_JSON_DEPTH) {
        return quant_fail(s->ctx, QUANT_EDEPTH, "JSON offset %zu: nested more than %d deep", s->at,
                          QUANT_JSON_DEPTH);
    }
    s->at++;
    s->open[s->depth++] = c;
    t->kind = c == '{' ? QUANT_JSON_OBJECT : QUANT_JSON_ARRAY;
    s->state = c == '{' ? KEY_OR_END : VALUE_OR_END;
    return QUANT_OK;
}

static void after_value(quant_json_scan *s)
{
    s->state = s->depth ? COMMA_OR_END : DONE;
}

static void close_container(quant_json_scan *s, quant_json_token *t)
{
    t->kind = s->text[s->at++] == '}' ? QUANT_JSON_OBJECT_END : QUANT_JSON_ARRAY_END;
    s->depth--;
    after_value(s);
}

static quant_status value(quant_json_scan *s, quant_json_token *t)
{
    char c = s->text[s->at];
    if (c == '{' || c == '[') {
        return open_container(s, t);
    }
    if (c == '"') {
        t->kind = QUANT_JSON_STRING;
        QUANT_TRY(string(s, t));
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        QUANT_TRY(number(s, t));
    } else {
        QUANT_TRY(word(s, t));
    }
    after_value(s);
    return QUANT_OK;
}

static quant_status key(quant_json_scan *s, quant_json_token *t)
{
    if (s->at >= s->bytes || s->text[s->at] != '"') {
        return wrong(s, "a key");
    }
    t->kind = QUANT_JSON_KEY;
    QUANT_TRY(string(s, t));
    skip_space(s);
    if (!take(s, ":")) {
        return wrong(s, "':'");
    }
    s->state = VALUE;
    return QUANT_OK;
}

quant_status quant_json_next(quant_json_scan *s, quant_json_token *t)
{
    skip_space(s);
    *t = (quant_json_token){.kind = QUANT_JSON_END, .at = s->at};
    if (s->state == DONE) {
        return s->at == s->bytes ? QUANT_OK : wrong(s, "only white space after the value");
    }
    if (s->at == s->bytes) {
        return wrong(s, s->depth ? "the value to go on" : "a value");
    }
    bool in_object = s->depth && s->open[s->depth - 1] == '{';
    bool may_end = s->state != VALUE && s->state != KEY;
    if (may_end && s->text[s->at] == (in_object ? '}' : ']')) {
        close_container(s, t);
        return QUANT_OK;
    }
    if (s->state == COMMA_OR_END) {
        if (!take(s, ",")) {
            return wrong(s, in_object ? "',' or '}'" : "',' or ']'");
        }
        skip_space(s);
        t->at = s->at;
        s->state = in_object ? KEY : VALUE;
    }
    if (s->state == KEY || s->state == KEY_OR_END) {
        return key(s, t);
    }
    return s->at < s->bytes ? value(s, t) : wrong(s, "a value");
}

/* One escape at p (behind the backslash); sets what it stands for, returns the bytes it took. */
static size_t unescape_one(const char *p, size_t left, unsigned *point)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (*p != 'u') {
        *point = (unsigned char)to[strchr(from, *p) - from];
        return 1;
    }
    unsigned unit = (unsigned)hex4(p, left, 1);
    if (unit < 0xd800 || unit > 0xdbff) {
        *point = unit;
        return 5;
    }
    *point = 0x10000 + ((unit - 0xd800) << 10) + ((unsigned)hex4(p, left, 7) - 0xdc00);
    return 11;
}

size_t quant_json_unescape(const quant_json_token *token, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < token->bytes;) {
        if (token->text[i] != '\\') {
            out[n++] = token->text[i++];
            continue;
        }
        unsigned point;
        i += 1 + unescape_one(token->text + i + 1, token->bytes - i - 1, &point);
        n += quant_utf8_put(out + n, point);
    }
    return n;
}

quant_status quant_json_u64(quant_json_scan *s, const quant_json_token *t, const char *what,
                            uint64_t *value_out)
{
    bool integer = t->kind == QUANT_JSON_NUMBER;
    for (size_t i = 0; integer && i < t->bytes; i++) {
        integer = t->text[i] == '-' || (t->text[i] >= '0' && t->text[i] <= '9');
    }
    if (!integer) {
        return quant_fail(s->ctx, QUANT_ETYPE, "%s, header offset %zu: expected an integer, found "
                          "%s", what, t->at, quant_json_kind_name(t->kind));
    }
    uint64_t v = 0;
    for (size_t i = 0; i < t->bytes; i++) {
        if (t->text[i] == '-' || __builtin_mul_overflow(v, 10u, &v) ||
            __builtin_add_overflow(v, (unsigned)(t->text[i] - '0'), &v)) {
            return quant_fail(s->ctx, QUANT_ERANGE, "%s, header offset %zu: expected an integer in "
                              "[0, 2^64), found %.*s", what, t->at,
                              t->bytes < 40 ? (int)t->bytes : 40, t->text);
        }
    }
    *value_out = v;
    return QUANT_OK;
}
