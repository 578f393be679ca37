/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gemm.h - matrix products; gemm.c is the one file that includes the header of OpenBLAS. */
#ifndef QUANT_MODEL_GEMM_H
#define QUANT_MODEL_GEMM_H

#include <stddef.h>

/* Rows and columns handled by one call: how work is cut does not depend on the number of threads.
 * OpenBLAS packs both factors anew in each call: with 64 rows a layer ran at 0.65 of the rate of
 * its products called whole, with 512 at 0.9 (build/tests/bench model). */
enum { MODEL_ROWS = 512, MODEL_COLUMNS = 512 };
/* Multiplications from which on several threads pay. */
enum { MODEL_WORTH = 1 << 24 };

/* One BLAS thread from here on; parallel calls come from our own threads. */
void model_gemm_begin(void);

/* y[rows][out] = x[rows][in] * w[out][in]^T, by blocks of MODEL_ROWS x MODEL_COLUMNS. */
typedef struct model_product {
    const float *x, *w;
    float *y;
    size_t rows, in, out;
} model_product;

void model_gemm(const model_product *p, int threads);

/* c[m][n] = scale * a[m][k] * b[n][k]^T, and c[m][n] += a[m][k] * b[k][n]; ld: elements from a row
 * to the next. */
typedef struct model_strided {
    const float *a, *b;
    float *c;
    size_t m, n, k, lda, ldb, ldc;
} model_strided;

void model_gemm_scores(const model_strided *p, float scale);
void model_gemm_mix(const model_strided *p);

/* The upper triangle of sum[n][n] += a[rows][n]^T a[rows][n], in double; what lies below it is
 * left alone. */
void model_gemm_gram(const double *a, size_t rows, size_t n, double *sum);

#endif
