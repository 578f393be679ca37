/* SPDX-License-Identifier: GPL-3.0-or-later */
/* csv.h - comma separated values as RFC 4180 has them: CRLF, quotes only where needed. */
#ifndef QUANT_REPORT_CSV_H
#define QUANT_REPORT_CSV_H

#include <stdio.h>

#include "quant/report/value.h"

typedef struct quant_csv_writer {
    FILE *to;
    bool in_row;
} quant_csv_writer;

/* One cell. Reals have 17 significant digits, shapes read 64x172; what JSON calls null is empty. */
void quant_csv_put(quant_csv_writer *w, quant_value value);
void quant_csv_end_row(quant_csv_writer *w);

#endif
