/* SPDX-License-Identifier: GPL-3.0-or-later */
/* given.h - small banks for tests of what reads and writes them. */
#ifndef QUANT_TESTS_GIVEN_H
#define QUANT_TESTS_GIVEN_H

#include "quant/bank/packed.h"
#include "quant/bank/safetensors_write.h"

/* A tensor with its stored bytes. */
typedef struct given {
    quant_safetensors_item item;
    const void *data;
    size_t bytes;
} given;

/* At most 16 tensors. */
void given_bank(const char *path, const given *g, size_t count,
                const quant_safetensors_pair *pairs, size_t pair_count);
/* Tensor `name` to be encoded with that scheme; NULL: to be kept. */
quant_pack_item given_item(quant_bank *bank, const char *name, const char *scheme);
/* Stored bytes of a tensor by name; free() them. */
void *given_bytes(quant_bank *bank, const char *name, size_t *bytes);

#endif
