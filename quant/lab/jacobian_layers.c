/* SPDX-License-Identifier: GPL-3.0-or-later */
/* jacobian_layers.c - gains of every layer at the clean streams of the first sequences, and what
 * they say of the growth of the error. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"

enum { SEQUENCES = 4, STREAM_FLOATS = 1 << 26 };

typedef struct streams {
    float *at; /* [layers][floats] */
    uint64_t layers;
    size_t floats, width, n, s;
} streams;

/* The stream before layer l: the embedding, or what layer l - 1 left. */
static quant_status keep(void *user, const quant_stage_view *v)
{
    streams *k = user;
    uint64_t layer = v->stage == QUANT_STAGE_EMBED ? 0 : v->layer + 1;
    if (layer < k->layers) {
        memcpy(k->at + layer * k->floats + v->first_row * k->width, v->data,
               v->rows * v->cols * sizeof *k->at);
    }
    return QUANT_OK;
}

static quant_status measure_layers(quant_context *ctx, quant_model *model, const streams *k,
                                   uint64_t seed, lab_progress *progress, quant_jacobian *out)
{
    for (uint64_t l = 0; l < k->layers; l++) {
        quant_block *block;
        QUANT_TRY(quant_block_open(ctx, model, l, k->n, k->s, &block));
        quant_status s = quant_jacobian_measure(ctx, block, k->at + l * k->floats, k->floats, seed,
                                                &out[l]);
        quant_block_close(ctx, block);
        QUANT_TRY(s);
        lab_progress_add(progress, "jacobians", (int64_t)l, LAB_JACOBIAN_WORK);
    }
    return QUANT_OK;
}

quant_status lab_jacobian_layers(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                                 uint64_t seed, lab_progress *progress, quant_jacobian *out)
{
    const quant_model_sizes *z = quant_model_sizes_of(model);
    streams k = {.layers = z->layers, .width = (size_t)z->width};
    size_t sequence = tokens->s * k.width, most = STREAM_FLOATS / (sequence * (size_t)k.layers);
    most = most < 1 ? 1 : most > SEQUENCES ? SEQUENCES : most;
    const quant_tokens some = {tokens->id, tokens->n < most ? tokens->n : most, tokens->s};
    const quant_forward_variant v = {.scheme = NULL};
    const quant_forward_options o = {
        .visit = keep, .user = &k,
        .stages = 1u << QUANT_STAGE_EMBED | 1u << QUANT_STAGE_RESIDUAL};
    k.n = some.n;
    k.s = some.s;
    k.floats = some.n * sequence;
    size_t count = k.floats * (size_t)k.layers;
    k.at = quant_alloc(ctx, count, sizeof *k.at);
    quant_status s = k.at ? quant_forward_run(ctx, model, &some, &v, 1, &o) : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        s = measure_layers(ctx, model, &k, seed, progress, out);
    }
    quant_release(ctx, k.at, count, sizeof *k.at);
    return s;
}

quant_jacobian_growth quant_jacobian_step(const quant_ledger *l, const quant_jacobian *j,
                                          uint64_t depth, quant_jacobian_growth before)
{
    quant_ledger_terms y = quant_ledger_pooled(l, depth, QUANT_PLACE_STREAM);
    double delta = quant_ledger_delta(&y);
    if (depth == 0) {
        return (quant_jacobian_growth){delta, delta};
    }
    quant_ledger_terms x = quant_ledger_pooled(l, depth - 1, QUANT_PLACE_STREAM);
    double scale = sqrt(x.clean2 / y.clean2);
    return (quant_jacobian_growth){hypot(j[depth - 1].gain * scale * before.by_gain, delta),
                                   j[depth - 1].norm * scale * before.by_norm + delta};
}
