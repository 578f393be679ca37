/* SPDX-License-Identifier: GPL-3.0-or-later */
/* whiteness_layers.c - the weight errors of a model, layer by layer. */
#include <math.h>

#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"

typedef struct walk {
    quant_context *ctx;
    const quant_model *model;
    lab_pick pick;
    uint64_t seed;
    quant_whiteness_draws draws; /* of the layer at work */
} walk;

/* Rows are what one output sums over: the last axis. */
static quant_status test_error(walk *w, const quant_tensor *t, float *error,
                               quant_whiteness_row *row)
{
    quant_whiteness result;
    uint64_t cols = t->shape.dim[t->shape.rank - 1];
    QUANT_TRY(quant_whiteness_test(w->ctx, error, t->elements / cols, cols, w->seed, t->name,
                                   &result, &w->draws));
    if (result.rows > 0) {
        row->tensors++;
        if (row->tensors == 1 || fabs(result.neighbour) > fabs(row->neighbour)) {
            row->neighbour = result.neighbour;
            row->tensor = t->name;
        }
    }
    return QUANT_OK;
}

static quant_status test_tensor(walk *w, const quant_tensor *t, size_t index,
                                const float *factors, quant_whiteness_row *row)
{
    size_t n = (size_t)t->elements;
    float *x = quant_alloc(w->ctx, n, sizeof *x), *copy = quant_alloc(w->ctx, n, sizeof *copy);
    quant_status s = x && copy ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        s = quant_bank_read_f32(w->ctx, quant_model_bank(w->model), index, 0, t->elements, x);
    }
    if (s == QUANT_OK) {
        s = lab_pick_copy(w->ctx, &w->pick, t, x, factors, copy, &(uint64_t){0});
    }
    if (s == QUANT_OK) {
        for (size_t i = 0; i < n; i++) {
            copy[i] -= x[i];
        }
        s = test_error(w, t, copy, row);
    }
    quant_release(w->ctx, x, n, sizeof *x);
    quant_release(w->ctx, copy, n, sizeof *copy);
    return s;
}

/* Is the role at home at this depth? Embedding, layers, then final norm and a head of its own. */
static bool is_at(const quant_model *model, int role, uint64_t depth)
{
    const quant_model_sizes *z = quant_model_sizes_of(model);
    if (depth == 0 || depth > z->layers) {
        return depth == 0 ? role == QUANT_ROLE_EMBED : role == QUANT_ROLE_HEAD && !z->tied;
    }
    return role >= QUANT_ROLE_LAYER;
}

static quant_status test_depth(walk *w, uint64_t depth, quant_whiteness_row *row)
{
    *row = (quant_whiteness_row){.p = (double)NAN, .neighbour = (double)NAN};
    w->draws = (quant_whiteness_draws){{0}};
    for (int role = 0; role < QUANT_ROLE_COUNT; role++) {
        uint64_t layer = role < QUANT_ROLE_LAYER ? 0 : depth - 1;
        bool here = is_at(w->model, role, depth);
        uint64_t parts = here ? quant_model_parts(w->model, (quant_role)role) : 0;
        for (uint64_t k = 0; k < parts; k++) {
            size_t index;
            const quant_tensor *t = quant_model_part(w->model, (quant_role)role, layer, k, &index);
            const quant_scheme *scheme = lab_pick_scheme(&w->pick, t);
            if (scheme) {
                const float *factors = role < QUANT_ROLE_LAYER
                                           ? NULL
                                           : lab_pick_factors(&w->pick, (quant_role)role, layer,
                                                              scheme);
                QUANT_TRY(test_tensor(w, t, index, factors, row));
            }
        }
    }
    if (row->tensors > 0) {
        row->p = quant_whiteness_p(&w->draws);
    }
    return QUANT_OK;
}

quant_status lab_whiteness_layers(quant_context *ctx, const quant_model *model,
                                  const lab_pick *pick, uint64_t seed, quant_whiteness_row *rows)
{
    walk w = {.ctx = ctx, .model = model, .pick = *pick, .seed = seed};
    for (uint64_t d = 0; d < quant_model_sizes_of(model)->layers + 2; d++) {
        QUANT_TRY(test_depth(&w, d, &rows[d]));
    }
    return quant_bank_unchanged(ctx, quant_model_bank(model));
}
