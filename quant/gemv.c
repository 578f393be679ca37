/* SPDX-License-Identifier: Apache-2.0 */
/* gemv.c - a packed matrix times floats: which kernel, and the general way for the rest. */
#include "quant/gemv.h"

#include <omp.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/gemv_parts.h"
#include "quant/internal.h"

enum { STRIP = 64 };

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

quant_status quant_gemv_open(quant_context *ctx, const quant_scheme *scheme,
                                const quant_shape *shape, const void *packed, size_t bytes,
                                quant_gemv_job *g)
{
    QUANT_TRY(quant_job_make(ctx, scheme, shape, &g->job));
    if (shape->rank != 2) {
        return quant_fail(ctx, QUANT_ESHAPE, "matrix: expected 2 axes, found %d", shape->rank);
    }
    if (scheme->stack != 0) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "stack: expected one matrix at a time, found %d",
                          scheme->stack);
    }
    if (bytes != g->job.layout.bytes) {
        return quant_fail(ctx, bytes < g->job.layout.bytes ? QUANT_ETRUNC : QUANT_ETRAILING,
                          "packed: expected %zu bytes, found %zu", g->job.layout.bytes, bytes);
    }
    g->n = (size_t)shape->dim[0];
    g->k = (size_t)shape->dim[1];
    if ((g->n && !g->y) || (bytes && !packed)) {
        return quant_fail(ctx, QUANT_EINVAL, "packed, y: expected pointers, found NULL");
    }
    g->job.source = packed;
    g->threads = g->job.regions.elements < QUANT_SMALL ? 1 : quant_context_threads(ctx);
    return QUANT_OK;
}

quant_status quant_gemv_finite(quant_context *ctx, const char *name, const float *x, size_t n)
{
    size_t first, count = x ? qk()->nonfinite_f32(x, n, &first) : 0;
    if (n && !x) {
        return quant_fail(ctx, QUANT_EINVAL, "%s: expected a pointer, found NULL", name);
    }
    if (count) {
        return quant_fail(ctx, QUANT_ENONFINITE, "%s: expected finite, found %g at %zu, %zu in all",
                          name, (double)x[first], first, count);
    }
    return QUANT_OK;
}

/* Region of the first weight of row r; axis 0 or one region. */
uint64_t quant_gemv_region(const quant_gemv_job *g, size_t r)
{
    const quant_regions *q = &g->job.regions;
    return g->job.scheme.granularity == QUANT_PER_TENSOR ? 0 : r / q->rows * q->blocks_per_channel;
}

bool quant_gemv_by_rows(const quant_gemv_job *g)
{
    const quant_scheme *s = &g->job.scheme;
    return (s->granularity == QUANT_PER_TENSOR && !s->channel_scale) ||
           g->job.regions.elements == 0 ||
           (g->job.regions.outer == 1 && g->job.regions.channels == g->n);
}

quant_status quant_gemv_run(quant_context *ctx, quant_gemv_job *g, quant_gemv_strip *strip)
{
    if (g->n == 0) {
        return QUANT_OK;
    }
    if (g->k == 0) {
        memset(g->y, 0, g->n * sizeof *g->y);
        return QUANT_OK;
    }
    if (g->scratch_bytes &&
        !(g->scratch = quant_alloc(ctx, g->scratch_bytes, (size_t)g->threads))) {
        return QUANT_ENOMEM;
    }
#pragma omp parallel for num_threads(g->threads) schedule(dynamic) if (g->threads > 1)
    for (int64_t t = 0; t < (int64_t)((g->n + STRIP - 1) / STRIP); t++) {
        const size_t first = (size_t)t * STRIP;
        strip(g, first, min_size(STRIP, g->n - first),
              g->scratch + (size_t)omp_get_thread_num() * g->scratch_bytes);
    }
    quant_release(ctx, g->scratch, g->scratch_bytes, (size_t)g->threads);
    return QUANT_OK;
}

/* ---- 4-bit codes with kernels of their own ------------------------------------------------ */

const uint8_t *quant_gemv_rows4(const quant_gemv_job *g, size_t first)
{
    return g->job.source + g->job.layout.codes.offset + first * (g->k / 2);
}

/* Symmetric blocks of a multiple of 32 with binary16 scales. */
bool quant_gemv_has_blocks4(const quant_gemv_job *g)
{
    const quant_scheme *s = &g->job.scheme;
    return s->family == QUANT_FAMILY_LINEAR && s->granularity == QUANT_PER_BLOCK && s->bits == 4 &&
           !s->asymmetric && s->store == QUANT_STORE_F16 && s->size % 32 == 0 && g->k % 2 == 0 &&
           quant_gemv_by_rows(g);
}

bool quant_gemv_has_tables4(const quant_gemv_job *g)
{
    return g->job.scheme.family == QUANT_FAMILY_CODEBOOK && g->job.scheme.bits == 4 &&
           g->job.scheme.dim == 1 && g->k % 2 == 0 && quant_gemv_by_rows(g);
}

const void *quant_gemv_scales(const quant_gemv_job *g, size_t first)
{
    return g->job.source + g->job.layout.scale.offset + 2 * quant_gemv_region(g, first);
}

static void blocks4_f32(const quant_gemv_job *g, size_t first, size_t rows, uint8_t *scratch)
{
    static const float values[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    (void)scratch;
    const qk_gemv4_f32 q = {quant_gemv_rows4(g, first), values, quant_gemv_scales(g, first),
                            g->job.scheme.size, rows, g->k, g->x, g->y + first};
    qk()->gemv4_f32(&q);
}

size_t quant_gemv_same_table(const quant_gemv_job *g, size_t first, size_t rows)
{
    const quant_scheme *s = &g->job.scheme;
    if (s->channel_scale) {
        return 1;
    }
    const uint64_t group = g->job.regions.rows;
    return s->granularity == QUANT_PER_TENSOR ? rows
                                              : min_size(rows, (size_t)(group - first % group));
}

void quant_gemv_tables4_f32(const quant_gemv_job *g, size_t first, size_t rows,
                            uint8_t *scratch)
{
    static const uint8_t every[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    float table[16];
    (void)scratch;
    for (size_t done = 0, n; done < rows; done += n) {
        n = quant_gemv_same_table(g, first + done, rows - done);
        const quant_run run = {quant_gemv_region(g, first + done), first + done, 16};
        quant_codebook_codec.value(&g->job, run, every, table);
        const qk_gemv4_f32 q = {quant_gemv_rows4(g, first + done), table, NULL, 32, n, g->k, g->x,
                                g->y + first + done};
        qk()->gemv4_f32(&q);
    }
}

/* ---- any scheme: a row is decoded, then multiplied ---------------------------------------- */

static void decoded_f32(const quant_gemv_job *g, size_t first, size_t rows, uint8_t *scratch)
{
    float *row = (float *)(void *)scratch;
    for (size_t r = first; r < first + rows; r++) {
        quant_job_decode(&g->job, 0, (uint64_t)r * g->k, g->k, row);
        g->y[r] = qk()->dot_single(row, g->x, g->k);
    }
}

quant_status quant_gemv_f32(quant_context *ctx, const quant_scheme *scheme,
                            const quant_shape *shape, const void *packed, size_t bytes,
                            const float *x, float *y)
{
    quant_gemv_job g = {.x = x, .y = y};
    QUANT_TRY(quant_gemv_open(ctx, scheme, shape, packed, bytes, &g));
    QUANT_TRY(quant_gemv_finite(ctx, "x", x, g.k));
    quant_gemv_strip *strip = quant_gemv_has_blocks4(&g)   ? blocks4_f32
                              : quant_gemv_has_tables4(&g) ? quant_gemv_tables4_f32
                                                           : decoded_f32;
    g.scratch_bytes = strip == decoded_f32 ? (g.k * sizeof *x + 63) / 64 * 64 : 0;
    return quant_gemv_run(ctx, &g, strip);
}
