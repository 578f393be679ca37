/* SPDX-License-Identifier: GPL-3.0-or-later */
/* chain.h - errors along products of weight matrices, for banks of which no architecture is known.
 *
 *     quant_chain_result *r;
 *     quant_chain_run(ctx, bank, &(quant_chain_options){.schemes = list, .scheme_count = 2}, &r);
 *
 * This is an analysis of matrices and not of a model: no activation, bias, norm or residual stream,
 * and random inputs. Matrices are tensors of two axes (or more, when those behind the second are
 * 1). In file order a matrix [out, in] continues a chain when its `in` is the last one's `out`,
 * else it begins one; chains of one matrix are left out. Inputs are QUANT_CHAIN_INPUTS random unit
 * vectors of (seed, name of the chain's first matrix). All products are in double, so that the
 * ledger of quant/lab/propagate.h holds to rounding: cross = (W' - W)(x' - x).
 *
 * What is said of the growth of the error: prod(1 + delta) - 1 and sqrt(sum delta^2) as for models,
 * and a bound for unit inputs, in operator norms: |E_k| <= prod(|W| + |W' - W|) - prod |W|. */
#ifndef QUANT_LAB_CHAIN_H
#define QUANT_LAB_CHAIN_H

#include "quant/lab/propagate.h"

enum { QUANT_CHAIN_INPUTS = 32 };

typedef struct quant_chain_options {
    const quant_scheme *schemes; /* used when recipe is NULL: a column each */
    size_t scheme_count;
    const quant_recipe *recipe;
    /* Tensors that are quantized, NULL: all. The others are part of their chain as they are. */
    bool (*select)(void *user, const quant_tensor *t);
    void *user;
    uint64_t seed;
    quant_progress_fn *progress; /* NULL: none; done and total count matrices */
    void *progress_user;
} quant_chain_options;

typedef struct quant_chain_link {
    size_t chain, tensor;   /* its chain; index in the bank */
    const char *name;       /* the bank's */
    uint64_t out, in;
    double norm;            /* |W|, the largest singular value */
} quant_chain_link;

/* One matrix in one column. */
typedef struct quant_chain_step {
    bool quantized;
    double error_norm;        /* |W' - W| */
    quant_ledger_terms terms; /* after this matrix, inputs pooled */
    double worst;             /* largest |E| of an input */
    double product, root;     /* prod(1 + delta) - 1, sqrt(sum delta^2) */
    double bound;             /* of |E| for any unit input */
} quant_chain_step;

typedef struct quant_chain_column {
    char text[QUANT_SCHEME_TEXT]; /* or "recipe" */
    quant_chain_step *steps;      /* [link_count] */
} quant_chain_column;

typedef struct quant_chain_result {
    quant_chain_link *links; /* chains one after the other */
    size_t link_count, chain_count;
    quant_chain_column *columns;
    size_t column_count;
    size_t room; /* of links */
} quant_chain_result;

/* QUANT_EUNSUPPORTED: no two matrices follow one another. QUANT_ENONFINITE names the first matrix
 * of a chain that is not finite. One matrix in memory at a time, with its copies; a norm costs an
 * SVD without vectors. Same bytes for any number of threads. Free with quant_chain_free. */
quant_status quant_chain_run(quant_context *ctx, quant_bank *bank,
                             const quant_chain_options *options, quant_chain_result **result);
void quant_chain_free(quant_context *ctx, quant_chain_result *result);

#endif
