/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_smooth.c - difficulty moved from activations to weights, channel by channel (Xiao et al.
 * 2023, "SmoothQuant", eq. 3 and 4): W x = (W diag(s)) (diag(s)^-1 x). */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"

/* e^v in operations that IEEE 754 fixes, so that figures do not depend on the machine's libm:
 * v = n ln 2 + r, |r| <= 0.35, fourteen terms of the series for r (the next is below 2^-59). */
static double exponential(double v)
{
    double n = rint(v / 0x1.62e42fefa39efp-1), r = v - n * 0x1.62e42fefa39efp-1, sum = 1;
    for (int k = 14; k > 0; k--) {
        sum = 1 + sum * r / k;
    }
    return ldexp(sum, (int)n);
}

void lab_smooth_factors(double alpha, const float *x_most, const float *w_most, size_t n,
                        float *factor)
{
    for (size_t j = 0; j < n; j++) {
        bool both = x_most[j] > 0 && w_most[j] > 0;
        double l = both ? alpha * quant_log((double)x_most[j]) -
                              (1 - alpha) * quant_log((double)w_most[j])
                        : 0;
        factor[j] = (float)exponential(l < -60 ? -60 : l > 60 ? 60 : l);
    }
}

/* Largest magnitude of each channel: of inputs, and of weights in any row of any matrix. */
static void largest(const lab_tensor *t, const lab_inputs *inputs, uint64_t vectors, float *x_most,
                    float *w_most)
{
    uint64_t cols = inputs->cols;
    for (uint64_t j = 0; j < cols; j++) {
        x_most[j] = w_most[j] = 0;
    }
    for (uint64_t i = 0; i < vectors * cols; i++) {
        x_most[i % cols] = fmaxf(x_most[i % cols], (float)fabs(inputs->x[i]));
    }
    for (uint64_t i = 0; i < t->info->elements; i++) {
        w_most[i % cols] = fmaxf(w_most[i % cols], fabsf(t->w[i]));
    }
}

typedef struct smoothing {
    lab_study *s;
    const lab_tensor *t;
    const lab_own *own;
    size_t cols;
    float *x_most, *w_most, *scaled; /* scaled: W diag(s) */
} smoothing;

/* Factors of alpha into the copy, its scaled weights encoded. */
static quant_status apply(const smoothing *w, double alpha, lab_copy *copy, quant_compare_row *row)
{
    lab_smooth_factors(alpha, w->x_most, w->w_most, w->cols, copy->smooth);
    for (uint64_t i = 0; i < w->t->info->elements; i++) {
        w->scaled[i] = w->t->w[i] * copy->smooth[i % w->cols];
    }
    lab_tensor scaled = *w->t;
    scaled.w = w->scaled;
    lab_packed_free(w->s, copy);
    return lab_encode_once(w->s, &scaled, copy, row);
}

/* The alpha with the least output error on the inputs. */
static quant_status search(const smoothing *w, lab_copy *copy, double *best)
{
    double least = INFINITY;
    *best = 0.5;
    for (int i = 0; i < LAB_SMOOTH_ALPHAS; i++) {
        quant_compare_row row = {.name = w->t->info->name};
        QUANT_TRY(apply(w, lab_smooth_alpha(i), copy, &row));
        QUANT_TRY(lab_activations_measure(w->s, w->t, copy, w->own, &w->own->reference, &row));
        if (row.parts.error2 < least) {
            least = row.parts.error2;
            *best = lab_smooth_alpha(i);
        }
    }
    return QUANT_OK;
}

static quant_status smooth(const smoothing *w, lab_copy *copy, quant_compare_row *row)
{
    double alpha = copy->scheme.activation.smooth;
    const lab_inputs *in = &w->own->inputs;
    copy->smooth_cols = w->cols;
    copy->smooth = quant_alloc(w->s->ctx, w->cols, sizeof *copy->smooth);
    if (!copy->smooth || !w->x_most || !w->w_most || !w->scaled) {
        return QUANT_ENOMEM;
    }
    largest(w->t, in, in->count * (in->per_matrix ? w->own->reference.view.matrices : 1),
            w->x_most, w->w_most);
    if (alpha == QUANT_SMOOTH_SEARCH) {
        QUANT_TRY(search(w, copy, &alpha));
    }
    row->smooth = alpha;
    return apply(w, alpha, copy, row);
}

quant_status lab_smooth_encode(lab_study *s, const lab_tensor *t, const lab_own *own,
                               lab_copy *copy, quant_compare_row *row)
{
    size_t cols = (size_t)own->inputs.cols, n = (size_t)t->info->elements;
    smoothing w = {s, t, own, cols, quant_alloc(s->ctx, cols, sizeof(float)),
                   quant_alloc(s->ctx, cols, sizeof(float)),
                   quant_alloc(s->ctx, n, sizeof(float))};
    quant_status status = smooth(&w, copy, row);
    quant_release(s->ctx, w.x_most, cols, sizeof(float));
    quant_release(s->ctx, w.w_most, cols, sizeof(float));
    quant_release(s->ctx, w.scaled, n, sizeof(float));
    return status;
}
