/* SPDX-License-Identifier: GPL-3.0-or-later */
/* column_weights.c - what a column makes of the weights themselves. */
#include <math.h>

#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"

/* Factors of the columns of tensor i; NULL: none. */
static const float *factors_of(const quant_model *model, size_t i, const lab_pick *pick,
                               const quant_scheme *scheme)
{
    uint64_t layers = quant_model_sizes_of(model)->layers;
    for (int role = 0; role < QUANT_ROLE_COUNT; role++) {
        uint64_t parts = quant_model_parts(model, (quant_role)role);
        for (uint64_t at = 0; at < layers * parts; at++) {
            size_t index;
            if (quant_model_part(model, (quant_role)role, at / parts, at % parts, &index) &&
                index == i) {
                return lab_pick_factors(pick, (quant_role)role, at / parts, scheme);
            }
        }
    }
    return NULL;
}

static quant_status measure(quant_context *ctx, quant_bank *bank, size_t i, const lab_pick *pick,
                            const float *factors, quant_propagate_weights *out)
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
        s = lab_pick_copy(ctx, pick, t, w, factors, copy, &bytes);
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
        const quant_scheme *scheme = lab_pick_scheme(&mine, quant_bank_tensor(bank, i));
        if (scheme) {
            QUANT_TRY(measure(ctx, bank, i, pick, factors_of(model, i, pick, scheme), out));
        }
    }
    return quant_bank_unchanged(ctx, bank);
}
