/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CUnit.h - as much of CUnit's interface as the suites here use, for processors for which it is not
 * installed. An assertion counts and prints; a fatal one ends its test. */
#ifndef QUANT_TESTS_EXTRA_CUNIT_H
#define QUANT_TESTS_EXTRA_CUNIT_H

#include <math.h>
#include <string.h>

typedef int CU_BOOL;
#define CU_TRUE 1
#define CU_FALSE 0
typedef struct cu_suite {
    const char *pName;
} *CU_pSuite;

CU_pSuite CU_get_current_suite(void);

/* Returns `held`; where it is false the failure is printed, and a fatal one does not return. */
CU_BOOL CU_assertImplementation(CU_BOOL held, unsigned line, const char *condition,
                                const char *file, const char *function, CU_BOOL fatal);
#define CU_TOLD(held, text, fatal) \
    ((void)CU_assertImplementation((held), __LINE__, (text), __FILE__, __func__, (fatal)))

#define CU_FAIL(text) CU_TOLD(CU_FALSE, text, CU_FALSE)
#define CU_ASSERT(v) CU_TOLD((v), #v, CU_FALSE)
#define CU_ASSERT_FATAL(v) CU_TOLD((v), #v, CU_TRUE)
#define CU_ASSERT_TRUE(v) CU_TOLD((v), #v, CU_FALSE)
#define CU_ASSERT_FALSE(v) CU_TOLD(!(v), "not " #v, CU_FALSE)
#define CU_ASSERT_EQUAL(a, b) CU_TOLD((a) == (b), #a " equals " #b, CU_FALSE)
#define CU_ASSERT_EQUAL_FATAL(a, b) CU_TOLD((a) == (b), #a " equals " #b, CU_TRUE)
#define CU_ASSERT_NOT_EQUAL(a, b) CU_TOLD((a) != (b), #a " differs from " #b, CU_FALSE)
#define CU_ASSERT_PTR_EQUAL(a, b) \
    CU_TOLD((const void *)(a) == (const void *)(b), #a " equals " #b, CU_FALSE)
#define CU_ASSERT_PTR_NULL(p) CU_TOLD((p) == NULL, #p " is NULL", CU_FALSE)
#define CU_ASSERT_PTR_NOT_NULL(p) CU_TOLD((p) != NULL, #p " is not NULL", CU_FALSE)
#define CU_ASSERT_PTR_NOT_NULL_FATAL(p) CU_TOLD((p) != NULL, #p " is not NULL", CU_TRUE)
#define CU_ASSERT_STRING_EQUAL(a, b) CU_TOLD(strcmp((a), (b)) == 0, #a " reads " #b, CU_FALSE)
#define CU_ASSERT_STRING_NOT_EQUAL(a, b) \
    CU_TOLD(strcmp((a), (b)) != 0, #a " does not read " #b, CU_FALSE)
#define CU_ASSERT_NSTRING_EQUAL(a, b, n) \
    CU_TOLD(strncmp((a), (b), (n)) == 0, #a " begins " #b, CU_FALSE)
#define CU_ASSERT_DOUBLE_EQUAL(a, b, tolerance) \
    CU_TOLD(fabs((double)(a) - (double)(b)) <= fabs((double)(tolerance)), #a " is near " #b,  \
            CU_FALSE)

#endif
