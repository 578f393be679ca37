/* SPDX-License-Identifier: Apache-2.0 */
/* vector_codec.c - codes of vectors: one for dim weights, channel by channel. */
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"
#include "quant/internal.h"
#include "quant/vector_table.h"

enum { CHUNK = 1024 }; /* codes at once; a multiple of 8 */

static size_t work_bytes(const quant_job *job)
{
    size_t bytes = quant_vector_work_bytes(&job->scheme, &job->regions);
    return bytes == 0 ? 0 : bytes + sizeof(quant_vector_table);
}

/* Tables of a worker follow its scratch. */
static quant_vector_table *table_of(const quant_job *job, const quant_worker *worker)
{
    return (quant_vector_table *)(void *)((char *)worker->work +
                                          quant_vector_work_bytes(&job->scheme, &job->regions));
}

static quant_status fit(const quant_job *job, uint64_t r, const float *x, uint64_t n,
                        quant_worker *worker)
{
    quant_group group;
    quant_vector_table *t = table_of(job, worker);
    const float *importance =
        job->importance
            ? quant_region_values(&job->regions, r, job->importance, worker->importance)
            : NULL;
    (void)n;
    QUANT_TRY(quant_vector_fit(&job->scheme, &job->regions, r, x, importance, worker->work, &group,
                               t));
    quant_job_put_scales(job, r, &group);
    float entry[QUANT_VECTOR_PARTS];
    for (size_t k = 0; k < QUANT_VECTOR_PARTS; k++) {
        entry[k] = (float)t->entry[k];
    }
    quant_job_put_table(job, r, entry, t->code, t->scale);
    job->used_entries[r] = (uint16_t)t->used;
    worker->raised_scales += t->raised + group.raised;
    return QUANT_OK;
}

/* ---- encode ---------------------------------------------------------------------------------- */

/* Count the code, and the weights of the vector that decode to zero. */
static void note(const quant_vector_table *t, size_t code, uint64_t n, float scale,
                 quant_worker *worker)
{
    worker->used[code >> 6] |= UINT64_C(1) << (code & 63);
    for (uint64_t d = 0; d < n; d++) {
        worker->zero_codes += scale == 0.0f || t->entry[code * t->dim + d] == 0.0;
    }
}

/* Code of the vector of a channel of matrix m that begins at element f. */
static uint8_t code_one(const quant_job *job, const quant_vector_table *t, uint64_t m, uint64_t c,
                        uint64_t f, quant_worker *worker)
{
    const quant_regions *g = &job->regions;
    uint64_t left = g->length - f, n = left < t->dim ? left : t->dim;
    float x[QUANT_VECTOR_DIM] = {0}, w[QUANT_VECTOR_DIM] = {0};
    float scale = quant_job_channel_scale(job, m * g->channels + c);
    double error;
    for (uint64_t d = 0; d < n; d++) {
        uint64_t e = m * g->matrix + quant_regions_element(g, c, f + d);
        x[d] = scale == 0.0f ? 0.0f : job->w[e] / scale;
        w[d] = job->importance ? job->importance[e] : 1.0f;
    }
    size_t code = scale == 0.0f ? 0 : quant_vector_nearest(t, x, w, &error);
    if (worker->count) {
        note(t, code, n, scale, worker);
    }
    return (uint8_t)code;
}

static void load_sorted(const quant_job *job, uint64_t r, quant_vector_table *t)
{
    float table[QUANT_VECTOR_PARTS];
    t->dim = (size_t)job->scheme.dim;
    t->used = job->used_entries[r];
    quant_job_load_table(job, r, t->used * t->dim, table);
    for (size_t k = 0; k < t->used * t->dim; k++) {
        t->entry[k] = (double)table[k];
    }
    quant_vector_prepare(t);
}

void quant_vector_code(const quant_job *job, uint64_t m, uint64_t q, uint64_t n,
                       quant_worker *worker)
{
    const quant_regions *g = &job->regions;
    uint64_t dim = (uint64_t)job->scheme.dim, vectors = (g->length + dim - 1) / dim;
    unsigned bits = (unsigned)job->scheme.bits;
    quant_vector_table *t = table_of(job, worker);
    uint64_t loaded = UINT64_MAX;
    uint8_t codes[CHUNK];
    uint8_t *stream = job->packed + job->layout.codes.offset + m * quant_job_matrix_bytes(job);
    for (uint64_t i = 0; i < n; i += CHUNK) {
        uint64_t take = n - i < CHUNK ? n - i : CHUNK;
        for (uint64_t k = 0; k < take; k++) {
            uint64_t c = (q + i + k) / vectors, v = (q + i + k) % vectors;
            uint64_t r = m * g->per_matrix + c / g->rows;
            if (r != loaded) {
                load_sorted(job, r, t);
                loaded = r;
            }
            codes[k] = code_one(job, t, m, c, v * dim, worker);
        }
        qk()->pack_codes(codes, take, bits, stream + (q + i) / 8 * bits);
    }
}

/* ---- decode ---------------------------------------------------------------------------------- */

/* n elements of one channel from element f on; q is the code of the channel's first vector. */
static void decode_run(const quant_job *job, const uint8_t *stream, uint64_t q, uint64_t f,
                       uint64_t n, const float *table, float *y)
{
    uint64_t dim = (uint64_t)job->scheme.dim, codes_left;
    unsigned bits = (unsigned)job->scheme.bits;
    uint8_t codes[CHUNK];
    for (uint64_t i = 0; i < n;) {
        uint64_t at = q + (f + i) / dim, base = at / 8 * 8, last = q + (f + n - 1) / dim;
        codes_left = last + 1 - base < CHUNK ? last + 1 - base : CHUNK;
        qk()->unpack_unsigned(stream + base / 8 * bits, codes_left, bits, codes);
        uint64_t end = (base + codes_left - q) * dim; /* first element behind these codes */
        for (; i < n && f + i < end; i++) {
            uint64_t code = codes[q + (f + i) / dim - base];
            y[i] = table[code * dim + (f + i) % dim];
        }
    }
}

void quant_vector_decode(const quant_job *job, uint64_t m, uint64_t p, uint64_t n, float *y)
{
    const quant_regions *g = &job->regions;
    uint64_t dim = (uint64_t)job->scheme.dim, vectors = (g->length + dim - 1) / dim;
    const uint8_t *stream =
        job->source + job->layout.codes.offset + m * quant_job_matrix_bytes(job);
    float table[QUANT_VECTOR_PARTS];
    uint64_t loaded = UINT64_MAX;
    for (uint64_t i = 0; i < n;) {
        quant_run run = quant_job_run(job, m, p + i, n - i);
        uint64_t c = run.channel - m * g->channels, k = (p + i) / g->inner;
        uint64_t f = k / g->channels * g->inner + (p + i) % g->inner;
        if (run.region != loaded) {
            quant_job_load_table(job, run.region, (size_t)dim << job->scheme.bits, table);
            loaded = run.region;
        }
        decode_run(job, stream, c * vectors, f, run.length, table, y + i);
        quant_job_apply_scale(job, run, y + i);
        i += run.length;
    }
}

const quant_codec quant_vector_codec = {work_bytes, fit, NULL, NULL, NULL, NULL, false};
