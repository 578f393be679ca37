/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/model/gemm.h"

#include <stdbool.h>

/* Debian keeps OpenBLAS's own header under this name, whatever provides cblas.h. */
#if __has_include(<cblas-openblas.h>)
#include <cblas-openblas.h>
#else
#include <cblas.h>
#endif

void model_gemm_begin(void)
{
    openblas_set_num_threads(1);
}

/* Sizes fit an int: config.c and forward.c see to it. */
static void block(const model_product *p, size_t row, size_t column)
{
    size_t m = p->rows - row < MODEL_ROWS ? p->rows - row : MODEL_ROWS;
    size_t n = p->out - column < MODEL_COLUMNS ? p->out - column : MODEL_COLUMNS;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)m, (int)n, (int)p->in, 1.0f,
                p->x + row * p->in, (int)p->in, p->w + column * p->in, (int)p->in, 0.0f,
                p->y + row * p->out + column, (int)p->out);
}

void model_gemm(const model_product *p, int threads)
{
    size_t across = (p->out + MODEL_COLUMNS - 1) / MODEL_COLUMNS;
    size_t tasks = (p->rows + MODEL_ROWS - 1) / MODEL_ROWS * across;
    bool pays = tasks > 1 && p->rows * p->in > MODEL_WORTH / p->out;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (pays)
    for (size_t t = 0; t < tasks; t++) {
        block(p, t / across * MODEL_ROWS, t % across * MODEL_COLUMNS);
    }
}

void model_gemm_scores(const model_strided *p, float scale)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)p->m, (int)p->n, (int)p->k, scale,
                p->a, (int)p->lda, p->b, (int)p->ldb, 0.0f, p->c, (int)p->ldc);
}

void model_gemm_mix(const model_strided *p)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)p->m, (int)p->n, (int)p->k, 1.0f,
                p->a, (int)p->lda, p->b, (int)p->ldb, 1.0f, p->c, (int)p->ldc);
}

void model_gemm_gram(const double *a, size_t rows, size_t n, double *sum)
{
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasTrans, (int)n, (int)rows, 1.0, a, (int)n, 1.0, sum,
                (int)n);
}
