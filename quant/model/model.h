/* SPDX-License-Identifier: GPL-3.0-or-later */
/* model.h - a bank understood as a decoder-only language model.
 *
 *     quant_model *model;
 *     quant_model_open(ctx, "stories260k", &model);
 *     quant_model_sizes_of(model)->layers
 *
 * A folder or safetensors file is described by the config.json beside it, a GGUF by its own
 * metadata. Everything that the forward pass will touch is checked at opening: the architecture
 * is a row of the table in arch.c, every tensor of every layer is there with the shape that the
 * configuration promises, and no tensor is there that the pass would leave out. Nothing of the
 * weights is read yet. quant/model/forward.h runs it. */
#ifndef QUANT_MODEL_MODEL_H
#define QUANT_MODEL_MODEL_H

#include "quant/bank/bank.h"

/* What a tensor is for. The first QUANT_ROLE_LAYER are there once, the others in every layer. */
typedef enum quant_role {
    QUANT_ROLE_EMBED,          /* [vocab, width] */
    QUANT_ROLE_FINAL_NORM,
    QUANT_ROLE_HEAD,           /* [vocab, width]; the embedding itself when tied */
    QUANT_ROLE_LAYER,
    QUANT_ROLE_ATTENTION_NORM = QUANT_ROLE_LAYER,
    QUANT_ROLE_Q,              /* [heads * head_dim, width] */
    QUANT_ROLE_K,
    QUANT_ROLE_V,
    QUANT_ROLE_O,
    QUANT_ROLE_Q_NORM,         /* [head_dim], before the rotation */
    QUANT_ROLE_K_NORM,
    QUANT_ROLE_POST_ATTENTION, /* norm of what attention adds */
    QUANT_ROLE_FFN_NORM,
    QUANT_ROLE_GATE,
    QUANT_ROLE_UP,
    QUANT_ROLE_DOWN,
    QUANT_ROLE_ROUTER,         /* [experts, width] */
    QUANT_ROLE_EXPERT_GATE_UP, /* [experts, 2 * expert_inner, width]: gate, and up below it */
    QUANT_ROLE_EXPERT_GATE,    /* [experts, expert_inner, width], or a matrix of each expert */
    QUANT_ROLE_EXPERT_UP,
    QUANT_ROLE_EXPERT_DOWN,    /* [experts, width, expert_inner] */
    QUANT_ROLE_POST_FFN,
    QUANT_ROLE_COUNT
} quant_role;

typedef struct quant_model_sizes {
    uint64_t layers, width, vocab;
    uint64_t heads, kv_heads, head_dim;
    uint64_t inner;                     /* of the dense feed-forward part; 0: none */
    uint64_t experts, experts_used, expert_inner; /* 0: none */
    uint64_t window;                    /* positions that a local layer sees; 0: all */
    uint64_t pattern;                   /* as configured; quant_model_is_local says what follows */
    double eps, theta, theta_local;     /* of the norms; rotary bases of global and local layers */
    double logit_cap, score_cap;        /* c tanh(z / c); 0: none */
    double query_scalar;                /* scores are divided by its root; 0: head_dim */
    bool shares_kept;                   /* weights of chosen experts do not add up to 1 */
    bool tied;                          /* head and embedding are one tensor */
} quant_model_sizes;

typedef struct quant_model quant_model;

/* path: a folder, a safetensors file or index (config.json in the same folder), or a GGUF.
 * QUANT_EUNSUPPORTED: an architecture, option or tensor that is not in the table; QUANT_EFIELD: a
 * key or tensor is missing; QUANT_ESHAPE: configuration and shapes disagree. *model is NULL after
 * failure. */
quant_status quant_model_open(quant_context *ctx, const char *path, quant_model **model);
void quant_model_close(quant_context *ctx, quant_model *model); /* NULL allowed */

const char *quant_model_architecture(const quant_model *model); /* "llama" */
const quant_model_sizes *quant_model_sizes_of(const quant_model *model);
/* The bank below; owned by the model. */
quant_bank *quant_model_bank(const quant_model *model);
/* The tensor of a role in a layer (0 for the roles before QUANT_ROLE_LAYER) with its index in the
 * bank (NULL allowed); NULL when the architecture has no such tensor. Where each expert has a
 * tensor of its own it is that of expert 0. */
const quant_tensor *quant_model_tensor(const quant_model *model, quant_role role, uint64_t layer,
                                       size_t *index);
/* Tensors of a role in one layer: the number of experts where each has its own, otherwise 1, or 0;
 * and the k-th of them. */
uint64_t quant_model_parts(const quant_model *model, quant_role role);
const quant_tensor *quant_model_part(const quant_model *model, quant_role role, uint64_t layer,
                                     uint64_t k, size_t *index);
/* True when a layer sees only the last sizes->window positions. */
bool quant_model_is_local(const quant_model *model, uint64_t layer);

#endif
