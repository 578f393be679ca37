/* SPDX-License-Identifier: Apache-2.0 */
/* gemv_s8_float.c - a packed matrix times int8 where the weights have no integers of their own:
 * sums of a piece in single precision, scales of the input outside of them. */
#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "quant/gemv_parts.h"
#include "quant/internal.h"

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* One piece: a kernel for tables, then the scale. A sum of lanes begins with +0. */
static void tables4(const quant_gemv_job *g, size_t first, size_t rows, uint8_t *scratch)
{
    quant_gemv_tables4_f32(g, first, rows, scratch);
    for (size_t r = first; r < first + rows; r++) {
        g->y[r] = (float)((double)*g->input.scale * (double)g->y[r] + 0.0);
    }
}

static void decoded(const quant_gemv_job *g, size_t first, size_t rows, uint8_t *scratch)
{
    float *row = (float *)(void *)scratch;
    for (size_t r = first; r < first + rows; r++) {
        double lane[QK_LANES] = {0};
        quant_job_decode(&g->job, 0, (uint64_t)r * g->k, g->k, row);
        for (size_t b = 0; b < g->pieces; b++) {
            const size_t at = b * g->piece, n = min_size(g->piece, g->k - at);
            const float sum = qk()->dot_single(row + at, g->x + at, n);
            lane[b % QK_LANES] += (double)g->input.scale[g->input.block ? b : 0] * (double)sum;
        }
        g->y[r] = (float)qk_fold_lanes(lane);
    }
}

quant_status quant_gemv_s8_by_floats(quant_context *ctx, quant_gemv_job *g)
{
    float *x = quant_alloc(ctx, g->k, sizeof *x);
    if (!x) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < g->k; i++) {
        x[i] = (float)g->input.codes[i];
    }
    g->x = x;
    g->piece = g->input.block ? g->input.block : g->k;
    g->pieces = g->k ? qk_blocks_of(g->k, g->piece) : 0;
    quant_gemv_strip *strip = quant_gemv_has_tables4(g) && g->pieces == 1 ? tables4 : decoded;
    g->scratch_bytes = strip == decoded ? (g->k * sizeof *x + 63) / 64 * 64 : 0;
    quant_status s = quant_gemv_run(ctx, g, strip);
    quant_release(ctx, x, g->k, sizeof *x);
    return s;
}
