/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npy_header.c - {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
 *
 * A parser for this much of Python and nothing more: one dict, strings, integers, True, False,
 * tuples. Lists and nested tuples appear only in structured types, which are walked to their end
 * (that is how an object field is told from a mere structure) and then refused. */
#include "quant/bank/npy_header.h"

#include <string.h>

#include "quant/bank/utf8.h"
#include "quant/internal.h"

enum { DEPTH_MAX = 16, DIGITS_MAX = 20 };

typedef struct literal {
    quant_context *ctx;
    const char *text;
    size_t bytes, at;
} literal;

static quant_status wrong(const literal *p, quant_status s, const char *expected)
{
    if (p->at >= p->bytes) {
        return quant_fail(p->ctx, s, "header offset %zu: expected %s, found the end", p->at,
                          expected);
    }
    unsigned char c = (unsigned char)p->text[p->at];
    return quant_fail(p->ctx, s,
                      c > 0x20 && c < 0x7f ? "header offset %zu: expected %s, found '%c'"
                                           : "header offset %zu: expected %s, found byte 0x%02x",
                      p->at, expected, c);
}

/* The next byte that is not white space, 0 at the end (a NUL was refused before). */
static char peek(literal *p)
{
    while (p->at < p->bytes && strchr(" \t\r\n", p->text[p->at])) {
        p->at++;
    }
    return p->at < p->bytes ? p->text[p->at] : '\0';
}

static bool take(literal *p, char c)
{
    bool yes = peek(p) == c;
    p->at += yes;
    return yes;
}

static bool take_word(literal *p, const char *word)
{
    size_t n = strlen(word);
    peek(p);
    if (p->bytes - p->at < n || memcmp(p->text + p->at, word, n) != 0) {
        return false;
    }
    p->at += n;
    return true;
}

/* A quoted string without escapes; at most room - 1 bytes are copied, *length is the whole. */
static quant_status string(literal *p, char *out, size_t room, size_t *length)
{
    char quote = peek(p);
    if (quote != '\'' && quote != '"') {
        return wrong(p, QUANT_ESYNTAX, "a string");
    }
    size_t start = ++p->at;
    while (p->at < p->bytes && p->text[p->at] != quote) {
        if (p->text[p->at] == '\\' || p->text[p->at] == '\n') {
            return wrong(p, QUANT_ESYNTAX, "a string without escapes");
        }
        p->at++;
    }
    if (p->at >= p->bytes) {
        return wrong(p, QUANT_ESYNTAX, "a closing quote");
    }
    *length = p->at++ - start;
    size_t kept = *length < room ? *length : room - 1;
    memcpy(out, p->text + start, kept);
    out[kept] = '\0';
    return QUANT_OK;
}

static quant_status integer(literal *p, uint64_t *value)
{
    char c = peek(p);
    if (c == '-') {
        return wrong(p, QUANT_ERANGE, "an integer in [0, 2^63)");
    }
    if (c < '0' || c > '9') {
        return wrong(p, c && strchr("TF'\"([{", c) ? QUANT_ETYPE : QUANT_ESYNTAX, "an integer");
    }
    size_t start = p->at;
    uint64_t v = 0;
    bool fits = true;
    for (; p->at < p->bytes && p->text[p->at] >= '0' && p->text[p->at] <= '9'; p->at++) {
        fits = fits && !__builtin_mul_overflow(v, 10u, &v) &&
               !__builtin_add_overflow(v, (unsigned)(p->text[p->at] - '0'), &v);
    }
    size_t digits = p->at - start;
    if (digits > 1 && c == '0') {
        return quant_fail(p->ctx, QUANT_ESYNTAX, "header offset %zu: expected an integer without "
                          "leading zeros", start);
    }
    if (p->at < p->bytes && strchr(".eEjJ", p->text[p->at])) {
        return wrong(p, QUANT_ETYPE, "an integer");
    }
    if (!fits || digits > DIGITS_MAX || v >> 63) {
        return quant_fail(p->ctx, QUANT_ERANGE, "header offset %zu: expected an integer in [0, "
                          "2^63), found %.*s", start, (int)(digits < 40 ? digits : 40),
                          p->text + start);
    }
    *value = v;
    return QUANT_OK;
}

/* () or (n,) or (n, m) with or without a last comma. */
static quant_status shape(literal *p, quant_shape *out)
{
    quant_shape s = {.rank = 0};
    bool comma = true, any_comma = false;
    if (!take(p, '(')) {
        char c = peek(p);
        bool other = (c >= '0' && c <= '9') || (c && strchr("[{'\"TF-", c));
        return wrong(p, other ? QUANT_ETYPE : QUANT_ESYNTAX, "a tuple");
    }
    while (!take(p, ')')) {
        uint64_t dim;
        if (!comma) {
            return wrong(p, QUANT_ESYNTAX, "',' or ')'");
        }
        QUANT_TRY(integer(p, &dim));
        if (s.rank == QUANT_MAX_RANK) {
            return quant_fail(p->ctx, QUANT_ELIMIT, "shape: expected at most %d axes",
                              QUANT_MAX_RANK);
        }
        s.dim[s.rank++] = dim;
        comma = take(p, ',');
        any_comma = any_comma || comma;
    }
    if (s.rank == 1 && !any_comma) {
        return quant_fail(p->ctx, QUANT_ETYPE, "header offset %zu: expected a tuple, found an "
                          "integer in parentheses", p->at - 1);
    }
    *out = s;
    return QUANT_OK;
}

static quant_status boolean(literal *p, bool *out)
{
    *out = take_word(p, "True");
    if (*out || take_word(p, "False")) {
        return QUANT_OK;
    }
    char c = peek(p);
    bool other = (c >= '0' && c <= '9') || (c && strchr("[{('\"-", c));
    return wrong(p, other ? QUANT_ETYPE : QUANT_ESYNTAX, "True or False");
}

/* A type code "<f4" or, in a structured type, a field's name: 'O' is an object field when it is the
 * code's kind. Names may begin with O as well; refusing those too costs nothing, the file is
 * refused anyway. */
static bool names_objects(const char *code)
{
    return code[0] == 'O' || (code[0] && strchr("<>|=", code[0]) && code[1] == 'O');
}

/* Walk a list or tuple, brackets matched, nothing but strings, integers and commas inside. */
static quant_status structured(literal *p)
{
    char open[DEPTH_MAX], text[8];
    int depth = 0;
    bool objects = false;
    do {
        char c = peek(p);
        size_t length;
        uint64_t number;
        if (c == '[' || c == '(') {
            if (depth == DEPTH_MAX) {
                return quant_fail(p->ctx, QUANT_EDEPTH, "header offset %zu: nested more than %d "
                                  "deep", p->at, DEPTH_MAX);
            }
            open[depth++] = c;
            p->at++;
        } else if ((c == ']' || c == ')') && open[depth - 1] == (c == ']' ? '[' : '(')) {
            depth--;
            p->at++;
        } else if (c == '\'' || c == '"') {
            QUANT_TRY(string(p, text, sizeof text, &length));
            objects = objects || names_objects(text);
        } else if (c == ',') {
            p->at++;
        } else {
            QUANT_TRY(integer(p, &number));
        }
    } while (depth > 0);
    return quant_fail(p->ctx, QUANT_EUNSUPPORTED, objects
                      ? "descr: object arrays hold pickles and are never read"
                      : "descr: structured types are not supported");
}

static const struct {
    const char *code;
    quant_dtype dtype;
} codes[] = {{"f8", QUANT_F64}, {"f4", QUANT_F32}, {"f2", QUANT_F16}, {"c8", QUANT_C64},
             {"i8", QUANT_I64}, {"i4", QUANT_I32}, {"i2", QUANT_I16}, {"i1", QUANT_I8},
             {"u8", QUANT_U64}, {"u4", QUANT_U32}, {"u2", QUANT_U16}, {"u1", QUANT_U8},
             {"b1", QUANT_BOOL}};

/* [<>|] kind size; '|' for one byte only. Types that numpy has and we have not are told apart from
 * nonsense. */
static quant_status dtype_of(literal *p, const char *descr, size_t length, quant_npy_header *out)
{
    const char *code = descr + 1;
    if (names_objects(descr)) {
        return quant_fail(p->ctx, QUANT_EUNSUPPORTED, "descr: object arrays hold pickles and are "
                          "never read");
    }
    bool mark = descr[0] == '<' || descr[0] == '>' || descr[0] == '|';
    for (size_t i = 0; mark && i < sizeof codes / sizeof *codes; i++) {
        bool one_byte = codes[i].code[1] == '1';
        if (length == 3 && strcmp(code, codes[i].code) == 0 && (one_byte || descr[0] != '|')) {
            out->dtype = codes[i].dtype;
            out->big_endian = descr[0] == '>' && !one_byte;
            memcpy(out->descr, descr, 4);
            return QUANT_OK;
        }
    }
    bool numpy_has = mark && (strchr("SUMmVa", code[0]) || strcmp(code, "f16") == 0 ||
                              strcmp(code, "f12") == 0 || strcmp(code, "c16") == 0 ||
                              strcmp(code, "c32") == 0 || strcmp(code, "c24") == 0) && code[0];
    return quant_fail(p->ctx, numpy_has ? QUANT_EUNSUPPORTED : QUANT_EDTYPE,
                      "descr: expected [<>|] "
                      "and one of f8 f4 f2 i8..i1 u8..u1 b1, found '%s'",
                      descr);
}

static quant_status descr(literal *p, quant_npy_header *out)
{
    char text[QUANT_NPY_DESCR], c = peek(p);
    size_t length;
    if (c == '[' || c == '(') {
        return structured(p);
    }
    if ((c >= '0' && c <= '9') || (c && strchr("TF{-", c))) {
        return wrong(p, QUANT_EDTYPE, "a string");
    }
    QUANT_TRY(string(p, text, sizeof text, &length));
    return dtype_of(p, text, length, out);
}

static quant_status field(literal *p, unsigned *seen, quant_npy_header *out)
{
    static const char *const names[3] = {"descr", "fortran_order", "shape"};
    char key[32];
    size_t length;
    QUANT_TRY(string(p, key, sizeof key, &length));
    int f = 0;
    while (f < 3 && strcmp(key, names[f]) != 0) {
        f++;
    }
    if (f == 3) {
        return quant_fail(p->ctx, QUANT_EFIELD, "header offset %zu: expected descr, fortran_order "
                          "and shape, found '%s'", p->at - length - 1, key);
    }
    if (*seen & 1U << f) {
        return quant_fail(p->ctx, QUANT_EDUP, "header offset %zu: '%s' found twice",
                          p->at - length - 1, key);
    }
    *seen |= 1U << f;
    if (!take(p, ':')) {
        return wrong(p, QUANT_ESYNTAX, "':'");
    }
    return f == 0 ? descr(p, out) : f == 1 ? boolean(p, &out->fortran) : shape(p, &out->shape);
}

static quant_status dict(literal *p, quant_npy_header *out)
{
    unsigned seen = 0;
    bool comma = true;
    if (!take(p, '{')) {
        return wrong(p, QUANT_ESYNTAX, "'{'");
    }
    while (!take(p, '}')) {
        if (!comma) {
            return wrong(p, QUANT_ESYNTAX, "',' or '}'");
        }
        QUANT_TRY(field(p, &seen, out));
        comma = take(p, ',');
    }
    peek(p);
    if (p->at < p->bytes) {
        return wrong(p, QUANT_ESYNTAX, "only white space after the dict");
    }
    return seen == 7 ? QUANT_OK
                     : quant_fail(p->ctx, QUANT_EFIELD, "header: %s is missing", !(seen & 1)
                                  ? "descr" : !(seen & 2) ? "fortran_order" : "shape");
}

quant_status quant_npy_parse(quant_context *ctx, const char *text, size_t bytes, int major,
                             quant_npy_header *out)
{
    literal p = {ctx, text, bytes, 0};
    const char *nul = memchr(text, 0, bytes);
    if (nul) {
        return quant_fail(ctx, QUANT_ESYNTAX, "header offset %zu: expected text, found NUL",
                          (size_t)(nul - text));
    }
    size_t valid = major >= 3 ? quant_utf8_valid(text, bytes) : bytes;
    if (valid < bytes) {
        return quant_fail(ctx, QUANT_EUTF8, "header offset %zu: expected UTF-8, found byte 0x%02x",
                          valid, (unsigned char)text[valid]);
    }
    quant_npy_header h = {.has_newline = bytes > 0 && text[bytes - 1] == '\n'};
    QUANT_TRY(dict(&p, &h));
    *out = h;
    return QUANT_OK;
}
