/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inspect.h - what is in a bank: per tensor range, RMS, max/RMS, kurtosis, non-finite counts. */
#ifndef QUANT_LAB_INSPECT_H
#define QUANT_LAB_INSPECT_H

#include "quant/bank/bank.h"
#include "quant/bank/packed.h"
#include "quant/predict.h"

typedef struct quant_inspect_row {
    size_t tensor;
    const quant_tensor *info;   /* owned by the bank */
    bool measured;              /* figures are filled: a decoded type */
    quant_summary figures;
    double row_spread;          /* largest over median RMS of the rows of axis 0; NaN: rank < 2 */
    bool looks_like_stack;      /* rank 3, and its name or shape says experts: stack=1 is meant */
} quant_inspect_row;

/* True for rank 3 whose name or shape says that it holds experts, a matrix each. Told from the
 * header alone. */
bool quant_tensor_looks_like_stack(const quant_tensor *t);

/* Reads all data of the tensors that match the glob (NULL: all). rows has room for count of the
 * bank; *filled receives how many. */
quant_status quant_inspect(quant_context *ctx, quant_bank *bank, const char *tensors,
                           quant_progress_fn *progress, void *user, quant_inspect_row *rows,
                           size_t *filled);

#endif
