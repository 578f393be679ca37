/* SPDX-License-Identifier: GPL-3.0-or-later */
/* adapt_lapacke.h - what the lab takes from LAPACKE; not installed. */
#ifndef QUANT_LAB_ADAPT_LAPACKE_H
#define QUANT_LAB_ADAPT_LAPACKE_H

#include <stddef.h>

#include "quant/context.h"

/* Largest singular value of a[rows][cols], which is overwritten: backward stable, off by a small
 * multiple of the rounding of that value. An empty matrix has 0. QUANT_ERANGE: sizes that LAPACK's
 * integers do not hold, or no convergence. */
quant_status lab_operator_norm(quant_context *ctx, double *a, size_t rows, size_t cols,
                               double *norm);

/* Eigenvalues of a symmetric matrix, ascending, by dsyevd; only the upper triangle of m[n][n] is
 * read, and m is overwritten. Each is off by at most about n u |m| (backward stable, LAPACK Users'
 * Guide 4.7): smaller ones are not told from 0. QUANT_ERANGE: they did not converge. */
quant_status lab_eigenvalues(quant_context *ctx, double *m, size_t n, double *values);

#endif
