/* SPDX-License-Identifier: GPL-3.0-or-later */
/* weights.c - a tensor as stored, and as a variant has it: encoded and decoded again. */
#include <inttypes.h>

#include "quant/encode.h"
#include "quant/internal.h"
#include "quant/model/pass.h"

quant_status model_buffer_new(quant_context *ctx, model_buffer *b, uint64_t count, uint64_t size)
{
    uint64_t n;
    if (__builtin_mul_overflow(count, size, &n) || n > SIZE_MAX / sizeof(float)) {
        return quant_fail(ctx, QUANT_ENOMEM, "memory: %" PRIu64 " times %" PRIu64 " floats", count,
                          size);
    }
    b->count = (size_t)n;
    b->at = quant_alloc(ctx, b->count, sizeof(float));
    return b->at ? QUANT_OK : QUANT_ENOMEM;
}

void model_buffer_free(quant_context *ctx, model_buffer *b)
{
    quant_release(ctx, b->at, b->count, sizeof(float));
    *b = (model_buffer){NULL, 0};
}

static quant_status sized(model_pass *p, model_buffer *b, const quant_tensor *t)
{
    if (b->at && b->count == t->elements) {
        return QUANT_OK;
    }
    model_buffer_free(p->ctx, b);
    return model_buffer_new(p->ctx, b, t->elements, 1);
}

quant_status model_weights_read(model_pass *p, quant_role role, uint64_t layer)
{
    size_t i;
    const quant_tensor *t = quant_model_tensor(p->model, role, layer, &i);
    if (!t) {
        return QUANT_OK;
    }
    QUANT_TRY(sized(p, &p->stored[role], t));
    return quant_bank_read_f32(p->ctx, p->model->bank, i, 0, t->elements, p->stored[role].at);
}

static const quant_scheme *scheme_of(const quant_forward_variant *v, const quant_tensor *t)
{
    return v->scheme && t->shape.rank >= 2 ? v->scheme(v->user, t) : NULL;
}

/* Decoded into out and, unless NULL, as integers. */
static quant_status round_trip(model_pass *p, const quant_scheme *scheme, const quant_tensor *t,
                               const float *w, float *out, model_integers *integers)
{
    quant_layout layout;
    QUANT_TRY(quant_encode_layout(p->ctx, scheme, &t->shape, &layout));
    void *packed = quant_alloc(p->ctx, layout.bytes, 1);
    if (!packed) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_encode(p->ctx, scheme, &t->shape, w, packed, layout.bytes, NULL);
    if (s == QUANT_OK) {
        s = quant_decode(p->ctx, scheme, &t->shape, packed, layout.bytes, out);
    }
    if (s == QUANT_OK && integers) {
        s = model_integers_make(p->ctx, scheme, &t->shape, packed, layout.bytes, integers);
    }
    quant_release(p->ctx, packed, layout.bytes, 1);
    return s;
}

/* Roles whose inputs a scheme with activations quantizes. */
static bool takes_integers(quant_role role)
{
    static const bool takes[QUANT_ROLE_COUNT] = {
        [QUANT_ROLE_Q] = true, [QUANT_ROLE_K] = true, [QUANT_ROLE_V] = true, [QUANT_ROLE_O] = true,
        [QUANT_ROLE_GATE] = true, [QUANT_ROLE_UP] = true, [QUANT_ROLE_DOWN] = true,
        [QUANT_ROLE_EXPERT_GATE] = true, [QUANT_ROLE_EXPERT_UP] = true,
        [QUANT_ROLE_EXPERT_DOWN] = true};
    return takes[role];
}

static quant_status encode(model_pass *p, quant_role role, const quant_tensor *t,
                           const quant_scheme *chosen)
{
    bool integers = p->activation[role].kind != QUANT_ACTIVATION_FLOAT;
    quant_scheme scheme = quant_scheme_for_shape(chosen, &t->shape);
    if (chosen->activation.kind != QUANT_ACTIVATION_FLOAT) {
        scheme.stack = t->shape.rank - 2;
    }
    QUANT_TRY(sized(p, &p->changed[role], t));
    p->w[role] = p->changed[role].at;
    quant_status s = round_trip(p, &scheme, t, p->stored[role].at, p->changed[role].at,
                                integers ? &p->integer[role] : NULL);
    if (s == QUANT_ESCALE && quant_scheme_widen(&scheme)) {
        s = round_trip(p, &scheme, t, p->stored[role].at, p->changed[role].at,
                       integers ? &p->integer[role] : NULL);
    }
    return s == QUANT_OK || s == QUANT_ENOMEM ? s : quant_fail_prefix(p->ctx, s, t->name);
}

quant_status model_weights_choose(model_pass *p, quant_role role, uint64_t layer)
{
    const quant_forward_variant *v = &p->variants[p->variant];
    const quant_tensor *t = quant_model_tensor(p->model, role, layer, NULL);
    const quant_scheme *chosen = t ? scheme_of(v, t) : NULL;
    p->w[role] = p->stored[role].at;
    p->activation[role].kind = QUANT_ACTIVATION_FLOAT;
    model_integers_free(p->ctx, &p->integer[role]);
    if (!chosen) {
        return QUANT_OK;
    }
    if (takes_integers(role) && !v->float_activations) {
        p->activation[role] = chosen->activation;
    }
    return v->float_weights ? QUANT_OK : encode(p, role, t, chosen);
}

bool model_weights_same(const quant_forward_variant *a, const quant_forward_variant *b)
{
    return a->scheme == b->scheme && (a->user == b->user || !a->scheme) &&
           a->float_activations == b->float_activations && a->float_weights == b->float_weights;
}
