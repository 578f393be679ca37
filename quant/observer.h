/* SPDX-License-Identifier: Apache-2.0 */
/* observer.h - what activations looked like, and the 8-bit grid that suits them.
 *
 *     quant_observer *o;
 *     quant_observer_new(ctx, width, false, sequences, &o);       one histogram for the tensor
 *     quant_observer_add(ctx, o, i, x, rows);                     of sequence i, in any pieces
 *     quant_observer_fit(ctx, o, 0, &scheme.activation, &grid);   scale and zero point
 *     quant_observer_predict(o, 0, &grid).rounding2               what that will cost
 *
 * State is counts and extremes, nothing that is rounded: any split of the data into calls, any
 * order of calls and any tree of merges gives the same bytes. The histogram's bins are the gaps
 * between neighbouring bfloat16 numbers, 128 an octave, so that their edges do not depend on the
 * data; only the 24 octaves below the largest magnitude are told apart, and when a larger value
 * comes what falls below them is counted as small (under 2^-23 of the range: no 8-bit code sees
 * it). */
#ifndef QUANT_OBSERVER_H
#define QUANT_OBSERVER_H

#include <stddef.h>
#include <stdint.h>

#include "quant/scheme.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    QUANT_OBSERVER_BINS = 24 * 128, /* of one sign */
    QUANT_ENTROPY_BINS = 2048,      /* of |x|, evenly wide, over which obs=entropy spreads them */
    QUANT_ENTROPY_LEVELS = 128      /* into which it pools them */
};

/* All state as plain arrays, to be stored and loaded as they are (quant_observer_check after that);
 * otherwise read only. A group is what gets a grid of its own: the tensor, or a channel.
 *   bin b of a sign holds magnitudes whose leading 16 bits, as an integer, are first[g] + b */
typedef struct quant_observer {
    uint64_t cols;                         /* channels: elements of a row */
    uint64_t groups;                       /* 1, or cols */
    uint64_t batches;
    uint64_t rows;                         /* seen so far */
    uint64_t *count;                       /* [groups][2][QUANT_OBSERVER_BINS]: x > 0, then x < 0 */
    uint64_t *small;                       /* [groups]: zeros, and what lies below the bins */
    uint32_t *first;                       /* [groups] */
    float *lowest, *highest;               /* [cols] of every channel; 0 before the first row */
    uint64_t *batch_rows;                  /* [batches] */
    float *batch_lowest, *batch_highest;   /* [batches][groups]; 0 where batch_rows is 0 */
} quant_observer;

/* An observer of rows of `cols` values, per channel or per tensor. Memory: 48 KiB a group. A batch
 * is what the exponential average steps over (a sequence, say); they are numbered, so that order of
 * arrival does not matter. QUANT_EINVAL unless cols and batches are at least 1. */
quant_status quant_observer_new(quant_context *ctx, uint64_t cols, bool per_channel,
                                uint64_t batches, quant_observer **observer);
void quant_observer_free(quant_context *ctx, quant_observer *observer); /* NULL allowed */

/* Look at x[rows][cols] of batch `batch` < batches. QUANT_ENONFINITE names the first row and
 * channel that is NaN or infinite, and nothing was added. One pass and a half. */
quant_status quant_observer_add(quant_context *ctx, quant_observer *observer, uint64_t batch,
                                const float *x, size_t rows);

/* observer becomes what it would be had it seen the rows of `more` too; exact, associative and
 * commutative. QUANT_ESHAPE unless cols, groups and batches agree. */
quant_status quant_observer_merge(quant_context *ctx, quant_observer *observer,
                                  const quant_observer *more);

/* For state that came from elsewhere: counts, rows and extremes agree with one another and are
 * finite, else QUANT_ERANGE. */
quant_status quant_observer_check(quant_context *ctx, const quant_observer *observer);

/* value = scale (code - zero), codes in [lowest, highest]; scale 0: all codes are zero. */
typedef struct quant_activation_grid {
    float scale;
    int32_t zero, lowest, highest;
} quant_activation_grid;

/* The grid of a group by the rule of `how` (its kind is not looked at):
 *   minmax      the extremes
 *   ema         of the extremes of the batches (symmetric: the larger magnitude of each), in order
 *               of their numbers: the first, then r <- 0.9 r + 0.1 batch
 *   percentile  P of |x|: upper edge of the bin of rank ceil(P/100 n), at most the extreme, hence
 *               less than 1/128 above the exact order statistic. asym: (100-P)/2 per cent are cut
 *               off at either end. Where that is 0 (mostly zeros) the extremes
 *   mse         the limit among 128 (an eighth of an octave apart), then between its neighbours,
 *               with the least predicted error; the extremes are among them. asym: the two ends in
 *               turn, three times
 *   entropy     the limit i/2048 of the largest magnitude, i = 128 .. 2048, that loses least in the
 *               Kullback-Leibler sense when the bins below are pooled into 128 levels (Migacz 2017,
 *               "8-bit inference with TensorRT"); ties to the larger. Limits under which a bin that
 *               holds values is given none are left out. asym: the extremes, cut at +-limit
 * Symmetric: scale = limit/127, codes +-127. asym: as for weights, codes -128 .. 127, the range
 * holds 0. QUANT_ERANGE: no such group, or nothing was seen. */
quant_status quant_observer_fit(quant_context *ctx, const quant_observer *observer, uint64_t group,
                                const quant_activation *how, quant_activation_grid *grid);

/* Squared error of coding what was seen on a grid, values spread evenly over their bins: of those
 * that round to a code, of those beyond the last code by more than half a step, how many those are,
 * and the sum of x^2. delta = sqrt((rounding2 + clipping2) / energy2). */
typedef struct quant_activation_error {
    double rounding2, clipping2, saturated, energy2;
} quant_activation_error;
quant_activation_error quant_observer_predict(const quant_observer *observer, uint64_t group,
                                              const quant_activation_grid *grid);

#ifdef __cplusplus
}
#endif
#endif
