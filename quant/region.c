/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/region.h"

#include <string.h>

#include "quant/encode.h"
#include "quant/internal.h"
#include "quant/scheme_options.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t ceil_div(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* Channel axis as an index into shape->dim, or -1 with a message. */
static int channel_axis(quant_context *ctx, const quant_scheme *s, const quant_shape *shape)
{
    int rank = shape->rank - s->stack;
    if (rank < 2) {
        quant_fail(ctx, QUANT_ESHAPE,
                   "channels: expected at least 2 axes behind stack=%d, found rank %d", s->stack,
                   shape->rank);
        return -1;
    }
    int axis = s->axis < 0 ? s->axis + rank : s->axis;
    if (axis < 0 || axis >= rank) {
        quant_fail(ctx, QUANT_ESHAPE, "axis: expected -%d..%d, found %d", rank, rank - 1, s->axis);
        return -1;
    }
    return s->stack + axis;
}

static void cut_matrix(const quant_scheme *s, quant_regions *g)
{
    g->length = g->outer * g->inner;
    g->rows = s->granularity == QUANT_PER_GROUP ? min_u64(s->size, g->channels)
              : s->granularity == QUANT_PER_TENSOR ? g->channels
                                                   : 1;
    g->block = s->granularity == QUANT_PER_BLOCK ? min_u64(s->size, g->length) : g->length;
    g->blocks_per_channel = ceil_div(g->length, g->block);
    g->per_matrix = ceil_div(g->channels, g->rows) * g->blocks_per_channel;
    g->count = g->matrices * g->per_matrix;
    g->contiguous = g->outer == 1;
    g->by_channel = s->channel_scale || s->dim > 1;
}

quant_scheme quant_scheme_for_shape(const quant_scheme *scheme, const quant_shape *shape)
{
    quant_scheme s = *scheme;
    int most = shape->rank > 2 ? shape->rank - 2 : 0;
    s.stack = s.stack < most ? s.stack : most;
    return s;
}

quant_status quant_regions_make(quant_context *ctx, const quant_scheme *s,
                                const quant_shape *shape, quant_regions *g)
{
    memset(g, 0, sizeof *g);
    QUANT_TRY(quant_scheme_check(ctx, s));
    QUANT_TRY(quant_shape_elements(ctx, shape, &g->elements));
    if (s->stack > shape->rank) {
        return quant_fail(ctx, QUANT_ESHAPE, "stack: expected at most %d axes, found %d",
                          shape->rank, s->stack);
    }
    int axis = s->stack;
    bool whole = s->granularity == QUANT_PER_TENSOR && !s->channel_scale && s->dim == 1;
    if (!whole && (axis = channel_axis(ctx, s, shape)) < 0) {
        return QUANT_ESHAPE;
    }
    if (g->elements == 0) {
        return QUANT_OK;
    }
    g->matrices = g->matrix = g->outer = g->channels = g->inner = 1;
    for (int i = 0; i < shape->rank; i++) {
        uint64_t *part = i < s->stack        ? &g->matrices
                         : whole || i > axis ? &g->inner
                         : i < axis          ? &g->outer
                                             : &g->channels;
        *part *= shape->dim[i];
        g->matrix *= i < s->stack ? 1 : shape->dim[i];
    }
    cut_matrix(s, g);
    return QUANT_OK;
}

/* First channel and channel count, first element and element count inside each, of region r. */
typedef struct extent {
    uint64_t matrix, channel, rows, start, length;
} extent;

static extent extent_of(const quant_regions *g, uint64_t r)
{
    uint64_t q = r % g->per_matrix;
    uint64_t strip = q / g->blocks_per_channel;
    uint64_t start = q % g->blocks_per_channel * g->block;
    extent e = {r / g->per_matrix, strip * g->rows, 0, start, min_u64(g->block, g->length - start)};
    e.rows = min_u64(g->rows, g->channels - e.channel);
    return e;
}

uint64_t quant_regions_element(const quant_regions *g, uint64_t c, uint64_t f)
{
    return ((f / g->inner) * g->channels + c) * g->inner + f % g->inner;
}

uint64_t quant_region_channel(const quant_regions *g, uint64_t r, uint64_t *channels)
{
    extent e = extent_of(g, r);
    *channels = e.rows;
    return e.matrix * g->channels + e.channel;
}

uint64_t quant_region_elements(const quant_regions *g, uint64_t r)
{
    extent e = extent_of(g, r);
    return e.rows * e.length;
}

uint64_t quant_region_most(const quant_regions *g)
{
    return g->rows * g->block;
}

const float *quant_region_values(const quant_regions *g, uint64_t r, const float *w, float *scratch)
{
    extent e = extent_of(g, r);
    const float *matrix = w + e.matrix * g->matrix;
    if (g->contiguous) {
        return matrix + e.channel * g->length + e.start;
    }
    float *to = scratch;
    for (uint64_t c = e.channel; c < e.channel + e.rows; c++) {
        uint64_t f = e.start;
        while (f < e.start + e.length) {
            uint64_t i = f % g->inner;
            uint64_t n = min_u64(g->inner - i, e.start + e.length - f);
            const float *from = matrix + quant_regions_element(g, c, f);
            memcpy(to, from, n * sizeof *to);
            to += n;
            f += n;
        }
    }
    return scratch;
}

quant_run quant_regions_run(const quant_regions *g, uint64_t p, uint64_t limit)
{
    uint64_t i = p % g->inner, t = p / g->inner;
    uint64_t c = t % g->channels, f = t / g->channels * g->inner + i;
    uint64_t strip = c / g->rows;
    quant_run run = {strip * g->blocks_per_channel + f / g->block, c, 0};
    uint64_t left = g->blocks_per_channel > 1
                        ? min_u64(g->inner - i, g->block - f % g->block)
                    : g->by_channel
                        ? g->inner - i
                        : (min_u64((strip + 1) * g->rows, g->channels) - c) * g->inner - i;
    run.length = min_u64(left, limit);
    return run;
}
