/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inflate.h - the bytes of one archive member, stored or deflated, forwards; not installed. */
#ifndef QUANT_BANK_INFLATE_H
#define QUANT_BANK_INFLATE_H

#include <stdbool.h>

#include "quant/bank/source.h"

typedef struct quant_inflate quant_inflate;

/* What the archive's directory says about a member. */
typedef struct quant_member {
    bool deflated;
    uint64_t at, packed, whole; /* first compressed byte, how many, size when inflated */
    uint32_t crc;
} quant_member;

quant_status quant_inflate_begin(quant_context *ctx, const quant_source *source,
                                 const quant_member *member, quant_inflate **stream);
/* The next count bytes; out NULL: pass over them. QUANT_ESIZE when the stream ends before, or
 * QUANT_EDEFLATE when it is damaged. */
quant_status quant_inflate_read(quant_inflate *stream, void *out, uint64_t count);
/* After `whole` bytes: the stream ends right there (else QUANT_ESIZE), at the end of the compressed
 * bytes (else QUANT_ETRAILING), with the promised sum (else QUANT_ECHECKSUM). */
quant_status quant_inflate_finish(quant_inflate *stream);
void quant_inflate_free(quant_inflate *stream); /* NULL allowed */

/* CRC-32 of an archive, continued over more bytes; begin with 0. */
uint32_t quant_crc32(uint32_t crc, const void *data, size_t count);

#endif
