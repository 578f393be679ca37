/* SPDX-License-Identifier: GPL-3.0-or-later */
/* array_gate.h - two files of arrays, one a reference and one a candidate, position by position.
 *
 * Arrays of the same name and shape are compared. An array [..., last] is a set of positions, one
 * for each index of the leading axes, and each position is a pair of vectors with figures of its
 * own: logits [n, s, vocab] have n*s cosines. A 1-D array or a scalar is one position.
 *
 * Integer arrays (token ids) are not measured: they must be equal, because figures of different
 * inputs mean nothing. Types may differ between float types (F32 against F16), no further. */
#ifndef QUANT_LAB_ARRAY_GATE_H
#define QUANT_LAB_ARRAY_GATE_H

#include "quant/bank/bank.h"
#include "quant/bank/sha256.h"
#include "quant/fidelity.h"

/* The smallest and largest value of a metric over the positions that have one, and where. NaN, once
 * met, is both; its first position stays. Zero error ranks as the best SQNR on either side. */
typedef struct quant_array_span {
    uint64_t count;
    double least, greatest;
    uint64_t least_at, greatest_at;
} quant_array_span;

typedef struct quant_array_row {
    const char *name;       /* owned by the reference's bank */
    quant_shape shape;
    uint64_t positions;     /* 0 for an empty array */
    uint64_t live;          /* positions with a nonzero element on either side */
    uint64_t broken;        /* positions with NaN or infinity on either side */
    uint64_t broken_at;     /* the first of them */
    quant_array_span span[QUANT_METRIC_COUNT];
    double cosine_mean;     /* over the live positions */
    quant_fidelity pooled;  /* energies of all positions */
    uint64_t agree;         /* live positions whose largest element has the same index (ties: the
                               lowest); never one that is broken */
    double scale_err2;      /* error energy that one factor a position would remove */
} quant_array_row;

typedef struct quant_array_listed {
    const char *name;
    const char *reason;     /* "only in the reference", "equal integers", "F8_E4M3 not decoded" */
} quant_array_listed;

typedef struct quant_array_result {
    quant_array_row *rows;  /* in the order of the reference's file */
    size_t row_count;
    quant_array_listed *listed;
    size_t listed_count;
    size_t undecoded;       /* listed because their type is not decoded */
    char tokens[QUANT_SHA256_TEXT]; /* of the values of the reference's integer array "tokens" as
                               little-endian 64-bit integers; "" when there is none */
    size_t room;
} quant_array_result;

/* Measure. tensors: glob of whole names, NULL for all; the others are in no list ("tokens" always
 * takes part). QUANT_ESHAPE when shapes differ, QUANT_ETYPE when integers meet floats, QUANT_EFIELD
 * when integers differ or no name is in both: the message names the array, and the first difference
 * where there is one. The result borrows names from the banks. */
quant_status quant_array_gate(quant_context *ctx, quant_bank *reference, quant_bank *candidate,
                              const char *tensors, quant_array_result **result);
void quant_array_result_free(quant_context *ctx, quant_array_result *result); /* NULL allowed */

/* Share of live positions whose argmax agrees; NaN when none is live. */
double quant_array_argmax(const quant_array_row *row);
/* One factor f for the candidate ~ f * reference, least squares over all positions; NaN without a
 * signal. */
double quant_array_factor(const quant_array_row *row);
/* Share of the error energy that this one factor removes; 0 without error. And what one factor a
 * position removes, 0 where vectors are too short for that to say something. */
double quant_array_scale_share(const quant_array_row *row);
double quant_array_scale_share_each(const quant_array_row *row);
/* True when mostly a wrong scale is what differs, by at least 0.1 %. The limits keep clear of
 * honest quantization, which moves logits along themselves: on a small language model 8 to 3 bits
 * had shares up to 0.06 for all and 0.50 for each, 2 bits 0.50 and 0.70, 1 bit 0.73 and 0.84. */
#define QUANT_ARRAY_SCALED 0.75
#define QUANT_ARRAY_SCALED_EACH 0.95
bool quant_array_is_scaled(const quant_array_row *row);

/* "[3, 7]": the index of the leading axes; "" when there is none. */
#define QUANT_ARRAY_INDEX_TEXT 192
void quant_array_index_text(const quant_shape *shape, uint64_t position,
                            char text[QUANT_ARRAY_INDEX_TEXT]);

#endif
