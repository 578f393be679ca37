/* SPDX-License-Identifier: Apache-2.0 */
/* encode.h - three calls from floats to a packed buffer and back.
 *
 *     quant_layout layout;
 *     quant_encode_layout(ctx, &scheme, &shape, &layout);            how many bytes
 *     quant_encode(ctx, &scheme, &shape, w, packed, layout.bytes, NULL);
 *     quant_decode(ctx, &scheme, &shape, packed, layout.bytes, w_hat);
 *
 * The packed buffer is the concatenation of up to five segments, in this order, each beginning
 * at a multiple of 8 bytes (gaps are zero): codes, scale, zero, table, table_scale. The README's
 * "Packed layout" gives the bytes; in short
 *     codes  one LSB-first bit stream per stacked matrix, row-major; each matrix starts at a byte;
 *            dim=D: channel by channel, one code for D elements, a last one for what is left
 *     scale  one value per region in region order; with pcs one per channel
 *     zero   one LSB-first stream of b-bit two's complement zero points, region order (asym only)
 *     table  2^b entries (dim=D: of D numbers each) per group, group order: f32, f16, bf16 or,
 *            with lut=int8, int8_t in -127..127, ascending over the entries in use, then zeros
 *     table_scale  lut=int8: one scale per group (store=); an entry's value is the f32 product
 *            scale * entry. Integer kernels read both as they lie; table g of a uint8_t *packed:
 *                const int8_t *entry = (const int8_t *)packed + layout.table.offset + (g << bits);
 *                memcpy(&scale, packed + layout.table_scale.offset + 4 * g, 4);    store=f32
 * Regions are numbered matrix by matrix; inside a matrix channel by channel; inside a channel
 * block by block. A last block or group may be short. f16 and bf16 have codes only: the
 * 16-bit values, little-endian.
 *
 * Same bytes for any ISA level, thread count and compiler. */
#ifndef QUANT_ENCODE_H
#define QUANT_ENCODE_H

#include <stddef.h>
#include <stdint.h>

#include "quant/scheme.h"
#include "quant/shape.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quant_segment {
    size_t offset; /* in bytes from the start of the packed buffer */
    size_t bytes;  /* 0: the scheme has no such segment */
    size_t count;  /* codes: elements; scale: regions, with pcs channels; zero, table_scale:
                      regions; table: entries of all tables */
} quant_segment;

typedef struct quant_layout {
    quant_segment codes, scale, zero, table, table_scale;
    size_t bytes;        /* of the whole buffer, gaps included: the capacity that encode needs */
    size_t stored_bytes; /* sum of the segments without gaps: what "bytes" means in every report */
    double bits_per_weight; /* 8 * stored_bytes / elements; 0 for an empty tensor */
} quant_layout;

/* What happened while encoding; counts are of elements unless said otherwise. */
typedef struct quant_encode_info {
    uint64_t elements;
    uint64_t saturated;      /* unclamped code was out of range */
    uint64_t zero_codes;     /* decode to exactly zero: code = zero point, or the entry is 0 */
    uint32_t distinct_codes; /* different code values in use over the whole tensor; 0 for floats */
    uint64_t raised_scales;  /* scales that were subnormal in their type and rounded up */
    uint64_t regions;        /* scales or tables */
    double optimal_sse;      /* codebooks, mode=kmeans, dim=1: sum of the optimal within-group
                                SSE with f64 tables, before the table is rounded (pcs: for the
                                stored scales, to 2^-23 of itself); 0 otherwise */
} quant_encode_info;

/* The scheme as it applies to one tensor of a bank. A tensor of rank r has at most r - 2 stacked
 * axes (a matrix has none), so that "stack=1" for a whole bank means its stacks of experts and
 * leaves plain matrices whole. quant_encode itself takes stack= at its word. */
quant_scheme quant_scheme_for_shape(const quant_scheme *scheme, const quant_shape *shape);

/* Segment offsets and sizes. They depend on scheme and shape only, never on values.
 * QUANT_ESHAPE: the scheme's axis or stack does not exist in this shape, or the tensor has fewer
 * than 2 axes after stacking where the scheme needs channels (a 1-D tensor counts as one axis:
 * int8:tensor and lut4:tensor accept it). QUANT_EOVERFLOW: sizes beyond size_t. O(1). */
quant_status quant_encode_layout(quant_context *ctx, const quant_scheme *scheme,
                                 const quant_shape *shape, quant_layout *layout);

/* Encode w[elements] into packed[capacity]; capacity >= layout.bytes, w and packed disjoint.
 * info may be NULL. Failures: QUANT_ENONFINITE (message has first index and count),
 * QUANT_ESCALE (a scale or table entry overflows its storage type: retry with store=f32 or
 * lut=f32), QUANT_ERANGE (mode=unique with more than 2^b distinct values), QUANT_EOVERFLOW (a
 * table for 2^32 - 1 weights or more), QUANT_ENOMEM. packed is unspecified after a failure.
 *
 * Scratch of a linear scheme with axis 0: none beyond a few bytes a thread and, with asym, one byte
 * a region; with another axis the largest region, gathered, a thread. Of a codebook: about 120
 * bytes for each weight of the largest group (pcs: 132, dim=: 136), a thread, of which less than
 * half are touched unless most partitions tie. One table for n weights, n >= 2^18 and 12 k^2.5
 * with k = 2^bits, takes 17 bytes for each (at least 120 for each of so many) without pcs,
 * lut=int8, dim= and importance; only where more than n / 12 boundaries are as good as the best to
 * the last digits of a double, as beside a weight 10^8 times all others, 120 are had after all. */
quant_status quant_encode(quant_context *ctx, const quant_scheme *scheme, const quant_shape *shape,
                          const float *w, void *packed, size_t capacity, quant_encode_info *info);

/* What quant_encode_with knows besides; all zero is quant_encode. */
typedef struct quant_encode_options {
    const float *importance; /* [elements], laid out like w; NULL: every weight counts once */
    quant_encode_info *info; /* NULL: not wanted */
} quant_encode_options;

/* quant_encode with options; NULL is none of them. With importance the tables of mode=kmeans are
 * the exact optimum (lut=int8 and dim=: what their searches reach, never worse than their starts)
 * of sum importance (w - w_hat)^2 within each group, as with sensitivities
 * (diagonals of the Fisher matrix: Kim et al. 2024, arXiv:2306.07629, section 4.1), and
 * info.optimal_sse is that sum; codes still name the nearest entry, whatever a weight counts
 * (dim=: the entry of least weighted distance). A
 * group whose importance is all zero is fitted as if every weight counted once; a weight of
 * importance 0 beside others gets a code and hardly moves an entry (kmeans1d.h,
 * quant_points_collapse). Equal importance, scaled by a power of two, changes no byte.
 * Further failures: QUANT_EINVAL for importance that is negative or not finite (message has the
 * first index), or with a scheme that is neither a codebook of mode=kmeans nor of
 * scale=mse, whose search then takes the weighted error. Where groups are not
 * contiguous the scratch grows by the largest group, gathered, a thread. */
quant_status quant_encode_with(quant_context *ctx, const quant_scheme *scheme,
                               const quant_shape *shape, const float *w, void *packed,
                               size_t capacity, const quant_encode_options *options);

/* Decode a whole buffer of layout.bytes into w[elements]. Codes of a linear scheme outside their
 * range or codes that name padding decode by the same formula; the buffer's length is checked
 * (QUANT_ETRUNC / QUANT_ETRAILING), nothing else can fail. */
quant_status quant_decode(quant_context *ctx, const quant_scheme *scheme, const quant_shape *shape,
                          const void *packed, size_t bytes, float *w);

/* Decode elements [first, first + count) of the row-major order into w[count]: how a caller
 * streams a large tensor. QUANT_ERANGE when the span leaves the tensor. */
quant_status quant_decode_span(quant_context *ctx, const quant_scheme *scheme,
                               const quant_shape *shape, const void *packed, size_t bytes,
                               uint64_t first, uint64_t count, float *w);

#ifdef __cplusplus
}
#endif
#endif
