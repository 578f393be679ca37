/* SPDX-License-Identifier: GPL-3.0-or-later */
/* packed.h - "quant.pack/1": quantized tensors in a safetensors file.
 *
 * For a tensor NAME: NAME.codes U8 [bytes], NAME.scale F32|F16|BF16 [regions], NAME.zero U8
 * [bytes], NAME.table F32|F16|BF16|I8 [groups, 2^bits], NAME.table_scale F32|F16|BF16 [groups]
 * beside an I8 table, as its scheme has them; f16 and bf16 schemes
 * keep NAME itself with that dtype and shape. Kept tensors are stored unchanged. __metadata__:
 * "schema" = "quant.pack/1" and, per quantized tensor, key "quant:NAME" with value
 * "SCHEME|DIM,DIM,...|DTYPE" (canonical scheme string, shape, source dtype). A scheme with
 * activations (w8a8) is stored as that of its weights; its whole string is kept under the key
 * "activations:NAME", which decoding does not need. */
#ifndef QUANT_BANK_PACKED_H
#define QUANT_BANK_PACKED_H

#include "quant/bank/bank.h"
#include "quant/encode.h"

#define QUANT_PACK_SCHEMA "quant.pack/1"

/* What to do with one tensor of the source bank. */
typedef struct quant_pack_item {
    size_t tensor;         /* index in the bank */
    bool keep;             /* store unchanged; scheme unused */
    quant_scheme scheme;   /* after writing: the one that was used */
    quant_bank *importance; /* checked by quant_importance_check; NULL, or unused where the scheme
                              takes none */
    bool escalated;        /* set by writing: store (lut for codebooks) had to become f32 */
} quant_pack_item;

/* Called before each tensor is written: done of total source bytes. NULL allowed. */
typedef void quant_progress_fn(void *user, const char *name, uint64_t done, uint64_t total);

/* Encode the items, in order, into path. All tensors are read once before anything is written: a
 * non-finite one stops the whole file (old one untouched; the message names the tensor), and one
 * whose scales or table overflow f16 or bf16 is encoded with store=f32 (lut=f32) instead, which
 * its scheme string in the file says. One tensor in memory at a time. QUANT_EUNSUPPORTED: a type
 * that is not decoded is to be quantized, or a GGUF block type or a column-major integer kept. */
quant_status quant_pack_write(quant_context *ctx, quant_bank *bank, quant_pack_item *items,
                              size_t count, const char *path, quant_progress_fn *progress,
                              void *user);

/* True when the bank's metadata says quant.pack/1. */
bool quant_pack_is(const quant_bank *bank);

/* Logical tensors of a packed bank: quantized ones under their own name in the order in which they
 * were packed, then kept ones as they are in file order. */
typedef struct quant_packed_tensor {
    const char *name;
    bool kept;
    size_t tensor;        /* kept: index in the bank */
    quant_scheme scheme;
    quant_shape shape;
    quant_dtype source;   /* dtype of the tensor before encoding */
    quant_layout layout;
    size_t part[5];       /* bank index of codes, scale, zero, table, table_scale; SIZE_MAX: none */
} quant_packed_tensor;

typedef struct quant_packed quant_packed;
/* Read the directory; every size, dtype and name is checked against the scheme. The bank must
 * outlive the result. QUANT_EVERSION: another schema; QUANT_EFIELD: no schema, or a part is
 * missing; QUANT_ESYNTAX: a description that cannot be read. */
quant_status quant_packed_open(quant_context *ctx, quant_bank *bank, quant_packed **packed);
void quant_packed_close(quant_context *ctx, quant_packed *packed);
quant_bank *quant_packed_bank(const quant_packed *packed); /* the one it was opened on */
size_t quant_packed_count(const quant_packed *packed);
const quant_packed_tensor *quant_packed_tensor_at(const quant_packed *packed, size_t i);
/* Bytes of tensor i as quant_decode wants them: buffer[layout.bytes]. Not for kept tensors.
 * QUANT_ENONFINITE when a stored scale or table entry is not a finite number. */
quant_status quant_packed_read(quant_context *ctx, quant_packed *packed, size_t i, void *buffer);

/* Decode everything into a plain safetensors bank of `dtype` (F32, F16 or BF16); kept tensors
 * stay as they are. QUANT_ERANGE when a value overflows `dtype`. */
quant_status quant_unpack_write(quant_context *ctx, quant_packed *packed, const char *path,
                                quant_dtype dtype, quant_progress_fn *progress, void *user);

#endif
