/* SPDX-License-Identifier: GPL-3.0-or-later */
/* weights.c - a tensor as stored, and as a variant has it: encoded and decoded again. */
#include <inttypes.h>
#include <string.h>

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

/* Room for all tensors of a role in a layer, one after the other. */
static quant_status sized(model_pass *p, model_buffer *b, quant_role role, const quant_tensor *t)
{
    uint64_t parts = quant_model_parts(p->model, role);
    if (b->at && b->count == t->elements * parts) {
        return QUANT_OK;
    }
    model_buffer_free(p->ctx, b);
    return model_buffer_new(p->ctx, b, t->elements, parts);
}

quant_status model_weights_read(model_pass *p, quant_role role, uint64_t layer)
{
    size_t i;
    const quant_tensor *t = quant_model_tensor(p->model, role, layer, &i);
    float *at;
    if (!t) {
        return QUANT_OK;
    }
    QUANT_TRY(sized(p, &p->stored[role], role, t));
    at = p->stored[role].at;
    for (uint64_t k = 0; (t = quant_model_part(p->model, role, layer, k, &i)) != NULL; k++) {
        QUANT_TRY(quant_bank_read_f32(p->ctx, p->model->bank, i, 0, t->elements,
                                      at + k * t->elements));
    }
    t = quant_model_tensor(p->model, role, layer, NULL);
    if (p->model->arch->one_plus && t->shape.rank == 1) {
        for (size_t k = 0; k < p->stored[role].count; k++) {
            at[k] += 1; /* what norms multiply by */
        }
    }
    return QUANT_OK;
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
        [QUANT_ROLE_EXPERT_GATE_UP] = true, [QUANT_ROLE_EXPERT_GATE] = true,
        [QUANT_ROLE_EXPERT_UP] = true, [QUANT_ROLE_EXPERT_DOWN] = true};
    return takes[role];
}

quant_status model_parts_new(model_pass *p)
{
    for (int r = 0; r < QUANT_ROLE_COUNT; r++) {
        size_t parts = (size_t)quant_model_parts(p->model, (quant_role)r);
        p->part[r] = quant_alloc(p->ctx, parts, sizeof **p->part);
        if (!p->part[r]) {
            return QUANT_ENOMEM;
        }
        for (size_t k = 0; k < parts; k++) {
            p->part[r][k] = (model_part){.integers = {.packed = NULL}};
        }
    }
    return QUANT_OK;
}

/* All tensors of a role multiply floats again. */
static void reset_parts(model_pass *p, quant_role role)
{
    for (size_t k = 0; k < quant_model_parts(p->model, role); k++) {
        p->part[role][k].activation.kind = QUANT_ACTIVATION_FLOAT;
        p->part[role][k].smooth = NULL;
        model_integers_free(p->ctx, &p->part[role][k].integers);
    }
}

void model_parts_free(model_pass *p)
{
    for (int r = 0; r < QUANT_ROLE_COUNT; r++) {
        if (p->part[r]) {
            reset_parts(p, (quant_role)r);
        }
        quant_release(p->ctx, p->part[r], (size_t)quant_model_parts(p->model, (quant_role)r),
                      sizeof **p->part);
        p->part[r] = NULL;
    }
}

/* How a part multiplies: activations and factors. */
static quant_status choose_part(model_pass *p, quant_role role, uint64_t layer,
                                const quant_scheme *chosen, model_part *part)
{
    const quant_forward_variant *v = &p->variants[p->variant];
    if (!chosen || !takes_integers(role)) {
        return QUANT_OK;
    }
    if (!v->float_activations) {
        part->activation = chosen->activation;
    }
    if (chosen->activation.smooth != 0 && !v->smooth) {
        return quant_fail(p->ctx, QUANT_EINVAL, "smooth=: expected calibrated ranges of the "
                          "channels (--stats), found none");
    }
    part->smooth = chosen->activation.smooth != 0
                       ? v->smooth(v->grid_user, role, layer, chosen)
                       : NULL;
    return QUANT_OK;
}

/* One tensor w as its scheme (NULL: none) has it. */
static quant_status encode(model_pass *p, model_part *part, const quant_tensor *t,
                           const quant_scheme *chosen, const float *w, float *out)
{
    if (!chosen) {
        memcpy(out, w, (size_t)t->elements * sizeof *w);
        return QUANT_OK;
    }
    bool integers = part->activation.kind != QUANT_ACTIVATION_FLOAT;
    quant_scheme scheme = quant_scheme_for_shape(chosen, &t->shape);
    if (chosen->activation.kind != QUANT_ACTIVATION_FLOAT) {
        scheme.stack = t->shape.rank - 2;
    }
    quant_status s = round_trip(p, &scheme, t, w, out, integers ? &part->integers : NULL);
    if (s == QUANT_ESCALE && quant_scheme_widen(&scheme)) {
        s = round_trip(p, &scheme, t, w, out, integers ? &part->integers : NULL);
    }
    return s == QUANT_OK || s == QUANT_ENOMEM ? s : quant_fail_prefix(p->ctx, s, t->name);
}

/* W diag(s) is what is encoded; the decoded copy is divided by s again. */
static quant_status encode_smoothed(model_pass *p, model_part *part, const quant_tensor *t,
                                    const quant_scheme *chosen, const float *w, float *out)
{
    size_t n = (size_t)t->elements, cols = (size_t)t->shape.dim[t->shape.rank - 1];
    float *scaled = quant_alloc(p->ctx, n, sizeof *scaled);
    for (size_t i = 0; scaled && i < n; i++) {
        scaled[i] = w[i] * part->smooth[i % cols];
    }
    quant_status status = scaled ? encode(p, part, t, chosen, scaled, out) : QUANT_ENOMEM;
    for (size_t i = 0; i < n && status == QUANT_OK; i++) {
        out[i] /= part->smooth[i % cols];
    }
    quant_release(p->ctx, scaled, n, sizeof *scaled);
    return status;
}

quant_status model_weights_choose(model_pass *p, quant_role role, uint64_t layer)
{
    const quant_forward_variant *v = &p->variants[p->variant];
    const quant_tensor *t;
    bool any = false;
    p->w[role] = p->stored[role].at;
    reset_parts(p, role);
    for (size_t k = 0; (t = quant_model_part(p->model, role, layer, k, NULL)) != NULL; k++) {
        const quant_scheme *chosen = scheme_of(v, t);
        any = any || chosen;
        QUANT_TRY(choose_part(p, role, layer, chosen, &p->part[role][k]));
    }
    if (!any || v->float_weights) {
        return QUANT_OK;
    }
    QUANT_TRY(sized(p, &p->changed[role], role, quant_model_tensor(p->model, role, layer, NULL)));
    p->w[role] = p->changed[role].at;
    for (size_t k = 0; (t = quant_model_part(p->model, role, layer, k, NULL)) != NULL; k++) {
        size_t at = k * (size_t)t->elements;
        model_part *part = &p->part[role][k];
        QUANT_TRY((part->smooth ? encode_smoothed : encode)(p, part, t, scheme_of(v, t),
                                                            p->stored[role].at + at,
                                                            p->changed[role].at + at));
    }
    return QUANT_OK;
}

bool model_weights_same(const quant_forward_variant *a, const quant_forward_variant *b)
{
    return a->scheme == b->scheme && (a->user == b->user || !a->scheme) &&
           a->float_activations == b->float_activations && a->float_weights == b->float_weights &&
           a->smooth == b->smooth && (a->grid_user == b->grid_user || !a->smooth);
}
