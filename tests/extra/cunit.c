/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cunit.c - runs what was added, in that order. */
#include "tests/extra/CUnit/Basic.h"

#include <setjmp.h>
#include <stdio.h>

enum { SUITES = 128, TESTS = 1024 };

static struct {
    struct cu_suite suites[SUITES];
    struct {
        CU_pSuite suite;
        const char *name;
        cu_test *run;
    } tests[TESTS];
    int suite_count, test_count;
    CU_pSuite current;
    unsigned failures;
    jmp_buf out;
} registry;

CU_ErrorCode CU_initialize_registry(void)
{
    registry.suite_count = registry.test_count = 0;
    registry.failures = 0;
    return CUE_SUCCESS;
}

CU_pSuite CU_add_suite(const char *name, cu_begin *begin, cu_begin *end)
{
    if (registry.suite_count == SUITES || begin || end) {
        return NULL;
    }
    CU_pSuite suite = &registry.suites[registry.suite_count++];
    suite->pName = name;
    return suite;
}

const void *CU_add_test(CU_pSuite suite, const char *name, cu_test *run)
{
    if (registry.test_count == TESTS) {
        return NULL;
    }
    int at = registry.test_count++;
    registry.tests[at].suite = suite;
    registry.tests[at].name = name;
    registry.tests[at].run = run;
    return &registry.tests[at];
}

CU_pSuite CU_get_current_suite(void)
{
    return registry.current;
}

CU_BOOL CU_assertImplementation(CU_BOOL held, unsigned line, const char *condition,
                                const char *file, const char *function, CU_BOOL fatal)
{
    if (!held) {
        registry.failures++;
        printf("\n    %s:%u: %s: %s\n", file, line, function, condition);
        if (fatal) {
            longjmp(registry.out, 1);
        }
    }
    return held;
}

void CU_basic_set_mode(CU_BasicRunMode mode)
{
    (void)mode; /* there is one */
}

/* In a frame of its own, so that no variable of the loop lives across the jump. */
static void run_one(cu_test *run)
{
    if (setjmp(registry.out) == 0) {
        run();
    }
}

CU_ErrorCode CU_basic_run_tests(void)
{
    int failed = 0;
    for (int t = 0; t < registry.test_count; t++) {
        const unsigned before = registry.failures;
        if (registry.current != registry.tests[t].suite) {
            registry.current = registry.tests[t].suite;
            printf("Suite: %s\n", registry.current->pName);
        }
        printf("  Test: %s ...", registry.tests[t].name);
        fflush(stdout);
        run_one(registry.tests[t].run);
        printf("%s\n", registry.failures == before ? "passed" : "FAILED");
        failed += registry.failures != before;
    }
    printf("%d passed, %d failed\n", registry.test_count - failed, failed);
    return CUE_SUCCESS;
}

unsigned CU_get_number_of_failures(void)
{
    return registry.failures;
}

unsigned CU_get_number_of_suites_failed(void)
{
    return 0; /* a suite has no begin that could fail */
}

void CU_cleanup_registry(void)
{
    registry.current = NULL;
}
