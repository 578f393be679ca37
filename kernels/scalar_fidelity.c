/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_fidelity.c - energies of a reference and its copy, and inner products, over lanes. */
#include <math.h>

#include "kernels/kernels.h"
#include "kernels/lanes.h"

void qk_fidelity_f32_scalar(const float *ref, const float *got, size_t n, qk_fidelity *out)
{
    double ref2[QK_LANES] = {0}, got2[QK_LANES] = {0}, dot[QK_LANES] = {0}, err2[QK_LANES] = {0};
    double most = 0.0;
    size_t where = 0;
    for (size_t i = 0; i < n; i++) {
        double w = (double)ref[i], y = (double)got[i], e = w - y, a = fabs(e);
        size_t j = i % QK_LANES;
        ref2[j] += w * w;
        got2[j] += y * y;
        dot[j] += w * y;
        err2[j] += e * e;
        if (!(a <= most) && !isnan(most)) { /* the first NaN stays, whatever comes later */
            most = a;
            where = i;
        }
    }
    out->ref2 = qk_fold_lanes(ref2);
    out->got2 = qk_fold_lanes(got2);
    out->dot = qk_fold_lanes(dot);
    out->err2 = qk_fold_lanes(err2);
    out->max_abs = qk_one_nan(most);
    out->max_index = where;
}

double qk_dot_f32_scalar(const float *x, const float *y, size_t n)
{
    double lane[QK_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        lane[i % QK_LANES] += (double)x[i] * (double)y[i];
    }
    return qk_fold_lanes(lane);
}
