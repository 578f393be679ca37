/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/shape.h"
#include "tests/short_memory.h"
#include "tests/test.h"

static void null_context_is_a_context(void)
{
    quant_shape s = {2, {3, 4}};
    uint64_t n = 0;
    CU_ASSERT_EQUAL(quant_shape_elements(NULL, &s, &n), QUANT_OK);
    CU_ASSERT_EQUAL(n, 12);
    CU_ASSERT_EQUAL(quant_context_threads(NULL), 1);
    CU_ASSERT_STRING_EQUAL(quant_context_message(NULL), "");
}

static void shape_product_is_checked(void)
{
    quant_context *ctx = quant_context_new(NULL);
    uint64_t n = 7;
    quant_shape huge = {2, {UINT64_C(1) << 40, UINT64_C(1) << 40}};
    CU_ASSERT_EQUAL(quant_shape_elements(ctx, &huge, &n), QUANT_EOVERFLOW);
    CU_ASSERT_EQUAL(n, 7);
    quant_shape wraps_to_zero = {2, {UINT64_C(1) << 32, UINT64_C(1) << 32}};
    CU_ASSERT_EQUAL(quant_shape_elements(ctx, &wraps_to_zero, &n), QUANT_EOVERFLOW);
    quant_shape empty = {3, {5, 0, 7}};
    CU_ASSERT_EQUAL(quant_shape_elements(ctx, &empty, &n), QUANT_OK);
    CU_ASSERT_EQUAL(n, 0);
    quant_shape deep = {QUANT_MAX_RANK + 1, {0}};
    CU_ASSERT_EQUAL(quant_shape_elements(ctx, &deep, &n), QUANT_EINVAL);
    quant_context_free(ctx);
}

static void message_escapes_control_bytes(void)
{
    quant_context *ctx = quant_context_new(NULL);
    CU_ASSERT_EQUAL(quant_fail(ctx, QUANT_ENAME, "tensor %s", "a\x1b[31m\n"), QUANT_ENAME);
    CU_ASSERT_STRING_EQUAL(quant_context_message(ctx), "tensor a\\x1b[31m\\x0a");
    quant_fail_prefix(ctx, QUANT_ENAME, "bank");
    CU_ASSERT_STRING_EQUAL(quant_context_message(ctx), "bank: tensor a\\x1b[31m\\x0a");
    quant_context_free(ctx);
}

static void allocator_is_used_and_balanced(void)
{
    short_memory c = {.fail_at = 2};
    quant_context *ctx = short_memory_context(&c);
    void *p = quant_alloc(ctx, 100, 3);
    CU_ASSERT_PTR_NOT_NULL(p);
    CU_ASSERT_EQUAL((uintptr_t)p % 64, 0);
    memset(p, 1, 300);
    void *q = quant_alloc(ctx, 1, 1);
    CU_ASSERT_PTR_NULL(q);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "memory"));
    quant_release(ctx, p, 100, 3);
    quant_context_free(ctx);
    CU_ASSERT_EQUAL(c.held, 0);
    void *overflow = quant_alloc(NULL, SIZE_MAX / 2, 3);
    CU_ASSERT_PTR_NULL(overflow);
}

static void every_status_has_a_row(void)
{
    for (int s = 0; s < QUANT_STATUS_COUNT; s++) {
        CU_ASSERT(quant_status_word((quant_status)s)[0] != '\0');
        int e = quant_status_exit((quant_status)s);
        CU_ASSERT(e == 0 || (e >= 2 && e <= 6));
    }
    CU_ASSERT_STRING_EQUAL(quant_status_word(QUANT_STATUS_COUNT), "E_INTERNAL");
}

TEST_SUITE(context,
           {"NULL is a context", null_context_is_a_context},
           {"shape products are checked", shape_product_is_checked},
           {"messages escape control bytes", message_escapes_control_bytes},
           {"allocator hooks are used, aligned and balanced", allocator_is_used_and_balanced},
           {"every status has a row", every_status_has_a_row})
