/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main.c - the command quant: finds the verb, runs it, and does not believe that output was
 * written before it was flushed. A closed pipe ends the command by SIGPIPE, silently. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "quant/bank/importance.h"
#include "quant/cli/cli.h"
#include "quant/internal.h"
#include "quant/quant.h"
#include "quant/report/text.h"

typedef int verb_function(quant_context *ctx, const cli_args *args);

static verb_function *const functions[] = {
#define QUANT_VERB(id, name, operands, least, most, summary) cli_##name,
#include "quant/cli/verbs.def"
#undef QUANT_VERB
};

const char *cli_shown(const char *text, char out[CLI_SHOWN])
{
    quant_text_fit(text, CLI_SHOWN, out, CLI_SHOWN);
    return out;
}

int cli_fail(quant_context *ctx, quant_status status)
{
    const char *message = quant_context_message(ctx);
    char shown[CLI_SHOWN];
    fprintf(stderr, "quant: %s\n",
            cli_shown(message[0] ? message : quant_status_text(status), shown));
    return quant_status_exit(status);
}

int cli_run_and_print(quant_context *ctx, const cli_args *args, quant_progress *progress,
                      cli_step *run, cli_step *print, void *job)
{
    quant_progress_begin(progress, stderr, args->text[OPT_QUIET] != NULL);
    quant_status s = run(job);
    quant_progress_end(progress);
    s = s == QUANT_OK ? print(job) : s;
    return s != QUANT_OK && !ferror(stdout) ? cli_fail(ctx, s) : 0;
}

int cli_worse(int a, int b)
{
    static const char order[] = {0, 1, 2, 4, 3, 5, 6};
    size_t rank_a = 0, rank_b = 0;
    for (size_t i = 0; i < sizeof order; i++) {
        rank_a = order[i] == a ? i : rank_a;
        rank_b = order[i] == b ? i : rank_b;
    }
    return rank_a >= rank_b ? a : b;
}

quant_status cli_may_write(quant_context *ctx, const cli_args *args)
{
    const char *path = args->text[OPT_OUTPUT];
    struct stat s;
    if (!path || !path[0]) {
        return quant_fail(ctx, QUANT_EINVAL, "-o: expected a file to write, found none");
    }
    if (!args->text[OPT_FORCE] && lstat(path, &s) == 0) {
        return quant_fail(ctx, QUANT_EIO, "%s: exists, expected a new file or --force", path);
    }
    return QUANT_OK;
}

quant_status cli_open_importance(quant_context *ctx, const cli_args *args, const quant_bank *bank,
                                 quant_bank **importance)
{
    const char *path = args->text[OPT_IMPORTANCE];
    if (!path) {
        return QUANT_OK;
    }
    QUANT_TRY(quant_bank_open(ctx, path, importance));
    quant_status s = quant_importance_check(ctx, *importance, bank);
    return s == QUANT_OK || s == QUANT_ENOMEM ? s : quant_fail_prefix(ctx, s, path);
}

quant_status cli_one_recipe(quant_context *ctx, const cli_args *args, quant_recipe **recipe)
{
    const char *scheme = args->text[OPT_SCHEME], *file = args->text[OPT_RECIPE];
    if (!scheme == !file) {
        return quant_fail(ctx, QUANT_EINVAL, "expected one of --scheme and --recipe, found %s",
                          scheme ? "both" : "neither");
    }
    if (file) {
        return quant_recipe_read(ctx, file, recipe);
    }
    quant_scheme parsed;
    quant_status s = quant_scheme_parse(ctx, scheme, &parsed);
    return s == QUANT_OK ? quant_recipe_single(ctx, &parsed, recipe)
                         : quant_fail_prefix(ctx, s, "--scheme");
}

static int unknown_verb(quant_context *ctx, const char *word)
{
    const char *meant = cli_verb_suggest(word);
    quant_status s = meant ? quant_fail(ctx, QUANT_EINVAL, "%s: unknown verb, did you mean %s?",
                                        word, meant)
                           : quant_fail(ctx, QUANT_EINVAL, "%s: unknown verb, quant --help lists "
                                        "them", word);
    return cli_fail(ctx, s);
}

static int help(quant_context *ctx, int argc, char **argv)
{
    if (argc < 3) {
        cli_help_all(stdout);
        return 0;
    }
    cli_verb verb = cli_verb_find(argv[2]);
    if (verb == CLI_VERBS) {
        return unknown_verb(ctx, argv[2]);
    }
    cli_help_verb(verb, stdout);
    return 0;
}

static int run_verb(quant_context *ctx, cli_verb verb, int argc, char **argv)
{
    cli_args args;
    int status = 0;
    quant_status s = cli_args_parse(ctx, verb, argc - 2, argv + 2, &args);
    if (s != QUANT_OK) {
        status = cli_fail(ctx, s);
    } else if (args.text[OPT_HELP]) {
        cli_help_verb(verb, stdout);
    } else {
        uint64_t threads = args.number[OPT_THREADS];
        quant_context_set_threads(ctx, threads > 256 ? 256 : (int)threads);
        status = functions[verb](ctx, &args);
    }
    cli_args_free(ctx, &args);
    return status;
}

static int dispatch(quant_context *ctx, int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (!word[0]) {
        return cli_fail(ctx, quant_fail(ctx, QUANT_EINVAL, "expected a verb, found none; quant "
                                        "--help lists them"));
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        return help(ctx, word[0] == '-' ? 2 : argc, argv);
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
        printf("quant %s (%s)\n", quant_version(), quant_isa());
        return 0;
    }
    cli_verb verb = cli_verb_find(word);
    return verb == CLI_VERBS ? unknown_verb(ctx, word) : run_verb(ctx, verb, argc, argv);
}

/* Files that are opened later must not become standard streams: a line meant for the terminal would
 * go into a bank. What was closed opens the wrong way round, so that using it still fails. */
static void occupy_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0) {
            (void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
        }
    }
}

int main(int argc, char **argv)
{
    occupy_standard_streams();
    quant_context *ctx = quant_context_new(NULL);
    if (!ctx) {
        fputs("quant: memory: not enough to begin\n", stderr);
        return quant_status_exit(QUANT_ENOMEM);
    }
    int status = dispatch(ctx, argc, argv);
    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "quant: standard output: writing failed%s%s\n", errno ? ": " : "",
                errno ? strerror(errno) : "");
        status = cli_worse(status, quant_status_exit(QUANT_EIO));
    }
    quant_context_free(ctx);
    return status;
}
