/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_cliffs.c - the figures of the columns side by side, and where they fall. */
#include <math.h>

#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"

double quant_propagate_bits(const quant_propagate_column *c)
{
    return c->weights.pooled.n > 0 ? 8 * (double)c->weights.bytes / (double)c->weights.pooled.n
                                   : (double)NAN;
}

double quant_propagate_figure(const quant_propagate_column *c, quant_fall fall)
{
    switch (fall) {
    case QUANT_FALL_WEIGHTS:
        return quant_cosine(&c->weights.pooled);
    case QUANT_FALL_OUTPUTS:
        return quant_ledger_output_cosine(&c->outputs.pooled);
    case QUANT_FALL_LOGITS:
        return c->logits.cosine_mean;
    default:
        return c->logits.ratio;
    }
}

static double loss_of(double figure, quant_fall fall)
{
    return fall == QUANT_FALL_PERPLEXITY ? log(figure) : 1 - figure;
}

quant_status lab_find_cliffs(quant_context *ctx, quant_propagate_result *r)
{
    size_t n = r->column_count;
    double *bits = quant_alloc(ctx, n, sizeof *bits), *loss = quant_alloc(ctx, n, sizeof *loss);
    quant_status s = bits && loss ? QUANT_OK : QUANT_ENOMEM;
    bool all = true;
    for (size_t i = 0; i < n && s == QUANT_OK; i++) {
        bits[i] = quant_propagate_bits(&r->columns[i]);
        all = all && !isnan(bits[i]);
    }
    for (int f = 0; f < QUANT_FALL_COUNT && s == QUANT_OK; f++) {
        quant_fall fall = (quant_fall)f;
        double limit = loss_of(fall == QUANT_FALL_PERPLEXITY ? QUANT_FALL_RATIO : QUANT_FALL_COSINE,
                               fall);
        r->cliffs[f] = (quant_cliff){SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
        for (size_t i = 0; i < n; i++) {
            loss[i] = loss_of(quant_propagate_figure(&r->columns[i], fall), fall);
        }
        bool said = fall != QUANT_FALL_PERPLEXITY || r->columns[0].logits.predicted > 0;
        if (all && said) {
            s = quant_cliff_find(ctx, bits, loss, n, limit, &r->cliffs[f]);
        }
    }
    quant_release(ctx, bits, n, sizeof *bits);
    quant_release(ctx, loss, n, sizeof *loss);
    return s;
}
