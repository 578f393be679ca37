/* SPDX-License-Identifier: GPL-3.0-or-later */
/* experts.c - a router gives every token its few experts; each expert works on the rows that chose
 * it, gathered, in the order of the experts. */
#include <string.h>

#include "quant/internal.h"
#include "quant/model/pass.h"

/* The k largest shares (ties: the lower index), divided by their sum unless kept as they are; the
 * others become 0. A NaN is never larger; with nothing but NaN the first k are taken, and stay
 * NaN. */
static void keep_largest(float *share, size_t experts, size_t k, bool as_they_are)
{
    double sum = 0;
    uint64_t taken[MODEL_EXPERTS / 64] = {0}; /* bit e: chosen */
    for (size_t i = 0; i < k; i++) {
        size_t best = experts;
        for (size_t e = 0; e < experts; e++) {
            bool free_one = !(taken[e / 64] >> e % 64 & 1);
            best = free_one && (best == experts || share[e] > share[best]) ? e : best;
        }
        taken[best / 64] |= UINT64_C(1) << best % 64;
        sum += (double)share[best];
    }
    sum = as_they_are ? 1 : sum;
    for (size_t e = 0; e < experts; e++) {
        bool chosen = taken[e / 64] >> e % 64 & 1;
        share[e] = chosen ? (float)((double)share[e] / sum) : 0;
    }
}

static quant_status route(model_pass *p, size_t row, size_t rows)
{
    size_t experts = (size_t)p->z->experts;
    float *r = model_routes(p, p->variant, row);
    const quant_forward_variant *v = &p->variants[p->variant];
    const model_product product = {p->x.at, p->w[QUANT_ROLE_ROUTER], r, rows, (size_t)p->z->width,
                                   experts};
    model_multiply(p, &product);
    model_softmax(&p->ops, r, rows, experts);
    QUANT_TRY(model_show(p, QUANT_STAGE_ROUTER, r, row, rows, experts));
    for (size_t i = 0; i < rows && !v->routed; i++) {
        keep_largest(r + i * experts, experts, (size_t)p->z->experts_used,
                     p->z->shares_kept);
        model_round(p->ops.compute, r + i * experts, experts);
    }
    if (v->routed) {
        memcpy(r, model_routes(p, v->router, row), rows * experts * sizeof *r);
    }
    return model_show(p, QUANT_STAGE_ROUTES, r, row, rows, experts);
}

/* Rows that chose expert e, side by side; `row` is the number of the first. */
static size_t gather(const model_pass *p, const float *routes, size_t e, size_t row, size_t rows)
{
    size_t width = (size_t)p->z->width, experts = (size_t)p->z->experts, n = 0;
    for (size_t i = 0; i < rows; i++) {
        if (routes[i * experts + e] != 0) {
            p->chosen[n] = row + i;
            memcpy(p->expert_in.at + n++ * width, p->x.at + i * width, width * sizeof(float));
        }
    }
    return n;
}

static void scatter(const model_pass *p, const float *routes, size_t e, size_t rows)
{
    size_t width = (size_t)p->z->width, experts = (size_t)p->z->experts;
    const float *from = p->expert_out.at;
    for (size_t i = 0; i < rows; i++) {
        float weight = routes[i * experts + e];
        if (weight != 0) {
            float *to = p->experts.at + i * width;
            for (size_t c = 0; c < width; c++) {
                to[c] += weight * from[c];
            }
            from += width;
        }
    }
}

/* gate[n][inner] and up[n][inner] of one expert, of two matrices or of one with up below gate. */
static quant_status gate_and_up(const model_pass *p, const model_input *in)
{
    size_t inner = (size_t)p->z->expert_inner;
    if (!p->model->arch->tensor[QUANT_ROLE_EXPERT_GATE_UP]) {
        QUANT_TRY(model_project(p, QUANT_ROLE_EXPERT_GATE, in, p->gate.at));
        return model_project(p, QUANT_ROLE_EXPERT_UP, in, p->up.at);
    }
    QUANT_TRY(model_project(p, QUANT_ROLE_EXPERT_GATE_UP, in, p->both.at));
    for (size_t i = 0; i < in->rows; i++) {
        memcpy(p->gate.at + i * inner, p->both.at + 2 * i * inner, inner * sizeof(float));
        memcpy(p->up.at + i * inner, p->both.at + (2 * i + 1) * inner, inner * sizeof(float));
    }
    return QUANT_OK;
}

static quant_status one_expert(const model_pass *p, size_t e, size_t row, size_t rows)
{
    const float *routes = model_routes(p, p->variant, row);
    size_t width = (size_t)p->z->width, inner = (size_t)p->z->expert_inner;
    size_t n = gather(p, routes, e, row, rows);
    if (n == 0) {
        return QUANT_OK;
    }
    QUANT_TRY(model_show_expert(p, QUANT_STAGE_EXPERT_INPUT, p->expert_in.at, e, n, width));
    const model_input in = {.x = p->expert_in.at, .rows = n, .cols = width, .expert = e,
                            .stage = QUANT_STAGE_EXPERT_INPUT, .chosen = p->chosen};
    const model_input hidden = {.x = p->gate.at, .rows = n, .cols = inner, .expert = e,
                                .stage = QUANT_STAGE_EXPERT_ACTIVATION, .chosen = p->chosen};
    QUANT_TRY(gate_and_up(p, &in));
    QUANT_TRY(model_show_expert(p, QUANT_STAGE_EXPERT_GATE, p->gate.at, e, n, inner));
    QUANT_TRY(model_show_expert(p, QUANT_STAGE_EXPERT_UP, p->up.at, e, n, inner));
    model_activate(&p->ops, p->model->arch->activation, p->gate.at, p->up.at, n, inner);
    QUANT_TRY(model_show_expert(p, QUANT_STAGE_EXPERT_ACTIVATION, p->gate.at, e, n, inner));
    QUANT_TRY(model_project(p, QUANT_ROLE_EXPERT_DOWN, &hidden, p->expert_out.at));
    QUANT_TRY(model_show_expert(p, QUANT_STAGE_EXPERT_DOWN, p->expert_out.at, e, n, width));
    scatter(p, routes, e, rows);
    return QUANT_OK;
}

quant_status model_layer_experts(model_pass *p, size_t row, size_t rows)
{
    size_t width = (size_t)p->z->width;
    QUANT_TRY(route(p, row, rows));
    memset(p->experts.at, 0, rows * width * sizeof(float));
    for (size_t e = 0; e < (size_t)p->z->experts; e++) {
        QUANT_TRY(one_expert(p, e, row, rows));
    }
    model_round_rows(&p->ops, p->experts.at, rows, width);
    return model_show(p, QUANT_STAGE_EXPERTS, p->experts.at, row, rows, width);
}
