/* SPDX-License-Identifier: GPL-3.0-or-later */
/* safetensors_write.h - write a safetensors file piece by piece, durable as in output.h. */
#ifndef QUANT_BANK_SAFETENSORS_WRITE_H
#define QUANT_BANK_SAFETENSORS_WRITE_H

#include "quant/bank/bank.h"

/* One tensor to come: name (not "__metadata__", valid UTF-8, unique), type, shape. */
typedef struct quant_safetensors_item {
    const char *name;
    quant_dtype dtype;
    quant_shape shape;
} quant_safetensors_item;

typedef struct quant_safetensors_pair {
    const char *key, *value;
} quant_safetensors_pair;

typedef struct quant_safetensors_writer quant_safetensors_writer;

/* Lay the file out and write its header. Data are placed by descending alignment of the type, then
 * in the order given; the header is padded with spaces to a multiple of 8, so every tensor is
 * aligned to its element. Metadata keys are written in the order given. */
quant_status quant_safetensors_create(quant_context *ctx, const char *path,
                                      const quant_safetensors_item *items, size_t count,
                                      const quant_safetensors_pair *metadata, size_t pairs,
                                      quant_safetensors_writer **writer);
/* Bytes [offset, offset+count) of item i, in any order; every byte must be written once. */
quant_status quant_safetensors_put(quant_context *ctx, quant_safetensors_writer *writer, size_t i,
                                   uint64_t offset, const void *data, size_t count);
/* Commit (QUANT_EINVAL when bytes are missing) or give up; both free the writer. */
quant_status quant_safetensors_commit(quant_context *ctx, quant_safetensors_writer *writer);
void quant_safetensors_discard(quant_context *ctx, quant_safetensors_writer *writer);

#endif
