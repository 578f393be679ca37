/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/cliff.h"

#include <math.h>

#include "quant/internal.h"

/* Insertion keeps equals in order; there are few schemes. */
static void sort_by_bits(const double *bits, size_t n, size_t *order)
{
    for (size_t i = 0; i < n; i++) {
        size_t at = i;
        for (; at > 0 && bits[order[at - 1]] < bits[i]; at--) {
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}

static void find(const double *bits, const double *loss, const size_t *order, size_t n,
                 double limit, quant_cliff *cliff)
{
    double steepest = 0;
    size_t i = 0;
    while (i < n && loss[order[i]] <= limit) {
        cliff->held = order[i++];
    }
    cliff->lost = i < n ? order[i] : SIZE_MAX;
    for (i = 1; i < n; i++) {
        double saved = bits[order[i - 1]] - bits[order[i]];
        double slope = (loss[order[i]] - loss[order[i - 1]]) / saved;
        if (saved > 0 && slope > steepest) {
            steepest = slope;
            cliff->from = order[i - 1];
            cliff->to = order[i];
        }
    }
}

quant_status quant_cliff_find(quant_context *ctx, const double *bits, const double *loss, size_t n,
                              double limit, quant_cliff *cliff)
{
    *cliff = (quant_cliff){SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
    size_t *order = quant_alloc(ctx, n, sizeof *order);
    if (!order) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        if (isnan(bits[i]) || isinf(bits[i])) {
            quant_release(ctx, order, n, sizeof *order);
            return quant_fail(ctx, QUANT_EINVAL, "cliff: scheme %zu: expected bits a weight, found "
                              "%g", i + 1, bits[i]);
        }
    }
    sort_by_bits(bits, n, order);
    find(bits, loss, order, n, limit, cliff);
    quant_release(ctx, order, n, sizeof *order);
    return QUANT_OK;
}
