/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/adapt_fftw.h"

#include <fftw3.h>
#include <pthread.h>

static pthread_mutex_t planner = PTHREAD_MUTEX_INITIALIZER;

static size_t input_room(size_t n)
{
    return (n + 7) / 8 * 8;
}

size_t lab_spectrum_work(size_t n)
{
    return input_room(n) + (2 * (n / 2 + 1) + 7) / 8 * 8;
}

double *lab_spectrum_input(double *work)
{
    return work;
}

static fftw_complex *output(const lab_spectrum *s, double *work)
{
    return (fftw_complex *)(void *)(work + input_room(s->n));
}

bool lab_spectrum_begin(lab_spectrum *s, size_t n, double *work)
{
    s->n = n;
    pthread_mutex_lock(&planner);
    s->plan = fftw_plan_dft_r2c_1d((int)n, work, output(s, work), FFTW_ESTIMATE);
    pthread_mutex_unlock(&planner);
    return s->plan != NULL;
}

void lab_spectrum_end(lab_spectrum *s)
{
    pthread_mutex_lock(&planner);
    if (s->plan) {
        fftw_destroy_plan(s->plan);
    }
    pthread_mutex_unlock(&planner);
    s->plan = NULL;
}

void lab_spectrum_power(const lab_spectrum *s, double *work, double *power)
{
    fftw_complex *y = output(s, work);
    fftw_execute_dft_r2c(s->plan, work, y);
    for (size_t k = 1; k <= (s->n - 1) / 2; k++) {
        power[k - 1] = y[k][0] * y[k][0] + y[k][1] * y[k][1];
    }
}
