/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/jacobian.h"

#include <math.h>

#include "quant/internal.h"
#include "quant/random.h"

typedef struct point {
    quant_block *block;
    const float *x;
    size_t n;
    double reach;        /* h |v| */
    double *v;           /* direction, of any length */
    float *above, *below;
} point;

static double norm_of(const double *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += v[i] * v[i];
    }
    return sqrt(sum);
}

/* v becomes J v / |v|; *ratio its norm. The step that was really taken, after rounding to float, is
 * what the difference is divided by. */
static quant_status multiply(const point *p, double *ratio)
{
    double length = norm_of(p->v, p->n), h = p->reach / length, step2 = 0;
    for (size_t i = 0; i < p->n; i++) {
        p->above[i] = (float)((double)p->x[i] + h * p->v[i]);
        p->below[i] = (float)((double)p->x[i] - h * p->v[i]);
        double step = (double)p->above[i] - (double)p->below[i];
        step2 += step * step;
    }
    QUANT_TRY(quant_block_run(p->block, p->above, p->above));
    QUANT_TRY(quant_block_run(p->block, p->below, p->below));
    for (size_t i = 0; i < p->n; i++) {
        p->v[i] = ((double)p->above[i] - (double)p->below[i]) / sqrt(step2);
    }
    *ratio = norm_of(p->v, p->n);
    return QUANT_OK;
}

static quant_status probe(const point *p, uint64_t seed, quant_jacobian *result)
{
    quant_random stream = quant_random_stream(seed, "jacobian");
    double sum = 0, ratio;
    for (uint64_t k = 0; k < QUANT_JACOBIAN_PROBES; k++) {
        for (size_t i = 0; i < p->n; i++) {
            p->v[i] = quant_random_normal(&stream, k * p->n + i);
        }
        QUANT_TRY(multiply(p, &ratio));
        sum += ratio * ratio;
        result->norm = fmax(result->norm, ratio);
    }
    result->gain = sqrt(sum / QUANT_JACOBIAN_PROBES);
    for (int k = 0; k < QUANT_JACOBIAN_STEPS && ratio > 0; k++) {
        QUANT_TRY(multiply(p, &ratio));
        result->norm = fmax(result->norm, ratio);
    }
    return QUANT_OK;
}

quant_status quant_jacobian_measure(quant_context *ctx, quant_block *block, const float *x,
                                    size_t values, uint64_t seed, quant_jacobian *result)
{
    double energy = 0;
    *result = (quant_jacobian){(double)NAN, (double)NAN};
    for (size_t i = 0; i < values; i++) {
        energy += (double)x[i] * (double)x[i];
    }
    if (!(energy > 0) || isinf(energy)) {
        return QUANT_OK;
    }
    point p = {.block = block, .x = x, .n = values, .reach = sqrt(energy) / 1024,
               .v = quant_alloc(ctx, values, sizeof *p.v),
               .above = quant_alloc(ctx, values, sizeof *p.above),
               .below = quant_alloc(ctx, values, sizeof *p.below)};
    quant_status s = p.v && p.above && p.below ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        s = quant_block_freeze(block, x);
    }
    if (s == QUANT_OK) {
        s = probe(&p, seed, result);
    }
    quant_release(ctx, p.v, values, sizeof *p.v);
    quant_release(ctx, p.above, values, sizeof *p.above);
    quant_release(ctx, p.below, values, sizeof *p.below);
    return s;
}
