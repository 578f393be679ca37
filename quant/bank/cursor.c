/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/cursor.h"

#include <inttypes.h>
#include <string.h>

#include "quant/internal.h"

quant_status quant_cursor_need(quant_cursor *c, uint64_t count, const char *what)
{
    return count <= c->end - c->at
               ? QUANT_OK
               : quant_fail(c->ctx, QUANT_ETRUNC, "%s, offset %" PRIu64 ": expected %" PRIu64
                            " more bytes, found %" PRIu64, what, c->at, count, c->end - c->at);
}

/* Fill the window from c->at on, whose byte exists. */
static quant_status refill(quant_cursor *c)
{
    uint64_t left = c->end - c->at;
    c->window_bytes = 0;
    c->window_at = c->at;
    size_t bytes = left < QUANT_CURSOR_WINDOW ? (size_t)left : QUANT_CURSOR_WINDOW;
    QUANT_TRY(quant_source_read(c->ctx, c->source, c->at, c->window, bytes));
    c->window_bytes = bytes;
    return QUANT_OK;
}

quant_status quant_cursor_take(quant_cursor *c, void *out, size_t count, const char *what)
{
    QUANT_TRY(quant_cursor_need(c, count, what));
    unsigned char *to = out;
    while (count > 0) {
        if (c->at < c->window_at || c->at - c->window_at >= c->window_bytes) {
            QUANT_TRY(refill(c));
        }
        size_t from = (size_t)(c->at - c->window_at);
        size_t some = c->window_bytes - from < count ? c->window_bytes - from : count;
        memcpy(to, c->window + from, some);
        to += some;
        c->at += some;
        count -= some;
    }
    return QUANT_OK;
}

quant_status quant_cursor_skip(quant_cursor *c, uint64_t count, const char *what)
{
    QUANT_TRY(quant_cursor_need(c, count, what));
    c->at += count;
    return QUANT_OK;
}

quant_status quant_cursor_u32(quant_cursor *c, uint32_t *value, const char *what)
{
    unsigned char b[4];
    QUANT_TRY(quant_cursor_take(c, b, sizeof b, what));
    *value = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return QUANT_OK;
}

quant_status quant_cursor_u64(quant_cursor *c, uint64_t *value, const char *what)
{
    unsigned char b[8];
    QUANT_TRY(quant_cursor_take(c, b, sizeof b, what));
    uint64_t v = 0;
    for (int i = 8; i-- > 0;) {
        v = v << 8 | b[i];
    }
    *value = v;
    return QUANT_OK;
}
