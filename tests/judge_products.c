/* SPDX-License-Identifier: GPL-3.0-or-later */
/* judge_products.c - judges of the products: integers, rows of 4-bit codes. */
#include <stdio.h>

#include "tests/judge_parts.h"

/* Operands of an integer product: any bytes, or extremes: -128 and 127 at place 0, no bit or all
 * bits elsewhere (the ends of unsigned weights, of codes), or -128 against anything. */
static const void *codes_of(const judge_case *c, int place, size_t n)
{
    static uint8_t b[JUDGE_ROOM];
    judge_fill_bytes(b, n, c->seed + (uint64_t)place);
    for (size_t i = 0; i < n; i++) {
        const uint8_t end = (uint8_t)(place ? 0u - (b[i] & 1u) : 0x7fu + (b[i] & 1u));
        b[i] = c->fill == JUDGE_SPECIALS ? end : b[i];
        b[i] = c->fill == JUDGE_ZEROS && place == 0 ? 0x80u : b[i];
    }
    return judge_edge(place, b, n);
}

/* k = n; the other sides follow from it, small when k is large, so that panels fit an edge. */
void judge_gemm_s8(qk_gemm_s8_fn *want, qk_gemm_s8_fn *got, judge_case *c)
{
    const size_t k = c->n, m = k <= 131 ? k % 15 : 1 + k % 5, n = k <= 131 ? k * 7 % 150 : k % 17;
    const size_t lda = k + c->shift, ldc = n + c->shift, four = (k + 3) / 4 * 4;
    char text[80];
    snprintf(text, sizeof text, "%zu x %zu x %zu", m, n, k);
    qk_gemm g = {codes_of(c, 0, m ? (m - 1) * lda + k : 0),
                 codes_of(c, 1, (n + 15) / 16 * 16 * four), NULL, m, n, k, lda, ldc};
    open_rooms(m && n ? ((m - 1) * ldc + n) * sizeof(int32_t) : 0, c->shift * sizeof(int32_t));
    g.c = (int32_t *)(void *)want_room.at;
    want(&g);
    g.c = (int32_t *)(void *)got_room.at;
    got(&g);
    compare_rooms(c, text);
}

void judge_dot_single(qk_dot_single_fn *want, qk_dot_single_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, false), *y = floats(c, 1, false);
    float w = want(x, y, c->n), g = got(x, y, c->n);
    compare_values(c, "product", &w, &g, sizeof w);
}

void judge_dot_s8(qk_dot_s8_fn *want, qk_dot_s8_fn *got, judge_case *c)
{
    const int8_t *x = codes_of(c, 0, c->n), *y = codes_of(c, 1, c->n);
    int32_t w = want(x, y, c->n), g = got(x, y, c->n);
    compare_values(c, "product", &w, &g, sizeof w);
}

/* What two products with rows of 4-bit codes share: k is n rounded up to even, few rows. Scales are
 * any binary16, NaN and infinities too, at an odd address. */
typedef struct rows4 {
    size_t k, n, block;
    const uint8_t *codes;
    const void *scale;
} rows4;

static rows4 draw_rows4(const judge_case *c, size_t block, bool scaled)
{
    static uint8_t half[2 * MOST];
    rows4 r = {(c->n + 1) / 2 * 2, c->n % 7, block, NULL, NULL};
    if (c->n > 700) {
        r.n = 1 + c->n % 2;
    } else if (c->n % 32 == 0) {
        r.n = 18; /* beyond what a level takes at once */
    }
    r.codes = codes_of(c, 1, r.n * (r.k / 2));
    if (scaled) {
        size_t bytes = 2 * r.n * ((r.k + block - 1) / block);
        judge_fill_bytes(half, bytes, c->seed + 5);
        for (size_t i = 1; i < bytes && c->fill != JUDGE_ANY_BITS; i += 2) {
            half[i] = (uint8_t)(0x28u + (half[i] & 0x8fu)); /* +-2^-5 .. 2^-1 */
        }
        r.scale = judge_edge(2, half, bytes);
    }
    return r;
}

/* Blocks that levels know, that they do not, and one that is the row. */
static const size_t block_sizes[] = {32, 64, 96, 1 << 16};
enum { BLOCK_SIZES = sizeof block_sizes / sizeof *block_sizes };

void judge_gemv4_f32(qk_gemv4_f32_fn *want, qk_gemv4_f32_fn *got, judge_case *c)
{
    judge_case even = *c;
    even.n = (c->n + 1) / 2 * 2;
    for (size_t b = 0; b < 2 * BLOCK_SIZES; b++) {
        float table[16];
        char text[80];
        const size_t block = block_sizes[b / 2];
        const rows4 r = draw_rows4(c, block, b % 2 != 0);
        snprintf(text, sizeof text, "%zu rows, block %zu%s", r.n, block,
                 r.scale ? "" : " unscaled");
        judge_fill(table, 16, c->fill == JUDGE_NONFINITE ? JUDGE_GAUSS : c->fill, c->seed + 18);
        qk_gemv4_f32 g = {r.codes, table, r.scale, block, r.n, r.k, floats(&even, 0, true), NULL};
        open_rooms(r.n * sizeof(float), c->shift * sizeof(float));
        g.y = (float *)(void *)want_room.at;
        want(&g);
        g.y = (float *)(void *)got_room.at;
        got(&g);
        compare_rooms(c, text);
    }
}

/* Of both ends and any between; the values of a linear code; as far apart as 63. */
static const int8_t tables[3][16] = {
    {-128, 127, -127, 5, -4, 1, 64, -64, 17, 3, -128, -2, 42, 112, -103, 8},
    {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1},
    {-128, -65, -66, -100, -127, -65, -65, -128, -128, -90, -91, -92, -93, -94, -95, -65}};

void judge_gemv4_s8(qk_gemv4_s8_fn *want, qk_gemv4_s8_fn *got, judge_case *c)
{
    for (size_t b = 0; b < 4 * BLOCK_SIZES; b++) {
        float x_scale[MOST / 32 + 1];
        char text[80];
        const size_t block = block_sizes[b / 4], step = b / 2 % 2;
        const rows4 r = draw_rows4(c, block, b % 2 != 0);
        snprintf(text, sizeof text, "%zu rows, block %zu%s, step %zu", r.n, block,
                 r.scale ? "" : " unscaled", step);
        judge_fill(x_scale, MOST / 32 + 1, JUDGE_GAUSS, c->seed + 19);
        qk_gemv4_s8 g = {r.codes, tables[(c->n + b + c->seed) % 3], r.scale, 0.37f, block, r.n, r.k,
                         codes_of(c, 0, r.k), x_scale, step, NULL};
        open_rooms(r.n * sizeof(float), c->shift * sizeof(float));
        g.y = (float *)(void *)want_room.at;
        want(&g);
        g.y = (float *)(void *)got_room.at;
        got(&g);
        compare_rooms(c, text);
    }
}
