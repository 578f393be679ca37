/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The curve over all k, against one call a k and against what curves of optima obey. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kmeans1d_cases.h"
#include "tests/short_memory.h"
#include "tests/test.h"

enum { TRIANGLE = KMEANS_MAX_K * (KMEANS_MAX_K + 1) / 2 };

static double sse[KMEANS_MAX_K], bound[KMEANS_MAX_K], entropy[KMEANS_MAX_K], centroid[TRIANGLE];

static quant_curve room_for(size_t most)
{
    memset(sse, 0xff, sizeof sse);
    memset(bound, 0xff, sizeof bound);
    memset(entropy, 0xff, sizeof entropy);
    memset(centroid, 0xff, sizeof centroid);
    return (quant_curve){most, sse, bound, entropy, centroid};
}

/* Entropy of the clusters by its definition. */
static double entropy_of(const quant_points *p, const kmeans_answer *a)
{
    long double all = 0, bits = 0;
    for (size_t i = 0; i < p->n; i++) {
        all += p->weight ? p->weight[i] : 1;
    }
    for (size_t c = 0; c < a->c.k; c++) {
        long double share = 0;
        for (size_t i = a->first[c]; i < (c + 1 < a->c.k ? a->first[c + 1] : p->n); i++) {
            share += (p->weight ? p->weight[i] : 1) / all;
        }
        bits -= share > 0 ? share * log2l(share) : 0;
    }
    return (double)bits;
}

/* Entry k - 1 is what one call gives, byte for byte. */
static int is_one_call(const quant_points *p, size_t k)
{
    kmeans_answer a;
    const double *row = centroid + k * (k - 1) / 2;
    int same = quant_kmeans1d(NULL, p, k, kmeans_room_of(&a)) == QUANT_OK &&
               memcmp(&sse[k - 1], &a.c.sse, sizeof *sse) == 0 &&
               memcmp(&bound[k - 1], &a.c.lower_bound, sizeof *bound) == 0 &&
               memcmp(row, a.centroid, a.c.k * sizeof *row) == 0;
    for (size_t c = a.c.k; c < k; c++) {
        same = same && row[c] == 0;
    }
    return same && fabs(entropy[k - 1] - entropy_of(p, &a)) <= 1e-9;
}

static int is_a_curve(size_t most, double total)
{
    for (size_t k = 1; k <= most; k++) {
        double slack = 1e-13 * sse[k - 1] + 1e-24 * total;
        if (!(entropy[k - 1] >= 0 && entropy[k - 1] <= log2((double)k) + 1e-12) ||
            (k > 1 && sse[k - 1] > sse[k - 2] + slack) ||
            (k > 1 && k < most && sse[k - 1] > (sse[k - 2] + sse[k]) / 2 + slack)) {
            return 0;
        }
    }
    return 1;
}

static void every_k_is_one_call(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        kmeans_seed_case(k + 6000029);
        quant_points p = kmeans_draw_points(k, k % 50 ? 60 : 1500);
        size_t most = 1 + kmeans_below(k % 25 ? 24 : KMEANS_MAX_K), wrong = 0;
        quant_curve curve = room_for(most);
        CHECK_OK(NULL, quant_kmeans1d_curve(NULL, &p, &curve));
        for (size_t c = 1; c <= most; c++) {
            wrong = !wrong && !is_one_call(&p, c) ? c : wrong;
        }
        int good = wrong == 0 && is_a_curve(most, kmeans_total(&p));
        CU_ASSERT(good);
        if (!good) {
            test_failed_case(k, "n %zu, up to %zu: first wrong at %zu", p.n, most, wrong);
        }
    }
}

static void what_is_not_wanted_is_not_written(void)
{
    kmeans_seed_case(8);
    quant_points p = kmeans_draw_points(3, 200);
    quant_curve all = room_for(40), only = {40, NULL, NULL, NULL, NULL};
    double alone[40];
    CHECK_OK(NULL, quant_kmeans1d_curve(NULL, &p, &all));
    CU_ASSERT_EQUAL(quant_kmeans1d_curve(NULL, &p, &only), QUANT_EINVAL);
    only.sse = alone;
    CHECK_OK(NULL, quant_kmeans1d_curve(NULL, &p, &only));
    CU_ASSERT_EQUAL(memcmp(alone, sse, sizeof alone), 0);
    CU_ASSERT(isnan(sse[40]) && isnan(bound[40]) && isnan(centroid[40 * 41 / 2]));
}

static void broken_contracts_are_refused(void)
{
    const double x[] = {1, 2, 2};
    double one[257];
    quant_points p = {x, NULL, 2};
    quant_curve c = {257, one, NULL, NULL, NULL};
    CU_ASSERT_EQUAL(quant_kmeans1d_curve(NULL, &p, &c), QUANT_EINVAL);
    c.most = 0;
    CU_ASSERT_EQUAL(quant_kmeans1d_curve(NULL, &p, &c), QUANT_EINVAL);
    c.most = 5;
    CU_ASSERT_EQUAL(quant_kmeans1d_curve(NULL, &p, NULL), QUANT_EINVAL);
    p.n = 3;
    CU_ASSERT_EQUAL(quant_kmeans1d_curve(NULL, &p, &c), QUANT_EINVAL);
    p.n = 1;
    CHECK_OK(NULL, quant_kmeans1d_curve(NULL, &p, &c));
    CU_ASSERT(one[0] == 0 && one[4] == 0);
}

static void short_memory_is_reported(void)
{
    const double x[] = {1, 2, 4};
    double one[2];
    quant_points p = {x, NULL, 3};
    quant_curve c = {2, one, NULL, NULL, NULL};
    for (int k = 1; k <= 3; k++) { /* the context is the first */
        short_memory memory = {.fail_at = k, .ever_after = true};
        quant_context *ctx = short_memory_context(&memory);
        quant_status want = k < 3 ? QUANT_ENOMEM : QUANT_OK;
        CU_ASSERT_EQUAL(quant_kmeans1d_curve(ctx, &p, &c), want);
        quant_context_free(ctx);
    }
}

TEST_SUITE(kmeans1d_curve,
           {"every k is one call, and the curve is convex", every_k_is_one_call},
           {"what is not wanted is not written", what_is_not_wanted_is_not_written},
           {"broken contracts are refused", broken_contracts_are_refused},
           {"short memory is reported", short_memory_is_reported})
