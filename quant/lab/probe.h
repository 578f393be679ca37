/* SPDX-License-Identifier: GPL-3.0-or-later */
/* probe.h - inputs x, and outputs W x of matrices that are read span by span.
 *
 * Everything is double: weights are widened once a span, and the reference and its copy go through
 * the same additions in the same order, so that an exact copy has an error of exactly zero. */
#ifndef QUANT_LAB_PROBE_H
#define QUANT_LAB_PROBE_H

#include <stdbool.h>

#include "quant/bank/bank.h"
#include "quant/lab/compare.h"

/* `matrices` independent [rows, cols] matrices, one after the other. */
typedef struct lab_view {
    uint64_t matrices, rows, cols;
} lab_view;

/* The first `stack` axes index matrices, the next one rows, all others columns. A shape that ends
 * with the stack (or one axis after it) is one row a matrix. */
lab_view lab_view_of(const quant_shape *shape, int stack);

/* count vectors of cols elements: x[k * cols + c], or x[(m * count + k) * cols + c] when every
 * matrix has its own. */
typedef struct lab_inputs {
    double *x;
    uint64_t count, cols;
    bool per_matrix;
} lab_inputs;

/* Inputs for a matrix of that name and width: seeded ones of unit norm, or those of
 * options->inputs. count = 0 when there are none that fit. QUANT_ESHAPE: inputs of that very name
 * have another width. QUANT_ENONFINITE: they are not finite. */
quant_status lab_inputs_make(quant_context *ctx, const quant_compare_options *options,
                             const char *name, uint64_t cols, lab_inputs *inputs);
void lab_inputs_free(quant_context *ctx, lab_inputs *inputs);

/* Outputs of one matrix stack: y[(m * count + k) * rows + r], begun at zero. */
typedef struct lab_outputs {
    lab_view view;
    const lab_inputs *inputs;
    uint64_t count;          /* of inputs */
    double *y;
} lab_outputs;

quant_status lab_outputs_new(quant_context *ctx, const lab_view *view, const lab_inputs *inputs,
                             lab_outputs *outputs);
void lab_outputs_free(quant_context *ctx, lab_outputs *outputs);
/* Add what weights [first, first + count) of the row-major order contribute. */
void lab_outputs_add(quant_context *ctx, lab_outputs *outputs, const double *w, uint64_t first,
                     uint64_t count);

/* Pair by pair (matrix, input). */
quant_output_fidelity lab_outputs_compare(const lab_outputs *reference, const lab_outputs *copy);
/* Pool; `sum` begins as lab_output_none. */
quant_output_fidelity lab_output_none(void);
void lab_output_pool(quant_output_fidelity *sum, const quant_output_fidelity *more);

#endif
