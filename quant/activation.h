/* SPDX-License-Identifier: Apache-2.0 */
/* activation.h - activations as 8-bit integers, and weights as the integers to multiply with.
 *
 *     quant_activation_encode(ctx, &scheme.activation, &grid, x, rows, cols, &a);   tokens
 *     quant_weights_s8(ctx, &scheme, &shape, packed, bytes, 0, &w);                 weights
 *     quant_gemm_s8_pack(...), quant_gemm_s8_f32(...)                               quant/gemm.h
 *
 * Everything here gives the same bytes for any ISA level, thread count and compiler. */
#ifndef QUANT_ACTIVATION_H
#define QUANT_ACTIVATION_H

#include <stddef.h>
#include <stdint.h>

#include "quant/observer.h"
#include "quant/shape.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The grid of a range. Symmetric: scale = the larger magnitude / 127, codes +-127. asymmetric: from
 * min(0, lowest) to max(0, highest) in 255 steps, codes -128 .. 127. A range that is all zero has
 * scale 0. A scale that would be subnormal is the smallest number that is not less. */
quant_activation_grid quant_activation_grid_of(bool asymmetric, float lowest, float highest);

/* Codes of a matrix of activations; buffers are the caller's. x is near scale (code - zero). */
typedef struct quant_activation_codes {
    int8_t *code;       /* [rows][cols] */
    float *scale;       /* [rows] */
    int8_t *zero;       /* [rows]; 0 where symmetric */
    uint64_t saturated; /* set: values beyond the last code by more than half a step */
} quant_activation_codes;

/* Encode x[rows][cols], a row a token: every row on `grid`, or, when grid is NULL, each on the grid
 * of its own range (how->asymmetric says of which kind). code = clamp(rne(x / scale) + zero), an
 * f32 division. QUANT_ENONFINITE names the first row and channel that is NaN or infinite. */
quant_status quant_activation_encode(quant_context *ctx, const quant_activation *how,
                                     const quant_activation_grid *grid, const float *x, size_t rows,
                                     size_t cols, quant_activation_codes *codes);

/* x[rows][cols] = scale (code - zero), one f32 product. */
void quant_activation_decode(const quant_activation_codes *codes, size_t rows, size_t cols,
                             float *x);

/* Integers with a scale for each output channel; buffers are the caller's. */
typedef struct quant_integer_weights {
    int8_t *code; /* [rows][cols] */
    float *scale; /* [rows] */
} quant_integer_weights;

/* Matrix `matrix` of a packed stack: w[r][c] = scale[r] code[r][c] in f32 is the very value that
 * quant_decode gives. Rows are the axis after the stack, columns all that follow.
 * QUANT_EUNSUPPORTED unless every row has one scale and no zero point (intB:channel or :tensor on
 * axis 0 without asym, lutB with lut=int8); QUANT_ERANGE: no such matrix; QUANT_ESIZE: bytes. */
quant_status quant_weights_s8(quant_context *ctx, const quant_scheme *scheme,
                              const quant_shape *shape, const void *packed, size_t bytes,
                              uint64_t matrix, const quant_integer_weights *weights);

#ifdef __cplusplus
}
#endif
#endif
