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
/* "quant.adequacy/1": what was asked for, then lists of objects.
 *   schemes  error_at_limit, error_of_weights; enough, enough_from (sequences, null: none); with
 *            logits kl_at_limit, perplexity_ratio_at_limit, logits_enough, logits_enough_from;
 *            verdict, the sentence
 *   curve    of a scheme, source and count, over all inputs
 *   orders   the same of prompts alone; order 0 as given, further ones with draws
 *   logits   with options.logits: kl_mean, kl_over_limit with low and high, perplexity_ratio with
 *            its own interval, top1_agreement
 *   inputs   of a scheme, source, count and input
 * low, high: 95 % interval of the ratio before them; null: no interval. */
quant_status quant_adequacy_report_json(quant_context *ctx, const quant_adequacy_report *report,
                                     FILE *to);
/* One line a scheme, source, count and input: the list `inputs` of the JSON, no orders, no
 * logits. */
quant_status quant_adequacy_report_csv(quant_context *ctx, const quant_adequacy_report *report,
                                       FILE *to);

#endif
