/* SPDX-License-Identifier: GPL-3.0-or-later */
/* forward.c - the walk: embedding, layers, head; in each of them the weights are read once and
 * every variant goes through. */
#include "quant/model/forward.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/model/pass.h"

enum { BATCH_ROWS = 1024, LOGITS = 1 << 22, LOGIT_ROWS = 64 };

const char *quant_stage_name(quant_stage stage)
{
    static const char *const names[QUANT_STAGE_COUNT] = {
        [QUANT_STAGE_EMBED] = "embed", [QUANT_STAGE_ATTENTION_INPUT] = "attention_input",
        [QUANT_STAGE_Q] = "q", [QUANT_STAGE_K] = "k", [QUANT_STAGE_V] = "v",
        [QUANT_STAGE_SCORES] = "scores", [QUANT_STAGE_MIX] = "mix", [QUANT_STAGE_O] = "o",
        [QUANT_STAGE_ATTENTION_ADDED] = "attention_added", [QUANT_STAGE_MIDDLE] = "middle",
        [QUANT_STAGE_FFN_INPUT] = "ffn_input", [QUANT_STAGE_GATE] = "gate",
        [QUANT_STAGE_UP] = "up", [QUANT_STAGE_ACTIVATION] = "activation",
        [QUANT_STAGE_DOWN] = "down", [QUANT_STAGE_ROUTER] = "router",
        [QUANT_STAGE_ROUTES] = "routes", [QUANT_STAGE_EXPERT_INPUT] = "expert_input",
        [QUANT_STAGE_EXPERT_GATE] = "expert_gate", [QUANT_STAGE_EXPERT_UP] = "expert_up",
        [QUANT_STAGE_EXPERT_ACTIVATION] = "expert_activation",
        [QUANT_STAGE_EXPERT_DOWN] = "expert_down", [QUANT_STAGE_EXPERTS] = "experts",
        [QUANT_STAGE_FFN_ADDED] = "ffn_added", [QUANT_STAGE_RESIDUAL] = "residual",
        [QUANT_STAGE_FINAL] = "final", [QUANT_STAGE_LOGITS] = "logits"};
    return (unsigned)stage < QUANT_STAGE_COUNT ? names[stage] : "?";
}

/* ---- arguments ------------------------------------------------------------------------------ */

static quant_status check_tokens(quant_context *ctx, const quant_model *m, const quant_tokens *t)
{
    size_t count;
    if (t->n == 0 || t->s == 0 || __builtin_mul_overflow(t->n, t->s, &count) || count > INT_MAX) {
        return quant_fail(ctx, QUANT_ERANGE, "tokens: expected 1..2^31-1, found %zu sequences of "
                          "%zu", t->n, t->s);
    }
    for (size_t i = 0; i < count; i++) {
        if (t->id[i] < 0 || (uint64_t)t->id[i] >= m->sizes.vocab) {
            return quant_fail(ctx, QUANT_ERANGE, "tokens: sequence %zu, position %zu: expected 0..%"
                              PRIu64 ", found %" PRId64, i / t->s, i % t->s, m->sizes.vocab - 1,
                              t->id[i]);
        }
    }
    return QUANT_OK;
}

static quant_status check_variants(quant_context *ctx, const quant_forward_variant *v, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if ((v[i].follows && (v[i].leader >= i || v[v[i].leader].follows)) ||
            (v[i].routed && v[i].router >= i)) {
            return quant_fail(ctx, QUANT_EINVAL, "variant %zu: expected to follow an earlier one "
                              "that follows nobody, found %zu", i,
                              v[i].follows ? v[i].leader : v[i].router);
        }
    }
    return QUANT_OK;
}

/* ---- memory --------------------------------------------------------------------------------- */

typedef struct wanted {
    model_buffer *buffer;
    uint64_t count, size;
} wanted;

static quant_status allocate(model_pass *p)
{
    const quant_model_sizes *z = p->z;
    uint64_t rows = (uint64_t)p->batch * p->tokens->s, all = (uint64_t)p->tokens->n * p->tokens->s;
    uint64_t q = z->heads * z->head_dim, kv = z->kv_heads * z->head_dim;
    uint64_t inner = z->inner > z->expert_inner ? z->inner : z->expert_inner;
    bool experts = z->experts > 0;
    bool scores = p->options.visit && p->options.stages >> QUANT_STAGE_SCORES & 1;
    const model_attention shape = {.length = p->tokens->s, .head_dim = (size_t)z->head_dim};
    uint64_t attention = model_attention_scratch(&shape, p->options.plain_attention);
    const wanted list[] = {
        {&p->stream, all * p->count, z->width}, {&p->x, rows, z->width}, {&p->q, rows, q},
        {&p->k, rows, kv}, {&p->v, rows, kv}, {&p->mix, rows, q}, {&p->added, rows, z->width},
        {&p->gate, rows, inner}, {&p->up, rows, inner},
        {&p->both, quant_model_parts(p->model, QUANT_ROLE_EXPERT_GATE_UP) * rows, 2 * inner},
        {&p->attention, attention, (uint64_t)p->ops.threads},
        {&p->rotary[0], p->tokens->s, z->head_dim}, {&p->rotary[1], p->tokens->s, z->head_dim},
        {&p->routes, experts ? all * p->count : 0, z->experts},
        {&p->experts, experts ? rows : 0, z->width}, {&p->expert_in, experts ? rows : 0, z->width},
        {&p->expert_out, experts ? rows : 0, z->width}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        QUANT_TRY(model_buffer_new(p->ctx, list[i].buffer, list[i].count, list[i].size));
    }
    p->chosen = quant_alloc(p->ctx, p->batch * p->tokens->s, sizeof *p->chosen);
    if (!p->chosen) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(model_parts_new(p));
    model_rotary_fill(p->rotary[0].at, p->tokens->s, (size_t)z->head_dim,
                      &p->model->rope[0]);
    model_rotary_fill(p->rotary[1].at, p->tokens->s, (size_t)z->head_dim,
                      &p->model->rope[1]);
    return scores ? model_buffer_new(p->ctx, &p->scores, z->heads * p->tokens->s, p->tokens->s)
                  : QUANT_OK;
}

void model_pass_end(model_pass *p)
{
    model_buffer *const list[] = {&p->stream, &p->routes, &p->rotary[0], &p->rotary[1], &p->x,
                                  &p->q, &p->k, &p->v, &p->mix, &p->added, &p->gate, &p->up,
                                  &p->both, &p->experts, &p->expert_in, &p->expert_out,
                                  &p->attention, &p->scores};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        model_buffer_free(p->ctx, list[i]);
    }
    quant_release(p->ctx, p->chosen, p->batch * p->tokens->s, sizeof *p->chosen);
    for (int r = 0; r < QUANT_ROLE_COUNT; r++) {
        model_buffer_free(p->ctx, &p->stored[r]);
        model_buffer_free(p->ctx, &p->changed[r]);
    }
    model_parts_free(p);
}

size_t quant_forward_batch(size_t s)
{
    return s > 0 && s < BATCH_ROWS ? BATCH_ROWS / s : 1;
}

quant_status model_pass_begin(model_pass *p)
{
    p->ops = (model_ops){p->options.compute, quant_context_threads(p->ctx)};
    p->batch = quant_forward_batch(p->tokens->s);
    p->batch = p->batch < p->tokens->n ? p->batch : p->tokens->n;
    model_gemm_begin();
    return allocate(p);
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Weights of roles [from, to) for the variant at work, unless the one before had the same. */
static quant_status choose(model_pass *p, int from, int to)
{
    const quant_forward_variant *v = &p->variants[p->variant];
    if (p->variant > 0 && model_weights_same(v - 1, v)) {
        return QUANT_OK;
    }
    for (int r = from; r < to; r++) {
        QUANT_TRY(model_weights_choose(p, (quant_role)r, p->layer));
    }
    return QUANT_OK;
}

static quant_status embed(model_pass *p)
{
    size_t width = (size_t)p->z->width, rows = p->tokens->n * p->tokens->s;
    float factor = p->model->arch->embed_scaled ? (float)sqrt((double)width) : 1;
    QUANT_TRY(model_weights_read(p, QUANT_ROLE_EMBED, 0));
    for (p->variant = 0; p->variant < p->count; p->variant++) {
        QUANT_TRY(choose(p, QUANT_ROLE_EMBED, QUANT_ROLE_EMBED + 1));
        float *h = model_stream(p, p->variant, 0);
        for (size_t i = 0; i < rows; i++) {
            const float *from = p->w[QUANT_ROLE_EMBED] + (size_t)p->tokens->id[i] * width;
            for (size_t c = 0; c < width; c++) {
                h[i * width + c] = from[c] * factor;
            }
        }
        model_round_rows(&p->ops, h, rows, width);
        QUANT_TRY(model_show(p, QUANT_STAGE_EMBED, h, 0, rows, width));
    }
    model_buffer_free(p->ctx, &p->stored[QUANT_ROLE_EMBED]);
    model_buffer_free(p->ctx, &p->changed[QUANT_ROLE_EMBED]);
    return QUANT_OK;
}

/* Followers take their leader's stream before anyone has left the beginning of a layer or of the
 * head. */
static void follow(model_pass *p)
{
    size_t floats = p->tokens->n * p->tokens->s * (size_t)p->z->width;
    for (size_t v = 0; v < p->count; v++) {
        if (p->variants[v].follows) {
            memcpy(model_stream(p, v, 0), model_stream(p, p->variants[v].leader, 0),
                   floats * sizeof(float));
        }
    }
}

static quant_status run_layer(model_pass *p)
{
    for (int r = QUANT_ROLE_LAYER; r < QUANT_ROLE_COUNT; r++) {
        QUANT_TRY(model_weights_read(p, (quant_role)r, p->layer));
    }
    follow(p);
    for (p->variant = 0; p->variant < p->count; p->variant++) {
        QUANT_TRY(choose(p, QUANT_ROLE_LAYER, QUANT_ROLE_COUNT));
        for (size_t i = 0; i < p->tokens->n; i += p->batch) {
            size_t some = p->tokens->n - i < p->batch ? p->tokens->n - i : p->batch;
            QUANT_TRY(model_layer_attention(p, i * p->tokens->s, some * p->tokens->s));
            QUANT_TRY(model_layer_ffn(p, i * p->tokens->s, some * p->tokens->s));
        }
    }
    return QUANT_OK;
}

/* Logits of `rows` normed rows into piece. */
static quant_status logits(model_pass *p, const float *x, size_t first, size_t rows, float *piece)
{
    size_t vocab = (size_t)p->z->vocab, width = (size_t)p->z->width;
    float *out = p->variants[p->variant].logits;
    const model_product product = {x, p->w[QUANT_ROLE_HEAD], piece, rows, width, vocab};
    model_multiply(p, &product);
    if (p->z->logit_cap > 0) {
        model_cap(&p->ops, p->z->logit_cap, piece, rows, vocab);
    }
    if (out) {
        memcpy(out + first * vocab, piece, rows * vocab * sizeof *out);
    }
    return model_show(p, QUANT_STAGE_LOGITS, piece, first, rows, vocab);
}

/* The stream becomes the final norm in place; last_only moves the last rows to the front first. */
static quant_status finish(model_pass *p, float *piece, size_t most)
{
    size_t width = (size_t)p->z->width, rows = p->tokens->n * p->tokens->s;
    float *h = model_stream(p, p->variant, 0);
    if (p->options.last_only) {
        for (size_t i = 0; i < p->tokens->n; i++) {
            memmove(h + i * width, h + ((i + 1) * p->tokens->s - 1) * width, width * sizeof *h);
        }
        rows = p->tokens->n;
    }
    model_norm(&p->ops, h, p->w[QUANT_ROLE_FINAL_NORM], p->z->eps, rows, width, h);
    QUANT_TRY(model_show(p, QUANT_STAGE_FINAL, h, 0, rows, width));
    bool wanted_logits = p->variants[p->variant].logits ||
                         (p->options.visit && p->options.stages >> QUANT_STAGE_LOGITS & 1);
    for (size_t i = 0; i < rows && wanted_logits; i += most) {
        QUANT_TRY(logits(p, h + i * width, i, rows - i < most ? rows - i : most, piece));
    }
    return QUANT_OK;
}

static quant_status head(model_pass *p)
{
    model_buffer piece = {NULL, 0};
    uint64_t most = LOGITS / p->z->vocab / LOGIT_ROWS * LOGIT_ROWS;
    most = most < LOGIT_ROWS ? LOGIT_ROWS : most;
    QUANT_TRY(model_weights_read(p, QUANT_ROLE_FINAL_NORM, 0));
    QUANT_TRY(model_weights_read(p, QUANT_ROLE_HEAD, 0));
    quant_status s = model_buffer_new(p->ctx, &piece, most, p->z->vocab);
    p->layer = 0; /* of the tensors; views say sizes->layers */
    follow(p);
    for (p->variant = 0; s == QUANT_OK && p->variant < p->count; p->variant++) {
        s = choose(p, QUANT_ROLE_FINAL_NORM, QUANT_ROLE_HEAD + 1);
        if (s == QUANT_OK) {
            p->layer = p->z->layers;
            s = finish(p, piece.at, (size_t)most);
            p->layer = 0;
        }
    }
    model_buffer_free(p->ctx, &piece);
    return s;
}

static quant_status walk(model_pass *p)
{
    QUANT_TRY(model_pass_begin(p));
    QUANT_TRY(embed(p));
    for (p->layer = 0; p->layer < p->z->layers; p->layer++) {
        QUANT_TRY(run_layer(p));
    }
    QUANT_TRY(head(p));
    return quant_bank_unchanged(p->ctx, p->model->bank);
}

quant_status quant_forward_run(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                               const quant_forward_variant *variants, size_t count,
                               const quant_forward_options *options)
{
    if (!model || !tokens || !tokens->id || !variants || count == 0) {
        return quant_fail(ctx, QUANT_EINVAL, "forward: expected a model, tokens and variants");
    }
    QUANT_TRY(check_tokens(ctx, model, tokens));
    QUANT_TRY(check_variants(ctx, variants, count));
    model_pass p = {.ctx = ctx, .model = model, .z = &model->sizes, .tokens = tokens,
                    .variants = variants, .count = count};
    p.options = options ? *options : p.options;
    quant_status s = walk(&p);
    model_pass_end(&p);
    return s;
}
