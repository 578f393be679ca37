/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_report.h - what `quant calibrate` recorded, as a table, JSON or CSV. */
#ifndef QUANT_REPORT_CALIBRATE_REPORT_H
#define QUANT_REPORT_CALIBRATE_REPORT_H

#include <stdio.h>

#include "quant/lab/calibrate_curve.h"

typedef struct quant_calibrate_report {
    const char *name; /* base name of the model's path */
    const quant_stats *stats;
} quant_calibrate_report;

quant_status quant_calibrate_report_table(quant_context *ctx, const quant_calibrate_report *report,
                                          FILE *to);
/* "quant.calibrate/1" */
quant_status quant_calibrate_report_json(quant_context *ctx, const quant_calibrate_report *report,
                                         FILE *to);
/* One line an input; of experts one line each. */
quant_status quant_calibrate_report_csv(quant_context *ctx, const quant_calibrate_report *report,
                                        FILE *to);

/* ---- is it enough: curve and verdict ---- */

typedef struct quant_adequacy_report {
    const char *name; /* base name of the model's path */
    const quant_adequacy *curve;
} quant_adequacy_report;

quant_status quant_adequacy_report_table(quant_context *ctx, const quant_adequacy_report *report,
                                      FILE *to);
/* "quant.adequacy/1" */
quant_status quant_adequacy_report_json(quant_context *ctx, const quant_adequacy_report *report,
                                     FILE *to);
/* One line a scheme, source, count and input. */
quant_status quant_adequacy_report_csv(quant_context *ctx, const quant_adequacy_report *report,
                                       FILE *to);

#endif
