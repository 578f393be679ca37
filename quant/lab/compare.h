/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare.h - every scheme on every tensor of a bank: what it loses and what it stores.
 *
 * Weight fidelity (w against its decoded copy) and output fidelity (W x against W^ x) are two
 * different numbers and never share a field. */
#ifndef QUANT_LAB_COMPARE_H
#define QUANT_LAB_COMPARE_H

#include "quant/bank/bank.h"
#include "quant/bank/packed.h"
#include "quant/encode.h"
#include "quant/fidelity.h"
#include "quant/lab/recipe.h"
#include "quant/lab/stats.h"

/* Output fidelity over live pairs of (matrix, input): a pair whose two outputs are both zero has no
 * cosine and is only counted. */
typedef struct quant_output_fidelity {
    uint64_t pairs, live;    /* live=3/5 */
    double cosine_mean;      /* over live pairs; NaN when none */
    double cosine_min;
    quant_fidelity pooled;   /* energies added over all pairs */
} quant_output_fidelity;

/* What w8a8 and w4a8 do to outputs, element by element: with W^ the decoded weights and x^ the
 * decoded inputs, y^ (integers, exact) errs by
 *     y^ - W x = weights + activations + cross,    weights = W^ x - W x,  activations = W x^ - W x.
 * Energies of the terms, and their products with the error. Shares <term, E> / |E|^2 sum to 1. */
typedef struct quant_output_parts {
    uint64_t n;                 /* outputs; 0: activations were not quantized */
    double clean2, error2;
    double weights2, activations2, cross2;
    double weights_dot, activations_dot, cross_dot;
    uint64_t inputs, saturated; /* values of x; those beyond the codes */
} quant_output_parts;

/* NaN when there is no error. */
typedef struct quant_output_shares {
    double weights, activations, cross;
} quant_output_shares;
quant_output_shares quant_output_shares_of(const quant_output_parts *parts);

/* The weights' output error on all inputs x that calibration recorded, without running them: with
 * E = W^ - W and M = sum x x^T, sum |E x|^2 = tr(E M E^T), beside sum |W x|^2 = tr(W M W^T).
 * Activations count as exact. */
typedef struct quant_output_estimate {
    uint64_t inputs;            /* x; 0: none recorded */
    double error2, output2;
} quant_output_estimate;
/* sqrt(error2 / output2); NaN without inputs. */
double quant_estimate_error(const quant_output_estimate *estimate);

typedef struct quant_compare_options {
    const quant_scheme *schemes;  /* used when recipe is NULL */
    size_t scheme_count;
    const quant_recipe *recipe;   /* one column: each tensor by its rule */
    const char *tensors;          /* glob; NULL: all. The others are in no list and no sum */
    uint64_t min_elements;        /* 0: all */
    bool keep_nonfinite;          /* --nonfinite=keep: kept instead of refused */
    int probe;                    /* K seeded unit-norm inputs per matrix; 0: no outputs */
    quant_bank *inputs;           /* real inputs: per tensor NAME a matrix [k, in] of that name,
                                     or one npy whose last axis is `in`; NULL: none */
    quant_bank *importance;       /* quant_importance_check passed; NULL: none */
    const quant_stats *stats;     /* ranges of act=static for `inputs`, by the tensor's name; NULL,
                                     and with `probe` (unit norm, far inside them): the inputs
                                     that are measured are what is calibrated on. With second
                                     moments, `estimate` too */
    uint64_t seed;
    bool predict;                 /* fill `predicted` */
    quant_progress_fn *progress;  /* NULL allowed */
    void *user;
} quant_compare_options;

/* One tensor under one scheme. Strings are owned by the result. */
typedef struct quant_compare_row {
    size_t tensor;               /* index in the bank */
    const char *name, *dtype;
    quant_shape shape;
    size_t scheme;               /* column */
    char scheme_text[QUANT_SCHEME_TEXT]; /* in force: store= widened when escalated */
    bool escalated;              /* a scale overflowed its type: re-encoded with store=f32 */
    bool foldable;               /* scales do not vary along the last axis, which a matrix product
                                    contracts (a convolution contracts further ones) */
    quant_fidelity weight;
    quant_encode_info info;
    uint64_t stored_bytes;
    double bits_per_weight;
    double predicted;            /* relative error from statistics; NaN unless asked */
    double weighted_err2;        /* sum of importance times squared error, and times w^2; NaN */
    double weighted_ref2;        /* when the tensor has no importance */
    quant_output_fidelity output; /* pairs = 0 unless probe or inputs; of the weights' scheme, and
                                     of its activations where it has some */
    quant_output_parts parts;
    quant_output_estimate estimate;
    quant_activation_kind activations; /* of its scheme */
    double smooth;               /* alpha in force; 0: none (or no inputs to take ranges from) */
    bool own_ranges;             /* static, and calibrated on the inputs that are measured */
} quant_compare_row;

/* gate/up/down that feed each other: y = down(silu(gate x) * (up x)), one per scheme. Axes before
 * the last two index experts, whatever the scheme's stack. A member that is kept takes part as it
 * is; a triple with a refused member, or with three kept ones, is left out. */
typedef struct quant_compare_triple {
    const char *name;            /* the three names with * where they differ */
    size_t scheme;
    quant_output_fidelity output;
} quant_compare_triple;

/* A tensor without a row. A scheme whose axis or stack does not exist in a shape keeps that
 * tensor in its own column; a scheme that cannot represent a tensor (mode=unique with too many
 * values) has it refused there. */
/* Reason of a tensor that the bank given as `other` lacks. */
#define QUANT_KEPT_NOT_IN_OTHER "not in the other bank"

typedef struct quant_compare_listed {
    size_t tensor;               /* SIZE_MAX: only in the other bank (--against) */
    size_t scheme;               /* column; SIZE_MAX: every column */
    const char *name;
    const char *reason;
} quant_compare_listed;

/* Energies added over all rows of a scheme, with the worst tensor beside. */
typedef struct quant_compare_summary {
    size_t scheme;
    char scheme_text[QUANT_SCHEME_TEXT];
    uint64_t tensors, elements;
    quant_fidelity weight;
    double cosine_worst;         /* over live rows; NaN when none */
    const char *tensor_worst;
    quant_output_fidelity output;
    quant_output_parts parts;
    quant_output_estimate estimate;
    double predicted;            /* pooled; NaN unless asked */
    double weighted_err2, weighted_ref2; /* over the rows that have importance */
    uint64_t stored_bytes;       /* of quantized tensors, no container */
    double bits_per_weight;
    uint64_t bank_bytes;         /* stored_bytes + bytes of kept tensors as they are */
    uint64_t saturated, zero_codes;
} quant_compare_summary;

typedef struct quant_compare_result {
    quant_compare_row *rows;         size_t row_count;    /* file order, then scheme order */
    quant_compare_triple *triples;   size_t triple_count;
    quant_compare_listed *kept;      size_t kept_count;
    quant_compare_listed *refused;   size_t refused_count; /* reason has first index and count */
    quant_compare_summary *summary;  size_t summary_count; /* one per scheme */
} quant_compare_result;

/* sqrt(err2 / ref2): 0 without error, infinite when only ref2 is 0, NaN without importance. */
double quant_weighted_relative_error(double err2, double ref2);

/* Run. With importance, schemes that can use it do, and all are measured by it too. One tensor's
 * values in memory at a time, decoded copies in pieces. Refused tensors do not
 * make it fail. Same bytes for any thread count. Free with quant_compare_free.
 *
 * Outputs: a tensor is [out, in] with all axes after the first flattened; with stack=N its first
 * N axes index independent matrices that all see the same inputs. Inputs of probe are keyed by
 * (seed, tensor name); those of a triple by (seed, name of the triple), or are the gate's real
 * ones. A tensor for which `inputs` has nothing that fits has no outputs (pairs = 0).
 *
 * Schemes with activations quantize the inputs too, products being int8 x int8 -> int32 (exact up
 * to QUANT_GEMM_MAX_K inputs; a longer tensor is refused in that column), and those of a triple
 * before each of its matrices. Static ranges are those of options->stats,
 * pooled over the experts of a stack; of a tensor that is not in there, those of the inputs that
 * are measured. */
quant_status quant_compare(quant_context *ctx, quant_bank *bank,
                           const quant_compare_options *options, quant_compare_result **result);
void quant_compare_free(quant_context *ctx, quant_compare_result *result);

/* --against: fidelity of the tensors of `other` (same names and shapes; a packed bank is decoded)
 * to those of `bank`; rows have scheme_text "against". Names present on one side only are kept
 * rows with that reason. */
quant_status quant_compare_against(quant_context *ctx, quant_bank *bank, quant_bank *other,
                                   const quant_compare_options *options,
                                   quant_compare_result **result);

/* Pool of several results of the same schemes (one per bank), for the overall summary. */
void quant_compare_summary_add(quant_compare_summary *sum, const quant_compare_summary *more);

#endif
