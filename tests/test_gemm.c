/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_gemm.c - integer products: every level against sums in double, the bound at its edge,
 * dequantization against exact arithmetic, refusals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/draw.h"
#include "tests/judge.h"
#include "tests/short_memory.h"
#include "tests/test.h"

/* One product with its operands; everything on the heap, so that ASan sees each end. */
typedef struct given_product {
    size_t m, n, k, bytes;
    int8_t *a, *w;
    uint8_t *packed;
    int32_t *c;
    float *y;
} given_product;

enum { ANY_CODES, EXTREME_CODES, LEAST_CODES, CODE_KINDS };

static void fill_codes(int8_t *x, size_t n, int kind, uint64_t *s)
{
    for (size_t i = 0; i < n; i++) {
        int any = judge_between(s, -128, 127);
        x[i] = (int8_t)(kind == ANY_CODES ? any : kind == LEAST_CODES || any < 0 ? -128 : 127);
    }
}

static given_product product_new(size_t m, size_t n, size_t k, int kind, uint64_t seed)
{
    given_product g = {m, n, k, 0, malloc(m * k + 1), malloc(n * k + 1), NULL,
                       malloc(m * n * sizeof(int32_t) + 1), malloc(m * n * sizeof(float) + 1)};
    fill_codes(g.a, m * k, kind, &seed);
    fill_codes(g.w, n * k, kind, &seed);
    CHECK_OK(NULL, quant_gemm_s8_layout(NULL, n, k, &g.bytes));
    g.packed = malloc(g.bytes);
    CHECK_OK(NULL, quant_gemm_s8_pack(NULL, n, k, g.w, g.packed, g.bytes));
    memset(g.c, 0x5a, m * n * sizeof *g.c);
    return g;
}

static void product_free(given_product *g)
{
    free(g->a);
    free(g->w);
    free(g->packed);
    free(g->c);
    free(g->y);
}

/* The sum over l in double, where products and sums of such integers are exact, of codes less
 * their zero points. */
static double sum_in_double(const given_product *g, size_t i, size_t j, double a0, double w0)
{
    double sum = 0.0;
    for (size_t l = 0; l < g->k; l++) {
        sum += ((double)g->a[i * g->k + l] - a0) * ((double)g->w[j * g->k + l] - w0);
    }
    return sum;
}

static size_t wrong_sums(const given_product *g)
{
    size_t wrong = 0;
    for (size_t i = 0; i < g->m * g->n; i++) {
        wrong += (double)g->c[i] != sum_in_double(g, i / g->n, i % g->n, 0.0, 0.0);
    }
    return wrong;
}

/* Panels follow a header of 64 bytes and the padded row sums. */
static void multiply_at(const qk_table *t, given_product *g)
{
    qk_gemm q = {g->a, g->packed + 64 + (4 * g->n + 63) / 64 * 64, g->c,
                 g->m, g->n, g->k, g->k, g->n};
    t->gemm_s8(&q);
}

static size_t wrong_at_shape(size_t m, size_t n, size_t k, int kind, uint64_t seed)
{
    size_t wrong = 0;
    given_product g = product_new(m, n, k, kind, seed);
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        if (t) {
            memset(g.c, 0x5a, m * n * sizeof *g.c);
            multiply_at(t, &g);
            size_t here = wrong_sums(&g);
            if (here) {
                test_note_failure(__FILE__, __LINE__, t->name, (int)here, "wrong sums");
            }
            wrong += here;
        }
    }
    product_free(&g);
    return wrong;
}

/* Each side runs through 1..70 while the others are drawn; in the longer tier all triples of a
 * coarser net too. */
static void every_level_and_shape_equals_sums_in_double(void)
{
    size_t wrong = 0;
    for (uint64_t d = 0; d <= 70; d++) {
        for (int side = 0; side < 3; side++) {
            uint64_t s = test_seed() + 3 * d + (uint64_t)side;
            size_t of[3];
            for (int i = 0; i < 3; i++) {
                of[i] = i == side ? (size_t)d : (size_t)judge_between(&s, 1, 70);
            }
            wrong += wrong_at_shape(of[0], of[1], of[2], (int)d % CODE_KINDS, s);
        }
    }
    static const size_t odd[][3] = {{1, 257, 1025}, {97, 131, 517}, {193, 65, 1023}, {7, 63, 4099},
                                    {6, 16, 8191}, {13, 80, 16384}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        wrong += wrong_at_shape(odd[i][0], odd[i][1], odd[i][2], (int)i % CODE_KINDS, i);
    }
    for (size_t t = 0; test_is_long() && t < 24 * 24 * 24; t++) {
        wrong += wrong_at_shape(1 + t % 24 * 3, 1 + t / 24 % 24 * 3, 1 + t / 576 * 3, ANY_CODES, t);
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

/* At QUANT_GEMM_MAX_K the largest sum is 131071 * 2^14, 16383 short of overflow; one more is
 * refused. */
static void the_longest_inner_dimension_cannot_overflow(void)
{
    size_t k = QUANT_GEMM_MAX_K, bytes;
    CU_ASSERT_EQUAL(wrong_at_shape(3, 5, k, LEAST_CODES, 1), 0);
    CU_ASSERT_EQUAL(wrong_at_shape(7, 1, k, EXTREME_CODES, 2), 0);
    CU_ASSERT((double)k * 16384.0 <= 2147483647.0 && (double)(k + 1) * 16384.0 > 2147483647.0);
    CU_ASSERT_EQUAL(quant_gemm_s8_layout(NULL, 1, k + 1, &bytes), QUANT_ERANGE);
}

static size_t other_bytes_with_threads(quant_context *ctx, given_product *g)
{
    size_t n = g->m * g->n * sizeof *g->c;
    int32_t *one = malloc(n + 1);
    CHECK_OK(ctx, quant_gemm_s8(ctx, g->m, g->a, g->packed, g->bytes, g->c));
    memcpy(one, g->c, n);
    quant_context_set_threads(ctx, 3);
    memset(g->c, 0xa5, n);
    CHECK_OK(ctx, quant_gemm_s8(ctx, g->m, g->a, g->packed, g->bytes, g->c));
    quant_context_set_threads(ctx, 1);
    size_t at = judge_first_mismatch(one, g->c, n);
    free(one);
    return n - at;
}

static void products_are_exact_for_any_number_of_threads(void)
{
    quant_context *ctx = quant_context_new(NULL);
    for (uint64_t t = 0; t < 60; t++) {
        draw d = draw_begin("gemm-threads", t);
        int most = t % 4 ? 90 : 330;
        given_product g = product_new((size_t)draw_int(&d, 0, most), (size_t)draw_int(&d, 0, most),
                                      (size_t)draw_int(&d, 0, 150), (int)t % CODE_KINDS, t);
        CU_ASSERT_EQUAL(other_bytes_with_threads(ctx, &g), 0);
        CU_ASSERT_EQUAL(wrong_sums(&g), 0);
        product_free(&g);
    }
    quant_context_free(ctx);
}

/* Scales and zero points of one side, one for all rows or one a row. */
static size_t draw_side(draw *d, size_t rows, float *scale, int8_t *zero)
{
    size_t count = draw_int(d, 0, 1) ? rows : 1;
    for (size_t i = 0; i < count; i++) {
        scale[i] = (float)ldexp(draw_normal(d), (int)draw_int(d, -40, 40));
        zero[i] = (int8_t)draw_int(d, -128, 127);
    }
    return count;
}

/* Errors against the sum in double, exact, times the exact product of scales in long double, and
 * against the documented roundings, which are exact equality. */
static size_t wrong_values(const given_product *g, const quant_gemm_scales *s)
{
    size_t wrong = 0;
    for (size_t i = 0; i < g->m * g->n; i++) {
        size_t ai = s->a_rows == 1 ? 0 : i / g->n, wj = s->w_rows == 1 ? 0 : i % g->n;
        double sum = sum_in_double(g, i / g->n, i % g->n, s->a_zero ? s->a_zero[ai] : 0.0,
                                   s->w_zero ? s->w_zero[wj] : 0.0);
        double scale = (double)s->a_scale[ai] * (double)s->w_scale[wj];
        long double exact = (long double)scale * (long double)sum;
        wrong += g->y[i] != (float)(scale * sum);
        wrong += fabsl((long double)g->y[i] - exact) > (0x1p-24L + 0x1p-52L) * fabsl(exact);
    }
    return wrong;
}

static void dequantization_is_exact_but_for_two_roundings(void)
{
    quant_context *ctx = quant_context_new(NULL);
    for (uint64_t t = test_first_case(); t < test_last_case(); t++) {
        draw d = draw_begin("gemm-scales", t);
        float a_scale[40], w_scale[150];
        int8_t a_zero[40], w_zero[150];
        given_product g = product_new((size_t)draw_int(&d, 1, 40), (size_t)draw_int(&d, 1, 150),
                                      (size_t)draw_int(&d, 0, 40), (int)t % CODE_KINDS, t);
        quant_gemm_scales s = {a_scale, a_zero, 0, w_scale, w_zero, 0};
        s.a_rows = draw_side(&d, g.m, a_scale, a_zero);
        s.w_rows = draw_side(&d, g.n, w_scale, w_zero);
        s.a_zero = draw_int(&d, 0, 1) ? a_zero : NULL;
        s.w_zero = draw_int(&d, 0, 1) ? w_zero : NULL;
        quant_context_set_threads(ctx, 1 + (int)(t % 3));
        CHECK_OK(ctx, quant_gemm_s8_f32(ctx, g.m, g.a, g.packed, g.bytes, &s, g.y));
        size_t wrong = wrong_values(&g, &s);
        if (wrong) {
            test_failed_case(t, "%zu x %zu x %zu: %zu wrong", g.m, g.n, g.k, wrong);
        }
        CU_ASSERT_EQUAL(wrong, 0);
        product_free(&g);
    }
    quant_context_free(ctx);
}

static void zero_points_are_exact_at_the_longest_dimension(void)
{
    const float one[2] = {1.0f, 1.0f}; /* one for each of w_zero */
    for (int high = -128; high <= 127; high += 255) {
        int8_t a_zero = (int8_t)high, w_zero[2] = {127, -128};
        given_product g = product_new(2, 2, QUANT_GEMM_MAX_K, EXTREME_CODES, 9);
        memset(g.a, 0x80, g.k); /* one row all -128 */
        quant_gemm_scales s = {one, &a_zero, 1, one, w_zero, 2};
        CHECK_OK(NULL, quant_gemm_s8_f32(NULL, 2, g.a, g.packed, g.bytes, &s, g.y));
        CU_ASSERT_EQUAL(wrong_values(&g, &s), 0);
        product_free(&g);
    }
}

#define REFUSED(ctx, status, word, call)                                        \
    do {                                                                        \
        CU_ASSERT_EQUAL(call, status);                                          \
        CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), word));       \
    } while (0)

static void sizes_and_buffers_are_checked(void)
{
    quant_context *c = quant_context_new(NULL);
    given_product g = product_new(2, 3, 5, ANY_CODES, 3);
    size_t b;
    int8_t *a = g.a;
    REFUSED(c, QUANT_EINVAL, "bytes", quant_gemm_s8_layout(c, 1, 1, NULL));
    REFUSED(c, QUANT_ERANGE, "131072", quant_gemm_s8_layout(c, 1, 131072, &b));
    REFUSED(c, QUANT_EOVERFLOW, "rows", quant_gemm_s8_layout(c, SIZE_MAX / 2, 9, &b));
    REFUSED(c, QUANT_EOVERFLOW, "rows", quant_gemm_s8_layout(c, SIZE_MAX, 0, &b));
    REFUSED(c, QUANT_EINVAL, "NULL", quant_gemm_s8_pack(c, 3, 5, NULL, g.packed, g.bytes));
    REFUSED(c, QUANT_EINVAL, "NULL", quant_gemm_s8_pack(c, 3, 5, g.w, NULL, g.bytes));
    REFUSED(c, QUANT_ESIZE, "room", quant_gemm_s8_pack(c, 3, 5, g.w, g.packed, g.bytes - 1));
    REFUSED(c, QUANT_ESIZE, "3 x 5", quant_gemm_s8(c, 2, a, g.packed, g.bytes - 1, g.c));
    REFUSED(c, QUANT_ESIZE, "64", quant_gemm_s8(c, 2, a, g.packed, 63, g.c));
    REFUSED(c, QUANT_EINVAL, "packed", quant_gemm_s8(c, 2, a, NULL, g.bytes, g.c));
    REFUSED(c, QUANT_EINVAL, "a, c", quant_gemm_s8(c, 2, NULL, g.packed, g.bytes, g.c));
    REFUSED(c, QUANT_EINVAL, "a, c", quant_gemm_s8(c, 2, a, g.packed, g.bytes, NULL));
    REFUSED(c, QUANT_EOVERFLOW, "rows", quant_gemm_s8(c, SIZE_MAX / 4, a, g.packed, g.bytes, g.c));
    CHECK_OK(c, quant_gemm_s8(c, 0, NULL, g.packed, g.bytes, NULL));
    g.packed[0] ^= 1;
    REFUSED(c, QUANT_EMAGIC, "other", quant_gemm_s8(c, 2, a, g.packed, g.bytes, g.c));
    g.packed[0] ^= 1;
    memset(g.packed + 16, 0xff, 8); /* its own n is a lie */
    REFUSED(c, QUANT_EOVERFLOW, "rows", quant_gemm_s8(c, 2, a, g.packed, g.bytes, g.c));
    product_free(&g);
    quant_context_free(c);
}

static void scales_are_checked(void)
{
    quant_context *c = quant_context_new(NULL);
    given_product g = product_new(2, 3, 5, ANY_CODES, 3);
    float a_scale[2] = {1.0f, INFINITY}, w_scale[3] = {1.0f, 1.0f, NAN};
    quant_gemm_scales s = {a_scale, NULL, 1, w_scale, NULL, 1};
#define F32() quant_gemm_s8_f32(c, 2, g.a, g.packed, g.bytes, &s, g.y)
    CHECK_OK(c, F32());
    REFUSED(c, QUANT_EINVAL, "scales", quant_gemm_s8_f32(c, 2, g.a, g.packed, g.bytes, NULL, g.y));
    REFUSED(c, QUANT_EINVAL, "y", quant_gemm_s8_f32(c, 2, g.a, g.packed, g.bytes, &s, NULL));
    s.a_rows = 2;
    REFUSED(c, QUANT_ENONFINITE, "a_scale[1]", F32());
    s.a_rows = 3;
    REFUSED(c, QUANT_ESHAPE, "a_rows: expected 1 or 2, found 3", F32());
    s.a_rows = 1;
    s.w_rows = 3;
    REFUSED(c, QUANT_ENONFINITE, "w_scale[2]", F32());
    s.w_rows = 0;
    REFUSED(c, QUANT_ESHAPE, "w_rows", F32());
    s.w_scale = NULL;
    REFUSED(c, QUANT_EINVAL, "w_scale", F32());
#undef F32
    product_free(&g);
    quant_context_free(c);
}

static void row_sums_may_find_no_memory(void)
{
    short_memory m = {.fail_at = 1, .ever_after = true}; /* 0 is the context itself */
    quant_context *ctx = short_memory_context(&m);
    const float one = 1.0f;
    const int8_t zero = 3;
    given_product g = product_new(2, 3, 5, ANY_CODES, 3);
    quant_gemm_scales s = {&one, NULL, 1, &one, &zero, 1};
    CU_ASSERT_EQUAL(quant_gemm_s8_f32(ctx, 2, g.a, g.packed, g.bytes, &s, g.y), QUANT_ENOMEM);
    s.w_zero = NULL;
    CHECK_OK(ctx, quant_gemm_s8_f32(ctx, 2, g.a, g.packed, g.bytes, &s, g.y));
    product_free(&g);
    quant_context_free(ctx);
}

TEST_SUITE(gemm,
           {"every level and shape equals sums in double",
            every_level_and_shape_equals_sums_in_double},
           {"the longest inner dimension cannot overflow",
            the_longest_inner_dimension_cannot_overflow},
           {"products are exact for any number of threads",
            products_are_exact_for_any_number_of_threads},
           {"dequantization is exact but for two roundings",
            dequantization_is_exact_but_for_two_roundings},
           {"zero points are exact at the longest dimension",
            zero_points_are_exact_at_the_longest_dimension},
           {"sizes and buffers are checked", sizes_and_buffers_are_checked},
           {"scales are checked", scales_are_checked},
           {"row sums may find no memory", row_sums_may_find_no_memory})
