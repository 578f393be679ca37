/* SPDX-License-Identifier: GPL-3.0-or-later */
/* jacobian.h - what a layer does to a small perturbation of the residual stream.
 *
 * J v is taken by central differences, (f(x + h v) - f(x - h v)) / 2h with h |v| = |x| / 1024: the
 * truncation is of the order of 2^-20 of the curvature, rounding in float 2^-24 |y| / (h |v|), some
 * 2^-14 |y| / |x|; together they stay below a part in a thousand of |J v| for the gains near 1 that
 * residual streams have. No transposed product is at hand, so that the power iteration is one of J
 * and not of its square: `norm` is a lower bound of |J|, and no upper bound is claimed. Experts and
 * their weights are those that x chose, so that no jump of a router is taken for a slope. */
#ifndef QUANT_LAB_JACOBIAN_H
#define QUANT_LAB_JACOBIAN_H

#include "quant/model/block.h"

enum { QUANT_JACOBIAN_PROBES = 4, QUANT_JACOBIAN_STEPS = 12 };

typedef struct quant_jacobian {
    double gain; /* root mean square of |J v| / |v| over random normal v: |J|_F / sqrt(dimension) */
    double norm; /* largest |J v| / |v| met: |J| is at least that */
} quant_jacobian;

/* At stream x[values] of the block; random directions are keyed by (seed, "jacobian"). A zero x has
 * no step: NaN. */
quant_status quant_jacobian_measure(quant_context *ctx, quant_block *block, const float *x,
                                    size_t values, uint64_t seed, quant_jacobian *result);

#endif
