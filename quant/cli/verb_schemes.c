/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verb_schemes.c - the grammar tables of scheme strings, as the parser reads them. */
#include "quant/cli/cli.h"
#include "quant/internal.h"
#include "quant/report/table.h"
#include "quant/scheme.h"

static int check(quant_context *ctx, const char *text)
{
    quant_scheme scheme;
    char canonical[QUANT_SCHEME_TEXT];
    quant_status s = quant_scheme_parse(ctx, text, &scheme);
    if (s != QUANT_OK) {
        return cli_fail(ctx, s);
    }
    quant_scheme_print(&scheme, canonical);
    puts(canonical);
    return 0;
}

static quant_status print_grammar(quant_context *ctx, int kind, const quant_column columns[3])
{
    const char *cell[3];
    size_t rows = 0;
    while (quant_scheme_grammar(kind, (int)rows, &cell[0], &cell[1], &cell[2])) {
        rows++;
    }
    quant_table *t = quant_table_new(ctx, columns, 3, rows);
    for (size_t i = 0; t && i < rows; i++) {
        quant_scheme_grammar(kind, (int)i, &cell[0], &cell[1], &cell[2]);
        for (int k = 0; k < 3; k++) {
            quant_table_add(t, cell[k] ? cell[k] : "");
        }
    }
    quant_status s = t ? quant_table_print(t, stdout) : QUANT_ENOMEM;
    quant_table_free(t);
    return s;
}

int cli_schemes(quant_context *ctx, const cli_args *args)
{
    static const quant_column schemes[] = {
        {"scheme", true, 0}, {"meaning", true, 24}, {"values", true, 16}};
    static const quant_column options[] = {
        {"option", true, 0}, {"meaning", true, 24}, {"values", true, 16}};
    if (args->text[OPT_CHECK]) {
        return check(ctx, args->text[OPT_CHECK]);
    }
    quant_status s = print_grammar(ctx, 0, schemes);
    if (s == QUANT_OK) {
        fputs("\nOptions follow with commas, as in int4:block=32,asym\n\n", stdout);
        s = print_grammar(ctx, 1, options);
    }
    if (s != QUANT_OK) {
        return cli_fail(ctx, s);
    }
    printf("\nDefault of compare: %s\n", quant_scheme_default_list());
    return 0;
}
