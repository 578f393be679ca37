/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_packed_read.c - what the reader of packed banks refuses, and with which word. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/given.h"
#include "tests/scratch.h"
#include "tests/short_memory.h"
#include "tests/test.h"

/* int3:block=4,asym on [2, 5]: 30 bits of codes, 4 regions, 12 bits of zero points. */
static const unsigned char zeros[4096];
#define SHAPE "|2,5|F32"
#define ASYM "int3:block=4,asym"
#define U8(NAME, N) {{NAME, QUANT_U8, {1, {N}}}, zeros, N}
#define F16(NAME, N) {{NAME, QUANT_F16, {1, {N}}}, zeros, 2 * (N)}
#define F32(NAME, N) {{NAME, QUANT_F32, {1, {N}}}, zeros, 4 * (N)}

static quant_status open_file(const char *path, char message[256])
{
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank = NULL;
    quant_packed *packed = NULL;
    quant_status s = quant_bank_open(ctx, path, &bank);
    CU_ASSERT_EQUAL_FATAL(s, QUANT_OK);
    s = quant_packed_open(ctx, bank, &packed);
    CU_ASSERT_EQUAL(packed == NULL, s != QUANT_OK);
    snprintf(message, 256, "%s", quant_context_message(ctx));
    quant_packed_close(ctx, packed);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
    return s;
}

static const struct {
    const char *schema, *value;
    given parts[4];
    quant_status want;
    const char *says;
} directories[] = {
#define VALUE ASYM SHAPE
#define CODES U8("w.codes", 4)
#define SCALE F16("w.scale", 4)
#define ZERO U8("w.zero", 2)
    {"quant.pack/1", VALUE, {CODES, SCALE, ZERO}, QUANT_OK, ""},
    {"quant.pack/1", VALUE, {CODES, SCALE, ZERO, U8("w.table", 9)}, QUANT_OK, ""}, /* kept */
    {"quant.pack/2", VALUE, {CODES, SCALE, ZERO}, QUANT_EVERSION, "quant.pack/2"},
    {"", VALUE, {CODES, SCALE, ZERO}, QUANT_EVERSION, ""},
    {NULL, VALUE, {CODES, SCALE, ZERO}, QUANT_EFIELD, "schema"},
    {"quant.pack/1", VALUE, {SCALE, ZERO}, QUANT_EFIELD, "w.codes"},
    {"quant.pack/1", VALUE, {CODES, ZERO}, QUANT_EFIELD, "w.scale"},
    {"quant.pack/1", VALUE, {CODES, SCALE}, QUANT_EFIELD, "w.zero"},
    {"quant.pack/1", VALUE, {CODES, SCALE, ZERO, U8("w", 1)}, QUANT_EDUP, "tensor w"},
    {"quant.pack/1", VALUE, {U8("w.codes", 5), SCALE, ZERO}, QUANT_ESIZE, "[4], found [5]"},
    {"quant.pack/1", VALUE, {U8("w.codes", 3), SCALE, ZERO}, QUANT_ESIZE, "w.codes"},
    {"quant.pack/1", VALUE, {{{"w.codes", QUANT_I8, {1, {4}}}, zeros, 4}, SCALE, ZERO},
     QUANT_EDTYPE, "expected U8, found I8"},
    {"quant.pack/1", VALUE, {{{"w.codes", QUANT_U8, {2, {1, 4}}}, zeros, 4}, SCALE, ZERO},
     QUANT_ESIZE, "[1, 4]"},
    {"quant.pack/1", VALUE, {CODES, F16("w.scale", 3), ZERO}, QUANT_ESIZE, "w.scale"},
    {"quant.pack/1", VALUE, {CODES, F32("w.scale", 4), ZERO}, QUANT_EDTYPE, "w.scale"},
    {"quant.pack/1", VALUE, {CODES, SCALE, U8("w.zero", 4)}, QUANT_ESIZE, "w.zero"},
    {"quant.pack/1", "int3:block=4" SHAPE, {CODES, SCALE}, QUANT_OK, ""},
    {"quant.pack/1", "int3:tensor,store=f32" SHAPE, {CODES, F32("w.scale", 1)}, QUANT_OK, ""},
    {"quant.pack/1", "lut1:group=1" SHAPE,
     {U8("w.codes", 2), {{"w.table", QUANT_F16, {2, {2, 2}}}, zeros, 8}}, QUANT_OK, ""},
    {"quant.pack/1", "lut1:group=1" SHAPE, {U8("w.codes", 2), F16("w.table", 4)}, QUANT_ESIZE,
     "w.table"},
    {"quant.pack/1", "lut1:group=1" SHAPE, {U8("w.codes", 2), SCALE}, QUANT_EFIELD, "w.table"},
#define TABLE8(TYPE) {{"w.table", TYPE, {2, {2, 2}}}, zeros, 4}
    {"quant.pack/1", "lut1:group=1,lut=int8" SHAPE,
     {U8("w.codes", 2), TABLE8(QUANT_I8), F32("w.table_scale", 2)}, QUANT_OK, ""},
    {"quant.pack/1", "lut1:group=1,lut=int8" SHAPE,
     {U8("w.codes", 2), TABLE8(QUANT_U8), F32("w.table_scale", 2)}, QUANT_EDTYPE, "expected I8"},
    {"quant.pack/1", "lut1:group=1,lut=int8" SHAPE, {U8("w.codes", 2), TABLE8(QUANT_I8)},
     QUANT_EFIELD, "w.table_scale"},
    {"quant.pack/1", "lut1:group=1,lut=int8" SHAPE,
     {U8("w.codes", 2), TABLE8(QUANT_I8), F32("w.table_scale", 4)}, QUANT_ESIZE, "w.table_scale"},
    {"quant.pack/1", "lut1:group=1,lut=int8,store=f16" SHAPE,
     {U8("w.codes", 2), TABLE8(QUANT_I8), F32("w.table_scale", 2)}, QUANT_EDTYPE, "F16"},
    {"quant.pack/1", "lut1:group=1,dim=4" SHAPE,
     {U8("w.codes", 1), {{"w.table", QUANT_F16, {3, {2, 2, 4}}}, zeros, 32}}, QUANT_OK, ""},
    {"quant.pack/1", "lut1:group=1,dim=4" SHAPE,
     {U8("w.codes", 1), {{"w.table", QUANT_F16, {2, {2, 2}}}, zeros, 8}}, QUANT_ESIZE,
     "[2, 2, 4], found [2, 2]"},
    {"quant.pack/1", "lut1:group=1,pcs,axis=1" SHAPE,
     {U8("w.codes", 2), F16("w.scale", 5), {{"w.table", QUANT_F16, {2, {5, 2}}}, zeros, 20}},
     QUANT_OK, ""},
    {"quant.pack/1", "lut1:group=1,dim=4" SHAPE,
     {U8("w.codes", 1), {{"w.table", QUANT_F16, {3, {2, 2, 4}}}, zeros, 32}}, QUANT_OK, ""},
    {"quant.pack/1", "lut1:group=1,dim=4" SHAPE,
     {U8("w.codes", 1), {{"w.table", QUANT_F16, {2, {2, 2}}}, zeros, 8}}, QUANT_ESIZE,
     "[2, 2, 4], found [2, 2]"},
    {"quant.pack/1", "lut1:group=1,pcs,axis=1" SHAPE,
     {U8("w.codes", 2), F16("w.scale", 2), {{"w.table", QUANT_F16, {2, {5, 2}}}, zeros, 20}},
     QUANT_ESIZE, "[5], found [2]"},
    {"quant.pack/1", "f16" SHAPE, {{{"w", QUANT_F16, {2, {2, 5}}}, zeros, 20}}, QUANT_OK, ""},
    {"quant.pack/1", "f16" SHAPE, {F16("w", 10)}, QUANT_ESIZE, "[2, 5], found [10]"},
    {"quant.pack/1", "bf16" SHAPE, {{{"w", QUANT_F16, {2, {2, 5}}}, zeros, 20}}, QUANT_EDTYPE,
     "BF16"},
    {"quant.pack/1", "int8:tensor||F32", {U8("w.codes", 1), F32("w.scale", 1)}, QUANT_OK, ""},
    {"quant.pack/1", ASYM, {CODES, SCALE, ZERO}, QUANT_ESYNTAX, "SCHEME|SHAPE"},
    {"quant.pack/1", ASYM "|2,5", {CODES, SCALE, ZERO}, QUANT_ESYNTAX, "shape"},
    {"quant.pack/1", "int5:block=4" SHAPE, {CODES, SCALE}, QUANT_ESYNTAX, "tensor w"},
    {"quant.pack/1", ASYM "|2,5,|F32", {CODES, SCALE, ZERO}, QUANT_ESYNTAX, "shape"},
    {"quant.pack/1", ASYM "|,2,5|F32", {CODES, SCALE, ZERO}, QUANT_ESYNTAX, "shape"},
    {"quant.pack/1", ASYM "|2,05|F32", {CODES, SCALE, ZERO}, QUANT_ESYNTAX, "shape"},
    {"quant.pack/1", ASYM "|2,+5|F32", {CODES, SCALE, ZERO}, QUANT_ESYNTAX, "shape"},
    {"quant.pack/1", ASYM "|2 5|F32", {CODES, SCALE, ZERO}, QUANT_ESYNTAX, "shape"},
    {"quant.pack/1", "int8:tensor|1,1,1,1,1,1,1,1,1|F32", {CODES}, QUANT_ESYNTAX, "shape"},
    {"quant.pack/1", "int8:tensor|18446744073709551616|F32", {CODES}, QUANT_ESYNTAX, "shape"},
    {"quant.pack/1", "int8:tensor|18446744073709551615,2|F32", {CODES}, QUANT_EOVERFLOW, ""},
    {"quant.pack/1", ASYM "|2,5|f32", {CODES, SCALE, ZERO}, QUANT_EDTYPE, "f32"},
    {"quant.pack/1", ASYM "|2,5|I8", {CODES, SCALE, ZERO}, QUANT_EDTYPE, "I8"},
    {"quant.pack/1", ASYM "|2,5|F32|", {CODES, SCALE, ZERO}, QUANT_EDTYPE, ""},
    {"quant.pack/1", "int3:block=4,axis=2|2,5|F32", {CODES, SCALE}, QUANT_ESHAPE, "axis"},
    {"quant.pack/1", "int3:block=4|10|F32", {CODES, SCALE}, QUANT_ESHAPE, ""}};

static void directories_are_checked(void)
{
    const char *path = scratch_memory("strict");
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        quant_safetensors_pair pairs[2] = {{"quant:w", directories[i].value},
                                           {"schema", directories[i].schema}};
        size_t count = 0;
        char message[256];
        while (count < 4 && directories[i].parts[count].data) {
            count++;
        }
        given_bank(path, directories[i].parts, count, pairs, directories[i].schema ? 2 : 1);
        quant_status s = open_file(path, message);
        bool good = s == directories[i].want &&
                    (s == QUANT_OK || strstr(message, directories[i].says));
        if (!good) {
            printf("\n    case %zu: %s: %s: %s\n", i, directories[i].value, quant_status_word(s),
                   message);
        }
        CU_ASSERT(good);
    }
    remove(path);
}

static void a_part_belongs_to_one_tensor(void)
{
    const char *path = scratch_memory("parts");
    char message[256];
    quant_safetensors_pair pairs[3] = {{"schema", QUANT_PACK_SCHEMA},
                                       {"quant:a", "int4:channel|4,1|F32"},
                                       {"quant:a.scale", "f16|4|F32"}};
    given shared[2] = {U8("a.codes", 2), F16("a.scale", 4)};
    given_bank(path, shared, 2, pairs, 3);
    CU_ASSERT_EQUAL(open_file(path, message), QUANT_EDUP);
    pairs[1].value = "int8:tensor|4|F32";
    pairs[2] = (quant_safetensors_pair){"quant:a.codes", "int8:tensor|4|F32"};
    given nested[4] = {U8("a.codes", 4), F32("a.scale", 1), U8("a.codes.codes", 4),
                       F32("a.codes.scale", 1)};
    given_bank(path, nested, 4, pairs, 3);
    CU_ASSERT_EQUAL(open_file(path, message), QUANT_OK);
    remove(path);
}

/* A scale or table entry of the file that is no number would make NaN out of codes. */
static void stored_numbers_are_finite(void)
{
    static const struct {
        const char *value;
        quant_dtype dtype;
        unsigned char bits[4];
        quant_status want;
    } cases[] = {{"int8:tensor|4|F32", QUANT_F32, {0, 0, 0x80, 0x7f}, QUANT_ENONFINITE},
                 {"int8:tensor|4|F32", QUANT_F32, {1, 0, 0x80, 0xff}, QUANT_ENONFINITE},
                 {"int8:tensor|4|F32", QUANT_F32, {0xff, 0xff, 0x7f, 0x7f}, QUANT_OK},
                 {"int8:tensor,store=f16|4|F32", QUANT_F16, {0, 0x7c}, QUANT_ENONFINITE},
                 {"int8:tensor,store=f16|4|F32", QUANT_F16, {0xff, 0x7b}, QUANT_OK},
                 {"int8:tensor,store=bf16|4|F32", QUANT_BF16, {0xc0, 0x7f}, QUANT_ENONFINITE},
                 {"int8:tensor,store=bf16|4|F32", QUANT_BF16, {0, 0x7c}, QUANT_OK}};
    const char *path = scratch_memory("finite");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quant_safetensors_pair pairs[2] = {{"schema", QUANT_PACK_SCHEMA},
                                           {"quant:w", cases[i].value}};
        given g[2] = {U8("w.codes", 4), {{"w.scale", cases[i].dtype, {1, {1}}}, cases[i].bits, 0}};
        quant_bank *bank = NULL;
        quant_packed *packed = NULL;
        unsigned char buffer[64];
        g[1].bytes = quant_dtype_bits(cases[i].dtype) / 8;
        given_bank(path, g, 2, pairs, 2);
        CHECK_OK(NULL, quant_bank_open(NULL, path, &bank));
        CHECK_OK(NULL, quant_packed_open(NULL, bank, &packed));
        CU_ASSERT_EQUAL(quant_packed_read(NULL, packed, 0, buffer), cases[i].want);
        CU_ASSERT_EQUAL(quant_packed_read(NULL, packed, 1, buffer), QUANT_EINVAL);
        quant_packed_close(NULL, packed);
        quant_bank_close(NULL, bank);
    }
    remove(path);
}

/* ---- kept tensors of other formats ---------------------------------------------------------- */

static void put_npy(const char *path, const char *descr, bool fortran, const char *shape,
                    const void *data, size_t bytes)
{
    char file[512];
    memset(file, ' ', sizeof file);
    memcpy(file, "\x93NUMPY\x01\x00\x76\x00", 10);
    int n = snprintf(file + 10, 118, "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr,
                     fortran ? "True" : "False", shape);
    file[10 + n] = ' ';
    file[127] = '\n';
    memcpy(file + 128, data, bytes);
    scratch_put(path, file, 128 + bytes);
}

static const struct {
    const char *descr;
    bool fortran;
    unsigned char in[12], out[12];
    size_t bytes;
    const char *shape;
    quant_status want;
} kept_cases[] = {
    {"<i2", false, {1, 2, 3, 4}, {1, 2, 3, 4}, 4, "(2,)", QUANT_OK},
    {">i2", false, {1, 2, 3, 4}, {2, 1, 4, 3}, 4, "(2,)", QUANT_OK},
    {">f4", false, {1, 2, 3, 4}, {4, 3, 2, 1}, 4, "(1,)", QUANT_OK},
    {"|u1", false, {1, 2, 3, 4}, {1, 2, 3, 4}, 4, "(2, 2)", QUANT_OK},
    {"<f4", true, {0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0}, {0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0},
     12, "(3, 1)", QUANT_OK},
    {"|u1", true, {1, 2, 3, 4}, {0}, 4, "(2, 2)", QUANT_EUNSUPPORTED}};

static void kept_tensors_are_row_major_and_little_endian(void)
{
    const char *source = scratch_memory("npy"), *path = scratch_memory("packed");
    for (size_t i = 0; i < sizeof kept_cases / sizeof *kept_cases; i++) {
        quant_bank *bank = NULL;
        quant_pack_item item = {.tensor = 0, .keep = true};
        put_npy(source, kept_cases[i].descr, kept_cases[i].fortran, kept_cases[i].shape,
                kept_cases[i].in, kept_cases[i].bytes);
        CHECK_OK(NULL, quant_bank_open(NULL, source, &bank));
        quant_status s = quant_pack_write(NULL, bank, &item, 1, path, NULL, NULL);
        CU_ASSERT_EQUAL(s, kept_cases[i].want);
        quant_bank_close(NULL, bank);
        if (s == QUANT_OK) {
            size_t bytes = 0;
            CHECK_OK(NULL, quant_bank_open(NULL, path, &bank));
            void *got = given_bytes(bank, quant_bank_tensor(bank, 0)->name, &bytes);
            CU_ASSERT(bytes == kept_cases[i].bytes && memcmp(got, kept_cases[i].out, bytes) == 0);
            free(got);
            quant_bank_close(NULL, bank);
        }
    }
    remove(source);
    remove(path);
}

static void kept_columns_are_transposed(void)
{
    const char *source = scratch_memory("npy"), *path = scratch_memory("packed");
    float in[6] = {1, 2, 3, 4, 5, 6}, out[6] = {1, 3, 5, 2, 4, 6};
    quant_bank *bank = NULL;
    quant_pack_item item = {.tensor = 0, .keep = true};
    put_npy(source, "<f4", true, "(2, 3)", in, sizeof in);
    CHECK_OK(NULL, quant_bank_open(NULL, source, &bank));
    CHECK_OK(NULL, quant_pack_write(NULL, bank, &item, 1, path, NULL, NULL));
    quant_bank_close(NULL, bank);
    CHECK_OK(NULL, quant_bank_open(NULL, path, &bank));
    size_t bytes = 0;
    void *got = given_bytes(bank, quant_bank_tensor(bank, 0)->name, &bytes);
    CU_ASSERT(bytes == sizeof out && memcmp(got, out, bytes) == 0);
    free(got);
    quant_bank_close(NULL, bank);
    remove(source);
    remove(path);
}

/* ---- memory --------------------------------------------------------------------------------- */

static quant_status whole_way(quant_context *ctx, const char *source, const char *middle,
                              const char *last)
{
    quant_bank *bank = NULL, *packed_bank = NULL;
    quant_packed *packed = NULL;
    quant_pack_item items[2] = {{.tensor = 0}, {.tensor = 1, .keep = true}};
    quant_scheme_parse(NULL, "int4:block=4,asym", &items[0].scheme);
    quant_status s = quant_bank_open(ctx, source, &bank);
    s = s == QUANT_OK ? quant_pack_write(ctx, bank, items, 2, middle, NULL, NULL) : s;
    s = s == QUANT_OK ? quant_bank_open(ctx, middle, &packed_bank) : s;
    s = s == QUANT_OK ? quant_packed_open(ctx, packed_bank, &packed) : s;
    s = s == QUANT_OK ? quant_unpack_write(ctx, packed, last, QUANT_BF16, NULL, NULL) : s;
    quant_packed_close(ctx, packed);
    quant_bank_close(ctx, packed_bank);
    quant_bank_close(ctx, bank);
    return s;
}

static void short_memory_leaves_the_old_files(void)
{
    const char *folder = scratch_folder("memory");
    const char *source = scratch_join(folder, "s"), *middle = scratch_join(folder, "m");
    const char *last = scratch_join(folder, "l");
    float w[12] = {1e6f, 2, 3, 4};
    given g[2] = {{{"w", QUANT_F32, {2, {3, 4}}}, w, sizeof w}, {{"k", QUANT_U8, {1, {3}}}, w, 3}};
    given_bank(source, g, 2, NULL, 0);
    for (int always = 0; always < 2; always++) {
        int fired = 1;
        for (long k = 1; fired && k < 500; k++) {
            short_memory m = {.fail_at = k, .ever_after = always};
            quant_context *ctx = short_memory_context(&m);
            scratch_put(last, "old", 3);
            quant_status s = whole_way(ctx, source, middle, last);
            fired = m.fired;
            CU_ASSERT_EQUAL(s, fired ? QUANT_ENOMEM : QUANT_OK);
            if (s != (fired ? QUANT_ENOMEM : QUANT_OK)) {
                printf("\n    allocation %ld: %s: %s\n", k, quant_status_word(s),
                       quant_context_message(ctx));
            }
            CU_ASSERT_EQUAL(s != QUANT_OK, scratch_holds(last, "old", 3));
            CU_ASSERT(scratch_entries(folder) <= 3);
            quant_context_free(ctx);
            CU_ASSERT_EQUAL(m.held, 0);
        }
        CU_ASSERT_EQUAL(fired, 0);
    }
}

TEST_SUITE(packed_read,
           {"directories are checked", directories_are_checked},
           {"a part belongs to one tensor", a_part_belongs_to_one_tensor},
           {"stored numbers are finite", stored_numbers_are_finite},
           {"kept tensors are row-major and little-endian",
            kept_tensors_are_row_major_and_little_endian},
           {"kept columns are transposed", kept_columns_are_transposed},
           {"short memory leaves the old files", short_memory_leaves_the_old_files})
