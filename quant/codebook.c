/* SPDX-License-Identifier: Apache-2.0 */
/* codebook.c - one table per group of channels; codes name the nearest entry.
 *
 * Canonical form: entries are rounded to their storage type, codes go to the nearest stored
 * entry (ties to the lower index), entries that no weight uses are dropped, the rest stands
 * ascending and the table ends with zeros that no code names. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"
#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"
#include "quant/store.h"

enum { MAX_ENTRIES = 256, ALIGN = 64 };

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t entries_of(const quant_job *job)
{
    return (size_t)1 << job->scheme.bits;
}

/* Scratch of one worker: distinct values and weights, then whichever of the two algorithms runs. */
static size_t work_bytes(const quant_job *job)
{
    size_t n = (size_t)quant_region_most(&job->regions);
    size_t collapse = quant_points_work_bytes(n);
    size_t cluster = quant_kmeans1d_work_bytes(n, entries_of(job));
    return 2 * aligned(n * sizeof(double)) + (collapse > cluster ? collapse : cluster);
}

/* Candidate entries in ascending order, before rounding; their number, 0 when there are too many
 * distinct values for mode=unique. */
static size_t candidates(const quant_job *job, const quant_points *points, void *work,
                         double *entry, double *sse)
{
    size_t k = entries_of(job);
    double lowest = points->value[0], highest = points->value[points->n - 1];
    if (job->scheme.mode == QUANT_MODE_KMEANS) {
        size_t first[MAX_ENTRIES];
        quant_clusters c = {0, first, entry, 0.0, 0.0};
        quant_kmeans1d_run(points, k, work, &c);
        *sse = c.sse;
        return c.k;
    }
    if (job->scheme.mode == QUANT_MODE_UNIQUE) {
        if (points->n > k) {
            return 0;
        }
        memcpy(entry, points->value, points->n * sizeof *entry);
        return points->n;
    }
    for (size_t i = 0; i < k; i++) {
        double step = (highest - lowest) / (double)(k - 1);
        entry[i] = i + 1 < k ? lowest + (double)i * step : highest;
    }
    return points->n > 1 ? k : 1;
}

/* Round to the storage type and drop repetitions; 0 when an entry overflows. */
static size_t round_entries(quant_store store, const double *entry, size_t n, float *table)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        float v = quant_store_round(store, (float)entry[i]) + 0.0f; /* -0 becomes +0 */
        if (!isfinite(v)) {
            return 0;
        }
        if (kept == 0 || table[kept - 1] != v) {
            table[kept++] = v;
        }
    }
    return kept;
}

/* threshold[j]: the largest float that is nearer to entry j than to entry j + 1, or as near. The
 * sum of two entries far apart does not fit a double; what it lost decides when the double is a
 * float itself. */
static void thresholds_of(const float *table, size_t n, float *threshold)
{
    for (size_t j = 0; j + 1 < n; j++) {
        double low = (double)table[j], high = (double)table[j + 1], sum = low + high;
        double back = sum - low, lost = (low - (sum - back)) + (high - back);
        double middle = sum * 0.5;
        float t = (float)middle;
        bool above = (double)t > middle || ((double)t == middle && lost < 0.0);
        threshold[j] = above ? nextafterf(t, -INFINITY) : t;
    }
}

/* Drop entries that are nearest to no point; no other assignment changes by that. */
static size_t drop_unused(const quant_points *points, float *table, size_t n)
{
    float threshold[MAX_ENTRIES];
    bool used[MAX_ENTRIES] = {false};
    size_t j = 0, kept = 0;
    thresholds_of(table, n, threshold);
    for (size_t i = 0; i < points->n; i++) {
        while (j + 1 < n && points->value[i] > (double)threshold[j]) {
            j++;
        }
        used[j] = true;
    }
    for (j = 0; j < n; j++) {
        if (used[j]) {
            table[kept++] = table[j];
        }
    }
    return kept;
}

static quant_status fit(const quant_job *job, uint64_t r, const float *x, uint64_t n,
                        quant_worker *worker)
{
    size_t column = aligned((size_t)quant_region_most(&job->regions) * sizeof(double));
    double *value = worker->work, *weight = (double *)((char *)worker->work + column);
    void *work = (char *)worker->work + 2 * column;
    double entry[MAX_ENTRIES], sse = 0.0;
    float table[MAX_ENTRIES] = {0};
    quant_points points = {value, weight, 0};
    const float *importance =
        job->importance
            ? quant_region_values(&job->regions, r, job->importance, worker->importance)
            : NULL;
    points.n = quant_points_collapse_run(x, importance, (size_t)n, work, value, weight);
    size_t found = candidates(job, &points, work, entry, &sse);
    if (found == 0) {
        return QUANT_ERANGE;
    }
    size_t used = round_entries(job->scheme.table_store, entry, found, table);
    if (used == 0) {
        return QUANT_ESCALE;
    }
    used = drop_unused(&points, table, used);
    uint8_t *segment = job->packed + job->layout.table.offset;
    for (size_t i = 0; i < entries_of(job); i++) {
        quant_store_put(job->scheme.table_store, segment, r * entries_of(job) + i,
                        i < used ? table[i] : 0.0f);
    }
    job->used_entries[r] = (uint16_t)used;
    if (worker->sse) {
        worker->sse[r] = sse;
    }
    return QUANT_OK;
}

static void load_table(const quant_job *job, uint64_t r, size_t n, float *table)
{
    quant_store_load(job->scheme.table_store, job->source + job->layout.table.offset,
                     r * entries_of(job), n, table);
}

static void code(const quant_job *job, uint64_t r, const float *x, uint64_t n, uint8_t *codes,
                 quant_worker *worker)
{
    float table[MAX_ENTRIES], threshold[MAX_ENTRIES];
    size_t used = job->used_entries[r], zero = 0;
    load_table(job, r, used, table);
    thresholds_of(table, used, threshold);
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
