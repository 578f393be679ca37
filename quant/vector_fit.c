/* SPDX-License-Identifier: Apache-2.0 */
/* vector_fit.c - candidates for a table of vectors, each as it would be stored; the best wins. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/vector_table.h"

enum { ALIGN = 64, SETTLE_TURNS = 6, STARTS = 2 };

/* Vectors that Lloyd's iteration looks at: so many for each entry, at least the second. */
enum { SAMPLE_OF_ENTRY = 128, SAMPLE_LEAST = 4096 };

/* The scratch of one fit. */
typedef struct room {
    float *x, *w;              /* vectors that had to be collected, padded; [most] */
    quant_vector_place all, some;
    float *scale;              /* [rows] */
    quant_vector_table *trial, *best, *start, *product;
    quant_vector_sums *sums;
    size_t *served;            /* vectors of each entry of `best` */
    quant_vector_scratch scalar;
    int threads;
} room;

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Vectors of the largest region. */
static size_t most_vectors(const quant_scheme *s, const quant_regions *g)
{
    size_t dim = (size_t)s->dim, length = (size_t)g->block;
    return (size_t)g->rows * ((length + dim - 1) / dim);
}

/* Vectors that are looked at, at most. */
static size_t sample_most(const quant_scheme *s)
{
    return max_size((size_t)SAMPLE_OF_ENTRY << s->bits, SAMPLE_LEAST);
}

/* Rows of the grid, each of so many cells. */
static size_t rows_of(size_t n, size_t dim)
{
    size_t side = quant_vector_side(n, dim);
    return dim == 2 ? side : side * side;
}

#define TAKE(field, bytes) ((field) = (void *)(base ? base + at : none), at += aligned(bytes))

static size_t cut_place(size_t n, size_t dim, char *base, size_t at, quant_vector_place *p)
{
    const size_t rows = rows_of(n, dim), cells = rows * rows;
    char *none = NULL;
    TAKE(p->x, n * dim * sizeof *p->x);
    TAKE(p->w, n * dim * sizeof *p->w);
    TAKE(p->cell, n * sizeof *p->cell);
    TAKE(p->first, (cells + 1) * sizeof *p->first);
    TAKE(p->box, (cells + rows) * sizeof *p->box);
    return at;
}

/* Cut the scratch; with base NULL only its size is told. */
static size_t cut(const quant_scheme *s, const quant_regions *g, char *base, room *z)
{
    const size_t n = most_vectors(s, g), dim = (size_t)s->dim, most = n * dim;
    size_t at = 0;
    char *none = NULL;
    TAKE(z->x, most * sizeof *z->x);
    TAKE(z->w, most * sizeof *z->w);
    at = cut_place(n, dim, base, at, &z->all);
    at = n > sample_most(s) ? cut_place(sample_most(s), dim, base, at, &z->some) : at;
    TAKE(z->scalar.value, most * sizeof *z->scalar.value);
    TAKE(z->scalar.weight, most * sizeof *z->scalar.weight);
    TAKE(z->scale, (size_t)g->rows * sizeof *z->scale);
    TAKE(z->trial, sizeof *z->trial);
    TAKE(z->best, sizeof *z->best);
    TAKE(z->start, STARTS * sizeof *z->start);
    TAKE(z->product, sizeof *z->product);
    TAKE(z->sums, max_size(quant_vector_parts(n), STARTS) * sizeof *z->sums);
    TAKE(z->served, QUANT_CODEBOOK_ENTRIES * sizeof *z->served);
    TAKE(z->scalar.work, 0);
    return at;
}
#undef TAKE

size_t quant_vector_work_bytes(const quant_scheme *s, const quant_regions *g)
{
    room z;
    size_t n = most_vectors(s, g);
    if (n > SIZE_MAX / 512) {
        return 0;
    }
    size_t scalar = quant_codebook_work_bytes(s, n * (size_t)s->dim);
    return scalar == 0 ? 0 : aligned(cut(s, g, NULL, &z) + scalar);
}

/* ---- the vectors of a region ----------------------------------------------------------------- */

/* As they lie where nothing has to be divided or padded; else a copy. */
static quant_vectors collect(const quant_vector_region *q, const quant_group *group, size_t length,
                             const float *importance, const room *z)
{
    const quant_scheme *s = q->scheme;
    size_t dim = (size_t)s->dim, at = 0;
    double most = sqrt(group->unit);
    if (!s->channel_scale && length % dim == 0 && length > 0) {
        return (quant_vectors){.dim = dim, .n = group->channels * length / dim, .x = q->x,
                               .w = importance};
    }
    for (size_t c = 0; c < group->channels; c++) {
        float scale = s->channel_scale ? group->scale[c] : 1.0f;
        double share = s->channel_scale ? (double)scale / most : 1.0;
        for (size_t i = 0; scale > 0.0f && i < (length + dim - 1) / dim * dim; i++) {
            bool there = i < length;
            double own = there && importance ? (double)importance[c * length + i] : 1.0;
            z->x[at] = there ? q->x[c * length + i] / scale : 0.0f;
            z->w[at++] = there ? (float)(share * share * own) : 0.0f;
        }
    }
    if (at == 0) { /* nothing but zeros */
        memset(z->x, 0, dim * sizeof *z->x);
        memset(z->w, 0, dim * sizeof *z->w);
        at = dim;
    }
    return (quant_vectors){.dim = dim, .n = at / dim, .x = z->x, .w = z->w};
}

/* ---- as stored ------------------------------------------------------------------------------- */

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

/* The error of the trial, which is as stored; it is kept when better than the best so far. */
static double consider(const quant_vectors *v, room *z)
{
    double error = quant_vector_pass(v, z->trial, z->sums, z->threads);
    if (error < z->best->error) {
        z->trial->error = error;
        *z->best = *z->trial;
        memcpy(z->served, z->sums->count, z->best->used * sizeof *z->served);
    }
    return error;
}

/* Store the trial; then means of what each entry serves are stored again while that helps. False
 * when not even the first could be stored. */
static bool settle(const quant_scheme *s, const quant_vectors *v, room *z, int turns)
{
    bool int8 = s->table_store == QUANT_STORE_I8;
    double last = INFINITY;
    if (int8 && !quant_vector_set_scale(s, z->trial, quant_vector_magnitude(z->trial))) {
        return false;
    }
    for (int turn = 0; quant_vector_store(s, z->trial); turn++) {
        double error = consider(v, z);
        if (turn == turns || !(error < last)) {
            return true;
        }
        last = error;
        double scale = int8 ? best_scale(z->trial, z->sums) : 1.0;
        if (!(scale > 0.0) ||
            (int8 && !quant_vector_set_scale(s, z->trial, QUANT_INT8_LEVEL * scale))) {
            return true;
        }
        for (size_t k = 0; k < z->trial->used * v->dim; k++) {
            z->trial->entry[k] = z->sums->mass[k] > 0.0
                                     ? (float)(z->sums->sum[k] / z->sums->mass[k])
                                     : z->trial->entry[k];
        }
    }
    return last < INFINITY;
}

/* What no vector uses goes; the padding is zero. */
static void drop_unused(const quant_vectors *v, const room *z, quant_vector_table *t)
{
    size_t kept = 0;
    memset(t, 0, sizeof *t);
    for (size_t j = 0; j < z->best->used; j++) {
        if (z->served[j] > 0) {
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

/* Lloyd's iteration from the product and from seeds, side by side; which one is better, 0 or 1. */
static int iterate(const quant_scheme *s, const quant_vectors *some, const room *z)
{
    double error[STARTS];
#pragma omp parallel for num_threads(z->threads) if (z->threads > 1)
    for (int k = 0; k < STARTS; k++) {
        z->start[k] = *z->product;
        if (k == 1) {
            quant_vector_seed(some, (size_t)1 << s->bits, (float *)z->scalar.value,
                              z->scalar.weight, &z->start[k]);
        }
        error[k] = quant_vector_lloyd(some, &z->start[k], z->sums + k);
    }
    return error[1] < error[0];
}

/* What the promise is about, where the bound did not show that it is kept. False when the storage
 * type cannot hold one of these: a wider one might do better. */
static bool try_products(const quant_scheme *s, const quant_vectors *v, room *z)
{
    z->scalar.x = z->x; /* the vectors are in their places by now */
    z->scalar.w = z->w;
    *z->trial = *z->product;
    if (s->bits % s->dim == 0) {
        if (!quant_vector_square(s, v, &z->scalar, z->trial)) {
            return false;
        }
        quant_vector_sort(z->trial);
        consider(v, z);
    }
    quant_vector_product(s, v, &z->scalar, z->trial);
    return settle(s, v, z, 0);
}

static quant_vectors try_candidates(const quant_scheme *s, const quant_vectors *v, room *z)
{
    const size_t most = sample_most(s), step = (v->n + most - 1) / most;
    quant_vector_grid grid[2] = {{.side = quant_vector_side(v->n, v->dim)},
                                 {.side = quant_vector_side((v->n + step - 1) / step, v->dim)}};
    memset(z->product, 0, sizeof *z->product);
    z->product->dim = v->dim;
    *z->best = *z->product;
    z->best->error = INFINITY;
    z->scalar.x = z->all.x; /* not in use yet */
    z->scalar.w = z->all.w;
    const double bound = quant_vector_rough_product(s, v, &z->scalar, grid, z->product);
    const quant_vectors all = quant_vector_order(v, 1, &grid[0], &z->all);
    const quant_vectors some = step > 1 ? quant_vector_order(v, step, &grid[1], &z->some) : all;
    const int better = iterate(s, &some, z);
    *z->trial = z->start[better];
    settle(s, &all, z, SETTLE_TURNS);
    if (!(z->best->error * (1.0 + 0x1p-30) <= bound)) {
        *z->trial = z->start[!better];
        settle(s, &all, z, SETTLE_TURNS);
        z->best->error = try_products(s, &all, z) ? z->best->error : INFINITY;
    }
    return all;
}

quant_status quant_vector_fit(const quant_vector_region *q, void *work, quant_group *group,
                              quant_vector_table *t)
{
    room z;
    z.scalar.work = (char *)work + cut(q->scheme, q->regions, work, &z);
    z.threads = q->threads;
    QUANT_TRY(quant_codebook_scales(q->scheme, q->regions, q->r, q->x, z.scale, group));
    size_t n = (size_t)quant_region_elements(q->regions, q->r), length = n / group->channels;
    const float *importance = quant_codebook_any(q->importance, n) ? q->importance : NULL;
    const quant_vectors v = collect(q, group, length, importance, &z);
    const quant_vectors all = try_candidates(q->scheme, &v, &z);
    if (!isfinite(z.best->error)) {
        return QUANT_ESCALE;
    }
    drop_unused(&all, &z, t);
    return isfinite((float)(quant_vector_magnitude(t) * sqrt(group->unit))) ? QUANT_OK
                                                                            : QUANT_ESCALE;
}
