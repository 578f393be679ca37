/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/smoothing.h"

#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"

static const struct {
    quant_stage stage;
    quant_role roles[5];
    int count;
} groups[LAB_SMOOTH_GROUPS] = {
    [LAB_SMOOTH_ATTENTION] = {QUANT_STAGE_ATTENTION_INPUT,
                              {QUANT_ROLE_Q, QUANT_ROLE_K, QUANT_ROLE_V}, 3},
    [LAB_SMOOTH_FFN] = {QUANT_STAGE_FFN_INPUT,
                        {QUANT_ROLE_GATE, QUANT_ROLE_UP, QUANT_ROLE_EXPERT_GATE_UP,
                         QUANT_ROLE_EXPERT_GATE, QUANT_ROLE_EXPERT_UP}, 5},
};

int lab_smoothing_group(quant_role role)
{
    for (int g = 0; g < LAB_SMOOTH_GROUPS; g++) {
        for (int i = 0; i < groups[g].count; i++) {
            if (groups[g].roles[i] == role) {
                return g;
            }
        }
    }
    return -1;
}

const float *lab_smoothing_find(const lab_smoothing *list, double alpha, uint64_t layer, int group)
{
    while (list && list->alpha != alpha) {
        list = list->next;
    }
    size_t at = (size_t)layer * LAB_SMOOTH_GROUPS + (size_t)group;
    return list && layer < list->layers && list->seen[at] ? list->factor + at * list->width : NULL;
}

void lab_smoothing_free(quant_context *ctx, lab_smoothing *list)
{
    while (list) {
        lab_smoothing *next = list->next;
        size_t count = list->layers * LAB_SMOOTH_GROUPS;
        quant_release(ctx, list->seen, count, sizeof *list->seen);
        quant_release(ctx, list->factor, count, list->width * sizeof *list->factor);
        quant_release(ctx, list, 1, sizeof *list);
        list = next;
    }
}

/* Largest magnitude of every column of one tensor joins most[cols]. */
static quant_status add_tensor(quant_context *ctx, const quant_model *model, const quant_tensor *t,
                               size_t index, float *most)
{
    size_t n = (size_t)t->elements, cols = (size_t)t->shape.dim[t->shape.rank - 1];
    float *w = quant_alloc(ctx, n, sizeof *w);
    quant_status s = w ? quant_bank_read_f32(ctx, quant_model_bank(model), index, 0, n, w)
                       : QUANT_ENOMEM;
    for (size_t i = 0; i < n && s == QUANT_OK; i++) {
        most[i % cols] = fmaxf(most[i % cols], fabsf(w[i]));
    }
    quant_release(ctx, w, n, sizeof *w);
    return s;
}

static quant_status add_weights(quant_context *ctx, const quant_model *model, quant_role role,
                                uint64_t layer, float *most)
{
    size_t index;
    const quant_tensor *t;
    for (uint64_t k = 0; k < quant_model_parts(model, role) &&
                         (t = quant_model_part(model, role, layer, k, &index)) != NULL; k++) {
        QUANT_TRY(add_tensor(ctx, model, t, index, most));
    }
    return QUANT_OK;
}

/* One input: x_most, w_most [width] are scratch. */
static quant_status fill(quant_context *ctx, const quant_model *model, const quant_observer *o,
                         const lab_smoothing *s, uint64_t layer, int group, float *scratch)
{
    float *x_most = scratch, *w_most = scratch + s->width;
    size_t at = (size_t)layer * LAB_SMOOTH_GROUPS + (size_t)group;
    s->seen[at] = o && o->rows > 0 && o->cols == s->width;
    for (size_t j = 0; j < s->width && s->seen[at]; j++) {
        x_most[j] = fmaxf(-o->lowest[j], o->highest[j]);
        w_most[j] = 0;
    }
    for (int i = 0; i < groups[group].count && s->seen[at]; i++) {
        QUANT_TRY(add_weights(ctx, model, groups[group].roles[i], layer, w_most));
    }
    if (s->seen[at]) {
        lab_smooth_factors(s->alpha, x_most, w_most, s->width, s->factor + at * s->width);
    }
    return QUANT_OK;
}

static quant_status fill_all(quant_context *ctx, const quant_model *model, quant_observer_fn *of,
                             void *user, const lab_smoothing *s)
{
    float *scratch = quant_alloc(ctx, s->width, 2 * sizeof *scratch);
    quant_status status = scratch ? QUANT_OK : QUANT_ENOMEM;
    for (uint64_t i = 0; i < s->layers * LAB_SMOOTH_GROUPS && status == QUANT_OK; i++) {
        uint64_t layer = i / LAB_SMOOTH_GROUPS;
        int group = (int)(i % LAB_SMOOTH_GROUPS);
        const quant_observer *o = of(user, groups[group].stage, layer, 0);
        status = fill(ctx, model, o, s, layer, group, scratch);
    }
    quant_release(ctx, scratch, s->width, 2 * sizeof *scratch);
    return status;
}

quant_status lab_smoothing_add(quant_context *ctx, const quant_model *model, quant_observer_fn *of,
                               void *user, double alpha, lab_smoothing **list)
{
    const quant_model_sizes *z = quant_model_sizes_of(model);
    size_t count = (size_t)z->layers * LAB_SMOOTH_GROUPS;
    if (alpha == QUANT_SMOOTH_SEARCH) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "smooth=search: expected a number for a whole "
                          "model; quant compare searches, matrix by matrix");
    }
    lab_smoothing *s = quant_alloc(ctx, 1, sizeof *s);
    if (!s) {
        return QUANT_ENOMEM;
    }
    *s = (lab_smoothing){alpha, (size_t)z->layers, (size_t)z->width, NULL, NULL, NULL};
    s->seen = quant_alloc(ctx, count, sizeof *s->seen);
    s->factor = quant_alloc(ctx, count, s->width * sizeof *s->factor);
    quant_status status = s->seen && s->factor ? fill_all(ctx, model, of, user, s) : QUANT_ENOMEM;
    if (status != QUANT_OK) {
        lab_smoothing_free(ctx, s);
        return status;
    }
    s->next = *list;
    *list = s;
    return QUANT_OK;
}
