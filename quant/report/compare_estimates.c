/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/internal.h"
#include "quant/report/compare_notes.h"
#include "quant/report/table.h"
#include "quant/report/text.h"

quant_status quant_compare_print_estimates(quant_context *ctx, const quant_compare_summary *sums,
                                           size_t count, FILE *to)
{
    static const quant_column columns[] = {
        {"scheme", true, 24}, {"weight\nrelative\nerror ↓", false, 0},
        {"estimated output\nrelative error ↓", false, 0}};
    fputs("\nOutput error of the weights, estimated from recorded second moments: "
          "sqrt(tr(E M E^T) / tr(W M W^T))\n", to);
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns, count);
    for (size_t i = 0; t && i < count; i++) {
        quant_table_add(t, sums[i].scheme_text);
        const double errors[] = {quant_relative_error(&sums[i].weight),
                                 quant_estimate_error(&sums[i].estimate)};
        for (int k = 0; k < 2; k++) {
            char text[QUANT_TEXT_NUMBER];
            quant_text_real(errors[k], text);
            quant_table_add(t, text);
        }
    }
    quant_status s = t ? quant_table_print(t, to) : QUANT_ENOMEM;
    quant_table_free(t);
    return s;
}
