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

/* What another bank holds, into span.copy when it is wide, into span.narrow otherwise. */
static quant_status read_other(lab_study *s, const lab_copy *c, uint64_t first, size_t count)
{
    return c->wide ? quant_bank_read_f64(s->ctx, c->other, c->index, first, count, s->span.copy)
                   : quant_bank_read_f32(s->ctx, c->other, c->index, first, count, s->span.narrow);
}

/* One chunk of the span that begins at element `first`: decode, widen, measure. Runs beside others,
 * so it allocates nothing and has no context. */
static quant_status measure_chunk(const lab_study *s, const lab_tensor *t, const lab_copy *c,
                                  uint64_t first, size_t at, size_t n, quant_fidelity *f)
{
    float *narrow = s->span.narrow + at;
    if (c->packed) {
        QUANT_TRY(quant_decode_span(NULL, &c->scheme, &t->info->shape, c->packed, c->bytes,
                                    first + at, n, narrow));
    }
    for (size_t i = 0; c->smooth && i < n; i++) {
        narrow[i] /= c->smooth[(first + at + i) % c->smooth_cols];
    }
    if (!c->wide && s->span.use_doubles) {
        widen(narrow, n, s->span.copy + at);
    }
    *f = lab_is_wide(t) || c->wide
             ? quant_fidelity_f64(NULL, s->span.reference + at, s->span.copy + at, n)
             : quant_fidelity_f32(NULL, t->w + first + at, narrow, n);
    return QUANT_OK;
}

/* Records are added chunk by chunk, which is the record of one call over the whole tensor. */
static quant_status measure_span(lab_study *s, const lab_tensor *t, const lab_copy *c,
                                 uint64_t first, size_t count, quant_fidelity *f)
{
    enum { CHUNK = QUANT_FIDELITY_CHUNK, CHUNKS = LAB_SPAN / CHUNK };
    quant_fidelity part[CHUNKS];
    quant_status status[CHUNKS];
    if (c->other) {
        QUANT_TRY(read_other(s, c, first, count));
    }
    size_t chunks = (count + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) num_threads(quant_context_threads(s->ctx)) if (chunks > 1)
    for (size_t i = 0; i < chunks; i++) {
        size_t at = i * CHUNK, n = count - at < CHUNK ? count - at : CHUNK;
        status[i] = measure_chunk(s, t, c, first, at, n, &part[i]);
    }
    for (size_t i = 0; i < chunks; i++) {
        if (status[i] != QUANT_OK) {
            return quant_fail(s->ctx, status[i], "decoding the copy: %s",
                              quant_status_text(status[i]));
        }
        quant_fidelity_add(f, &part[i]);
    }
    return QUANT_OK;
}

quant_status lab_stream(lab_study *s, const lab_tensor *t, const lab_copy *copy, quant_fidelity *f,
                        lab_outputs *const sinks[2])
{
    bool exact = is_exact(copy), wide = lab_is_wide(t) || copy->wide;
    s->span.use_doubles = wide || sinks[0] || sinks[1];
    for (uint64_t first = 0; first < t->info->elements; first += LAB_SPAN) {
        uint64_t left = t->info->elements - first;
        size_t count = left < LAB_SPAN ? (size_t)left : LAB_SPAN;
        if (wide || exact) {
            QUANT_TRY(read_reference(s, t, first, count));
        }
        if (!exact) {
            QUANT_TRY(measure_span(s, t, copy, first, count, f));
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
