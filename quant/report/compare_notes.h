/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_notes.h - the running text below the tables of compare. */
#ifndef QUANT_REPORT_COMPARE_NOTES_H
#define QUANT_REPORT_COMPARE_NOTES_H

#include <stdio.h>

#include "quant/lab/compare.h"

/* Kept tensors by reason, all names when verbose; refused ones a line each. */
void quant_compare_print_listed(const quant_compare_result *r, bool verbose, FILE *to);
/* What rows have to say beside their figures: not foldable, widened, raised scales. */
void quant_compare_print_row_notes(const quant_compare_result *r, FILE *to);

/* A table of what recorded second moments make of the weights' errors, one row a scheme. */
quant_status quant_compare_print_estimates(quant_context *ctx, const quant_compare_summary *sums,
                                           size_t count, FILE *to);

#endif
