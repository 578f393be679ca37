/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sides.c - what a layer injects on clean input, by weights and by activations: f(W',x') - f(W,x) =
 * weights + activations + cross, with f(W',x) and f(W,x') run and not estimated. */
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"
#include "quant/lab/propagate_parts.h"

enum { CLEAN, WEIGHTS, ACTIVATIONS, BOTH, VALUES };

/* Streams after the layer at work, [VALUES][rows][cols]. */
typedef struct film {
    const lab_sides *in;
    float *at;
    size_t rows, cols;
} film;

static void add(const film *f, quant_output_parts *parts)
{
    size_t n = f->rows * f->cols;
    for (size_t i = 0; i < n; i++) {
        lab_output_parts_add(parts, (double[4]){(double)f->at[i], (double)f->at[WEIGHTS * n + i],
                                                (double)f->at[ACTIVATIONS * n + i],
                                                (double)f->at[BOTH * n + i]});
    }
}

static quant_status keep(void *user, const quant_stage_view *v)
{
    film *f = user;
    size_t floats = v->rows * v->cols, step = f->rows * f->cols;
    memcpy(f->at + v->variant * step + v->first_row * v->cols, v->data, floats * sizeof *f->at);
    if (v->variant == BOTH && v->first_row + v->rows == f->rows) {
        add(f, &f->in->parts[v->layer + 1]);
    }
    if (v->first_row + v->rows == f->rows) {
        lab_progress_add(f->in->progress, f->in->what, (int64_t)v->layer, f->in->tokens->n);
    }
    return QUANT_OK;
}

bool lab_has_activations(const lab_pick *pick, const quant_bank *bank)
{
    bool any = false;
    for (size_t i = 0; i < quant_bank_count(bank) && !any; i++) {
        lab_pick mine = *pick;
        const quant_scheme *s = lab_pick_scheme(&mine, quant_bank_tensor(bank, i));
        any = s && s->activation.kind != QUANT_ACTIVATION_FLOAT;
    }
    return any;
}

quant_status lab_sides_run(const lab_sides *in)
{
    film f = {in, NULL, in->tokens->n * in->tokens->s,
              (size_t)quant_model_sizes_of(in->model)->width};
    const quant_forward_variant whole = {.scheme = lab_pick_scheme, .user = in->pick,
                                         .grid = in->pick->grid, .smooth = in->pick->smooth,
                                         .grid_user = in->pick->grid_user,
                                         .follows = true, .leader = CLEAN};
    quant_forward_variant v[VALUES] = {[WEIGHTS] = whole, [ACTIVATIONS] = whole, [BOTH] = whole};
    v[WEIGHTS].float_activations = true;
    v[ACTIVATIONS].float_weights = true;
    const quant_forward_options o = {.compute = in->compute, .visit = keep, .user = &f,
                                     .stages = 1u << QUANT_STAGE_RESIDUAL};
    f.at = quant_alloc(in->ctx, VALUES * f.rows, f.cols * sizeof *f.at);
    if (!f.at) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_forward_run(in->ctx, in->model, in->tokens, v, VALUES, &o);
    quant_release(in->ctx, f.at, VALUES * f.rows, f.cols * sizeof *f.at);
    return s;
}
