/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inspect_report.h - what is in a bank, as a table, JSON or CSV. */
#ifndef QUANT_REPORT_INSPECT_REPORT_H
#define QUANT_REPORT_INSPECT_REPORT_H

#include <stdio.h>

#include "quant/lab/inspect.h"

/* One bank that was looked at. rows belong to the caller; tensors of the rows to the open bank. */
typedef struct quant_inspect_report {
    const char *name;              /* base name */
    const quant_bank *bank;        /* NULL: could not be read, see error */
    const char *error;             /* word of the status */
    const quant_inspect_row *rows;
    size_t count;
} quant_inspect_report;

quant_status quant_inspect_report_table(quant_context *ctx, const quant_inspect_report *reports,
                                        size_t count, FILE *to);
/* "quant.inspect/1" */
quant_status quant_inspect_report_json(quant_context *ctx, const quant_inspect_report *reports,
                                       size_t count, FILE *to);
quant_status quant_inspect_report_csv(quant_context *ctx, const quant_inspect_report *reports,
                                      size_t count, FILE *to);

#endif
