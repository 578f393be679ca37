/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench_products.c - times integer products and rows of 4-bit codes. */
#include "tests/bench/bench_parts.h"

/* `parameter` rows of a against as many panels as there are bytes. */
static void run_gemm_s8(const void *p)
{
    const work *w = p;
    const size_t k = 256, m = w->parameter;
    const qk_gemm g = {(const int8_t *)data.codes4, data.codes8, (int32_t *)(void *)data.y,
                       m, w->n / k, k, k, w->n / k};
    ((qk_gemm_s8_fn *)w->op)(&g);
}
static void run_dot_single(const void *p)
{
    const work *w = p;
    sink = (double)((qk_dot_single_fn *)w->op)(data.x, data.y, w->n);
}
static void run_dot_s8(const void *p)
{
    const work *w = p;
    const size_t row = 4096;
    int32_t sum = 0;
    for (size_t i = 0; i < w->n; i += row) {
        sum ^= ((qk_dot_s8_fn *)w->op)((const int8_t *)data.codes8 + i,
                                       (const int8_t *)data.codes4, row);
    }
    sink = (double)sum;
}
/* Rows of 4096 weights; codes4 serves as scales. */
static void run_gemv4_f32(const void *p)
{
    const work *w = p;
    const qk_gemv4_f32 g = {data.codes8, data.table, w->parameter ? data.codes4 : NULL, 32,
                            w->n / 4096, 4096, data.x, data.y};
    ((qk_gemv4_f32_fn *)w->op)(&g);
}
/* Blocks are those of a linear code, rows have a table of any bytes. */
static void run_gemv4_s8(const void *p)
{
    static const int8_t linear[16] = {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1};
    const work *w = p;
    const qk_gemv4_s8 g = {data.codes8, w->parameter ? linear : (const int8_t *)data.codes8,
                           w->parameter ? data.codes4 : NULL, 1.0f, w->parameter ? 32 : 4096,
                           w->n / 4096, 4096, (const int8_t *)data.codes8, data.x, 0, data.y};
    ((qk_gemv4_s8_fn *)w->op)(&g);
}

void add_gemm_s8(const char *name, any_fn *op)
{
    add_variant(name, op, run_gemm_s8, 1, 1);
    if (elements_now == IN_CACHE) {
        add_variant(name, op, run_gemm_s8, 48, 1);
    }
}
void add_dot_single(const char *name, any_fn *op) { add(name, op, run_dot_single, 0, 8); }
void add_dot_s8(const char *name, any_fn *op) { add(name, op, run_dot_s8, 0, 1); }
/* Blocks of 32 with scales, then rows without. */
void add_gemv4_f32(const char *name, any_fn *op)
{
    add_variant(name, op, run_gemv4_f32, 32, 0.5 + 2 / 32.0);
    add_variant(name, op, run_gemv4_f32, 0, 0.5);
}
void add_gemv4_s8(const char *name, any_fn *op)
{
    add_variant(name, op, run_gemv4_s8, 32, 0.5 + 2 / 32.0);
    add_variant(name, op, run_gemv4_s8, 0, 0.5);
}
