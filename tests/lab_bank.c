/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/lab_bank.h"

#include <stdlib.h>

#include "quant/bank/safetensors_write.h"
#include "quant/random.h"
#include "tests/test.h"

static quant_status put_all(quant_context *ctx, quant_safetensors_writer *w,
                            const lab_bank_item *items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t n = 0;
        quant_status s = quant_shape_elements(ctx, &items[i].shape, &n);
        if (s == QUANT_OK && n > 0) {
            s = quant_safetensors_put(ctx, w, i, 0, items[i].data,
                                      (size_t)n * quant_dtype_bits(items[i].dtype) / 8);
        }
        if (s != QUANT_OK) {
            return s;
        }
    }
    return QUANT_OK;
}

quant_bank *lab_bank_make(quant_context *ctx, const char *file, const lab_bank_item *items,
                          size_t count)
{
    const char *path = test_scratch_path(file);
    quant_safetensors_item *list = calloc(count + 1, sizeof *list);
    for (size_t i = 0; i < count; i++) {
        list[i] = (quant_safetensors_item){items[i].name, items[i].dtype, items[i].shape};
    }
    quant_safetensors_writer *w = NULL;
    quant_bank *bank = NULL;
    quant_status s = quant_safetensors_create(ctx, path, list, count, NULL, 0, &w);
    if (s == QUANT_OK) {
        s = put_all(ctx, w, items, count);
        CHECK_OK(ctx, s);
        s = quant_safetensors_commit(ctx, w);
    }
    CHECK_OK(ctx, s);
    free(list);
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    return bank;
}

float *lab_bank_normals(uint64_t seed, const char *name, size_t n, double scale)
{
    float *x = malloc((n + 1) * sizeof *x);
    quant_random stream = quant_random_stream(seed, name);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(scale * quant_random_normal(&stream, i));
    }
    return x;
}
