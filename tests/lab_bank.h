/* SPDX-License-Identifier: GPL-3.0-or-later */
/* lab_bank.h - banks that a test makes up. */
#ifndef QUANT_TESTS_LAB_BANK_H
#define QUANT_TESTS_LAB_BANK_H

#include "quant/bank/bank.h"

/* data: elements of the item's type, little-endian. */
typedef struct lab_bank_item {
    const char *name;
    quant_dtype dtype;
    quant_shape shape;
    const void *data;
} lab_bank_item;

/* Write a safetensors file into the scratch folder and open it; NULL after a noted failure. Tensors
 * stand in the order given when their types are equally wide. */
quant_bank *lab_bank_make(quant_context *ctx, const char *file, const lab_bank_item *items,
                          size_t count);

/* n normals of (seed, name) times scale; freed by the caller. */
float *lab_bank_normals(uint64_t seed, const char *name, size_t n, double scale);

#endif
