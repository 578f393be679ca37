/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Optimality, judged by methods that share nothing with the library's. */
#include <math.h>
#include <string.h>

#include "tests/kmeans1d_cases.h"
#include "tests/test.h"

/* Sum of squares of points [i, j) about their mean, by the definition. */
static long double spread_of(const quant_points *p, size_t i, size_t j)
{
    long double w = 0, s = 0, sse = 0;
    for (size_t t = i; t < j; t++) {
        long double weight_t = p->weight ? p->weight[t] : 1;
        w += weight_t;
        s += weight_t * ((long double)p->value[t] - p->value[i]);
    }
    for (size_t t = i; t < j; t++) {
        long double d = (long double)p->value[t] - p->value[i] - s / w;
        sse += (p->weight ? p->weight[t] : 1) * d * d;
    }
    return sse;
}

/* Every partition of n <= 12 points, as a mask of the nodes at which a cluster begins. */
static long double best_of_all(const quant_points *p, size_t k)
{
    long double best = -1;
    for (unsigned mask = 0; mask < 1u << (p->n - 1); mask++) {
        if ((size_t)__builtin_popcount(mask) != k - 1) {
            continue;
        }
        long double sse = 0;
        size_t from = 0;
        for (size_t i = 1; i <= p->n; i++) {
            if (i == p->n || mask >> (i - 1) & 1) {
                sse += spread_of(p, from, i);
                from = i;
            }
        }
        best = best < 0 || sse < best ? sse : best;
    }
    return best;
}

static void beats_every_partition(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        kmeans_seed_case(k + 1000003);
        quant_points p = kmeans_draw_points(k, 10);
        size_t clusters = 1 + kmeans_below(p.n);
        kmeans_answer a;
        CU_ASSERT_EQUAL(quant_kmeans1d(NULL, &p, clusters, kmeans_room_of(&a)), QUANT_OK);
        double best = (double)best_of_all(&p, clusters);
        int same = kmeans_near(a.c.sse, best, 1e-12, 1e-26 * kmeans_total(&p));
        CU_ASSERT(same);
        if (!same) {
            test_failed_case(k, "n %zu, k %zu: SSE %.17g, exhaustive %.17g", p.n, clusters, a.c.sse,
                             best);
        }
    }
}

static void check_figures(const quant_points *p, const kmeans_answer *a, uint64_t k)
{
    long double sse = 0;
    int good = a->first[0] == 0;
    for (size_t c = 0; c < a->c.k; c++) {
        size_t end = c + 1 < a->c.k ? a->first[c + 1] : p->n;
        good = good && a->first[c] < end && p->value[a->first[c]] <= a->centroid[c] &&
               a->centroid[c] <= p->value[end - 1];
        sse += spread_of(p, a->first[c], end);
    }
    good = good && kmeans_near(a->c.sse, (double)sse, 1e-9, 0);
    CU_ASSERT(good);
    if (!good) {
        test_failed_case(k, "n %zu, k %zu: SSE %.17g, by definition %.17Lg", p->n, a->c.k, a->c.sse,
                         sse);
    }
}

/* Centroids inside their clusters; SSE and bound never rise with k; scaling by a power of two
 * changes nothing but the unit. */
static void obeys_its_invariants(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        kmeans_seed_case(k + 2000003);
        quant_points p = kmeans_draw_points(k, 200);
        size_t clusters = kmeans_draw_k(p.n);
        kmeans_answer a, more, scaled;
        quant_kmeans1d(NULL, &p, clusters, kmeans_room_of(&a));
        check_figures(&p, &a, k);
        size_t next = clusters < KMEANS_MAX_K ? clusters + 1 : clusters;
        quant_kmeans1d(NULL, &p, next, kmeans_room_of(&more));
        CU_ASSERT(more.c.sse <= a.c.sse * (1 + 1e-14));
        for (size_t i = 0; i < p.n; i++) {
            kmeans_value[i] *= 0x1p-30;
        }
        quant_kmeans1d(NULL, &p, clusters, kmeans_room_of(&scaled));
        CU_ASSERT_EQUAL(memcmp(a.first, scaled.first, a.c.k * sizeof *a.first), 0);
        CU_ASSERT(scaled.c.sse == a.c.sse * 0x1p-60);
        CU_ASSERT(scaled.c.lower_bound == a.c.lower_bound * 0x1p-60);
    }
}

/* One layer of the plain dynamic programme in long double, bisecting on the best start. */
static void oracle_layer(const long double *sum, size_t n, size_t m, const long double *before,
                         long double *best)
{
    static size_t start[KMEANS_ROOM + 1];
    size_t rows = n + 1 - m, step = 1;
    while (step <= rows / 2) {
        step *= 2;
    }
    for (; step > 0; step /= 2) {
        for (size_t r = step - 1; r < rows; r += 2 * step) {
            size_t j = m + r, low = r >= step ? start[r - step] : m - 1;
            size_t high = r + step < rows && start[r + step] < j ? start[r + step] : j - 1;
            best[j] = HUGE_VALL;
            for (size_t i = low; i <= high; i++) {
                const long double *a = sum + 3 * i, *b = sum + 3 * j;
                long double s = b[1] - a[1];
                long double v = before[i] + (b[2] - a[2]) - s * s / (b[0] - a[0]);
                if (v < best[j]) {
                    best[j] = v;
                    start[r] = i;
                }
            }
        }
    }
}

static double oracle(const quant_points *p, size_t k)
{
    static long double sum[3 * (KMEANS_ROOM + 1)], layer[2][KMEANS_ROOM + 1];
    for (size_t i = 0; i < p->n; i++) {
        long double w = p->weight ? p->weight[i] : 1, x = p->value[i];
        sum[3 * i + 3] = sum[3 * i] + w;
        sum[3 * i + 4] = sum[3 * i + 1] + w * x;
        sum[3 * i + 5] = sum[3 * i + 2] + w * x * x;
    }
    for (size_t j = 0; j <= p->n; j++) {
        layer[0][j] = j == 0 ? 0 : HUGE_VALL;
    }
    for (size_t m = 1; m <= k; m++) {
        oracle_layer(sum, p->n, m, layer[(m - 1) % 2], layer[m % 2]);
        layer[m % 2][m - 1] = HUGE_VALL;
    }
    return (double)layer[k % 2][p->n];
}

/* Thousands of points, where the reference would take minutes: against an oracle that shares
 * neither method nor arithmetic. */
static void is_optimal_among_thousands_of_points(void)
{
    static const size_t clusters[] = {2, 3, 4, 8, 16, 64, 256};
    for (size_t t = 0; t < 14; t++) {
        kmeans_seed_case(t + 3000017);
        for (size_t i = 0; i < KMEANS_ROOM; i++) {
            double x = t % 3 == 2 ? tan(1.5 * (2 * kmeans_uniform() - 1)) : kmeans_normal();
            kmeans_value[i] = t % 2 ? x : rint(x * 256) / 256;
            double count = 1 + (double)kmeans_below(9);
            kmeans_weight[i] = t % 4 == 3 ? pow(10, 4 * kmeans_uniform()) : count;
        }
        quant_points p = {kmeans_value, kmeans_weight, kmeans_sort_distinct(KMEANS_ROOM)};
        size_t k = clusters[t % 7];
        kmeans_answer a;
        CU_ASSERT_EQUAL(quant_kmeans1d(NULL, &p, k, kmeans_room_of(&a)), QUANT_OK);
        double best = oracle(&p, k), tolerance = 1e-9 * best + 1e-15 * kmeans_total(&p);
        CU_ASSERT(fabs(a.c.sse - best) <= tolerance);
        CU_ASSERT(kmeans_near(a.c.lower_bound, a.c.sse, 1e-9, 0));
        check_figures(&p, &a, t);
    }
}

TEST_SUITE(kmeans1d_optimum,
           {"no partition of a few points is better", beats_every_partition},
           {"thousands of points: as good as another method", is_optimal_among_thousands_of_points},
           {"figures agree with their definitions", obeys_its_invariants})
