/* SPDX-License-Identifier: Apache-2.0 */
/* kmeans1d_sums.h - points in pieces and their scaled values: what the two passes over them share
 * (kmeans1d_sums.c, kmeans1d_finish.c). */
#ifndef QUANT_KMEANS1D_SUMS_H
#define QUANT_KMEANS1D_SUMS_H

#include "quant/kmeans1d_internal.h"

static inline double quant_scaled(const quant_kmeans1d_sums *a, double value)
{
    return value * a->value_scale[0] * a->value_scale[1];
}

static inline double quant_scaled_weight(const quant_kmeans1d_sums *a, const quant_points *p,
                                         size_t i)
{
    return p->weight ? p->weight[i] * a->weight_scale[0] * a->weight_scale[1] : 1.0;
}

/* Neighbours of an array as they lie, scaled. */
static inline quant_lanes quant_scaled_lanes(const double *x, const double scale[2])
{
    return *(const quant_lanes_at *)x * scale[0] * scale[1];
}

static inline quant_lanes quant_scaled_weights(const quant_kmeans1d_sums *a, const quant_points *p,
                                               size_t i)
{
    const quant_lanes one = {1, 1};
    return p->weight ? quant_scaled_lanes(p->weight + i, a->weight_scale) : one;
}

static inline double quant_lanes_fold(quant_lanes x)
{
    return x[0] + x[1];
}

/* sum.hi += x, the rounding error gathered in sum.lo. */
static inline void quant_dd_gather(quant_dd *sum, double x)
{
    quant_dd s = quant_dd_two_sum(sum->hi, x);
    sum->hi = s.hi;
    sum->lo += s.lo;
}

#endif
