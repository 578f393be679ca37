/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/adapt_lapacke.h"

#include <lapacke.h>
#include <limits.h>

#include "quant/internal.h"

quant_status lab_operator_norm(quant_context *ctx, double *a, size_t rows, size_t cols,
                               double *norm)
{
    size_t least = rows < cols ? rows : cols;
    double none = 0;
    *norm = 0;
    if (least == 0) {
        return QUANT_OK;
    }
    if (rows > INT_MAX / 2 || cols > INT_MAX / 2) {
        return quant_fail(ctx, QUANT_ERANGE, "norm: expected fewer than 2^30 rows and columns, "
                          "found %zu and %zu", rows, cols);
    }
    double *values = quant_alloc(ctx, least, sizeof *values);
    if (!values) {
        return QUANT_ENOMEM;
    }
    /* Row-major as the transposed column-major: the singular values are the same. */
    lapack_int info = LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', (lapack_int)cols, (lapack_int)rows, a,
                                     (lapack_int)cols, values, &none, 1, &none, 1);
    *norm = values[0];
    quant_release(ctx, values, least, sizeof *values);
    return info == 0                              ? QUANT_OK
           : info == LAPACK_WORK_MEMORY_ERROR     ? QUANT_ENOMEM
                                                  : quant_fail(ctx, QUANT_ERANGE, "norm: no "
                                                               "convergence (LAPACK says %d)",
                                                               (int)info);
}

/* The row-major upper triangle is the column-major lower one: nothing is transposed, and all memory
 * is the context's. */
quant_status lab_eigenvalues(quant_context *ctx, double *m, size_t n, double *values)
{
    size_t room = 2 * n + 1;
    lapack_int whole[1];
    double *work = quant_alloc(ctx, room, sizeof *work);
    if (!work) {
        return QUANT_ENOMEM;
    }
    lapack_int info = LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, 'N', 'L', (lapack_int)n, m,
                                          (lapack_int)n, values, work, (lapack_int)room, whole, 1);
    quant_release(ctx, work, room, sizeof *work);
    return info == 0 ? QUANT_OK
                     : quant_fail(ctx, QUANT_ERANGE, "eigenvalues: dsyevd did not converge");
}
