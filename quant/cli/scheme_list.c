/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "quant/cli/cli.h"
#include "quant/internal.h"

static size_t count_schemes(const char *list)
{
    size_t count = 1;
    for (; (list = strchr(list, ';')); list++) {
        count++;
    }
    return count;
}

/* Two columns with one heading would be read as two results. */
static quant_status check_new(quant_context *ctx, const quant_scheme *schemes, size_t last)
{
    char text[QUANT_SCHEME_TEXT], other[QUANT_SCHEME_TEXT];
    quant_scheme_print(&schemes[last], text);
    for (size_t i = 0; i < last; i++) {
        quant_scheme_print(&schemes[i], other);
        if (strcmp(text, other) == 0) {
            return quant_fail(ctx, QUANT_ESCHEME, "--schemes: schemes %zu and %zu: expected two "
                              "that differ, found %s twice", i + 1, last + 1, text);
        }
    }
    return QUANT_OK;
}

quant_status cli_parse_schemes(quant_context *ctx, const char *list, quant_scheme **schemes,
                               size_t *count)
{
    *count = count_schemes(list);
    *schemes = quant_alloc(ctx, *count, sizeof **schemes);
    if (!*schemes) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < *count; i++) {
        char text[256];
        list += strspn(list, " ");
        size_t n = strcspn(list, ";"), used = n;
        while (used > 0 && list[used - 1] == ' ') {
            used--;
        }
        if (used >= sizeof text) {
            return quant_fail(ctx, QUANT_ESCHEME, "--schemes: scheme %zu: expected at most %zu "
                              "bytes, found %zu", i + 1, sizeof text - 1, used);
        }
        memcpy(text, list, used);
        text[used] = '\0';
        quant_status s = quant_scheme_parse(ctx, text, &(*schemes)[i]);
        if (s != QUANT_OK) {
            return quant_fail_prefix(ctx, s, "--schemes");
        }
        QUANT_TRY(check_new(ctx, *schemes, i));
        list += n + 1;
    }
    return QUANT_OK;
}

quant_status cli_read_columns(quant_context *ctx, const cli_args *args, cli_columns *c)
{
    const char *list = args->text[OPT_SCHEMES], *recipe = args->text[OPT_RECIPE];
    if (list && recipe) {
        return quant_fail(ctx, QUANT_EINVAL, "expected one of --schemes and --recipe, found both");
    }
    return recipe ? quant_recipe_read(ctx, recipe, &c->recipe)
                  : cli_parse_schemes(ctx, list ? list : quant_scheme_default_list(), &c->schemes,
                                      &c->count);
}

void cli_free_columns(quant_context *ctx, cli_columns *c)
{
    quant_recipe_free(ctx, c->recipe);
    quant_release(ctx, c->schemes, c->count, sizeof *c->schemes);
}
