/* SPDX-License-Identifier: Apache-2.0 */
/* gemv.h - an encoded weight matrix times a vector, from its packed bytes as they lie.
 *
 * The matrix is a tensor of shape [n, k] as quant_encode left it: rows are output channels, the
 * vector has k elements, the result n. Nothing is decoded to memory; with 4-bit codes a product
 * costs little more than reading the codes.
 *
 *     quant_gemv_f32(ctx, &scheme, &shape, packed, bytes, x, y);     y = W^ x
 *
 *     quant_gemv_input q = {codes, &scale, 0};                        x = scale * codes
 *     quant_gemv_s8(ctx, &scheme, &shape, packed, bytes, &q, y);      the same in integers,
 *                                                                     where there are any
 *
 * Same bytes for any ISA level, thread count and compiler. Rows are independent of each other.
 *
 * Failures of both: those of quant_encode_layout; QUANT_ESHAPE, the tensor has not two axes;
 * QUANT_ETRUNC, QUANT_ETRAILING, bytes is not layout.bytes; QUANT_EUNSUPPORTED, stack= (multiply
 * one matrix at a time); QUANT_ENONFINITE, x or a scale of it; QUANT_ENOMEM.
 * Codes that no encoder writes multiply like any other. */
#ifndef QUANT_GEMV_H
#define QUANT_GEMV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/scheme.h"
#include "quant/shape.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y[r] = sum over i of w^[r][i] x[i] in single precision, w^ being what quant_decode gives:
 * products are rounded to floats and added over 64 lanes (element i to lane i mod 64, in order;
 * then the lanes in halves: 32 to 32, 16 to 16, down to one). With m = ceil(k/64), to first
 * order,
 *     |y - exact| <= (m + 6) 2^-24 sum |w^ x|,
 * barring underflow: a product meets its own rounding, at most m - 1 of its lane's additions and 6
 * of the fold.
 *
 * Every scheme. 4 bits with k even have kernels of their own: blocks (a multiple of 32, symmetric,
 * axis 0, store=f16) and codebooks (axis 0). Others decode a row at a time: 4 k bytes of scratch a
 * thread. */
quant_status quant_gemv_f32(quant_context *ctx, const quant_scheme *scheme,
                            const quant_shape *shape, const void *packed, size_t bytes,
                            const float *x, float *y);

/* A vector of signed codes with scales: x[i] = scale[i / block] * codes[i], symmetric. */
typedef struct quant_gemv_input {
    const int8_t *codes; /* [k] */
    const float *scale;  /* [ceil(k / block)]; one when block is 0 */
    size_t block;        /* codes that share a scale; 0: all */
} quant_gemv_input;

/* y[r] = sum over pieces p of (s_rp t_p) sum_rp, where a piece is a run of columns with one scale s
 * of the weights and one scale t of the input, and sum_rp the exact integer sum of (code - zero)
 * times input code over it (with pcs, s is the product of the table's scale and the channel's,
 * rounded to a float). s t is exact in double, its product with the sum is rounded, pieces are
 * added in double over lanes as above (piece p to lane p mod 64), and the result is rounded once to
 * float:
 *     |y - exact| <= 2^-24 |exact| + (P + 7) 2^-53 sum |terms|,  P = ceil(pieces / 64).
 * A row with one piece gives the very bytes of quant_gemm_s8_f32.
 *
 * That takes integers on both sides: linear schemes with axis 0 (per tensor, channel or block) and
 * codebooks with lut=int8, where blocks of weights and of the input, if both exist, are the same.
 * All other weights (float codes, tables of floats or of vectors, scales that vary along the
 * contracted axis other than by blocks) multiply as the floats that quant_decode gives: pieces are
 * those of the input, s is 1, and sum_rp is the sum of w^ times input code over the piece as
 * quant_gemv_f32 adds it, in single precision, with its bound; m is ceil(piece / 64) then. Nothing
 * is won over quant_gemv_f32 but that the input's scales stay outside of the sums.
 * quant_gemv_s8_is_exact tells the two apart.
 *
 * QUANT_ERANGE: k beyond QUANT_GEMM_MAX_K, of integers. Scratch: k bytes a thread where codes have
 * to be unpacked (all but int4:block=32, lut4 with one scale or blocks of 32, and 8 bits); with
 * asym 8 bytes a piece; without integers 4 k bytes, and as much a thread but for lut4. */
quant_status quant_gemv_s8(quant_context *ctx, const quant_scheme *scheme,
                           const quant_shape *shape, const void *packed, size_t bytes,
                           const quant_gemv_input *x, float *y);

/* Whether quant_gemv_s8 adds integers exactly for this matrix and input (block as in
 * quant_gemv_input); if not, *why, unless NULL, becomes a line of text that says what stands
 * against it: what was expected and found. Also false for what quant_gemv_s8 refuses. */
bool quant_gemv_s8_is_exact(const quant_scheme *scheme, const quant_shape *shape, size_t block,
                            const char **why);

#ifdef __cplusplus
}
#endif
#endif
