/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pick.c - which tensors a column quantizes, and what that makes of them. */
#include "quant/encode.h"
#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"

const quant_scheme *lab_pick_scheme(void *user, const quant_tensor *t)
{
    const lab_pick *p = user;
    const quant_scheme *s = p->recipe ? quant_recipe_match(p->recipe, t->name, NULL) : p->scheme;
    quant_layout layout;
    if (!s || quant_keep_reason(t, 0) || (p->select && !p->select(p->user, t)) ||
        t->shape.rank < 2) {
        return NULL;
    }
    quant_scheme applied = quant_scheme_for_shape(s, &t->shape);
    return quant_encode_layout(NULL, &applied, &t->shape, &layout) == QUANT_OK ? s : NULL;
}

static quant_status round_trip(quant_context *ctx, const quant_scheme *scheme,
                               const quant_tensor *t, const float *w, float *copy,
                               uint64_t *bytes)
{
    quant_layout layout;
    QUANT_TRY(quant_encode_layout(ctx, scheme, &t->shape, &layout));
    *bytes = layout.stored_bytes;
    void *packed = quant_alloc(ctx, layout.bytes, 1);
    if (!packed) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_encode(ctx, scheme, &t->shape, w, packed, layout.bytes, NULL);
    if (s == QUANT_OK) {
        s = quant_decode(ctx, scheme, &t->shape, packed, layout.bytes, copy);
    }
    quant_release(ctx, packed, layout.bytes, 1);
    return s;
}

static quant_status copy_of(quant_context *ctx, const lab_pick *pick, const quant_tensor *t,
                            const float *w, float *copy, uint64_t *bytes)
{
    lab_pick mine = *pick;
    const quant_scheme *picked = lab_pick_scheme(&mine, t);
    if (!picked) {
        return quant_fail(ctx, QUANT_EINVAL, "tensor %s: expected one that is quantized", t->name);
    }
    quant_scheme scheme = quant_scheme_for_shape(picked, &t->shape);
    quant_status s = round_trip(ctx, &scheme, t, w, copy, bytes);
    if (s == QUANT_ESCALE && quant_scheme_widen(&scheme)) {
        s = round_trip(ctx, &scheme, t, w, copy, bytes);
    }
    return s == QUANT_OK || s == QUANT_ENOMEM ? s : quant_fail_prefix(ctx, s, t->name);
}

quant_status lab_pick_copy(quant_context *ctx, const lab_pick *pick, const quant_tensor *t,
                           const float *w, const float *factors, float *copy, uint64_t *bytes)
{
    size_t n = (size_t)t->elements, cols = (size_t)t->shape.dim[t->shape.rank - 1];
    if (!factors) {
        return copy_of(ctx, pick, t, w, copy, bytes);
    }
    float *scaled = quant_alloc(ctx, n, sizeof *scaled);
    for (size_t i = 0; scaled && i < n; i++) {
        scaled[i] = w[i] * factors[i % cols];
    }
    quant_status s = scaled ? copy_of(ctx, pick, t, scaled, copy, bytes) : QUANT_ENOMEM;
    for (size_t i = 0; i < n && s == QUANT_OK; i++) {
        copy[i] /= factors[i % cols];
    }
    quant_release(ctx, scaled, n, sizeof *scaled);
    return s;
}
