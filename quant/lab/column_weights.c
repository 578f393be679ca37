/* SPDX-License-Identifier: GPL-3.0-or-later */
/* column_weights.c - what a column makes of the weights themselves. */
#include <math.h>

#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"

static quant_status measure(quant_context *ctx, quant_bank *bank, size_t i, const lab_pick *pick,
                            quant_propagate_weights *out)
{
    const quant_tensor *t = quant_bank_tensor(bank, i);
    size_t n = (size_t)t->elements;
    float *w = quant_alloc(ctx, n, sizeof *w), *copy = quant_alloc(ctx, n, sizeof *copy);
    uint64_t bytes = 0;
    quant_status s = w && copy ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        s = quant_bank_read_f32(ctx, bank, i, 0, t->elements, w);
    }
    if (s == QUANT_OK) {
        s = lab_pick_copy(ctx, pick, t, w, copy, &bytes);
    }
    if (s == QUANT_OK) {
        quant_fidelity f = quant_fidelity_f32(ctx, w, copy, n);
        double cosine = quant_cosine(&f);
        quant_fidelity_add(&out->pooled, &f);
        out->bytes += bytes;
        if (!out->worst || cosine < out->worst_cosine) {
            out->worst_cosine = cosine;
            out->worst = t->name;
        }
    }
    quant_release(ctx, w, n, sizeof *w);
    quant_release(ctx, copy, n, sizeof *copy);
    return s;
}

quant_status lab_column_weights(quant_context *ctx, quant_model *model, const lab_pick *pick,
                                quant_propagate_weights *out)
{
    quant_bank *bank = quant_model_bank(model);
    lab_pick mine = *pick;
    *out = (quant_propagate_weights){.worst_cosine = (double)NAN};
    for (size_t i = 0; i < quant_bank_count(bank); i++) {
        if (lab_pick_scheme(&mine, quant_bank_tensor(bank, i))) {
            QUANT_TRY(measure(ctx, bank, i, pick, out));
        }
    }
    return quant_bank_unchanged(ctx, bank);
}
