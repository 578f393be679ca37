/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cursor.h - reads a file forward through a window of fixed size and never past its end. */
#ifndef QUANT_BANK_CURSOR_H
#define QUANT_BANK_CURSOR_H

#include "quant/bank/source.h"

enum { QUANT_CURSOR_WINDOW = 1 << 16 };

typedef struct quant_cursor {
    quant_context *ctx;
    const quant_source *source;
    uint64_t at, end;      /* of the next byte; at <= end always */
    unsigned char *window; /* [QUANT_CURSOR_WINDOW], the owner's */
    uint64_t window_at;
    size_t window_bytes;
} quant_cursor;

/* QUANT_ETRUNC with "WHAT, offset AT: expected N more bytes, found LEFT". */
quant_status quant_cursor_need(quant_cursor *c, uint64_t count, const char *what);
quant_status quant_cursor_take(quant_cursor *c, void *out, size_t count, const char *what);
quant_status quant_cursor_skip(quant_cursor *c, uint64_t count, const char *what);
/* Little-endian. */
quant_status quant_cursor_u32(quant_cursor *c, uint32_t *value, const char *what);
quant_status quant_cursor_u64(quant_cursor *c, uint64_t *value, const char *what);

#endif
