/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "quant/elementary.h"
#include "quant/predict.h"

/* Beyond, a Gaussian holds less than 1e-19 of its mass and 1e-17 of its energy. */
#define BODY 9.25

/* Adds the integrals of (x - c)^2 phi(x) and of phi(x) over [a, b], 0 <= a, cut at BODY:
 * Gauss-Legendre with 8 points on pieces of at most 1/2, whose remainder is (1/2)^17 (8!)^4 / 17 /
 * (16!)^3 times a 16th derivative: below 1e-20. Every term is positive, so nothing cancels. */
static void add_cell(double c, double a, double b, double *error, double *mass)
{
    static const double node[4] = {0.9602898564975363, 0.7966664774136267, 0.525532409916329,
                                   0.1834346424956498};
    static const double weight[4] = {0.10122853629037626, 0.22238103445337448, 0.31370664587788727,
                                     0.362683783378362};
    b = fmin(b, BODY);
    const double pieces = ceil((b - a) / 0.5), half = (b - a) / pieces / 2;
    for (double p = 0; p < pieces; p++) {
        const double middle = a + (2 * p + 1) * half;
        for (int i = 0; i < 8; i++) {
            double x = middle + (i % 2 ? half : -half) * node[i / 2];
            double m = half * weight[i / 2] * quant_exp(-x * x / 2) * 0.3989422804014327;
            *mass += m;
            *error += (x - c) * (x - c) * m;
        }
    }
}

/* Step u = max/RMS / q in units of the RMS. Up to u = 1/4 the error of a Gaussian is u^2/12 to a
 * relative 4 pi^2/u^2 exp(-2 pi^2/u^2) (first term of the Poisson sum of the sawtooth), zero in
 * double. Beyond, cell by cell: |x| < u/2 goes to zero, then one cell a code up to the maximum,
 * which bounds the body as it bounds the weights. */
double quant_predict_gaussian(int bits, double max_over_rms)
{
    if (bits < 2 || bits > 24 || !(max_over_rms > 0) || !isfinite(max_over_rms)) {
        return NAN;
    }
    double codes = (double)((1 << (bits - 1)) - 1), u = max_over_rms / codes;
    if (u <= 0.25) {
        return u / sqrt(12);
    }
    double error = 0, mass = 0;
    add_cell(0, 0, fmin(u / 2, max_over_rms), &error, &mass);
    for (double k = 1; k <= codes && (k - 0.5) * u < BODY; k++) {
        add_cell(k * u, (k - 0.5) * u, fmin((k + 0.5) * u, max_over_rms), &error, &mass);
    }
    return sqrt(error / mass);
}
