/* SPDX-License-Identifier: GPL-3.0-or-later */
/* attention.h - softmax(q k^T / sqrt(d)) v under a causal mask; not installed. */
#ifndef QUANT_MODEL_ATTENTION_H
#define QUANT_MODEL_ATTENTION_H

#include "quant/model/ops.h"

/* q, y [sequences * length][heads * head_dim]; k, v [sequences * length][kv_heads * head_dim].
 * window 0: everything before is seen, else the last `window` positions. Scores are q k^T times
 * scale (0: 1 / sqrt(head_dim)), and cap * tanh(score / cap) where there is a cap. */
typedef struct model_attention {
    const model_ops *ops;
    const float *q, *k, *v;
    float *y;
    size_t sequences, length, heads, kv_heads, head_dim, window;
    double scale, cap;
    float *scratch; /* threads * model_attention_scratch() floats */
} model_attention;

/* Floats that one thread needs; the online form does not depend on the length. */
size_t model_attention_scratch(const model_attention *a, bool plain);

/* By blocks of queries and chunks of keys with running maximum and sum (Milakov and Gimelshein
 * 2018, "Online normalizer calculation for softmax"). In 16-bit types the weights of a chunk are
 * rounded relative to the running maximum, as fused kernels do. */
void model_attend(const model_attention *a);
/* All scores of a query at once, sums in double: what the other one is held against. */
void model_attend_plain(const model_attention *a);
/* Softmax weights of one sequence: out[heads][length][length], 0 where masked. */
void model_attention_weights(const model_attention *a, size_t sequence, float *out);

#endif
