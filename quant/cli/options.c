/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/cli/options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"

typedef enum option_kind { FLAG, TEXT, COUNT, CHOICE, LIST } option_kind;

#define V(id) (1u << CLI_##id)

static const struct verb_row {
    const char *name, *operands;
    int least, most;
    const char *summary;
} verbs[] = {
#define QUANT_VERB(id, name, operands, least, most, summary) \
    {#name, operands, least, most, summary},
#include "quant/cli/verbs.def"
#undef QUANT_VERB
};

static const struct option_row {
    const char *name;
    char letter;
    option_kind kind;
    const char *argument;
    unsigned verbs;
    const char *help;
} options[] = {
#define QUANT_OPTION(id, name, letter, kind, argument, verbs, help) \
    {name, letter, kind, argument, verbs, help},
#include "quant/cli/options.def"
#undef QUANT_OPTION
};

enum { LONGEST = 24 }; /* letters of a word that suggestions look at */

/* Edits (insert, delete, replace) that turn a into b; words beyond LONGEST are far from all. */
static int distance(const char *a, const char *b)
{
    int row[LONGEST + 1];
    size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST) {
        return LONGEST;
    }
    for (size_t j = 0; j <= m; j++) {
        row[j] = (int)j;
    }
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int above = row[j];
            int best = diagonal + (a[i - 1] != b[j - 1]);
            best = above + 1 < best ? above + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[m];
}

/* Near means: at most one edit for three letters typed, and at least one allowed. */
static bool near(const char *word, int edits)
{
    return edits <= 1 + (int)(strlen(word) / 3) && edits < (int)strlen(word);
}

const char *cli_verb_name(cli_verb verb)
{
    return verbs[verb].name;
}

cli_verb cli_verb_find(const char *name)
{
    int v = 0;
    while (v < CLI_VERBS && strcmp(verbs[v].name, name) != 0) {
        v++;
    }
    return (cli_verb)v;
}

const char *cli_verb_suggest(const char *word)
{
    int best = 0;
    for (int v = 1; v < CLI_VERBS; v++) {
        best = distance(word, verbs[v].name) < distance(word, verbs[best].name) ? v : best;
    }
    return near(word, distance(word, verbs[best].name)) ? verbs[best].name : NULL;
}

static quant_status unknown_option(quant_context *ctx, cli_verb verb, const char *word)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    int best = -1, edits = LONGEST + 1;
    for (int o = 0; o < OPT_COUNT; o++) {
        int d = distance(name, options[o].name);
        if (strcmp(name, options[o].name) == 0) {
            return quant_fail(ctx, QUANT_EINVAL, "--%s: not an option of %s, see quant help %s",
                              name, verbs[verb].name, verbs[verb].name);
        }
        if (options[o].verbs & 1u << verb && d < edits) {
            best = o;
            edits = d;
        }
    }
    if (best >= 0 && near(name, edits)) {
        return quant_fail(ctx, QUANT_EINVAL, "--%s: unknown option of %s, did you mean --%s?", name,
                          verbs[verb].name, options[best].name);
    }
    return quant_fail(ctx, QUANT_EINVAL, "--%s: unknown option of %s, see quant help %s", name,
                      verbs[verb].name, verbs[verb].name);
}

static quant_status parse_count(quant_context *ctx, int o, const char *value, uint64_t *number)
{
    uint64_t n = 0;
    size_t i = 0;
    for (; value[i] >= '0' && value[i] <= '9' && n <= UINT64_C(1000000000000000000); i++) {
        n = 10 * n + (uint64_t)(value[i] - '0');
    }
    if (i == 0 || value[i] || n > INT64_MAX) {
        return quant_fail(ctx, QUANT_EINVAL, "--%s: expected a whole number up to %" PRId64
                          ", found '%s'", options[o].name, INT64_MAX, value);
    }
    *number = n;
    return QUANT_OK;
}

static quant_status parse_choice(quant_context *ctx, int o, const char *value, uint64_t *number)
{
    const char *word = options[o].argument;
    for (uint64_t i = 0;; i++) {
        size_t n = strcspn(word, "|");
        if (strlen(value) == n && strncmp(word, value, n) == 0) {
            *number = i;
            return QUANT_OK;
        }
        if (word[n] == '\0') {
            return quant_fail(ctx, QUANT_EINVAL, "--%s: expected %s, found '%s'", options[o].name,
                              options[o].argument, value);
        }
        word += n + 1;
    }
}

static quant_status set_option(quant_context *ctx, int o, const char *value, cli_args *args)
{
    if (options[o].kind == LIST) {
        args->gate[args->gates++] = value;
        return QUANT_OK;
    }
    if (args->text[o]) {
        return quant_fail(ctx, QUANT_EINVAL, "--%s: expected once, found twice", options[o].name);
    }
    args->text[o] = value;
    return options[o].kind == COUNT    ? parse_count(ctx, o, value, &args->number[o])
           : options[o].kind == CHOICE ? parse_choice(ctx, o, value, &args->number[o])
                                       : QUANT_OK;
}

/* Row of a word that begins with '-'; *inner is what follows '=' or the letter, or NULL. */
static int find_option(cli_verb verb, const char *word, const char **inner)
{
    size_t n = strcspn(word, "=");
    *inner = NULL;
    for (int o = 0; o < OPT_COUNT; o++) {
        if (!(options[o].verbs & 1u << verb)) {
            continue;
        }
        if (word[1] != '-' && word[1] == options[o].letter) {
            *inner = word[2] == '=' ? word + 3 : word[2] ? word + 2 : NULL;
            return o;
        }
        if (word[1] == '-' && strlen(options[o].name) == n - 2 &&
            strncmp(word + 2, options[o].name, n - 2) == 0) {
            *inner = word[n] ? word + n + 1 : NULL;
            return o;
        }
    }
    return -1;
}

static quant_status parse_option(quant_context *ctx, cli_verb verb, char **words, int *i,
                                 cli_args *args)
{
    const char *word = words[*i], *inner;
    int o = find_option(verb, word, &inner);
    if (o < 0 && word[1] != '-') {
        return quant_fail(ctx, QUANT_EINVAL, "%s: unknown option of %s, see quant help %s", word,
                          verbs[verb].name, verbs[verb].name);
    }
    if (o < 0) {
        return unknown_option(ctx, verb, word + 2);
    }
    if (options[o].kind == FLAG) {
        return inner ? quant_fail(ctx, QUANT_EINVAL, "--%s: expected no value, found '%s'",
                                  options[o].name, inner)
                     : set_option(ctx, o, options[o].name, args);
    }
    if (!inner) {
        inner = words[*i + 1];
        if (!inner || strncmp(inner, "--", 2) == 0) {
            return quant_fail(ctx, QUANT_EINVAL, "--%s: expected %s after it, found %s",
                              options[o].name, options[o].argument, inner ? inner : "nothing");
        }
        ++*i;
    }
    return set_option(ctx, o, inner, args);
}

quant_status cli_args_parse(quant_context *ctx, cli_verb verb, int count, char **words,
                            cli_args *args)
{
    *args = (cli_args){.slots = (size_t)count};
    args->operand = quant_alloc(ctx, args->slots, sizeof *args->operand);
    args->gate = quant_alloc(ctx, args->slots, sizeof *args->gate);
    if (!args->operand || !args->gate) {
        return QUANT_ENOMEM;
    }
    bool ended = false;
    for (int i = 0; i < count; i++) {
        if (!ended && strcmp(words[i], "--") == 0) {
            ended = true;
        } else if (!ended && words[i][0] == '-' && words[i][1]) {
            QUANT_TRY(parse_option(ctx, verb, words, &i, args));
        } else {
            args->operand[args->operands++] = words[i];
        }
    }
    int most = verbs[verb].most;
    bool fits = args->operands >= (size_t)verbs[verb].least &&
                (most < 0 || args->operands <= (size_t)most);
    if (!fits && !args->text[OPT_HELP]) {
        return quant_fail(ctx, QUANT_EINVAL, "%s: expected %s, found %zu file name%s",
                          verbs[verb].name, most == 0 ? "no file" : verbs[verb].operands,
                          args->operands, args->operands == 1 ? "" : "s");
    }
    return QUANT_OK;
}

void cli_args_free(quant_context *ctx, cli_args *args)
{
    quant_release(ctx, args->operand, args->slots, sizeof *args->operand);
    quant_release(ctx, args->gate, args->slots, sizeof *args->gate);
}

static const struct {
    int status;
    const char *meaning;
} exits[] = {
    {0, "done, and every gate held"},
    {1, "a gate failed"},
    {2, "the command line, a scheme or a gate is not understood"},
    {3, "an input is refused: damaged, or NaN in a tensor (wins over 1)"},
    {4, "nothing is left that is supported"},
    {5, "reading or writing failed"},
    {6, "out of memory or over a limit"},
};

void cli_help_all(FILE *to)
{
    fputs("quant - quantize weight banks and know what that cost\n\n", to);
    for (int v = 0; v < CLI_VERBS; v++) {
        fprintf(to, "  quant %s %-*s %s\n", verbs[v].name, 22 - (int)strlen(verbs[v].name),
                verbs[v].operands, verbs[v].summary);
    }
    fputs("  quant help [VERB], quant --help, quant --version\n\nExit status\n", to);
    for (size_t i = 0; i < sizeof exits / sizeof *exits; i++) {
        fprintf(to, "  %-6d %s\n", exits[i].status, exits[i].meaning);
    }
    fputs("  128+n  ended by signal n\n\nBanks: safetensors (also an index with its shards, or "
          "their folder), .npy, .npz, GGUF.\nMB = 10^6 bytes, MiB = 2^20 bytes.\n", to);
}

void cli_help_verb(cli_verb verb, FILE *to)
{
    const char *operands = verbs[verb].operands;
    fprintf(to, "quant %s%s%s [options]\n  %s\n\n", verbs[verb].name, operands[0] ? " " : "",
            operands, verbs[verb].summary);
    for (int o = 0; o < OPT_COUNT; o++) {
        if (options[o].verbs & 1u << verb) {
            char left[64];
            int n = options[o].letter ? snprintf(left, sizeof left, "-%c, ", options[o].letter) : 0;
            snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s", options[o].name,
                     options[o].argument[0] ? " " : "", options[o].argument);
            fprintf(to, "  %s\n      %s\n", left, options[o].help);
        }
    }
    fputs("\n--opt value and --opt=value are the same; -- ends the options.\n", to);
}
