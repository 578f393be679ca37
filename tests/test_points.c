/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"
#include "tests/kmeans1d_cases.h"
#include "tests/test.h"

enum { MOST = 6000 };

static float x[MOST], importance[MOST];
static double value[MOST], weight[MOST];

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Kinds take every path: tables (bf16; f16 with its subnormals), two digits (13 spare bits, but
 * beyond f16), three digits (all bits), digits that all share, zeros of both signs, both ends. */
static float draw(uint64_t kind)
{
    switch (kind) {
    case 0: return (float)kmeans_normal();
    case 1: return from_bits((uint32_t)kmeans_word() & UINT32_C(0xbf7f0000));
    case 2: return from_bits((uint32_t)kmeans_word() & UINT32_C(0xbf7fe000));
    case 3: return kmeans_below(2) ? 0.0f : -0.0f;
    case 4: return (float)kmeans_below(7) - 3.0f;
    case 5: return from_bits((uint32_t)kmeans_word() & UINT32_C(0x80ffffff)); /* subnormal, tiny */
    case 6: return kmeans_below(2) ? 0x1.fffffep127f : -0x1.fffffep127f;
    case 7: return 1.0f + (float)kmeans_below(9) * 0x1p-23f;
    case 8: return ldexpf((float)((int)kmeans_below(4095) - 2047), (int)kmeans_below(30) - 24);
    default: return from_bits((uint32_t)kmeans_word() & UINT32_C(0xbfffffff));
    }
}

static int ascending(const void *a, const void *b)
{
    const double *p = a, *q = b;
    return (p[0] > q[0]) - (p[0] < q[0]);
}

/* Sort, then count, in doubles: what the radix sort must reproduce. Importance is a small
 * integer, so its sums are exact in any order. */
static size_t collapse_plainly(size_t n, int weighted, double (*pair)[2])
{
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        pair[i][0] = (double)x[i] + 0.0;
        pair[i][1] = weighted ? (double)importance[i] : 1;
    }
    qsort(pair, n, sizeof *pair, ascending);
    for (size_t i = 0; i < n; i++) {
        if (m > 0 && pair[m - 1][0] == pair[i][0]) {
            pair[m - 1][1] += pair[i][1];
        } else {
            memmove(pair[m++], pair[i], sizeof *pair);
        }
    }
    return m;
}

static int agrees(size_t n, int weighted, size_t m)
{
    static double pair[MOST][2];
    double sum = 0;
    int same = m == collapse_plainly(n, weighted, pair);
    for (size_t i = 0; weighted && i < n; i++) {
        sum += (double)importance[i];
    }
    for (size_t j = 0; same && j < m; j++) {
        double least = sum * 0x1p-40 / (double)n;
        double expected = pair[j][1] > least ? pair[j][1] : least;
        same = memcmp(&value[j], &pair[j][0], sizeof(double)) == 0 && weight[j] == expected &&
               weight[j] > 0;
    }
    return same;
}

static void collapse_is_sort_and_count(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        kmeans_seed_case(k + 5000011);
        size_t n = 1 + kmeans_below(k / 20 % 5 ? 200 : MOST), m = 0;
        for (size_t i = 0; i < n; i++) {
            x[i] = draw(k % 10);
            importance[i] = (float)kmeans_below(4);
        }
        importance[0] = 1; /* all zero is another case */
        int weighted = k / 10 % 2 == 1;
        CU_ASSERT_EQUAL(quant_points_collapse(NULL, x, weighted ? importance : NULL, n, value,
                                              weight, &m),
                        QUANT_OK);
        int same = agrees(n, weighted, m);
        CU_ASSERT(same);
        if (!same) {
            test_failed_case(k, "n %zu, %zu distinct, weighted %d", n, m, weighted);
        }
    }
}

static void importance_of_zero_everywhere_is_none(void)
{
    const float y[] = {2, 1, 2, -1}, none[] = {0, 0, 0, 0};
    size_t m = 0;
    CU_ASSERT_EQUAL(quant_points_collapse(NULL, y, none, 4, value, weight, &m), QUANT_OK);
    CU_ASSERT_EQUAL(m, 3);
    CU_ASSERT(value[0] == -1 && value[1] == 1 && value[2] == 2);
    CU_ASSERT(weight[0] == 1 && weight[1] == 1 && weight[2] == 2);
    CU_ASSERT_EQUAL(quant_points_collapse(NULL, y, NULL, 0, value, weight, &m), QUANT_OK);
    CU_ASSERT_EQUAL(m, 0);
}

/* Values of no importance get labels but must not move a centroid beyond their share. */
static void unimportant_values_do_not_count(void)
{
    const float y[] = {-5, -1, 0, 1, 90}, some[] = {0, 1, 0, 1, 0};
    size_t m = 0, first[2];
    double centroid[2];
    quant_clusters c = {.first = first, .centroid = centroid};
    CU_ASSERT_EQUAL(quant_points_collapse(NULL, y, some, 5, value, weight, &m), QUANT_OK);
    quant_points p = {value, weight, m};
    CU_ASSERT_EQUAL(quant_kmeans1d(NULL, &p, 2, &c), QUANT_OK);
    CU_ASSERT(fabs(centroid[0] + 1) < 1e-9 && fabs(centroid[1] - 1) < 1e-9);
    CU_ASSERT(c.sse < 1e-8);
}

static void bad_floats_are_refused(void)
{
    quant_context *ctx = quant_context_new(NULL);
    const float y[] = {1, 2}, nan[] = {1, NAN}, inf[] = {-INFINITY, 1}, negative[] = {1, -1};
    size_t m = 77;
    CU_ASSERT_EQUAL(quant_points_collapse(ctx, nan, NULL, 2, value, weight, &m), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_points_collapse(ctx, inf, NULL, 2, value, weight, &m), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_points_collapse(ctx, y, nan, 2, value, weight, &m), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_points_collapse(ctx, y, negative, 2, value, weight, &m), QUANT_EINVAL);
    CU_ASSERT_STRING_EQUAL(quant_context_message(ctx),
                           "points: importance 1: expected finite and >= 0, found -1");
    CU_ASSERT_EQUAL(quant_points_collapse(ctx, NULL, NULL, 2, value, weight, &m), QUANT_EINVAL);
    CU_ASSERT_EQUAL(m, 77);
    quant_context_free(ctx);
}

static void absurd_sizes_have_no_scratch(void)
{
    CU_ASSERT_EQUAL(quant_points_work_bytes(SIZE_MAX), 0);
    CU_ASSERT(quant_points_work_bytes(1000) >= 16000);
}

TEST_SUITE(points,
           {"collapse is sort and count", collapse_is_sort_and_count},
           {"importance of zero everywhere is none", importance_of_zero_everywhere_is_none},
           {"unimportant values do not count", unimportant_values_do_not_count},
           {"bad floats are refused", bad_floats_are_refused},
           {"absurd sizes have no scratch", absurd_sizes_have_no_scratch})
