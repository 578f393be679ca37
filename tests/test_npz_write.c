/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_npz_write.c - what is written is read again; integers and numbers of metadata. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/npz_write.h"
#include "tests/bytes.h"
#include "tests/draw.h"
#include "tests/scratch.h"
#include "tests/test.h"

static const quant_dtype types[] = {QUANT_F64, QUANT_F32, QUANT_F16, QUANT_I64,
                                    QUANT_U64, QUANT_I32, QUANT_U32, QUANT_I16,
                                    QUANT_U16, QUANT_I8,  QUANT_U8,  QUANT_BOOL};
enum { TYPES = sizeof types / sizeof *types, MOST = 5 };

typedef struct drawn {
    quant_npz_item item;
    char name[32];
    unsigned char *data;
    size_t bytes;
} drawn;

static drawn draw_array(draw *d, size_t i)
{
    drawn a = {.data = NULL};
    size_t n = 1;
    a.item.dtype = types[draw_int(d, 0, TYPES - 1)];
    a.item.shape.rank = (int)draw_int(d, 0, 4);
    for (int k = 0; k < a.item.shape.rank; k++) {
        a.item.shape.dim[k] = (uint64_t)draw_int(d, draw_int(d, 0, 9) == 0 ? 0 : 1, 6);
        n *= a.item.shape.dim[k];
    }
    snprintf(a.name, sizeof a.name, "%s%zu", draw_int(d, 0, 1) ? "x/" : "\303\251", i);
    a.bytes = n * quant_dtype_bits(a.item.dtype) / 8;
    a.data = malloc(a.bytes + 1);
    for (size_t k = 0; k < a.bytes; k++) {
        a.data[k] = (unsigned char)draw_int(d, 0, 255);
    }
    return a;
}

/* Arrays in turns, a few bytes at a time. */
static void put_in_turns(quant_context *ctx, quant_npz_writer *w, const drawn *a, size_t count,
                         draw *d)
{
    size_t done[MOST] = {0}, left = 1;
    while (left) {
        left = 0;
        for (size_t i = 0; i < count; i++) {
            size_t rest = a[i].bytes - done[i], n = (size_t)draw_int(d, 0, 400);
            n = n < rest ? n : rest;
            CHECK_OK(ctx, quant_npz_put(ctx, w, i, a[i].data + done[i], n));
            done[i] += n;
            left += a[i].bytes - done[i];
        }
    }
}

static int same_bank(quant_context *ctx, quant_bank *bank, const drawn *a, size_t count)
{
    int same = quant_bank_count(bank) == count;
    for (size_t i = 0; same && i < count; i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        unsigned char *raw = malloc(a[i].bytes + 1);
        same = strcmp(t->name, a[i].name) == 0 && t->dtype == a[i].item.dtype &&
               t->shape.rank == a[i].item.shape.rank && t->bytes == a[i].bytes &&
               memcmp(t->shape.dim, a[i].item.shape.dim, sizeof(uint64_t[4])) == 0 &&
               quant_bank_read_raw(ctx, bank, i, 0, t->bytes, raw) == QUANT_OK &&
               memcmp(raw, a[i].data, a[i].bytes) == 0;
        free(raw);
    }
    return same;
}

static void round_trips(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        quant_context *ctx = quant_context_new(NULL);
        draw d = draw_begin("npz", k);
        size_t count = (size_t)draw_int(&d, 0, MOST);
        drawn a[MOST];
        quant_npz_item items[MOST];
        const char *path = scratch_memory("w.npz");
        quant_npz_writer *w = NULL;
        quant_bank *bank = NULL;
        for (size_t i = 0; i < count; i++) {
            a[i] = draw_array(&d, i);
            items[i] = a[i].item;
            items[i].name = a[i].name;
        }
        CHECK_OK(ctx, quant_npz_create(ctx, path, items, count, &w));
        put_in_turns(ctx, w, a, count, &d);
        CHECK_OK(ctx, quant_npz_commit(ctx, w));
        CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
        if (!bank || !same_bank(ctx, bank, a, count)) {
            test_failed_case(k, "%zu arrays", count);
            CU_FAIL("round trip");
        }
        quant_bank_close(ctx, bank);
        remove(path);
        for (size_t i = 0; i < count; i++) {
            free(a[i].data);
        }
        quant_context_free(ctx);
    }
}

/* 65536 entries do not fit the old end record. */
static void more_arrays_than_16_bits(void)
{
    enum { N = 65536 };
    quant_context *ctx = quant_context_new(NULL);
    quant_npz_item *items = calloc(N, sizeof *items);
    char(*names)[16] = calloc(N, sizeof *names);
    const char *path = scratch_memory("many.npz");
    quant_npz_writer *w = NULL;
    quant_bank *bank = NULL;
    for (unsigned i = 0; i < N; i++) {
        snprintf(names[i], sizeof names[i], "%05x", i);
        items[i] = (quant_npz_item){names[i], QUANT_U8, {.rank = 0}};
    }
    CHECK_OK(ctx, quant_npz_create(ctx, path, items, N, &w));
    for (unsigned i = 0; w && i < N; i++) {
        unsigned char c = (unsigned char)i;
        quant_npz_put(ctx, w, i, &c, 1);
    }
    CHECK_OK(ctx, quant_npz_commit(ctx, w));
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    if (bank) {
        int64_t last = 0;
        CU_ASSERT_EQUAL(quant_bank_count(bank), N);
        CHECK_OK(ctx, quant_bank_read_i64(ctx, bank, N - 1, 0, 1, &last));
        CU_ASSERT_EQUAL(last, 255);
    }
    quant_bank_close(ctx, bank);
    remove(path);
    free(items);
    free(names);
    quant_context_free(ctx);
}

static void refusals(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *path = test_scratch_path("never.npz");
    quant_npz_writer *w = NULL;
    const quant_shape one = {1, {1}};
    const struct {
        quant_npz_item items[2];
        size_t count;
        quant_status expected;
    } rows[] = {{{{"a", QUANT_U8, one}, {"a", QUANT_U8, one}}, 2, QUANT_EDUP},
                {{{"", QUANT_U8, one}}, 1, QUANT_ENAME},
                {{{NULL, QUANT_U8, one}}, 1, QUANT_ENAME},
                {{{"/a", QUANT_U8, one}}, 1, QUANT_ENAME},
                {{{"\377", QUANT_U8, one}}, 1, QUANT_ENAME},
                {{{"a", QUANT_BF16, one}}, 1, QUANT_EUNSUPPORTED},
                {{{"a", QUANT_F64, {2, {UINT64_C(1) << 40, 1 << 20}}}}, 1, QUANT_EOVERFLOW}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CU_ASSERT_EQUAL(quant_npz_create(ctx, path, rows[i].items, rows[i].count, &w),
                        rows[i].expected);
    }
    CHECK_OK(ctx, quant_npz_create(ctx, path, &(quant_npz_item){"a", QUANT_I32, one}, 1, &w));
    CU_ASSERT_EQUAL(quant_npz_put(ctx, w, 0, "12345", 5), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_npz_put(ctx, w, 1, "1", 1), QUANT_EINVAL);
    CHECK_OK(ctx, quant_npz_put(ctx, w, 0, "123", 3));
    CU_ASSERT_EQUAL(quant_npz_commit(ctx, w), QUANT_EINVAL);
    size_t read;
    CU_ASSERT_PTR_NULL(scratch_get(path, &read));
    quant_context_free(ctx);
}

/* ---- integers and metadata ------------------------------------------------------------------ */

static void integers_of_any_type(void)
{
    static const struct {
        quant_dtype dtype;
        uint64_t stored;
        int64_t value;
    } rows[] = {{QUANT_I8, 0x80, -128}, {QUANT_U8, 0x80, 128}, {QUANT_I16, 0x8001, -32767},
                {QUANT_U16, 0x8001, 32769}, {QUANT_I32, 0xffffffff, -1},
                {QUANT_U32, 0xffffffff, 4294967295}, {QUANT_I64, 1ull << 63, INT64_MIN},
                {QUANT_U64, INT64_MAX, INT64_MAX}, {QUANT_BOOL, 1, 1}};
    enum { ROWS = sizeof rows / sizeof *rows };
    quant_context *ctx = quant_context_new(NULL);
    quant_npz_item items[ROWS + 2];
    quant_npz_writer *w = NULL;
    quant_bank *bank = NULL;
    const char *path = test_scratch_path("integers.npz");
    char names[ROWS + 2][24];
    for (size_t i = 0; i < ROWS + 2; i++) {
        snprintf(names[i], sizeof names[i], "%zu", i);
        items[i] = (quant_npz_item){names[i], i < ROWS ? rows[i].dtype
                                              : i == ROWS ? QUANT_U64 : QUANT_F32, {.rank = 0}};
    }
    CHECK_OK(ctx, quant_npz_create(ctx, path, items, ROWS + 2, &w));
    for (size_t i = 0; w && i < ROWS + 2; i++) {
        uint64_t stored = i < ROWS ? rows[i].stored : UINT64_MAX;
        quant_npz_put(ctx, w, i, &stored, quant_dtype_bits(items[i].dtype) / 8);
    }
    CHECK_OK(ctx, quant_npz_commit(ctx, w));
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    for (size_t i = 0; bank && i < ROWS; i++) {
        int64_t v = 0;
        CHECK_OK(ctx, quant_bank_read_i64(ctx, bank, i, 0, 1, &v));
        CU_ASSERT_EQUAL(v, rows[i].value);
    }
    if (bank) {
        int64_t v;
        CU_ASSERT_EQUAL(quant_bank_read_i64(ctx, bank, ROWS, 0, 1, &v), QUANT_ERANGE);
        CU_ASSERT_EQUAL(quant_bank_read_i64(ctx, bank, ROWS + 1, 0, 1, &v), QUANT_ETYPE);
    }
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

static void numbers_among_metadata(void)
{
    static const struct {
        const char *words; /* type and value of key k */
        quant_metadata_kind kind;
        int64_t integer;
        double real;
    } rows[] = {{"d:0 b:200", QUANT_METADATA_INTEGER, 200, 200},
                {"d:1 b:200", QUANT_METADATA_INTEGER, -56, -56},
                {"d:3 w:0xffff", QUANT_METADATA_INTEGER, -1, -1},
                {"d:4 d:0xffffffff", QUANT_METADATA_INTEGER, 4294967295, 4294967295.0},
                {"d:5 d:0x80000000", QUANT_METADATA_INTEGER, INT32_MIN, INT32_MIN},
                {"d:6 d:0x3f000000", QUANT_METADATA_REAL, 0, 0.5},
                {"d:7 b:1", QUANT_METADATA_INTEGER, 1, 1},
                {"d:10 q:2^63", QUANT_METADATA_REAL, 0, 0x1p63},
                {"d:11 f:8", QUANT_METADATA_INTEGER, -1, -1},
                {"d:12 q:0x3ff8000000000000", QUANT_METADATA_REAL, 0, 1.5},
                {"d:9 d:4 q:2 d:1 d:2", QUANT_METADATA_ARRAY, 0, 0}};
    quant_context *ctx = quant_context_new(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bytes b = {NULL, 0, 0};
        bytes_assemble(&b, "r:GGUF d:3 q:0 q:1 s:k");
        bytes_assemble(&b, rows[i].words);
        quant_bank *bank = bytes_open(ctx, &b);
        if (bank) {
            quant_metadata v = quant_bank_metadata_value(bank, "k");
            CU_ASSERT_EQUAL(v.kind, rows[i].kind);
            CU_ASSERT_EQUAL(v.integer, rows[i].integer);
            CU_ASSERT_EQUAL(v.real, rows[i].real);
            CU_ASSERT_PTR_NULL(quant_bank_metadata(bank, "k"));
            CU_ASSERT_EQUAL(quant_bank_metadata_value(bank, "z").kind, QUANT_METADATA_ABSENT);
        }
        quant_bank_close(ctx, bank);
    }
    quant_context_free(ctx);
}

TEST_SUITE(npz_write, {"what is written is read again", round_trips},
           {"more arrays than 16 bits count", more_arrays_than_16_bits},
           {"what cannot be written is refused", refusals},
           {"integers of any type, and nothing else, as int64", integers_of_any_type},
           {"numbers among the metadata of a GGUF", numbers_among_metadata})
