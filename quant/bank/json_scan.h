/* SPDX-License-Identifier: GPL-3.0-or-later */
/* json_scan.h - strict JSON as a stream of tokens: no tree, no recursion, no memory.
 *
 * RFC 8259 only; nesting at most QUANT_JSON_DEPTH; the integer -0 refused; surrogates paired. The
 * text must have passed quant_utf8_valid. Duplicate keys are the caller's to see. */
#ifndef QUANT_BANK_JSON_SCAN_H
#define QUANT_BANK_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/context.h"

#define QUANT_JSON_DEPTH 16

typedef enum quant_json_kind {
    QUANT_JSON_END,
    QUANT_JSON_OBJECT,
    QUANT_JSON_OBJECT_END,
    QUANT_JSON_ARRAY,
    QUANT_JSON_ARRAY_END,
    QUANT_JSON_KEY,
    QUANT_JSON_STRING,
    QUANT_JSON_NUMBER,
    QUANT_JSON_TRUE,
    QUANT_JSON_FALSE,
    QUANT_JSON_NULL
} quant_json_kind;

typedef struct quant_json_token {
    quant_json_kind kind;
    const char *text; /* strings and keys: between the quotes, still escaped; numbers: all of it */
    size_t bytes;
    size_t at;        /* offset of its first byte in the text */
    bool has_nul;     /* a string or key with \u0000 */
} quant_json_token;

typedef struct quant_json_scan {
    quant_context *ctx;
    const char *text;
    size_t bytes, at;
    int depth, state;
    char open[QUANT_JSON_DEPTH]; /* '{' or '[' */
} quant_json_scan;

quant_json_scan quant_json_begin(quant_context *ctx, const char *text, size_t bytes);
/* QUANT_JSON_END after the value and the white space behind it. Messages name the offset. */
quant_status quant_json_next(quant_json_scan *scan, quant_json_token *token);
/* A string or key without its escapes; out has room for token->bytes. Returns the length. */
size_t quant_json_unescape(const quant_json_token *token, char *out);
const char *quant_json_kind_name(quant_json_kind kind); /* "an object" */
/* A NUMBER token as an integer in [0, 2^64); QUANT_ETYPE when it is none, QUANT_ERANGE. */
quant_status quant_json_u64(quant_json_scan *scan, const quant_json_token *token, const char *what,
                            uint64_t *value);

#endif
