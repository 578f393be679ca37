/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gguf_reader.h - the parts of the GGUF reader; not installed. */
#ifndef QUANT_BANK_GGUF_READER_H
#define QUANT_BANK_GGUF_READER_H

#include "quant/bank/cursor.h"
#include "quant/bank/reader.h"

typedef struct quant_gguf {
    quant_context *ctx;
    quant_bank *bank;
    size_t source;
    quant_cursor cursor;
    quant_name *keys;          /* one a pair read */
    size_t key_count, key_room;
    uint64_t alignment;
} quant_gguf;

/* A length-prefixed string of at most `limit` bytes into the bank's pool. */
quant_status quant_gguf_string(quant_gguf *g, uint64_t limit, const char *what, const char **text,
                               size_t *bytes);
/* `count` key-value pairs; string values become the bank's metadata. */
quant_status quant_gguf_pairs(quant_gguf *g, uint64_t count);
/* `count` tensor records, then the layout of the data behind them. */
quant_status quant_gguf_tensors(quant_gguf *g, uint64_t count);

#endif
