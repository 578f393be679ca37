/* SPDX-License-Identifier: GPL-3.0-or-later */
/* options.h - the command line, read off verbs.def and options.def. */
#ifndef QUANT_CLI_OPTIONS_H
#define QUANT_CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "quant/context.h"

typedef enum cli_verb {
#define QUANT_VERB(id, name, operands, least, most, summary) CLI_##id,
#include "quant/cli/verbs.def"
#undef QUANT_VERB
    CLI_VERBS
} cli_verb;

typedef enum cli_option {
#define QUANT_OPTION(id, name, letter, kind, argument, verbs, help) OPT_##id,
#include "quant/cli/options.def"
#undef QUANT_OPTION
    OPT_COUNT
} cli_option;

typedef struct cli_args {
    const char *text[OPT_COUNT];  /* as given; flags hold their own name; NULL: not given */
    uint64_t number[OPT_COUNT];   /* COUNT: its value; CHOICE: index of the word; 0 by default */
    const char **operand;         /* slots for every word of the line */
    size_t operands;
    const char **gate;
    size_t gates;
    size_t slots;
} cli_args;

/* Parse the words after the verb. QUANT_EINVAL with a message that says what is accepted, and
 * the likely option when one was misspelt. Free with cli_args_free in any case. */
quant_status cli_args_parse(quant_context *ctx, cli_verb verb, int count, char **words,
                            cli_args *args);
void cli_args_free(quant_context *ctx, cli_args *args);

/* Name, operands and summary of a verb. */
const char *cli_verb_name(cli_verb verb);
/* CLI_VERBS when there is no such verb. */
cli_verb cli_verb_find(const char *name);
/* The verb that is spelt most like `word`; NULL when none is near. */
const char *cli_verb_suggest(const char *word);

void cli_help_all(FILE *to);
void cli_help_verb(cli_verb verb, FILE *to);

#endif
