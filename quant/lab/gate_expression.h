/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gate_expression.h - a parsed gate, for gate_parse.c and gate.c. Not installed. */
#ifndef QUANT_LAB_GATE_EXPRESSION_H
#define QUANT_LAB_GATE_EXPRESSION_H

#include "quant/lab/gate.h"

/* What a gate looks at: one row, or one triple, or one summary. */
typedef struct quant_gate_subject {
    const quant_fidelity *energies;
    const quant_output_fidelity *output; /* NULL: weights are meant */
    uint64_t bytes, saturated, elements;
    double bits_per_weight;
    double argmax_agreement;
} quant_gate_subject;

/* Metrics beyond those of fidelity.h. They describe an encoding, so they have no output, or a pair
 * of arrays. */
typedef struct quant_gate_extra {
    const char *name;
    double (*value)(const quant_gate_subject *s);
    bool of_arrays;
} quant_gate_extra;

enum { QUANT_GATE_TEXT = 96 };

typedef struct quant_gate_expression {
    char text[QUANT_GATE_TEXT];
    const quant_metric *metric; /* NULL: extra */
    const quant_gate_extra *extra;
    bool of_arrays; /* what the list is about */
    bool pooled, output, at_least;
    double threshold;
} quant_gate_expression;

struct quant_gate {
    size_t count, room;
    quant_gate_expression list[];
};

#endif
