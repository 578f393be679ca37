/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/gguf_reader.h"
#include "quant/bank/utf8.h"

enum { NAME_MAX_BYTES = 64, DIMS_MAX = 4 };

typedef struct gguf_type {
    uint32_t id;
    const char *name;
    quant_dtype dtype;
    unsigned block, bytes;
} gguf_type;

static const gguf_type types[] = {
#define GGUF_TYPE(id, name, dtype, block, bytes) {id, name, dtype, block, bytes},
#include "quant/bank/gguf_types.def"
#undef GGUF_TYPE
};

static const gguf_type *find_type(uint32_t id)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].id == id) {
            return &types[i];
        }
    }
    return NULL;
}

static quant_status name(quant_gguf *g, const char **text)
{
    size_t bytes;
    QUANT_TRY(quant_gguf_string(g, NAME_MAX_BYTES, "tensor name", text, &bytes));
    uint64_t at = g->cursor.at - bytes;
    if (bytes == 0 || memchr(*text, 0, bytes)) {
        return quant_fail(g->ctx, QUANT_ENAME,
                          "tensor name, offset %" PRIu64 ": expected 1..%d "
                          "bytes without NUL, found %s",
                          at, NAME_MAX_BYTES, bytes ? "NUL" : "none");
    }
    size_t valid = quant_utf8_valid(*text, bytes);
    if (valid < bytes) {
        return quant_fail(g->ctx, QUANT_EUTF8, "tensor name, offset %" PRIu64 ": expected UTF-8, "
                          "found byte 0x%02x", at + valid, (unsigned char)(*text)[valid]);
    }
    return QUANT_OK;
}

/* Dims come fastest first and are turned round here. */
static quant_status dims(quant_gguf *g, quant_shape *shape)
{
    uint32_t n;
    QUANT_TRY(quant_cursor_u32(&g->cursor, &n, "number of dims"));
    if (n > DIMS_MAX) {
        return quant_fail(g->ctx, QUANT_ELIMIT,
                          "number of dims, offset %" PRIu64 ": expected 0..%d, "
                          "found %" PRIu32,
                          g->cursor.at - 4, DIMS_MAX, n);
    }
    shape->rank = (int)n;
    for (int i = shape->rank; i-- > 0;) {
        QUANT_TRY(quant_cursor_u64(&g->cursor, &shape->dim[i], "dim"));
        if (shape->dim[i] >> 63) {
            return quant_fail(g->ctx, QUANT_ERANGE, "dim, offset %" PRIu64 ": expected less than "
                              "2^63, found %" PRIu64, g->cursor.at - 8, shape->dim[i]);
        }
    }
    return QUANT_OK;
}

/* Divide first: whole blocks of a row, then rows, then bytes. */
static quant_status size_of(quant_gguf *g, const gguf_type *type, quant_tensor *t)
{
    QUANT_TRY(quant_shape_elements(g->ctx, &t->shape, &t->elements));
    uint64_t row = t->shape.rank ? t->shape.dim[t->shape.rank - 1] : 1;
    if (row % type->block) {
        return quant_fail(g->ctx, QUANT_EALIGN, "dims: expected rows of whole blocks of %u, found "
                          "%" PRIu64 " elements of %s", type->block, row, type->name);
    }
    if (__builtin_mul_overflow(t->elements / type->block, type->bytes, &t->bytes)) {
        return quant_fail(g->ctx, QUANT_EOVERFLOW, "dims: %" PRIu64 " elements of %s do not fit 64 "
                          "bits", t->elements, type->name);
    }
    return QUANT_OK;
}

static quant_status record_rest(quant_gguf *g, quant_entry *e)
{
    uint32_t id;
    QUANT_TRY(dims(g, &e->tensor.shape));
    QUANT_TRY(quant_cursor_u32(&g->cursor, &id, "type"));
    const gguf_type *type = find_type(id);
    if (!type) {
        return quant_fail(g->ctx, QUANT_ETYPE, "type, offset %" PRIu64 ": expected a type of the "
                          "format, found %" PRIu32, g->cursor.at - 4, id);
    }
    e->tensor.dtype = type->dtype;
    e->tensor.dtype_text = type->name;
    QUANT_TRY(quant_cursor_u64(&g->cursor, &e->offset, "data offset"));
    return size_of(g, type, &e->tensor);
}

static quant_status blame(quant_gguf *g, quant_status s, const char *tensor)
{
    if (s == QUANT_OK || s == QUANT_ENOMEM) {
        return s;
    }
    char prefix[96];
    snprintf(prefix, sizeof prefix, "tensor \"%s\"", tensor);
    return quant_fail_prefix(g->ctx, s, prefix);
}

static quant_status record(quant_gguf *g)
{
    quant_entry e = {.source = g->source, .order = g->bank->count};
    QUANT_TRY(name(g, &e.tensor.name));
    QUANT_TRY(blame(g, record_rest(g, &e), e.tensor.name));
    e.swapped = __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__;
    return quant_bank_add(g->ctx, g->bank, &e);
}

/* next: where the data of this record must begin. available: bytes of the data section. */
static quant_status check_place(quant_gguf *g, const quant_entry *e, uint64_t next,
                                uint64_t available)
{
    if (e->offset % g->alignment) {
        return quant_fail(g->ctx, QUANT_EALIGN, "data offset: expected a multiple of %" PRIu64
                          ", found %" PRIu64, g->alignment, e->offset);
    }
    bool unpadded = e->tensor.bytes == 0 && e->offset == next;
    if (!unpadded && (e->offset > available || e->tensor.bytes > available - e->offset)) {
        return quant_fail(g->ctx, QUANT_ETRUNC, "data: expected %" PRIu64 " bytes at offset %"
                          PRIu64 " of %" PRIu64 " (file cut short?)", e->tensor.bytes, e->offset,
                          available);
    }
    return e->offset == next
               ? QUANT_OK
               : quant_fail(g->ctx, e->offset < next ? QUANT_EOVERLAP : QUANT_EHOLE, "data offset: "
                            "expected %" PRIu64 ", found %" PRIu64, next, e->offset);
}

static quant_status check_end(quant_gguf *g, uint64_t next, uint64_t available)
{
    if (available > next) {
        return quant_fail(g->ctx, QUANT_ETRAILING,
                          "data: expected %" PRIu64 " bytes, found %" PRIu64, next, available);
    }
    return available < next ? quant_bank_add_note(g->ctx, g->bank, "no padding after the last "
                                                  "tensor")
                            : QUANT_OK;
}

/* bytes is at most the file's size, so neither sum can wrap. */
static uint64_t padded(uint64_t bytes, uint64_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

static quant_status layout(quant_gguf *g)
{
    uint64_t data = padded(g->cursor.at, g->alignment);
    uint64_t available = g->cursor.end > data ? g->cursor.end - data : 0, next = 0;
    for (size_t i = 0; i < g->bank->count; i++) {
        quant_entry *e = &g->bank->entries[i];
        QUANT_TRY(blame(g, check_place(g, e, next, available), e->tensor.name));
        next = padded(e->offset + e->tensor.bytes, g->alignment);
        e->offset += data;
    }
    return check_end(g, next, available);
}

quant_status quant_gguf_tensors(quant_gguf *g, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        QUANT_TRY(record(g));
    }
    QUANT_TRY(quant_bank_check_names(g->ctx, g->bank, 0));
    return layout(g);
}
