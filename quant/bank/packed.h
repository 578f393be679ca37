/* SPDX-License-Identifier: GPL-3.0-or-later */
/* packed.h - "quant.pack/1": quantized tensors in a safetensors file.
 *
 * For a tensor NAME: NAME.codes U8 [bytes], NAME.scale F32|F16|BF16 [regions], NAME.zero U8
 * [bytes], NAME.table F32|F16|BF16 [groups, 2^bits], as its scheme has them; f16 and bf16 schemes
 * keep NAME itself with that dtype and shape. Kept tensors are stored unchanged. __metadata__:
 * "schema" = "quant.pack/1" and, per quantized tensor, key "quant:NAME" with value
 * "SCHEME|DIM,DIM,...|DTYPE" (canonical scheme string, shape, source dtype). */
#ifndef QUANT_BANK_PACKED_H
#define QUANT_BANK_PACKED_H

#include "quant/bank/bank.h"
#include "quant/encode.h"

/* What to do with one tensor of the source bank. */
typedef struct quant_pack_item {
    size_t tensor;         /* index in the bank */
    bool keep;             /* store unchanged; scheme unused */
    quant_scheme scheme;
} quant_pack_item;

/* Called before each tensor is written: done of total source bytes. NULL allowed. */
typedef void quant_progress_fn(void *user, const char *name, uint64_t done, uint64_t total);

/* Encode the items, in order, into path. A non-finite tensor or an overflowing scale stops the
 * whole file (old one untouched); the message names the tensor. One tensor in memory at a time. */
quant_status quant_pack_write(quant_context *ctx, quant_bank *bank, const quant_pack_item *items,
                              size_t count, const char *path, quant_progress_fn *progress,
                              void *user);

/* True when the bank's metadata says quant.pack/1. */
bool quant_pack_is(const quant_bank *bank);

/* Logical tensors of a packed bank: quantized ones under their own name, kept ones as they are. */
typedef struct quant_packed_tensor {
    const char *name;
    bool kept;
    size_t tensor;        /* kept: index in the bank */
    quant_scheme scheme;
    quant_shape shape;
    quant_dtype source;   /* dtype of the tensor before encoding */
    quant_layout layout;
    size_t part[4];       /* bank index of codes, scale, zero, table; SIZE_MAX when absent */
} quant_packed_tensor;

typedef struct quant_packed quant_packed;
/* Read the directory; every size, dtype and name is checked against the scheme. The bank must
 * outlive the result. */
quant_status quant_packed_open(quant_context *ctx, quant_bank *bank, quant_packed **packed);
void quant_packed_close(quant_context *ctx, quant_packed *packed);
size_t quant_packed_count(const quant_packed *packed);
const quant_packed_tensor *quant_packed_tensor_at(const quant_packed *packed, size_t i);
/* Bytes of tensor i as quant_decode wants them: buffer[layout.bytes]. Not for kept tensors. */
quant_status quant_packed_read(quant_context *ctx, quant_packed *packed, size_t i, void *buffer);

/* Decode everything into a plain safetensors bank of `dtype` (F32, F16 or BF16); kept tensors
 * stay as they are. */
quant_status quant_unpack_write(quant_context *ctx, quant_packed *packed, const char *path,
                                quant_dtype dtype, quant_progress_fn *progress, void *user);

#endif
