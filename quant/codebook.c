/* SPDX-License-Identifier: Apache-2.0 */
/* codebook.c - one table per group of channels; codes name the nearest entry. */
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codebook_table.h"
#include "quant/codec.h"
#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"
#include "quant/store.h"

enum { MAX_ENTRIES = QUANT_CODEBOOK_ENTRIES, ALIGN = 64 };

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t entries_of(const quant_job *job)
{
    return (size_t)1 << job->scheme.bits;
}

/* Scratch of one worker: distinct values and weights, then what collapsing and choosing want. */
static size_t work_bytes(const quant_job *job)
{
    size_t n = (size_t)quant_region_most(&job->regions);
    return 2 * aligned(n * sizeof(double)) + quant_codebook_work_bytes(&job->scheme, n);
}

static void put_table(const quant_job *job, uint64_t r, const quant_codebook *table)
{
    uint8_t *segment = job->packed + job->layout.table.offset;
    uint64_t first = r * entries_of(job);
    if (job->scheme.table_store == QUANT_STORE_I8) {
        memcpy(segment + first, table->code, entries_of(job));
        quant_store_put(job->scheme.store, job->packed + job->layout.table_scale.offset, r,
                        table->scale);
        return;
    }
    for (size_t i = 0; i < entries_of(job); i++) {
        quant_store_put(job->scheme.table_store, segment, first + i, table->entry[i]);
    }
}

static quant_status fit(const quant_job *job, uint64_t r, const float *x, uint64_t n,
                        quant_worker *worker)
{
    size_t column = aligned((size_t)quant_region_most(&job->regions) * sizeof(double));
    double *value = worker->work, *weight = (double *)((char *)worker->work + column);
    void *work = (char *)worker->work + 2 * column;
    quant_points points = {value, weight, 0};
    quant_codebook table;
    const float *importance =
        job->importance
            ? quant_region_values(&job->regions, r, job->importance, worker->importance)
            : NULL;
    points.n = quant_points_collapse_run(x, importance, (size_t)n, work, value, weight);
    QUANT_TRY(quant_codebook_choose(&job->scheme, &points, work, &table));
    put_table(job, r, &table);
    job->used_entries[r] = (uint16_t)table.used;
    worker->raised_scales += table.raised;
    if (worker->sse) {
        worker->sse[r] = table.optimum;
    }
    return QUANT_OK;
}

static void load_table(const quant_job *job, uint64_t r, size_t n, float *table)
{
    const uint8_t *segment = job->source + job->layout.table.offset;
    if (job->scheme.table_store != QUANT_STORE_I8) {
        quant_store_load(job->scheme.table_store, segment, r * entries_of(job), n, table);
        return;
    }
    const int8_t *code = (const int8_t *)segment + r * entries_of(job);
    float scale = quant_store_get(job->scheme.store, job->source + job->layout.table_scale.offset,
                                  r);
    for (size_t i = 0; i < n; i++) {
        table[i] = scale * (float)code[i];
    }
}

static void code(const quant_job *job, uint64_t r, const float *x, uint64_t n, uint8_t *codes,
                 quant_worker *worker)
{
    float table[MAX_ENTRIES], threshold[MAX_ENTRIES];
    size_t used = job->used_entries[r], zero = 0;
    load_table(job, r, used, table);
    quant_codebook_thresholds(table, used, threshold);
    qk()->assign_codebook(x, n, threshold, used - 1, codes);
    if (worker->count) {
        uint64_t before = worker->zero_codes;
        while (zero < used && table[zero] != 0.0f) {
            zero++;
        }
        quant_worker_note(worker, codes, n, (uint8_t)zero);
        worker->zero_codes = zero < used ? worker->zero_codes : before;
    }
}

static void value(const quant_job *job, uint64_t r, const uint8_t *codes, uint64_t n, float *y)
{
    float table[MAX_ENTRIES];
    load_table(job, r, entries_of(job), table);
    qk()->decode_codebook(codes, n, table, entries_of(job), y);
}

const quant_codec quant_codebook_codec = {work_bytes, fit, code, value, false};
