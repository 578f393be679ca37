/* SPDX-License-Identifier: GPL-3.0-or-later */
/* adapt_gsl.h - what the lab takes from GSL; not installed. Its error handler, which would abort,
 * is switched off at the first call. */
#ifndef QUANT_LAB_ADAPT_GSL_H
#define QUANT_LAB_ADAPT_GSL_H

#include <stddef.h>

/* y = c[0] + c[1] x by least squares; cov: variance of c[0], covariance, variance of c[1]; residual
 * is the sum of squares. n >= 3. */
typedef struct lab_line {
    double c[2], cov[3], residual;
} lab_line;
lab_line lab_fit_line(const double *x, const double *y, size_t n);

/* t with P(T <= t) = p for `freedom` > 0 degrees. */
double lab_student_quantile(double p, double freedom);

#endif
