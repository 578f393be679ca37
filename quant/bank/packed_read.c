/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/packed_parts.h"
#include "quant/bank/reader.h"
#include "quant/internal.h"

struct quant_packed {
    quant_bank *bank;
    quant_packed_tensor *list; /* [room] */
    size_t count, room;
    bool *claimed;             /* [bank count]: the tensor is a part of a quantized one */
};

bool quant_pack_is(const quant_bank *bank)
{
    const char *schema = quant_bank_metadata(bank, "schema");
    return strcmp(quant_bank_format(bank), "safetensors") == 0 && schema &&
           strcmp(schema, QUANT_PACK_SCHEMA) == 0;
}

/* ---- "SCHEME|DIM,DIM,...|DTYPE" ------------------------------------------------------------- */

/* Decimal digits without sign or leading zero; NULL when there are none or they exceed 2^64-1. */
static const char *parse_dim(const char *p, uint64_t *dim)
{
    const char *start = p;
    uint64_t n = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(n, UINT64_C(10), &n) ||
            __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n)) {
            return NULL;
        }
    }
    *dim = n;
    return p == start || (*start == '0' && p - start > 1) ? NULL : p;
}

/* The shape up to the bar behind it; NULL when it is none. */
static const char *parse_shape(const char *p, quant_shape *shape)
{
    *shape = (quant_shape){0, {0}};
    while (*p != '|') {
        if (shape->rank == QUANT_MAX_RANK || !(p = parse_dim(p, &shape->dim[shape->rank++])) ||
            (*p != ',' && *p != '|') || (*p == ',' && p[1] == '|')) {
            return NULL;
        }
        p += *p == ',';
    }
    return p;
}

/* A bad scheme in a file is a bad file, not a bad command line. */
static quant_status parse_value(quant_context *ctx, const char *value, quant_packed_tensor *t)
{
    char text[QUANT_SCHEME_TEXT];
    const char *bar = strchr(value, '|');
    size_t length = bar ? (size_t)(bar - value) : sizeof text;
    if (length >= sizeof text) {
        return quant_fail(ctx, QUANT_ESYNTAX, "expected SCHEME|SHAPE|DTYPE, found \"%.100s\"",
                          value);
    }
    memcpy(text, value, length);
    text[length] = '\0';
    if (quant_scheme_parse(ctx, text, &t->scheme) != QUANT_OK) {
        return QUANT_ESYNTAX;
    }
    const char *end = parse_shape(bar + 1, &t->shape);
    if (!end) {
        return quant_fail(ctx, QUANT_ESYNTAX, "expected a shape, found \"%.100s\"", bar + 1);
    }
    if (!quant_dtype_find(end + 1, &t->source) || !quant_dtype_is_decoded(t->source)) {
        return quant_fail(ctx, QUANT_EDTYPE, "expected F64, F32, F16 or BF16, found \"%.100s\"",
                          end + 1);
    }
    return quant_encode_layout(ctx, &t->scheme, &t->shape, &t->layout);
}

/* ---- directory ------------------------------------------------------------------------------ */

bool quant_shape_same(const quant_shape *a, const quant_shape *b)
{
    return a->rank == b->rank &&
           memcmp(a->dim, b->dim, (size_t)a->rank * sizeof a->dim[0]) == 0;
}

static void print_shape(const quant_shape *shape, char text[200])
{
    int n = snprintf(text, 200, "[");
    for (int d = 0; d < shape->rank; d++) {
        n += snprintf(text + n, 200 - (size_t)n, "%s%" PRIu64, d ? ", " : "", shape->dim[d]);
    }
    snprintf(text + n, 200 - (size_t)n, "]");
}

/* full[...] is NAME and the part's suffix. */
static quant_status claim_part(quant_context *ctx, quant_packed *packed, const quant_part *part,
                               const char *full, size_t *index)
{
    char want[200], found[200];
    QUANT_TRY(quant_bank_find(ctx, packed->bank, full, index)); /* E_FIELD names it */
    const quant_tensor *t = quant_bank_tensor(packed->bank, *index);
    if (packed->claimed[*index]) {
        return quant_fail(ctx, QUANT_EDUP, "%s belongs to two tensors", full);
    }
    packed->claimed[*index] = true;
    if (t->dtype != part->dtype) {
        return quant_fail(ctx, QUANT_EDTYPE, "%s: expected %s, found %s", full,
                          quant_dtype_name(part->dtype), t->dtype_text);
    }
    if (!quant_shape_same(&t->shape, &part->shape)) {
        print_shape(&part->shape, want);
        print_shape(&t->shape, found);
        return quant_fail(ctx, QUANT_ESIZE, "%s: expected shape %s, found %s", full, want, found);
    }
    return QUANT_OK;
}

static quant_status claim_parts(quant_context *ctx, quant_packed *packed, quant_packed_tensor *t)
{
    size_t room = strlen(t->name) + QUANT_SUFFIX;
    char *full = quant_alloc(ctx, room, 1);
    quant_status s = full ? QUANT_OK : QUANT_ENOMEM;
    for (int k = 0; k < QUANT_PARTS && s == QUANT_OK; k++) {
        quant_part part;
        t->part[k] = SIZE_MAX;
        if (quant_packed_part(&t->scheme, &t->shape, &t->layout, k, &part)) {
            snprintf(full, room, "%s%s", t->name, part.suffix);
            s = claim_part(ctx, packed, &part, full, &t->part[k]);
        }
    }
    quant_release(ctx, full, room, 1);
    return s;
}

static quant_status add_quantized(quant_context *ctx, quant_packed *packed, const quant_pair *pair)
{
    quant_packed_tensor *t = &packed->list[packed->count];
    memset(t, 0, sizeof *t);
    t->name = pair->key + strlen(QUANT_PACK_KEY);
    t->tensor = SIZE_MAX;
    quant_status s = parse_value(ctx, pair->value.text, t);
    s = s == QUANT_OK ? claim_parts(ctx, packed, t) : s;
    if (s != QUANT_OK) {
        return quant_packed_blame(ctx, s, t->name);
    }
    packed->count++;
    return QUANT_OK;
}

/* A tensor that nobody claimed was kept; it must not bear the name of a quantized one. */
static quant_status add_kept(quant_context *ctx, quant_packed *packed)
{
    size_t quantized = packed->count;
    for (size_t k = 0; k < quantized; k++) {
        size_t i;
        if (quant_bank_find(ctx, packed->bank, packed->list[k].name, &i) == QUANT_OK &&
            !packed->claimed[i]) {
            return quant_fail(ctx, QUANT_EDUP, "tensor %s: stored both quantized and as it is",
                              packed->list[k].name);
        }
    }
    for (size_t i = 0; i < quant_bank_count(packed->bank); i++) {
        if (!packed->claimed[i]) {
            const quant_tensor *from = quant_bank_tensor(packed->bank, i);
            quant_packed_tensor *t = &packed->list[packed->count++];
            *t = (quant_packed_tensor){.name = from->name, .kept = true, .tensor = i,
                                       .shape = from->shape, .source = from->dtype};
            memset(t->part, 0xff, sizeof t->part);
        }
    }
    return QUANT_OK;
}

static quant_status read_directory(quant_context *ctx, quant_packed *packed)
{
    const quant_bank *bank = packed->bank;
    size_t prefix = strlen(QUANT_PACK_KEY);
    packed->room = bank->count + bank->pair_count;
    packed->list = quant_alloc(ctx, packed->room, sizeof *packed->list);
    packed->claimed = quant_alloc(ctx, bank->count, sizeof *packed->claimed);
    if (!packed->list || !packed->claimed) {
        return QUANT_ENOMEM;
    }
    memset(packed->claimed, 0, bank->count * sizeof *packed->claimed);
    for (size_t i = 0; i < bank->pair_count; i++) {
        if (strncmp(bank->pairs[i].key, QUANT_PACK_KEY, prefix) == 0) {
            QUANT_TRY(add_quantized(ctx, packed, &bank->pairs[i]));
        }
    }
    return add_kept(ctx, packed);
}

static quant_status check_schema(quant_context *ctx, const quant_bank *bank)
{
    const char *schema = quant_bank_metadata(bank, "schema");
    if (strcmp(quant_bank_format(bank), "safetensors") != 0 || !schema) {
        return quant_fail(ctx, QUANT_EFIELD,
                          "__metadata__: expected \"schema\" = \"%s\", found none",
                          QUANT_PACK_SCHEMA);
    }
    if (strcmp(schema, QUANT_PACK_SCHEMA) != 0) {
        return quant_fail(ctx, QUANT_EVERSION, "schema: expected \"%s\", found \"%.100s\"",
                          QUANT_PACK_SCHEMA, schema);
    }
    return QUANT_OK;
}

quant_status quant_packed_open(quant_context *ctx, quant_bank *bank, quant_packed **packed)
{
    if (!bank || !packed) {
        return quant_fail(ctx, QUANT_EINVAL, "packed: an argument is NULL");
    }
    QUANT_TRY(check_schema(ctx, bank));
    quant_packed *p = quant_alloc(ctx, 1, sizeof *p);
    if (!p) {
        return QUANT_ENOMEM;
    }
    *p = (quant_packed){.bank = bank};
    quant_status s = read_directory(ctx, p);
    if (s != QUANT_OK) {
        quant_packed_close(ctx, p);
        return s;
    }
    *packed = p;
    return QUANT_OK;
}

void quant_packed_close(quant_context *ctx, quant_packed *packed)
{
    if (packed) {
        quant_release(ctx, packed->claimed, packed->bank->count, sizeof *packed->claimed);
        quant_release(ctx, packed->list, packed->room, sizeof *packed->list);
        quant_release(ctx, packed, 1, sizeof *packed);
    }
}

quant_bank *quant_packed_bank(const quant_packed *packed)
{
    return packed->bank;
}

size_t quant_packed_count(const quant_packed *packed)
{
    return packed->count;
}

const quant_packed_tensor *quant_packed_tensor_at(const quant_packed *packed, size_t i)
{
    return i < packed->count ? &packed->list[i] : NULL;
}

/* ---- data ----------------------------------------------------------------------------------- */

/* All ones in the exponent mean infinity or NaN; this is the index of the first such element. */
static size_t first_nonfinite(quant_dtype dtype, const unsigned char *p, size_t bytes)
{
    size_t size = quant_dtype_bits(dtype) / 8, n = bytes / size;
    uint32_t mask = dtype == QUANT_F32 ? 0x7f800000 : dtype == QUANT_F16 ? 0x7c00 : 0x7f80;
    for (size_t i = 0; i < n; i++) {
        uint32_t word = 0;
        memcpy(&word, p + i * size, size);
        if ((word & mask) == mask) {
            return i;
        }
    }
    return n;
}

static quant_status read_part(quant_context *ctx, quant_bank *bank, size_t i,
                              const quant_part *part, unsigned char *to)
{
    QUANT_TRY(quant_bank_read_raw(ctx, bank, i, 0, part->segment.bytes, to));
    if (part->dtype == QUANT_U8 || part->dtype == QUANT_I8) {
        return QUANT_OK;
    }
    size_t bad = first_nonfinite(part->dtype, to, part->segment.bytes);
    if (bad < part->segment.bytes * 8 / quant_dtype_bits(part->dtype)) {
        return quant_fail(ctx, QUANT_ENONFINITE, "%s: expected finite numbers, element %zu is not",
                          quant_bank_tensor(bank, i)->name, bad);
    }
    return QUANT_OK;
}

quant_status quant_packed_read(quant_context *ctx, quant_packed *packed, size_t i, void *buffer)
{
    if (i >= packed->count || packed->list[i].kept) {
        return quant_fail(ctx, QUANT_EINVAL, "packed: tensor %zu is not a quantized one", i);
    }
    const quant_packed_tensor *t = &packed->list[i];
    unsigned char *bytes = buffer;
    size_t end = 0;
    for (int k = 0; k < QUANT_PARTS; k++) {
        quant_part part;
        if (quant_packed_part(&t->scheme, &t->shape, &t->layout, k, &part)) {
            memset(bytes + end, 0, part.segment.offset - end);
            end = part.segment.offset + part.segment.bytes;
            QUANT_TRY(read_part(ctx, packed->bank, t->part[k], &part, bytes + part.segment.offset));
        }
    }
    return QUANT_OK;
}
