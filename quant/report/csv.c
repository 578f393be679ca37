/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/csv.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "quant/report/text.h"

static void put_text(FILE *to, const char *text)
{
    if (text[strcspn(text, ",\"\r\n")] == '\0') {
        fputs(text, to);
        return;
    }
    putc('"', to);
    for (const char *p = text; *p; p++) {
        if (*p == '"') {
            putc('"', to);
        }
        putc(*p, to);
    }
    putc('"', to);
}

void quant_csv_put(quant_csv_writer *w, quant_value value)
{
    char shape[256];
    if (w->in_row) {
        putc(',', w->to);
    }
    w->in_row = true;
    switch (value.kind) {
    case QUANT_VALUE_TEXT:
        put_text(w->to, value.as.text ? value.as.text : "");
        break;
    case QUANT_VALUE_REAL:
        if (isfinite(value.as.real)) {
            fprintf(w->to, "%.17g", value.as.real);
        }
        break;
    case QUANT_VALUE_COUNT:
        fprintf(w->to, "%" PRIu64, value.as.count);
        break;
    case QUANT_VALUE_FLAG:
        fputs(value.as.flag ? "true" : "false", w->to);
        break;
    default:
        quant_text_shape(value.as.shape, shape, sizeof shape);
        fputs(shape, w->to);
        break;
    }
}

void quant_csv_end_row(quant_csv_writer *w)
{
    fputs("\r\n", w->to);
    w->in_row = false;
}
