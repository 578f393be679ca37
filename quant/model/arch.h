/* SPDX-License-Identifier: GPL-3.0-or-later */
/* arch.h - architectures as rows of a table; not installed. */
#ifndef QUANT_MODEL_ARCH_H
#define QUANT_MODEL_ARCH_H

#include "quant/model/model.h"

typedef enum model_activation { MODEL_SILU, MODEL_GELU_TANH } model_activation;

/* Which elements of a head turn together. Banks in llama.cpp's naming have the rows of q and k
 * permuted such that pairs are neighbours. */
typedef enum model_rotary { MODEL_HALVES, MODEL_NEIGHBOURS } model_rotary;

typedef struct model_arch {
    const char *name;                 /* model_type of config.json, general.architecture of GGUF */
    const char *format;               /* "gguf", or NULL for banks with a config.json */
    model_activation activation;
    model_rotary rotary;
    bool embed_scaled;                /* embedding * sqrt(width) */
    bool slides;                      /* reads window and pattern */
    const char *tensor[QUANT_ROLE_COUNT]; /* "%d" is the layer; NULL: there is none */
} model_arch;

/* NULL when there is no such row. */
const model_arch *model_arch_find(const char *name, bool gguf);
/* All names of one kind, ", " between them, cut at room. */
void model_arch_names(bool gguf, char *text, size_t room);

struct quant_model {
    quant_bank *bank;
    const model_arch *arch;
    quant_model_sizes sizes;
    size_t *index; /* [layers][QUANT_ROLE_COUNT], SIZE_MAX: none; globals in row 0 */
};

enum {
    MODEL_NAME = 192,    /* bytes of a tensor's name made from the table */
    MODEL_EXPERTS = 1024 /* most that a router chooses from */
};

/* Fill model->arch and model->sizes. path is what quant_model_open was given. */
quant_status model_config_read(quant_context *ctx, quant_model *model, const char *path);

#endif
