/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test.h - how a suite is written here.
 *
 * A suite is one file tests/test_NAME.c that ends with
 *     TEST_SUITE(NAME, { "reads as a sentence", function }, ...)
 * and one line SUITE(NAME) in tests/suites.def. Functions use CUnit's assertions. */
#ifndef QUANT_TESTS_TEST_H
#define QUANT_TESTS_TEST_H

#include <CUnit/CUnit.h>
#include <stddef.h>
#include <stdint.h>

typedef struct test_case {
    const char *name;
    void (*run)(void);
} test_case;

#define TEST_SUITE(NAME, ...) \
    extern const test_case suite_##NAME[]; \
    const test_case suite_##NAME[] = {__VA_ARGS__, {NULL, NULL}};

/* Seed of this run: --seed N, or a fixed default, so that a plain run repeats. Property tests
 * draw each case from (seed, property, case) and call test_failed_case on failure, so that the line
 * "rerun with: --filter SUITE --seed N --case K" appears. */
uint64_t test_seed(void);
/* Number of random cases: at least 1000 by default; --cases N. When --case K was given only that
 * case is to be run: use  for (k = test_first_case(); k < test_last_case(); k++). */
uint64_t test_first_case(void);
uint64_t test_last_case(void);
void test_failed_case(uint64_t k, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Say why something is not tested here (absent bank, absent processor feature); counted and
 * printed at the end, never counted as passed. */
void test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* True in the longer tier (`make ci`): --long. */
int test_is_long(void);

/* Path of a file in the shared banks (QUANT_BANKS, default ../shared/banks); NULL and a skip when
 * it is not there. Static buffer, valid until the next call. */
const char *test_bank_path(const char *relative);
/* Path of a scratch file in a folder of this run, removed at exit. Static ring of 8 buffers. */
const char *test_scratch_path(const char *name);

#define CHECK_OK(ctx, call)                                                              \
    do {                                                                                 \
        quant_status check_ = (call);                                                    \
        if (check_ != QUANT_OK) {                                                        \
            test_note_failure(__FILE__, __LINE__, #call, (int)check_, \
                              quant_context_message(ctx));                                \
        }                                                                                \
        CU_ASSERT_EQUAL(check_, QUANT_OK);                                               \
    } while (0)
void test_note_failure(const char *file, int line, const char *call, int status,
                       const char *message);

#endif
