/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/safetensors_write.h"
#include "tests/random_scheme.h"
#include "tests/scratch.h"
#include "tests/test.h"

static const quant_safetensors_item floats = {"attn.0", QUANT_F32, {3, {1, 2, 3}}};

/* The very bytes that the format's reference library is tested with: a header of 64 bytes. */
static void six_floats_give_the_known_bytes(void)
{
    static const char header[] = "\x40\0\0\0\0\0\0\0{\"attn.0\":{\"dtype\":\"F32\","
                                 "\"shape\":[1,2,3],\"data_offsets\":[0,24]}}";
    quant_context *ctx = quant_context_new(NULL);
    const char *path = scratch_join(scratch_folder("golden"), "f");
    quant_safetensors_writer *w = NULL;
    float data[6] = {0, 1, 2, 3, 4, 5};
    char want[8 + 64 + 24];
    CU_ASSERT_EQUAL(sizeof header - 1, 8 + 64);
    memset(want, ' ', sizeof want);
    memcpy(want, header, sizeof header - 1);
    memcpy(want + 72, data, sizeof data);
    CHECK_OK(ctx, quant_safetensors_create(ctx, path, &floats, 1, NULL, 0, &w));
    CHECK_OK(ctx, quant_safetensors_put(ctx, w, 0, 8, data + 2, 16));
    CHECK_OK(ctx, quant_safetensors_put(ctx, w, 0, 0, data, 8));
    CHECK_OK(ctx, quant_safetensors_commit(ctx, w));
    CU_ASSERT(scratch_holds(path, want, sizeof want));
    quant_context_free(ctx);
}

static void metadata_comes_first_and_text_is_escaped(void)
{
    static const char header[] =
        "{\"__metadata__\":{\"z\":\"1\",\"a\\\"\\\\\":\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/\"},"
        "\"b\":{\"dtype\":\"F64\",\"shape\":[],\"data_offsets\":[0,8]},"
        "\"\":{\"dtype\":\"BF16\",\"shape\":[0,4],\"data_offsets\":[8,8]},"
        "\"\xc3\xa9\xf0\x9f\x98\x80\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[8,9]}}";
    quant_context *ctx = quant_context_new(NULL);
    const char *path = scratch_join(scratch_folder("escape"), "f");
    quant_safetensors_item items[] = {{"\xc3\xa9\xf0\x9f\x98\x80", QUANT_U8, {1, {1}}},
                                      {"", QUANT_BF16, {2, {0, 4}}}, {"b", QUANT_F64, {0, {0}}}};
    quant_safetensors_pair pairs[] = {{"z", "1"}, {"a\"\\", "\b\f\n\r\t\x01\x1f\x7f/"}};
    quant_safetensors_writer *w = NULL;
    quant_bank *bank = NULL;
    CHECK_OK(ctx, quant_safetensors_create(ctx, path, items, 3, pairs, 2, &w));
    CHECK_OK(ctx, quant_safetensors_put(ctx, w, 2, 0, "12345678", 8));
    CHECK_OK(ctx, quant_safetensors_put(ctx, w, 1, 0, NULL, 0));
    CHECK_OK(ctx, quant_safetensors_put(ctx, w, 0, 0, "9", 1));
    CHECK_OK(ctx, quant_safetensors_commit(ctx, w));
    size_t bytes = 0;
    char *found = scratch_get(path, &bytes);
    CU_ASSERT(bytes > 8 + sizeof header && memcmp(found + 8, header, sizeof header - 1) == 0);
    CU_ASSERT_EQUAL(found[0] % 8, 0);
    CU_ASSERT(memcmp(found + bytes - 9, "123456789", 9) == 0);
    free(found);
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    CU_ASSERT_EQUAL(quant_bank_count(bank), 3);
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(bank, pairs[1].key), pairs[1].value);
    CU_ASSERT_PTR_NULL(quant_bank_note(bank, 0));
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

static void an_empty_file_is_a_file(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *path = scratch_join(scratch_folder("empty"), "f");
    quant_safetensors_writer *w = NULL;
    CHECK_OK(ctx, quant_safetensors_create(ctx, path, NULL, 0, NULL, 0, &w));
    CHECK_OK(ctx, quant_safetensors_commit(ctx, w));
    CU_ASSERT(scratch_holds(path, "\x08\0\0\0\0\0\0\0{}      ", 16));
    quant_context_free(ctx);
}

#define ONE {1, {1}}
#define HUGE_SHAPE {2, {UINT64_C(1) << 61, 1}}
static const struct {
    quant_safetensors_item items[2];
    quant_safetensors_pair pairs[2];
    quant_status want;
} bad_files[] = {
    {{{"__metadata__", QUANT_F32, ONE}, {"b", QUANT_F32, ONE}}, 
     {{"a", ""}, {"b", ""}}, QUANT_ENAME},
    {{{"a", QUANT_F32, ONE}, {"a", QUANT_U8, ONE}}, 
     {{"a", ""}, {"b", ""}}, QUANT_EDUP},
    {{{"a", QUANT_F32, ONE}, {"b", QUANT_U8, ONE}}, 
     {{"a", ""}, {"a", "x"}}, QUANT_EDUP},
    {{{"a", QUANT_F32, ONE}, {"\xc0\xaf", QUANT_U8, ONE}}, 
     {{"a", ""}, {"b", ""}}, QUANT_EUTF8},
    {{{"a", QUANT_F32, ONE}, {"\xed\xa0\x80", QUANT_U8, ONE}}, 
     {{"a", ""}, {"b", ""}}, QUANT_EUTF8},
    {{{"a", QUANT_F32, ONE}, {"b", QUANT_U8, ONE}}, 
     {{"a", "\xff"}, {"b", ""}}, QUANT_EUTF8},
    {{{"a", QUANT_F32, ONE}, {"b", QUANT_U8, ONE}}, 
     {{"\xf4\x90\x80\x80", ""}, {"b", ""}}, QUANT_EUTF8},
    {{{"a", QUANT_F32, ONE}, {NULL, QUANT_U8, ONE}}, 
     {{"a", ""}, {"b", ""}}, QUANT_EINVAL},
    {{{"a", QUANT_F32, ONE}, {"b", QUANT_U8, ONE}}, 
     {{"a", NULL}, {"b", ""}}, QUANT_EINVAL},
    {{{"a", QUANT_F4, ONE}, {"b", QUANT_U8, ONE}}, 
     {{"a", ""}, {"b", ""}}, QUANT_EALIGN},
    {{{"a", QUANT_GGML_BLOCK, ONE}, {"b", QUANT_U8, ONE}}, 
     {{"a", ""}, {"b", ""}}, QUANT_EUNSUPPORTED},
    {{{"a", QUANT_F64, HUGE_SHAPE}, {"b", QUANT_U8, ONE}}, 
     {{"a", ""}, {"b", ""}}, QUANT_EOVERFLOW},
    {{{"a", QUANT_U8, HUGE_SHAPE}, {"b", QUANT_F32, HUGE_SHAPE}}, 
     {{"a", ""}, {"b", ""}}, QUANT_EOVERFLOW}};

static void what_cannot_be_written_is_refused(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("bad"), *path = scratch_join(folder, "f");
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        quant_safetensors_writer *w = NULL;
        quant_status s = quant_safetensors_create(ctx, path, bad_files[i].items, 2,
                                                  bad_files[i].pairs, 2, &w);
        CU_ASSERT_EQUAL(s, bad_files[i].want);
        CU_ASSERT_PTR_NULL(w);
    }
    static char text[100000001];
    memset(text, 'x', sizeof text - 1);
    quant_safetensors_pair large = {"k", text};
    quant_safetensors_writer *w = NULL;
    CU_ASSERT_EQUAL(quant_safetensors_create(ctx, path, NULL, 0, &large, 1, &w), QUANT_ELIMIT);
    CU_ASSERT_EQUAL(scratch_entries(folder), 0);
    quant_context_free(ctx);
}

static void every_byte_is_written_once(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("once"), *path = scratch_join(folder, "f");
    quant_safetensors_writer *w = NULL;
    char data[24] = {0};
    CHECK_OK(ctx, quant_safetensors_create(ctx, path, &floats, 1, NULL, 0, &w));
    CHECK_OK(ctx, quant_safetensors_put(ctx, w, 0, 4, data, 8));
    CHECK_OK(ctx, quant_safetensors_put(ctx, w, 0, 16, data, 8));
    for (uint64_t at = 0; at < 24; at++) {
        for (size_t n = 1; at + n <= 25; n++) {
            bool fits = at + n <= 4 || (at >= 12 && at + n <= 16);
            if (!fits) {
                CU_ASSERT_EQUAL(quant_safetensors_put(ctx, w, 0, at, data, n), QUANT_EINVAL);
            }
        }
    }
    CU_ASSERT_EQUAL(quant_safetensors_put(ctx, w, 0, UINT64_MAX, data, 2), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_safetensors_put(ctx, w, 1, 0, data, 1), QUANT_EINVAL);
    CHECK_OK(ctx, quant_safetensors_put(ctx, w, 0, 12, data, 4));
    CU_ASSERT_EQUAL(quant_safetensors_commit(ctx, w), QUANT_EINVAL);
    CU_ASSERT_EQUAL(scratch_entries(folder), 0);
    quant_context_free(ctx);
}

/* ---- any list of tensors, pieces in any order ----------------------------------------------- */

enum { MOST_ITEMS = 8, MOST_BYTES = 1 << 16 };

typedef struct model {
    size_t count;
    quant_safetensors_item items[MOST_ITEMS];
    char names[MOST_ITEMS][16];
    unsigned char data[MOST_ITEMS][MOST_BYTES];
    size_t bytes[MOST_ITEMS];
} model;

static void draw_model(dice *d, model *m)
{
    static const quant_dtype types[] = {QUANT_U8, QUANT_F16, QUANT_I32, QUANT_F64, QUANT_BF16,
                                        QUANT_F32, QUANT_BOOL, QUANT_C64, QUANT_F8_E4M3};
    m->count = dice_roll(d, MOST_ITEMS + 1);
    for (size_t i = 0; i < m->count; i++) {
        uint64_t n = 0;
        snprintf(m->names[i], sizeof m->names[i], "%c%u", 'a' + (int)i, dice_roll(d, 1000));
        m->items[i] = (quant_safetensors_item){m->names[i], types[dice_roll(d, 9)], dice_shape(d)};
        quant_shape_elements(NULL, &m->items[i].shape, &n);
        m->bytes[i] = (size_t)n * quant_dtype_bits(m->items[i].dtype) / 8;
        for (size_t b = 0; b < m->bytes[i]; b++) {
            m->data[i][b] = (unsigned char)(b * 31 + i);
        }
    }
}

/* Two pieces of every item, all firsts and seconds shuffled together. */
static quant_status write_model(dice *d, const model *m, const char *path)
{
    quant_safetensors_writer *w = NULL;
    size_t cut[MOST_ITEMS], left = 2 * m->count;
    int todo[MOST_ITEMS];
    quant_status s = quant_safetensors_create(NULL, path, m->items, m->count, NULL, 0, &w);
    for (size_t i = 0; i < m->count; i++) {
        cut[i] = dice_roll(d, (unsigned)m->bytes[i] + 1);
        todo[i] = 3;
    }
    while (s == QUANT_OK && left > 0) {
        size_t i = dice_roll(d, (unsigned)m->count);
        int half = 1 << dice_roll(d, 2);
        if (todo[i] & half) {
            size_t from = half == 1 ? 0 : cut[i], to = half == 1 ? cut[i] : m->bytes[i];
            s = quant_safetensors_put(NULL, w, i, from, m->data[i] + from, to - from);
            todo[i] -= half;
            left--;
        }
    }
    return s == QUANT_OK ? quant_safetensors_commit(NULL, w) : s;
}

/* The reader finds name, type, shape and bytes of everything, alignment descending. */
static bool check_model(const model *m, const char *path)
{
    static unsigned char got[MOST_BYTES];
    quant_bank *bank = NULL;
    bool good = quant_bank_open(NULL, path, &bank) == QUANT_OK;
    good = good && quant_bank_count(bank) == m->count;
    unsigned last = 64;
    for (size_t k = 0; good && k < m->count; k++) {
        const quant_tensor *t = quant_bank_tensor(bank, k);
        size_t i = (size_t)(t->name[0] - 'a');
        unsigned bits = quant_dtype_bits(t->dtype);
        good = i < m->count && strcmp(t->name, m->names[i]) == 0 && t->dtype == m->items[i].dtype &&
               t->shape.rank == m->items[i].shape.rank && bits <= last && t->bytes == m->bytes[i] &&
               memcmp(t->shape.dim, m->items[i].shape.dim, (size_t)t->shape.rank * 8) == 0 &&
               quant_bank_read_raw(NULL, bank, k, 0, t->bytes, got) == QUANT_OK &&
               memcmp(got, m->data[i], m->bytes[i]) == 0;
        last = bits;
    }
    quant_bank_close(NULL, bank);
    return good;
}

static void any_order_of_pieces_gives_the_same_file(void)
{
    static model m;
    const char *path = scratch_memory("order");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        dice d = dice_of(test_seed(), k);
        draw_model(&d, &m);
        bool good = write_model(&d, &m, path) == QUANT_OK && check_model(&m, path);
        CU_ASSERT(good);
        if (!good) {
            test_failed_case(k, "%zu tensors", m.count);
            break;
        }
    }
    remove(path);
}

TEST_SUITE(safetensors_write,
           {"six floats give the known bytes", six_floats_give_the_known_bytes},
           {"metadata come first and text is escaped", metadata_comes_first_and_text_is_escaped},
           {"an empty file is a file", an_empty_file_is_a_file},
           {"what cannot be written is refused", what_cannot_be_written_is_refused},
           {"every byte is written once", every_byte_is_written_once},
           {"any order of pieces gives the same file", any_order_of_pieces_gives_the_same_file})
