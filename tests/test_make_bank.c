/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/made.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"

#define MAKE_BANK "\"$(dirname \"$QUANT\")/make_bank\" "

static int same_file(const char *a, const char *b)
{
    size_t n = 0;
    char *bytes = scratch_get(a, &n);
    int same = bytes && scratch_holds(b, bytes, n);
    free(bytes);
    return same;
}

static void expect_run(int status, const char *err, const char *out, const char *options)
{
    run_result r = run_shell(MAKE_BANK "-o '%s' %s", out, options);
    CU_ASSERT_EQUAL(r.status, status);
    CU_ASSERT_EQUAL(r.out_bytes, 0);
    if (err ? !strstr(r.err, err) : r.err_bytes > 0) {
        CU_FAIL("message");
        fprintf(stderr, "    %s: %s", options, r.err);
    }
    run_free(&r);
}

static void demo_bank_can_be_made_again(void)
{
    const char *out = test_scratch_path("demo.safetensors");
    expect_run(0, NULL, out, "--seed 1 --preset demo");
    CU_ASSERT(same_file(out, "data/demo.safetensors"));
}

static void seed_decides_the_bytes(void)
{
    const char *options = "--tensor a=30x40 --dist student-t:3 --row-spread 0.4 "
                          "--outliers rows:3:5 --tensor b=2x9x5 --dtype f16 --seed ";
    const char *out[3] = {test_scratch_path("1.st"), test_scratch_path("2.st"),
                          test_scratch_path("3.st")};
    const char *seeds[3] = {"7 --threads 1", "7 --threads 3", "8"};
    for (int i = 0; i < 3; i++) {
        char line[256];
        snprintf(line, sizeof line, "%s%s", options, seeds[i]);
        expect_run(0, NULL, out[i], line);
    }
    CU_ASSERT(same_file(out[0], out[1]));
    CU_ASSERT(!same_file(out[0], out[2]));
}

static void written_bank_holds_the_values(void)
{
    const char *out = test_scratch_path("values.safetensors");
    expect_run(0, NULL, out, "--dist laplace --tensor t=21x50 --rms 1 --row-spread 0.3 "
               "--outliers columns:4:3 --tensor n=7 --dtype bf16 --mean 1 --rms 0.1 --seed 3");
    bank_spec spec = made_spec(21, 50);
    spec.dist = BANK_LAPLACE;
    spec.row_spread = 0.3;
    spec.in_columns = true;
    spec.outliers = 4;
    spec.ratio = 3;
    float *want = made_values(&spec, 3), got[21 * 50];
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank = NULL;
    CHECK_OK(ctx, quant_bank_open(ctx, out, &bank));
    CU_ASSERT_PTR_NOT_NULL_FATAL(bank);
    CU_ASSERT_EQUAL_FATAL(quant_bank_count(bank), 2);
    size_t at = 9;
    CHECK_OK(ctx, quant_bank_find(ctx, bank, "t", &at));
    CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, at, 0, 21 * 50, got));
    CU_ASSERT_EQUAL(memcmp(want, got, sizeof got), 0);
    CHECK_OK(ctx, quant_bank_find(ctx, bank, "n", &at));
    CU_ASSERT_EQUAL(quant_bank_tensor(bank, at)->dtype, QUANT_BF16);
    CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, at, 0, 7, got));
    for (int i = 0; i < 7; i++) {
        CU_ASSERT(fabsf(got[i] - 1) < 0.6f);
    }
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(bank, "seed"), "3");
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
    free(want);
}

/* More elements than the program holds at once, in both widths. */
static void chunks_join_without_a_seam(void)
{
    enum { ROWS = 1500, COLUMNS = 1000 };
    const char *out = test_scratch_path("chunks.safetensors");
    expect_run(0, NULL, out, "--dist uniform --rms 1 --tensor t=1500x1000 --tensor u=1500x1000 "
               "--dtype bf16");
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank = NULL;
    float *got = malloc((size_t)ROWS * COLUMNS * sizeof *got);
    CHECK_OK(ctx, quant_bank_open(ctx, out, &bank));
    CU_ASSERT_PTR_NOT_NULL_FATAL(bank);
    for (size_t i = 0; got && i < quant_bank_count(bank); i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        bank_spec spec = made_spec(ROWS, COLUMNS);
        spec.name = t->name;
        spec.dist = BANK_UNIFORM;
        float *want = made_values(&spec, 0), unit = t->dtype == QUANT_BF16 ? 0x1p-8f : 0;
        CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, i, 0, (uint64_t)ROWS * COLUMNS, got));
        int wrong = 0;
        for (size_t k = 0; k < (size_t)ROWS * COLUMNS; k++) {
            wrong += !(fabsf(got[k] - want[k]) <= unit * fabsf(want[k]));
        }
        CU_ASSERT_EQUAL(wrong, 0);
        free(want);
    }
    free(got);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

static void mistakes_are_named(void)
{
    static const struct {
        int status;
        const char *options, *message;
    } wrong[] = {
        {2, "", "expected -o FILE and a --tensor"},
        {2, "--tensor", "--tensor: expected a value"},
        {2, "--tensor a", "expected NAME=AxBxC, found \"a\""},
        {2, "--tensor a=3x", "expected NAME=AxBxC"},
        {2, "--tensor a=1x1x1x1x1x1x1x1x1", "expected NAME=AxBxC"},
        {2, "--tensor a=3 --dtype f8", "--dtype: expected f32, f16 or bf16"},
        {2, "--tensor a=3 --dist cauchy", "--dist: expected gaussian"},
        {2, "--tensor a=3 --dist student-t:0", "a: student-t: expected 1..64"},
        {2, "--tensor a=3 --dist student-t:65", "--dist: expected"},
        {2, "--tensor a=3 --rms x", "--rms: expected a number"},
        {2, "--tensor a=3 --rms nan", "mean and rms: expected"},
        {2, "--tensor a=3 --row-spread 5", "row spread: expected 0..4"},
        {2, "--tensor a=3 --outliers rows:1", "--outliers: expected rows:COUNT:RATIO"},
        {2, "--tensor a=3x9 --outliers rows:4:2", "a: outliers: expected at most 3 rows"},
        {2, "--tensor a=3x9 --outliers rows:1:3", "ratio in [1, sqrt(9))"},
        {2, "--tensor a=3 --seed -1", "--seed: expected"},
        {2, "--preset none", "--preset: expected a preset"},
        {2, "--colour red", "--colour: expected an option"},
        {3, "--tensor a=3 --tensor a=4", "the same name twice"},
        {3, "--tensor a=99 --dtype f16 --rms 1e6", "a: a value overflows F16"},
    };
    const char *folder = scratch_folder("wrong");
    const char *out = scratch_join(folder, "bank");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        expect_run(wrong[i].status, wrong[i].message, out, wrong[i].options);
    }
    CU_ASSERT_EQUAL(scratch_entries(folder), 0);
}

static void expert_shard_has_its_shapes(void)
{
    if (!test_is_long()) {
        test_skip("expert_shard preset, 190 MB (longer tier)");
        return;
    }
    const char *out = test_scratch_path("experts.safetensors");
    expect_run(0, NULL, out, "--preset expert_shard --threads 2");
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank = NULL;
    CHECK_OK(ctx, quant_bank_open(ctx, out, &bank));
    CU_ASSERT_PTR_NOT_NULL_FATAL(bank);
    CU_ASSERT_EQUAL_FATAL(quant_bank_count(bank), 3);
    for (size_t i = 0; i < 3; i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        CU_ASSERT_EQUAL(t->elements, UINT64_C(45056) * 704);
        CU_ASSERT_EQUAL(t->shape.dim[2], 704);
    }
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

TEST_SUITE(make_bank,
    {"the demo bank can be made again", demo_bank_can_be_made_again},
    {"the seed decides the bytes", seed_decides_the_bytes},
    {"a written bank holds the values", written_bank_holds_the_values},
    {"chunks join without a seam", chunks_join_without_a_seam},
    {"mistakes are named", mistakes_are_named},
    {"the expert shard has its shapes", expert_shard_has_its_shapes})
