/* SPDX-License-Identifier: Apache-2.0 */
/* vector_store.c - tables of vectors as they are stored: rounded, in order, without repetitions. */
#include <math.h>
#include <string.h>

#include "quant/store.h"
#include "quant/vector_table.h"

static bool before(const float *a, const float *b, size_t dim)
{
    for (size_t d = 0; d < dim; d++) {
        if (a[d] != b[d]) {
            return a[d] < b[d];
        }
    }
    return false;
}

/* One entry with its codes, as the sort moves it. */
typedef struct row {
    float entry[QUANT_VECTOR_DIM];
    int8_t code[QUANT_VECTOR_DIM];
} row;

static row get_row(const quant_vector_table *t, size_t j)
{
    row r;
    memcpy(r.entry, t->entry + j * t->dim, t->dim * sizeof *t->entry);
    memcpy(r.code, t->code + j * t->dim, t->dim);
    return r;
}

static void put_row(quant_vector_table *t, size_t j, const row *r)
{
    memcpy(t->entry + j * t->dim, r->entry, t->dim * sizeof *t->entry);
    memcpy(t->code + j * t->dim, r->code, t->dim);
}

/* Shell's: in place, and nearly nothing to do when the order is nearly there. */
void quant_vector_sort(quant_vector_table *t)
{
    static const size_t gaps[] = {57, 23, 10, 4, 1};
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
        size_t gap = gaps[g];
        for (size_t i = gap; i < t->used; i++) {
            row moving = get_row(t, i);
            size_t j = i;
            for (; j >= gap && before(moving.entry, t->entry + (j - gap) * t->dim, t->dim);
                 j -= gap) {
                row other = get_row(t, j - gap);
                put_row(t, j, &other);
            }
            put_row(t, j, &moving);
        }
    }
}

bool quant_vector_store(const quant_scheme *s, quant_vector_table *t)
{
    size_t parts = t->used * t->dim, kept = 0;
    for (size_t k = 0; k < parts; k++) {
        float v = t->entry[k];
        if (s->table_store == QUANT_STORE_I8) {
            double c = t->scale > 0.0f ? rint((double)t->entry[k] / (double)t->scale) : 0.0;
            t->code[k] = (int8_t)(c > QUANT_INT8_LEVEL    ? QUANT_INT8_LEVEL
                                  : c < -QUANT_INT8_LEVEL ? -QUANT_INT8_LEVEL
                                                          : c);
            v = t->scale * (float)t->code[k];
        } else {
            v = quant_store_round(s->table_store, v);
        }
        t->entry[k] = v + 0.0f;
        if (!isfinite(v)) {
            return false;
        }
    }
    quant_vector_sort(t);
    for (size_t j = 0; j < t->used; j++) {
        const float *entry = t->entry + j * t->dim;
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

bool quant_vector_set_scale(const quant_scheme *s, quant_vector_table *t, double magnitude)
{
    quant_linear_fit f = quant_int8_scale(s->store, magnitude);
    t->scale = f.p.scale;
    t->raised = f.raised;
    return !f.overflow;
}

double quant_vector_magnitude(const quant_vector_table *t)
{
    double most = 0.0;
    for (size_t k = 0; k < t->used * t->dim; k++) {
        most = fmax(most, fabs((double)t->entry[k]));
    }
    return most;
}
