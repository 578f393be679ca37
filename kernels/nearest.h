/* SPDX-License-Identifier: Apache-2.0 */
/* nearest.h - what levels share that look for nearest vectors in single precision first.
 *
 * A rough distance has all its terms >= 0 and meets at most 7 roundings of 2^-24, a product of
 * subnormals aside, which is off by 2^-150 and then multiplied by w. So two rough distances tell
 * which exact one is smaller when the larger exceeds the smaller by more than a share of 2^-19 and
 * 2^-120 (1 + the sum of w). No square overflows while coordinates are within 2^62; beyond, and
 * where w makes a distance infinite, everything is in doubt. Sums in double err by 2^-50 at most
 * and are ordered as the true ones where the rough ones are that far apart. */
#ifndef QUANT_KERNELS_NEAREST_H
#define QUANT_KERNELS_NEAREST_H

#include <math.h>

#include "kernels/kernels.h"

#define QK_NEAREST_SHARE (1.0f + 0x1p-19f)
#define QK_NEAREST_FLOOR 0x1p-120f
#define QK_NEAREST_MOST 0x1p62f

static inline double qk_vector_distance(const float *x, const float *entry, const float *w,
                                        size_t dim)
{
    double sum = 0.0;
    for (size_t d = 0; d < dim; d++) {
        double e = (double)x[d] - (double)entry[d];
        sum += w ? (double)w[d] * e * e : e * e;
    }
    return sum;
}

/* Whether the table can be searched in single precision. */
static inline bool qk_nearest_in_range(const qk_nearest *a, qk_absmax_fn *absmax)
{
    return absmax(a->entry, a->entries * a->dim) <= QK_NEAREST_MOST;
}

/* The codes of `n` vectors from `first` on are there, and bit k of `doubt` says that number
 * first + k is to be searched again; then the errors. */
static inline void qk_nearest_settle(const qk_nearest *a, size_t first, size_t n, uint32_t doubt,
                                     uint8_t *codes, double *error)
{
    const size_t dim = a->dim;
    for (; doubt; doubt &= doubt - 1) {
        const size_t i = first + (size_t)__builtin_ctz(doubt);
        const qk_nearest one = {dim, a->entries, a->entry, a->x + i * dim,
                                a->w ? a->w + i * dim : NULL};
        qk_nearest_vectors_scalar(&one, 1, codes + i, NULL);
    }
    for (size_t i = first; error && i < first + n; i++) {
        error[i] = qk_vector_distance(a->x + i * dim, a->entry + codes[i] * dim,
                                      a->w ? a->w + i * dim : NULL, dim);
    }
}

#endif
