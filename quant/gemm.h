/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.h - products of 8-bit integer matrices, exact in 32 bits, and their way back to floats.
 *
 *     size_t bytes;
 *     quant_gemm_s8_layout(ctx, n, k, &bytes);                 how many bytes
 *     quant_gemm_s8_pack(ctx, n, k, w, packed, bytes);         once per weight matrix
 *     quant_gemm_s8(ctx, m, a, packed, bytes, c);              c[m][n] = a[m][k] * w[n][k]^T
 *     quant_gemm_s8_f32(ctx, m, a, packed, bytes, &scales, y); the same, dequantized
 *
 * Matrices are dense and row-major. The weights w[n][k] lie as linear layers store them, one row an
 * output channel; a[m][k] holds one token (activation vector) a row; k is the contracted axis.
 * Every code of [-128, 127] is admitted on both sides.
 *
 * No overflow. A product of two codes is at most (-128)(-128) = 2^14 in magnitude, a sum of k of
 * them k 2^14. That fits int32 as long as k 2^14 <= 2^31 - 1, which is
 *     k <= floor((2^31 - 1) / 2^14) = 131071 = QUANT_GEMM_MAX_K;
 * a longer inner dimension is refused (QUANT_ERANGE), whatever the values are. Kernels may pass
 * through other intermediate sums modulo 2^32; the result is the sum itself.
 *
 * Same bytes for any ISA level, thread count and compiler: integer sums do not depend on their
 * order, and dequantization states its roundings. A product with m = 1 is bound by memory. */
#ifndef QUANT_GEMM_H
#define QUANT_GEMM_H

#include <stddef.h>
#include <stdint.h>

#include "quant/context.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QUANT_GEMM_MAX_K 131071

/* Bytes of a packed n x k weight matrix: about n (k + 4) and 64 more. QUANT_ERANGE: k beyond
 * QUANT_GEMM_MAX_K; QUANT_EOVERFLOW: bytes beyond size_t. n and k may be zero. O(1). */
quant_status quant_gemm_s8_layout(quant_context *ctx, size_t n, size_t k, size_t *bytes);

/* Reorder w[n][k] for products into packed[capacity], capacity >= bytes as laid out, and keep the
 * sum of every row. The result names its own n and k; it is for this process, not for files, and
 * the same at every ISA level. A 64-byte aligned buffer is fastest; none is required.
 * QUANT_ESIZE: capacity too small. w and packed disjoint. O(n k). */
quant_status quant_gemm_s8_pack(quant_context *ctx, size_t n, size_t k, const int8_t *w,
                                void *packed, size_t capacity);

/* c[i][j] = sum over l of a[i][l] * w[j][l], exact. packed[bytes] as quant_gemm_s8_pack left it:
 * QUANT_EMAGIC when it is not, QUANT_ESIZE when bytes are fewer than its n and k need. c[m][n]
 * overlaps nothing. QUANT_EOVERFLOW: m n or m k beyond size_t. No scratch. O(m n k). */
quant_status quant_gemm_s8(quant_context *ctx, size_t m, const int8_t *a, const void *packed,
                           size_t bytes, int32_t *c);

/* What the codes stand for: a value is scale * (code - zero). Scales and zero points are per row
 * of a (a token) and per row of w (an output channel), or one for all rows. */
typedef struct quant_gemm_scales {
    const float *a_scale; /* [a_rows] */
    const int8_t *a_zero; /* [a_rows]; NULL: all 0 (symmetric) */
    size_t a_rows;        /* 1 or m */
    const float *w_scale; /* [w_rows] */
    const int8_t *w_zero; /* [w_rows]; NULL: all 0 */
    size_t w_rows;        /* 1 or n */
} quant_gemm_scales;

/* y[i][j] = a_scale[i] w_scale[j] S,  S = sum over l of (a[i][l] - a_zero[i])(w[j][l] - w_zero[j]).
 *
 * S is exact: sum(a w) - a_zero sum(w) - w_zero sum(a) + k a_zero w_zero in 64 bits, with the row
 * sums of the weights from packing and those of a taken here when w_zero is given; |S| < 2^33. Then
 *     y = (float)(((double)a_scale * (double)w_scale) * (double)S),
 * where the product of scales is exact, the second product is rounded once and the float once:
 * |y - exact| <= (2^-24 + 2^-52) |exact|, unless y is subnormal or overflows (to infinity).
 *
 * Failures as quant_gemm_s8, and QUANT_ESHAPE (a_rows or w_rows), QUANT_ENONFINITE (a scale),
 * QUANT_ENOMEM. Scratch: 8 bytes a row of a when w_zero is given. */
quant_status quant_gemm_s8_f32(quant_context *ctx, size_t m, const int8_t *a, const void *packed,
                               size_t bytes, const quant_gemm_scales *scales, float *y);

#ifdef __cplusplus
}
#endif
#endif
