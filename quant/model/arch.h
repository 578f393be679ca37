/* SPDX-License-Identifier: GPL-3.0-or-later */
/* arch.h - architectures as rows of a table; not installed. */
#ifndef QUANT_MODEL_ARCH_H
#define QUANT_MODEL_ARCH_H

#include "quant/model/model.h"

typedef enum model_activation { MODEL_SILU, MODEL_GELU_TANH } model_activation;

/* Which elements of a head turn together. Banks in llama.cpp's naming have the rows of q and k
 * permuted such that pairs are neighbours. */
typedef enum model_rotary { MODEL_HALVES, MODEL_NEIGHBOURS } model_rotary;

/* Which layers see a window only, where the configuration has no list of layer_types. */
typedef enum model_slides {
    MODEL_NOWHERE,
    MODEL_EVERYWHERE,
    MODEL_PATTERN,   /* all but each sliding_window_pattern-th */
    MODEL_LATER      /* from max_window_layers on, with use_sliding_window */
} model_slides;

/* What a key means when config.json does not have it. */
typedef struct model_default {
    const char *key;
    double value;
} model_default;

typedef struct model_arch {
    const char *name;                 /* model_type of config.json, general.architecture of GGUF */
    const char *format;               /* "gguf", or NULL for banks with a config.json */
    const char *section;              /* object of config.json that holds the sizes; NULL: all */
    model_activation activation;
    model_rotary rotary;
    model_slides slides;
    bool embed_scaled;                /* embedding * sqrt(width) */
    bool one_plus;                    /* norms multiply by 1 + g */
    bool caps_scores;                 /* reads attn_logit_softcapping */
    const model_default *defaults;    /* ends with a NULL key */
    const char *const *elsewhere;     /* beginnings of names that no text passes through */
    const char *tensor[QUANT_ROLE_COUNT]; /* "%d" is the layer, a second one the expert, which then
                                             has a tensor of its own; NULL: there is none */
} model_arch;

/* The k-th row of that name; NULL when there are no more. Rows of one name differ in how experts
 * are stored. */
const model_arch *model_arch_find(const char *name, bool gguf, size_t k);
/* All names of one kind, ", " between them, cut at room. */
void model_arch_names(bool gguf, char *text, size_t room);

/* Angles of position p: p * f_i, f_i = theta^(-2i/d) as the kind changes it. */
typedef enum model_rope_kind {
    MODEL_ROPE_PLAIN,
    MODEL_ROPE_LINEAR, /* f_i / factor */
    MODEL_ROPE_LLAMA3  /* by wavelength: long ones divided, short ones kept, a ramp between */
} model_rope_kind;

typedef struct model_rope {
    model_rope_kind kind;
    double theta, factor;
    double low, high, length; /* of LLAMA3 */
} model_rope;

struct quant_model {
    quant_bank *bank;
    const model_arch *arch;
    quant_model_sizes sizes;
    model_rope rope[2];  /* of global and local layers */
    const char *root;    /* what stands for "model." in names, */
    const char *head;    /* and for the name of a head */
    bool *local;         /* [layers] sees a window only */
    size_t *index;       /* [layers][QUANT_ROLE_COUNT], SIZE_MAX: none; globals in row 0 */
    size_t *apart;       /* [layers][MODEL_APART][experts] */
};

enum {
    MODEL_NAME = 192,     /* bytes of a tensor's name made from the table */
    MODEL_EXPERTS = 1024, /* most that a router chooses from */
    MODEL_APART = QUANT_ROLE_EXPERT_DOWN - QUANT_ROLE_EXPERT_GATE + 1
};

/* Each expert has a tensor of its own for this role. */
bool model_arch_apart(const model_arch *arch, quant_role role);

/* Fill model->arch, sizes, rope and local. path is what quant_model_open was given. */
quant_status model_config_read(quant_context *ctx, quant_model *model, const char *path);

#endif
