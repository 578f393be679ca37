/* SPDX-License-Identifier: Apache-2.0 */
/* vector_fit.c - candidates for a table of vectors, each as it would be stored; the best wins. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"
#include "quant/store.h"
#include "quant/vector_table.h"

enum { ALIGN = 64, SAMPLE = 32768, SETTLE_TURNS = 3 };

/* The scratch of one fit. */
typedef struct room {
    float *x, *w;             /* vectors, padded; [most] */
    float *some, *some_w;     /* [most]: components of one kind; or the sample */
    double *value, *weight;   /* [most] */
    float *scale;             /* [rows] */
    quant_vector_table *trial, *best, *product;
    quant_vector_sums *sums;
    void *work;
} room;

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Components of the largest region, padding included. */
static size_t most_parts(const quant_scheme *s, const quant_regions *g)
{
    size_t dim = (size_t)s->dim, length = (size_t)g->block;
    return (size_t)g->rows * ((length + dim - 1) / dim) * dim;
}

/* Cut the scratch; with base NULL only its size is told. */
static size_t cut(const quant_scheme *s, const quant_regions *g, char *base, room *z)
{
    size_t most = most_parts(s, g), at = 0;
    size_t narrow = aligned(most * sizeof(float)), wide = aligned(most * sizeof(double));
    char *none = NULL;
#define TAKE(field, bytes) (z->field = (void *)(base ? base + at : none), at += aligned(bytes))
    TAKE(x, narrow);
    TAKE(w, narrow);
    TAKE(some, narrow);
    TAKE(some_w, narrow);
    TAKE(value, wide);
    TAKE(weight, wide);
    TAKE(scale, (size_t)g->rows * sizeof(float));
    TAKE(trial, sizeof *z->trial);
    TAKE(best, sizeof *z->best);
    TAKE(product, sizeof *z->product);
    TAKE(sums, sizeof *z->sums);
    TAKE(work, 0);
#undef TAKE
    return at;
}

size_t quant_vector_work_bytes(const quant_scheme *s, const quant_regions *g)
{
    room z;
    size_t most = most_parts(s, g), scalar = quant_codebook_work_bytes(s, most);
    return scalar == 0 || most > SIZE_MAX / 256 ? 0 : aligned(cut(s, g, NULL, &z) + scalar);
}

/* ---- the vectors of a region ----------------------------------------------------------------- */

static quant_vectors collect(const quant_scheme *s, const quant_group *group, size_t length,
                             const float *x, const float *importance, const room *z)
{
    size_t dim = (size_t)s->dim, at = 0;
    double most = sqrt(group->unit);
    for (size_t c = 0; c < group->channels; c++) {
        float scale = s->channel_scale ? group->scale[c] : 1.0f;
        double share = s->channel_scale ? (double)scale / most : 1.0;
        for (size_t i = 0; scale > 0.0f && i < (length + dim - 1) / dim * dim; i++) {
            bool there = i < length;
            double own = there && importance ? (double)importance[c * length + i] : 1.0;
            z->x[at] = there ? x[c * length + i] / scale : 0.0f;
            z->w[at++] = there ? (float)(share * share * own) : 0.0f;
        }
    }
    if (at == 0) { /* nothing but zeros */
        memset(z->x, 0, dim * sizeof *z->x);
        memset(z->w, 0, dim * sizeof *z->w);
        at = dim;
    }
    return (quant_vectors){dim, at / dim, z->x, z->w};
}

/* At most SAMPLE of them, evenly spaced. */
static quant_vectors sample(const quant_vectors *v, const room *z)
{
    size_t step = (v->n + SAMPLE - 1) / SAMPLE, n = 0;
    if (step <= 1) {
        return *v;
    }
    for (size_t i = 0; i < v->n; i += step, n++) {
        memcpy(z->some + n * v->dim, v->x + i * v->dim, v->dim * sizeof *v->x);
        memcpy(z->some_w + n * v->dim, v->w + i * v->dim, v->dim * sizeof *v->w);
    }
    return (quant_vectors){v->dim, n, z->some, z->some_w};
}

/* Distinct values of components first, first + step ... that count for something; one zero when
 * there are none. */
static quant_points components(const quant_vectors *v, size_t first, size_t step, const room *z)
{
    quant_points p = {z->value, z->weight, 1};
    size_t n = 0;
    for (size_t i = first; i < v->n * v->dim; i += step) {
        if (v->w[i] > 0.0f) {
            z->some[n] = v->x[i];
            z->some_w[n++] = v->w[i];
        }
    }
    z->value[0] = 0.0;
    z->weight[0] = 1.0;
    if (n > 0) {
        p.n = quant_points_collapse_run(z->some, z->some_w, n, z->work, z->value, z->weight);
    }
    return p;
}

/* ---- candidates ------------------------------------------------------------------------------ */

/* Append a component to every entry so far: used x n entries. */
static void multiply(quant_vector_table *t, size_t d, const double *entry, const int8_t *code,
                     size_t n)
{
    for (size_t j = t->used * n; j-- > 0;) {
        memmove(t->entry + j * t->dim, t->entry + j / n * t->dim, d * sizeof *t->entry);
        memmove(t->code + j * t->dim, t->code + j / n * t->dim, d);
        t->entry[j * t->dim + d] = entry[j % n];
        t->code[j * t->dim + d] = code ? code[j % n] : 0;
    }
    t->used *= n;
}

/* The product of the components' optimal tables. */
static void product_of_optima(const quant_scheme *s, const quant_vectors *v, room *z)
{
    double entry[QUANT_CODEBOOK_ENTRIES];
    size_t first[QUANT_CODEBOOK_ENTRIES], bits = (size_t)s->bits;
    z->product->used = 1;
    for (size_t d = 0; d < v->dim; d++) {
        size_t own = bits / v->dim + (d < bits % v->dim);
        quant_points p = components(v, d, v->dim, z);
        quant_clusters c = {0, first, entry, 0.0, 0.0};
        quant_kmeans1d_run(&p, (size_t)1 << own, z->work, &c);
        multiply(z->product, d, entry, NULL, c.k);
    }
}

/* The table of the scalar scheme of b/dim bits, as stored, for each component; false when there is
 * none. */
static bool square_of_scalar(const quant_scheme *s, const quant_vectors *v, room *z)
{
    quant_scheme scalar = *s;
    quant_codebook table;
    double entry[QUANT_CODEBOOK_ENTRIES];
    scalar.bits /= s->dim;
    scalar.dim = 1;
    quant_points p = components(v, 0, 1, z);
    const quant_point_list l = quant_point_list_of(&p);
    if (s->bits % s->dim != 0 || quant_codebook_choose(&scalar, &l, z->work, &table) != QUANT_OK) {
        return false;
    }
    for (size_t j = 0; j < table.used; j++) {
        entry[j] = (double)table.entry[j];
    }
    z->trial->used = 1;
    z->trial->scale = table.scale;
    z->trial->raised = table.raised;
    for (size_t d = 0; d < v->dim; d++) {
        multiply(z->trial, d, entry, table.code, table.used);
    }
    return true;
}

/* ---- as stored ------------------------------------------------------------------------------- */

/* Round entries to the storage type, with lut=int8 to codes times `scale`; sorted, repetitions
 * dropped. False when one overflows. */
static bool store_entries(const quant_scheme *s, quant_vector_table *t)
{
    size_t parts = t->used * t->dim, kept = 0;
    for (size_t k = 0; k < parts; k++) {
        float v = (float)t->entry[k];
        if (s->table_store == QUANT_STORE_I8) {
            double c = t->scale > 0.0f ? rint(t->entry[k] / (double)t->scale) : 0.0;
            t->code[k] = (int8_t)(c > QUANT_INT8_LEVEL    ? QUANT_INT8_LEVEL
                                  : c < -QUANT_INT8_LEVEL ? -QUANT_INT8_LEVEL
                                                          : c);
            v = t->scale * (float)t->code[k];
        } else {
            v = quant_store_round(s->table_store, v);
        }
        t->entry[k] = (double)(v + 0.0f);
        if (!isfinite(v)) {
            return false;
        }
    }
    quant_vector_sort(t);
    for (size_t j = 0; j < t->used; j++) {
        const double *entry = t->entry + j * t->dim;
        if (kept == 0 ||
            memcmp(entry, t->entry + (kept - 1) * t->dim, t->dim * sizeof *entry) != 0) {
            memmove(t->entry + kept * t->dim, entry, t->dim * sizeof *entry);
            memmove(t->code + kept * t->dim, t->code + j * t->dim, t->dim);
            kept++;
        }
    }
    t->used = kept;
    return true;
}

/* The scale of a table of int8 codes whose largest magnitude is 127 scale; false: overflow. */
static bool set_scale(const quant_scheme *s, quant_vector_table *t, double magnitude)
{
    quant_linear_fit f = quant_int8_scale(s->store, magnitude);
    t->scale = f.p.scale;
    t->raised = f.raised;
    return !f.overflow;
}

static double magnitude_of(const quant_vector_table *t)
{
    double most = 0.0;
    for (size_t k = 0; k < t->used * t->dim; k++) {
        most = fabs(t->entry[k]) > most ? fabs(t->entry[k]) : most;
    }
    return most;
}

/* Least squares, for the assignment that the sums are of. */
static double best_scale(const quant_vector_table *t, const quant_vector_sums *sums)
{
    double numerator = 0.0, denominator = 0.0;
    for (size_t k = 0; k < t->used * t->dim; k++) {
        numerator += sums->sum[k] * t->code[k];
        denominator += sums->mass[k] * t->code[k] * t->code[k];
    }
    return denominator > 0.0 ? numerator / denominator : 0.0;
}

/* Keep the trial, which is as stored, when it is better than the best so far. */
static void consider(room *z, double error)
{
    if (error < z->best->error) {
        z->trial->error = error;
        *z->best = *z->trial;
    }
}

/* Store the trial; then means of what each entry serves are stored again while that helps. */
static void settle(const quant_scheme *s, const quant_vectors *v, room *z, int turns)
{
    bool int8 = s->table_store == QUANT_STORE_I8;
    double last = INFINITY;
    if (int8 && !set_scale(s, z->trial, magnitude_of(z->trial))) {
        return;
    }
    for (int turn = 0; store_entries(s, z->trial); turn++) {
        double error = quant_vector_pass(v, z->trial, z->sums);
        consider(z, error);
        if (turn == turns || !(error < last)) {
            return;
        }
        last = error;
        double scale = int8 ? best_scale(z->trial, z->sums) : 1.0;
        if (!(scale > 0.0) || (int8 && !set_scale(s, z->trial, QUANT_INT8_LEVEL * scale))) {
            return;
        }
        for (size_t k = 0; k < z->trial->used * v->dim; k++) {
            z->trial->entry[k] = z->sums->mass[k] > 0.0 ? z->sums->sum[k] / z->sums->mass[k]
                                                        : z->trial->entry[k];
        }
    }
}

/* What no vector uses goes; the padding is zero. */
static void drop_unused(const quant_vectors *v, room *z, quant_vector_table *t)
{
    size_t kept = 0;
    quant_vector_pass(v, z->best, z->sums);
    memset(t, 0, sizeof *t);
    for (size_t j = 0; j < z->best->used; j++) {
        if (z->sums->count[j] > 0) {
            memcpy(t->entry + kept * v->dim, z->best->entry + j * v->dim,
                   v->dim * sizeof *t->entry);
            memcpy(t->code + kept * v->dim, z->best->code + j * v->dim, v->dim);
            kept++;
        }
    }
    t->dim = v->dim;
    t->used = kept;
    t->scale = z->best->scale;
    t->raised = z->best->raised;
    t->error = z->best->error;
}

static void try_candidates(const quant_scheme *s, const quant_vectors *v, room *z)
{
    memset(z->trial, 0, sizeof *z->trial);
    z->trial->dim = v->dim;
    *z->best = *z->product = *z->trial;
    z->best->error = INFINITY;
    if (square_of_scalar(s, v, z)) {
        quant_vector_sort(z->trial);
        consider(z, quant_vector_pass(v, z->trial, NULL));
    }
    product_of_optima(s, v, z);
    *z->trial = *z->product;
    settle(s, v, z, 0);
    quant_vectors some = sample(v, z);
    *z->trial = *z->product;
    quant_vector_lloyd(&some, z->trial, z->sums);
    settle(s, v, z, SETTLE_TURNS);
    quant_vector_seed(&some, (size_t)1 << s->bits, (float *)z->value, z->trial);
    quant_vector_lloyd(&some, z->trial, z->sums);
    settle(s, v, z, SETTLE_TURNS);
}

quant_status quant_vector_fit(const quant_scheme *s, const quant_regions *g, uint64_t r,
                              const float *x, const float *importance, void *work,
                              quant_group *group, quant_vector_table *t)
{
    room z;
    z.work = (char *)work + cut(s, g, work, &z);
    QUANT_TRY(quant_codebook_scales(s, g, r, x, z.scale, group));
    size_t n = (size_t)quant_region_elements(g, r), length = n / group->channels;
    importance = quant_codebook_any(importance, n) ? importance : NULL;
    quant_vectors v = collect(s, group, length, x, importance, &z);
    try_candidates(s, &v, &z);
    if (!isfinite(z.best->error)) {
        return QUANT_ESCALE;
    }
    drop_unused(&v, &z, t);
    return isfinite((float)(magnitude_of(t) * sqrt(group->unit))) ? QUANT_OK : QUANT_ESCALE;
}
