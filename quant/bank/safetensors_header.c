/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/safetensors_header.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/utf8.h"

typedef quant_safetensors_header header;

quant_status quant_safetensors_blame(quant_context *ctx, quant_status s, const char *name)
{
    if (s == QUANT_OK || s == QUANT_ENOMEM) {
        return s;
    }
    char prefix[160];
    snprintf(prefix, sizeof prefix, "tensor \"%.140s\"", name);
    return quant_fail_prefix(ctx, s, prefix);
}

static quant_status expect(header *h, quant_json_kind kind, const char *what, quant_json_token *t)
{
    QUANT_TRY(quant_json_next(&h->scan, t));
    return t->kind == kind ? QUANT_OK
                           : quant_fail(h->ctx, QUANT_ETYPE, "%s, header offset %zu: expected %s, "
                                        "found %s", what, t->at, quant_json_kind_name(kind),
                                        quant_json_kind_name(t->kind));
}

/* A key or string as a C string of the bank. */
static quant_status text_of(header *h, const quant_json_token *t, const char *what,
                            const char **text)
{
    if (t->has_nul) {
        return quant_fail(h->ctx, QUANT_ENAME, "%s, header offset %zu: expected no NUL, found "
                          "\\u0000", what, t->at);
    }
    char *copy = quant_bank_text(h->ctx, h->bank, t->text, t->bytes);
    if (!copy) {
        return QUANT_ENOMEM;
    }
    copy[quant_json_unescape(t, copy)] = '\0';
    *text = copy;
    return QUANT_OK;
}

static quant_status check_keys(header *h)
{
    size_t count = h->bank->pair_count - h->pair_start;
    if (count == 0) {
        return QUANT_OK;
    }
    const quant_pair *pairs = h->bank->pairs + h->pair_start;
    quant_name *names = quant_alloc(h->ctx, count, sizeof *names);
    if (!names) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = (quant_name){pairs[i].key, strlen(pairs[i].key), i};
    }
    quant_names_sort(names, count);
    const quant_name *twice = quant_names_duplicate(names, count);
    quant_status s = twice ? quant_fail(h->ctx, QUANT_EDUP, "__metadata__: expected the key \"%s\" "
                                        "once, found it twice", twice->text)
                           : QUANT_OK;
    quant_release(h->ctx, names, count, sizeof *names);
    return s;
}

static quant_status metadata(header *h)
{
    quant_json_token t;
    if (h->metadata_seen) {
        return quant_fail(h->ctx, QUANT_EDUP, "__metadata__, header offset %zu: found twice",
                          h->scan.at);
    }
    h->metadata_seen = true;
    h->pair_start = h->bank->pair_count;
    QUANT_TRY(expect(h, QUANT_JSON_OBJECT, "__metadata__", &t));
    for (;;) {
        const char *key, *value;
        QUANT_TRY(quant_json_next(&h->scan, &t));
        if (t.kind == QUANT_JSON_OBJECT_END) {
            return check_keys(h);
        }
        QUANT_TRY(text_of(h, &t, "__metadata__ key", &key));
        QUANT_TRY(expect(h, QUANT_JSON_STRING, "__metadata__ value", &t));
        QUANT_TRY(text_of(h, &t, "__metadata__ value", &value));
        QUANT_TRY(quant_bank_add_pair(h->ctx, h->bank, key, value));
    }
}

static quant_status dtype(header *h, quant_tensor *tensor)
{
    quant_json_token t;
    char name[64] = "";
    QUANT_TRY(expect(h, QUANT_JSON_STRING, "dtype", &t));
    if (t.bytes < sizeof name) {
        name[quant_json_unescape(&t, name)] = '\0';
    }
    if (t.bytes >= sizeof name || t.has_nul || !quant_dtype_find(name, &tensor->dtype)) {
        return quant_fail(h->ctx, QUANT_EDTYPE, "dtype, header offset %zu: expected one of the 22 "
                          "names, found \"%.*s\"", t.at, t.bytes < 40 ? (int)t.bytes : 40, t.text);
    }
    tensor->dtype_text = quant_dtype_name(tensor->dtype);
    return QUANT_OK;
}

static quant_status shape(header *h, quant_tensor *tensor)
{
    quant_json_token t;
    tensor->shape = (quant_shape){.rank = 0};
    QUANT_TRY(expect(h, QUANT_JSON_ARRAY, "shape", &t));
    for (;;) {
        QUANT_TRY(quant_json_next(&h->scan, &t));
        if (t.kind == QUANT_JSON_ARRAY_END) {
            return QUANT_OK;
        }
        uint64_t dim;
        QUANT_TRY(quant_json_u64(&h->scan, &t, "shape", &dim));
        if (tensor->shape.rank == QUANT_MAX_RANK) {
            return quant_fail(h->ctx, QUANT_ELIMIT, "shape, header offset %zu: expected at most %d "
                              "axes", t.at, QUANT_MAX_RANK);
        }
        tensor->shape.dim[tensor->shape.rank++] = dim;
    }
}

static quant_status offsets(header *h, uint64_t range[2])
{
    quant_json_token t;
    QUANT_TRY(expect(h, QUANT_JSON_ARRAY, "data_offsets", &t));
    for (int n = 0;; n++) {
        QUANT_TRY(quant_json_next(&h->scan, &t));
        if (t.kind == QUANT_JSON_ARRAY_END && n == 2) {
            return QUANT_OK;
        }
        if (t.kind == QUANT_JSON_ARRAY_END || n == 2) {
            return quant_fail(h->ctx, QUANT_ERANGE, "data_offsets, header offset %zu: expected two "
                              "integers, found %s", t.at, n == 2 ? "more" : "fewer");
        }
        QUANT_TRY(quant_json_u64(&h->scan, &t, "data_offsets", &range[n]));
    }
}

static quant_status check_size(header *h, quant_tensor *tensor, const uint64_t range[2])
{
    uint64_t bits;
    QUANT_TRY(quant_shape_elements(h->ctx, &tensor->shape, &tensor->elements));
    if (__builtin_mul_overflow(tensor->elements, quant_dtype_bits(tensor->dtype), &bits)) {
        return quant_fail(h->ctx, QUANT_EOVERFLOW, "shape: %" PRIu64 " elements of %s do not fit "
                          "64 bits", tensor->elements, tensor->dtype_text);
    }
    if (bits % 8) {
        return quant_fail(h->ctx, QUANT_EALIGN, "shape: expected whole bytes, found %" PRIu64
                          " bits of %s", bits, tensor->dtype_text);
    }
    tensor->bytes = bits / 8;
    if (range[0] > range[1]) {
        return quant_fail(h->ctx, QUANT_ERANGE, "data_offsets: expected begin <= end, found [%"
                          PRIu64 ", %" PRIu64 "]", range[0], range[1]);
    }
    if (range[1] - range[0] != tensor->bytes) {
        return quant_fail(h->ctx, QUANT_ESIZE, "data_offsets: expected %" PRIu64 " bytes as shape "
                          "and dtype say, found %" PRIu64, tensor->bytes, range[1] - range[0]);
    }
    return QUANT_OK;
}

/* One field of a record; bit i of *seen for the i-th of the three. */
static quant_status field(header *h, const quant_json_token *key, unsigned *seen,
                          quant_tensor *tensor, uint64_t range[2])
{
    static const char *const names[3] = {"dtype", "shape", "data_offsets"};
    char name[32] = "";
    if (key->bytes < sizeof name) {
        name[quant_json_unescape(key, name)] = '\0';
    }
    int f = 0;
    while (f < 3 && (key->has_nul || strcmp(name, names[f]) != 0)) {
        f++;
    }
    if (f == 3) {
        return quant_fail(h->ctx, QUANT_EFIELD, "header offset %zu: expected dtype, shape and "
                          "data_offsets, found \"%.*s\"", key->at,
                          key->bytes < 40 ? (int)key->bytes : 40, key->text);
    }
    if (*seen & 1U << f) {
        return quant_fail(h->ctx, QUANT_EDUP, "%s, header offset %zu: found twice", names[f],
                          key->at);
    }
    *seen |= 1U << f;
    return f == 0 ? dtype(h, tensor) : f == 1 ? shape(h, tensor) : offsets(h, range);
}

static quant_status record(header *h, quant_tensor *tensor, uint64_t range[2])
{
    quant_json_token t;
    unsigned seen = 0;
    QUANT_TRY(expect(h, QUANT_JSON_OBJECT, "record", &t));
    size_t at = t.at;
    for (;;) {
        QUANT_TRY(quant_json_next(&h->scan, &t));
        if (t.kind == QUANT_JSON_OBJECT_END) {
            break;
        }
        QUANT_TRY(field(h, &t, &seen, tensor, range));
    }
    if (seen != 7) {
        return quant_fail(h->ctx, QUANT_EFIELD, "header offset %zu: %s is missing", at,
                          !(seen & 1) ? "dtype" : !(seen & 2) ? "shape" : "data_offsets");
    }
    return check_size(h, tensor, range);
}

static quant_status entry(header *h, const quant_json_token *key)
{
    quant_entry e = {.source = h->source};
    uint64_t range[2] = {0, 0};
    QUANT_TRY(text_of(h, key, "tensor name", &e.tensor.name));
    if (strcmp(e.tensor.name, "__metadata__") == 0) {
        return metadata(h);
    }
    QUANT_TRY(quant_safetensors_blame(h->ctx, record(h, &e.tensor, range), e.tensor.name));
    e.offset = range[0];
    e.order = h->bank->count;
    e.swapped = __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__;
    return quant_bank_add(h->ctx, h->bank, &e);
}

/* The whole text once for syntax alone: a fault far behind an odd record is still a syntax error,
 * and depth is bounded in values that nobody looks at. */
static quant_status check_syntax(header *h)
{
    size_t valid = quant_utf8_valid(h->text, h->bytes);
    if (valid < h->bytes) {
        return quant_fail(h->ctx, QUANT_EUTF8, "header offset %zu: expected UTF-8, found byte "
                          "0x%02x", valid, (unsigned char)h->text[valid]);
    }
    quant_json_token t;
    h->scan = quant_json_begin(h->ctx, h->text, h->bytes);
    do {
        QUANT_TRY(quant_json_next(&h->scan, &t));
    } while (t.kind != QUANT_JSON_END);
    h->scan = quant_json_begin(h->ctx, h->text, h->bytes);
    return QUANT_OK;
}

quant_status quant_safetensors_parse(header *h)
{
    quant_json_token t;
    QUANT_TRY(check_syntax(h));
    QUANT_TRY(quant_json_next(&h->scan, &t));
    if (t.kind != QUANT_JSON_OBJECT) {
        return quant_fail(h->ctx, QUANT_ESYNTAX, "header offset %zu: expected '{', found %s", t.at,
                          quant_json_kind_name(t.kind));
    }
    if (t.at > 0) {
        QUANT_TRY(quant_bank_add_note(h->ctx, h->bank, "white space before the header's '{'"));
    }
    for (;;) {
        QUANT_TRY(quant_json_next(&h->scan, &t));
        if (t.kind == QUANT_JSON_OBJECT_END) {
            return QUANT_OK;
        }
        QUANT_TRY(entry(h, &t));
    }
}

