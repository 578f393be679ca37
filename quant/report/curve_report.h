/* SPDX-License-Identifier: GPL-3.0-or-later */
/* curve_report.h - rate-distortion curves of quant inspect --curve: its part of each report. */
#ifndef QUANT_REPORT_CURVE_REPORT_H
#define QUANT_REPORT_CURVE_REPORT_H

#include <stdbool.h>

#include "quant/report/csv.h"
#include "quant/report/inspect_report.h"
#include "quant/report/json_out.h"

/* Whether any row has a curve. */
bool quant_curve_report_any(const quant_inspect_report *reports, size_t count);

/* A table of its own at the sizes that codebook schemes have; nothing without curves. */
quant_status quant_curve_report_table(quant_context *ctx, const quant_inspect_report *report,
                                      FILE *to);

/* "distinct" and "curve": [{"k", "bits", "entropy_bits", "sqnr_db"}, ...] for every k from 1 on, up
 * to the first without error; nothing for NULL. */
void quant_curve_report_json(quant_json_writer *w, const quant_inspect_curve *curve);

/* Cells at the same sizes: headings for row NULL; nothing unless `wanted`. */
void quant_curve_report_csv(quant_csv_writer *w, bool wanted, const quant_inspect_row *row);

#endif
