/* SPDX-License-Identifier: GPL-3.0-or-later */
/* npy.c - "\x93NUMPY" | major minor | u16 or u32 length | literal | data. */
#include <inttypes.h>
#include <string.h>

#include "quant/bank/npy_header.h"
#include "quant/bank/reader.h"
#include "quant/bank/utf8.h"

static const char magic[6] = "\x93NUMPY";

/* One byte off, or cut within, still means to be one. */
bool quant_npy_recognises(const unsigned char *head, size_t bytes)
{
    size_t n = bytes < 6 ? bytes : 6, same = 0;
    for (size_t i = 0; i < n; i++) {
        same += head[i] == (unsigned char)magic[i];
    }
    return n > 0 && (same == n || (n == 6 && same == 5));
}

static quant_status preamble_has(quant_context *ctx, uint64_t size, uint64_t need)
{
    return size >= need ? QUANT_OK
                        : quant_fail(ctx, QUANT_ETRUNC, "offset 0: expected %" PRIu64
                                     " bytes before the header, found %" PRIu64, need, size);
}

quant_status quant_npy_preamble(quant_context *ctx, const unsigned char b[QUANT_NPY_PREAMBLE],
                                uint64_t size, quant_npy_start *out)
{
    QUANT_TRY(preamble_has(ctx, size, 8));
    if (memcmp(b, magic, 6) != 0) {
        return quant_fail(ctx, QUANT_EMAGIC, "magic, offset 0: expected \\x93NUMPY, found another");
    }
    if (b[6] < 1 || b[6] > 3 || b[7] != 0) {
        return quant_fail(ctx, QUANT_EVERSION, "version, offset 6: expected 1.0, 2.0 or 3.0, found "
                          "%u.%u", b[6], b[7]);
    }
    size_t width = b[6] == 1 ? 2 : 4;
    QUANT_TRY(preamble_has(ctx, size, 8 + width));
    uint64_t n = b[8] | (uint64_t)b[9] << 8;
    n |= width == 4 ? (uint64_t)b[10] << 16 | (uint64_t)b[11] << 24 : 0;
    uint64_t start = 8 + width;
    if (n > QUANT_NPY_HEADER_MAX) {
        return quant_fail(ctx, QUANT_ELIMIT, "header length, offset 8: expected at most %d, found %"
                          PRIu64, QUANT_NPY_HEADER_MAX, n);
    }
    if (n > size - start) {
        return quant_fail(ctx, QUANT_ETRUNC, "header, offset %" PRIu64 ": expected %" PRIu64
                          " bytes, found %" PRIu64, start, n, size - start);
    }
    *out = (quant_npy_start){b[6], (size_t)start, (size_t)n};
    return QUANT_OK;
}

static quant_status check_data(quant_context *ctx, quant_tensor *t, uint64_t left)
{
    QUANT_TRY(quant_shape_elements(ctx, &t->shape, &t->elements));
    if (__builtin_mul_overflow(t->elements, quant_dtype_bits(t->dtype) / 8, &t->bytes)) {
        return quant_fail(ctx, QUANT_EOVERFLOW, "shape: %" PRIu64 " elements of %s do not fit 64 "
                          "bits", t->elements, t->dtype_text);
    }
    return t->bytes == left
               ? QUANT_OK
               : quant_fail(ctx, t->bytes > left ? QUANT_ETRUNC : QUANT_ETRAILING,
                            "data: expected %" PRIu64 " bytes, found %" PRIu64, t->bytes, left);
}

/* An array has no name of its own; it gets the file's, without folder and ".npy". */
static const char *name_of(quant_context *ctx, quant_bank *bank, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    if (n > 4 && memcmp(name + n - 4, ".npy", 4) == 0) {
        n -= 4;
    }
    if (n == 0 || quant_utf8_valid(name, n) < n) {
        name = "array";
        n = 5;
    }
    return quant_bank_text(ctx, bank, name, n);
}

quant_status quant_npy_add(quant_context *ctx, quant_bank *bank, const quant_npy_header *h,
                           uint64_t left, quant_entry *entry)
{
    quant_entry e = *entry;
    e.tensor.dtype = h->dtype;
    e.tensor.shape = h->shape;
    e.tensor.dtype_text = quant_bank_text(ctx, bank, h->descr, strlen(h->descr));
    if (!e.tensor.dtype_text || !e.tensor.name) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(check_data(ctx, &e.tensor, left));
    e.fortran = h->fortran && h->shape.rank > 1;
    e.swapped = h->big_endian == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
    if (!h->has_newline) {
        QUANT_TRY(quant_bank_add_note(ctx, bank, "the header does not end in a newline"));
    }
    return quant_bank_add(ctx, bank, &e);
}

quant_status quant_npy_open(quant_context *ctx, quant_bank *bank, size_t source)
{
    const quant_source *file = &bank->sources[source];
    unsigned char b[QUANT_NPY_PREAMBLE];
    size_t some = file->size < sizeof b ? (size_t)file->size : sizeof b;
    quant_npy_start start;
    quant_npy_header h;
    QUANT_TRY(quant_source_read(ctx, file, 0, b, some));
    QUANT_TRY(quant_npy_preamble(ctx, b, file->size, &start));
    char *text = quant_alloc(ctx, start.length, 1);
    if (!text) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_source_read(ctx, file, start.at, text, start.length);
    if (s == QUANT_OK) {
        s = quant_npy_parse(ctx, text, start.length, start.major, &h);
    }
    quant_release(ctx, text, start.length, 1);
    if (s != QUANT_OK) {
        return s;
    }
    quant_entry e = {.offset = start.at + start.length, .source = source};
    e.tensor.name = name_of(ctx, bank, file->path);
    return quant_npy_add(ctx, bank, &h, file->size - e.offset, &e);
}
