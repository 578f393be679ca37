/* SPDX-License-Identifier: GPL-3.0-or-later */
/* layer.c - one layer: h += attention(norm h); h += ffn(norm h), each with a norm behind it where
 * the architecture has one. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/model/pass.h"

quant_status model_show(const model_pass *p, quant_stage stage, const float *data, size_t first_row,
                        size_t rows, size_t cols)
{
    if (!p->options.visit || !(p->options.stages >> stage & 1)) {
        return QUANT_OK;
    }
    const quant_stage_view view = {.stage = stage, .layer = p->layer, .variant = p->variant,
                                   .first_row = first_row, .rows = rows, .cols = cols,
                                   .data = data};
    return p->options.visit(p->options.user, &view);
}

quant_status model_show_expert(const model_pass *p, quant_stage stage, const float *data,
                               size_t expert, size_t rows, size_t cols)
{
    if (!p->options.visit || !(p->options.stages >> stage & 1)) {
        return QUANT_OK;
    }
    const quant_stage_view view = {.stage = stage, .layer = p->layer, .variant = p->variant,
                                   .first_row = p->chosen[0], .rows = rows, .cols = cols,
                                   .data = data, .expert = expert, .chosen = p->chosen};
    return p->options.visit(p->options.user, &view);
}

void model_multiply(const model_pass *p, const model_product *product)
{
    model_gemm(product, p->ops.threads);
    model_round_rows(&p->ops, product->y, product->rows, product->out);
}

/* Norm over every head. */
static void norm_heads(const model_pass *p, quant_role role, float *x, size_t rows, size_t heads)
{
    if (p->model->arch->tensor[role]) {
        model_norm(&p->ops, x, p->w[role], p->z->eps, rows * heads, (size_t)p->z->head_dim, x);
    }
}

static quant_status queries_and_keys(model_pass *p, size_t row, size_t rows)
{
    const quant_model_sizes *z = p->z;
    size_t d = (size_t)z->head_dim, q = (size_t)z->heads * d, kv = (size_t)z->kv_heads * d;
    model_rotation turn = {p->rotary[quant_model_is_local(p->model, p->layer)].at, p->tokens->s,
                           (size_t)z->heads, d, p->model->arch->rotary};
    const model_input in = {.x = p->x.at, .rows = rows, .cols = (size_t)z->width,
                            .stage = QUANT_STAGE_ATTENTION_INPUT, .first_row = row};
    QUANT_TRY(model_project(p, QUANT_ROLE_Q, &in, p->q.at));
    QUANT_TRY(model_project(p, QUANT_ROLE_K, &in, p->k.at));
    QUANT_TRY(model_project(p, QUANT_ROLE_V, &in, p->v.at));
    norm_heads(p, QUANT_ROLE_Q_NORM, p->q.at, rows, turn.heads);
    model_rotate(&p->ops, &turn, p->q.at, rows);
    turn.heads = (size_t)z->kv_heads;
    norm_heads(p, QUANT_ROLE_K_NORM, p->k.at, rows, turn.heads);
    model_rotate(&p->ops, &turn, p->k.at, rows);
    QUANT_TRY(model_show(p, QUANT_STAGE_Q, p->q.at, row, rows, q));
    QUANT_TRY(model_show(p, QUANT_STAGE_K, p->k.at, row, rows, kv));
    return model_show(p, QUANT_STAGE_V, p->v.at, row, rows, kv);
}

static quant_status show_scores(const model_pass *p, const model_attention *a, size_t row)
{
    if (!p->scores.at) {
        return QUANT_OK;
    }
    for (size_t i = 0; i < a->sequences; i++) {
        model_attention_weights(a, i, p->scores.at);
        QUANT_TRY(model_show(p, QUANT_STAGE_SCORES, p->scores.at, row + i * a->length,
                             a->heads * a->length, a->length));
    }
    return QUANT_OK;
}

/* `added` (its norm, where there is one) joins the stream. */
static quant_status join(model_pass *p, quant_role norm, quant_stage added, quant_stage after,
                         size_t row, size_t rows)
{
    size_t width = (size_t)p->z->width;
    float *h = model_stream(p, p->variant, row);
    if (p->model->arch->tensor[norm]) {
        model_norm(&p->ops, p->added.at, p->w[norm], p->z->eps, rows, width, p->added.at);
    }
    QUANT_TRY(model_show(p, added, p->added.at, row, rows, width));
    model_add(&p->ops, h, p->added.at, rows, width);
    return model_show(p, after, h, row, rows, width);
}

quant_status model_layer_attention(model_pass *p, size_t row, size_t rows)
{
    const quant_model_sizes *z = p->z;
    size_t width = (size_t)z->width;
    model_norm(&p->ops, model_stream(p, p->variant, row), p->w[QUANT_ROLE_ATTENTION_NORM], z->eps,
               rows, width, p->x.at);
    QUANT_TRY(model_show(p, QUANT_STAGE_ATTENTION_INPUT, p->x.at, row, rows, width));
    QUANT_TRY(queries_and_keys(p, row, rows));
    const model_attention a = {
        .ops = &p->ops, .q = p->q.at, .k = p->k.at, .v = p->v.at, .y = p->mix.at,
        .sequences = rows / p->tokens->s, .length = p->tokens->s, .heads = (size_t)z->heads,
        .kv_heads = (size_t)z->kv_heads, .head_dim = (size_t)z->head_dim,
        .window = quant_model_is_local(p->model, p->layer) ? (size_t)z->window : 0,
        .scale = z->query_scalar > 0 ? 1 / sqrt(z->query_scalar) : 0, .cap = z->score_cap,
        .scratch = p->attention.at};
    QUANT_TRY(show_scores(p, &a, row));
    (p->options.plain_attention ? model_attend_plain : model_attend)(&a);
    QUANT_TRY(model_show(p, QUANT_STAGE_MIX, p->mix.at, row, rows, a.heads * a.head_dim));
    const model_input mix = {.x = p->mix.at, .rows = rows, .cols = a.heads * a.head_dim,
                             .stage = QUANT_STAGE_MIX, .first_row = row};
    QUANT_TRY(model_project(p, QUANT_ROLE_O, &mix, p->added.at));
    QUANT_TRY(model_show(p, QUANT_STAGE_O, p->added.at, row, rows, width));
    return join(p, QUANT_ROLE_POST_ATTENTION, QUANT_STAGE_ATTENTION_ADDED, QUANT_STAGE_MIDDLE, row,
                rows);
}

static quant_status dense(model_pass *p, size_t row, size_t rows)
{
    size_t inner = (size_t)p->z->inner;
    const model_input in = {.x = p->x.at, .rows = rows, .cols = (size_t)p->z->width,
                            .stage = QUANT_STAGE_FFN_INPUT, .first_row = row};
    const model_input hidden = {.x = p->gate.at, .rows = rows, .cols = inner,
                                .stage = QUANT_STAGE_ACTIVATION, .first_row = row};
    QUANT_TRY(model_project(p, QUANT_ROLE_GATE, &in, p->gate.at));
    QUANT_TRY(model_project(p, QUANT_ROLE_UP, &in, p->up.at));
    QUANT_TRY(model_show(p, QUANT_STAGE_GATE, p->gate.at, row, rows, inner));
    QUANT_TRY(model_show(p, QUANT_STAGE_UP, p->up.at, row, rows, inner));
    model_activate(&p->ops, p->model->arch->activation, p->gate.at, p->up.at, rows, inner);
    QUANT_TRY(model_show(p, QUANT_STAGE_ACTIVATION, p->gate.at, row, rows, inner));
    QUANT_TRY(model_project(p, QUANT_ROLE_DOWN, &hidden, p->added.at));
    return model_show(p, QUANT_STAGE_DOWN, p->added.at, row, rows, (size_t)p->z->width);
}

quant_status model_layer_ffn(model_pass *p, size_t row, size_t rows)
{
    size_t width = (size_t)p->z->width;
    model_norm(&p->ops, model_stream(p, p->variant, row), p->w[QUANT_ROLE_FFN_NORM], p->z->eps,
               rows, width, p->x.at);
    QUANT_TRY(model_show(p, QUANT_STAGE_FFN_INPUT, p->x.at, row, rows, width));
    bool first = p->model->arch->tensor[QUANT_ROLE_GATE] != NULL;
    if (first) {
        QUANT_TRY(dense(p, row, rows));
    }
    if (p->model->arch->tensor[QUANT_ROLE_ROUTER]) {
        QUANT_TRY(model_layer_experts(p, row, rows));
        if (first) {
            model_add(&p->ops, p->added.at, p->experts.at, rows, width);
        } else {
            memcpy(p->added.at, p->experts.at, rows * width * sizeof(float));
        }
    }
    return join(p, QUANT_ROLE_POST_FFN, QUANT_STAGE_FFN_ADDED, QUANT_STAGE_RESIDUAL, row, rows);
}
