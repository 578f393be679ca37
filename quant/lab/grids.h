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
/* Factors of SmoothQuant for `how`, kept for quant_grids_smooth_of: the extremes of channels that
 * the observers saw against the largest weights of all matrices that multiply the input, router
 * excepted. Nothing is done when how->smooth is 0. QUANT_EUNSUPPORTED: smooth=search, which wants
 * inputs to try (quant compare). Reads those weights. */
quant_status quant_grids_smooth(quant_context *ctx, quant_grids *grids,
                                const quant_activation *how);
/* A quant_smooth_fn; grids is its user. NULL for o and down, and where nothing was seen. */
const float *quant_grids_smooth_of(void *grids, quant_role role, uint64_t layer,
                                   const quant_activation *how);

/* From statistics of calibration, which must be of this model: QUANT_ECHECKSUM, as
 * quant_stats_match. Inputs that were never reached (an expert) have no grid. */
quant_status quant_grids_of_stats(quant_context *ctx, const quant_model *model,
                                  const quant_stats *stats, quant_grids **grids);
void quant_grids_free(quant_context *ctx, quant_grids *grids); /* NULL allowed */

/* A quant_grid_fn; grids is its user. False where nothing was seen. */
bool quant_grids_of(void *grids, quant_stage stage, uint64_t layer, size_t expert,
                    const quant_activation *how, quant_activation_grid *grid);

#endif
