/* SPDX-License-Identifier: GPL-3.0-or-later */
/* packed_parts.h - what packing, reading and unpacking share: how a quantized tensor lies in a
 * file, and copying a kept one. Not installed. */
#ifndef QUANT_BANK_PACKED_PARTS_H
#define QUANT_BANK_PACKED_PARTS_H

#include "quant/bank/packed.h"
#include "quant/bank/safetensors_write.h"

/* codes, scale, zero, table, table_scale; bytes that hold a suffix or QUANT_PACK_KEY and a zero */
enum { QUANT_PARTS = 5, QUANT_SUFFIX = 16 };
#define QUANT_PACK_KEY "quant:"
#define QUANT_PACK_ACTIVATIONS "activations:"

typedef struct quant_part {
    const char *suffix; /* of the tensor's name; "" for f16 and bf16 */
    quant_dtype dtype;
    quant_shape shape;
    quant_segment segment; /* its place in the buffer that quant_encode fills */
} quant_part;

/* Part k as it lies in the file; false when this scheme and shape have no such part. The codes
 * are always there, if only with zero bytes. */
bool quant_packed_part(const quant_scheme *scheme, const quant_shape *shape,
                       const quant_layout *layout, int k, quant_part *part);

/* Copy tensor i of a bank into item `to` of a writer: row-major, little-endian. */
quant_status quant_packed_copy(quant_context *ctx, quant_bank *bank, size_t i,
                               quant_safetensors_writer *writer, size_t to);

bool quant_shape_same(const quant_shape *a, const quant_shape *b);

/* Put "tensor NAME: " before the message. */
quant_status quant_packed_blame(quant_context *ctx, quant_status s, const char *name);

#endif
