/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_nearest.c - the nearest of a table of vectors. */
#include "kernels/nearest.h"

/* NULL in place of weights that are all 0: as if they were 1. */
static const float *counting(const float *w, size_t dim)
{
    for (size_t d = 0; w && d < dim; d++) {
        if (w[d] > 0.0f) {
            return w;
        }
    }
    return NULL;
}

void qk_nearest_vectors_scalar(const qk_nearest *a, size_t n, uint8_t *codes, double *error)
{
    for (size_t i = 0; i < n; i++) {
        const float *x = a->x + i * a->dim, *w = a->w ? a->w + i * a->dim : NULL;
        const float *own = counting(w, a->dim);
        double least = INFINITY;
        size_t best = 0;
        for (size_t j = 0; j < a->entries; j++) {
            double e = qk_vector_distance(x, a->entry + j * a->dim, own, a->dim);
            if (e < least) {
                best = j;
                least = e;
            }
        }
        codes[i] = (uint8_t)best;
        if (error) {
            error[i] = w && !own ? 0.0 : least;
        }
    }
}
