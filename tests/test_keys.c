/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_keys.c - the histogram of 16-bit floats, against their definition. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "tests/test.h"

enum { CODES = 1 << 16 };

/* Bits of the fraction and the bias of both types. */
static const struct type {
    int fraction, bias;
} types[2] = {{10, 15}, {7, 127}};

static double value_of(const struct type *t, uint32_t code)
{
    uint32_t low = code & ((1u << t->fraction) - 1), high = (code & 0x7fffu) >> t->fraction;
    double x = high ? ldexp(low + ldexp(1, t->fraction), (int)high - t->bias - t->fraction)
                    : ldexp(low, 1 - t->bias - t->fraction);
    return code & 0x8000u ? -x : x;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* All finite values of the type but -0, ascending. */
static size_t all_values(const struct type *t, float *x)
{
    size_t n = 0;
    for (uint32_t code = 0; code < CODES; code++) {
        if ((code & 0x7fffu) >> t->fraction != 2u * (uint32_t)t->bias + 1 && code != 0x8000u) {
            x[n++] = (float)value_of(t, code);
        }
    }
    qsort(x, n, sizeof *x, ascending);
    return n;
}

static size_t count(const qk_table *t, int type, const float *x, size_t n, qk_keys k)
{
    return type ? t->count_bf16(x, n, k) : t->count_f16(x, n, k);
}

/* One key a value, in their order, with a gap where -0 is not. */
static void keys_ascend_with_values(void)
{
    static float x[CODES];
    static uint32_t table[CODES];
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        for (int type = 0; t && type < 2; type++) {
            size_t n = all_values(&types[type], x), wrong = 0;
            uint32_t first = 0x8000u - (uint32_t)(n / 2) - 1; /* zero has key 2^15 */
            memset(table, 0, sizeof table);
            CU_ASSERT_EQUAL(count(t, type, x, n, (qk_keys){0, CODES, table}), n);
            for (uint32_t key = 0; key < CODES; key++) {
                wrong += table[key] != (key >= first && key < first + n + 1 && key != 0x7fffu);
            }
            for (size_t i = 0; i < n; i++) {
                uint32_t own = first + (uint32_t)i + (x[i] >= 0), one = 5;
                wrong += count(t, type, &x[i], 1, (qk_keys){own, 1, &one}) != 1 || one != 6;
            }
            CU_ASSERT_EQUAL(wrong, 0);
        }
    }
}

/* Whatever lies between two values stops the count, and so does a key that is not there. */
static void others_stop_the_count(void)
{
    static float x[CODES], y[64];
    uint32_t table[8] = {0};
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        for (int type = 0; t && type < 2; type++) {
            size_t n = all_values(&types[type], x), wrong = 0;
            for (size_t i = 0; i < n; i++) {
                float odd[2] = {nextafterf(x[i], INFINITY), nextafterf(x[i], -INFINITY)};
                for (int r = 0; r < 2; r++) {
                    bool whole = (i > 0 && odd[r] == x[i - 1]) || (i + 1 < n && odd[r] == x[i + 1]);
                    wrong += !whole && isfinite(odd[r]) &&
                             count(t, type, &odd[r], 1, (qk_keys){0x8000u, 1, table}) != 0;
                }
            }
            CU_ASSERT_EQUAL(wrong, 0);
            for (int i = 0; i < 64; i++) {
                for (int j = 0; j < 64; j++) {
                    y[j] = j % 2 ? 0.0f : -0.0f;
                }
                y[i] = x[n / 2 + 9]; /* key 2^15 + 9, one too many */
                memset(table, 0, sizeof table);
                CU_ASSERT_EQUAL(count(t, type, y, 64, (qk_keys){0x8000u, 8, table}), (size_t)i);
                CU_ASSERT_EQUAL(table[0], (uint32_t)i);
            }
        }
    }
}

TEST_SUITE(keys, {"keys ascend with values", keys_ascend_with_values},
           {"others stop the count", others_stop_the_count})
