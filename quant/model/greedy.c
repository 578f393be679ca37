/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/model/forward.h"

static quant_status largest(quant_context *ctx, const float *logits, size_t vocab, int64_t *id)
{
    size_t best = 0;
    for (size_t i = 0; i < vocab; i++) {
        if (isnan(logits[i])) {
            return quant_fail(ctx, QUANT_ENONFINITE, "logits: expected numbers, found NaN at %zu",
                              i);
        }
        best = logits[i] > logits[best] ? i : best;
    }
    *id = (int64_t)best;
    return QUANT_OK;
}

/* ids[n][s + steps] holds length ids a sequence; dense[n][length] is where they stand together. */
typedef struct text {
    int64_t *ids, *dense;
    float *logits;
    size_t n, length, whole, vocab;
} text;

static quant_status step(quant_context *ctx, quant_model *model, quant_forward_variant *v,
                         const quant_forward_options *o, const text *t)
{
    for (size_t i = 0; i < t->n; i++) {
        memcpy(t->dense + i * t->length, t->ids + i * t->whole, t->length * sizeof *t->dense);
    }
    v->logits = t->logits;
    QUANT_TRY(quant_forward_run(ctx, model, &(quant_tokens){t->dense, t->n, t->length}, v, 1, o));
    for (size_t i = 0; i < t->n; i++) {
        QUANT_TRY(largest(ctx, t->logits + i * t->vocab, t->vocab,
                          &t->ids[i * t->whole + t->length]));
    }
    return QUANT_OK;
}

quant_status quant_forward_greedy(quant_context *ctx, quant_model *model,
                                  const quant_tokens *tokens, const quant_forward_variant *variant,
                                  const quant_forward_options *options, size_t steps,
                                  int64_t *out)
{
    size_t n = tokens->n, s = tokens->s, whole, all;
    if (__builtin_add_overflow(s, steps, &whole) || __builtin_mul_overflow(whole, n, &all)) {
        return quant_fail(ctx, QUANT_EOVERFLOW, "decode: %zu steps do not fit", steps);
    }
    quant_forward_variant v = {.scheme = variant->scheme, .user = variant->user,
                               .grid = variant->grid, .smooth = variant->smooth,
                               .grid_user = variant->grid_user,
                               .float_activations = variant->float_activations,
                               .float_weights = variant->float_weights};
    quant_forward_options o = {.compute = options ? options->compute : QUANT_COMPUTE_F32,
                               .plain_attention = options && options->plain_attention,
                               .last_only = true};
    text t = {.ids = out, .n = n, .whole = whole,
              .vocab = (size_t)quant_model_sizes_of(model)->vocab};
    for (size_t i = 0; i < n; i++) {
        memcpy(out + i * whole, tokens->id + i * s, s * sizeof *out);
    }
    t.dense = quant_alloc(ctx, all, sizeof *t.dense);
    t.logits = quant_alloc(ctx, n, t.vocab * sizeof *t.logits);
    quant_status status = t.dense && t.logits ? QUANT_OK : QUANT_ENOMEM;
    for (t.length = s; status == QUANT_OK && t.length < whole; t.length++) {
        status = step(ctx, model, &v, &o, &t);
    }
    quant_release(ctx, t.dense, all, sizeof *t.dense);
    quant_release(ctx, t.logits, n, t.vocab * sizeof *t.logits);
    return status;
}
