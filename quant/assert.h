/* SPDX-License-Identifier: Apache-2.0 */
/* assert.h - numerical assertions for CUnit suites, on top of libquant.
 *
 *     #include <quant/assert.h>
 *     QUANT_ASSERT_COSINE(expected, actual, n, 0.97);
 *
 * expected and actual are arrays of n floats. A failure tells metric, value, limit and the index
 * of the largest difference with both values. NaN or infinity on either side, n = 0 and two
 * all-zero arrays fail every one of them. The _FATAL ones end the test function. */
#ifndef QUANT_ASSERT_H
#define QUANT_ASSERT_H

#include <CUnit/CUnit.h>

#include "quant/fidelity.h"

typedef struct quant_assert_site {
    const char *file, *function;
    unsigned line;
    CU_BOOL fatal;
} quant_assert_site;

static inline void quant_assert_metric(quant_metric_id metric, double limit, const float *expected,
                                       const float *actual, size_t n, quant_assert_site at)
{
    char message[QUANT_CHECK_MESSAGE];
    bool held = quant_fidelity_check(metric, limit, expected, actual, n, message, sizeof message);
    CU_assertImplementation(held ? CU_TRUE : CU_FALSE, at.line, message, at.file, at.function,
                            at.fatal);
}

#define QUANT_ASSERT_METRIC_(metric, expected, actual, n, limit, fatal)                        \
    do {                                                                                       \
        const quant_assert_site quant_site_ = {__FILE__, __func__, __LINE__, (fatal)};         \
        quant_assert_metric((metric), (limit), (expected), (actual), (n), quant_site_);        \
    } while (0)

/* cosine >= minimum; 20 log10(|w|/|e|) >= minimum_db, exact equality passing any; |e|/|w| <=
 * maximum; max |e| <= maximum. */
#define QUANT_ASSERT_COSINE(expected, actual, n, minimum) \
    QUANT_ASSERT_METRIC_(QUANT_COSINE, expected, actual, n, minimum, CU_FALSE)
#define QUANT_ASSERT_SQNR(expected, actual, n, minimum_db) \
    QUANT_ASSERT_METRIC_(QUANT_SQNR_DB, expected, actual, n, minimum_db, CU_FALSE)
#define QUANT_ASSERT_RELATIVE_ERROR(expected, actual, n, maximum) \
    QUANT_ASSERT_METRIC_(QUANT_RELATIVE_ERROR, expected, actual, n, maximum, CU_FALSE)
#define QUANT_ASSERT_MAX_ERROR(expected, actual, n, maximum) \
    QUANT_ASSERT_METRIC_(QUANT_MAX_ABS_ERROR, expected, actual, n, maximum, CU_FALSE)

#define QUANT_ASSERT_COSINE_FATAL(expected, actual, n, minimum) \
    QUANT_ASSERT_METRIC_(QUANT_COSINE, expected, actual, n, minimum, CU_TRUE)
#define QUANT_ASSERT_SQNR_FATAL(expected, actual, n, minimum_db) \
    QUANT_ASSERT_METRIC_(QUANT_SQNR_DB, expected, actual, n, minimum_db, CU_TRUE)
#define QUANT_ASSERT_RELATIVE_ERROR_FATAL(expected, actual, n, maximum) \
    QUANT_ASSERT_METRIC_(QUANT_RELATIVE_ERROR, expected, actual, n, maximum, CU_TRUE)
#define QUANT_ASSERT_MAX_ERROR_FATAL(expected, actual, n, maximum) \
    QUANT_ASSERT_METRIC_(QUANT_MAX_ABS_ERROR, expected, actual, n, maximum, CU_TRUE)

#endif
