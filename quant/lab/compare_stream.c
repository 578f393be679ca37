/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_stream.c - a tensor and its copy, span by span: weights and outputs in one pass. */
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"

/* ---- spans -------------------------------------------------------------------------------- */

static void widen(const float *x, size_t n, double *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = (double)x[i];
    }
}

bool lab_is_wide(const lab_tensor *t)
{
    return t->info->dtype == QUANT_F64;
}

static bool is_exact(const lab_copy *copy)
{
    return !copy->packed && !copy->other;
}

static quant_status read_reference(lab_study *s, const lab_tensor *t, uint64_t first, size_t count)
{
    if (lab_is_wide(t)) {
        return quant_bank_read_f64(s->ctx, s->bank, t->index, first, count, s->span.reference);
    }
    widen(t->w + first, count, s->span.reference);
    return QUANT_OK;
}

/* Into span.copy when the copy is wide, into span.narrow otherwise. */
static quant_status read_copy(lab_study *s, const lab_tensor *t, const lab_copy *c,
                              uint64_t first, size_t count)
{
    if (c->packed) {
        return quant_decode_span(s->ctx, &c->scheme, &t->info->shape, c->packed, c->bytes, first,
                                 count, s->span.narrow);
    }
    return c->wide ? quant_bank_read_f64(s->ctx, c->other, c->index, first, count, s->span.copy)
                   : quant_bank_read_f32(s->ctx, c->other, c->index, first, count, s->span.narrow);
}

quant_status lab_stream(lab_study *s, const lab_tensor *t, const lab_copy *copy, quant_fidelity *f,
                        lab_outputs *const sinks[2])
{
    bool exact = is_exact(copy), wide = lab_is_wide(t) || copy->wide;
    for (uint64_t first = 0; first < t->info->elements; first += LAB_SPAN) {
        uint64_t left = t->info->elements - first;
        size_t count = left < LAB_SPAN ? (size_t)left : LAB_SPAN;
        if (wide || exact) {
            QUANT_TRY(read_reference(s, t, first, count));
        }
        if (!exact) {
            QUANT_TRY(read_copy(s, t, copy, first, count));
            if (!copy->wide && (wide || sinks[0] || sinks[1])) {
                widen(s->span.narrow, count, s->span.copy);
            }
            quant_fidelity part =
                wide ? quant_fidelity_f64(s->ctx, s->span.reference, s->span.copy, count)
                     : quant_fidelity_f32(s->ctx, t->w + first, s->span.narrow, count);
            quant_fidelity_add(f, &part);
        }
        for (int i = 0; i < 2; i++) {
            if (sinks[i]) {
                lab_outputs_add(s->ctx, sinks[i], exact ? s->span.reference : s->span.copy, first,
                                count);
            }
        }
    }
    return QUANT_OK;
}

/* ---- outputs of the tensor alone ---------------------------------------------------------- */

void lab_own_free(lab_study *s, lab_own *own)
{
    lab_outputs_free(s->ctx, &own->reference);
    lab_inputs_free(s->ctx, &own->inputs);
    memset(own, 0, sizeof *own);
}

quant_status lab_own_prepare(lab_study *s, const lab_tensor *t, int stack, lab_own *own)
{
    if (own->ready && own->stack == stack) {
        return QUANT_OK;
    }
    lab_own_free(s, own);
    lab_view view = lab_view_of(&t->info->shape, stack);
    QUANT_TRY(lab_inputs_make(s->ctx, s->options, t->info->name, view.cols, &own->inputs));
    own->ready = true;
    own->stack = stack;
    if (own->inputs.count == 0) {
        return QUANT_OK;
    }
    QUANT_TRY(lab_outputs_new(s->ctx, &view, &own->inputs, &own->reference));
    lab_copy exact = {0};
    lab_outputs *const sinks[2] = {&own->reference, NULL};
    return lab_stream(s, t, &exact, NULL, sinks);
}
