/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tiny_model.h - small random models on disk, and a forward pass in double written without a look
 * at quant/model: position by position, as data/README.md and the Llama paper say it. */
#ifndef QUANT_TESTS_TINY_MODEL_H
#define QUANT_TESTS_TINY_MODEL_H

#include <stdbool.h>

#include "quant/bank/safetensors_write.h"
#include "tests/draw.h"

enum { TINY_TENSORS = 128 };

typedef struct tiny_tensor {
    char name[96];
    quant_shape shape;
    size_t count;
    float *w;
} tiny_tensor;

typedef struct tiny_model {
    bool moe, tied;
    int layers, width, vocab, heads, kv_heads, head_dim, inner;
    int experts, used, expert_inner, window, pattern;
    double eps, theta, theta_local, cap;
    tiny_tensor t[TINY_TENSORS];
    size_t count;
    char folder[256];
    double margin; /* set by tiny_forward: smallest gap between a chosen and a refused share */
    /* NULL, or weights of the experts [layers][n * s][experts], 0 where not chosen: noted by
     * tiny_forward, or with `frozen` what it goes by. */
    double *routes;
    bool frozen;
    double *outputs; /* NULL, or noted: [layers][n * s][experts][width], 0 where not chosen */
} tiny_model;

/* Sizes and weights from d, files in a fresh folder. */
tiny_model *tiny_draw(quant_context *ctx, draw *d, bool moe);
void tiny_free(tiny_model *m);
/* Write config.json once more, with `line` (a member with its comma) in front. */
void tiny_config(const tiny_model *m, const char *line);
/* Write the weights without tensor `without` (SIZE_MAX: all). */
void tiny_weights(quant_context *ctx, const tiny_model *m, size_t without);

/* logits[n][s][vocab]; hidden (NULL allowed) [layers][n][s][width] after each layer. */
void tiny_forward(tiny_model *m, const int64_t *ids, int n, int s, double *logits, double *hidden);

#endif
