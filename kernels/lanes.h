/* SPDX-License-Identifier: Apache-2.0 */
/* lanes.h - the fold of the virtual lanes (kernels.h) and the place of the largest difference. */
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

/* Index of the first difference that is `most`, or the first NaN when `most` is one. */
static inline size_t qk_first_at(const float *ref, const float *got, size_t from, size_t n,
                                 double most)
{
    size_t i = from;
    for (; i < n; i++) {
        double a = fabs((double)ref[i] - (double)got[i]);
        if (isnan(most) ? isnan(a) : a == most) {
            break;
        }
    }
    return i;
}

/* The lanes of a qk_fidelity. */
typedef struct qk_energies {
    double ref2[QK_LANES], got2[QK_LANES], dot[QK_LANES], err2[QK_LANES];
} qk_energies;

/* Elements [from, n), the last of their lanes. `most` and `where` pass NaN over, as qk_place_most
 * wants them. */
static inline void qk_add_rest(qk_energies *s, const float *ref, const float *got, size_t from,
                               size_t n, double *most, size_t *where)
{
    for (size_t i = from; i < n; i++) {
        double w = (double)ref[i], y = (double)got[i], e = w - y, a = fabs(e);
        size_t j = i % QK_LANES;
        s->ref2[j] += w * w;
        s->got2[j] += y * y;
        s->dot[j] += w * y;
        s->err2[j] += e * e;
        *where = a > *most ? i : *where;
        *most = a > *most ? a : *most;
    }
}

/* Largest difference and its place, err2 being set: `most` is the largest that is no NaN, first met
 * at or behind `from`. Squares are never negative, so their sum is NaN exactly when a difference
 * is. */
static inline void qk_place_most(const float *ref, const float *got, size_t n, double most,
                                 size_t from, qk_fidelity *out)
{
    out->max_abs = isnan(out->err2) ? out->err2 : most;
    from = isnan(out->err2) ? 0 : from;
    out->max_index = out->max_abs == 0.0 ? 0 : qk_first_at(ref, got, from, n, out->max_abs);
}

#endif
