/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inspect_curve.c - how little a tensor can lose to a table of k values, for every k. */
#include <math.h>

#include "quant/elementary.h"
#include "quant/internal.h"
#include "quant/kmeans1d.h"
#include "quant/lab/inspect.h"

/* Distinct values and counts of a tensor; two arrays of room entries. */
typedef struct cloud {
    float *w;
    double *value, *weight;
    size_t room;
} cloud;

static quant_status trace(quant_context *ctx, const cloud *c, quant_inspect_curve *out)
{
    double sse[QUANT_INSPECT_CURVE], energy = 0;
    quant_curve curve = {.most = QUANT_INSPECT_CURVE, .sse = sse, .entropy = out->entropy};
    QUANT_TRY(quant_points_collapse(ctx, c->w, NULL, c->room, c->value, c->weight,
                                    &out->distinct));
    quant_points p = {c->value, c->weight, out->distinct};
    QUANT_TRY(quant_kmeans1d_curve(ctx, &p, &curve));
    for (size_t i = 0; i < p.n; i++) {
        energy += p.weight[i] * (p.value[i] * p.value[i]);
    }
    for (size_t k = 0; k < QUANT_INSPECT_CURVE; k++) {
        out->sqnr_db[k] = sse[k] > 0 ? 10 * quant_log10(energy / sse[k]) : (double)INFINITY;
    }
    return QUANT_OK;
}

static quant_status read_and_trace(quant_context *ctx, quant_bank *bank,
                                   const quant_inspect_row *row, quant_inspect_curve *out)
{
    size_t n = (size_t)row->info->elements;
    cloud c = {quant_alloc(ctx, n, sizeof *c.w), quant_alloc(ctx, n, sizeof *c.value),
               quant_alloc(ctx, n, sizeof *c.weight), n};
    quant_status s = c.w && c.value && c.weight ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        s = quant_bank_read_f32(ctx, bank, row->tensor, 0, n, c.w);
    }
    if (s == QUANT_OK) {
        s = trace(ctx, &c, out);
    }
    quant_release(ctx, c.w, n, sizeof *c.w);
    quant_release(ctx, c.value, n, sizeof *c.value);
    quant_release(ctx, c.weight, n, sizeof *c.weight);
    return s == QUANT_OK ? s : quant_fail_prefix(ctx, s, row->info->name);
}

quant_status quant_inspect_curves(quant_context *ctx, quant_bank *bank,
                                  quant_progress_fn *progress, void *user,
                                  quant_inspect_row *rows, size_t count,
                                  quant_inspect_curve *curves)
{
    uint64_t done = 0, total = 0;
    for (size_t i = 0; i < count; i++) {
        total += rows[i].info->bytes;
    }
    for (size_t i = 0; i < count; i++) {
        const quant_inspect_row *r = &rows[i];
        if (progress) {
            progress(user, r->info->name, done, total);
        }
        if (r->measured && r->figures.nonfinite == 0 && r->figures.rms > 0) {
            QUANT_TRY(read_and_trace(ctx, bank, r, &curves[i]));
            rows[i].curve = &curves[i];
        }
        done += r->info->bytes;
    }
    return QUANT_OK;
}
