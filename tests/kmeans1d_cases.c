/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/kmeans1d_cases.h"

#include <math.h>
#include <stdlib.h>

#include "tests/test.h"

double kmeans_value[KMEANS_ROOM], kmeans_weight[KMEANS_ROOM];

quant_clusters *kmeans_room_of(kmeans_answer *a)
{
    a->c = (quant_clusters){.first = a->first, .centroid = a->centroid};
    return &a->c;
}

/* Cases need a generator only, not the library's: splitmix64 keyed by run and case. */
static uint64_t state;

void kmeans_seed_case(uint64_t k)
{
    state = test_seed() * UINT64_C(0x9e3779b97f4a7c15) + k;
}

uint64_t kmeans_word(void)
{
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

size_t kmeans_below(size_t n)
{
    return (size_t)(kmeans_word() % n);
}

double kmeans_uniform(void)
{
    return ((double)(kmeans_word() >> 12) + 0.5) * 0x1p-52;
}

double kmeans_normal(void)
{
    return sqrt(-2 * log(kmeans_uniform())) * cos(6.283185307179586 * kmeans_uniform());
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

size_t kmeans_sort_distinct(size_t n)
{
    qsort(kmeans_value, n, sizeof *kmeans_value, ascending);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (m == 0 || kmeans_value[m - 1] < kmeans_value[i]) {
            kmeans_value[m++] = kmeans_value[i];
        }
    }
    return m;
}

enum { SHAPES = 14, WEIGHTS = 4 };

static double draw(size_t shape, size_t i)
{
    switch (shape) {
    case 0: return kmeans_normal();
    case 1: return (double)i;                             /* equal spacing */
    case 2: return (double)kmeans_below(60) - 30;                /* integers with gaps */
    case 3: return kmeans_normal() + (kmeans_below(2) ? 1e6 : 0);       /* two far clusters */
    case 4: return tan(3.1 * (kmeans_uniform() - 0.5));          /* heavy tails */
    case 5: return 1000 + kmeans_normal();                       /* 1000 sigma off */
    case 6: return -1e7 + 0x1p-10 * (double)kmeans_below(500);
    case 7: return (double)(i / 2) * 100 + (double)(i % 2); /* equal pairs */
    case 8: return ldexp(1, (int)(i % 32) - 16);          /* geometric */
    case 9: return (double)((float)kmeans_normal() * 0x1p-140f);
    case 10: return (double)(i * i);
    case 11: return (double)(i % 3 ? -1 : 1) * (double)i; /* symmetric in parts */
    case 12: return (double)kmeans_below(5) * 10 + (double)kmeans_below(4); /* equal clumps */
    default: return rint(kmeans_normal() * 64) / 64 * 1e-3;
    }
}

/* Points of a random case: shape and weights cross every kind with every kind. */
quant_points kmeans_draw_points(uint64_t k, size_t most)
{
    size_t n = 1 + kmeans_below(most), shape = k % SHAPES, kind = k / SHAPES % WEIGHTS;
    for (size_t i = 0; i < n; i++) {
        kmeans_value[i] = draw(shape, i);
    }
    n = kmeans_sort_distinct(n);
    for (size_t i = 0; i < n; i++) {
        kmeans_weight[i] = kind == 1   ? pow(10, 12 * kmeans_uniform() - 6)
                    : kind == 2 ? (double)(1 + kmeans_below(3))
                                : exp(-kmeans_value[i] * kmeans_value[i] / 2) * 100 + 1e-3;
    }
    return (quant_points){kmeans_value, kind ? kmeans_weight : NULL, n};
}

size_t kmeans_draw_k(size_t n)
{
    switch (kmeans_below(8)) {
    case 0: return n > 1 && n <= KMEANS_MAX_K ? n - 1 : 1;
    case 1: return n < KMEANS_MAX_K - 3 ? n + kmeans_below(3) : KMEANS_MAX_K;
    case 2: return 1 + kmeans_below(n < KMEANS_MAX_K ? n : KMEANS_MAX_K);
    default: return 1 + kmeans_below(n < 20 ? n : 20);
    }
}

int kmeans_near(double a, double b, double relative, double absolute)
{
    return fabs(a - b) <= relative * fabs(b) + absolute;
}

double kmeans_total(const quant_points *p)
{
    kmeans_answer one;
    quant_kmeans1d(NULL, p, 1, kmeans_room_of(&one));
    return one.c.sse;
}
