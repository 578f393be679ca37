/* SPDX-License-Identifier: GPL-3.0-or-later */
/* twin.h - the same function with other weights: a trained model rescaled such that nothing that it
 * says changes, but the spread of its weights does.
 *
 * A move picks numbers f_i = 2^e_i, e_i = rint(spread * n_i / ln 2) with standard normal n_i: a
 * log-normal variable, rounded to powers of two. What is written by one tensor is multiplied by
 * f_i, what reads it is divided:
 *
 *   norms    gain i of the norm before q, k and v (before gate, up, router and experts; before the
 *            head, unless that is the embedding too) against column i of those matrices
 *   values   row i of v against column i of o for every query head that reads that value head.
 *            Attention is a mean over positions, which does not mix the elements of a head
 *   inner    row i of up against column i of down, also in every expert by itself (where gate and
 *            up are one tensor, its lower half). The gate stays: act(f x) is no multiple of act(x)
 *   keys     element i of the key against element i of the query: gains of k_norm and q_norm where
 *            there are any, otherwise rows of k and q. The two elements of a rotary pair share f,
 *            since only then does the rotation commute with it
 *
 * Where a norm stands behind a matrix (o and down before a norm of the sublayer, q and k before
 * q_norm and k_norm), rows of that matrix cannot move: the norm divides by the root mean square of
 * all of them. The residual stream cannot either, for the same reason.
 *
 * Multiplying by a power of two rounds nothing as long as no result is subnormal or overflows, so
 * the twin keeps the type of every tensor, and every float operation of a forward pass gives the
 * scaled bits of what it gave before: the logits are the same bytes. */
#ifndef QUANT_DATA_TWIN_H
#define QUANT_DATA_TWIN_H

#include "quant/model/model.h"

typedef enum twin_move {
    TWIN_NORMS = 1,
    TWIN_VALUES = 2,
    TWIN_INNER = 4,
    TWIN_KEYS = 8,
    TWIN_ALL = 15
} twin_move;

typedef struct twin_options {
    double spread; /* standard deviation of ln f before it is rounded, 0 .. 8 */
    uint64_t seed; /* streams are keyed by (seed, name of the tensor that is multiplied) */
    unsigned moves;
} twin_options;

typedef struct twin_result {
    size_t moved, tensors; /* tensors that a move touched, and all */
    int least, most;       /* e over all elements that moved */
} twin_result;

/* Write the twin of model to path, a safetensors file. Memory: the largest tensor three times.
 * QUANT_EUNSUPPORTED: a type other than F32, F16 and BF16, no safetensors, or norms that are asked
 * to move but multiply by 1 + g, whose g would round; QUANT_ERANGE: an element that would not be
 * exact. */
quant_status twin_write(quant_context *ctx, quant_model *model, const twin_options *options,
                        const char *path, twin_result *result);

#endif
