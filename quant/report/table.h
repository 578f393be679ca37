/* SPDX-License-Identifier: GPL-3.0-or-later */
/* table.h - aligned tables that fit the terminal.
 *
 * The first column is the key. When the columns do not fit the width, columns that allow it are
 * shortened in the middle; what still does not fit goes into further blocks, each with the key. */
#ifndef QUANT_REPORT_TABLE_H
#define QUANT_REPORT_TABLE_H

#include <stdbool.h>
#include <stdio.h>

#include "quant/context.h"

enum { QUANT_TABLE_WIDTH = 100 };

typedef struct quant_column {
    const char *heading; /* lines separated by \n; end it with ↑ or ↓ where a direction is better */
    bool left;           /* text; numbers stand right */
    int shrink_to;       /* least width to which cells may be shortened; 0: never */
} quant_column;

typedef struct quant_table quant_table;

/* A table of at most `rows` rows. Headings are copied. NULL when memory is short. */
quant_table *quant_table_new(quant_context *ctx, const quant_column *columns, size_t count,
                             size_t rows);
void quant_table_free(quant_table *t); /* NULL is allowed */
/* Next cell in reading order; the text is copied. A failed copy is reported by print. */
void quant_table_add(quant_table *t, const char *text);
quant_status quant_table_print(const quant_table *t, FILE *to);

#endif
