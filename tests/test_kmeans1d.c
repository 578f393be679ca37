/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"
#include "tests/kmeans1d_cases.h"
#include "tests/short_memory.h"
#include "tests/test.h"

static int same_answer(const kmeans_answer *a, const kmeans_answer *b, double total)
{
    if (a->c.k != b->c.k || memcmp(a->first, b->first, a->c.k * sizeof *a->first) != 0 ||
        memcmp(a->centroid, b->centroid, a->c.k * sizeof *a->centroid) != 0) {
        return 0;
    }
    return kmeans_near(a->c.sse, b->c.sse, 1e-12, 0) &&
           kmeans_near(a->c.lower_bound, a->c.sse, 1e-9, 1e-24 * total);
}

static void agrees_with_the_reference(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        kmeans_seed_case(k);
        quant_points p = kmeans_draw_points(k, 120);
        size_t clusters = kmeans_draw_k(p.n);
        kmeans_answer fast, slow;
        CHECK_OK(NULL, quant_kmeans1d(NULL, &p, clusters, kmeans_room_of(&fast)));
        CHECK_OK(NULL, quant_kmeans1d_reference(NULL, &p, clusters, kmeans_room_of(&slow)));
        int same = same_answer(&fast, &slow, kmeans_total(&p));
        CU_ASSERT(same);
        if (!same) {
            test_failed_case(k, "n %zu, k %zu: SSE %.17g, reference %.17g, bound %.17g", p.n,
                             clusters, fast.c.sse, slow.c.sse, fast.c.lower_bound);
        }
    }
}

static void check_golden(const double *x, const double *w, size_t n, size_t k, const int *label,
                         const double *centroid, double sse)
{
    quant_points p = {x, w, n};
    kmeans_answer a[2];
    quant_kmeans1d(NULL, &p, k, kmeans_room_of(&a[0]));
    quant_kmeans1d_reference(NULL, &p, k, kmeans_room_of(&a[1]));
    for (int r = 0; r < 2; r++) {
        CU_ASSERT_EQUAL_FATAL(a[r].c.k, k);
        for (size_t c = 0; c < k; c++) {
            CU_ASSERT(kmeans_near(a[r].centroid[c], centroid[c], 1e-12, 0));
            for (size_t i = a[r].first[c]; i < (c + 1 < k ? a[r].first[c + 1] : n); i++) {
                CU_ASSERT_EQUAL(label[i], (int)c);
            }
        }
        CU_ASSERT(sse < 0 || kmeans_near(a[r].c.sse, sse, 1e-12, 0));
    }
}

static void gives_known_answers(void)
{
    const double x[] = {-50, 4.0, 4.1, 4.2, 80, 100, 102, 200.2, 200.4, 200.9};
    check_golden(x, NULL, 10, 4, (const int[]){0, 1, 1, 1, 2, 2, 2, 3, 3, 3},
                 (const double[]){-50, 4.1, 94, 200.5}, -1);
    const double w[] = {0.125, 1, 1, 1, 3, 2, 2, 4, 1, 1};
    check_golden(x, w, 10, 4, (const int[]){0, 0, 0, 0, 1, 2, 2, 3, 3, 3},
                 (const double[]){1.936, 80, 101, 200.35}, -1);
    const double y[] = {10, 12, 16, 20, 24};
    check_golden(y, NULL, 5, 2, (const int[]){0, 0, 0, 1, 1}, (const double[]){38.0 / 3, 22}, -1);
    check_golden(y, (const double[]){3, 2, 4, 3, 1}, 5, 2, (const int[]){0, 0, 1, 1, 1},
                 (const double[]){10.8, 18.5}, 66.8);
}

/* Equal spacing: n = q k + r points fall into r clusters of q + 1 and k - r of q in any order;
 * leftmost boundaries put the small clusters first. */
static void ties_resolve_to_the_leftmost_boundaries(void)
{
    for (size_t n = 1; n <= 300; n += n < 40 ? 1 : 37) {
        for (size_t i = 0; i < n; i++) {
            kmeans_value[i] = -77 + 0.375 * (double)i;
        }
        quant_points p = {kmeans_value, NULL, n};
        for (size_t k = 1; k <= n && k <= KMEANS_MAX_K; k += k < 20 ? 1 : 13) {
            kmeans_answer a;
            quant_kmeans1d(NULL, &p, k, kmeans_room_of(&a));
            size_t small = k - n % k, expected = 0, wrong = 0;
            for (size_t c = 0; c < k; c++) {
                wrong += a.first[c] != expected;
                expected += n / k + (c >= small);
            }
            CU_ASSERT_EQUAL(wrong, 0);
        }
    }
}

/* Nothing in the work block is read before it is written, and a block serves smaller inputs. */
static void run_depends_on_the_points_alone(void)
{
    size_t bytes = quant_kmeans1d_work_bytes(KMEANS_ROOM, KMEANS_MAX_K);
    CU_ASSERT_FATAL(bytes > 0 && bytes <= 104 * (KMEANS_ROOM + 1));
    unsigned char *work = quant_alloc(NULL, bytes, 1);
    CU_ASSERT_FATAL(work != NULL);
    for (uint64_t k = 0; k < 100; k++) {
        kmeans_seed_case(k + 4000037);
        quant_points p = kmeans_draw_points(k, 300);
        size_t clusters = kmeans_draw_k(p.n);
        kmeans_answer a[2];
        for (int r = 0; r < 2; r++) {
            memset(work, r ? 0xff : 0, bytes);
            quant_kmeans1d_run(&p, clusters, work, kmeans_room_of(&a[r]));
        }
        CU_ASSERT(same_answer(&a[0], &a[1], 0) || a[0].c.sse < 1e-15 * kmeans_total(&p));
        CU_ASSERT_EQUAL(memcmp(&a[0].c.sse, &a[1].c.sse, sizeof(double)), 0);
        CU_ASSERT_EQUAL(memcmp(&a[0].c.lower_bound, &a[1].c.lower_bound, sizeof(double)), 0);
    }
    quant_release(NULL, work, bytes, 1);
    CU_ASSERT_EQUAL(quant_kmeans1d_work_bytes(SIZE_MAX, 4), 0);
    CU_ASSERT_EQUAL(quant_kmeans1d_work_bytes(UINT32_MAX, 4), 0);
}

/* A range of 2^500 has sums of squares beyond any arithmetic: good up to the stated share. */
static void keeps_its_bound_at_absurd_ranges(void)
{
    for (size_t i = 0; i < 60; i++) {
        kmeans_value[i] = ldexp(1, (int)(i * 17) - 500);
        kmeans_weight[i] = ldexp(1, 400 - (int)(i * 13));
    }
    for (size_t kind = 0; kind < 2; kind++) {
        quant_points p = {kmeans_value, kind ? kmeans_weight : NULL, 60};
        for (size_t k = 1; k <= 62; k++) {
            kmeans_answer fast, slow;
            CU_ASSERT_EQUAL(quant_kmeans1d(NULL, &p, k, kmeans_room_of(&fast)), QUANT_OK);
            CU_ASSERT_EQUAL(quant_kmeans1d_reference(NULL, &p, k, kmeans_room_of(&slow)), QUANT_OK);
            double share = 0x1p-91 * (double)k * kmeans_total(&p);
            CU_ASSERT(isfinite(fast.c.sse) && fast.c.sse <= slow.c.sse + share);
            CU_ASSERT(slow.c.sse <= fast.c.sse + share);
        }
    }
}

static void refuses_what_breaks_the_contract(void)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_status (*solver[2])(quant_context *, const quant_points *, size_t, quant_clusters *) = {
        quant_kmeans1d, quant_kmeans1d_reference};
    const double x[] = {1, 2, 3}, equal[] = {1, 2, 2}, falling[] = {1, 3, 2}, nan[] = {1, NAN, 3};
    const double inf[] = {1, 2, INFINITY}, zero[] = {1, 0, 1}, negative[] = {1, 1, -1};
    const quant_points bad[] = {{equal, NULL, 3}, {falling, NULL, 3}, {nan, NULL, 3},
                                {inf, NULL, 3},   {x, zero, 3},       {x, negative, 3},
                                {x, inf, 3},      {x, nan, 3},        {x, NULL, 0},
                                {NULL, NULL, 3}};
    for (int s = 0; s < 2; s++) {
        kmeans_answer a;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            CU_ASSERT_EQUAL(solver[s](ctx, &bad[i], 2, kmeans_room_of(&a)), QUANT_EINVAL);
        }
        quant_points p = {x, NULL, 3};
        CU_ASSERT_EQUAL(solver[s](ctx, &p, 0, kmeans_room_of(&a)), QUANT_EINVAL);
        CU_ASSERT_EQUAL(solver[s](ctx, &p, 257, kmeans_room_of(&a)), QUANT_EINVAL);
        CU_ASSERT_STRING_EQUAL(quant_context_message(ctx),
                               "k-means: k: expected 1..256, found 257");
        CU_ASSERT_EQUAL(solver[s](ctx, &p, 256, kmeans_room_of(&a)), QUANT_OK);
        CU_ASSERT_EQUAL(a.c.k, 3);
        CU_ASSERT(a.c.sse == 0 && a.c.lower_bound == 0 && a.centroid[2] == 3);
    }
    quant_context_free(ctx);
}

static void reports_exhausted_memory(void)
{
    short_memory memory = {.fail_at = 1, .ever_after = true}; /* 0 is the context itself */
    quant_context *ctx = short_memory_context(&memory);
    const double x[] = {1, 2, 3};
    const float y[] = {1, 2};
    double v[2], w[2];
    size_t m;
    kmeans_answer a;
    quant_points p = {x, NULL, 3};
    CU_ASSERT_EQUAL(quant_kmeans1d(ctx, &p, 2, kmeans_room_of(&a)), QUANT_ENOMEM);
    CU_ASSERT_EQUAL(quant_kmeans1d_reference(ctx, &p, 2, kmeans_room_of(&a)), QUANT_ENOMEM);
    CU_ASSERT_EQUAL(quant_points_collapse(ctx, y, NULL, 2, v, w, &m), QUANT_ENOMEM);
    quant_context_free(ctx);
}

TEST_SUITE(kmeans1d,
           {"fast version and reference agree in every boundary", agrees_with_the_reference},
           {"ties resolve to the leftmost boundaries", ties_resolve_to_the_leftmost_boundaries},
           {"published examples come out exactly", gives_known_answers},
           {"the stated share holds at absurd ranges", keeps_its_bound_at_absurd_ranges},
           {"scratch holds nothing over", run_depends_on_the_points_alone},
           {"broken contracts are refused", refuses_what_breaks_the_contract},
           {"exhausted memory is reported", reports_exhausted_memory})
