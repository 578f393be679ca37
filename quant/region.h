/* SPDX-License-Identifier: Apache-2.0 */
/* region.h - how a scheme cuts a tensor into regions that share a scale or a table; not installed.
 *
 * The first `stack` axes index independent matrices. Inside a matrix element (o, c, i) lies at
 * (o * channels + c) * inner + i: c runs along the channel axis, o over the axes before it, i over
 * those behind it. A channel is flattened row-major over (o, i) and has `length` elements. With
 * axis 0 there is one o only and every region is contiguous. */
#ifndef QUANT_REGION_H
#define QUANT_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/scheme.h"
#include "quant/shape.h"

typedef struct quant_regions {
    uint64_t elements;           /* of the tensor */
    uint64_t matrices;           /* independent matrices */
    uint64_t matrix;             /* elements of one */
    uint64_t outer, channels, inner;
    uint64_t length;             /* outer * inner: elements of a channel */
    uint64_t rows;               /* channels that share a region (1 unless group or tensor) */
    uint64_t block;              /* elements of a channel that share (length unless block) */
    uint64_t blocks_per_channel;
    uint64_t per_matrix;         /* regions of one matrix */
    uint64_t count;              /* regions of the tensor */
    bool contiguous;             /* every region is one run of elements */
    bool by_channel;             /* runs end where their channel does */
} quant_regions;

/* Failures as quant_encode_layout. For the float family there is one region a matrix, unused. */
quant_status quant_regions_make(quant_context *ctx, const quant_scheme *scheme,
                                const quant_shape *shape, quant_regions *regions);

/* Elements of region r (0 <= r < count). */
uint64_t quant_region_elements(const quant_regions *g, uint64_t r);
/* The largest of them: room that quant_region_values may need. */
uint64_t quant_region_most(const quant_regions *g);

/* The values of region r in channel order: a pointer into w when contiguous, else gathered
 * into scratch[quant_region_elements]. */
const float *quant_region_values(const quant_regions *g, uint64_t r, const float *w,
                                 float *scratch);

/* Place in its matrix of element f of channel c. */
uint64_t quant_regions_element(const quant_regions *g, uint64_t c, uint64_t f);

/* First channel of region r, numbered through all matrices, and how many it has. */
uint64_t quant_region_channel(const quant_regions *g, uint64_t r, uint64_t *channels);

/* The run that begins at element p of a matrix: its region and the channel of its first element,
 * within the matrix, and how many of the next `limit` elements belong to that region, with
 * by_channel to that channel, without a break. limit >= 1. */
typedef struct quant_run {
    uint64_t region;
    uint64_t channel;
    uint64_t length;
} quant_run;
quant_run quant_regions_run(const quant_regions *g, uint64_t p, uint64_t limit);

#endif
