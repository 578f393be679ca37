/* SPDX-License-Identifier: GPL-3.0-or-later */
/* smooth_report.h - the alphas that smooth=search has found for the layers of a model. */
#ifndef QUANT_REPORT_SMOOTH_REPORT_H
#define QUANT_REPORT_SMOOTH_REPORT_H

#include <stdio.h>

#include "quant/lab/grids.h"
#include "quant/report/json_out.h"

/* A paragraph for every scheme and kind of input, "w8a8,smooth=search: alpha of layers 0..4 for
 * q k v: 0.5 0.45 ..."; "-" where the outputs are all 0, which the mean error leaves out. Nothing
 * without grids or searches. */
void quant_smooth_report_text(const quant_grids *grids, FILE *to);
/* "smooth": [{"scheme", "layer", "input", "alpha", "predicted_error", ...}]; left out likewise. */
void quant_smooth_report_json(quant_json_writer *w, const quant_grids *grids);

#endif
