/* SPDX-License-Identifier: GPL-3.0-or-later */
/* read.c - elements out of a bank: pieces of QUANT_BANK_PIECE elements pass through the bank's
 * scratch, whose first half holds bytes as stored and whose second half values as asked for. */
#include <inttypes.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/bank/reader.h"

typedef enum target { TO_FLOAT, TO_DOUBLE, TO_INTEGER } target;

/* Where values go, and their size. */
typedef struct sink {
    quant_context *ctx;
    quant_bank *bank;
    const quant_entry *entry;
    target kind;
    size_t width;
    unsigned char *out;
    uint64_t first, count;
} sink;

static size_t stored_bytes(const quant_entry *e)
{
    return quant_dtype_bits(e->tensor.dtype) / 8;
}

static void swap_bytes(unsigned char *p, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++, p += size) {
        for (size_t a = 0, b = size - 1; a < b; a++, b--) {
            unsigned char t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
    }
}

static void widen16(quant_dtype d, const void *raw, size_t n, float *out)
{
    (d == QUANT_F16 ? qk()->f16_to_f32 : qk()->bf16_to_f32)(raw, n, out);
}

static void to_float(quant_dtype d, const void *raw, size_t n, float *out)
{
    if (d == QUANT_F32) {
        memcpy(out, raw, n * sizeof *out);
    } else if (d == QUANT_F64) {
        const double *x = raw;
        for (size_t i = 0; i < n; i++) {
            out[i] = (float)x[i];
        }
    } else {
        widen16(d, raw, n, out);
    }
}

/* The floats are written into the upper half of out's own place and widened forwards: element i
 * reads float n + i and writes double i, which ends at float 2i + 1 <= n + i for i < n. */
static void to_double(quant_dtype d, const void *raw, size_t n, double *out)
{
    if (d == QUANT_F64) {
        memcpy(out, raw, n * sizeof *out);
        return;
    }
    float *upper = (float *)(void *)out + n;
    to_float(d, raw, n, upper);
    for (size_t i = 0; i < n; i++) {
        float x;
        memcpy(&x, upper + i, sizeof x);
        double wide = x;
        memcpy(out + i, &wide, sizeof wide);
    }
}

/* False when a value does not fit. */
static bool to_integer(quant_dtype d, const void *raw, size_t n, int64_t *out)
{
    size_t size = quant_dtype_bits(d) / 8;
    bool is_signed = d == QUANT_I8 || d == QUANT_I16 || d == QUANT_I32;
    uint64_t sign = is_signed ? UINT64_C(1) << (8 * size - 1) : 0;
    const unsigned char *p = raw;
    for (size_t i = 0; i < n; i++, p += size) {
        uint64_t u = 0;
        for (size_t b = 0; b < size; b++) {
            bool little = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
            u |= (uint64_t)p[little ? b : size - 1 - b] << 8 * b;
        }
        u = (u ^ sign) - sign;
        if (d == QUANT_U64 && u > INT64_MAX) {
            return false;
        }
        memcpy(&out[i], &u, sizeof u);
    }
    return true;
}

/* Stored bytes from `at` on of an entry, wherever they are kept. */
static quant_status stored(quant_context *ctx, quant_bank *bank, const quant_entry *e, uint64_t at,
                           void *out, size_t count)
{
    if (!e->deflated) {
        return quant_source_read(ctx, &bank->sources[e->source], e->offset + at, out, count);
    }
    QUANT_TRY(quant_npz_inflate(ctx, bank, e));
    memcpy(out, bank->inflated + e->offset + at, count);
    return QUANT_OK;
}

/* Elements [at, at+n) as they lie in the file, n <= QUANT_BANK_PIECE, converted into `to`. */
static quant_status piece(const sink *s, uint64_t at, size_t n, void *to)
{
    size_t size = stored_bytes(s->entry);
    void *raw = s->bank->scratch;
    QUANT_TRY(stored(s->ctx, s->bank, s->entry, at * size, raw, n * size));
    if (s->entry->swapped) {
        swap_bytes(raw, n, size);
    }
    if (s->kind == TO_FLOAT) {
        to_float(s->entry->tensor.dtype, raw, n, to);
    } else if (s->kind == TO_DOUBLE) {
        to_double(s->entry->tensor.dtype, raw, n, to);
    } else if (!to_integer(s->entry->tensor.dtype, raw, n, to)) {
        return quant_fail(s->ctx, QUANT_ERANGE, "elements %" PRIu64 "..%" PRIu64 ": expected "
                          "integers below 2^63, found a larger one", at, at + n - 1);
    }
    return QUANT_OK;
}

static quant_status read_rows(const sink *s)
{
    for (uint64_t done = 0; done < s->count;) {
        uint64_t left = s->count - done;
        size_t n = left < QUANT_BANK_PIECE ? (size_t)left : QUANT_BANK_PIECE;
        QUANT_TRY(piece(s, s->first + done, n, s->out + done * s->width));
        done += n;
    }
    return QUANT_OK;
}

/* Row-major position of the first element of column c: c counts the axes behind the first, the
 * second one fastest; it is zero in the first axis. */
static uint64_t column_start(const quant_shape *shape, uint64_t c)
{
    uint64_t position = 0, stride[QUANT_MAX_RANK];
    stride[shape->rank - 1] = 1;
    for (int a = shape->rank - 1; a > 1; a--) {
        stride[a - 1] = stride[a] * shape->dim[a];
    }
    for (int a = 1; a < shape->rank; a++) {
        position += c % shape->dim[a] * stride[a];
        c /= shape->dim[a];
    }
    return position;
}

/* values[n] are rows [row, row+n) of column c; those within the request go to their places. */
static void scatter(const sink *s, uint64_t columns, uint64_t c, uint64_t row, size_t n,
                    const unsigned char *values)
{
    uint64_t position = row * columns + column_start(&s->entry->tensor.shape, c);
    for (size_t i = 0; i < n; i++, position += columns) {
        if (position >= s->first && position - s->first < s->count) {
            memcpy(s->out + (position - s->first) * s->width, values + i * s->width, s->width);
        }
    }
}

/* Columns shorter than a piece are read several at a time, whole, since the gaps between the
 * wanted rows cost less than a call each. */
static quant_status read_short_columns(const sink *s, uint64_t rows, uint64_t columns,
                                       unsigned char *values)
{
    uint64_t batch = QUANT_BANK_PIECE / rows;
    for (uint64_t c = 0; c < columns; c += batch) {
        uint64_t some = columns - c < batch ? columns - c : batch;
        QUANT_TRY(piece(s, c * rows, (size_t)(some * rows), values));
        for (uint64_t k = 0; k < some; k++) {
            scatter(s, columns, c + k, 0, (size_t)rows, values + k * rows * s->width);
        }
    }
    return QUANT_OK;
}

static quant_status read_long_columns(const sink *s, uint64_t rows, uint64_t columns,
                                      unsigned char *values)
{
    uint64_t from = s->first / columns, to = (s->first + s->count - 1) / columns + 1;
    for (uint64_t c = 0; c < columns; c++) {
        for (uint64_t row = from; row < to;) {
            size_t n = to - row < QUANT_BANK_PIECE ? (size_t)(to - row) : QUANT_BANK_PIECE;
            QUANT_TRY(piece(s, c * rows + row, n, values));
            scatter(s, columns, c, row, n, values);
            row += n;
        }
    }
    return QUANT_OK;
}

/* First axis fastest in the file: a matrix of dim[0] rows, stored column by column. */
static quant_status read_columns(const sink *s)
{
    uint64_t rows = s->entry->tensor.shape.dim[0], columns = s->entry->tensor.elements / rows;
    unsigned char *values = (unsigned char *)s->bank->scratch + QUANT_BANK_SCRATCH / 2;
    return rows <= QUANT_BANK_PIECE ? read_short_columns(s, rows, columns, values)
                                    : read_long_columns(s, rows, columns, values);
}

static quant_status blame(quant_context *ctx, const quant_bank *bank, const quant_entry *e,
                          quant_status s)
{
    if (s == QUANT_OK) {
        return s;
    }
    quant_fail_prefix(ctx, s, e->tensor.name);
    return quant_fail_prefix(ctx, s, bank->sources[e->source].path);
}

static quant_status check_range(quant_context *ctx, quant_bank *bank, size_t i, const uint64_t r[2],
                                bool raw)
{
    if (i >= bank->count) {
        return quant_fail(ctx, QUANT_EINVAL, "tensor index: expected less than %zu, found %zu",
                          bank->count, i);
    }
    const quant_tensor *t = &bank->entries[i].tensor;
    uint64_t whole = raw ? t->bytes : t->elements;
    if (r[0] > whole || r[1] > whole - r[0]) {
        return quant_fail(ctx, QUANT_EINVAL, "tensor \"%s\": expected a range within %" PRIu64
                          " %s, found %" PRIu64 " from %" PRIu64, t->name, whole,
                          raw ? "bytes" : "elements", r[1], r[0]);
    }
    if (!bank->scratch) {
        bank->scratch = quant_alloc(ctx, QUANT_BANK_SCRATCH, 1);
    }
    return bank->scratch ? QUANT_OK : QUANT_ENOMEM;
}

static quant_status check_type(quant_context *ctx, const quant_tensor *t, target kind)
{
    bool integer = t->dtype >= QUANT_I64 && t->dtype <= QUANT_BOOL;
    if (kind == TO_INTEGER && !integer) {
        return quant_fail(ctx, QUANT_ETYPE, "tensor \"%s\": expected integers, found %s", t->name,
                          t->dtype_text);
    }
    if (kind != TO_INTEGER && !quant_dtype_is_decoded(t->dtype)) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "tensor \"%s\": values of %s are not decoded",
                          t->name, t->dtype_text);
    }
    return QUANT_OK;
}

static quant_status read_values(quant_context *ctx, quant_bank *bank, size_t i, const uint64_t r[2],
                                target kind, void *out)
{
    QUANT_TRY(check_range(ctx, bank, i, r, false));
    const quant_entry *e = &bank->entries[i];
    QUANT_TRY(check_type(ctx, &e->tensor, kind));
    size_t width = kind == TO_FLOAT ? sizeof(float) : 8;
    sink s = {ctx, bank, e, kind, width, out, r[0], r[1]};
    if (r[1] == 0) {
        return QUANT_OK;
    }
    return blame(ctx, bank, e, e->fortran ? read_columns(&s) : read_rows(&s));
}

quant_status quant_bank_read_f32(quant_context *ctx, quant_bank *bank, size_t i, uint64_t first,
                                 uint64_t count, float *out)
{
    return read_values(ctx, bank, i, (uint64_t[2]){first, count}, TO_FLOAT, out);
}

quant_status quant_bank_read_f64(quant_context *ctx, quant_bank *bank, size_t i, uint64_t first,
                                 uint64_t count, double *out)
{
    return read_values(ctx, bank, i, (uint64_t[2]){first, count}, TO_DOUBLE, out);
}

quant_status quant_bank_read_i64(quant_context *ctx, quant_bank *bank, size_t i, uint64_t first,
                                 uint64_t count, int64_t *out)
{
    return read_values(ctx, bank, i, (uint64_t[2]){first, count}, TO_INTEGER, out);
}

quant_status quant_bank_read_raw(quant_context *ctx, quant_bank *bank, size_t i, uint64_t first,
                                 uint64_t count, void *out)
{
    QUANT_TRY(check_range(ctx, bank, i, (uint64_t[2]){first, count}, true));
    const quant_entry *e = &bank->entries[i];
    return blame(ctx, bank, e, stored(ctx, bank, e, first, out, (size_t)count));
}
