/* SPDX-License-Identifier: GPL-3.0-or-later */
/* textbook_entropy.h - the loop of Migacz 2017 as it is told, for limits found otherwise. */
#ifndef QUANT_TESTS_TEXTBOOK_ENTROPY_H
#define QUANT_TESTS_TEXTBOOK_ENTROPY_H

#include <stddef.h>

/* Count |x| in QUANT_ENTROPY_BINS evenly wide bins; the largest is returned. */
double textbook_bins(const float *x, size_t n, double *bin);

/* Divergence of the first m bins from themselves pooled into levels, zeros of Q left out. */
double textbook_divergence(const double *bin, int m, int levels);

#endif
