/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_nearest.c - nearest vectors against trying all of them in long double, at every level. */
#include <math.h>
#include <string.h>

#include "tests/judge.h"
#include "tests/test.h"

enum { VECTORS = 90, ENTRIES = 256, DIM = 4 };

/* Golden, by hand: ties go to the lower index, repetitions too; weights decide; weights that are
 * all 0 count as 1 and cost nothing. */
static void ties_and_weights(void)
{
    static const float entry[] = {0, 0, 2, 0, 0, 2, 2, 2, 2, 2};
    static const float x[] = {1, 1, 2, 2, 1, 1.5f, 1.5f, 1, 1.5f, 1, 1.5f, 1.75f, 1.5f, 1.75f};
    static const float w[] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0};
    static const uint8_t code[] = {0, 3, 2, 1, 0, 2, 3};
    static const double error[] = {2, 0, 1.25, 1.25, 1, 0.0625, 0};
    const qk_nearest a = {2, 5, entry, x, w};
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        uint8_t codes[7];
        double errors[7];
        if (t) {
            t->nearest_vectors(&a, 7, codes, errors);
            CU_ASSERT_EQUAL(memcmp(codes, code, sizeof code), 0);
            CU_ASSERT_EQUAL(memcmp(errors, error, sizeof error), 0);
        }
    }
}

static long double distance(const qk_nearest *a, size_t i, size_t j, bool counted)
{
    long double sum = 0;
    for (size_t d = 0; d < a->dim; d++) {
        long double e = (long double)a->x[i * a->dim + d] - (long double)a->entry[j * a->dim + d];
        sum += (counted ? (long double)a->w[i * a->dim + d] : 1.0L) * e * e;
    }
    return sum;
}

static bool counts(const qk_nearest *a, size_t i)
{
    bool any = false;
    for (size_t d = 0; d < a->dim; d++) {
        any |= a->w[i * a->dim + d] > 0;
    }
    return any;
}

/* Not farther than any other by more than roundings in double; the error is the distance. */
static size_t wrong_codes(const qk_nearest *a, const uint8_t *codes, const double *error)
{
    size_t wrong = 0;
    for (size_t i = 0; i < VECTORS; i++) {
        const bool counted = counts(a, i);
        long double own = distance(a, i, codes[i], counted), least = own;
        for (size_t j = 0; j < a->entries; j++) {
            long double other = distance(a, i, j, counted);
            least = other < least ? other : least;
        }
        long double told = (long double)error[i];
        wrong += own > least * (1 + 0x1p-49L) + 0x1p-1070L;
        wrong += fabsl(told - (counted ? own : 0)) > own * 0x1p-49L + 0x1p-1070L;
    }
    return wrong;
}

static void nothing_is_nearer(void)
{
    static float x[VECTORS * DIM], w[VECTORS * DIM], entry[ENTRIES * DIM];
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint64_t s = test_seed() + 31 * k;
        const size_t dim = k % 2 ? 4 : 2, entries = (size_t)judge_between(&s, 1, ENTRIES);
        const int fill = judge_between(&s, 0, JUDGE_NONFINITE - 1);
        judge_fill(x, VECTORS * dim, fill, s);
        judge_fill(entry, entries * dim, fill, s + 1);
        judge_fill(w, VECTORS * dim, k % 3 ? JUDGE_GAUSS : JUDGE_ANY_BITS, s + 2);
        for (size_t i = 0; i < VECTORS * dim; i++) {
            w[i] = judge_between(&s, 0, 2) ? fabsf(w[i]) : 0.0f;
        }
        const qk_nearest a = {dim, entries, entry, x, w};
        uint8_t codes[VECTORS];
        double error[VECTORS];
        qk()->nearest_vectors(&a, VECTORS, codes, error);
        size_t wrong = wrong_codes(&a, codes, error);
        if (wrong) {
            test_failed_case(k, "%zu entries of %zu, fill %d: %zu wrong", entries, dim, fill,
                             wrong);
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

TEST_SUITE(nearest, {"ties and weights", ties_and_weights},
           {"nothing is nearer", nothing_is_nearer})
