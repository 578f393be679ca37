/* SPDX-License-Identifier: Apache-2.0 */
/* codebook.c - one table per group of channels; codes name the nearest entry. */
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codebook_table.h"
#include "quant/codec.h"
#include "quant/internal.h"
#include "quant/store.h"

enum { MAX_ENTRIES = QUANT_CODEBOOK_ENTRIES, STRIP = 1024 };

static size_t entries_of(const quant_job *job)
{
    return (size_t)1 << job->scheme.bits;
}

static bool is_narrow(const quant_job *job)
{
    return !job->importance &&
           quant_codebook_is_narrow(&job->scheme, (size_t)quant_region_most(&job->regions));
}

static size_t work_bytes(const quant_job *job)
{
    size_t most = (size_t)quant_region_most(&job->regions);
    return is_narrow(job) ? quant_codebook_narrow_bytes(&job->scheme, most)
                          : quant_codebook_work_bytes(&job->scheme, most);
}

void quant_job_put_scales(const quant_job *job, uint64_t r, const quant_group *group)
{
    uint64_t channels, first = quant_region_channel(&job->regions, r, &channels);
    for (size_t c = 0; job->scheme.channel_scale && c < channels; c++) {
        quant_store_put(job->scheme.store, job->packed + job->layout.scale.offset, first + c,
                        group->scale[c]);
    }
}

static size_t table_parts(const quant_job *job)
{
    return (size_t)job->scheme.dim << job->scheme.bits;
}

void quant_job_put_table(const quant_job *job, uint64_t r, const float *entry, const int8_t *code,
                         float scale)
{
    uint8_t *segment = job->packed + job->layout.table.offset;
    uint64_t first = r * table_parts(job);
    if (job->scheme.table_store == QUANT_STORE_I8) {
        memcpy(segment + first, code, table_parts(job));
        quant_store_put(job->scheme.store, job->packed + job->layout.table_scale.offset, r, scale);
        return;
    }
    for (size_t i = 0; i < table_parts(job); i++) {
        quant_store_put(job->scheme.table_store, segment, first + i, entry[i]);
    }
}

void quant_job_load_table(const quant_job *job, uint64_t r, size_t n, float *table)
{
    const uint8_t *segment = job->source + job->layout.table.offset;
    uint64_t first = r * table_parts(job);
    if (job->scheme.table_store != QUANT_STORE_I8) {
        for (size_t i = 0; i < n; i += MAX_ENTRIES) {
            size_t take = n - i < MAX_ENTRIES ? n - i : MAX_ENTRIES;
            quant_store_load(job->scheme.table_store, segment, first + i, take, table + i);
        }
        return;
    }
    float scale = quant_store_get(job->scheme.store, job->source + job->layout.table_scale.offset,
                                  r);
    for (size_t i = 0; i < n; i++) {
        table[i] = scale * (float)((const int8_t *)segment)[first + i];
    }
}

/* In the scratch of any group, had for this one alone; a context serves one thread at a time. */
static quant_status fit_in_more(const quant_job *job, uint64_t r, const float *x,
                                quant_group *group, quant_codebook *table)
{
    size_t most = (size_t)quant_region_most(&job->regions);
    size_t bytes = quant_codebook_work_bytes(&job->scheme, most);
    quant_status status = QUANT_ENOMEM;
#pragma omp critical(quant_codebook_more)
    {
        void *work = bytes ? quant_alloc(job->ctx, bytes, 1) : NULL;
        if (work) {
            status = quant_codebook_fit(&job->scheme, &job->regions, r, x, NULL, work, group,
                                        table);
        }
        quant_release(job->ctx, work, bytes, 1);
    }
    return status;
}

static quant_status fit_table(const quant_job *job, uint64_t r, const float *x,
                              quant_worker *worker, quant_group *group, quant_codebook *table)
{
    if (!is_narrow(job)) {
        const float *importance =
            job->importance
                ? quant_region_values(&job->regions, r, job->importance, worker->importance)
                : NULL;
        return quant_codebook_fit(&job->scheme, &job->regions, r, x, importance, worker->work,
                                  group, table);
    }
    *group = (quant_group){.unit = 1.0};
    quant_status status =
        quant_codebook_fit_narrow(&job->scheme, x, (size_t)quant_region_elements(&job->regions, r),
                                  worker->work, table);
    return status == QUANT_ENOMEM ? fit_in_more(job, r, x, group, table) : status;
}

static quant_status fit(const quant_job *job, uint64_t r, const float *x, uint64_t n,
                        quant_worker *worker)
{
    quant_group group;
    quant_codebook table;
    (void)n;
    QUANT_TRY(fit_table(job, r, x, worker, &group, &table));
    quant_job_put_scales(job, r, &group);
    quant_job_put_table(job, r, table.entry, table.code, table.scale);
    job->used_entries[r] = (uint16_t)table.used;
    worker->raised_scales += table.raised + group.raised;
    if (worker->sse) {
        worker->sse[r] = table.optimum * group.unit;
    }
    return QUANT_OK;
}

float quant_job_channel_scale(const quant_job *job, uint64_t channel)
{
    const uint8_t *scales = job->source + job->layout.scale.offset;
    return job->scheme.channel_scale ? quant_store_get(job->scheme.store, scales, channel) : 1.0f;
}

/* Codes of n weights of one channel: of what they are over its scale. */
static void assign(const float *x, uint64_t n, float scale, const float *threshold, size_t used,
                   uint8_t *codes)
{
    float strip[STRIP];
    if (scale == 1.0f) {
        qk()->assign_codebook(x, n, threshold, used - 1, codes);
        return;
    }
    for (uint64_t i = 0; i < n; i += STRIP) {
        uint64_t take = n - i < STRIP ? n - i : STRIP;
        for (uint64_t k = 0; k < take; k++) {
            strip[k] = x[i + k] / scale;
        }
        qk()->assign_codebook(strip, take, threshold, used - 1, codes + i);
    }
}

/* Count codes whose entry is zero; all of a channel of zeros decode to it. */
static void note(const float *table, size_t used, float scale, const uint8_t *codes, uint64_t n,
                 quant_worker *worker)
{
    uint64_t before = worker->zero_codes;
    size_t zero = 0;
    while (zero < used && table[zero] != 0.0f) {
        zero++;
    }
    quant_worker_note(worker, codes, n, (uint8_t)zero);
    worker->zero_codes = scale == 0.0f ? before + n : zero < used ? worker->zero_codes : before;
}

static void code(const quant_job *job, quant_run run, const float *x, uint8_t *codes,
                 quant_worker *worker)
{
    float table[MAX_ENTRIES], threshold[MAX_ENTRIES];
    float scale = quant_job_channel_scale(job, run.channel);
    size_t used = job->used_entries[run.region];
    quant_job_load_table(job, run.region, used, table);
    quant_codebook_thresholds(table, used, threshold);
    if (scale == 0.0f) {
        memset(codes, 0, run.length);
    } else {
        assign(x, run.length, scale, threshold, used, codes);
    }
    if (worker->count) {
        note(table, used, scale, codes, run.length, worker);
    }
}

void quant_job_apply_scale(const quant_job *job, quant_run run, float *y)
{
    float scale = quant_job_channel_scale(job, run.channel);
    if (scale == 0.0f) {
        memset(y, 0, run.length * sizeof *y);
    }
    for (uint64_t i = 0; scale != 0.0f && scale != 1.0f && i < run.length; i++) {
        y[i] *= scale;
    }
}

static void value(const quant_job *job, quant_run run, const uint8_t *codes, float *y)
{
    float table[MAX_ENTRIES];
    quant_job_load_table(job, run.region, entries_of(job), table);
    /* What is scaled is read again and stays in the caches. */
    bool past = job->straight && quant_job_channel_scale(job, run.channel) == 1.0f;
    qk_decode_codebook_fn *decode = past ? qk()->stream_codebook : qk()->decode_codebook;
    decode(codes, run.length, table, entries_of(job), y);
    quant_job_apply_scale(job, run, y);
}

static uint64_t packed(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                       const uint8_t *stream, float *y)
{
    float table[MAX_ENTRIES];
    const quant_run run = quant_job_run(job, m, p, n);
    if ((run.length % 16 != 0 && run.length != n) ||
        quant_job_channel_scale(job, run.channel) != 1.0f) {
        return 0;
    }
    quant_job_load_table(job, run.region, entries_of(job), table);
    if (job->scheme.bits == 8) {
        qk()->stream_codebook(stream, run.length, table, entries_of(job), y);
    } else {
        qk()->stream_looked_up(stream, run.length, (unsigned)job->scheme.bits, table, y);
    }
    return run.length;
}

const quant_codec quant_codebook_codec = {work_bytes, fit, code, value, NULL, NULL, packed, false};
