/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npz_walk.h - the directory of a zip archive, checked record by record; not installed. */
#ifndef QUANT_BANK_NPZ_WALK_H
#define QUANT_BANK_NPZ_WALK_H

#include "quant/bank/inflate.h"
#include "quant/bank/reader.h"

typedef struct quant_zip_entry {
    const char *name; /* in the bank's pool, NUL behind it */
    size_t name_bytes;
    quant_member member;
    uint64_t header;  /* offset of the local header */
    unsigned flags, method;
} quant_zip_entry;

typedef struct quant_zip {
    quant_zip_entry *entries; /* in the order of their data */
    size_t count, room;
    uint64_t directory, directory_bytes, directory_count;
} quant_zip;

/* Records agree, spans are disjoint and lie before the directory, methods are stored and deflated
 * only. Free in any case. */
quant_status quant_zip_read(quant_context *ctx, quant_bank *bank, size_t source, quant_zip *zip);
void quant_zip_free(quant_context *ctx, quant_zip *zip);

#endif
