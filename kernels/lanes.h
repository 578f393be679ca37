/* SPDX-License-Identifier: Apache-2.0 */
/* lanes.h - the fold of the virtual lanes (kernels.h), in one place. */
#ifndef QUANT_KERNELS_LANES_H
#define QUANT_KERNELS_LANES_H

#include <math.h>

#include "kernels/kernels.h"

/* Which NaN an addition gives depends on the order of its operands, which C leaves to the
 * compiler; so every NaN that leaves a kernel as a number is this one. */
static inline double qk_one_nan(double v)
{
    return isnan(v) ? (double)NAN : v;
}

static inline float qk_one_nan_float(float v)
{
    return isnan(v) ? NAN : v;
}

static inline double qk_fold_lanes(double lane[QK_LANES])
{
    for (int h = QK_LANES / 2; h > 0; h /= 2) {
        for (int j = 0; j < h; j++) {
            lane[j] += lane[j + h];
        }
    }
    return qk_one_nan(lane[0]);
}

/* The same tree over lanes of floats. */
static inline float qk_fold_floats(float lane[QK_LANES])
{
    for (int h = QK_LANES / 2; h > 0; h /= 2) {
        for (int j = 0; j < h; j++) {
            lane[j] += lane[j + h];
        }
    }
    return qk_one_nan_float(lane[0]);
}

#endif
