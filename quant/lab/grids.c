/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/grids.h"

#include <stdint.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"
#include "quant/lab/smoothing.h"

typedef enum fate { UNASKED, FITTED, UNSEEN } fate;

typedef struct entry {
    fate fate;
    const float *factors; /* under which it was fitted */
    quant_activation_grid grid;
} entry;

struct quant_grids {
    quant_observer_fn *of;
    void *user;
    uint64_t layers, experts;
    size_t inputs;  /* of the model: layers times stages, and experts */
    size_t rules;   /* in use */
    quant_activation rule[QUANT_GRIDS_RULES];
    entry *entries; /* [QUANT_GRIDS_RULES][inputs] */
    const quant_model *model;
    const quant_stats *stats; /* NULL: only observers are known */
    lab_smoothing *smoothing; /* a list, in the order asked for */
};

static const quant_stage stages[] = {QUANT_STAGE_ATTENTION_INPUT, QUANT_STAGE_MIX,
                                     QUANT_STAGE_FFN_INPUT, QUANT_STAGE_ACTIVATION,
                                     QUANT_STAGE_EXPERT_INPUT, QUANT_STAGE_EXPERT_ACTIVATION};
enum { STAGES = sizeof stages / sizeof *stages };

quant_status quant_grids_new(quant_context *ctx, const quant_model *model, quant_observer_fn *of,
                             void *user, quant_grids **grids)
{
    if (!model || !of || !grids) {
        return quant_fail(ctx, QUANT_EINVAL, "grids: expected a model and observers");
    }
    const quant_model_sizes *z = quant_model_sizes_of(model);
    quant_grids *g = quant_alloc(ctx, 1, sizeof *g);
    if (!g) {
        return QUANT_ENOMEM;
    }
    *g = (quant_grids){.of = of, .user = user, .model = model, .layers = z->layers,
                       .experts = z->experts > 0 ? z->experts : 1};
    g->inputs = STAGES * (size_t)g->layers * (size_t)g->experts;
    g->entries = quant_alloc(ctx, QUANT_GRIDS_RULES * g->inputs, sizeof *g->entries);
    if (!g->entries) {
        quant_grids_free(ctx, g);
        return QUANT_ENOMEM;
    }
    memset(g->entries, 0, QUANT_GRIDS_RULES * g->inputs * sizeof *g->entries);
    *grids = g;
    return QUANT_OK;
}

static const quant_observer *recorded(void *user, quant_stage stage, uint64_t layer, size_t expert)
{
    quant_site site;
    quant_stats_row row;
    bool there = quant_site_of_stage(stage, &site) &&
                 quant_stats_at(user, site, layer, expert, &row) && row.rows > 0;
    return there ? row.observer : NULL;
}

quant_status quant_grids_of_stats(quant_context *ctx, const quant_model *model,
                                  const quant_stats *stats, quant_grids **grids)
{
    if (!model || !stats) {
        return quant_fail(ctx, QUANT_EINVAL, "grids: expected a model and its statistics");
    }
    QUANT_TRY(quant_stats_match(ctx, stats, quant_model_bank(model)));
    QUANT_TRY(quant_grids_new(ctx, model, recorded, (void *)(uintptr_t)stats, grids));
    (*grids)->stats = stats;
    return QUANT_OK;
}

void quant_grids_free(quant_context *ctx, quant_grids *g)
{
    if (g) {
        lab_smoothing_free(ctx, g->smoothing);
        quant_release(ctx, g->entries, QUANT_GRIDS_RULES * g->inputs, sizeof *g->entries);
        quant_release(ctx, g, 1, sizeof *g);
    }
}

quant_status quant_grids_smooth(quant_context *ctx, quant_grids *g, const quant_scheme *scheme)
{
    const lab_smoothing_source from = {g->model, g->of, g->user, g->stats};
    return scheme->activation.smooth == 0
               ? QUANT_OK
               : lab_smoothing_add(ctx, &from, scheme, &g->smoothing);
}

const float *quant_grids_smooth_of(void *grids, quant_role role, uint64_t layer,
                                   const quant_scheme *scheme)
{
    const quant_grids *g = grids;
    int group = lab_smoothing_group(role);
    return group < 0 ? NULL : lab_smoothing_find(g->smoothing, scheme, layer, group);
}

bool quant_grids_choice(const quant_grids *g, size_t i, quant_smooth_choice *choice)
{
    return lab_smoothing_choice(g->smoothing, i, choice);
}

static bool same_rule(const quant_activation *a, const quant_activation *b)
{
    return a->rule == b->rule && a->asymmetric == b->asymmetric && a->percentile == b->percentile;
}

/* Where an input is kept under a rule; NULL: no room for a further rule. */
static entry *place_of(quant_grids *g, const quant_activation *how, size_t stage, uint64_t layer,
                       size_t expert)
{
    size_t r = 0;
    while (r < g->rules && !same_rule(&g->rule[r], how)) {
        r++;
    }
    if (r == QUANT_GRIDS_RULES) {
        return NULL;
    }
    if (r == g->rules) {
        g->rule[g->rules++] = *how;
    }
    return g->entries + r * g->inputs +
           (stage * (size_t)g->layers + (size_t)layer) * (size_t)g->experts + expert;
}

bool quant_grids_of(void *grids, quant_stage stage, uint64_t layer, size_t expert,
                    const quant_activation *how, const float *factors,
                    quant_activation_grid *grid)
{
    quant_grids *g = grids;
    size_t s = 0;
    while (s < STAGES && stages[s] != stage) {
        s++;
    }
    if (s == STAGES || layer >= g->layers || expert >= g->experts) {
        return false;
    }
    entry fresh = {UNASKED, NULL, {0, 0, 0, 0}}, *e = place_of(g, how, s, layer, expert);
    e = e ? e : &fresh;
    if (e->fate == UNASKED || e->factors != factors) {
        const quant_observer *o = g->of(g->user, stage, layer, expert);
        bool seen = o && o->rows > 0;
        if (seen && factors) {
            e->grid = lab_smoothed_grid(o, how->asymmetric, factors);
        } else {
            seen = seen && quant_observer_fit(NULL, o, 0, how, &e->grid) == QUANT_OK;
        }
        e->fate = seen ? FITTED : UNSEEN;
        e->factors = factors;
    }
    *grid = e->grid;
    return e->fate == FITTED;
}
