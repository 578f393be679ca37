/* SPDX-License-Identifier: GPL-3.0-or-later */
/* grids.h - grids of static activations of a model, from what observers saw of its inputs.
 *
 *     quant_grids *grids;
 *     quant_grids_of_stats(ctx, model, stats, &grids);
 *     quant_forward_variant v = {.scheme = pick, .grid = quant_grids_of, .grid_user = grids};
 *
 * A grid is fitted the first time that it is asked for and kept: for up to QUANT_GRIDS_RULES
 * different rules, of further ones each time anew. One thread at a time. */
#ifndef QUANT_LAB_GRIDS_H
#define QUANT_LAB_GRIDS_H

#include "quant/lab/stats.h"

enum { QUANT_GRIDS_RULES = 8 };

/* What was seen of an input of linear layers: of a stage that quant_grid_fn names, in a layer, of
 * an expert where it has experts. NULL: nothing. */
typedef const quant_observer *quant_observer_fn(void *user, quant_stage stage, uint64_t layer,
                                                size_t expert);

typedef struct quant_grids quant_grids;

/* user is handed to `of`; both, and the model, must outlive the result. */
quant_status quant_grids_new(quant_context *ctx, const quant_model *model, quant_observer_fn *of,
                             void *user, quant_grids **grids);
/* Factors of SmoothQuant for a scheme, kept for quant_grids_smooth_of: the extremes of channels
 * that the observers saw against the largest weights of all matrices that multiply the input,
 * router excepted. Nothing is done when the scheme does not smooth, or they are there. Reads those
 * weights.
 *
 * smooth=search needs grids of statistics (else QUANT_EUNSUPPORTED). For each input that comes out
 * of a norm, with W the matrices that multiply it (of all experts), as if the scheme quantized all
 * of them, alpha is the one of 0.05, 0.1, ... 1 with the least predicted error of the outputs,
 *     sum over rows x of |E x|^2  +  rows * sum over j of |W'_j|^2 v_j,
 * the first among equals. W' is W with its columns multiplied by the factors s, encoded, decoded
 * and divided again, E = W' - W, W'_j column j of W'. The first sum is tr(E M E^T) with
 * M = sum x x^T where second moments were recorded; without them only their diagonal is known, and
 * channels are taken as uncorrelated. v_j is the variance of the input's rounding, independent of
 * x: s_j^2 step^2 / 12, at most the mean of x_j^2. step: act=static, that of the grid; act=token,
 * by the expected largest square of independent Gaussian channels of the recorded mean squares.
 * What saturates beyond the recorded extremes is not predicted: a large alpha puts the extreme of
 * every channel, not of one, at the end of the grid. An expert weighs its rows; one without rows
 * has no say. Encodes those weights 21 times. */
quant_status quant_grids_smooth(quant_context *ctx, quant_grids *grids, const quant_scheme *scheme);
/* A quant_smooth_fn; grids is its user. NULL for o and down, and where nothing was seen. */
const float *quant_grids_smooth_of(void *grids, quant_role role, uint64_t layer,
                                   const quant_scheme *scheme);

/* What a search has found at one input. */
typedef struct quant_smooth_choice {
    const char *scheme;  /* canonical text */
    uint64_t layer;
    quant_stage input;   /* ATTENTION_INPUT: of q, k, v; FFN_INPUT: of gate and up (experts') */
    double alpha;
    /* Predicted relative error of the outputs under alpha, and without smoothing. NaN: those
     * outputs are all 0, no alpha matters, and the first stands there. */
    double error, unsmoothed;
    bool moments;        /* by second moments; else by their diagonal */
} quant_smooth_choice;

/* Number i of all that were found: scheme by scheme in the order asked for, layer by layer. False
 * past the end. */
bool quant_grids_choice(const quant_grids *grids, size_t i, quant_smooth_choice *choice);

/* From statistics of calibration, which must be of this model: QUANT_ECHECKSUM, as
 * quant_stats_match. Inputs that were never reached (an expert) have no grid. */
quant_status quant_grids_of_stats(quant_context *ctx, const quant_model *model,
                                  const quant_stats *stats, quant_grids **grids);
void quant_grids_free(quant_context *ctx, quant_grids *grids); /* NULL allowed */

/* A quant_grid_fn; grids is its user. False where nothing was seen. */
bool quant_grids_of(void *grids, quant_stage stage, uint64_t layer, size_t expert,
                    const quant_activation *how, const float *factors,
                    quant_activation_grid *grid);

#endif
