/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inspect.h - what is in a bank: per tensor range, RMS, max/RMS, kurtosis, non-finite counts. */
#ifndef QUANT_LAB_INSPECT_H
#define QUANT_LAB_INSPECT_H

#include "quant/bank/bank.h"
#include "quant/bank/packed.h"
#include "quant/predict.h"

/* The least error of a table of k values for the whole tensor, entry k - 1 for k. */
enum { QUANT_INSPECT_CURVE = 256 };
typedef struct quant_inspect_curve {
    size_t distinct;                     /* values of the tensor */
    double sqnr_db[QUANT_INSPECT_CURVE]; /* infinite from k = distinct on */
    double entropy[QUANT_INSPECT_CURVE]; /* bits of the labels; a label itself has log2(k) */
} quant_inspect_curve;

typedef struct quant_inspect_row {
    size_t tensor;
    const quant_tensor *info;   /* owned by the bank */
    bool measured;              /* figures are filled: a decoded type */
    quant_summary figures;
    double row_spread;          /* largest over median RMS of the rows of axis 0; NaN: rank < 2 */
    bool looks_like_stack;      /* rank 3, and its name or shape says experts: stack=1 is meant */
    const quant_inspect_curve *curve; /* NULL: not asked for, nothing finite or nothing but zeros */
} quant_inspect_row;

/* True for rank 3 whose name or shape says that it holds experts, a matrix each. Told from the
 * header alone. */
bool quant_tensor_looks_like_stack(const quant_tensor *t);

/* Reads all data of the tensors that match the glob (NULL: all). rows has room for count of the
 * bank; *filled receives how many. */
quant_status quant_inspect(quant_context *ctx, quant_bank *bank, const char *tensors,
                           quant_progress_fn *progress, void *user, quant_inspect_row *rows,
                           size_t *filled);

/* Rate-distortion curves (quant_kmeans1d_curve) of rows that quant_inspect has filled and whose
 * values are finite, not all zero; curves has room for count and has to outlive the rows. Reads
 * the data again; about 5 us a distinct value, 65536 of them at most for 16-bit types. */
quant_status quant_inspect_curves(quant_context *ctx, quant_bank *bank,
                                  quant_progress_fn *progress, void *user,
                                  quant_inspect_row *rows, size_t count,
                                  quant_inspect_curve *curves);

#endif
