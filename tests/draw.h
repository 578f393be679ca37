/* SPDX-License-Identifier: GPL-3.0-or-later */
/* draw.h - random cases for property tests: everything follows from (seed, suite word, case). */
#ifndef QUANT_TESTS_DRAW_H
#define QUANT_TESTS_DRAW_H

#include <stddef.h>
#include <stdint.h>

#include "quant/quant.h"

typedef struct draw {
    quant_random stream;
    uint64_t next;
} draw;

/* The stream of case k of a property; word tells properties apart. */
draw draw_begin(const char *word, uint64_t k);
/* Uniform integer in [low, high]. */
int64_t draw_int(draw *d, int64_t low, int64_t high);
double draw_uniform(draw *d);
double draw_normal(draw *d);

/* Weights that hunt: Gaussian, heavy tails, planted outliers, row spread, ties at half steps, few
 * distinct values, zeros and zero rows, one sign, constant; times a power of two in
 * 2^-8..2^8, so that f16 scales stay normal. Finite. */
void draw_weights(draw *d, float *w, size_t rows, size_t cols);

typedef struct drawn_tensor {
    quant_shape shape; /* rank 2 or 3 */
    size_t n;
    float *w;          /* owned; free() */
} drawn_tensor;

/* A tensor of 2 or 3 axes with at most about 3000 elements. */
drawn_tensor draw_tensor(draw *d);

/* A linear scheme: any bits, granularity, axis, range, rule, store, asym; a codebook scheme. */
quant_scheme draw_linear(draw *d, const quant_shape *shape);
quant_scheme draw_codebook(draw *d, const quant_shape *shape);

/* Encode into a fresh buffer (free()), with s widened to f32 storage when a scale overflows; NULL
 * when the status is not OK. */
uint8_t *encode_new(quant_context *ctx, quant_scheme *s, const quant_shape *shape,
                    const float *w, quant_layout *layout, quant_encode_info *info);

/* What the 2^bits codes of table r stand for, read from the buffer as its layout is documented. */
void table_load(const quant_scheme *s, const uint8_t *packed, const quant_layout *l, uint64_t r,
                float *table);

#endif
