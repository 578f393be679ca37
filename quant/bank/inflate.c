/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inflate.c - the one file that includes zlib.h; only raw inflate and the checksum are used. */
#include "quant/bank/inflate.h"

#include <inttypes.h>
#include <string.h>
#include <zlib.h>

#include "quant/internal.h"

enum { PIECE = 1 << 16, BEFORE = 64 };

struct quant_inflate {
    quant_context *ctx;
    const quant_source *source;
    quant_member member;
    uint64_t taken, given; /* compressed bytes read, bytes handed out */
    uint32_t crc;
    bool ended;
    z_stream z;
    unsigned char in[PIECE], passed[PIECE];
};

/* zlib does not say how much it gives back, so the size stands before the block. */
static void *give(void *user, unsigned items, unsigned size)
{
    size_t bytes = (size_t)items * size + BEFORE;
    unsigned char *block = quant_alloc(user, bytes, 1);
    if (!block) {
        return NULL;
    }
    memcpy(block, &bytes, sizeof bytes);
    return block + BEFORE;
}

static void take_back(void *user, void *address)
{
    unsigned char *block = (unsigned char *)address - BEFORE;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    quant_release(user, block, bytes, 1);
}

uint32_t quant_crc32(uint32_t crc, const void *data, size_t count)
{
    return (uint32_t)crc32_z(crc, data, count);
}

quant_status quant_inflate_begin(quant_context *ctx, const quant_source *source,
                                 const quant_member *member, quant_inflate **stream)
{
    quant_inflate *s = quant_alloc(ctx, 1, sizeof *s);
    if (!s) {
        return QUANT_ENOMEM;
    }
    s->ctx = ctx;
    s->source = source;
    s->member = *member;
    s->taken = s->given = 0;
    s->crc = 0;
    s->ended = false;
    s->z = (z_stream){.zalloc = give, .zfree = take_back, .opaque = ctx};
    if (member->deflated && inflateInit2(&s->z, -MAX_WBITS) != Z_OK) {
        quant_release(ctx, s, 1, sizeof *s);
        return quant_fail(ctx, QUANT_ENOMEM, "memory: not enough to inflate");
    }
    *stream = s;
    return QUANT_OK;
}

void quant_inflate_free(quant_inflate *s)
{
    if (s) {
        if (s->member.deflated) {
            inflateEnd(&s->z);
        }
        quant_release(s->ctx, s, 1, sizeof *s);
    }
}

static quant_status refill(quant_inflate *s)
{
    uint64_t left = s->member.packed - s->taken;
    size_t n = left < PIECE ? (size_t)left : PIECE;
    QUANT_TRY(quant_source_read(s->ctx, s->source, s->member.at + s->taken, s->in, n));
    s->taken += n;
    s->z.next_in = s->in;
    s->z.avail_in = (unsigned)n;
    return QUANT_OK;
}

/* Up to n bytes; *got < n only at the end of the stream. */
static quant_status inflate_some(quant_inflate *s, unsigned char *out, size_t n, size_t *got)
{
    s->z.next_out = out;
    s->z.avail_out = (unsigned)n;
    while (s->z.avail_out > 0 && !s->ended) {
        if (s->z.avail_in == 0 && s->taken < s->member.packed) {
            QUANT_TRY(refill(s));
        }
        int code = inflate(&s->z, Z_NO_FLUSH);
        if (code == Z_MEM_ERROR) {
            return quant_fail(s->ctx, QUANT_ENOMEM, "memory: not enough to inflate");
        }
        s->ended = code == Z_STREAM_END;
        bool starved = code == Z_BUF_ERROR && s->taken == s->member.packed;
        if (starved || (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR)) {
            return quant_fail(s->ctx, QUANT_EDEFLATE, "compressed data: expected a stream of %"
                              PRIu64 " bytes, found %s at byte %" PRIu64, s->member.packed,
                              starved ? "its end cut off" : s->z.msg ? s->z.msg : "damage",
                              s->taken - s->z.avail_in);
        }
    }
    *got = n - s->z.avail_out;
    return QUANT_OK;
}

static quant_status some(quant_inflate *s, unsigned char *out, size_t n)
{
    size_t got = n;
    if (s->member.deflated) {
        QUANT_TRY(inflate_some(s, out, n, &got));
    } else {
        QUANT_TRY(quant_source_read(s->ctx, s->source, s->member.at + s->given, out, n));
    }
    s->crc = quant_crc32(s->crc, out, got);
    s->given += got;
    return got == n ? QUANT_OK
                    : quant_fail(s->ctx, QUANT_ESIZE, "inflated data: expected %" PRIu64
                                 " bytes, found %" PRIu64, s->member.whole, s->given);
}

quant_status quant_inflate_read(quant_inflate *s, void *out, uint64_t count)
{
    enum { MOST = 1 << 20 };
    for (uint64_t done = 0; done < count;) {
        uint64_t left = count - done;
        size_t most = out ? MOST : PIECE, n = left < most ? (size_t)left : most;
        QUANT_TRY(some(s, out ? (unsigned char *)out + done : s->passed, n));
        done += n;
    }
    return QUANT_OK;
}

quant_status quant_inflate_finish(quant_inflate *s)
{
    if (s->member.deflated) {
        size_t more = 0;
        QUANT_TRY(inflate_some(s, s->passed, 1, &more));
        if (more > 0) {
            return quant_fail(s->ctx, QUANT_ESIZE, "inflated data: expected %" PRIu64
                              " bytes, found more", s->member.whole);
        }
        uint64_t left = s->member.packed - s->taken + s->z.avail_in;
        if (left > 0) {
            return quant_fail(s->ctx, QUANT_ETRAILING, "compressed data: expected %" PRIu64
                              " bytes, found the stream's end %" PRIu64 " bytes before",
                              s->member.packed, left);
        }
    }
    return s->crc == s->member.crc
               ? QUANT_OK
               : quant_fail(s->ctx, QUANT_ECHECKSUM, "CRC-32: expected %08" PRIx32 ", found %08"
                            PRIx32, s->member.crc, s->crc);
}
