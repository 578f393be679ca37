/* SPDX-License-Identifier: GPL-3.0-or-later */
/* static_grids.c - --stats: ranges of activations that were recorded beforehand. */
#include "quant/cli/cli.h"
#include "quant/internal.h"

quant_status cli_read_stats(quant_context *ctx, const cli_args *args, quant_stats **stats)
{
    const char *path = args->text[OPT_STATS];
    *stats = NULL;
    return path ? quant_stats_open(ctx, path, stats) : QUANT_OK;
}

quant_status cli_read_static(quant_context *ctx, const cli_args *args, const quant_model *model,
                             cli_static *fixed)
{
    *fixed = (cli_static){NULL, NULL};
    QUANT_TRY(cli_read_stats(ctx, args, &fixed->stats));
    if (!fixed->stats) {
        return QUANT_OK;
    }
    quant_status s = quant_grids_of_stats(ctx, model, fixed->stats, &fixed->grids);
    return s == QUANT_OK ? s : quant_fail_prefix(ctx, s, args->text[OPT_STATS]);
}

quant_status cli_smooth_static(quant_context *ctx, const cli_static *fixed,
                               const quant_scheme *schemes, size_t count)
{
    for (size_t i = 0; i < count && fixed->grids; i++) {
        QUANT_TRY(quant_grids_smooth(ctx, fixed->grids, &schemes[i]));
    }
    return QUANT_OK;
}

quant_status cli_smooth_recipe(quant_context *ctx, const cli_static *fixed, const quant_bank *bank,
                               const quant_recipe *recipe)
{
    for (size_t i = 0; i < quant_bank_count(bank) && recipe; i++) {
        size_t rule;
        const quant_scheme *s = quant_recipe_match(recipe, quant_bank_tensor(bank, i)->name, &rule);
        QUANT_TRY(s ? cli_smooth_static(ctx, fixed, s, 1) : QUANT_OK);
    }
    return QUANT_OK;
}

void cli_free_static(quant_context *ctx, cli_static *fixed)
{
    quant_grids_free(ctx, fixed->grids);
    quant_stats_close(ctx, fixed->stats);
    *fixed = (cli_static){NULL, NULL};
}
