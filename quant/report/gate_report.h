/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gate_report.h - what `quant gate` found, as a table, JSON or CSV. No times, no folders. */
#ifndef QUANT_REPORT_GATE_REPORT_H
#define QUANT_REPORT_GATE_REPORT_H

#include <stdio.h>

#include "quant/lab/pins.h"

typedef struct quant_gate_line {
    quant_gate_verdict verdict;
    bool pinned;             /* the gate stood in the pins file */
} quant_gate_line;

typedef struct quant_gate_report {
    const char *reference, *candidate; /* base names */
    const quant_array_result *result;
    const quant_gate_line *lines;
    size_t line_count;
    const quant_pins *pins;  /* NULL: none were checked */
} quant_gate_report;

quant_status quant_gate_report_table(quant_context *ctx, const quant_gate_report *report, FILE *to);
/* "quant.gate/1" */
quant_status quant_gate_report_json(quant_context *ctx, const quant_gate_report *report, FILE *to);
/* One line an array. */
quant_status quant_gate_report_csv(quant_context *ctx, const quant_gate_report *report, FILE *to);

/* Where metrics disagree or say nothing, one sentence each: a wrong scale that a cosine does not
 * see, a mean that passes where the worst position fails, vectors of one element, NaN. */
void quant_gate_notes(const quant_gate_report *report, void (*say)(void *user, const char *text),
                      void *user);

#endif
