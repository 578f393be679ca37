/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ops.h - everything between matrix products; not installed. Rows are independent of each other, so
 * the number of threads does not matter. Each ends with rounding to the compute type. */
#ifndef QUANT_MODEL_OPS_H
#define QUANT_MODEL_OPS_H

#include "quant/model/arch.h"
#include "quant/model/forward.h"

typedef struct model_ops {
    quant_compute compute;
    int threads;
} model_ops;

/* x[n] to the compute type and back. */
void model_round(quant_compute compute, float *x, size_t n);
void model_round_rows(const model_ops *o, float *x, size_t rows, size_t cols);

/* y = x / sqrt(mean(x^2) + eps) * g over rows of `cols`; the sum is in double. y may be x. */
void model_norm(const model_ops *o, const float *x, const float *g, double eps, size_t rows,
                size_t cols, float *y);
/* x += y */
void model_add(const model_ops *o, float *x, const float *y, size_t rows, size_t cols);
/* gate = act(gate) * up; act and product are two operations */
void model_activate(const model_ops *o, model_activation a, float *gate, const float *up,
                    size_t rows, size_t cols);
void model_softmax(const model_ops *o, float *x, size_t rows, size_t cols);
/* x = cap * tanh(x / cap) */
void model_cap(const model_ops *o, double cap, float *x, size_t rows, size_t cols);

/* Angles of `length` positions: table[position][head_dim / 2][2] holds cosine and sine. */
void model_rotary_fill(float *table, size_t length, size_t head_dim, const model_rope *rope);
/* Rows are positions first_row % length of heads side by side. */
typedef struct model_rotation {
    const float *table;
    size_t length, heads, head_dim;
    model_rotary pairs;
} model_rotation;
void model_rotate(const model_ops *o, const model_rotation *r, float *x, size_t rows);

#endif
