/* SPDX-License-Identifier: GPL-3.0-or-later */
/* integers.c - matrix products of 8-bit inputs: with integer weights exactly, with weights as
 * stored through the decoded inputs. */
#include <inttypes.h>
#include <math.h>

#include "quant/gemm.h"
#include "quant/internal.h"
#include "quant/model/pass.h"

/* ---- weights -------------------------------------------------------------------------------- */

void model_integers_free(quant_context *ctx, model_integers *w)
{
    quant_release(ctx, w->packed, w->matrices, w->each);
    quant_release(ctx, w->scale, w->matrices, w->n * sizeof *w->scale);
    *w = (model_integers){.packed = NULL};
}

static quant_status fill(quant_context *ctx, const quant_scheme *scheme, const quant_shape *shape,
                         const void *packed, size_t bytes, model_integers *w)
{
    int8_t *code = quant_alloc(ctx, w->n, w->k);
    quant_status s = code ? QUANT_OK : QUANT_ENOMEM;
    for (size_t m = 0; m < w->matrices && s == QUANT_OK; m++) {
        const quant_integer_weights one = {code, w->scale + m * w->n};
        s = quant_weights_s8(ctx, scheme, shape, packed, bytes, m, &one);
        if (s == QUANT_OK) {
            s = quant_gemm_s8_pack(ctx, w->n, w->k, code, w->packed + m * w->each, w->each);
        }
    }
    quant_release(ctx, code, w->n, w->k);
    return s;
}

quant_status model_integers_make(quant_context *ctx, const quant_scheme *scheme,
                                 const quant_shape *shape, const void *packed, size_t bytes,
                                 model_integers *out)
{
    model_integers w = {.matrices = 1, .n = (size_t)shape->dim[shape->rank - 2],
                        .k = (size_t)shape->dim[shape->rank - 1]};
    for (int i = 0; i < shape->rank - 2; i++) {
        w.matrices *= (size_t)shape->dim[i];
    }
    QUANT_TRY(quant_gemm_s8_layout(ctx, w.n, w.k, &w.each));
    w.each = (w.each + 63) / 64 * 64;
    w.packed = quant_alloc(ctx, w.matrices, w.each);
    w.scale = quant_alloc(ctx, w.matrices, w.n * sizeof *w.scale);
    quant_status s = w.packed && w.scale ? fill(ctx, scheme, shape, packed, bytes, &w)
                                         : QUANT_ENOMEM;
    if (s != QUANT_OK) {
        model_integers_free(ctx, &w);
        return s;
    }
    *out = w;
    return QUANT_OK;
}

/* ---- inputs --------------------------------------------------------------------------------- */

static quant_status codes_new(quant_context *ctx, const model_input *in, quant_activation_codes *a)
{
    a->code = quant_alloc(ctx, in->rows, in->cols);
    a->scale = quant_alloc(ctx, in->rows, sizeof *a->scale);
    a->zero = quant_alloc(ctx, in->rows, sizeof *a->zero);
    return a->code && a->scale && a->zero ? QUANT_OK : QUANT_ENOMEM;
}

static void codes_free(quant_context *ctx, const model_input *in, quant_activation_codes *a)
{
    quant_release(ctx, a->code, in->rows, in->cols);
    quant_release(ctx, a->scale, in->rows, sizeof *a->scale);
    quant_release(ctx, a->zero, in->rows, sizeof *a->zero);
}

static quant_status blame(const model_pass *p, const model_input *in)
{
    size_t i = 0;
    while (i + 1 < in->rows * in->cols && isfinite(in->x[i])) {
        i++;
    }
    size_t row = i / in->cols, at = in->chosen ? in->chosen[row] : in->first_row + row;
    return quant_fail(p->ctx, QUANT_ENONFINITE, "layer %" PRIu64 ", %s, sequence %zu, position "
                      "%zu, channel %zu: expected a finite input, found %g", p->layer,
                      quant_stage_name(in->stage), at / p->tokens->s, at % p->tokens->s,
                      i % in->cols, (double)in->x[i]);
}

/* x / s; the caller releases it as rows * cols floats. */
static float *smoothed(const model_pass *p, const float *s, const model_input *in)
{
    size_t n = in->rows * in->cols;
    float *x = quant_alloc(p->ctx, n, sizeof *x);
    for (size_t i = 0; x && i < n; i++) {
        x[i] = in->x[i] / s[i % in->cols];
    }
    return x;
}

static quant_status encode(const model_pass *p, const model_part *part, const model_input *in,
                           quant_activation_codes *a)
{
    const quant_forward_variant *v = &p->variants[p->variant];
    const quant_activation *how = &part->activation;
    const float *s = part->smooth;
    bool fixed = how->kind == QUANT_ACTIVATION_STATIC;
    quant_activation_grid grid;
    if (fixed && !v->grid) {
        return quant_fail(p->ctx, QUANT_EINVAL, "act=static: expected calibrated ranges "
                          "(--stats), found none");
    }
    fixed = fixed && v->grid(v->grid_user, in->stage, p->layer, in->expert, how, s, &grid);
    float *x = s ? smoothed(p, s, in) : NULL;
    if (s && !x) {
        return QUANT_ENOMEM;
    }
    quant_status status = quant_activation_encode(p->ctx, how, fixed ? &grid : NULL, s ? x : in->x,
                                                  in->rows, in->cols, a);
    quant_release(p->ctx, x, in->rows * in->cols, sizeof *x);
    return status == QUANT_ENONFINITE ? blame(p, in) : status;
}

/* ---- products ------------------------------------------------------------------------------- */

static quant_status with_integers(const model_pass *p, const model_integers *w,
                                  const model_input *in, const quant_activation_codes *a, float *y)
{
    size_t matrix = w->matrices > 1 ? in->expert : 0; /* an expert's own tensor has one */
    const quant_gemm_scales scales = {a->scale, a->zero, in->rows, w->scale + matrix * w->n,
                                      NULL, w->n};
    return quant_gemm_s8_f32(p->ctx, in->rows, a->code, w->packed + matrix * w->each, w->each,
                             &scales, y);
}

static quant_status with_floats(const model_pass *p, const float *s, const model_product *product,
                                const model_input *in, const quant_activation_codes *a)
{
    float *x_hat = quant_alloc(p->ctx, in->rows * in->cols, sizeof *x_hat);
    if (!x_hat) {
        return QUANT_ENOMEM;
    }
    model_product decoded = *product;
    quant_activation_decode(a, in->rows, in->cols, x_hat);
    for (size_t i = 0; s && i < in->rows * in->cols; i++) {
        x_hat[i] *= s[i % in->cols];
    }
    decoded.x = x_hat;
    model_gemm(&decoded, p->ops.threads);
    quant_release(p->ctx, x_hat, in->rows * in->cols, sizeof *x_hat);
    return QUANT_OK;
}

quant_status model_project(const model_pass *p, quant_role role, const model_input *in, float *y)
{
    const quant_tensor *t = quant_model_tensor(p->model, role, p->layer, NULL);
    bool apart = quant_model_parts(p->model, role) > 1;
    const model_part *part = &p->part[role][apart ? in->expert : 0];
    size_t out = (size_t)t->shape.dim[t->shape.rank - 2];
    const model_product product = {in->x, p->w[role] + in->expert * out * in->cols, y, in->rows,
                                   in->cols, out};
    if (part->activation.kind == QUANT_ACTIVATION_FLOAT) {
        model_multiply(p, &product);
        return QUANT_OK;
    }
    quant_activation_codes a = {NULL, NULL, NULL, 0};
    quant_status s = codes_new(p->ctx, in, &a);
    if (s == QUANT_OK) {
        s = encode(p, part, in, &a);
    }
    if (s == QUANT_OK) {
        s = part->integers.packed ? with_integers(p, &part->integers, in, &a, y)
                                  : with_floats(p, part->smooth, &product, in, &a);
    }
    if (s == QUANT_OK) {
        model_round_rows(&p->ops, y, in->rows, out);
    }
    codes_free(p->ctx, in, &a);
    return s;
}
