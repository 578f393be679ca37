/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_report.h - what `quant propagate` found, as a table, JSON or CSV. */
#ifndef QUANT_REPORT_PROPAGATE_REPORT_H
#define QUANT_REPORT_PROPAGATE_REPORT_H

#include <stdio.h>

#include "quant/lab/grids.h"
#include "quant/lab/propagate.h"

typedef struct quant_propagate_report {
    const char *name;          /* base name of the model's path */
    const quant_model *model;
    const quant_propagate_result *result;
    const quant_grids *grids;  /* what alphas were found (smooth=search); NULL: none */
} quant_propagate_report;

/* "embed", "0", "1", ..., "head" */
#define QUANT_DEPTH_TEXT 24
void quant_depth_text(uint64_t depth, uint64_t depths, char text[QUANT_DEPTH_TEXT]);

/* "f32" */
const char *quant_compute_text(quant_compute compute);

quant_status quant_propagate_report_table(quant_context *ctx, const quant_propagate_report *report,
                                          FILE *to);
/* "quant.propagate/1" */
quant_status quant_propagate_report_json(quant_context *ctx, const quant_propagate_report *report,
                                         FILE *to);
/* One line a scheme, depth, place and position; position "all" pools them. */
quant_status quant_propagate_report_csv(quant_context *ctx, const quant_propagate_report *report,
                                        FILE *to);

#endif
