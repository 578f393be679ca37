/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/gguf_reader.h"
#include "quant/bank/utf8.h"

enum {
    T_U32 = 4, T_F32 = 6, T_BOOL = 7, T_STRING = 8, T_ARRAY = 9, T_U64 = 10, T_F64 = 12,
    T_COUNT = 13, KEY_MAX = 65535
};
#define STRING_MAX (UINT64_C(1) << 30)
#define ARRAY_MAX (UINT64_C(1) << 30)
#define KEPT_MAX (UINT64_C(1) << 24) /* longer values are skipped, with a note */
#define ALIGNMENT_MIN 8
#define ALIGNMENT_MAX (1 << 20)

static const unsigned char type_bytes[T_COUNT] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
static const char *const type_names[T_COUNT] = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

static quant_status read_type(quant_gguf *g, const char *what, uint32_t *type)
{
    uint64_t at = g->cursor.at;
    QUANT_TRY(quant_cursor_u32(&g->cursor, type, what));
    return *type < T_COUNT ? QUANT_OK
                           : quant_fail(g->ctx, QUANT_ETYPE, "%s, offset %" PRIu64 ": expected a "
                                        "type 0..12, found %" PRIu32, what, at, *type);
}

static quant_status bools(quant_gguf *g, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        unsigned char b;
        QUANT_TRY(quant_cursor_take(&g->cursor, &b, 1, "bool"));
        if (b > 1) {
            return quant_fail(g->ctx, QUANT_ERANGE, "bool, offset %" PRIu64 ": expected 0 or 1, "
                              "found %u", g->cursor.at - 1, b);
        }
    }
    return QUANT_OK;
}

static quant_status skip_strings(quant_gguf *g, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t n;
        QUANT_TRY(quant_cursor_u64(&g->cursor, &n, "string"));
        QUANT_TRY(quant_cursor_need(&g->cursor, n, "string"));
        if (n > STRING_MAX) {
            return quant_fail(g->ctx, QUANT_ELIMIT, "string in an array, offset %" PRIu64
                              ": expected at most 1 GiB, found %" PRIu64, g->cursor.at, n);
        }
        QUANT_TRY(quant_cursor_skip(&g->cursor, n, "string"));
    }
    return QUANT_OK;
}

static quant_status skip_array(quant_gguf *g)
{
    uint32_t type;
    uint64_t count, bytes;
    QUANT_TRY(read_type(g, "array element type", &type));
    if (type == T_ARRAY) {
        return quant_fail(g->ctx, QUANT_EUNSUPPORTED, "array, offset %" PRIu64 ": an array of "
                          "arrays is not supported", g->cursor.at - 4);
    }
    QUANT_TRY(quant_cursor_u64(&g->cursor, &count, "array length"));
    if (__builtin_mul_overflow(count, type == T_STRING ? 8u : type_bytes[type], &bytes)) {
        return quant_fail(g->ctx, QUANT_EOVERFLOW, "array length, offset %" PRIu64 ": %" PRIu64
                          " elements of %s do not fit 64 bits", g->cursor.at - 8, count,
                          type_names[type]);
    }
    QUANT_TRY(quant_cursor_need(&g->cursor, bytes, "array"));
    if (count > ARRAY_MAX) {
        return quant_fail(g->ctx, QUANT_ELIMIT,
                          "array length, offset %" PRIu64 ": expected at most "
                          "2^30, found %" PRIu64,
                          g->cursor.at - 8, count);
    }
    return type == T_STRING ? skip_strings(g, count)
           : type == T_BOOL ? bools(g, count)
                            : quant_cursor_skip(&g->cursor, bytes, "array");
}

/* Values that are no C string cannot be asked for; the file is no worse for it. */
static quant_status string_value(quant_gguf *g, const char *key)
{
    uint64_t length, start = g->cursor.at;
    QUANT_TRY(quant_cursor_u64(&g->cursor, &length, "string"));
    g->cursor.at = start;
    if (length > KEPT_MAX) {
        QUANT_TRY(quant_bank_add_note(g->ctx, g->bank, "value of key \"%.100s\" is longer than 16 "
                                      "MiB and not kept", key));
        return skip_strings(g, 1);
    }
    const char *text;
    size_t bytes;
    QUANT_TRY(quant_gguf_string(g, KEPT_MAX, "string", &text, &bytes));
    if (memchr(text, 0, bytes) || quant_utf8_valid(text, bytes) < bytes) {
        return quant_bank_add_note(g->ctx, g->bank, "value of key \"%.100s\" is no UTF-8 text",
                                   key);
    }
    return quant_bank_add_pair(g->ctx, g->bank, key, text);
}

static quant_status alignment(quant_gguf *g, uint32_t type)
{
    uint32_t a;
    if (type != T_U32) {
        return quant_fail(g->ctx, QUANT_ETYPE, "offset %" PRIu64 ": expected u32, found %s",
                          g->cursor.at - 4, type_names[type]);
    }
    QUANT_TRY(quant_cursor_u32(&g->cursor, &a, "value"));
    if (a < ALIGNMENT_MIN || a > ALIGNMENT_MAX || (a & (a - 1))) {
        return quant_fail(g->ctx, QUANT_EALIGN, "offset %" PRIu64 ": expected a power of two in "
                          "%d..%d, found %" PRIu32, g->cursor.at - 4, ALIGNMENT_MIN, ALIGNMENT_MAX,
                          a);
    }
    g->alignment = a;
    return QUANT_OK;
}

/* b[bytes], little-endian, of a scalar type. */
static quant_metadata number_of(uint32_t type, const unsigned char *b)
{
    quant_metadata v = {.kind = QUANT_METADATA_INTEGER};
    uint64_t u = 0;
    unsigned bits = 8u * type_bytes[type];
    for (unsigned i = 0; i < bits / 8; i++) {
        u |= (uint64_t)b[i] << 8 * i;
    }
    if (type == T_F32 || type == T_F64) {
        float f;
        uint32_t u32 = (uint32_t)u;
        memcpy(&f, &u32, sizeof f);
        memcpy(&v.real, &u, sizeof v.real);
        v.real = type == T_F32 ? (double)f : v.real;
        v.kind = QUANT_METADATA_REAL;
        return v;
    }
    if (type == T_U64 && u > INT64_MAX) {
        return (quant_metadata){.kind = QUANT_METADATA_REAL, .real = (double)u};
    }
    bool negative = type_names[type][0] == 'i' && u >> (bits - 1) & 1;
    u |= negative && bits < 64 ? ~UINT64_C(0) << bits : 0;
    memcpy(&v.integer, &u, sizeof v.integer);
    v.real = (double)v.integer;
    return v;
}

static quant_status number_value(quant_gguf *g, uint32_t type, const char *key)
{
    unsigned char b[8];
    QUANT_TRY(quant_cursor_take(&g->cursor, b, type_bytes[type], "value"));
    if (type == T_BOOL && b[0] > 1) {
        return quant_fail(g->ctx, QUANT_ERANGE, "bool, offset %" PRIu64 ": expected 0 or 1, found "
                          "%u", g->cursor.at - 1, b[0]);
    }
    quant_metadata v = number_of(type, b);
    return quant_bank_add_value(g->ctx, g->bank, key, &v);
}

static quant_status array_value(quant_gguf *g, const char *key)
{
    QUANT_TRY(skip_array(g));
    return quant_bank_add_value(g->ctx, g->bank, key,
                                &(quant_metadata){.kind = QUANT_METADATA_ARRAY});
}

static quant_status value(quant_gguf *g, const char *key)
{
    uint32_t type;
    QUANT_TRY(read_type(g, "value type", &type));
    if (strcmp(key, "general.alignment") == 0) {
        return alignment(g, type);
    }
    switch (type) {
    case T_STRING: return string_value(g, key);
    case T_ARRAY: return array_value(g, key);
    default: return number_value(g, type, key);
    }
}

static quant_status check_key(quant_gguf *g, const char *key, size_t bytes)
{
    uint64_t at = g->cursor.at - bytes;
    if (bytes == 0 || memchr(key, 0, bytes)) {
        return quant_fail(g->ctx, QUANT_ERANGE, "key, offset %" PRIu64 ": expected 1..%d bytes "
                          "without NUL, found %s", at, KEY_MAX, bytes ? "NUL" : "none");
    }
    size_t valid = quant_utf8_valid(key, bytes);
    if (valid < bytes) {
        return quant_fail(g->ctx, QUANT_EUTF8,
                          "key, offset %" PRIu64 ": expected UTF-8, found byte "
                          "0x%02x",
                          at + valid, (unsigned char)key[valid]);
    }
    return QUANT_OK;
}

static quant_status pair(quant_gguf *g)
{
    const char *key;
    size_t bytes;
    QUANT_TRY(quant_gguf_string(g, KEY_MAX, "key", &key, &bytes));
    QUANT_TRY(check_key(g, key, bytes));
    QUANT_TRY(quant_bank_grow(g->ctx, &g->keys, &g->key_room, g->key_count + 1, sizeof *g->keys));
    g->keys[g->key_count] = (quant_name){key, bytes, g->key_count};
    g->key_count++;
    quant_status s = value(g, key);
    if (s != QUANT_OK && s != QUANT_ENOMEM) {
        char prefix[160];
        snprintf(prefix, sizeof prefix, "key \"%.140s\"", key);
        return quant_fail_prefix(g->ctx, s, prefix);
    }
    return s;
}

quant_status quant_gguf_pairs(quant_gguf *g, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        QUANT_TRY(pair(g));
    }
    quant_names_sort(g->keys, g->key_count);
    const quant_name *twice = quant_names_duplicate(g->keys, g->key_count);
    return twice ? quant_fail(g->ctx, QUANT_EDUP, "key \"%s\": expected once, found again as pair "
                              "%zu", twice->text, twice->index)
                 : QUANT_OK;
}
