/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npz_bytes.h - what the parts of the archive walk share; not installed. */
#ifndef QUANT_BANK_NPZ_BYTES_H
#define QUANT_BANK_NPZ_BYTES_H

#include "quant/bank/npz_walk.h"

static inline uint64_t zip_number(const unsigned char *b, int width)
{
    uint64_t v = 0;
    for (int i = width; i-- > 0;) {
        v = v << 8 | b[i];
    }
    return v;
}

/* Fill the directory's place and count. */
quant_status zip_find_directory(quant_context *ctx, const quant_source *file, quant_zip *zip);

/* Walk extra[bytes]: records fill it exactly, at most one of them is zip64.
 * *found: bytes of the zip64 record, 0 when there is none; *at points to them. */
quant_status zip_extra(quant_context *ctx, const unsigned char *extra, size_t bytes,
                       const unsigned char **at, size_t *found);

/* The local header of an entry says what the directory says. */
quant_status zip_check_local(quant_context *ctx, const quant_source *file, quant_zip_entry *z);

#endif
