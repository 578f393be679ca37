/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/report/curve_report.h"

#include <math.h>
#include <stdio.h>

#include "quant/internal.h"
#include "quant/report/table.h"
#include "quant/report/text.h"

/* Bits of codebook schemes. */
static const int widths[] = {1, 2, 3, 4, 6, 8};
enum { WIDTHS = sizeof widths / sizeof *widths };

bool quant_curve_report_any(const quant_inspect_report *reports, size_t count)
{
    for (size_t b = 0; b < count; b++) {
        for (size_t i = 0; reports[b].bank && i < reports[b].count; i++) {
            if (reports[b].rows[i].curve) {
                return true;
            }
        }
    }
    return false;
}

static void add_row(quant_table *t, const quant_inspect_row *r)
{
    char text[64];
    quant_table_add(t, r->info->name);
    snprintf(text, sizeof text, "%zu", r->curve->distinct);
    quant_table_add(t, text);
    for (int b = 0; b < WIDTHS; b++) {
        size_t at = ((size_t)1 << widths[b]) - 1;
        if (isfinite(r->curve->sqnr_db[at])) {
            snprintf(text, sizeof text, "%.1f %4.2f", r->curve->sqnr_db[at], r->curve->entropy[at]);
        } else {
            snprintf(text, sizeof text, "exact %4.2f", r->curve->entropy[at]);
        }
        quant_table_add(t, text);
    }
}

quant_status quant_curve_report_table(quant_context *ctx, const quant_inspect_report *report,
                                      FILE *to)
{
    static const quant_column columns[] = {
        {"tensor", true, 20}, {"distinct\nvalues", false, 0}, {"k = 2\n1 bit", false, 0},
        {"4\n2 bits", false, 0}, {"8\n3 bits", false, 0}, {"16\n4 bits", false, 0},
        {"64\n6 bits", false, 0}, {"256\n8 bits", false, 0}};
    if (!quant_curve_report_any(report, 1)) {
        return QUANT_OK;
    }
    fputs("\nThe best table of k values for a whole tensor: SQNR in dB, entropy of its labels in "
          "bits\n", to);
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     report->count);
    for (size_t i = 0; t && i < report->count; i++) {
        if (report->rows[i].curve) {
            add_row(t, &report->rows[i]);
        }
    }
    quant_status s = t ? quant_table_print(t, to) : QUANT_ENOMEM;
    quant_table_free(t);
    return s;
}

void quant_curve_report_json(quant_json_writer *w, const quant_inspect_curve *curve)
{
    if (!curve) {
        return;
    }
    quant_json_put(w, "distinct", quant_value_count(curve->distinct));
    quant_json_open(w, "curve", '[', QUANT_JSON_INLINE);
    for (size_t k = 1; k <= QUANT_INSPECT_CURVE && k <= curve->distinct; k++) {
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "k", quant_value_count(k));
        quant_json_put(w, "bits", quant_value_real(log2((double)k)));
        quant_json_put(w, "entropy_bits", quant_value_real(curve->entropy[k - 1]));
        quant_json_put(w, "sqnr_db", quant_value_real(curve->sqnr_db[k - 1]));
        quant_json_close(w);
    }
    quant_json_close(w);
}

void quant_curve_report_csv(quant_csv_writer *w, bool wanted, const quant_inspect_row *row)
{
    for (int b = 0; wanted && b < WIDTHS; b++) {
        for (int figure = 0; figure < 2; figure++) {
            char text[32];
            const quant_inspect_curve *c = row ? row->curve : NULL;
            const double *from = c ? (figure ? c->entropy : c->sqnr_db) : NULL;
            int k = 1 << widths[b];
            snprintf(text, sizeof text, "%s_k%d", figure ? "entropy_bits" : "sqnr_db", k);
            quant_csv_put(w, row ? quant_value_real(from ? from[k - 1] : (double)NAN)
                                 : quant_value_text(text));
        }
    }
}
