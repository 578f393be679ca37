/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_packed_layout.c - the decoder that the documentation shows is taken out of it, compiled,
 * and must agree bit for bit with ours on everything that a scheme can say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/packed.h"
#include "quant/bank/safetensors_write.h"
#include "tests/random_scheme.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"

/* Where the text with the first ```c block is. */
#define LAYOUT_TEXT "README.md"

enum { PARTS = 5, MOST_LINES = 40, TENSORS = 400, MOST_ELEMENTS = 2048 };

/* Reads cases (parameters, shape, four parts) from stdin, writes floats to stdout. */
static const char driver[] =
    "#include \"decoder.inc\"\n"
    "#include <stdio.h>\n"
    "#include <stdlib.h>\n"
    "int main(void)\n"
    "{\n"
    "    int32_t head[10];\n"
    "    uint64_t dim[8], size[5], n;\n"
    "    while (fread(head, sizeof head, 1, stdin) == 1) {\n"
    "        bytes part[5];\n"
    "        params q;\n"
    "        memcpy(&q, head, sizeof q);\n"
    "        if (fread(dim, sizeof dim, 1, stdin) != 1) return 1;\n"
    "        for (int k = 0; k < 5; k++) {\n"
    "            if (fread(&size[k], 8, 1, stdin) != 1) return 1;\n"
    "            part[k] = size[k] ? malloc(size[k]) : NULL;\n"
    "            if (size[k] && fread((void *)part[k], size[k], 1, stdin) != 1) return 1;\n"
    "        }\n"
    "        n = 1;\n"
    "        for (int d = 0; d < head[9]; d++) n *= dim[d];\n"
    "        float *w = malloc(n * 4 + 1);\n"
    "        decode(q, dim, head[9], part, w);\n"
    "        fwrite(w, 4, n, stdout);\n"
    "        free(w);\n"
    "        for (int k = 0; k < 5; k++) free((void *)part[k]);\n"
    "    }\n"
    "    return 0;\n"
    "}\n";

/* A bank of random tensors, and a scheme for each. */
static void make_source(quant_context *ctx, const char *path, quant_pack_item *items)
{
    static quant_safetensors_item list[TENSORS];
    static char names[TENSORS][8];
    static float w[MOST_ELEMENTS];
    dice d = dice_of(test_seed(), 0);
    for (size_t i = 0; i < TENSORS; i++) {
        char text[QUANT_SCHEME_TEXT];
        snprintf(names[i], sizeof names[i], "t%zu", i);
        list[i] = (quant_safetensors_item){names[i], QUANT_F32, dice_shape(&d)};
        dice_scheme(&d, &list[i].shape, text);
        items[i] = (quant_pack_item){.tensor = i};
        CHECK_OK(ctx, quant_scheme_parse(ctx, text, &items[i].scheme));
    }
    quant_safetensors_writer *writer = NULL;
    CHECK_OK(ctx, quant_safetensors_create(ctx, path, list, TENSORS, NULL, 0, &writer));
    for (size_t i = 0; i < TENSORS; i++) {
        uint64_t n = 0;
        CHECK_OK(ctx, quant_shape_elements(ctx, &list[i].shape, &n));
        dice_fill(&d, (size_t)n, w);
        CHECK_OK(ctx, quant_safetensors_put(ctx, writer, i, 0, w, (size_t)n * sizeof *w));
    }
    CHECK_OK(ctx, quant_safetensors_commit(ctx, writer));
}

static int store_number(quant_store s)
{
    static const int numbers[] = {[QUANT_STORE_F32] = 32, [QUANT_STORE_F16] = 16,
                                  [QUANT_STORE_BF16] = 0, [QUANT_STORE_I8] = 8};
    return numbers[s];
}

/* The parameters that the text speaks of, from the scheme. */
static void put_case(quant_context *ctx, FILE *to, quant_bank *bank, const quant_packed_tensor *t)
{
    const quant_scheme *s = &t->scheme;
    int32_t head[10] = {"fil"[s->family], s->bits, "tcbg"[s->granularity], (int32_t)s->size,
                       s->axis, s->stack, store_number(s->store), store_number(s->table_store),
                       s->dim, t->shape.rank};
    fwrite(head, sizeof head, 1, to);
    fwrite(t->shape.dim, sizeof t->shape.dim, 1, to);
    for (int k = 0; k < PARTS; k++) {
        uint64_t bytes = t->part[k] == SIZE_MAX ? 0 : quant_bank_tensor(bank, t->part[k])->bytes;
        unsigned char *raw = malloc(bytes + 1);
        if (bytes) {
            CHECK_OK(ctx, quant_bank_read_raw(ctx, bank, t->part[k], 0, bytes, raw));
        }
        fwrite(&bytes, 8, 1, to);
        fwrite(raw, 1, bytes, to);
        free(raw);
    }
}

/* Ours for tensor i against want, which moves on; false when a bit differs. */
static bool agrees(quant_context *ctx, quant_packed *packed, size_t i, const char **want)
{
    static float w[MOST_ELEMENTS];
    const quant_packed_tensor *t = quant_packed_tensor_at(packed, i);
    uint64_t n = 0;
    CHECK_OK(ctx, quant_shape_elements(ctx, &t->shape, &n));
    void *buffer = malloc(t->layout.bytes + 1);
    CHECK_OK(ctx, quant_packed_read(ctx, packed, i, buffer));
    CHECK_OK(ctx, quant_decode(ctx, &t->scheme, &t->shape, buffer, t->layout.bytes, w));
    free(buffer);
    bool same = memcmp(w, *want, (size_t)n * sizeof *w) == 0;
    if (!same) {
        char text[QUANT_SCHEME_TEXT];
        quant_scheme_print(&t->scheme, text);
        test_failed_case(0, "%s, %s, rank %d", t->name, text, t->shape.rank);
    }
    *want += n * sizeof *w;
    return same;
}

/* The same file with random codes: all of them decode, also those that no encoder would write. */
static void scramble(quant_context *ctx, quant_bank *bank, const char *path)
{
    static quant_safetensors_item list[PARTS * TENSORS];
    static quant_safetensors_pair pairs[TENSORS + 1];
    static char keys[TENSORS][16];
    size_t count = quant_bank_count(bank);
    quant_safetensors_writer *writer = NULL;
    dice d = dice_of(test_seed(), 1);
    pairs[TENSORS] = (quant_safetensors_pair){"schema", QUANT_PACK_SCHEMA};
    for (size_t i = 0; i < TENSORS; i++) {
        snprintf(keys[i], sizeof keys[i], "quant:t%zu", i);
        pairs[i] = (quant_safetensors_pair){keys[i], quant_bank_metadata(bank, keys[i])};
    }
    for (size_t i = 0; i < count; i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        list[i] = (quant_safetensors_item){t->name, t->dtype, t->shape};
    }
    CHECK_OK(ctx, quant_safetensors_create(ctx, path, list, count, pairs, TENSORS + 1, &writer));
    for (size_t i = 0; i < count; i++) {
        size_t bytes = (size_t)quant_bank_tensor(bank, i)->bytes;
        unsigned char *raw = malloc(bytes + 1);
        CHECK_OK(ctx, quant_bank_read_raw(ctx, bank, i, 0, bytes, raw));
        for (size_t b = 0; b < bytes && quant_dtype_bits(list[i].dtype) == 8; b++) {
            raw[b] = (unsigned char)dice_roll(&d, 256);
        }
        CHECK_OK(ctx, quant_safetensors_put(ctx, writer, i, 0, raw, bytes));
        free(raw);
    }
    CHECK_OK(ctx, quant_safetensors_commit(ctx, writer));
}

static void compare_all(quant_context *ctx, const char *folder, quant_bank *bank)
{
    quant_packed *packed = NULL;
    CHECK_OK(ctx, quant_packed_open(ctx, bank, &packed));
    CU_ASSERT_EQUAL_FATAL(quant_packed_count(packed), TENSORS);
    FILE *cases = fopen(scratch_join(folder, "cases"), "wb");
    uint64_t elements = 0;
    for (size_t i = 0; i < TENSORS; i++) {
        uint64_t n = 0;
        CHECK_OK(ctx, quant_shape_elements(ctx, &quant_packed_tensor_at(packed, i)->shape, &n));
        put_case(ctx, cases, bank, quant_packed_tensor_at(packed, i));
        elements += n;
    }
    fclose(cases);
    run_result r = run_shell("cd '%s' && ${CC:-cc} -std=c11 -O1 -ffp-contract=off -o decoder "
                             "driver.c -lm && ./decoder < cases", folder);
    CU_ASSERT_EQUAL(r.status, 0);
    CU_ASSERT_EQUAL_FATAL(r.out_bytes, elements * sizeof(float));
    const char *want = r.out;
    for (size_t i = 0; i < TENSORS; i++) {
        CU_ASSERT(agrees(ctx, packed, i, &want));
    }
    run_free(&r);
    quant_packed_close(ctx, packed);
}

static void the_documented_decoder_agrees(void)
{
    static quant_pack_item items[TENSORS];
    quant_context *ctx = quant_context_new(NULL);
    const char *folder = scratch_folder("layout");
    quant_bank *bank = NULL;
    run_result r = run_shell("awk '/^```/ { inside = /^```c$/ && !seen++; next } inside' "
                             "%s > '%s'; "
                             "wc -l < '%s'", LAYOUT_TEXT, scratch_join(folder, "decoder.inc"),
                             scratch_join(folder, "decoder.inc"));
    int lines = atoi(r.out);
    CU_ASSERT(lines > 10 && lines <= MOST_LINES);
    run_free(&r);
    scratch_put(scratch_join(folder, "driver.c"), driver, strlen(driver));
    make_source(ctx, scratch_join(folder, "source"), items);
    CHECK_OK(ctx, quant_bank_open(ctx, scratch_join(folder, "source"), &bank));
    for (size_t i = 0; i < TENSORS; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%zu", i);
        CHECK_OK(ctx, quant_bank_find(ctx, bank, name, &items[i].tensor));
    }
    const char *path = scratch_join(folder, "packed");
    CHECK_OK(ctx, quant_pack_write(ctx, bank, items, TENSORS, path, NULL, NULL));
    quant_bank_close(ctx, bank);
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    compare_all(ctx, folder, bank);
    scramble(ctx, bank, scratch_join(folder, "scrambled"));
    quant_bank_close(ctx, bank);
    CHECK_OK(ctx, quant_bank_open(ctx, scratch_join(folder, "scrambled"), &bank));
    compare_all(ctx, folder, bank);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

TEST_SUITE(packed_layout,
           {"the documented decoder agrees bit for bit", the_documented_decoder_agrees})
