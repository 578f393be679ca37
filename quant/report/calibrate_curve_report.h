/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_curve_report.h - is the calibration enough: curve and verdict as table, JSON or CSV. */
#ifndef QUANT_REPORT_CALIBRATE_CURVE_REPORT_H
#define QUANT_REPORT_CALIBRATE_CURVE_REPORT_H

#include <stdio.h>

#include "quant/lab/calibrate_curve.h"

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
