/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/model/ops.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

/* Elements from which on several threads pay: on a busy machine starting and joining them costs
 * about a millisecond. */
enum { WORTH = 1 << 18 };

void model_round(quant_compute compute, float *x, size_t n)
{
    enum { PIECE = 512 };
    uint16_t narrow[PIECE];
    const qk_table *k = qk();
    if (compute == QUANT_COMPUTE_F32) {
        return;
    }
    for (size_t i = 0; i < n; i += PIECE) {
        size_t some = n - i < PIECE ? n - i : PIECE;
        if (compute == QUANT_COMPUTE_F16) {
            k->f32_to_f16(x + i, some, narrow);
            k->f16_to_f32(narrow, some, x + i);
        } else {
            k->f32_to_bf16(x + i, some, narrow);
            k->bf16_to_f32(narrow, some, x + i);
        }
    }
}

void model_round_rows(const model_ops *o, float *x, size_t rows, size_t cols)
{
    if (o->compute == QUANT_COMPUTE_F32) {
        return;
    }
#pragma omp parallel for num_threads(o->threads) if (rows * cols > WORTH)
    for (size_t r = 0; r < rows; r++) {
        model_round(o->compute, x + r * cols, cols);
    }
}

void model_norm(const model_ops *o, const float *x, const float *g, double eps, size_t rows,
                size_t cols, float *y)
{
#pragma omp parallel for num_threads(o->threads) if (rows * cols > WORTH)
    for (size_t r = 0; r < rows; r++) {
        const float *in = x + r * cols;
        float *out = y + r * cols;
        double factor = 1 / sqrt(qk()->dot_f32(in, in, cols) / (double)cols + eps);
        for (size_t c = 0; c < cols; c++) {
            out[c] = (float)((double)in[c] * factor * (double)g[c]);
        }
        model_round(o->compute, out, cols);
    }
}

void model_add(const model_ops *o, float *x, const float *y, size_t rows, size_t cols)
{
#pragma omp parallel for num_threads(o->threads) if (rows * cols > WORTH)
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            x[r * cols + c] += y[r * cols + c];
        }
        model_round(o->compute, x + r * cols, cols);
    }
}

/* x / 2 (1 + tanh u) is x / (1 + exp(-2u)), and silu the same with 2u = x. */
static float activation(model_activation a, double x)
{
    static const double root = 0.79788456080286535588; /* sqrt(2 / pi) */
    double u = a == MODEL_SILU ? x : 2 * root * (x + 0.044715 * x * x * x);
    return (float)(x / (1 + exp(-u)));
}

void model_activate(const model_ops *o, model_activation a, float *gate, const float *up,
                    size_t rows, size_t cols)
{
#pragma omp parallel for num_threads(o->threads) if (rows * cols > WORTH)
    for (size_t r = 0; r < rows; r++) {
        float *g = gate + r * cols;
        for (size_t c = 0; c < cols; c++) {
            g[c] = activation(a, (double)g[c]);
        }
        model_round(o->compute, g, cols);
        for (size_t c = 0; c < cols; c++) {
            g[c] *= up[r * cols + c];
        }
        model_round(o->compute, g, cols);
    }
}

void model_softmax(const model_ops *o, float *x, size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++) {
        float *p = x + r * cols;
        double top = -INFINITY, sum = 0;
        for (size_t c = 0; c < cols; c++) {
            top = (double)p[c] > top ? (double)p[c] : top;
        }
        for (size_t c = 0; c < cols; c++) {
            sum += exp((double)p[c] - top);
        }
        for (size_t c = 0; c < cols; c++) {
            p[c] = (float)(exp((double)p[c] - top) / sum);
        }
        model_round(o->compute, p, cols);
    }
}

void model_cap(const model_ops *o, double cap, float *x, size_t rows, size_t cols)
{
#pragma omp parallel for num_threads(o->threads) if (rows * cols > WORTH)
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            x[r * cols + c] = (float)(cap * tanh((double)x[r * cols + c] / cap));
        }
        model_round(o->compute, x + r * cols, cols);
    }
}

static void rotate_head(const model_rotation *r, const float *angles, float *x)
{
    size_t half = r->head_dim / 2;
    for (size_t i = 0; i < half; i++) {
        size_t a = r->pairs == MODEL_HALVES ? i : 2 * i;
        size_t b = r->pairs == MODEL_HALVES ? i + half : 2 * i + 1;
        float u = x[a], v = x[b], c = angles[2 * i], s = angles[2 * i + 1];
        x[a] = u * c - v * s;
        x[b] = v * c + u * s;
    }
}

void model_rotate(const model_ops *o, const model_rotation *r, float *x, size_t rows)
{
    size_t cols = r->heads * r->head_dim;
#pragma omp parallel for num_threads(o->threads) if (rows * cols > WORTH)
    for (size_t i = 0; i < rows; i++) {
        for (size_t h = 0; h < r->heads; h++) {
            rotate_head(r, r->table + i % r->length * r->head_dim,
                        x + i * cols + h * r->head_dim);
        }
        model_round(o->compute, x + i * cols, cols);
    }
}
