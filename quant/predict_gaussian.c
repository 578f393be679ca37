/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "quant/predict.h"

/* Integral of (x - c)^2 phi(x) over [a, b]:
 * (1 + c^2)(Phi(b) - Phi(a)) - (b phi(b) - a phi(a)) + 2c (phi(b) - phi(a)). */
static double cell_error(double c, double a, double b)
{
    double pa = exp(-a * a / 2) * 0.3989422804014327, pb = exp(-b * b / 2) * 0.3989422804014327;
    double mass = (erfc(a * M_SQRT1_2) - erfc(b * M_SQRT1_2)) / 2;
    return (1 + c * c) * mass - (b * pb - a * pa) + 2 * c * (pb - pa);
}

/* Step u = max/RMS / q in units of the RMS. Up to u = 1/4 the error of a Gaussian is u^2/12 to a
 * relative 4 pi^2/u^2 exp(-2 pi^2/u^2) (first term of the Poisson sum of the sawtooth), zero in
 * double. Beyond, cell by cell: |x| < u/2 goes to zero, then one cell a code up to the maximum,
 * which bounds the body as it bounds the weights. At u >= 1/4 a cell loses at most 3 digits to
 * cancellation; cells beyond 9 hold less than 1e-17. */
double quant_predict_gaussian(int bits, double max_over_rms)
{
    if (bits < 2 || bits > 24 || !(max_over_rms > 0) || !isfinite(max_over_rms)) {
        return NAN;
    }
    double codes = (double)((1 << (bits - 1)) - 1), u = max_over_rms / codes;
    if (u <= 0.25) {
        return u / sqrt(12);
    }
    double sum = cell_error(0, 0, fmin(u / 2, max_over_rms));
    for (double k = 1; k <= codes && (k - 0.5) * u < 9; k++) {
        sum += cell_error(k * u, (k - 0.5) * u, fmin((k + 0.5) * u, max_over_rms));
    }
    return sqrt(2 * sum / erf(max_over_rms * M_SQRT1_2));
}
