/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npz.c - a zip archive of .npy files. Own walk: end record, central directory, local headers; each
 * must agree with the others. Every member is read once at opening, so that a bank that opens has
 * the sums that it promises. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/inflate.h"
#include "quant/bank/npy_header.h"
#include "quant/bank/npz_walk.h"
#include "quant/bank/utf8.h"

bool quant_npz_recognises(const unsigned char *head, size_t bytes)
{
    return bytes >= 4 && head[0] == 'P' && head[1] == 'K' &&
           ((head[2] == 3 && head[3] == 4) || (head[2] == 5 && head[3] == 6));
}

static quant_status check_name(quant_context *ctx, const quant_zip_entry *z)
{
    size_t n = z->name_bytes;
    if (n == 0 || memchr(z->name, 0, n) || z->name[0] == '/' ||
        quant_utf8_valid(z->name, n) < n) {
        return quant_fail(ctx, QUANT_ENAME, "name: expected UTF-8 text without NUL and leading "
                          "slash, found another");
    }
    return n > 4 && memcmp(z->name + n - 4, ".npy", 4) == 0
               ? QUANT_OK
               : quant_fail(ctx, QUANT_EUNSUPPORTED, "name: expected an .npy file, found another");
}

/* What deflate can do at best is 1032:1; a stored member is as large as it is. */
static quant_status check_sizes(quant_context *ctx, const quant_member *m)
{
    enum { BEST = 1032, SLACK = 64 };
    uint64_t most;
    if (__builtin_mul_overflow(m->packed, (uint64_t)BEST, &most) ||
        __builtin_add_overflow(most, (uint64_t)SLACK, &most)) {
        most = UINT64_MAX;
    }
    if (m->deflated ? m->whole > most : m->whole != m->packed) {
        return quant_fail(ctx, QUANT_ESIZE, "size: expected %s%" PRIu64 " bytes, found %" PRIu64,
                          m->deflated ? "at most " : "", m->deflated ? most : m->packed, m->whole);
    }
    return QUANT_OK;
}

static quant_status read_header(quant_context *ctx, quant_inflate *stream, uint64_t whole,
                                quant_npy_header *h, uint64_t *data)
{
    unsigned char b[QUANT_NPY_PREAMBLE] = {0};
    quant_npy_start start;
    size_t some = whole < sizeof b ? (size_t)whole : sizeof b;
    QUANT_TRY(quant_inflate_read(stream, b, some));
    QUANT_TRY(quant_npy_preamble(ctx, b, whole, &start));
    size_t had = some - start.at; /* of the literal, which is never shorter than this when valid */
    char *text = quant_alloc(ctx, start.length + sizeof b, 1);
    if (!text) {
        return QUANT_ENOMEM;
    }
    memcpy(text, b + start.at, had);
    quant_status s = start.length > had
                         ? quant_inflate_read(stream, text + had, start.length - had)
                         : QUANT_OK;
    if (s == QUANT_OK) {
        s = quant_npy_parse(ctx, text, start.length, start.major, h);
    }
    quant_release(ctx, text, start.length + sizeof b, 1);
    *data = start.at + start.length;
    return s;
}

static quant_status read_member(quant_context *ctx, quant_bank *bank, quant_inflate *stream,
                                const quant_member *m, quant_entry *e)
{
    quant_npy_header h;
    uint64_t data;
    QUANT_TRY(read_header(ctx, stream, m->whole, &h, &data));
    e->deflated = m->deflated;
    e->packed = m->at;
    e->packed_bytes = m->packed;
    e->whole = m->whole;
    e->crc = m->crc;
    e->offset = m->deflated ? data : m->at + data;
    QUANT_TRY(quant_npy_add(ctx, bank, &h, m->whole - data, e));
    QUANT_TRY(quant_inflate_read(stream, NULL, m->whole - data));
    return quant_inflate_finish(stream);
}

static quant_status add_member(quant_context *ctx, quant_bank *bank, size_t source,
                               const quant_zip_entry *z)
{
    quant_inflate *stream = NULL;
    quant_entry e = {.source = source, .order = bank->count};
    QUANT_TRY(check_name(ctx, z));
    QUANT_TRY(check_sizes(ctx, &z->member));
    e.tensor.name = quant_bank_text(ctx, bank, z->name, z->name_bytes - 4);
    if (!e.tensor.name) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(quant_inflate_begin(ctx, &bank->sources[source], &z->member, &stream));
    quant_status s = read_member(ctx, bank, stream, &z->member, &e);
    quant_inflate_free(stream);
    return s;
}

static quant_status add_all(quant_context *ctx, quant_bank *bank, size_t source,
                            const quant_zip *zip)
{
    for (size_t i = 0; i < zip->count; i++) {
        const quant_zip_entry *z = &zip->entries[i];
        quant_status s = add_member(ctx, bank, source, z);
        if (s != QUANT_OK) {
            char member[160];
            snprintf(member, sizeof member, "member \"%.140s\"", z->name);
            return s == QUANT_ENOMEM ? s : quant_fail_prefix(ctx, s, member);
        }
    }
    return QUANT_OK;
}

quant_status quant_npz_open(quant_context *ctx, quant_bank *bank, size_t source)
{
    quant_zip zip;
    quant_status s = quant_zip_read(ctx, bank, source, &zip);
    if (s == QUANT_OK) {
        s = add_all(ctx, bank, source, &zip);
    }
    quant_zip_free(ctx, &zip);
    return s;
}

quant_status quant_npz_inflate(quant_context *ctx, quant_bank *bank, const quant_entry *e)
{
    if (bank->inflated_of == e) {
        return QUANT_OK;
    }
    quant_inflate *stream = NULL;
    const quant_member m = {true, e->packed, e->packed_bytes, e->whole, e->crc};
    if (e->whole > SIZE_MAX) {
        return quant_fail(ctx, QUANT_ENOMEM, "memory: %" PRIu64 " bytes to inflate", e->whole);
    }
    quant_release(ctx, bank->inflated, bank->inflated_bytes, 1);
    bank->inflated_of = NULL;
    bank->inflated_bytes = (size_t)e->whole;
    bank->inflated = quant_alloc(ctx, bank->inflated_bytes, 1);
    if (!bank->inflated) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(quant_inflate_begin(ctx, &bank->sources[e->source], &m, &stream));
    quant_status s = quant_inflate_read(stream, bank->inflated, e->whole);
    if (s == QUANT_OK) {
        s = quant_inflate_finish(stream);
    }
    quant_inflate_free(stream);
    bank->inflated_of = s == QUANT_OK ? e : NULL;
    return s;
}
