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

quant_stage lab_smoothing_stage(int group)
{
    return groups[group].stage;
}

bool lab_smoothing_role(int group, int i, quant_role *role)
{
    bool there = i < groups[group].count;
    *role = groups[group].roles[there ? i : 0];
    return there;
}

/* ---- a list of factors ----------------------------------------------------------------------- */

static const lab_smoothing *find(const lab_smoothing *list, const quant_scheme *scheme)
{
    char text[QUANT_SCHEME_TEXT];
    bool search = scheme->activation.smooth == QUANT_SMOOTH_SEARCH;
    if (search) {
        quant_scheme_print(scheme, text);
    }
    while (list && (list->alpha != scheme->activation.smooth ||
                    (search && strcmp(list->scheme, text) != 0))) {
        list = list->next;
    }
    return list;
}

const float *lab_smoothing_find(const lab_smoothing *list, const quant_scheme *scheme,
                                uint64_t layer, int group)
{
    const lab_smoothing *s = find(list, scheme);
    size_t at = (size_t)layer * LAB_SMOOTH_GROUPS + (size_t)group;
    return s && layer < s->layers && s->seen[at] ? s->factor + at * s->width : NULL;
}

bool lab_smoothing_choice(const lab_smoothing *list, size_t i, quant_smooth_choice *choice)
{
    for (; list; list = list->next) {
        size_t count = list->alpha == QUANT_SMOOTH_SEARCH ? list->layers * LAB_SMOOTH_GROUPS : 0;
        for (size_t at = 0; at < count; at++) {
            if (list->seen[at] && i-- == 0) {
                *choice = list->choice[at];
                return true;
            }
        }
    }
    return false;
}

static void free_one(quant_context *ctx, lab_smoothing *s)
{
    size_t count = s->layers * LAB_SMOOTH_GROUPS;
    quant_release(ctx, s->seen, count, sizeof *s->seen);
    quant_release(ctx, s->choice, count, sizeof *s->choice);
    quant_release(ctx, s->factor, count, s->width * sizeof *s->factor);
    quant_release(ctx, s, 1, sizeof *s);
}

void lab_smoothing_free(quant_context *ctx, lab_smoothing *list)
{
    while (list) {
        lab_smoothing *next = list->next;
        free_one(ctx, list);
        list = next;
    }
}

/* ---- one input ------------------------------------------------------------------------------- */

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

/* x_most, w_most [width] of an input that was seen. */
static quant_status find_ranges(quant_context *ctx, const lab_smooth_search *at,
                                const quant_observer *o, float *x_most, float *w_most)
{
    quant_role role;
    for (size_t j = 0; j < at->width; j++) {
        x_most[j] = fmaxf(-o->lowest[j], o->highest[j]);
        w_most[j] = 0;
    }
    for (int i = 0; lab_smoothing_role(at->group, i, &role); i++) {
        QUANT_TRY(add_weights(ctx, at->from->model, role, at->layer, w_most));
    }
    return QUANT_OK;
}

static quant_status fill(quant_context *ctx, const lab_smooth_search *at, lab_smoothing *s,
                         float *scratch)
{
    size_t i = (size_t)at->layer * LAB_SMOOTH_GROUPS + (size_t)at->group;
    quant_smooth_choice *choice = &s->choice[i];
    const quant_observer *o = at->from->of(at->from->user, lab_smoothing_stage(at->group),
                                           at->layer, 0);
    float *x_most = scratch, *w_most = scratch + s->width;
    s->seen[i] = o && o->rows > 0 && o->cols == s->width;
    if (!s->seen[i]) {
        return QUANT_OK;
    }
    QUANT_TRY(find_ranges(ctx, at, o, x_most, w_most));
    *choice = (quant_smooth_choice){.alpha = s->alpha};
    if (s->alpha == QUANT_SMOOTH_SEARCH) {
        QUANT_TRY(lab_smooth_search_run(ctx, at, choice));
    }
    choice->scheme = s->scheme;
    lab_smooth_factors(choice->alpha, x_most, w_most, s->width, s->factor + i * s->width);
    return QUANT_OK;
}

static quant_status fill_all(quant_context *ctx, const lab_smoothing_source *from,
                             const quant_scheme *scheme, lab_smoothing *s)
{
    float *scratch = quant_alloc(ctx, s->width, 2 * sizeof *scratch);
    quant_status status = scratch ? QUANT_OK : QUANT_ENOMEM;
    for (uint64_t i = 0; i < s->layers * LAB_SMOOTH_GROUPS && status == QUANT_OK; i++) {
        const lab_smooth_search at = {from, scheme, i / LAB_SMOOTH_GROUPS,
                                      (int)(i % LAB_SMOOTH_GROUPS), s->width, scratch,
                                      scratch + s->width};
        status = fill(ctx, &at, s, scratch);
    }
    quant_release(ctx, scratch, s->width, 2 * sizeof *scratch);
    return status;
}

quant_status lab_smoothing_add(quant_context *ctx, const lab_smoothing_source *from,
                               const quant_scheme *scheme, lab_smoothing **list)
{
    const quant_model_sizes *z = quant_model_sizes_of(from->model);
    size_t count = (size_t)z->layers * LAB_SMOOTH_GROUPS;
    if (find(*list, scheme)) {
        return QUANT_OK;
    }
    if (scheme->activation.smooth == QUANT_SMOOTH_SEARCH && !from->stats) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "smooth=search: expected statistics of "
                          "calibration, found observers only");
    }
    lab_smoothing *s = quant_alloc(ctx, 1, sizeof *s);
    if (!s) {
        return QUANT_ENOMEM;
    }
    *s = (lab_smoothing){.alpha = scheme->activation.smooth, .layers = (size_t)z->layers,
                         .width = (size_t)z->width};
    quant_scheme_print(scheme, s->scheme);
    s->seen = quant_alloc(ctx, count, sizeof *s->seen);
    s->choice = quant_alloc(ctx, count, sizeof *s->choice);
    s->factor = quant_alloc(ctx, count, s->width * sizeof *s->factor);
    quant_status status = s->seen && s->choice && s->factor ? fill_all(ctx, from, scheme, s)
                                                            : QUANT_ENOMEM;
    if (status != QUANT_OK) {
        free_one(ctx, s);
        return status;
    }
    while (*list) {
        list = &(*list)->next;
    }
    *list = s;
    return QUANT_OK;
}
