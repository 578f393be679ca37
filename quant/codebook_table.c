/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/codebook_table.h"

#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"
#include "quant/store.h"

enum { MAX_ENTRIES = QUANT_CODEBOOK_ENTRIES };

/* The centroids of k clusters, their number and SSE; QUANT_ENOMEM: work is too small to decide. */
static quant_status optimum(const quant_point_list *points, size_t *k, void *work, double *entry,
                            double *sse)
{
    size_t first[MAX_ENTRIES], nodes = quant_kmeans1d_level_nodes(points->n, *k);
    quant_clusters c = {0, first, entry, 0.0, 0.0};
    if (points->wide.value) {
        quant_kmeans1d_run(&points->wide, *k, work, &c);
    } else if (!quant_kmeans1d_levels(points, *k, nodes, work, &c)) {
        return QUANT_ENOMEM;
    }
    *k = c.k;
    *sse = c.sse;
    return QUANT_OK;
}

/* Up to k candidate entries in ascending order, before rounding. */
static quant_status candidates(quant_codebook_mode mode, const quant_point_list *points, void *work,
                               double *entry, size_t *k, double *sse)
{
    size_t n = points->n;
    double lowest = quant_point_value(points, 0), highest = quant_point_value(points, n - 1);
    double step = (highest - lowest) / (double)(*k - 1);
    if (mode == QUANT_MODE_KMEANS) {
        return optimum(points, k, work, entry, sse);
    }
    if (mode == QUANT_MODE_UNIQUE) {
        if (n > *k) {
            return QUANT_ERANGE;
        }
        for (size_t i = 0; i < n; i++) {
            entry[i] = quant_point_value(points, i);
        }
        *k = n;
        return QUANT_OK;
    }
    for (size_t i = 0; i < *k; i++) {
        entry[i] = i + 1 < *k ? lowest + (double)i * step : highest;
    }
    *k = n > 1 ? *k : 1;
    return QUANT_OK;
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

/* How many values are at most x. */
static size_t up_to(const quant_point_list *points, double x)
{
    size_t low = 0, high = points->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (quant_point_value(points, middle) <= x) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void quant_codebook_drop_unused(const quant_point_list *points, quant_codebook *table)
{
    float threshold[MAX_ENTRIES];
    size_t kept = 0, before = 0;
    quant_codebook_thresholds(table->entry, table->used, threshold);
    for (size_t j = 0; j < table->used; j++) {
        bool last = j + 1 == table->used;
        size_t end = last ? points->n : up_to(points, (double)threshold[j]);
        if (end > before) {
            table->code[kept] = table->code[j];
            table->entry[kept++] = table->entry[j];
        }
        before = end;
    }
    for (size_t j = kept; j < table->used; j++) {
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

quant_status quant_codebook_choose(const quant_scheme *s, const quant_point_list *points,
                                   void *work, quant_codebook *table)
{
    double entry[MAX_ENTRIES];
    size_t k = (size_t)1 << s->bits, found = k;
    memset(table, 0, sizeof *table);
    QUANT_TRY(candidates(s->mode, points, work, entry, &found, &table->optimum));
    if (s->table_store == QUANT_STORE_I8) {
        QUANT_TRY(quant_int8_plain(s->store, &points->wide, entry, found, table));
        if (s->mode == QUANT_MODE_KMEANS) {
            quant_int8_tune(s->store, &points->wide, k, work, table);
        }
        return QUANT_OK;
    }
    table->used = round_entries(s->table_store, entry, found, table->entry);
    if (table->used == 0) {
        return QUANT_ESCALE;
    }
    quant_codebook_drop_unused(points, table);
    return QUANT_OK;
}
