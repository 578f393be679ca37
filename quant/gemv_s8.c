/* SPDX-License-Identifier: Apache-2.0 */
/* gemv_s8.c - a packed matrix times int8: which kernel, and the general way for the rest. */
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "quant/gemm.h"
#include "quant/gemv_parts.h"
#include "quant/internal.h"
#include "quant/store.h"

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Scale of region `region` in row r; with pcs that of the table times that of the row. */
static float scale_of(const quant_gemv_job *g, uint64_t region, size_t r)
{
    const quant_store store = g->job.scheme.store;
    const uint8_t *scale = g->job.source + g->job.layout.scale.offset;
    if (g->job.scheme.family == QUANT_FAMILY_LINEAR) {
        return quant_store_get(store, scale, region);
    }
    const uint8_t *table = g->job.source + g->job.layout.table_scale.offset;
    const float s = quant_store_get(store, table, region);
    return g->job.scheme.channel_scale ? s * quant_store_get(store, scale, r) : s;
}

static const int8_t *entries_of(const quant_gemv_job *g, uint64_t region)
{
    return (const int8_t *)g->job.source + g->job.layout.table.offset +
           (region << g->job.scheme.bits);
}

static void blocks4_s8(const quant_gemv_job *g, size_t first, size_t rows, uint8_t *scratch)
{
    static const int8_t values[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    (void)scratch;
    const qk_gemv4_s8 q = {quant_gemv_rows4(g, first), values, quant_gemv_scales(g, first), 1.0f,
                           g->piece, rows, g->k, g->input.codes, g->input.scale,
                           g->input.block != 0, g->y + first};
    qk()->gemv4_s8(&q);
}

static void tables4_s8(const quant_gemv_job *g, size_t first, size_t rows, uint8_t *scratch)
{
    (void)scratch;
    for (size_t done = 0, n; done < rows; done += n) {
        const uint64_t region = quant_gemv_region(g, first + done);
        n = quant_gemv_same_table(g, first + done, rows - done);
        const qk_gemv4_s8 q = {quant_gemv_rows4(g, first + done), entries_of(g, region), NULL,
                               scale_of(g, region, first + done), g->piece, n, g->k, g->input.codes,
                               g->input.scale, g->input.block != 0, g->y + first + done};
        qk()->gemv4_s8(&q);
    }
}

/* Row r as signed bytes in scratch: codes of a linear scheme, entries of a table. */
static const int8_t *row_codes(const quant_gemv_job *g, size_t r, uint8_t *scratch)
{
    const unsigned bits = (unsigned)g->job.scheme.bits;
    const uint64_t p = (uint64_t)r * g->k;
    const uint8_t *stream = g->job.source + g->job.layout.codes.offset + p / 8 * bits;
    if (g->job.scheme.family == QUANT_FAMILY_LINEAR && bits == 8) {
        return (const int8_t *)stream + p % 8;
    }
    if (g->job.scheme.family == QUANT_FAMILY_LINEAR) {
        qk()->unpack_signed(stream, g->k + p % 8, bits, scratch);
    } else {
        const int8_t *entry = entries_of(g, quant_gemv_region(g, r));
        qk()->unpack_unsigned(stream, g->k + p % 8, bits, scratch);
        for (size_t i = p % 8; i < g->k + p % 8; i++) {
            scratch[i] = (uint8_t)entry[scratch[i]];
        }
    }
    return (const int8_t *)scratch + p % 8;
}

static double piece_of(const quant_gemv_job *g, size_t r, size_t b, const int8_t *row)
{
    const size_t at = b * g->piece, n = min_size(g->piece, g->k - at);
    const bool blocks = g->job.scheme.granularity == QUANT_PER_BLOCK;
    const uint64_t region = quant_gemv_region(g, r) + (blocks ? at / g->job.regions.block : 0);
    int64_t sum = qk()->dot_s8(row + at, g->input.codes + at, n);
    if (g->x_sums) {
        sum -= g->x_sums[b] * quant_zero_get(g->job.source + g->job.layout.zero.offset, region,
                                             g->job.scheme.bits);
    }
    const float t = g->input.scale[g->input.block ? b : 0];
    return (double)scale_of(g, region, r) * (double)t * (double)sum;
}

static void unpacked_s8(const quant_gemv_job *g, size_t first, size_t rows, uint8_t *scratch)
{
    for (size_t r = first; r < first + rows; r++) {
        const int8_t *row = row_codes(g, r, scratch);
        double lane[QK_LANES] = {0};
        for (size_t b = 0; b < g->pieces; b++) {
            lane[b % QK_LANES] += piece_of(g, r, b, row);
        }
        g->y[r] = (float)qk_fold_lanes(lane);
    }
}

/* What stands against integers, NULL when nothing does. */
static const char *not_integer(const quant_gemv_job *g)
{
    const quant_scheme *s = &g->job.scheme;
    if (s->family == QUANT_FAMILY_FLOAT) {
        return "codes: expected integers, found floats";
    }
    if (s->family == QUANT_FAMILY_CODEBOOK && s->table_store != QUANT_STORE_I8) {
        return "tables: expected lut=int8, found entries that are floats";
    }
    if (s->family == QUANT_FAMILY_CODEBOOK && s->dim != 1) {
        return "dim: expected a code for each weight, found codes of vectors";
    }
    if (!quant_gemv_by_rows(g)) {
        return "axis: expected 0, found scales that vary along the contracted axis";
    }
    if (s->granularity == QUANT_PER_BLOCK && s->size < g->k && g->input.block &&
        g->input.block != s->size) {
        return "blocks: expected one length, found weights and input cut differently";
    }
    return NULL;
}

static size_t input_block(size_t block, size_t k)
{
    return block < k ? block : 0;
}

bool quant_gemv_s8_is_exact(const quant_scheme *scheme, const quant_shape *shape, size_t block,
                            const char **why)
{
    quant_gemv_job g = {.y = NULL};
    const char *against = "scheme, shape: expected a matrix, found something else";
    if (quant_job_make(NULL, scheme, shape, &g.job) == QUANT_OK && shape->rank == 2 &&
        scheme->stack == 0) {
        g.n = (size_t)shape->dim[0];
        g.k = (size_t)shape->dim[1];
        g.input.block = input_block(block, g.k);
        against = not_integer(&g);
        if (!against && g.k > QUANT_GEMM_MAX_K) {
            against = "inner dimension: expected at most QUANT_GEMM_MAX_K, found more";
        }
    }
    if (why) {
        *why = against;
    }
    return against == NULL;
}

static quant_status check_input(quant_context *ctx, const quant_gemv_input *x, quant_gemv_job *g)
{
    if (!x || (g->k && !x->codes)) {
        return quant_fail(ctx, QUANT_EINVAL, "x, codes: expected pointers, found NULL");
    }
    g->input = *x;
    g->input.block = input_block(x->block, g->k);
    if (g->k > QUANT_GEMM_MAX_K && !not_integer(g)) {
        return quant_fail(ctx, QUANT_ERANGE,
                          "inner dimension: expected at most %d so that int32 cannot overflow, "
                          "found %zu", QUANT_GEMM_MAX_K, g->k);
    }
    const size_t block = g->input.block, scales = block ? qk_blocks_of(g->k, block) : 1;
    return quant_gemv_finite(ctx, "scale", x->scale, g->k ? scales : 0);
}

/* The shorter of the two cuts; a cut that is no shorter than the row is none. */
static void cut_row(quant_gemv_job *g)
{
    const bool blocks = g->job.scheme.granularity == QUANT_PER_BLOCK;
    const size_t block = blocks ? (size_t)g->job.regions.block : g->k;
    g->piece = min_size(block, g->input.block ? g->input.block : g->k);
    g->pieces = qk_blocks_of(g->k, g->piece);
}

static quant_gemv_strip *choose(const quant_gemv_job *g)
{
    if (quant_gemv_has_blocks4(g) && g->job.scheme.size == 32 && g->piece == 32) {
        return blocks4_s8;
    }
    return quant_gemv_has_tables4(g) && (g->piece == 32 || g->pieces == 1) ? tables4_s8
                                                                           : unpacked_s8;
}

static void sum_pieces(const quant_gemv_job *g, int64_t *sums)
{
    for (size_t b = 0; b < g->pieces; b++) {
        sums[b] = 0;
        for (size_t i = b * g->piece; i < g->k && i < (b + 1) * g->piece; i++) {
            sums[b] += g->input.codes[i];
        }
    }
}

quant_status quant_gemv_s8(quant_context *ctx, const quant_scheme *scheme,
                           const quant_shape *shape, const void *packed, size_t bytes,
                           const quant_gemv_input *x, float *y)
{
    quant_gemv_job g = {.y = y};
    int64_t *sums = NULL;
    QUANT_TRY(quant_gemv_open(ctx, scheme, shape, packed, bytes, &g));
    QUANT_TRY(check_input(ctx, x, &g));
    if (g.job.regions.elements == 0) {
        return quant_gemv_run(ctx, &g, unpacked_s8);
    }
    if (not_integer(&g)) {
        return quant_gemv_s8_by_floats(ctx, &g);
    }
    cut_row(&g);
    if (scheme->asymmetric) {
        if (!(sums = quant_alloc(ctx, g.pieces, sizeof *sums))) {
            return QUANT_ENOMEM;
        }
        sum_pieces(&g, sums);
        g.x_sums = sums;
    }
    quant_gemv_strip *strip = choose(&g);
    g.scratch_bytes = strip == unpacked_s8 ? (g.k + 8 + 63) / 64 * 64 : 0;
    quant_status s = quant_gemv_run(ctx, &g, strip);
    quant_release(ctx, sums, g.pieces, sizeof *sums);
    return s;
}
