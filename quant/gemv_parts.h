/* SPDX-License-Identifier: Apache-2.0 */
/* gemv_parts.h - what products with floats and with int8 share; not installed.
 *
 * Rows are cut into strips, whatever the number of threads; a strip function multiplies `rows` rows
 * from `first` on. */
#ifndef QUANT_GEMV_PARTS_H
#define QUANT_GEMV_PARTS_H

#include "quant/codec.h"
#include "quant/gemv.h"

/* A product of a job (the packed matrix) with either vector. */
typedef struct quant_gemv_job {
    quant_job job;
    size_t n, k;
    const float *x;         /* f32; s8 by floats: the codes */
    quant_gemv_input input; /* s8 */
    const int64_t *x_sums;  /* s8: of the input over each piece; NULL: not needed */
    size_t piece, pieces;   /* s8: columns of a piece, pieces of a row */
    float *y;
    uint8_t *scratch;       /* of all threads */
    size_t scratch_bytes;   /* of one */
    int threads;
} quant_gemv_job;

typedef void quant_gemv_strip(const quant_gemv_job *g, size_t first, size_t rows,
                              uint8_t *scratch);

/* Validate and open; g->y is set. */
quant_status quant_gemv_open(quant_context *ctx, const quant_scheme *scheme,
                             const quant_shape *shape, const void *packed, size_t bytes,
                             quant_gemv_job *g);
/* x[n], called `name`, is there and finite. */
quant_status quant_gemv_finite(quant_context *ctx, const char *name, const float *x, size_t n);

/* All strips; scratch is taken and given back. */
quant_status quant_gemv_run(quant_context *ctx, quant_gemv_job *g, quant_gemv_strip *strip);

/* Region of the first weight of row r; for axis 0, or one region. */
uint64_t quant_gemv_region(const quant_gemv_job *g, size_t r);
/* Every row is a channel, or all of the matrix is one region without scales of channels. */
bool quant_gemv_by_rows(const quant_gemv_job *g);
/* Rows from `first` on, at most `rows`, that share a table; with pcs each has its own. */
size_t quant_gemv_same_table(const quant_gemv_job *g, size_t first, size_t rows);

/* Rows of a matrix that has_tables4 times g->x: a strip. */
void quant_gemv_tables4_f32(const quant_gemv_job *g, size_t first, size_t rows, uint8_t *scratch);

/* quant_gemv_s8 where the weights have no integers; the input is there. */
quant_status quant_gemv_s8_by_floats(quant_context *ctx, quant_gemv_job *g);

/* 4-bit codes with kernels of their own: symmetric blocks of a multiple of 32 with binary16 scales,
 * and tables; where the codes and the scales of row `first` begin. */
bool quant_gemv_has_blocks4(const quant_gemv_job *g);
bool quant_gemv_has_tables4(const quant_gemv_job *g);
const uint8_t *quant_gemv_rows4(const quant_gemv_job *g, size_t first);
const void *quant_gemv_scales(const quant_gemv_job *g, size_t first);

#endif
