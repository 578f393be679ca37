/* SPDX-License-Identifier: Apache-2.0 */
/* vector_product.c - tables of vectors that are products of scalar ones, and what no such product
 * can be better than. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/kmeans1d_internal.h"
#include "quant/vector_table.h"

/* From so many components on they are rounded first; so many at once. */
enum { ROUND_PAYS = 16384, STEP = 1024 };

/* ---- components ------------------------------------------------------------------------------ */

/* Components first, first + step ... that count for something, to x[] and w[]. */
static size_t gather(const quant_vectors *v, size_t first, size_t step,
                     const quant_vector_scratch *z)
{
    size_t n = 0;
    for (size_t i = first; i < v->n * v->dim; i += step) {
        z->x[n] = v->x[i];
        z->w[n] = v->w ? v->w[i] : 1.0f;
        n += z->w[n] > 0.0f;
    }
    return n;
}

/* Their distinct values; one zero when there are none. */
static quant_points distinct(const quant_vectors *v, size_t n, const quant_vector_scratch *z)
{
    quant_points p = {z->value, z->weight, 1};
    z->value[0] = 0.0;
    z->weight[0] = 1.0;
    if (n > 0) {
        p.n = quant_points_collapse_run(z->x, v->w ? z->w : NULL, n, z->work, z->value, z->weight);
    }
    return p;
}

/* Round x[n] to bfloat16, but not to infinity; the weighted square of what that changed. */
static double round_off(float *x, const float *w, size_t n)
{
    uint16_t half[STEP];
    float own[STEP];
    double sum = 0.0;
    if (n < ROUND_PAYS || qk()->absmax_f32(x, n) >= 0x1p127f) {
        return 0.0;
    }
    for (size_t i = 0; i < n; i += STEP) {
        const size_t m = n - i < STEP ? n - i : STEP;
        memcpy(own, x + i, m * sizeof *own);
        qk()->f32_to_bf16(own, m, half);
        qk()->bf16_to_f32(half, m, x + i);
        for (size_t k = 0; k < m; k++) {
            const double e = (double)own[k] - (double)x[i + k];
            sum += (double)w[i + k] * e * e;
        }
    }
    return sum;
}

/* ---- products ------------------------------------------------------------------------------ */

/* Append a component to every entry so far: used x n entries. */
static void multiply(quant_vector_table *t, size_t d, const double *entry, const int8_t *code,
                     size_t n)
{
    for (size_t j = t->used * n; j-- > 0;) {
        memmove(t->entry + j * t->dim, t->entry + j / n * t->dim, d * sizeof *t->entry);
        memmove(t->code + j * t->dim, t->code + j / n * t->dim, d);
        t->entry[j * t->dim + d] = (float)entry[j % n];
        t->code[j * t->dim + d] = code ? code[j % n] : 0;
    }
    t->used *= n;
}

static size_t component_entries(const quant_scheme *s, size_t d)
{
    const size_t bits = (size_t)s->bits, dim = (size_t)s->dim;
    return (size_t)1 << (bits / dim + (d < bits % dim));
}

double quant_vector_rough_product(const quant_scheme *s, const quant_vectors *v,
                                  const quant_vector_scratch *z, quant_vector_grid grid[2],
                                  quant_vector_table *t)
{
    double entry[QUANT_CODEBOOK_ENTRIES], bound = 0.0;
    size_t first[QUANT_CODEBOOK_ENTRIES];
    t->used = 1;
    for (size_t d = 0; d < v->dim; d++) {
        const size_t n = gather(v, d, v->dim, z);
        const double changed = round_off(z->x, z->w, n);
        quant_points p = distinct(v, n, z);
        quant_clusters c = {0, first, entry, 0.0, 0.0};
        quant_kmeans1d_run(&p, component_entries(s, d), z->work, &c);
        multiply(t, d, entry, NULL, c.k);
        quant_vector_cut(&p, d, &grid[0]);
        quant_vector_cut(&p, d, &grid[1]);
        const double least = sqrt(fmin(c.sse, c.lower_bound)) - sqrt(changed);
        bound += least > 0.0 ? least * least : 0.0;
    }
    return bound;
}

void quant_vector_product(const quant_scheme *s, const quant_vectors *v,
                          const quant_vector_scratch *z, quant_vector_table *t)
{
    double entry[QUANT_CODEBOOK_ENTRIES];
    size_t first[QUANT_CODEBOOK_ENTRIES];
    t->used = 1;
    for (size_t d = 0; d < v->dim; d++) {
        const size_t n = gather(v, d, v->dim, z);
        quant_points p = distinct(v, n, z);
        quant_clusters c = {0, first, entry, 0.0, 0.0};
        quant_kmeans1d_run(&p, component_entries(s, d), z->work, &c);
        multiply(t, d, entry, NULL, c.k);
    }
}

bool quant_vector_square(const quant_scheme *s, const quant_vectors *v,
                         const quant_vector_scratch *z, quant_vector_table *t)
{
    quant_scheme scalar = *s;
    quant_codebook scalars;
    double entry[QUANT_CODEBOOK_ENTRIES];
    scalar.bits /= s->dim;
    scalar.dim = 1;
    const quant_points p = distinct(v, gather(v, 0, 1, z), z);
    const quant_point_list l = quant_point_list_of(&p);
    if (quant_codebook_choose(&scalar, &l, z->work, &scalars) != QUANT_OK) {
        return false;
    }
    for (size_t j = 0; j < scalars.used; j++) {
        entry[j] = (double)scalars.entry[j];
    }
    t->used = 1;
    t->scale = scalars.scale;
    t->raised = scalars.raised;
    for (size_t d = 0; d < v->dim; d++) {
        multiply(t, d, entry, scalars.code, scalars.used);
    }
    return true;
}
