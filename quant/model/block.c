/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/model/block.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/model/pass.h"

struct quant_block {
    model_pass pass;
    quant_tokens tokens; /* their number only */
    quant_forward_variant variant[2]; /* the second has the routes of the first */
    size_t at_work;
};

static quant_status read_layer(quant_block *b)
{
    QUANT_TRY(model_pass_begin(&b->pass));
    for (int r = QUANT_ROLE_LAYER; r < QUANT_ROLE_COUNT; r++) {
        QUANT_TRY(model_weights_read(&b->pass, (quant_role)r, b->pass.layer));
        QUANT_TRY(model_weights_choose(&b->pass, (quant_role)r, b->pass.layer));
    }
    return quant_bank_unchanged(b->pass.ctx, b->pass.model->bank);
}

quant_status quant_block_open(quant_context *ctx, quant_model *model, uint64_t layer, size_t n,
                              size_t s, quant_block **block)
{
    size_t count;
    *block = NULL;
    if (!model || layer >= model->sizes.layers || __builtin_mul_overflow(n, s, &count) ||
        count == 0 || count > INT_MAX) {
        return quant_fail(ctx, QUANT_EINVAL, "block: expected a layer of a model and 1..2^31-1 "
                          "positions, found layer %" PRIu64 " and %zu sequences of %zu", layer, n,
                          s);
    }
    quant_block *b = quant_alloc(ctx, 1, sizeof *b);
    if (!b) {
        return QUANT_ENOMEM;
    }
    *b = (quant_block){.tokens = {NULL, n, s}, .variant = {[1] = {.routed = true, .router = 0}}};
    b->pass = (model_pass){.ctx = ctx, .model = model, .z = &model->sizes, .tokens = &b->tokens,
                           .variants = b->variant, .count = 2, .layer = layer};
    quant_status status = read_layer(b);
    if (status != QUANT_OK) {
        quant_block_close(ctx, b);
        return status;
    }
    *block = b;
    return QUANT_OK;
}

quant_status quant_block_run(quant_block *b, const float *x, float *y)
{
    model_pass *p = &b->pass;
    size_t n = b->tokens.n, s = b->tokens.s, floats = n * s * (size_t)p->z->width;
    p->variant = b->at_work;
    memcpy(model_stream(p, p->variant, 0), x, floats * sizeof *x);
    for (size_t i = 0; i < n; i += p->batch) {
        size_t some = n - i < p->batch ? n - i : p->batch;
        QUANT_TRY(model_layer_attention(p, i * s, some * s));
        QUANT_TRY(model_layer_ffn(p, i * s, some * s));
    }
    memcpy(y, model_stream(p, p->variant, 0), floats * sizeof *y);
    return QUANT_OK;
}

quant_status quant_block_freeze(quant_block *b, const float *x)
{
    model_pass *p = &b->pass;
    b->at_work = 0;
    QUANT_TRY(quant_block_run(b, x, model_stream(p, 1, 0)));
    b->at_work = 1;
    return QUANT_OK;
}

void quant_block_close(quant_context *ctx, quant_block *b)
{
    if (b) {
        model_pass_end(&b->pass);
        quant_release(ctx, b, 1, sizeof *b);
    }
}
