/* SPDX-License-Identifier: GPL-3.0-or-later */
/* safetensors.c - u64 N | N bytes of JSON | data. The header is read as a stream of tokens, so its
 * cost in memory is that of the records it really holds. */
#include <inttypes.h>
#include <string.h>

#include "quant/bank/safetensors_header.h"

#define HEADER_MAX UINT64_C(100000000)

typedef quant_safetensors_header header;

bool quant_safetensors_recognises(const unsigned char *head, size_t bytes)
{
    if (bytes < 9) {
        return false;
    }
    uint64_t n = 0;
    for (int i = 8; i-- > 0;) {
        n = n << 8 | head[i];
    }
    return n <= HEADER_MAX && strchr("{ \t\r\n", head[8]) && head[8];
}

/* By first byte; an empty tensor before the one that begins there; then as in the header. */
static int by_offset(const void *left, const void *right)
{
    const quant_entry *a = left, *b = right;
    if (a->offset != b->offset) {
        return a->offset < b->offset ? -1 : 1;
    }
    bool a_empty = a->tensor.bytes == 0, b_empty = b->tensor.bytes == 0;
    return a_empty != b_empty ? (a_empty ? -1 : 1) : (a->order > b->order) - (a->order < b->order);
}

static quant_status check_layout(header *h, uint64_t data, uint64_t size)
{
    uint64_t next = 0;
    for (size_t i = h->start; i < h->bank->count; i++) {
        quant_entry *e = &h->bank->entries[i];
        if (e->offset != next) {
            quant_status s = quant_fail(
                h->ctx, e->offset < next ? QUANT_EOVERLAP : QUANT_EHOLE, "data_offsets: expected "
                "to begin at %" PRIu64 ", found %" PRIu64, next, e->offset);
            return quant_safetensors_blame(h->ctx, s, e->tensor.name);
        }
        next += e->tensor.bytes; /* offset + bytes is data_offsets' end: fits */
        if (next > size) {
            quant_status s = quant_fail(h->ctx, QUANT_ETRUNC, "data_offsets: expected an end "
                                        "within %" PRIu64 " bytes of data, found %" PRIu64, size,
                                        next);
            return quant_safetensors_blame(h->ctx, s, e->tensor.name);
        }
        e->offset += data;
    }
    return next == size ? QUANT_OK
                        : quant_fail(h->ctx, QUANT_ETRAILING, "data: expected %" PRIu64
                                     " bytes, found %" PRIu64, next, size);
}

static bool is_ordered(const quant_bank *bank, size_t start)
{
    for (size_t i = start + 1; i < bank->count; i++) {
        if (by_offset(&bank->entries[i - 1], &bank->entries[i]) > 0) {
            return false;
        }
    }
    return true;
}

/* Piece by piece, and no further than the first NUL, so that a huge sparse file costs nothing. */
static quant_status read_text(header *h)
{
    enum { FIRST = 4096, PIECE = 1 << 20 };
    for (size_t at = 0; at < h->bytes;) {
        size_t piece = at ? PIECE : FIRST;
        piece = h->bytes - at < piece ? h->bytes - at : piece;
        QUANT_TRY(quant_source_read(h->ctx, &h->bank->sources[h->source], 8 + at, h->text + at,
                                    piece));
        const char *nul = memchr(h->text + at, 0, piece);
        if (nul) {
            return quant_fail(h->ctx, QUANT_ESYNTAX, "header offset %zu: expected JSON, found byte "
                              "0x00", (size_t)(nul - h->text));
        }
        at += piece;
    }
    return QUANT_OK;
}

static quant_status parse(header *h)
{
    quant_bank *bank = h->bank;
    QUANT_TRY(read_text(h));
    QUANT_TRY(quant_safetensors_parse(h));
    if (!is_ordered(bank, h->start)) {
        quant_sort(bank->entries + h->start, bank->count - h->start, sizeof *bank->entries,
                   by_offset);
    }
    QUANT_TRY(quant_bank_check_names(h->ctx, bank, h->start));
    return check_layout(h, 8 + h->bytes, bank->sources[h->source].size - 8 - h->bytes);
}

static quant_status header_bytes(quant_context *ctx, const quant_source *source, size_t *bytes)
{
    unsigned char b[8];
    uint64_t n = 0;
    if (source->size < sizeof b) {
        return quant_fail(ctx, QUANT_ETRUNC, "size: expected at least 8 bytes, found %" PRIu64,
                          source->size);
    }
    QUANT_TRY(quant_source_read(ctx, source, 0, b, sizeof b));
    for (int i = 8; i-- > 0;) {
        n = n << 8 | b[i];
    }
    if (n > HEADER_MAX) {
        return quant_fail(ctx, QUANT_ELIMIT, "header length, offset 0: expected at most %" PRIu64
                          ", found %" PRIu64 " (no safetensors, GGUF or npy file?)", HEADER_MAX, n);
    }
    if (n > source->size - 8) {
        return quant_fail(ctx, QUANT_ETRUNC, "header, offset 8: expected %" PRIu64
                          " bytes, found %" PRIu64 " (file cut short?)", n, source->size - 8);
    }
    if (n == 0) {
        return quant_fail(ctx, QUANT_ESYNTAX, "header length, offset 0: expected '{', found 0 "
                          "bytes");
    }
    *bytes = (size_t)n;
    return QUANT_OK;
}

quant_status quant_safetensors_open(quant_context *ctx, quant_bank *bank, size_t source)
{
    header h = {.ctx = ctx, .bank = bank, .source = source, .start = bank->count};
    QUANT_TRY(header_bytes(ctx, &bank->sources[source], &h.bytes));
    h.text = quant_alloc(ctx, h.bytes, 1);
    if (!h.text) {
        return QUANT_ENOMEM;
    }
    quant_status s = parse(&h);
    quant_release(ctx, h.text, h.bytes, 1);
    return s;
}
