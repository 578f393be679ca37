/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npz_write.h - arrays into an .npz that numpy.load reads, durable as in output.h.
 *
 * Members are stored, in the order given, under NAME.npy; sizes that need 64 bits get them. The
 * same arrays give the same bytes: every time stamp is 1980-01-01. */
#ifndef QUANT_BANK_NPZ_WRITE_H
#define QUANT_BANK_NPZ_WRITE_H

#include "quant/bank/bank.h"

/* One array to come: name (1..60000 bytes of UTF-8 without leading slash, unique), type (F64, F32,
 * F16, an integer or BOOL), shape, row-major. */
typedef struct quant_npz_item {
    const char *name;
    quant_dtype dtype;
    quant_shape shape;
} quant_npz_item;

typedef struct quant_npz_writer quant_npz_writer;

/* Lay the file out and reserve it. */
quant_status quant_npz_create(quant_context *ctx, const char *path, const quant_npz_item *items,
                              size_t count, quant_npz_writer **writer);
/* The next `count` bytes of array i, little-endian elements; arrays may be written in turns. */
quant_status quant_npz_put(quant_context *ctx, quant_npz_writer *writer, size_t i, const void *data,
                           size_t count);
/* Commit (QUANT_EINVAL when bytes are missing) or give up; both free the writer. */
quant_status quant_npz_commit(quant_context *ctx, quant_npz_writer *writer);
void quant_npz_discard(quant_context *ctx, quant_npz_writer *writer); /* NULL allowed */

#endif
