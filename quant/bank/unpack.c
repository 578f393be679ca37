/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "kernels/kernels.h"
#include "quant/bank/packed_parts.h"
#include "quant/internal.h"

enum { PIECE = 1 << 20 }; /* elements decoded at a time */

typedef struct unpack {
    quant_context *ctx;
    quant_packed *packed;
    quant_bank *bank;
    quant_dtype dtype;
    quant_safetensors_item *items; /* [count] */
    size_t count;
    float *w;                      /* [PIECE] */
    uint16_t *half;                /* [PIECE] */
    unsigned char *bytes;          /* the largest packed tensor */
    size_t room;
    uint64_t total;
    quant_safetensors_writer *writer;
} unpack;

static void list_items(unpack *u)
{
    for (size_t i = 0; i < u->count; i++) {
        const quant_packed_tensor *t = quant_packed_tensor_at(u->packed, i);
        u->items[i] = (quant_safetensors_item){t->name, t->kept ? t->source : u->dtype, t->shape};
        u->room = t->layout.bytes > u->room ? t->layout.bytes : u->room;
        u->total += t->kept ? quant_bank_tensor(u->bank, t->tensor)->bytes : t->layout.stored_bytes;
    }
}

/* w[n] in the type asked for, in place of the data that u->half or u->w hold. */
static quant_status convert(unpack *u, size_t n, const void **data)
{
    *data = u->w;
    if (u->dtype == QUANT_F32) {
        return QUANT_OK;
    }
    float most = qk()->absmax_f32(u->w, n), limit = u->dtype == QUANT_F16 ? 65520.0f : 0x1.ffp127f;
    if (most >= limit) {
        return quant_fail(u->ctx, QUANT_ERANGE, "%g overflows %s: decode to F32", (double)most,
                          quant_dtype_name(u->dtype));
    }
    (u->dtype == QUANT_F16 ? qk()->f32_to_f16 : qk()->f32_to_bf16)(u->w, n, u->half);
    *data = u->half;
    return QUANT_OK;
}

static quant_status write_quantized(unpack *u, size_t i)
{
    const quant_packed_tensor *t = quant_packed_tensor_at(u->packed, i);
    size_t size = quant_dtype_bits(u->dtype) / 8;
    uint64_t elements;
    QUANT_TRY(quant_shape_elements(u->ctx, &t->shape, &elements));
    QUANT_TRY(quant_packed_read(u->ctx, u->packed, i, u->bytes));
    for (uint64_t at = 0; at < elements; at += PIECE) {
        size_t n = elements - at < PIECE ? (size_t)(elements - at) : PIECE;
        const void *data;
        QUANT_TRY(quant_decode_span(u->ctx, &t->scheme, &t->shape, u->bytes, t->layout.bytes, at, n,
                                    u->w));
        QUANT_TRY(convert(u, n, &data));
        QUANT_TRY(quant_safetensors_put(u->ctx, u->writer, i, at * size, data, n * size));
    }
    return QUANT_OK;
}

static quant_status write_all(unpack *u, quant_progress_fn *progress, void *user)
{
    uint64_t done = 0;
    for (size_t i = 0; i < u->count; i++) {
        const quant_packed_tensor *t = quant_packed_tensor_at(u->packed, i);
        if (progress) {
            progress(user, t->name, done, u->total);
        }
        quant_status s = t->kept ? quant_packed_copy(u->ctx, u->bank, t->tensor, u->writer, i)
                                 : write_quantized(u, i);
        if (s != QUANT_OK) {
            return quant_packed_blame(u->ctx, s, t->name);
        }
        done += t->kept ? quant_bank_tensor(u->bank, t->tensor)->bytes : t->layout.stored_bytes;
    }
    QUANT_TRY(quant_bank_unchanged(u->ctx, u->bank));
    quant_status s = quant_safetensors_commit(u->ctx, u->writer);
    u->writer = NULL;
    return s;
}

static quant_status run(unpack *u, const char *path, quant_progress_fn *progress, void *user)
{
    u->items = quant_alloc(u->ctx, u->count, sizeof *u->items);
    u->w = quant_alloc(u->ctx, PIECE, sizeof *u->w);
    u->half = quant_alloc(u->ctx, PIECE, sizeof *u->half);
    if (!u->items || !u->w || !u->half) {
        return QUANT_ENOMEM;
    }
    list_items(u);
    u->bytes = quant_alloc(u->ctx, u->room, 1);
    if (!u->bytes) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(quant_safetensors_create(u->ctx, path, u->items, u->count, NULL, 0, &u->writer));
    return write_all(u, progress, user);
}

quant_status quant_unpack_write(quant_context *ctx, quant_packed *packed, const char *path,
                                quant_dtype dtype, quant_progress_fn *progress, void *user)
{
    if (!packed || !path || (dtype != QUANT_F32 && dtype != QUANT_F16 && dtype != QUANT_BF16)) {
        return quant_fail(ctx, QUANT_EINVAL, "decode: expected F32, F16 or BF16, found %s",
                          quant_dtype_name(dtype));
    }
    unpack u = {.ctx = ctx, .packed = packed, .dtype = dtype, .bank = quant_packed_bank(packed),
                .count = quant_packed_count(packed)};
    quant_status s = run(&u, path, progress, user);
    quant_safetensors_discard(ctx, u.writer);
    quant_release(ctx, u.bytes, u.room, 1);
    quant_release(ctx, u.half, PIECE, sizeof *u.half);
    quant_release(ctx, u.w, PIECE, sizeof *u.w);
    quant_release(ctx, u.items, u.count, sizeof *u.items);
    return s;
}
