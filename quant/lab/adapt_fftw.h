/* SPDX-License-Identifier: GPL-3.0-or-later */
/* adapt_fftw.h - power spectra by FFTW with FFTW_ESTIMATE, so that plans do not depend on timing;
 * not installed. Plans are made and freed under a lock, as FFTW's planner asks. */
#ifndef QUANT_LAB_ADAPT_FFTW_H
#define QUANT_LAB_ADAPT_FFTW_H

#include <stdbool.h>
#include <stddef.h>

typedef struct lab_spectrum {
    void *plan;
    size_t n;
} lab_spectrum;

/* Of n reals, n >= 1. work is for measuring alignment only: lab_spectrum_work(n) doubles that begin
 * at a multiple of 64 bytes. False when memory is short. */
bool lab_spectrum_begin(lab_spectrum *s, size_t n, double *work);
void lab_spectrum_end(lab_spectrum *s); /* after a failure too */
/* A multiple of 8. */
size_t lab_spectrum_work(size_t n);
/* The n reals of a row go here; it is overwritten by lab_spectrum_power. */
double *lab_spectrum_input(double *work);
/* power[k - 1] = |sum_t x_t exp(-2 pi i k t / n)|^2 for k = 1 .. (n - 1) / 2. Threads may call it
 * at once with work of their own. */
void lab_spectrum_power(const lab_spectrum *s, double *work, double *power);

#endif
