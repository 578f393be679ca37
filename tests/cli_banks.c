/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/cli_banks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lab_bank.h"
#include "tests/scratch.h"
#include "tests/test.h"

#define LONG_NAME \
    "model.layers.12.mlp.experts.a_name_that_is_far_too_long_for_any_table.up_proj.weight"

enum { ROWS = 24, COLUMNS = 40, N = ROWS * COLUMNS };

static const char *make(const char *file, const lab_bank_item *items, size_t count)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_bank_close(ctx, lab_bank_make(ctx, file, items, count));
    quant_context_free(ctx);
    return test_scratch_path(file);
}

const char *cli_bank_good(void)
{
    const quant_shape shape = {2, {ROWS, COLUMNS}}, line = {1, {COLUMNS}};
    float *a = lab_bank_normals(test_seed(), "a", N, 0.05);
    float *b = lab_bank_normals(test_seed(), "b", N, 3.0);
    const lab_bank_item items[] = {
        {"a.weight", QUANT_F32, shape, a}, {LONG_NAME, QUANT_F32, shape, b},
        {"a.bias", QUANT_F32, line, a}};
    const char *path = make("good.safetensors", items, 3);
    free(a);
    free(b);
    return path;
}

const char *cli_bank_nan(void)
{
    const quant_shape shape = {2, {ROWS, COLUMNS}};
    float *a = lab_bank_normals(test_seed(), "a", N, 0.05);
    float *b = lab_bank_normals(test_seed(), "b", N, 3.0);
    b[17] = NAN;
    b[40] = INFINITY;
    const lab_bank_item items[] = {{"fine", QUANT_F32, shape, a}, {"bad", QUANT_F32, shape, b}};
    const char *path = make("nan.safetensors", items, 2);
    free(a);
    free(b);
    return path;
}

const char *cli_bank_huge(void)
{
    const quant_shape shape = {2, {ROWS, COLUMNS}};
    float *a = lab_bank_normals(test_seed(), "a", N, 1e9);
    const lab_bank_item items[] = {{"huge", QUANT_F32, shape, a}};
    const char *path = make("huge.safetensors", items, 1);
    free(a);
    return path;
}

const char *cli_bank_unsupported(void)
{
    static const unsigned char codes[8];
    const lab_bank_item items[] = {{"f8", QUANT_F8_E4M3, {2, {2, 4}}, codes}};
    return make("f8.safetensors", items, 1);
}

const char *cli_bank_empty(void)
{
    return make("empty.safetensors", NULL, 0);
}

const char *cli_bank_garbage(void)
{
    const char *path = test_scratch_path("garbage.bin");
    scratch_put(path, "this is no weight bank at all, not even nearly", 46);
    return path;
}
