/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main.c - runs the suites of suites.def.
 * main [--list] [--filter SUITE] [--seed N] [--cases N] [--case K] [--long] */
#include <CUnit/Basic.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/test.h"

#ifndef SUITES_DEF /* the extra tier has a list of its own */
#define SUITES_DEF "tests/suites.def"
#endif
#define SUITE(name) extern const test_case suite_##name[];
#include SUITES_DEF
#undef SUITE

static const struct {
    const char *name;
    const test_case *cases;
} suites[] = {
#define SUITE(name) {#name, suite_##name},
#include SUITES_DEF
#undef SUITE
};
enum { SUITES = sizeof suites / sizeof *suites, SKIP_KINDS = 64 };

static struct {
    const char *filter;
    uint64_t seed, cases;
    int64_t only_case;
    int is_long;
    char scratch[64];
    char skips[SKIP_KINDS][200];
    int skipped;
} run = {NULL, 20260101, 1000, -1, 0, "", {""}, 0};

uint64_t test_seed(void)
{
    return run.seed;
}

uint64_t test_first_case(void)
{
    return run.only_case < 0 ? 0 : (uint64_t)run.only_case;
}

uint64_t test_last_case(void)
{
    return run.only_case < 0 ? run.cases : (uint64_t)run.only_case + 1;
}

int test_is_long(void)
{
    return run.is_long;
}

void test_failed_case(uint64_t k, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("\n    case %" PRIu64 ": ", k);
    vprintf(format, args);
    va_end(args);
    printf("\n    rerun with: build/tests/main --filter %s --seed %" PRIu64 " --case %" PRIu64 "\n",
           CU_get_current_suite()->pName, run.seed, k);
}

void test_skip(const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (int i = 0; i < run.skipped; i++) {
        if (strcmp(run.skips[i], text) == 0) {
            return;
        }
    }
    if (run.skipped < SKIP_KINDS) {
        snprintf(run.skips[run.skipped++], sizeof text, "%s", text);
    }
}

const char *test_bank_path(const char *relative)
{
    static char path[4096];
    const char *root = getenv("QUANT_BANKS");
    snprintf(path, sizeof path, "%s/%s", root ? root : "../shared/banks", relative);
    if (access(path, R_OK) != 0) {
        test_skip("bank %s is not here", relative);
        return NULL;
    }
    return path;
}

const char *test_scratch_path(const char *name)
{
    static char ring[8][4096];
    static int turn;
    char *p = ring[turn++ % 8];
    snprintf(p, sizeof ring[0], "%s/%s", run.scratch, name);
    return p;
}

void test_note_failure(const char *file, int line, const char *call, int status,
                       const char *message)
{
    printf("\n    %s:%d: %s gave status %d: %s\n", file, line, call, status, message);
}

static void remove_scratch(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", run.scratch);
    if (run.scratch[0] && system(command) != 0) {
        perror(command);
    }
}

static void usage_and_exit(const char *word)
{
    fprintf(stderr, "unknown or incomplete option %s\nmain [--list] [--filter SUITE] [--seed N] "
            "[--cases N] [--case K] [--long]\n", word);
    exit(2);
}

static void parse_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--long") == 0) {
            run.is_long = 1;
        } else if (strcmp(argv[i], "--list") == 0) {
            for (int s = 0; s < SUITES; s++) {
                for (const test_case *t = suites[s].cases; t->name; t++) {
                    printf("%s: %s\n", suites[s].name, t->name);
                }
            }
            exit(0);
        } else if (!value) {
            usage_and_exit(argv[i]);
        } else if (strcmp(argv[i], "--filter") == 0) {
            run.filter = argv[++i];
        } else if (strcmp(argv[i], "--seed") == 0) {
            run.seed = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--cases") == 0) {
            run.cases = strtoull(argv[++i], NULL, 0);
        } else if (strcmp(argv[i], "--case") == 0) {
            run.only_case = (int64_t)strtoull(argv[++i], NULL, 0);
        } else {
            usage_and_exit(argv[i]);
        }
    }
}

static int add_suites(void)
{
    int added = 0;
    for (int s = 0; s < SUITES; s++) {
        if (run.filter && strcmp(run.filter, suites[s].name) != 0) {
            continue;
        }
        CU_pSuite suite = CU_add_suite(suites[s].name, NULL, NULL);
        for (const test_case *t = suites[s].cases; suite && t->name; t++) {
            if (CU_add_test(suite, t->name, t->run)) {
                added++;
            }
        }
    }
    return added;
}

/* Whoever started this may ignore signals (nohup, a shell's background), and commands would inherit
 * that: the tests of what a signal does begin from the default. */
static void take_signals_as_usual(void)
{
    static const int usual[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE, SIGXFSZ, SIGCHLD};
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        signal(usual[i], SIG_DFL);
    }
}

int main(int argc, char **argv)
{
    take_signals_as_usual();
    parse_options(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    strcpy(run.scratch, "/tmp/quant-tests-XXXXXX");
    if (!mkdtemp(run.scratch) || CU_initialize_registry() != CUE_SUCCESS) {
        perror(run.scratch);
        return 1;
    }
    atexit(remove_scratch);
    if (add_suites() == 0) {
        fprintf(stderr, "no test matches\n");
        return 2;
    }
    printf("seed %" PRIu64 ", %" PRIu64 " random cases a property\n", run.seed, run.cases);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
    for (int i = 0; i < run.skipped; i++) {
        printf("skipped: %s\n", run.skips[i]);
    }
    CU_cleanup_registry();
    return failed ? 1 : 0;
}
