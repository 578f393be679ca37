/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gate.h - expressions that must hold: "cosine>=0.97", "worst.sqnr_db>=20",
 * "pooled.relative_error<=0.05", "output.cosine>=0.985".
 *
 * METRIC alone must hold on every row; worst.METRIC names the same demand and reports the worst
 * row; pooled.METRIC looks at the summary's pooled energies; output. before a metric looks at
 * output fidelity (per row its smallest cosine, its pooled energies otherwise), and every triple
 * is a row too. Prefixes combine: pooled.output.cosine. Further metrics than those of fidelity.h:
 * bits_per_weight, bytes, saturated_share. Several gates are separated by ',' or given as several
 * options. Zero error passes any SQNR gate. A pair that is zero on both sides has no cosine and no
 * relative error and enters neither verdict. NaN, no row at all, or no live pair fails. */
#ifndef QUANT_LAB_GATE_H
#define QUANT_LAB_GATE_H

#include "quant/lab/array_gate.h"
#include "quant/lab/compare.h"

typedef struct quant_gate quant_gate;

/* Parse one expression list; QUANT_EINVAL with a message that lists the metrics. */
quant_status quant_gate_parse(quant_context *ctx, const char *text, quant_gate **gate);
void quant_gate_free(quant_context *ctx, quant_gate *gate);

typedef struct quant_gate_verdict {
    const char *text;       /* the expression */
    bool held;
    double value, threshold;
    const char *where;      /* tensor of the worst row, or "pooled"; "" when no row matches */
    char scheme_text[QUANT_SCHEME_TEXT]; /* of the worst row, or of the column */
    const char *why;        /* "no row", "NaN", "no live pair", NULL */
    const quant_metric *metric; /* NULL: not one of fidelity.h */
    bool pooled, at_least;
    bool has_position;      /* arrays: value is that of one position */
    uint64_t position;
} quant_gate_verdict;

/* Judge expression i of the list (false past the end) on scheme column `scheme` of a result. */
bool quant_gate_judge(const quant_gate *gate, size_t i, const quant_compare_result *result,
                      size_t scheme, quant_gate_verdict *verdict);

/* The same expressions about pairs of arrays: METRIC must hold on every position of every array,
 * pooled.METRIC on the energies of each array over all its positions; output. may stand before a
 * metric and changes nothing. Instead of the figures of an encoding there is argmax_agreement, of
 * each array. An empty array is no row. */
quant_status quant_gate_parse_arrays(quant_context *ctx, const char *text, quant_gate **gate);

/* Judge expression i of such a list; where is the name of the worst array. */
bool quant_gate_judge_arrays(const quant_gate *gate, size_t i, const quant_array_row *rows,
                             size_t count, quant_gate_verdict *verdict);

#endif
