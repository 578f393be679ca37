/* SPDX-License-Identifier: GPL-3.0-or-later */
/* deep_model.h - random decoders, small enough to be run a thousand times. */
#ifndef QUANT_TESTS_DEEP_MODEL_H
#define QUANT_TESTS_DEEP_MODEL_H

#include "quant/model/forward.h"

enum { DEEP_EXPERTS = 4, DEEP_EXPERTS_USED = 2, DEEP_EXPERT_INNER = 6 };
enum { DEEP_WIDTH = 8, DEEP_HEADS = 2, DEEP_KV_HEADS = 1, DEEP_INNER = 12, DEEP_VOCAB = 16 };

/* A llama of (seed) with its own head, in the scratch folder; NULL after a noted failure. Only one
 * lives at a time. */
quant_model *deep_model_make(quant_context *ctx, uint64_t seed, int layers);
/* The same with experts beside the dense path, sliding and global layers. */
quant_model *deep_model_make_experts(quant_context *ctx, uint64_t seed, int layers);
/* ids[count], below DEEP_VOCAB. */
void deep_model_tokens(uint64_t seed, int64_t *ids, size_t count);
/* 0 for the embedding, l + 1 for layer l, layers + 1 for final norm and head. */
int deep_model_depth(const quant_tensor *t, int layers);

#endif
