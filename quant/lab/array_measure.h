/* SPDX-License-Identifier: GPL-3.0-or-later */
/* array_measure.h - the pass over one pair of arrays. Not installed. */
#ifndef QUANT_LAB_ARRAY_MEASURE_H
#define QUANT_LAB_ARRAY_MEASURE_H

#include "quant/lab/array_gate.h"

enum { QUANT_ARRAY_INTEGERS = 8192 }; /* compared at a time */

typedef struct quant_array_pair {
    quant_bank *ref, *got;
    size_t ref_at, got_at;
} quant_array_pair;

/* Fill the row whose name and shape are set, of two decoded arrays of that shape. */
quant_status quant_array_measure(quant_context *ctx, const quant_array_pair *pair,
                                 quant_array_row *row);

/* "[2, 3]", "[]" for a scalar; and the full index of an element, "" for a scalar. */
void quant_array_shape_text(const quant_shape *shape, char text[QUANT_ARRAY_INDEX_TEXT]);
void quant_array_element_text(const quant_shape *shape, uint64_t element,
                              char text[QUANT_ARRAY_INDEX_TEXT]);

#endif
