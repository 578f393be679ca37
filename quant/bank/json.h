/* SPDX-License-Identifier: GPL-3.0-or-later */
/* json.h - strict JSON text in, through jansson. The one place that includes its header besides
 * report/json_out.c. RFC 8259 only; duplicate keys refused at every level after unescaping; nesting
 * at most 16; the tokens -0, and integers beyond int64 refused; strict UTF-8; no NUL in strings. */
#ifndef QUANT_BANK_JSON_H
#define QUANT_BANK_JSON_H

#include <stddef.h>

#include <jansson.h>

#include "quant/context.h"

/* Parse text[bytes]. The message names the byte offset. leading_space (NULL allowed) receives 1
 * when white space precedes the value. Free with json_decref. */
quant_status quant_json_parse(quant_context *ctx, const char *text, size_t bytes,
                              int *leading_space, json_t **value);
/* Read and parse a whole file of at most `limit` bytes. */
quant_status quant_json_read(quant_context *ctx, const char *path, size_t limit, json_t **value);

#endif
