/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/adapt_gsl.h"

#include <gsl/gsl_cdf.h>
#include <gsl/gsl_errno.h>
#include <gsl/gsl_fit.h>
#include <pthread.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin(void)
{
    gsl_set_error_handler_off();
}

lab_line lab_fit_line(const double *x, const double *y, size_t n)
{
    lab_line l;
    pthread_once(&once, begin);
    gsl_fit_linear(x, 1, y, 1, n, &l.c[0], &l.c[1], &l.cov[0], &l.cov[1], &l.cov[2], &l.residual);
    return l;
}

double lab_student_quantile(double p, double freedom)
{
    pthread_once(&once, begin);
    return gsl_cdf_tdist_Pinv(p, freedom);
}
