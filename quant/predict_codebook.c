/* SPDX-License-Identifier: Apache-2.0 */
/* predict_codebook.c - a codebook's error is the within-group sum of squares of its table.
 *
 * kmeans: the optimal SSE, and what rounding the table to its storage type adds: entry c_j is the
 *         mean of its n_j weights, so moving it by r_j adds n_j r_j^2 exactly. Weights that then
 *         find a nearer entry lower the sum by a share of second order: the prediction is an upper
 *         bound up to rounding.
 * unique: only what rounding adds.
 * lut=int8, and uniform tables under pcs: the error of the table itself, which no short formula
 *         knows once codes collide or scales differ.
 * dim=2, 4: the error of the table itself: the encoder's own search.
 * pcs:    the same sums over weights divided by their scales, each counting by the scale's square.
 * uniform: the grid lowest + k (highest - lowest)/(2^b - 1) on the group's histogram. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codebook_table.h"
#include "quant/error_model.h"
#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"
#include "quant/predict_family.h"
#include "quant/store.h"
#include "quant/vector_table.h"

enum { ENTRIES = 256, ALIGN = 64 };

typedef struct task {
    const quant_scheme *scheme;
    const quant_regions *regions;
    const float *w;
    size_t most, work_bytes;         /* of one scratch, weights of a region behind it */
    double *sse;                     /* of each region; negative: a quant_status, negated */
} task;

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* n_j r_j^2 summed over entries, INFINITY when one overflows. entry[j] serves the points from
 * first[j] up to first[j+1]. */
static double rounding_error(quant_store store, const quant_points *p, const double *entry,
                             const size_t *first, size_t k)
{
    double sum = 0;
    for (size_t j = 0; j < k; j++) {
        double stored = (double)quant_store_round(store, (float)entry[j]), n = 0;
        size_t end = j + 1 < k ? first[j + 1] : p->n;
        for (size_t i = first[j]; i < end; i++) {
            n += p->weight[i];
        }
        sum += n * (stored - entry[j]) * (stored - entry[j]);
    }
    return isfinite(sum) ? sum : INFINITY;
}

static double stored_error(const task *t, uint64_t r, const float *x, void *work)
{
    quant_group group;
    quant_codebook table;
    quant_status status =
        quant_codebook_fit(t->scheme, t->regions, r, x, NULL, work, &group, &table);
    return status == QUANT_OK ? quant_codebook_error(&group.points, &table) * group.unit
                              : -(double)status;
}

static double vector_error(const task *t, uint64_t r, const float *x, char *scratch)
{
    quant_group group;
    quant_vector_table *table =
        (quant_vector_table *)(void *)(scratch + t->work_bytes - aligned(sizeof *table));
    const quant_vector_region region = {t->scheme, t->regions, r, x, NULL, 1};
    quant_status status = quant_vector_fit(&region, scratch, &group, table);
    return status == QUANT_OK ? table->error * group.unit : -(double)status;
}

static double table_error(const quant_scheme *s, const quant_points *p, void *work)
{
    double entry[ENTRIES];
    size_t first[ENTRIES], k = (size_t)1 << s->bits;
    quant_clusters c = {0, first, entry, 0, 0};
    if (s->mode == QUANT_MODE_KMEANS) {
        quant_kmeans1d_run(p, k, work, &c);
    } else {
        if (p->n > k) {
            return -(double)QUANT_ERANGE;
        }
        for (c.k = 0; c.k < p->n; c.k++) {
            first[c.k] = c.k;
            entry[c.k] = p->value[c.k];
        }
    }
    double rounding = rounding_error(s->table_store, p, entry, first, c.k);
    return isfinite(rounding) ? c.sse + rounding : -(double)QUANT_ESCALE;
}

static double uniform_error(const quant_scheme *s, const float *x, size_t n)
{
    float lowest, highest;
    qk()->minmax_f32(x, n, &lowest, &highest);
    double energy = qk()->dot_f32(x, x, n), steps = (double)((1 << s->bits) - 1);
    if (!isfinite(quant_store_round(s->table_store, lowest)) ||
        !isfinite(quant_store_round(s->table_store, highest))) {
        return -(double)QUANT_ESCALE;
    }
    if (lowest == highest) {
        double r = (double)quant_store_round(s->table_store, lowest) - (double)lowest;
        return (double)n * r * r;
    }
    double unit = sqrt(energy / (double)n);
    quant_histogram h;
    memset(&h, 0, sizeof h);
    quant_histogram_add(&h, x, n, unit, unit * unit);
    quant_grid g = {((double)highest - (double)lowest) / steps / unit, (double)lowest / unit, 0,
                    steps};
    return quant_histogram_error(&h, g, (double)lowest / unit, (double)highest / unit);
}

static double region_error(const task *t, uint64_t r, char *scratch)
{
    const quant_scheme *s = t->scheme;
    float *gathered = (float *)(void *)(scratch + t->work_bytes);
    const float *x = quant_region_values(t->regions, r, t->w, gathered);
    if (s->dim > 1) {
        return vector_error(t, r, x, scratch);
    }
    bool uniform = s->mode == QUANT_MODE_UNIFORM, int8 = s->table_store == QUANT_STORE_I8;
    if (uniform && !int8 && !s->channel_scale) {
        return uniform_error(s, x, (size_t)quant_region_elements(t->regions, r));
    }
    if (uniform || int8) {
        return stored_error(t, r, x, scratch);
    }
    quant_group group;
    quant_status status = quant_codebook_collect(s, t->regions, r, x, NULL, scratch, &group);
    double error = status == QUANT_OK ? table_error(s, &group.points, group.work)
                                      : -(double)status;
    return error < 0 ? error : error * group.unit;
}

/* One scratch a thread, all from the calling thread. */
static quant_status run_regions(quant_context *ctx, task *t)
{
    int threads = quant_context_threads(ctx);
    size_t bytes = t->work_bytes + aligned(t->most * sizeof(float));
    char *scratch = quant_alloc(ctx, (size_t)threads, bytes);
    if (!scratch) {
        return QUANT_ENOMEM;
    }
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (uint64_t r = 0; r < t->regions->count; r++) {
        t->sse[r] = region_error(t, r, scratch + (size_t)omp_get_thread_num() * bytes);
    }
    quant_release(ctx, scratch, (size_t)threads, bytes);
    return QUANT_OK;
}

static quant_status add_regions(quant_context *ctx, const task *t, double *error)
{
    *error = 0;
    for (uint64_t r = 0; r < t->regions->count; r++) {
        if (t->sse[r] < 0) {
            quant_status s = (quant_status)(int)-t->sse[r];
            return quant_fail(ctx, s, s == QUANT_ESCALE
                              ? "table: expected to fit its storage type, found overflow"
                              : "mode=unique: expected at most %d distinct values in a group, "
                                "found more", 1 << t->scheme->bits);
        }
        *error += t->sse[r];
    }
    return QUANT_OK;
}

quant_status quant_predict_codebook(quant_context *ctx, const quant_scheme *scheme,
                                    const quant_regions *regions, const float *w, double *error)
{
    task t = {scheme, regions, w, (size_t)quant_region_most(regions), 0, NULL};
    t.work_bytes = scheme->dim > 1 ? quant_vector_work_bytes(scheme, regions)
                                   : quant_codebook_work_bytes(scheme, t.most);
    if (t.work_bytes == 0 || t.most > SIZE_MAX / 64) {
        return quant_fail(ctx, QUANT_EOVERFLOW, "group: %zu elements do not fit in memory", t.most);
    }
    t.work_bytes = aligned(t.work_bytes) + aligned(sizeof(quant_vector_table));
    t.sse = quant_alloc(ctx, (size_t)regions->count, sizeof *t.sse);
    if (!t.sse) {
        return QUANT_ENOMEM;
    }
    quant_status s = run_regions(ctx, &t);
    if (s == QUANT_OK) {
        s = add_regions(ctx, &t, error);
    }
    quant_release(ctx, t.sse, (size_t)regions->count, sizeof *t.sse);
    return s;
}
