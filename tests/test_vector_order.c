/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_vector_order.c - what makes codebooks of vectors fast changes nothing: cells and sieves
 * against looking at everything, the bound of products against products, threads against one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/kmeans1d_internal.h"
#include "quant/vector_table.h"
#include "tests/draw.h"
#include "tests/judge.h"
#include "tests/test.h"

enum { MOST = 6000, CELLS = 4096, ROWS = 64 };

/* Vectors of a case, and the places that they are put to. */
static struct {
    float x[MOST * 4], w[MOST * 4];
    float to_x[MOST * 4], to_w[MOST * 4];
    uint16_t cell[MOST];
    uint32_t first[CELLS + 1];
    quant_vector_box box[CELLS + ROWS];
    double value[MOST * 4], weight[MOST * 4];
    quant_vector_table table;
    quant_vector_sums sums;
} own;

static quant_vectors draw_vectors(draw *d, size_t n, size_t dim)
{
    draw_weights(d, own.x, 1, n * dim);
    const bool weighted = draw_int(d, 0, 1);
    for (size_t i = 0; i < n * dim; i++) {
        own.w[i] = draw_int(d, 0, 9) ? (float)draw_uniform(d) : 0.0f;
    }
    for (size_t i = 0; i < n; i += 7) {
        memset(own.w + i * dim, 0, dim * sizeof *own.w);
    }
    return (quant_vectors){.dim = dim, .n = n, .x = own.x, .w = weighted ? own.w : NULL};
}

/* Some vectors as entries, some of them moved a little, some twice. */
static void draw_table(draw *d, const quant_vectors *v, quant_vector_table *t)
{
    memset(t, 0, sizeof *t);
    t->dim = v->dim;
    t->used = (size_t)draw_int(d, 1, 256);
    for (size_t j = 0; j < t->used; j++) {
        size_t from = (size_t)draw_int(d, 0, (int)v->n - 1);
        for (size_t k = 0; k < v->dim; k++) {
            float x = v->x[from * v->dim + k];
            t->entry[j * v->dim + k] = j % 3 ? x : x * 1.01f;
        }
    }
    quant_vector_sort(t);
}

/* Side of the grid in use, which need not be the one that pays. */
static quant_vectors put_in_order(draw *d, const quant_vectors *v)
{
    quant_vector_grid grid = {.side = (size_t)draw_int(d, 1, v->dim == 2 ? 20 : 4)};
    for (size_t k = 0; k < v->dim; k++) {
        for (size_t i = 0; i < v->n; i++) {
            own.value[i] = (double)v->x[i * v->dim + k];
        }
        const quant_points p = {own.value, NULL, v->n}; /* no order is asked of the edges' points */
        quant_vector_cut(&p, k, &grid);
        for (size_t i = 1; i + 1 < grid.side; i++) { /* but of the edges */
            float *e = grid.edge[k];
            e[i] = e[i] < e[i - 1] ? e[i - 1] : e[i];
        }
    }
    const quant_vector_place to = {own.to_x, own.to_w, own.cell, own.first, own.box};
    return quant_vector_order(v, 1, &grid, &to);
}

static void a_pass_by_cells_is_a_pass_over_all(void)
{
    static uint8_t codes[MOST];
    static double error[MOST];
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("vector order", k);
        const size_t dim = k % 2 ? 4 : 2, n = (size_t)draw_int(&d, 1, k % 16 ? 700 : MOST);
        const quant_vectors v = draw_vectors(&d, n, dim);
        draw_table(&d, &v, &own.table);
        const quant_vectors o = put_in_order(&d, &v);
        double got = quant_vector_pass(&o, &own.table, &own.sums, 1), want = 0.0;
        const qk_nearest a = {dim, own.table.used, own.table.entry, v.x, v.w};
        size_t count[256] = {0}, wrong = 0;
        qk()->nearest_vectors(&a, n, codes, error);
        for (size_t i = 0; i < n; i++) {
            count[codes[i]]++;
            want += error[i];
        }
        for (size_t j = 0; j < own.table.used; j++) {
            wrong += count[j] != own.sums.count[j];
        }
        wrong += fabs(got - want) > 0x1p-40 * want;
        CU_ASSERT_EQUAL(wrong, 0);
        if (wrong) {
            test_failed_case(k, "%zu of %zu, %zu cells: %zu wrong, %.17g, %.17g", n, dim, o.cells,
                             wrong, got, want);
        }
    }
}

/* Of many components, so that they are rounded. */
static void no_product_is_below_the_bound(void)
{
    enum { N = 40000 };
    static float x[N * 2], some[N * 2], some_w[N * 2];
    static double value[N * 2], weight[N * 2];
    void *work = malloc(quant_points_work_bytes(N * 2) + quant_kmeans1d_work_bytes(N * 2, 16));
    const quant_vector_scratch z = {some, some_w, value, weight, work};
    for (uint64_t k = 0; k < 12; k++) {
        draw d = draw_begin("vector bound", k);
        quant_scheme s;
        static const char *const texts[] = {"lut2:tensor,dim=2", "lut5:tensor,dim=2",
                                            "lut8:tensor,dim=2"};
        if (quant_scheme_parse(NULL, texts[k % 3], &s) != QUANT_OK) {
            s.bits = 6;
        }
        draw_weights(&d, x, 1, N * 2);
        const quant_vectors v = {.dim = 2, .n = N, .x = x};
        quant_vector_grid grid[2] = {{.side = 1}, {.side = 1}};
        memset(&own.table, 0, sizeof own.table);
        own.table.dim = 2;
        const double bound = quant_vector_rough_product(&s, &v, &z, grid, &own.table);
        quant_vector_product(&s, &v, &z, &own.table);
        const quant_vector_place to = {malloc(sizeof x), NULL, malloc(N * 2), own.first, own.box};
        const quant_vectors o = quant_vector_order(&v, 1, &grid[0], &to);
        const double error = quant_vector_pass(&o, &own.table, &own.sums, 1);
        free(to.x), free(to.cell);
        CU_ASSERT(bound <= error * (1 + 0x1p-20)); /* entries are rounded to floats */
        CU_ASSERT(bound >= 0.8 * error);           /* and it is worth something */
    }
    free(work);
}

/* Enough vectors that parts, threads and samples come in. */
static void threads_and_samples_change_no_byte(void)
{
    enum { SIDE = 512 };
    static const char *const texts[] = {"lut4:tensor,dim=2", "lut2:tensor,dim=2",
                                        "lut4:tensor,dim=4,lut=int8", "lut3:group=256,dim=2,pcs"};
    static float w[SIDE * SIDE];
    const quant_shape shape = {2, {SIDE, SIDE}};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        draw d = draw_begin("vector threads", k);
        quant_scheme s;
        quant_layout l;
        uint8_t *packed[3];
        draw_weights(&d, w, SIDE, SIDE);
        CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, texts[k], &s), QUANT_OK);
        for (int t = 0; t < 3; t++) {
            quant_context *ctx = quant_context_new(NULL);
            quant_context_set_threads(ctx, t + 1);
            packed[t] = encode_new(ctx, &s, &shape, w, &l, NULL);
            quant_context_free(ctx);
        }
        CU_ASSERT_EQUAL(memcmp(packed[0], packed[1], l.bytes), 0);
        CU_ASSERT_EQUAL(memcmp(packed[0], packed[2], l.bytes), 0);
        free(packed[0]), free(packed[1]), free(packed[2]);
    }
}

/* Where vectors gain nothing the bound shows nothing, and the products have to be made. */
static void many_vectors_are_never_worse_than_scalars(void)
{
    enum { N = 40000 };
    static const struct {
        const char *scalar, *vector;
    } rows[] = {{"lut1:tensor", "lut2:tensor,dim=2"}, {"lut2:tensor,lut=int8",
                "lut4:tensor,dim=2,lut=int8"}, {"lut1:tensor,lut=f32", "lut4:tensor,dim=4,lut=f32"},
                {"lut3:tensor,lut=bf16", "lut6:tensor,dim=2,lut=bf16"}};
    static float w[N], y[N];
    const quant_shape shape = {2, {1, N}};
    for (uint64_t k = 0; k < 24; k++) {
        draw d = draw_begin("vectors never worse", k);
        double sum[2] = {0, 0}, energy = 0;
        draw_weights(&d, w, 1, N);
        for (int j = 0; j < 2; j++) {
            quant_scheme s;
            quant_layout l;
            const char *text = j ? rows[k % 4].vector : rows[k % 4].scalar;
            CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
            uint8_t *p = encode_new(NULL, &s, &shape, w, &l, NULL);
            CHECK_OK(NULL, p ? quant_decode(NULL, &s, &shape, p, l.bytes, y) : QUANT_OK);
            for (size_t i = 0; p && i < N; i++) {
                const double e = (double)w[i] - (double)y[i];
                sum[j] += e * e;
                energy += (double)w[i] * (double)w[i];
            }
            free(p);
        }
        CU_ASSERT(sum[1] <= sum[0] + 0x1p-40 * energy);
        if (!(sum[1] <= sum[0] + 0x1p-40 * energy)) {
            test_failed_case(k, "%s: %.9g, %.9g", rows[k % 4].vector, sum[1], sum[0]);
        }
    }
}

TEST_SUITE(vector_order,
           {"a pass by cells is a pass over all", a_pass_by_cells_is_a_pass_over_all},
           {"no product is below the bound", no_product_is_below_the_bound},
           {"threads and samples change no byte", threads_and_samples_change_no_byte},
           {"many vectors are never worse than scalars", many_vectors_are_never_worse_than_scalars})
