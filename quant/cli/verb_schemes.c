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

/* Two lines a row: the pattern with its meaning, then the values that it takes. */
static quant_status print_grammar(quant_context *ctx, int kind, const char *heading)
{
    const quant_column columns[] = {{heading, true, 0}, {"meaning, values", true, 24}};
    const char *pattern, *meaning, *values;
    int rows = 0;
    while (quant_scheme_grammar(kind, rows, &pattern, &meaning, &values)) {
        rows++;
    }
    quant_table *t = quant_table_new(ctx, columns, 2, 2 * (size_t)rows);
    for (int i = 0; t && i < rows; i++) {
        quant_scheme_grammar(kind, i, &pattern, &meaning, &values);
        quant_table_add(t, pattern);
        quant_table_add(t, meaning);
        if (values && values[0]) {
            quant_table_add(t, "");
            quant_table_add(t, values);
        }
    }
    quant_status s = t ? quant_table_print(t, stdout) : QUANT_ENOMEM;
    quant_table_free(t);
    return s;
}

int cli_schemes(quant_context *ctx, const cli_args *args)
{
    if (args->text[OPT_CHECK]) {
        return check(ctx, args->text[OPT_CHECK]);
    }
    quant_status s = print_grammar(ctx, 0, "scheme");
    if (s == QUANT_OK) {
        fputs("\nOptions follow with commas, as in int4:block=32,asym\n\n", stdout);
        s = print_grammar(ctx, 1, "option");
    }
    if (s != QUANT_OK) {
        return cli_fail(ctx, s);
    }
    printf("\nDefault of compare:\n  %s\n", quant_scheme_default_list());
    return 0;
}
