/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/activation.h"

#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"
#include "quant/internal.h"
#include "quant/linear_range.h"
#include "quant/store.h"

quant_activation_grid quant_activation_grid_of(bool asymmetric, float lowest, float highest)
{
    const quant_scheme s = {.family = QUANT_FAMILY_LINEAR, .bits = 8, .asymmetric = asymmetric,
                            .percentile = 100, .store = QUANT_STORE_F32};
    float most = -lowest > highest ? -lowest : highest;
    quant_interval v = {lowest < 0 ? lowest : 0, highest > 0 ? highest : 0};
    if (!asymmetric) {
        v = (quant_interval){most > 0 ? -most : 0, most > 0 ? most : 0};
    }
    qk_linear p = quant_linear_from_interval(&s, v).p; /* f32 holds every scale */
    return (quant_activation_grid){p.scale, p.zero, p.lowest, p.highest};
}

static qk_linear linear_of(const quant_activation_grid *g)
{
    return (qk_linear){g->scale, g->zero, g->lowest, g->highest};
}

/* A row below this many values is not worth a thread. */
enum { WORTH_A_TEAM = 1 << 15 };

quant_status quant_activation_encode(quant_context *ctx, const quant_activation *how,
                                     const quant_activation_grid *grid, const float *x, size_t rows,
                                     size_t cols, quant_activation_codes *codes)
{
    size_t n, first = 0;
    if (!how || !codes || __builtin_mul_overflow(rows, cols, &n) ||
        (n > 0 && (!x || !codes->code || !codes->scale || !codes->zero))) {
        return quant_fail(ctx, QUANT_EINVAL, "activations: expected values and buffers");
    }
    size_t bad = qk()->nonfinite_f32(x, n, &first);
    if (bad > 0) {
        return quant_fail(ctx, QUANT_ENONFINITE, "activations: expected finite values, found %zu "
                          "NaN or infinite, the first at row %zu, channel %zu", bad, first / cols,
                          first % cols);
    }
    uint64_t saturated = 0;
    int threads = n < WORTH_A_TEAM ? 1 : quant_context_threads(ctx);
#pragma omp parallel for num_threads(threads) reduction(+ : saturated) if (threads > 1)
    for (int64_t i = 0; i < (int64_t)rows; i++) {
        quant_activation_grid g = {0, 0, 0, 0};
        float lowest, highest;
        if (grid) {
            g = *grid;
        } else {
            qk()->minmax_f32(x + (size_t)i * cols, cols, &lowest, &highest);
            g = quant_activation_grid_of(how->asymmetric, lowest, highest);
        }
        saturated += qk()->encode_linear(x + (size_t)i * cols, cols, linear_of(&g),
                                         (uint8_t *)codes->code + (size_t)i * cols);
        codes->scale[i] = g.scale;
        codes->zero[i] = (int8_t)g.zero;
    }
    codes->saturated = saturated;
    return QUANT_OK;
}

void quant_activation_decode(const quant_activation_codes *codes, size_t rows, size_t cols,
                             float *x)
{
    for (size_t i = 0; i < rows; i++) {
        const qk_linear p = {codes->scale[i], codes->zero[i], -128, 127};
        qk()->decode_linear((const uint8_t *)codes->code + i * cols, cols, p, x + i * cols);
    }
}

/* ---- weights -------------------------------------------------------------------------------- */

/* Elements [p, p + n) of matrix m as bytes; p is a multiple of 8. */
static void unpack(const quant_job *job, uint64_t m, uint64_t p, size_t n, uint8_t *codes)
{
    unsigned bits = (unsigned)job->scheme.bits;
    const uint8_t *stream = job->source + job->layout.codes.offset +
                            m * quant_job_matrix_bytes(job) + p / 8 * bits;
    if (bits == 8) {
        memcpy(codes, stream, n);
    } else if (job->scheme.family == QUANT_FAMILY_LINEAR) {
        qk()->unpack_signed(stream, n, bits, codes);
    } else {
        qk()->unpack_unsigned(stream, n, bits, codes);
    }
}

/* The region that row r of a matrix belongs to. */
static uint64_t region_of(const quant_job *job, uint64_t m, uint64_t r)
{
    uint64_t within = job->scheme.granularity == QUANT_PER_TENSOR ? 0 : r / job->regions.rows;
    return m * job->regions.per_matrix + within;
}

static void fill(const quant_job *job, uint64_t m, size_t rows, size_t cols,
                 const quant_integer_weights *w)
{
    bool linear = job->scheme.family == QUANT_FAMILY_LINEAR;
    const quant_segment *scales = linear ? &job->layout.scale : &job->layout.table_scale;
    const int8_t *tables = (const int8_t *)job->source + job->layout.table.offset;
    unpack(job, m, 0, rows * cols, (uint8_t *)w->code);
    for (size_t r = 0; r < rows; r++) {
        uint64_t region = region_of(job, m, r);
        w->scale[r] = quant_store_get(job->scheme.store, job->source + scales->offset, region);
        const int8_t *table = tables + (region << job->scheme.bits);
        for (size_t c = 0; c < cols && !linear; c++) {
            w->code[r * cols + c] = table[(uint8_t)w->code[r * cols + c]];
        }
    }
}

quant_status quant_weights_s8(quant_context *ctx, const quant_scheme *scheme,
                              const quant_shape *shape, const void *packed, size_t bytes,
                              uint64_t matrix, const quant_integer_weights *weights)
{
    quant_job job;
    QUANT_TRY(quant_job_make(ctx, scheme, shape, &job));
    bool integers = scheme->family == QUANT_FAMILY_LINEAR
                        ? !scheme->asymmetric && job.regions.blocks_per_channel <= 1
                        : scheme->family == QUANT_FAMILY_CODEBOOK &&
                              scheme->table_store == QUANT_STORE_I8;
    bool axis = scheme->granularity == QUANT_PER_TENSOR || scheme->axis == 0 ||
                scheme->axis == scheme->stack - shape->rank;
    if (!integers || !axis) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "weights: expected integers with a scale for "
                          "each output channel, found a scheme of others");
    }
    if (bytes != job.layout.bytes || !weights || (job.regions.elements > 0 && !packed)) {
        return quant_fail(ctx, QUANT_ESIZE, "packed: expected %zu bytes, found %zu",
                          job.layout.bytes, bytes);
    }
    if (matrix >= job.regions.matrices) {
        return quant_fail(ctx, QUANT_ERANGE, "matrix: expected below %llu, found %llu",
                          (unsigned long long)job.regions.matrices, (unsigned long long)matrix);
    }
    job.source = packed;
    size_t rows = scheme->stack < shape->rank ? (size_t)shape->dim[scheme->stack] : 1;
    fill(&job, matrix, rows, (size_t)job.regions.matrix / rows, weights);
    return QUANT_OK;
}
