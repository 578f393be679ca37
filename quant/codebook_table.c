/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/codebook_table.h"

#include <math.h>
#include <string.h>

#include "quant/kmeans1d_internal.h"
#include "quant/store.h"

enum { MAX_ENTRIES = QUANT_CODEBOOK_ENTRIES };

/* Candidate entries in ascending order, before rounding; their number, 0 when there are too many
 * distinct values for mode=unique. */
static size_t candidates(const quant_scheme *s, const quant_points *points, void *work,
                         double *entry, double *sse)
{
    size_t k = (size_t)1 << s->bits;
    double lowest = points->value[0], highest = points->value[points->n - 1];
    if (s->mode == QUANT_MODE_KMEANS) {
        size_t first[MAX_ENTRIES];
        quant_clusters c = {0, first, entry, 0.0, 0.0};
        quant_kmeans1d_run(points, k, work, &c);
        *sse = c.sse;
        return c.k;
    }
    if (s->mode == QUANT_MODE_UNIQUE) {
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

/* The sum of two entries far apart does not fit a double; what it lost decides when the double is
 * a float itself. */
void quant_codebook_thresholds(const float *entry, size_t used, float *threshold)
{
    for (size_t j = 0; j + 1 < used; j++) {
        double low = (double)entry[j], high = (double)entry[j + 1], sum = low + high;
        double back = sum - low, lost = (low - (sum - back)) + (high - back);
        double middle = sum * 0.5;
        float t = (float)middle;
        bool above = (double)t > middle || ((double)t == middle && lost < 0.0);
        threshold[j] = above ? nextafterf(t, -INFINITY) : t;
    }
}

void quant_codebook_drop_unused(const quant_points *points, quant_codebook *table)
{
    float threshold[MAX_ENTRIES];
    bool used[MAX_ENTRIES] = {false};
    size_t j = 0, kept = 0;
    quant_codebook_thresholds(table->entry, table->used, threshold);
    for (size_t i = 0; i < points->n; i++) {
        while (j + 1 < table->used && points->value[i] > (double)threshold[j]) {
            j++;
        }
        used[j] = true;
    }
    for (j = 0; j < table->used; j++) {
        if (used[j]) {
            table->code[kept] = table->code[j];
            table->entry[kept++] = table->entry[j];
        }
    }
    for (j = kept; j < table->used; j++) {
        table->code[j] = 0;
        table->entry[j] = 0.0f;
    }
    table->used = kept;
}

double quant_codebook_error(const quant_points *points, const quant_codebook *table)
{
    float threshold[MAX_ENTRIES];
    double sum = 0.0;
    size_t j = 0;
    quant_codebook_thresholds(table->entry, table->used, threshold);
    for (size_t i = 0; i < points->n; i++) {
        while (j + 1 < table->used && points->value[i] > (double)threshold[j]) {
            j++;
        }
        double e = points->value[i] - (double)table->entry[j];
        sum += points->weight[i] * e * e;
    }
    return sum;
}

quant_status quant_codebook_choose(const quant_scheme *s, const quant_points *points, void *work,
                                   quant_codebook *table)
{
    double entry[MAX_ENTRIES];
    memset(table, 0, sizeof *table);
    size_t found = candidates(s, points, work, entry, &table->optimum);
    if (found == 0) {
        return QUANT_ERANGE;
    }
    if (s->table_store == QUANT_STORE_I8) {
        quant_status status = quant_int8_plain(s->store, points, entry, found, table);
        if (status == QUANT_OK && s->mode == QUANT_MODE_KMEANS) {
            quant_int8_tune(s->store, points, (size_t)1 << s->bits, work, table);
        }
        return status;
    }
    table->used = round_entries(s->table_store, entry, found, table->entry);
    if (table->used == 0) {
        return QUANT_ESCALE;
    }
    quant_codebook_drop_unused(points, table);
    return QUANT_OK;
}
