/* SPDX-License-Identifier: GPL-3.0-or-later */
/* golden.h - the golden.npz beside a model. */
#ifndef QUANT_TESTS_GOLDEN_H
#define QUANT_TESTS_GOLDEN_H

#include "quant/bank/bank.h"

typedef struct golden {
    int64_t *ids;                  /* [n][s] */
    size_t n, s;
    float *logits;                 /* [n][s][vocab] */
    size_t logits_count;
    float *hidden;                 /* [layers][length][width] of the first sequence */
    size_t hidden_count, layers, length;
} golden;

golden golden_read(quant_context *ctx, const char *path);
void golden_free(golden *g);

/* All values of a tensor by name; NULL after a noted failure. free() them. */
float *golden_floats(quant_context *ctx, quant_bank *bank, const char *name, size_t *count);
int64_t *golden_integers(quant_context *ctx, quant_bank *bank, const char *name, size_t *count);

#endif
