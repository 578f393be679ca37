/* SPDX-License-Identifier: GPL-3.0-or-later */
/* chain_report.h - a chain analysis of weight matrices, as a table, JSON or CSV. */
#ifndef QUANT_REPORT_CHAIN_REPORT_H
#define QUANT_REPORT_CHAIN_REPORT_H

#include <stdio.h>

#include "quant/lab/chain.h"

/* What it is, and what it is not, in one sentence; every form of the report has it. */
extern const char quant_chain_label[];

quant_status quant_chain_report_table(quant_context *ctx, const char *name,
                                      const quant_chain_result *result, FILE *to);
/* "quant.chain/1" */
quant_status quant_chain_report_json(quant_context *ctx, const char *name,
                                     const quant_chain_result *result, FILE *to);
/* One line a scheme and matrix. */
quant_status quant_chain_report_csv(quant_context *ctx, const quant_chain_result *result, FILE *to);

#endif
