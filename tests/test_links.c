/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_links.c - the kernel that finds cheapest predecessors, against trying all of them. */
#include <math.h>

#include "kernels/kernels.h"
#include "tests/kmeans1d_cases.h"
#include "tests/test.h"

enum { NODES = 700 };

/* Running sums of drawn points; any costs will do, for the inequality does not ask them. */
static size_t draw_sums(uint64_t k, double *w, double *s, double *g)
{
    kmeans_seed_case(k + 9000011);
    quant_points p = kmeans_draw_points(k, NODES - 1);
    double last = p.value[p.n - 1], reach = fabs(p.value[0]);
    reach = fabs(last) > reach ? fabs(last) : reach;
    w[0] = s[0] = 0;
    for (size_t i = 0; i < p.n; i++) {
        double weight = p.weight ? p.weight[i] : 1, x = reach > 0 ? p.value[i] / reach : 0;
        w[i + 1] = w[i] + weight;
        s[i + 1] = s[i] + weight * x;
    }
    for (size_t i = 0; i <= p.n; i++) {
        g[i] = (k % 3 ? 0.01 : 0.0001) * kmeans_uniform() * w[p.n];
    }
    return p.n + 1;
}

static void no_predecessor_is_cheaper(void)
{
    static double w[NODES], s[NODES], g[NODES], best[NODES];
    static uint32_t from[NODES];
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        size_t n = draw_sums(k, w, s, g), rows = 1, wrong = 0;
        while (n > 8 && rows < 64 && 4 * rows <= n) {
            rows = rows < 4 ? 4 : 2 * rows;
        }
        qk_links a = {w, s, g, n > 20 ? kmeans_below(4) : 0, n - rows};
        if (a.row <= a.low) {
            continue;
        }
        qk()->cheapest_links(&a, rows, best, from);
        for (size_t r = 0; r < rows; r++) {
            long double least = HUGE_VALL;
            size_t t = a.row + r;
            for (size_t i = a.low; i < a.row; i++) {
                long double ds = (long double)s[t] - s[i], dw = (long double)w[t] - w[i];
                long double v = g[i] - ds * ds / dw;
                least = v < least ? v : least;
            }
            wrong += !(fabsl(best[r] - least) <= 1e-13L * w[n - 1]) || from[r] < a.low ||
                     from[r] >= a.row || (r > 0 && from[r] < from[r - 1]);
        }
        CU_ASSERT_EQUAL(wrong, 0);
        if (wrong) {
            test_failed_case(k, "%zu nodes, %zu rows: %zu wrong", n, rows, wrong);
        }
    }
}

TEST_SUITE(links, {"no predecessor is cheaper", no_predecessor_is_cheaper})
