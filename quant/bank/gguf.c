/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gguf.c - "GGUF" | u32 version | u64 tensors | u64 pairs | pairs | records | padding | data. */
#include <inttypes.h>
#include <string.h>

#include "quant/bank/gguf_reader.h"

/* Smallest record of each kind: key length 8, key 1, type 4, value 1; name length 8, dims 4, type
 * 4, offset 8. */
enum { PAIR_BYTES = 14, TENSOR_BYTES = 24 };

/* "GGUF" in any case, or one byte off, or with its bytes reversed: meant to be a GGUF. A file that
 * ends within the magic counts too. */
bool quant_gguf_recognises(const unsigned char *head, size_t bytes)
{
    int same = 0, reversed = 0;
    for (size_t i = 0; i < 4 && i < bytes; i++) {
        same += (head[i] & 0xdf) == "GGUF"[i];
        reversed += head[i] == "FUGG"[i];
    }
    return bytes > 0 && (same >= 3 || reversed == 4 || (bytes < 4 && same == (int)bytes));
}

quant_status quant_gguf_string(quant_gguf *g, uint64_t limit, const char *what, const char **text,
                               size_t *bytes)
{
    uint64_t n;
    QUANT_TRY(quant_cursor_u64(&g->cursor, &n, what));
    QUANT_TRY(quant_cursor_need(&g->cursor, n, what));
    if (n > limit) {
        return quant_fail(g->ctx, QUANT_ELIMIT, "%s, offset %" PRIu64 ": expected at most %" PRIu64
                          " bytes, found %" PRIu64, what, g->cursor.at, limit, n);
    }
    char *copy = quant_bank_room(g->ctx, g->bank, (size_t)n);
    if (!copy) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(quant_cursor_take(&g->cursor, copy, (size_t)n, what));
    *text = copy;
    *bytes = (size_t)n;
    return QUANT_OK;
}

static quant_status check_start(quant_gguf *g)
{
    unsigned char magic[4];
    uint32_t version;
    QUANT_TRY(quant_cursor_take(&g->cursor, magic, sizeof magic, "magic"));
    if (memcmp(magic, "GGUF", 4) != 0) {
        return quant_fail(g->ctx, QUANT_EMAGIC, "magic, offset 0: expected GGUF, found bytes %02x "
                          "%02x %02x %02x", magic[0], magic[1], magic[2], magic[3]);
    }
    QUANT_TRY(quant_cursor_u32(&g->cursor, &version, "version"));
    if (version != 2 && version != 3) {
        return quant_fail(g->ctx, QUANT_EVERSION, "version, offset 4: expected 2 or 3, found %"
                          PRIu32 "%s", version,
                          version && !(version & 0xffff) ? " (a big-endian file)" : "");
    }
    return QUANT_OK;
}

static quant_status check_count(quant_gguf *g, uint64_t count, unsigned least, const char *what)
{
    uint64_t left = g->cursor.end - g->cursor.at;
    return count <= left / least
               ? QUANT_OK
               : quant_fail(g->ctx, count >> 32 ? QUANT_ELIMIT : QUANT_ETRUNC, "%s: expected at "
                            "most %" PRIu64 " in the %" PRIu64 " bytes left, found %" PRIu64, what,
                            left / least, left, count);
}

static quant_status parse(quant_gguf *g)
{
    uint64_t tensors, pairs;
    QUANT_TRY(check_start(g));
    QUANT_TRY(quant_cursor_u64(&g->cursor, &tensors, "tensor count"));
    QUANT_TRY(quant_cursor_u64(&g->cursor, &pairs, "pair count"));
    QUANT_TRY(check_count(g, tensors, TENSOR_BYTES, "tensor count, offset 8"));
    QUANT_TRY(check_count(g, pairs, PAIR_BYTES, "pair count, offset 16"));
    QUANT_TRY(quant_gguf_pairs(g, pairs));
    return quant_gguf_tensors(g, tensors);
}

quant_status quant_gguf_open(quant_context *ctx, quant_bank *bank, size_t source)
{
    const quant_source *file = &bank->sources[source];
    quant_gguf g = {.ctx = ctx, .bank = bank, .source = source, .alignment = 32};
    g.cursor = (quant_cursor){.ctx = ctx, .source = file, .end = file->size};
    g.cursor.window = quant_alloc(ctx, QUANT_CURSOR_WINDOW, 1);
    if (!g.cursor.window) {
        return QUANT_ENOMEM;
    }
    quant_status s = parse(&g);
    quant_release(ctx, g.keys, g.key_room, sizeof *g.keys);
    quant_release(ctx, g.cursor.window, QUANT_CURSOR_WINDOW, 1);
    return s;
}
