/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_importance.c - what each weight counts: for encoding, and as a measure of its own. */
#include <math.h>

#include "quant/bank/importance.h"
#include "quant/internal.h"
#include "quant/lab/compare_parts.h"

enum { SPAN = 1 << 16 };

quant_status lab_importance_load(lab_study *s, lab_tensor *t)
{
    bool found = false;
    size_t n = (size_t)t->info->elements;
    if (!s->options->importance) {
        return QUANT_OK;
    }
    t->importance = quant_alloc(s->ctx, n, sizeof *t->importance);
    if (!t->importance) {
        return QUANT_ENOMEM;
    }
    quant_status status = quant_importance_read(s->ctx, s->options->importance, t->info,
                                                t->importance, &found);
    if (status != QUANT_OK || !found) {
        lab_importance_free(s, t);
    }
    return status;
}

void lab_importance_free(lab_study *s, lab_tensor *t)
{
    if (t->importance) {
        quant_release(s->ctx, t->importance, (size_t)t->info->elements, sizeof *t->importance);
        t->importance = NULL;
    }
}

quant_status lab_importance_measure(lab_study *s, const lab_tensor *t, const lab_copy *copy,
                                    quant_compare_row *row)
{
    if (!t->importance || !copy->packed) {
        return QUANT_OK;
    }
    float *y = quant_alloc(s->ctx, SPAN, sizeof *y);
    quant_status status = y ? QUANT_OK : QUANT_ENOMEM;
    double err2 = 0, ref2 = 0;
    for (uint64_t first = 0; status == QUANT_OK && first < t->info->elements; first += SPAN) {
        uint64_t left = t->info->elements - first, n = left < SPAN ? left : SPAN;
        status = quant_decode_span(s->ctx, &copy->scheme, &t->info->shape, copy->packed,
                                   copy->bytes, first, n, y);
        for (uint64_t k = 0; status == QUANT_OK && k < n; k++) {
            double w = t->w[first + k], e = w - (double)y[k];
            err2 += (double)t->importance[first + k] * e * e;
            ref2 += (double)t->importance[first + k] * w * w;
        }
    }
    quant_release(s->ctx, y, SPAN, sizeof *y);
    row->weighted_err2 = err2;
    row->weighted_ref2 = ref2;
    return status;
}

double quant_weighted_relative_error(double err2, double ref2)
{
    return err2 == 0.0 ? 0.0 : sqrt(err2 / ref2);
}
