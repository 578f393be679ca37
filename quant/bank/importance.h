/* SPDX-License-Identifier: GPL-3.0-or-later */
/* importance.h - a bank that says how much each weight of another bank counts.
 *
 * For tensor NAME of the bank it holds, under the same name, either a tensor of the same shape
 * (diagonal of a Fisher matrix, squared gradients) or a vector [in] as long as the tensor's last
 * axis, which every row shares (second moments of the inputs). Any float type; values finite and
 * not negative. Tensors of the bank that it does not name count equally. */
#ifndef QUANT_BANK_IMPORTANCE_H
#define QUANT_BANK_IMPORTANCE_H

#include "quant/bank/bank.h"

/* Read all of it once and refuse what does not fit. Messages begin with "tensor NAME: ".
 * QUANT_EUNSUPPORTED: no tensors; QUANT_EFIELD: a name that the bank lacks; QUANT_ESHAPE;
 * QUANT_EDTYPE: no float type that is decoded; QUANT_ERANGE: a value that is negative or not
 * finite as f32, with its index. */
quant_status quant_importance_check(quant_context *ctx, quant_bank *importance,
                                    const quant_bank *bank);

/* Importance of every element of tensor t into out[t->elements]; false in *found, out untouched,
 * when it is not named. The importance was checked against the bank of t. */
quant_status quant_importance_read(quant_context *ctx, quant_bank *importance,
                                   const quant_tensor *t, float *out, bool *found);

#endif
