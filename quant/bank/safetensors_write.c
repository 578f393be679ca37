/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/safetensors_write.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/names.h"
#include "quant/bank/output.h"
#include "quant/bank/spans.h"
#include "quant/bank/utf8.h"
#include "quant/internal.h"

enum { HEADER_LIMIT = 100000000, ALIGNMENTS = 4 };

/* Where one item lies; begin and end count from the first byte after the header. */
typedef struct place {
    uint64_t begin, end;
} place;

struct quant_safetensors_writer {
    quant_output *output;
    place *places;
    size_t count;
    uint64_t data_start, data_bytes;
    quant_spans written;
};

/* ---- header text ---------------------------------------------------------------------------- */

/* Text that is measured first (bytes NULL) and written then. */
typedef struct sink {
    char *bytes;
    size_t used;
} sink;

static void put_bytes(sink *to, const char *bytes, size_t count)
{
    if (to->bytes) {
        memcpy(to->bytes + to->used, bytes, count);
    }
    to->used += count;
}

static void put_text(sink *to, const char *text)
{
    put_bytes(to, text, strlen(text));
}

static void put_number(sink *to, uint64_t number)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    put_text(to, text);
}

/* RFC 8259: only the quote, the backslash and bytes below 0x20 need an escape. */
static void put_string(sink *to, const char *text)
{
    static const char hex[] = "0123456789abcdef";
    static const char shorter[] = "\b\f\n\r\t\"\\", letter[] = "bfnrt\"\\";
    put_text(to, "\"");
    for (const char *p = text; *p; p++) {
        const char *s = strchr(shorter, *p);
        unsigned char byte = (unsigned char)*p;
        if (s) {
            put_bytes(to, "\\", 1);
            put_bytes(to, &letter[s - shorter], 1);
        } else if (byte < 0x20) {
            put_text(to, "\\u00");
            put_bytes(to, &hex[byte >> 4], 1);
            put_bytes(to, &hex[byte & 15], 1);
        } else {
            put_bytes(to, p, 1);
        }
    }
    put_text(to, "\"");
}

static void put_item(sink *to, const quant_safetensors_item *item, const place *at)
{
    put_string(to, item->name);
    put_text(to, ":{\"dtype\":\"");
    put_text(to, quant_dtype_name(item->dtype));
    put_text(to, "\",\"shape\":[");
    for (int d = 0; d < item->shape.rank; d++) {
        put_text(to, d ? "," : "");
        put_number(to, item->shape.dim[d]);
    }
    put_text(to, "],\"data_offsets\":[");
    put_number(to, at->begin);
    put_text(to, ",");
    put_number(to, at->end);
    put_text(to, "]}");
}

/* What a header is made of. */
typedef struct content {
    const quant_safetensors_item *items;
    const place *places;
    const size_t *order; /* items as their data lie */
    size_t count;
    const quant_safetensors_pair *metadata;
    size_t pairs;
} content;

static void put_header(sink *to, const content *c)
{
    put_text(to, "{");
    if (c->pairs) {
        put_text(to, "\"__metadata__\":{");
        for (size_t i = 0; i < c->pairs; i++) {
            put_text(to, i ? "," : "");
            put_string(to, c->metadata[i].key);
            put_text(to, ":");
            put_string(to, c->metadata[i].value);
        }
        put_text(to, "}");
    }
    for (size_t k = 0; k < c->count; k++) {
        put_text(to, k || c->pairs ? "," : "");
        put_item(to, &c->items[c->order[k]], &c->places[c->order[k]]);
    }
    put_text(to, "}");
    while (to->used % 8) {
        put_text(to, " ");
    }
}

/* ---- checks --------------------------------------------------------------------------------- */

static quant_status check_text(quant_context *ctx, const char *what, const char *text)
{
    if (!text) {
        return quant_fail(ctx, QUANT_EINVAL, "%s: expected a string, found NULL", what);
    }
    size_t bytes = strlen(text), valid = quant_utf8_valid(text, bytes);
    if (valid < bytes) {
        return quant_fail(ctx, QUANT_EUTF8, "%s %s: expected UTF-8, byte %zu is 0x%02x", what, text,
                          valid, (unsigned char)text[valid]);
    }
    return QUANT_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* names[count] is sorted here. */
static quant_status check_unique(quant_context *ctx, const char *what, const char **names,
                                 size_t count)
{
    quant_sort(names, count, sizeof *names, by_text);
    for (size_t i = 1; i < count; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            return quant_fail(ctx, QUANT_EDUP, "%s %s: the same name twice", what, names[i]);
        }
    }
    return QUANT_OK;
}

static quant_status check_items(quant_context *ctx, const content *c, const char **names)
{
    for (size_t i = 0; i < c->count; i++) {
        names[i] = c->items[i].name;
        QUANT_TRY(check_text(ctx, "tensor", names[i]));
        if (strcmp(names[i], "__metadata__") == 0) {
            return quant_fail(ctx, QUANT_ENAME, "tensor __metadata__: the name is reserved");
        }
    }
    return check_unique(ctx, "tensor", names, c->count);
}

static quant_status check_metadata(quant_context *ctx, const content *c, const char **keys)
{
    for (size_t i = 0; i < c->pairs; i++) {
        keys[i] = c->metadata[i].key;
        QUANT_TRY(check_text(ctx, "metadata key", keys[i]));
        QUANT_TRY(check_text(ctx, "metadata value", c->metadata[i].value));
    }
    return check_unique(ctx, "metadata key", keys, c->pairs);
}

static quant_status check_names(quant_context *ctx, const content *c)
{
    size_t most = c->count > c->pairs ? c->count : c->pairs;
    const char **names = quant_alloc(ctx, most, sizeof *names);
    if (!names) {
        return QUANT_ENOMEM;
    }
    quant_status s = check_items(ctx, c, names);
    s = s == QUANT_OK ? check_metadata(ctx, c, names) : s;
    quant_release(ctx, names, most, sizeof *names);
    return s;
}

static quant_status item_bytes(quant_context *ctx, const quant_safetensors_item *item,
                               uint64_t *bytes)
{
    unsigned bits = quant_dtype_bits(item->dtype);
    uint64_t elements, all;
    if (bits == 0) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "tensor %s: %s has no place in safetensors",
                          item->name, quant_dtype_name(item->dtype));
    }
    quant_status s = quant_shape_elements(ctx, &item->shape, &elements);
    if (s != QUANT_OK) {
        return quant_fail_prefix(ctx, s, item->name);
    }
    if (__builtin_mul_overflow(elements, (uint64_t)bits, &all)) {
        return quant_fail(ctx, QUANT_EOVERFLOW, "tensor %s: more than 2^64 bits", item->name);
    }
    if (all % 8) {
        return quant_fail(ctx, QUANT_EALIGN, "tensor %s: %" PRIu64 " bits are no whole bytes",
                          item->name, all);
    }
    *bytes = all / 8;
    return QUANT_OK;
}

/* ---- layout --------------------------------------------------------------------------------- */

/* 0 for elements of 8 bytes, 1 for 4, 2 for 2, 3 for single bytes and less. */
static int alignment_class(quant_dtype d)
{
    unsigned bits = quant_dtype_bits(d);
    return bits >= 64 ? 0 : bits >= 32 ? 1 : bits >= 16 ? 2 : 3;
}

static quant_status place_items(quant_context *ctx, const content *c, place *places, size_t *order,
                                uint64_t *total)
{
    uint64_t at = 0;
    size_t placed = 0;
    for (int class = 0; class < ALIGNMENTS; class++) {
        for (size_t i = 0; i < c->count; i++) {
            uint64_t bytes = 0;
            if (alignment_class(c->items[i].dtype) != class) {
                continue;
            }
            QUANT_TRY(item_bytes(ctx, &c->items[i], &bytes));
            places[i].begin = at;
            if (__builtin_add_overflow(at, bytes, &at) || at > INT64_MAX - HEADER_LIMIT - 8) {
                return quant_fail(ctx, QUANT_EOVERFLOW, "tensor %s: the file exceeds 2^63 bytes",
                                  c->items[i].name);
            }
            places[i].end = at;
            order[placed++] = i;
        }
    }
    *total = at;
    return QUANT_OK;
}

/* Open the file and write length and header. */
static quant_status begin_file(quant_context *ctx, const char *path, const content *c,
                               quant_safetensors_writer *w)
{
    sink text = {NULL, 0};
    put_header(&text, c);
    if (text.used > HEADER_LIMIT) {
        return quant_fail(ctx, QUANT_ELIMIT, "%s: header: at most %d bytes, found %zu", path,
                          HEADER_LIMIT, text.used);
    }
    size_t all = text.used + 8;
    char *bytes = quant_alloc(ctx, all, 1);
    if (!bytes) {
        return QUANT_ENOMEM;
    }
    for (int i = 0; i < 8; i++) {
        bytes[i] = (char)(text.used >> 8 * i & 0xff);
    }
    text = (sink){bytes + 8, 0};
    put_header(&text, c);
    w->data_start = all;
    quant_status s = quant_output_open(ctx, path, all + w->data_bytes, &w->output);
    s = s == QUANT_OK ? quant_output_write(ctx, w->output, 0, bytes, all) : s;
    quant_release(ctx, bytes, all, 1);
    return s;
}

/* order[count] is scratch. */
static quant_status lay_out(quant_context *ctx, const char *path, content *c,
                            quant_safetensors_writer *w)
{
    size_t *order = quant_alloc(ctx, c->count, sizeof *order);
    w->places = quant_alloc(ctx, c->count, sizeof *w->places);
    c->order = order;
    c->places = w->places;
    quant_status s = order && w->places ? check_names(ctx, c) : QUANT_ENOMEM;
    s = s == QUANT_OK ? place_items(ctx, c, w->places, order, &w->data_bytes) : s;
    if (s != QUANT_OK) {
        quant_fail_prefix(ctx, s, path);
    } else {
        s = begin_file(ctx, path, c, w);
    }
    quant_release(ctx, order, c->count, sizeof *order);
    return s;
}

/* ---- calls ---------------------------------------------------------------------------------- */

quant_status quant_safetensors_create(quant_context *ctx, const char *path,
                                      const quant_safetensors_item *items, size_t count,
                                      const quant_safetensors_pair *metadata, size_t pairs,
                                      quant_safetensors_writer **writer)
{
    if (!path || !writer || (count && !items) || (pairs && !metadata)) {
        return quant_fail(ctx, QUANT_EINVAL, "safetensors: an argument is NULL");
    }
    content c = {items, NULL, NULL, count, metadata, pairs};
    quant_safetensors_writer *w = quant_alloc(ctx, 1, sizeof *w);
    if (!w) {
        return QUANT_ENOMEM;
    }
    memset(w, 0, sizeof *w);
    w->count = count;
    quant_status s = lay_out(ctx, path, &c, w);
    if (s != QUANT_OK) {
        quant_safetensors_discard(ctx, w);
        return s;
    }
    *writer = w;
    return QUANT_OK;
}

quant_status quant_safetensors_put(quant_context *ctx, quant_safetensors_writer *writer, size_t i,
                                   uint64_t offset, const void *data, size_t count)
{
    if (i >= writer->count) {
        return quant_fail(ctx, QUANT_EINVAL, "safetensors: item %zu of %zu", i, writer->count);
    }
    uint64_t begin = writer->places[i].begin, bytes = writer->places[i].end - begin;
    if (offset > bytes || count > bytes - offset) {
        return quant_fail(ctx, QUANT_EINVAL,
                          "safetensors: item %zu has %" PRIu64 " bytes, found %zu at %" PRIu64, i,
                          bytes, count, offset);
    }
    QUANT_TRY(quant_spans_add(ctx, &writer->written, begin + offset, begin + offset + count));
    uint64_t at = writer->data_start + begin + offset;
    return quant_output_write(ctx, writer->output, at, data, count);
}

quant_status quant_safetensors_commit(quant_context *ctx, quant_safetensors_writer *writer)
{
    quant_status s = QUANT_OK;
    uint64_t hole = quant_spans_first_hole(&writer->written);
    if (hole < writer->data_bytes) {
        s = quant_fail(ctx, QUANT_EINVAL, "safetensors: data byte %" PRIu64 " was not written",
                       hole);
    } else {
        s = quant_output_commit(ctx, writer->output);
        writer->output = NULL;
    }
    quant_safetensors_discard(ctx, writer);
    return s;
}

void quant_safetensors_discard(quant_context *ctx, quant_safetensors_writer *writer)
{
    if (!writer) {
        return;
    }
    quant_output_discard(ctx, writer->output);
    quant_spans_free(ctx, &writer->written);
    quant_release(ctx, writer->places, writer->count, sizeof *writer->places);
    quant_release(ctx, writer, 1, sizeof *writer);
}
