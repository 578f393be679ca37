/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/npz_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/inflate.h"
#include "quant/bank/names.h"
#include "quant/bank/npy_header.h"
#include "quant/bank/output.h"
#include "quant/bank/utf8.h"

enum {
    END64 = 56, LOCATOR = 20, END = 22, NAME_MAX_BYTES = 60000,
    NPY_ALIGN = 64, NPY_MOST = 512, FIXED = 1 << 8
};
#define ONES32 UINT64_C(0xffffffff)
#define ONES16 UINT64_C(0xffff)

typedef struct member {
    const char *name; /* in the writer's copy */
    uint64_t header, data, whole, bytes; /* offsets; size with the npy header; size of the data */
    uint64_t written;
    uint32_t crc;
} member;

struct quant_npz_writer {
    quant_output *output;
    member *members;
    size_t count;
    char *names;
    size_t name_bytes;
    uint64_t directory, size;
};

/* Little-endian fields, one after the other. */
typedef struct fields {
    unsigned char at[FIXED];
    size_t used;
} fields;

static void put(fields *f, uint64_t value, int width)
{
    for (int i = 0; i < width; i++) {
        f->at[f->used++] = (unsigned char)(value >> 8 * i);
    }
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- the array's own header ----------------------------------------------------------------- */

static const char *descr_of(quant_dtype d)
{
    static const struct {
        quant_dtype dtype;
        const char *descr;
    } codes[] = {{QUANT_F64, "<f8"}, {QUANT_F32, "<f4"}, {QUANT_F16, "<f2"}, {QUANT_I64, "<i8"},
                 {QUANT_U64, "<u8"}, {QUANT_I32, "<i4"}, {QUANT_U32, "<u4"}, {QUANT_I16, "<i2"},
                 {QUANT_U16, "<u2"}, {QUANT_I8, "|i1"}, {QUANT_U8, "|u1"}, {QUANT_BOOL, "|b1"}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        if (codes[i].dtype == d) {
            return codes[i].descr;
        }
    }
    return NULL;
}

/* As numpy writes it: padded with spaces to a multiple of 64, a newline at the end. */
static size_t npy_header(const quant_npz_item *item, char out[NPY_MOST])
{
    char text[NPY_MOST];
    int n = snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                     descr_of(item->dtype));
    for (int i = 0; i < item->shape.rank; i++) {
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%" PRIu64, i ? ", " : "",
                      item->shape.dim[i]);
    }
    n += snprintf(text + n, sizeof text - (size_t)n, "%s), }", item->shape.rank == 1 ? "," : "");
    size_t used = 10 + (size_t)n + 1, whole = (used + NPY_ALIGN - 1) / NPY_ALIGN * NPY_ALIGN;
    memset(out, ' ', whole);
    memcpy(out, "\x93NUMPY\1\0", 8);
    out[8] = (char)((whole - 10) & 0xff);
    out[9] = (char)((whole - 10) >> 8);
    memcpy(out + 10, text, (size_t)n);
    out[whole - 1] = '\n';
    return whole;
}

/* ---- layout --------------------------------------------------------------------------------- */

static quant_status check_item(quant_context *ctx, const quant_npz_item *item, uint64_t *bytes)
{
    uint64_t elements;
    size_t n = item->name ? strlen(item->name) : 0;
    if (n == 0 || n > NAME_MAX_BYTES || item->name[0] == '/' ||
        quant_utf8_valid(item->name, n) < n) {
        return quant_fail(ctx, QUANT_ENAME, "array name: expected 1..%d bytes of UTF-8 without "
                          "leading slash, found another", NAME_MAX_BYTES);
    }
    if (!descr_of(item->dtype)) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "array \"%s\": %s is no type of numpy",
                          item->name, quant_dtype_name(item->dtype));
    }
    QUANT_TRY(quant_shape_elements(ctx, &item->shape, &elements));
    *bytes = elements * (quant_dtype_bits(item->dtype) / 8);
    return elements <= UINT64_MAX / 16
               ? QUANT_OK
               : quant_fail(ctx, QUANT_EOVERFLOW, "array \"%s\": %" PRIu64 " elements", item->name,
                            elements);
}

static quant_status check_unique(quant_context *ctx, const quant_npz_item *items, size_t count)
{
    quant_name *names = quant_alloc(ctx, count, sizeof *names);
    if (!names) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = (quant_name){items[i].name, strlen(items[i].name), i};
    }
    quant_names_sort(names, count);
    const quant_name *twice = quant_names_duplicate(names, count);
    quant_status s = twice ? quant_fail(ctx, QUANT_EDUP, "array \"%s\": the same name twice",
                                        twice->text)
                           : QUANT_OK;
    quant_release(ctx, names, count, sizeof *names);
    return s;
}

/* The zip64 record of a header, when one of its values needs it. */
static size_t extra_of(const member *m, bool central, fields *f)
{
    bool sizes = m->whole >= ONES32, far = central && m->header >= ONES32;
    size_t start = f->used, n = (sizes ? 16u : 0u) + (far ? 8u : 0u);
    if (n > 0) {
        put(f, 1, 2);
        put(f, n, 2);
    }
    if (sizes) {
        put(f, m->whole, 8);
        put(f, m->whole, 8);
    }
    if (far) {
        put(f, m->header, 8);
    }
    return f->used - start;
}

/* From "version needed" to the length of the name: the part that both headers share. */
static void shared_fields(const member *m, bool wide, fields *f)
{
    put(f, wide ? 45 : 20, 2);
    put(f, 1 << 11, 2); /* the name is UTF-8 */
    put(f, 0, 2);       /* stored */
    put(f, 0x00210000, 4);
    put(f, m->crc, 4);
    put(f, least(m->whole, ONES32), 4);
    put(f, least(m->whole, ONES32), 4);
    put(f, strlen(m->name), 2);
}

static void local_header(const member *m, fields *fixed, fields *extra)
{
    *extra = *fixed = (fields){.used = 0};
    size_t n = extra_of(m, false, extra);
    put(fixed, 0x04034b50, 4);
    shared_fields(m, n > 0, fixed);
    put(fixed, n, 2);
}

static void central_header(const member *m, fields *fixed, fields *extra)
{
    *extra = *fixed = (fields){.used = 0};
    size_t n = extra_of(m, true, extra);
    put(fixed, 0x02014b50, 4);
    put(fixed, n > 0 ? 45 : 20, 2);
    shared_fields(m, n > 0, fixed);
    put(fixed, n, 2);
    put(fixed, 0, 8); /* comment, disk, attributes */
    put(fixed, 0, 2);
    put(fixed, least(m->header, ONES32), 4);
}

static quant_status place(quant_context *ctx, quant_npz_writer *w, const quant_npz_item *items)
{
    fields fixed, extra;
    char header[NPY_MOST];
    uint64_t at = 0, directory = 0;
    for (size_t i = 0; i < w->count; i++) {
        member *m = &w->members[i];
        size_t own = npy_header(&items[i], header);
        m->header = at;
        m->whole = m->bytes + own;
        local_header(m, &fixed, &extra);
        m->data = at + fixed.used + strlen(m->name) + extra.used + own;
        if (__builtin_add_overflow(m->data, m->bytes, &at) || at > INT64_MAX / 2) {
            return quant_fail(ctx, QUANT_EOVERFLOW, "archive: sizes do not fit 63 bits");
        }
        central_header(m, &fixed, &extra);
        directory += fixed.used + strlen(m->name) + extra.used;
    }
    bool wide = w->count >= ONES16 || at >= ONES32 || directory >= ONES32;
    w->directory = at;
    w->size = at + directory + (wide ? END64 + LOCATOR : 0) + END;
    return QUANT_OK;
}

/* ---- writing -------------------------------------------------------------------------------- */

static quant_status emit(quant_context *ctx, quant_npz_writer *w, uint64_t *at, const void *data,
                         size_t count)
{
    QUANT_TRY(quant_output_write(ctx, w->output, *at, data, count));
    *at += count;
    return QUANT_OK;
}

static quant_status emit_header(quant_context *ctx, quant_npz_writer *w, const member *m,
                                bool central, uint64_t *at)
{
    fields fixed, extra;
    (central ? central_header : local_header)(m, &fixed, &extra);
    QUANT_TRY(emit(ctx, w, at, fixed.at, fixed.used));
    QUANT_TRY(emit(ctx, w, at, m->name, strlen(m->name)));
    return emit(ctx, w, at, extra.at, extra.used);
}

static quant_status begin_members(quant_context *ctx, quant_npz_writer *w,
                                  const quant_npz_item *items)
{
    for (size_t i = 0; i < w->count; i++) {
        member *m = &w->members[i];
        char header[NPY_MOST];
        size_t own = npy_header(&items[i], header);
        uint64_t at = m->data - own;
        m->crc = quant_crc32(0, header, own);
        QUANT_TRY(emit(ctx, w, &at, header, own));
    }
    return QUANT_OK;
}

static quant_status fill(quant_context *ctx, quant_npz_writer *w, const quant_npz_item *items)
{
    char *name = w->names;
    for (size_t i = 0; i < w->count; i++) {
        QUANT_TRY(check_item(ctx, &items[i], &w->members[i].bytes));
        w->members[i].name = name;
        size_t n = strlen(items[i].name);
        memcpy(name, items[i].name, n);
        memcpy(name + n, ".npy", 5);
        name += n + 5;
    }
    QUANT_TRY(check_unique(ctx, items, w->count));
    return place(ctx, w, items);
}

static void release(quant_context *ctx, quant_npz_writer *w)
{
    quant_release(ctx, w->members, w->count, sizeof *w->members);
    quant_release(ctx, w->names, w->name_bytes, 1);
    quant_release(ctx, w, 1, sizeof *w);
}

static quant_npz_writer *writer_new(quant_context *ctx, const quant_npz_item *items, size_t count)
{
    quant_npz_writer *w = quant_alloc(ctx, 1, sizeof *w);
    if (!w) {
        return NULL;
    }
    *w = (quant_npz_writer){.count = count};
    for (size_t i = 0; i < count; i++) {
        w->name_bytes += (items[i].name ? strlen(items[i].name) : 0) + 5;
    }
    w->members = quant_alloc(ctx, count, sizeof *w->members);
    w->names = quant_alloc(ctx, w->name_bytes, 1);
    if (!w->members || !w->names) {
        release(ctx, w);
        return NULL;
    }
    memset(w->members, 0, count * sizeof *w->members);
    return w;
}

quant_status quant_npz_create(quant_context *ctx, const char *path, const quant_npz_item *items,
                              size_t count, quant_npz_writer **writer)
{
    quant_npz_writer *w = writer_new(ctx, items, count);
    if (!w) {
        return QUANT_ENOMEM;
    }
    quant_status s = fill(ctx, w, items);
    if (s == QUANT_OK) {
        s = quant_output_open(ctx, path, w->size, &w->output);
    }
    if (s == QUANT_OK) {
        s = begin_members(ctx, w, items);
    }
    if (s != QUANT_OK) {
        quant_npz_discard(ctx, w);
        return s;
    }
    *writer = w;
    return QUANT_OK;
}

quant_status quant_npz_put(quant_context *ctx, quant_npz_writer *w, size_t i, const void *data,
                           size_t count)
{
    if (i >= w->count || count > w->members[i].bytes - w->members[i].written) {
        return quant_fail(ctx, QUANT_EINVAL, "array %zu: expected at most %" PRIu64 " more bytes, "
                          "found %zu", i,
                          i < w->count ? w->members[i].bytes - w->members[i].written : 0, count);
    }
    member *m = &w->members[i];
    QUANT_TRY(quant_output_write(ctx, w->output, m->data + m->written, data, count));
    m->crc = quant_crc32(m->crc, data, count);
    m->written += count;
    return QUANT_OK;
}

static quant_status emit_end(quant_context *ctx, quant_npz_writer *w, uint64_t at)
{
    fields f = {.used = 0};
    uint64_t bytes = at - w->directory;
    if (w->size - at > END) {
        put(&f, 0x06064b50, 4);
        put(&f, END64 - 12, 8);
        put(&f, 45 | 45 << 16, 4);
        put(&f, 0, 8);
        put(&f, w->count, 8);
        put(&f, w->count, 8);
        put(&f, bytes, 8);
        put(&f, w->directory, 8);
        put(&f, 0x07064b50, 4);
        put(&f, 0, 4);
        put(&f, at, 8);
        put(&f, 1, 4);
    }
    put(&f, 0x06054b50, 4);
    put(&f, 0, 4);
    put(&f, least(w->count, ONES16), 2);
    put(&f, least(w->count, ONES16), 2);
    put(&f, least(bytes, ONES32), 4);
    put(&f, least(w->directory, ONES32), 4);
    put(&f, 0, 2);
    return emit(ctx, w, &at, f.at, f.used);
}

static quant_status complete(quant_context *ctx, quant_npz_writer *w)
{
    uint64_t at = w->directory;
    for (size_t i = 0; i < w->count; i++) {
        const member *m = &w->members[i];
        uint64_t header = m->header;
        if (m->written != m->bytes) {
            return quant_fail(ctx, QUANT_EINVAL, "array \"%s\": expected %" PRIu64 " bytes, found %"
                              PRIu64, m->name, m->bytes, m->written);
        }
        QUANT_TRY(emit_header(ctx, w, m, false, &header));
        QUANT_TRY(emit_header(ctx, w, m, true, &at));
    }
    return emit_end(ctx, w, at);
}

quant_status quant_npz_commit(quant_context *ctx, quant_npz_writer *w)
{
    quant_status s = complete(ctx, w);
    if (s == QUANT_OK) {
        s = quant_output_commit(ctx, w->output);
        w->output = NULL;
    }
    quant_npz_discard(ctx, w);
    return s;
}

void quant_npz_discard(quant_context *ctx, quant_npz_writer *w)
{
    if (w) {
        quant_output_discard(ctx, w->output);
        release(ctx, w);
    }
}
