/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/golden.h"

#include <stdlib.h>

#include "tests/test.h"

static const quant_tensor *find(quant_context *ctx, quant_bank *bank, const char *name, size_t *i)
{
    *i = SIZE_MAX;
    CHECK_OK(ctx, quant_bank_find(ctx, bank, name, i));
    return quant_bank_tensor(bank, *i);
}

float *golden_floats(quant_context *ctx, quant_bank *bank, const char *name, size_t *count)
{
    size_t i;
    const quant_tensor *t = find(ctx, bank, name, &i);
    float *values = t ? malloc(t->elements * sizeof *values) : NULL;
    if (values) {
        CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, i, 0, t->elements, values));
        *count = t->elements;
    }
    return values;
}

int64_t *golden_integers(quant_context *ctx, quant_bank *bank, const char *name, size_t *count)
{
    size_t i;
    const quant_tensor *t = find(ctx, bank, name, &i);
    int64_t *values = t ? malloc(t->elements * sizeof *values) : NULL;
    if (values) {
        CHECK_OK(ctx, quant_bank_read_i64(ctx, bank, i, 0, t->elements, values));
        *count = t->elements;
    }
    return values;
}

golden golden_read(quant_context *ctx, const char *path)
{
    golden g = {.ids = NULL};
    quant_bank *bank = NULL;
    size_t i, ids;
    CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
    if (!bank) {
        return g;
    }
    const quant_tensor *tokens = find(ctx, bank, "tokens", &i);
    const quant_tensor *hidden = find(ctx, bank, "hidden_first", &i);
    if (tokens && hidden) {
        g.n = tokens->shape.dim[0];
        g.s = tokens->shape.dim[1];
        g.layers = hidden->shape.dim[0];
        g.length = hidden->shape.dim[1];
        g.ids = golden_integers(ctx, bank, "tokens", &ids);
        g.logits = golden_floats(ctx, bank, "logits_full", &g.logits_count);
        g.hidden = golden_floats(ctx, bank, "hidden_first", &g.hidden_count);
    }
    quant_bank_close(ctx, bank);
    return g;
}

void golden_free(golden *g)
{
    free(g->ids);
    free(g->logits);
    free(g->hidden);
}
