/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cli.h - what the verbs of the command share. Each verb returns the exit status. */
#ifndef QUANT_CLI_CLI_H
#define QUANT_CLI_CLI_H

#include "quant/bank/bank.h"
#include "quant/cli/options.h"
#include "quant/lab/grids.h"
#include "quant/lab/recipe.h"
#include "quant/model/forward.h"
#include "quant/report/progress.h"

#define QUANT_VERB(id, name, operands, least, most, summary) \
    int cli_##name(quant_context *ctx, const cli_args *args);
#include "quant/cli/verbs.def"
#undef QUANT_VERB

enum { CLI_TABLE, CLI_JSON, CLI_CSV };      /* --format */
enum { CLI_REFUSE, CLI_KEEP };              /* --nonfinite */
enum { CLI_F32, CLI_F16, CLI_BF16 };        /* --dtype, --compute */
enum { EXIT_GATE = 1, EXIT_USAGE = 2, EXIT_REFUSED = 3 };

enum { CLI_SHOWN = 1 << 15 }; /* bytes of a path or a message, every byte of it escaped */
/* text without anything that could drive a terminal; out is returned. */
const char *cli_shown(const char *text, char out[CLI_SHOWN]);

/* "quant: MESSAGE" of the last failure as one line on stderr; returns its exit status. */
int cli_fail(quant_context *ctx, quant_status status);

/* What verbs that print a report do once the job is set up: run it with progress on stderr, print
 * what came of it, tell the failure of either. Returns the exit status. */
typedef quant_status cli_step(void *job);
int cli_run_and_print(quant_context *ctx, const cli_args *args, quant_progress *progress,
                      cli_step *run, cli_step *print, void *job);

/* The one of two exit statuses that matters more: 6, 5, 3, 4, 2, 1, 0. */
int cli_worse(int a, int b);

/* QUANT_EIO when path exists and --force was not given. */
quant_status cli_may_write(quant_context *ctx, const cli_args *args);

/* The recipe of --scheme or --recipe, exactly one of which is expected. */
quant_status cli_one_recipe(quant_context *ctx, const cli_args *args, quant_recipe **recipe);

/* The bank of --importance, checked against `bank`; NULL when the option was not given. Messages
 * begin with its file. */
quant_status cli_open_importance(quant_context *ctx, const cli_args *args, const quant_bank *bank,
                                 quant_bank **importance);

/* Token ids of --tokens: the one tensor of the file, or the one that is called
 * "tokens". Free with cli_free_tokens, after failure too. */
typedef struct cli_tokens {
    quant_tokens all;
    int64_t *id;    /* [count], as read */
    size_t count;
} cli_tokens;
quant_status cli_read_tokens(quant_context *ctx, const cli_args *args, cli_tokens *tokens);
/* Leave those of --sequences in tokens->all. */
quant_status cli_take_sequences(quant_context *ctx, const cli_args *args, cli_tokens *tokens);
void cli_free_tokens(quant_context *ctx, cli_tokens *tokens);

/* Grids of static activations by --stats; both NULL when it was not given. Free with
 * cli_free_static, after failure too. */
typedef struct cli_static {
    quant_stats *stats;
    quant_grids *grids;
} cli_static;
quant_status cli_read_static(quant_context *ctx, const cli_args *args, const quant_model *model,
                             cli_static *fixed);
/* Factors that the schemes of a list want, or (recipe not NULL) those of a bank's tensors. */
quant_status cli_smooth_static(quant_context *ctx, const cli_static *fixed,
                               const quant_scheme *schemes, size_t count);
quant_status cli_smooth_recipe(quant_context *ctx, const cli_static *fixed, const quant_bank *bank,
                               const quant_recipe *recipe);
void cli_free_static(quant_context *ctx, cli_static *fixed);
/* The same statistics, of a bank that need not be a model's. */
quant_status cli_read_stats(quant_context *ctx, const cli_args *args, quant_stats **stats);

/* "FIRST..LAST" or one number; count 0 when text is NULL. */
quant_status cli_parse_range(quant_context *ctx, const char *option, const char *text,
                             uint64_t *first, uint64_t *count);

/* "A;B" with blanks around each allowed, all different. *schemes[*count] is the caller's to
 * release, after failure too. */
quant_status cli_parse_schemes(quant_context *ctx, const char *list, quant_scheme **schemes,
                               size_t *count);

/* What the columns of propagate hold: a recipe, or the schemes given or by default. All of them are
 * the caller's to release, after failure too. */
typedef struct cli_columns {
    quant_scheme *schemes;
    size_t count;
    quant_recipe *recipe;
} cli_columns;
quant_status cli_read_columns(quant_context *ctx, const cli_args *args, cli_columns *columns);
void cli_free_columns(quant_context *ctx, cli_columns *columns);

#endif
