/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Few nodes at a time, against all of them at once: every byte. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "tests/kmeans1d_cases.h"
#include "tests/test.h"

enum { MOST = 3000, GUARD = 64 };

static unsigned char *work;

static size_t work_bytes(void)
{
    return quant_kmeans1d_work_bytes(KMEANS_ROOM, KMEANS_MAX_K) + GUARD;
}

/* Levels with a block for so many nodes, whose end is guarded and which held nonsense. */
static int by_levels(const quant_point_list *l, size_t k, size_t nodes, kmeans_answer *a)
{
    size_t bytes = quant_kmeans1d_work_bytes(nodes - 1, k);
    memset(work, 0xc5, bytes + GUARD);
    int done = quant_kmeans1d_levels(l, k, nodes, work, kmeans_room_of(a));
    for (size_t i = 0; i < GUARD; i++) {
        done = work[bytes + i] == 0xc5 ? done : -1;
    }
    return done;
}

static int same_bytes(const kmeans_answer *a, const kmeans_answer *b)
{
    return a->c.k == b->c.k && memcmp(a->first, b->first, a->c.k * sizeof *a->first) == 0 &&
           memcmp(a->centroid, b->centroid, a->c.k * sizeof *a->centroid) == 0 &&
           memcmp(&a->c.sse, &b->c.sse, sizeof a->c.sse) == 0 &&
           memcmp(&a->c.lower_bound, &b->c.lower_bound, sizeof a->c.lower_bound) == 0;
}

/* Values that are floats and weights that are counts, whatever was drawn. */
static void narrow(quant_points *p, float *value, uint32_t *count)
{
    for (size_t i = 0; i < p->n; i++) {
        kmeans_value[i] = (double)(float)kmeans_value[i];
    }
    p->n = kmeans_sort_distinct(p->n);
    for (size_t i = 0; i < p->n; i++) {
        value[i] = (float)kmeans_value[i];
        count[i] = (uint32_t)(1 + kmeans_below(i % 7 ? 3 : 1u << 31));
        kmeans_weight[i] = (double)count[i];
    }
    p->weight = kmeans_weight;
}

static void few_nodes_decide_alike(void)
{
    static float value[KMEANS_ROOM];
    static uint32_t count[KMEANS_ROOM];
    size_t done = 0, cases = 0;
    work = quant_alloc(NULL, work_bytes(), 1);
    CU_ASSERT_FATAL(work != NULL);
    for (uint64_t k = test_first_case(); k < test_last_case(); k++, cases++) {
        kmeans_seed_case(k + 7000003);
        quant_points p = kmeans_draw_points(k, k % 3 ? MOST : 200);
        quant_point_list list = quant_point_list_of(&p);
        if (k / 3 % 2) {
            narrow(&p, value, count);
            list = (quant_point_list){.value = value, .count = count, .n = p.n};
        }
        size_t clusters = k % 5 ? 1 + kmeans_below(20) : 1 + kmeans_below(KMEANS_MAX_K);
        size_t nodes = k % 4 ? 16 + p.n / 2 : 1 + kmeans_below(p.n + 8);
        kmeans_answer all, few;
        CHECK_OK(NULL, quant_kmeans1d(NULL, &p, clusters, kmeans_room_of(&all)));
        int got = by_levels(&list, clusters, nodes, &few);
        int good = got == 0 || (got == 1 && same_bytes(&all, &few));
        done += got == 1;
        CU_ASSERT(good);
        if (!good) {
            test_failed_case(k, "n %zu, k %zu, %zu nodes: %d, SSE %.17g, all at once %.17g", p.n,
                             clusters, nodes, got, few.c.sse, all.c.sse);
        }
    }
    CU_ASSERT(cases < 100 || done > cases / 3);
    quant_release(NULL, work, work_bytes(), 1);
}

/* A smooth density leaves narrow zones: a sixteenth of the nodes is enough, and far from all points
 * is ever in one level. */
static void smooth_densities_need_few_nodes(void)
{
    static const size_t clusters[] = {1, 2, 3, 4, 5};
    work = quant_alloc(NULL, work_bytes(), 1);
    CU_ASSERT_FATAL(work != NULL);
    for (uint64_t t = 0; t < 30; t++) {
        kmeans_seed_case(t + 8000009);
        for (size_t i = 0; i < KMEANS_ROOM; i++) {
            kmeans_value[i] = (t % 3 == 1 ? 1000 : 0) + kmeans_normal();
            kmeans_weight[i] = pow(10, 12 * kmeans_uniform() - 6);
        }
        quant_points p = {kmeans_value, t % 3 == 2 ? kmeans_weight : NULL,
                          kmeans_sort_distinct(KMEANS_ROOM)};
        quant_point_list list = quant_point_list_of(&p);
        kmeans_answer all, few;
        size_t k = clusters[t % 5];
        CHECK_OK(NULL, quant_kmeans1d(NULL, &p, k, kmeans_room_of(&all)));
        CU_ASSERT_EQUAL(by_levels(&list, k, t % 3 == 2 ? p.n / 2 : p.n / 8, &few), 1);
        CU_ASSERT(same_bytes(&all, &few));
    }
    quant_release(NULL, work, work_bytes(), 1);
}

/* In a thin tail cells are single points, and no other boundary is left beside the best ones. */
static void lone_boundaries_are_taken(void)
{
    enum { BULK = 2000, TAIL = 4 };
    static const double tail[TAIL] = {10, 20, 1000, 2000};
    work = quant_alloc(NULL, work_bytes(), 1);
    CU_ASSERT_FATAL(work != NULL);
    for (size_t i = 0; i < BULK + TAIL; i++) {
        kmeans_value[i] = i < BULK ? 1e-3 * (double)i : tail[i - BULK];
    }
    quant_points p = {kmeans_value, NULL, BULK + TAIL};
    quant_point_list list = quant_point_list_of(&p);
    for (size_t k = 2; k <= 3; k++) {
        kmeans_answer all, few;
        CHECK_OK(NULL, quant_kmeans1d(NULL, &p, k, kmeans_room_of(&all)));
        CU_ASSERT_EQUAL(all.first[k - 1], BULK + k);
        CU_ASSERT_EQUAL(by_levels(&list, k, 300, &few), 1);
        CU_ASSERT(same_bytes(&all, &few));
    }
    quant_release(NULL, work, work_bytes(), 1);
}

/* Sums at some nodes are those at all nodes, and so is the bound, also where weights vanish beside
 * the sum of the others. */
static void sums_at_some_nodes_are_the_same(void)
{
    static double room[2][4][KMEANS_ROOM + 1];
    static uint32_t id[KMEANS_ROOM + 1];
    for (uint64_t k = 0; k < 100; k++) {
        kmeans_seed_case(k + 9000041);
        quant_points p = kmeans_draw_points(k, MOST);
        for (size_t i = 0; k % 4 == 3 && i < p.n; i++) {
            kmeans_weight[i] = ldexp(1, (int)kmeans_below(400) - 200);
            p.weight = kmeans_weight;
        }
        quant_point_list list = quant_point_list_of(&p);
        quant_kmeans1d_sums a[2] = {{0}, {0}};
        size_t m = 1, wrong = 0;
        for (size_t i = 1; i <= p.n; i++) {
            if (i == p.n || kmeans_below(5) == 0) {
                id[m++] = (uint32_t)i;
            }
        }
        for (int r = 0; r < 2; r++) {
            a[r].w = (quant_dd_array){room[r][0], room[r][1]};
            a[r].s = (quant_dd_array){room[r][2], room[r][3]};
            a[r].q = a[r].s; /* only its first entry is written */
        }
        double all = quant_kmeans1d_sums_rough(&a[0], &list);
        quant_kmeans1d_sums_scale(&a[1], &list);
        double some = quant_kmeans1d_sums_rough_at(&a[1], &list, id, m);
        for (size_t t = 0; t < m; t++) {
            wrong += a[0].w.hi[id[t]] != a[1].w.hi[t] || a[0].s.hi[id[t]] != a[1].s.hi[t];
        }
        CU_ASSERT(wrong == 0 && all == some && a[0].total == a[1].total);
    }
}

TEST_SUITE(kmeans1d_levels,
           {"lone boundaries are taken", lone_boundaries_are_taken},
           {"sums at some nodes are the same", sums_at_some_nodes_are_the_same},
           {"few nodes at a time give the bytes of all at once", few_nodes_decide_alike},
           {"smooth densities need few nodes", smooth_densities_need_few_nodes})
