/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "quant/bank/packed_parts.h"
#include "quant/bank/reader.h"
#include "quant/internal.h"

enum { COPY_BYTES = 1 << 20 };

static quant_dtype dtype_of(quant_store store)
{
    static const quant_dtype dtypes[] = {
        [QUANT_STORE_F32] = QUANT_F32, [QUANT_STORE_F16] = QUANT_F16,
        [QUANT_STORE_BF16] = QUANT_BF16, [QUANT_STORE_I8] = QUANT_I8};
    return dtypes[store];
}

bool quant_packed_part(const quant_scheme *scheme, const quant_shape *shape,
                       const quant_layout *layout, int k, quant_part *part)
{
    static const char *const suffixes[QUANT_PARTS] = {".codes", ".scale", ".zero", ".table",
                                                      ".table_scale"};
    const quant_segment *segments[QUANT_PARTS] = {&layout->codes, &layout->scale, &layout->zero,
                                                  &layout->table, &layout->table_scale};
    const quant_segment *g = segments[k];
    if (k > 0 && g->bytes == 0) {
        return false;
    }
    *part = (quant_part){suffixes[k], QUANT_U8, {1, {g->bytes}}, *g};
    if (scheme->family == QUANT_FAMILY_FLOAT) {
        part->suffix = "";
        part->dtype = dtype_of(scheme->store);
        part->shape = *shape;
    } else if (k == 1 || k == 4) {
        part->dtype = dtype_of(scheme->store);
        part->shape.dim[0] = g->count;
    } else if (k == 3) {
        part->dtype = dtype_of(scheme->table_store);
        uint64_t dim = (uint64_t)scheme->dim, entries = UINT64_C(1) << scheme->bits;
        part->shape = (quant_shape){dim > 1 ? 3 : 2, {g->count / (entries * dim), entries, dim}};
    }
    return true;
}

quant_status quant_packed_blame(quant_context *ctx, quant_status s, const char *name)
{
    char prefix[512];
    snprintf(prefix, sizeof prefix, "tensor %s", name);
    return quant_fail_prefix(ctx, s, prefix);
}

static void reverse_bytes(unsigned char *p, size_t bytes, size_t size)
{
    for (size_t i = 0; i + size <= bytes; i += size) {
        for (size_t a = i, b = i + size - 1; a < b; a++, b--) {
            unsigned char t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
    }
}

/* Bytes [first, first + n) as safetensors wants them. Column-major data go through the decoding
 * reader, which transposes; what it cannot decode cannot be kept. */
static quant_status read_kept(quant_context *ctx, quant_bank *bank, size_t i, uint64_t first,
                              size_t n, void *out)
{
    const quant_entry *e = &bank->entries[i];
    size_t size = quant_dtype_bits(e->tensor.dtype) / 8;
    if (!e->fortran) {
        QUANT_TRY(quant_bank_read_raw(ctx, bank, i, first, n, out));
        if (e->swapped && size > 1) {
            reverse_bytes(out, n, size);
        }
        return QUANT_OK;
    }
    switch (e->tensor.dtype) {
    case QUANT_F64:
        return quant_bank_read_f64(ctx, bank, i, first / 8, n / 8, out);
    case QUANT_F32:
        return quant_bank_read_f32(ctx, bank, i, first / 4, n / 4, out);
    default:
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "column-major %s cannot be kept",
                          e->tensor.dtype_text);
    }
}

quant_status quant_packed_copy(quant_context *ctx, quant_bank *bank, size_t i,
                               quant_safetensors_writer *writer, size_t to)
{
    const quant_tensor *t = quant_bank_tensor(bank, i);
    size_t room = t->bytes < COPY_BYTES ? (size_t)t->bytes : COPY_BYTES;
    void *buffer = quant_alloc(ctx, room, 1);
    quant_status s = buffer ? QUANT_OK : QUANT_ENOMEM;
    for (uint64_t at = 0; s == QUANT_OK && at < t->bytes; at += room) {
        size_t n = t->bytes - at < room ? (size_t)(t->bytes - at) : room;
        s = read_kept(ctx, bank, i, at, n, buffer);
        s = s == QUANT_OK ? quant_safetensors_put(ctx, writer, to, at, buffer, n) : s;
    }
    quant_release(ctx, buffer, room, 1);
    return s;
}
