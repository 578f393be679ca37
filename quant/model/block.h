/* SPDX-License-Identifier: GPL-3.0-or-later */
/* block.h - one layer, weights as stored, as a function of the residual stream. */
#ifndef QUANT_MODEL_BLOCK_H
#define QUANT_MODEL_BLOCK_H

#include "quant/model/model.h"

typedef struct quant_block quant_block;

/* Read layer `layer` for n sequences of s positions. *block is NULL after failure. */
quant_status quant_block_open(quant_context *ctx, quant_model *model, uint64_t layer, size_t n,
                              size_t s, quant_block **block);
/* y = f(x), both [n * s][width], arithmetic in float; they may be the same. The bytes that
 * quant_forward_run gives for that stream. */
quant_status quant_block_run(quant_block *block, const float *x, float *y);
/* Later runs send every position to the experts, with the weights, that x chose: without that f
 * jumps where a router changes its mind. Nothing changes where there are no experts. */
quant_status quant_block_freeze(quant_block *block, const float *x);
void quant_block_close(quant_context *ctx, quant_block *block); /* NULL allowed */

#endif
