/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"
#include "tests/test.h"

enum { ROOM = 4096, MAX_K = QUANT_KMEANS1D_MAX_K };

static double value[ROOM], weight[ROOM];

typedef struct answer {
    size_t first[MAX_K];
    double centroid[MAX_K];
    quant_clusters c;
} answer;

static quant_clusters *room_of(answer *a)
{
    a->c = (quant_clusters){.first = a->first, .centroid = a->centroid};
    return &a->c;
}

/* Cases need a generator only, not the library's: splitmix64 keyed by run and case. */
static uint64_t state;

static void seed_case(uint64_t k)
{
    state = test_seed() * UINT64_C(0x9e3779b97f4a7c15) + k;
}

static uint64_t word(void)
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t below(size_t n)
{
    return (size_t)(word() % n);
}

static double uniform(void)
{
    return ((double)(word() >> 12) + 0.5) * 0x1p-52;
}

static double normal(void)
{
    return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform());
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t sort_distinct(size_t n)
{
    qsort(value, n, sizeof *value, ascending);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (m == 0 || value[m - 1] < value[i]) {
            value[m++] = value[i];
        }
    }
    return m;
}

enum { SHAPES = 14, WEIGHTS = 4 };

static double draw(size_t shape, size_t i)
{
    switch (shape) {
    case 0: return normal();
    case 1: return (double)i;                             /* equal spacing */
    case 2: return (double)below(60) - 30;                /* integers with gaps */
    case 3: return normal() + (below(2) ? 1e6 : 0);       /* two far clusters */
    case 4: return tan(3.1 * (uniform() - 0.5));          /* heavy tails */
    case 5: return 1000 + normal();                       /* 1000 sigma off */
    case 6: return -1e7 + 0x1p-10 * (double)below(500);
    case 7: return (double)(i / 2) * 100 + (double)(i % 2); /* equal pairs */
    case 8: return ldexp(1, (int)(i % 32) - 16);          /* geometric */
    case 9: return (double)((float)normal() * 0x1p-140f);
    case 10: return (double)(i * i);
    case 11: return (double)(i % 3 ? -1 : 1) * (double)i; /* symmetric in parts */
    case 12: return (double)below(5) * 10 + (double)below(4); /* equal clumps */
    default: return rint(normal() * 64) / 64 * 1e-3;
    }
}

/* Points of a random case: shape and weights cross every kind with every kind. */
static quant_points draw_points(uint64_t k, size_t most)
{
    size_t n = 1 + below(most), shape = k % SHAPES, kind = k / SHAPES % WEIGHTS;
    for (size_t i = 0; i < n; i++) {
        value[i] = draw(shape, i);
    }
    n = sort_distinct(n);
    for (size_t i = 0; i < n; i++) {
        weight[i] = kind == 1   ? pow(10, 12 * uniform() - 6)
                    : kind == 2 ? (double)(1 + below(3))
                                : exp(-value[i] * value[i] / 2) * 100 + 1e-3;
    }
    return (quant_points){value, kind ? weight : NULL, n};
}

static size_t draw_k(size_t n)
{
    switch (below(8)) {
    case 0: return n > 1 && n <= MAX_K ? n - 1 : 1;
    case 1: return n < MAX_K - 3 ? n + below(3) : MAX_K;
    case 2: return 1 + below(n < MAX_K ? n : MAX_K);
    default: return 1 + below(n < 20 ? n : 20);
    }
}

static int near(double a, double b, double relative, double absolute)
{
    return fabs(a - b) <= relative * fabs(b) + absolute;
}

static int same_answer(const answer *a, const answer *b, double total)
{
    if (a->c.k != b->c.k || memcmp(a->first, b->first, a->c.k * sizeof *a->first) != 0 ||
        memcmp(a->centroid, b->centroid, a->c.k * sizeof *a->centroid) != 0) {
        return 0;
    }
    return near(a->c.sse, b->c.sse, 1e-12, 0) &&
           near(a->c.lower_bound, a->c.sse, 1e-9, 1e-24 * total);
}

static double total_of(const quant_points *p)
{
    answer one;
    quant_kmeans1d(NULL, p, 1, room_of(&one));
    return one.c.sse;
}

static void agrees_with_the_reference(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        seed_case(k);
        quant_points p = draw_points(k, 120);
        size_t clusters = draw_k(p.n);
        answer fast, slow;
        CU_ASSERT_EQUAL(quant_kmeans1d(NULL, &p, clusters, room_of(&fast)), QUANT_OK);
        CU_ASSERT_EQUAL(quant_kmeans1d_reference(NULL, &p, clusters, room_of(&slow)), QUANT_OK);
        int same = same_answer(&fast, &slow, total_of(&p));
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
    answer a[2];
    quant_kmeans1d(NULL, &p, k, room_of(&a[0]));
    quant_kmeans1d_reference(NULL, &p, k, room_of(&a[1]));
    for (int r = 0; r < 2; r++) {
        CU_ASSERT_EQUAL_FATAL(a[r].c.k, k);
        for (size_t c = 0; c < k; c++) {
            CU_ASSERT(near(a[r].centroid[c], centroid[c], 1e-12, 0));
            for (size_t i = a[r].first[c]; i < (c + 1 < k ? a[r].first[c + 1] : n); i++) {
                CU_ASSERT_EQUAL(label[i], (int)c);
            }
        }
        CU_ASSERT(sse < 0 || near(a[r].c.sse, sse, 1e-12, 0));
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

TEST_SUITE(kmeans1d,
           {"fast version and reference agree in every boundary", agrees_with_the_reference},
           {"published examples come out exactly", gives_known_answers})
