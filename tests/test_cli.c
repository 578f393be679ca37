/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_cli.c - the command line: exit statuses, messages, help, and where output goes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/random.h"
#include "tests/cli_banks.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"

static const char *const verb_names[] = {
#define QUANT_VERB(id, name, operands, least, most, summary) #name,
#include "quant/cli/verbs.def"
#undef QUANT_VERB
};

static const struct {
    const char *name;
    char letter;
} option_names[] = {
#define QUANT_OPTION(id, name, letter, kind, argument, verbs, help) {name, letter},
#include "quant/cli/options.def"
#undef QUANT_OPTION
};
enum {
    VERBS = sizeof verb_names / sizeof *verb_names,
    OPTIONS = sizeof option_names / sizeof *option_names
};

static int count_lines(const char *text)
{
    int lines = 0;
    for (; *text; text++) {
        lines += *text == '\n';
    }
    return lines;
}

/* One line that begins with "quant: ", or nothing when the status is 0. */
static int speaks_properly(const run_result *r)
{
    if (r->status == 0) {
        return r->err[0] == '\0';
    }
    return count_lines(r->err) == 1 && strncmp(r->err, "quant: ", 7) == 0 &&
           r->err[strlen(r->err) - 1] == '\n';
}

typedef struct expectation {
    int status;
    const char *arguments; /* after "$QUANT"; %s is the path of the bank */
    const char *says;      /* on stderr; NULL: nothing */
} expectation;

static void expect_each(const char *bank, const expectation *e, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char arguments[8192];
        const char *hole = strstr(e[i].arguments, "%s");
        if (hole) {
            snprintf(arguments, sizeof arguments, "%.*s%s%s", (int)(hole - e[i].arguments),
                     e[i].arguments, bank, hole + 2);
        } else {
            snprintf(arguments, sizeof arguments, "%s", e[i].arguments);
        }
        run_result r = run_shell("\"$QUANT\" %s", arguments);
        int good = r.status == e[i].status && speaks_properly(&r) &&
                   (!e[i].says || strstr(r.err, e[i].says));
        CU_ASSERT(good);
        if (!good) {
            printf("\n    quant %s\n    gave %d (expected %d): %s", arguments, r.status,
                   e[i].status, r.err);
        }
        run_free(&r);
    }
}
#define EXPECT_EACH(bank, list) expect_each(bank, list, sizeof(list) / sizeof *(list))

static void usage_errors_are_2(void)
{
    static const expectation list[] = {
        {2, "", "expected a verb"},
        {2, "compar x", "did you mean compare?"},
        {2, "xyzzy", "quant --help"},
        {2, "help nothing", "unknown verb"},
        {2, "compare", "expected BANK..."},
        {2, "compare --shcemes bf16 %s", "did you mean --schemes?"},
        {2, "compare --force %s", "not an option of compare"},
        {2, "compare -z %s", "-z: unknown option"},
        {2, "compare %s --threads", "expected N after it"},
        {2, "compare %s --threads --quiet", "found --quiet"},
        {2, "compare %s --threads -1", "whole number"},
        {2, "compare %s --seed 99999999999999999999", "whole number"},
        {2, "compare %s --predict=yes", "expected no value"},
        {2, "compare %s --format xml", "table|json|csv"},
        {2, "compare %s --seed 1 --seed 1", "found twice"},
        {2, "compare %s --schemes int5:tensor", "int5:tensor"},
        {2, "compare %s --schemes 'bf16;'", "--schemes"},
        {2, "compare %s --schemes bf16 --recipe r", "found both"},
        {2, "compare %s --probe 2 --inputs r", "found both"},
        {2, "compare %s --against r --schemes bf16", "--against"},
        {2, "compare %s --metric loss", "relative_error"},
        {2, "compare %s --metric output.cosine", "--probe or --inputs"},
        {2, "compare %s --gate 'beauty>=1'", "--gate"},
        {2, "compare %s --tensors 'nothing*' --schemes bf16", "glob"},
        {2, "inspect %s --tensors 'nothing*'", "glob"},
        {2, "encode %s -o x", "--scheme and --recipe"},
        {2, "encode %s --scheme bf16", "-o"},
        {2, "schemes extra", "no file"},
        {2, "schemes --check lut5:tensor", "lut5:tensor"},
    };
    EXPECT_EACH(cli_bank_good(), list);
}

static void each_class_of_error_has_its_status(void)
{
    static const expectation of_good[] = {
        {0, "compare %s --schemes int8:tensor", NULL},
        {0, "compare %s --schemes int8:tensor --gate 'cosine>=0.99'", NULL},
        {1, "compare %s --schemes lut1:tensor --gate 'cosine>=0.99'", "expected cosine>=0.99"},
        {1, "compare %s --schemes lut1:tensor --gate 'cosine>=0.1,sqnr_db>=90'", "1 of 2 failed"},
        {1, "compare %s --schemes bf16 --gate 'output.cosine>=0.1'", "output.cosine"},
        {5, "compare no/such/file", "no/such/file"},
        {5, "compare -- --schemes", "--schemes: "},
        {5, "compare %s --recipe no/recipe", "no/recipe"},
        {5, "encode %s -o no/such/folder/x --scheme bf16", "no/such/folder"},
        {3, "decode %s -o x.never", "quant.pack/1"},
        {0, "inspect %s", NULL},
        {0, "inspect %s --format json", NULL},
        {0, "compare %s --schemes int8:tensor --quiet --threads=1", NULL}};
    static const expectation of_nan[] = {
        {3, "compare %s --schemes int8:tensor", "nan.safetensors: tensor bad: "},
        {0, "compare %s --schemes int8:tensor --nonfinite=keep", NULL},
        {3, "encode %s -o x.never --scheme int8:tensor", "bad"},
        {0, "inspect %s", NULL}};
    static const expectation of_garbage[] = {
        {3, "compare %s", "garbage.bin"}, {3, "inspect %s", "garbage.bin"},
        {3, "encode %s -o x.never --scheme bf16", "garbage.bin"}};
    static const expectation of_unsupported[] = {
        {4, "compare %s", "found F8_E4M3"}, {0, "inspect %s", NULL},
        {4, "encode %s -o x.never --scheme bf16", "f8.safetensors"}};
    static const expectation of_empty[] = {{0, "compare %s", NULL}, {0, "inspect %s", NULL},
                                           {1, "compare %s --gate 'cosine>=0'", "no row"}};
    EXPECT_EACH(cli_bank_good(), of_good);
    EXPECT_EACH(cli_bank_nan(), of_nan);
    EXPECT_EACH(cli_bank_garbage(), of_garbage);
    EXPECT_EACH(cli_bank_unsupported(), of_unsupported);
    EXPECT_EACH(cli_bank_empty(), of_empty);
}

/* Two lines here: the refused tensor and the gate. The refusal decides. */
static void refusal_wins_over_a_gate(void)
{
    run_result r = run_shell("\"$QUANT\" compare '%s' --schemes lut1:tensor --gate 'cosine>=0.99'",
                             cli_bank_nan());
    CU_ASSERT_EQUAL(r.status, 3);
    CU_ASSERT_EQUAL(count_lines(r.err), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err, "gate"));
    run_free(&r);
}

static void names_are_escaped(void)
{
    run_result r = run_shell("\"$QUANT\" inspect \"$(printf 'no\\033[31m\\nsuch\\177')\"");
    CU_ASSERT_EQUAL(r.status, 5);
    CU_ASSERT(speaks_properly(&r));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err, "no\\x1b[31m\\x0asuch\\x7f"));
    run_free(&r);
}

static void help_lists_what_there_is(void)
{
    run_result all = run_shell("\"$QUANT\" --help");
    run_result each = run_shell("for v in inspect compare encode decode forward propagate "
                                "calibrate gate schemes; do \"$QUANT\" help $v; "
                                "\"$QUANT\" $v --help; done");
    CU_ASSERT_EQUAL(all.status, 0);
    CU_ASSERT_EQUAL(each.status, 0);
    for (int v = 0; v < VERBS; v++) {
        char text[64];
        snprintf(text, sizeof text, "quant %s", verb_names[v]);
        CU_ASSERT_PTR_NOT_NULL(strstr(all.out, text));
        CU_ASSERT_PTR_NOT_NULL(strstr(each.out, text));
    }
    for (int o = 0; o < OPTIONS; o++) {
        char text[64];
        snprintf(text, sizeof text, "--%s", option_names[o].name);
        CU_ASSERT_PTR_NOT_NULL(strstr(each.out, text));
    }
    run_free(&all);
    run_free(&each);
}

/* The manual writes "-" as "\-"; it names every verb, option and letter. */
static void manual_tells_the_same(void)
{
    size_t bytes;
    char *page = scratch_get("quant/cli/quant.1", &bytes);
    CU_ASSERT_PTR_NOT_NULL_FATAL(page);
    for (int v = 0; v < VERBS; v++) {
        char text[64];
        snprintf(text, sizeof text, ".TP\n.B %s\n", verb_names[v]);
        CU_ASSERT_PTR_NOT_NULL(strstr(page, text));
    }
    for (int o = 0; o < OPTIONS; o++) {
        char text[64] = "\\-\\-";
        for (const char *p = option_names[o].name; *p; p++) {
            snprintf(text + strlen(text), sizeof text - strlen(text), *p == '-' ? "\\-" : "%c", *p);
        }
        CU_ASSERT_PTR_NOT_NULL(strstr(page, text));
        snprintf(text, sizeof text, "\\-%c,", option_names[o].letter);
        CU_ASSERT(!option_names[o].letter || strstr(page, text));
    }
    free(page);
}

static void version_is_said(void)
{
    run_result r = run_shell("\"$QUANT\" --version");
    CU_ASSERT_EQUAL(r.status, 0);
    CU_ASSERT_NSTRING_EQUAL(r.out, "quant ", 6);
    CU_ASSERT_EQUAL(count_lines(r.out), 1);
    run_free(&r);
}

static void full_device_is_noticed(void)
{
    static const char *const arguments[] = {"--help", "schemes", "compare --schemes int8:tensor",
                                            "compare --schemes int8:tensor --format json",
                                            "compare --schemes int8:tensor --format csv",
                                            "inspect", "inspect --format json"};
    const char *bank = cli_bank_good();
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        int has_bank = strncmp(arguments[i], "--", 2) != 0 && strcmp(arguments[i], "schemes") != 0;
        run_result r = run_shell("\"$QUANT\" %s %s > /dev/full", arguments[i],
                                 has_bank ? bank : "");
        CU_ASSERT_EQUAL(r.status, 5);
        CU_ASSERT(speaks_properly(&r));
        run_free(&r);
    }
}

/* The shell writes until its reader is gone, then the command meets a closed pipe. */
static void closed_pipe_is_quiet(void)
{
    run_result r = run_shell("( trap '' PIPE; while printf x 2> /dev/null; do :; done; "
                             "trap - PIPE; \"$QUANT\" schemes; echo $? >&2 ) | true");
    CU_ASSERT_STRING_EQUAL(r.err, "141\n");
    run_free(&r);
}

/* Command lines of random words end with a status of the table and at most a line an operand. */
static void random_words_do_no_harm(void)
{
    static const char *const words[] = {
        "--schemes", "int8:tensor", "lut2:group=8,", "--", "-q", "--gate", "'cosine>=0.9'", "=",
        "--format=json", "--format", "csv", "--seed=7", "--probe", "2", "--threads=2", "''", "-",
        "--predict", "--metric=mse", "--tensors", "'a*'", "--verbose", "--timing", "--schemes=bf16",
        "--no-such", "-x", "--min-elements=100", "--nonfinite=keep", "--check", "--h", "--dtype"};
    const char *bank = cli_bank_good();
    uint64_t last = test_is_long() || test_last_case() - test_first_case() == 1
                        ? test_last_case() : test_first_case() + 150;
    for (uint64_t k = test_first_case(); k < last; k++) {
        quant_random r = quant_random_stream(test_seed() + k, "words");
        char line[1024] = "";
        uint64_t n = quant_random_below(&r, 0, 7);
        for (uint64_t i = 1; i <= n; i++) {
            strcat(line, " ");
            strcat(line, words[quant_random_below(&r, i, sizeof words / sizeof *words)]);
        }
        const char *verb = verb_names[quant_random_below(&r, 100, 2)];
        run_result got = run_shell("\"$QUANT\" %s%s %s", verb, line, bank);
        int good = got.status >= 0 && got.status <= 5 &&
                   count_lines(got.err) <= 1 + (int)n &&
                   (got.status == 0) == (got.err[0] == '\0') &&
                   (got.status != 2 || got.out_bytes == 0 || strstr(line, "--tensors"));
        CU_ASSERT(good);
        if (!good) {
            test_failed_case(k, "quant %s%s: %d: %s", verb, line, got.status, got.err);
        }
        run_free(&got);
    }
}

TEST_SUITE(cli,
           {"usage errors are 2, one line, with a suggestion", usage_errors_are_2},
           {"each class of error has its status", each_class_of_error_has_its_status},
           {"a refusal wins over a gate", refusal_wins_over_a_gate},
           {"names in messages are escaped", names_are_escaped},
           {"help lists every verb and option", help_lists_what_there_is},
           {"the manual names every verb and option", manual_tells_the_same},
           {"the version is said", version_is_said},
           {"a full device is noticed", full_device_is_noticed},
           {"a closed pipe is quiet", closed_pipe_is_quiet},
           {"random words do no harm", random_words_do_no_harm})
