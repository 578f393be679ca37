/* SPDX-License-Identifier: GPL-3.0-or-later */
/* packed_matrix.h - an encoded matrix with vectors to multiply it with, for tests of products. */
#ifndef QUANT_TESTS_PACKED_MATRIX_H
#define QUANT_TESTS_PACKED_MATRIX_H

#include <stdbool.h>

#include "quant/quant.h"
#include "tests/draw.h"

enum { MATRIX_LANES = 64 };

/* All on the heap, so that ASan sees each end. packed is NULL when the scheme refuses the values.
 */
typedef struct packed_matrix {
    quant_scheme scheme;
    quant_shape shape;
    quant_layout layout;
    size_t n, k;
    uint8_t *packed;
    float *w, *decoded; /* [n][k] */
    float *x, *y;       /* [k], [n] */
    int8_t *codes;      /* [k] */
    float *scales;      /* [k + 1], the last one 1 */
} packed_matrix;

packed_matrix packed_matrix_new(draw *d, quant_scheme scheme, size_t n, size_t k);
void packed_matrix_free(packed_matrix *m);

/* The scheme of a text that is one. */
quant_scheme packed_matrix_scheme(const char *text);

/* Schemes whose products have kernels of their own, or nearly: `i` from 0, NULL past the end. */
const char *packed_matrix_own(size_t i);

/* ((lanes + 32) + 16) ... in double, or in single precision. */
double packed_matrix_fold(double lane[MATRIX_LANES], bool single);

#endif
