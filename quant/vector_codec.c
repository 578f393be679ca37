/* SPDX-License-Identifier: Apache-2.0 */
/* vector_codec.c - codes of vectors: one for dim weights, channel by channel. */
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"
#include "quant/internal.h"
#include "quant/vector_table.h"

enum { CHUNK = 1024 }; /* codes at once; in decode a multiple of 8 */

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
    const quant_vector_region q = {&job->scheme, &job->regions, r, x, importance,
                                   job->fit_threads};
    (void)n;
    QUANT_TRY(quant_vector_fit(&q, worker->work, &group, t));
    quant_job_put_scales(job, r, &group);
    quant_job_put_table(job, r, t->entry, t->code, t->scale);
    job->used_entries[r] = (uint16_t)t->used;
    worker->raised_scales += t->raised + group.raised;
    return QUANT_OK;
}

/* ---- encode ---------------------------------------------------------------------------------- */

/* Vectors of one region on their way to codes. */
typedef struct batch {
    float x[CHUNK * QUANT_VECTOR_DIM], w[CHUNK * QUANT_VECTOR_DIM];
    uint8_t codes[CHUNK];
} batch;

/* n vectors of channel c of matrix m from the v-th on, over the channel's scale, padded with what
 * counts for nothing; scale > 0. */
static void gather_run(const quant_job *job, uint64_t m, uint64_t c, uint64_t v, uint64_t n,
                       float *x, float *w)
{
    const quant_regions *g = &job->regions;
    const uint64_t dim = (uint64_t)job->scheme.dim;
    const float scale = quant_job_channel_scale(job, m * g->channels + c);
    for (uint64_t k = 0; k < n * dim; k++) {
        const uint64_t f = v * dim + k;
        const bool there = f < g->length;
        const uint64_t e = m * g->matrix + (there ? quant_regions_element(g, c, f) : 0);
        x[k] = there ? job->w[e] / scale : 0.0f;
        w[k] = !there ? 0.0f : job->importance ? job->importance[e] : 1.0f;
    }
}

/* Codes of n vectors of matrix m from code q on, all of one region, to b->codes. */
static void code_batch(const quant_job *job, const qk_nearest *table, uint64_t m, uint64_t q,
                       uint64_t n, batch *b)
{
    const quant_regions *g = &job->regions;
    const uint64_t dim = table->dim, vectors = (g->length + dim - 1) / dim;
    qk_nearest a = *table;
    if (g->contiguous && !job->importance && !job->scheme.channel_scale && g->length % dim == 0) {
        a.x = job->w + m * g->matrix + q * dim;
        qk()->nearest_vectors(&a, n, b->codes, NULL);
        return;
    }
    for (uint64_t i = 0, take; i < n; i += take) {
        const uint64_t c = (q + i) / vectors, v = (q + i) % vectors;
        take = vectors - v < n - i ? vectors - v : n - i;
        if (quant_job_channel_scale(job, m * g->channels + c) > 0.0f) {
            gather_run(job, m, c, v, take, b->x + i * dim, b->w + i * dim);
        } else { /* zeros, whose code is 0 */
            for (uint64_t k = 0; k < take; k++) {
                memcpy(b->x + (i + k) * dim, a.entry, dim * sizeof *b->x);
            }
            memset(b->w + i * dim, 0, take * dim * sizeof *b->w);
        }
    }
    a.x = b->x;
    a.w = b->w;
    qk()->nearest_vectors(&a, n, b->codes, NULL);
}

/* Count the codes, and the weights of the vectors that decode to zero. */
static void note_batch(const quant_job *job, const qk_nearest *table, uint64_t m, uint64_t q,
                       uint64_t n, const batch *b, quant_worker *worker)
{
    const quant_regions *g = &job->regions;
    const uint64_t dim = table->dim, vectors = (g->length + dim - 1) / dim;
    for (uint64_t k = 0; worker->count && k < n; k++) {
        const uint64_t c = (q + k) / vectors, f = (q + k) % vectors * dim;
        const bool nothing = quant_job_channel_scale(job, m * g->channels + c) == 0.0f;
        worker->seen[b->codes[k]] = 1;
        for (uint64_t d = 0; d < dim && f + d < g->length; d++) {
            worker->zero_codes += nothing || table->entry[b->codes[k] * dim + d] == 0.0f;
        }
    }
}

void quant_vector_code(const quant_job *job, uint64_t m, uint64_t q, uint64_t n,
                       quant_worker *worker)
{
    const quant_regions *g = &job->regions;
    const uint64_t dim = (uint64_t)job->scheme.dim, vectors = (g->length + dim - 1) / dim;
    const unsigned bits = (unsigned)job->scheme.bits;
    float entry[QUANT_VECTOR_PARTS];
    uint64_t loaded = UINT64_MAX;
    batch b;
    uint8_t codes[QUANT_PIECE];
    for (uint64_t i = 0, take; i < n; i += take) {
        const uint64_t group = (q + i) / vectors / g->rows, r = m * g->per_matrix + group;
        const uint64_t left = (group + 1) * g->rows * vectors - (q + i);
        const qk_nearest a = {dim, job->used_entries[r], entry, NULL, NULL};
        take = n - i < CHUNK ? n - i : CHUNK;
        take = take < left ? take : left;
        if (r != loaded) {
            quant_job_load_table(job, r, a.entries * dim, entry);
            loaded = r;
        }
        code_batch(job, &a, m, q + i, take, &b);
        memcpy(codes + i, b.codes, take);
        note_batch(job, &a, m, q + i, take, &b, worker);
    }
    qk()->pack_codes(codes, n, bits,
                     job->packed + job->layout.codes.offset + m * quant_job_matrix_bytes(job) +
                         q / 8 * bits);
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

const quant_codec quant_vector_codec = {work_bytes, fit, NULL, NULL, NULL, NULL, NULL, false};
