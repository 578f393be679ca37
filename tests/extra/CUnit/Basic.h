/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Basic.h - registry and runner, as tests/main.c uses them. */
#ifndef QUANT_TESTS_EXTRA_BASIC_H
#define QUANT_TESTS_EXTRA_BASIC_H

#include "tests/extra/CUnit/CUnit.h"

typedef enum CU_ErrorCode { CUE_SUCCESS, CUE_NOMEMORY } CU_ErrorCode;
typedef enum CU_BasicRunMode { CU_BRM_VERBOSE } CU_BasicRunMode;
typedef int cu_begin(void);
typedef void cu_test(void);

CU_ErrorCode CU_initialize_registry(void);
CU_pSuite CU_add_suite(const char *name, cu_begin *begin, cu_begin *end); /* both NULL */
const void *CU_add_test(CU_pSuite suite, const char *name, cu_test *run);
void CU_basic_set_mode(CU_BasicRunMode mode);
/* Ends with the line "N passed, N failed", of tests. */
CU_ErrorCode CU_basic_run_tests(void);
unsigned CU_get_number_of_failures(void); /* assertions */
unsigned CU_get_number_of_suites_failed(void);
void CU_cleanup_registry(void);

#endif
