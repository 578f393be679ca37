/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_gemv.c - packed matrices times floats, against decoding and adding by hand; and what both
 * kinds of product refuse. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/packed_matrix.h"
#include "tests/short_memory.h"
#include "tests/test.h"

enum { OWN = 16, MOST = 1400 }; /* packed_matrix_own */

static size_t wrong_rows_f32(const packed_matrix *m)
{
    size_t wrong = 0;
    for (size_t r = 0; r < m->n; r++) {
        double lane[MATRIX_LANES] = {0}, exact = 0, size = 0;
        for (size_t i = 0; i < m->k; i++) {
            float w = m->decoded[r * m->k + i], product = w * m->x[i];
            lane[i % MATRIX_LANES] = (double)((float)lane[i % MATRIX_LANES] + product);
            exact += (double)w * (double)m->x[i];
            size += fabs((double)w * (double)m->x[i]);
        }
        double bound = ((double)((m->k + 63) / 64) + 6) * 0x1p-24 * 1.01 * size + 0x1p-140;
        wrong += (double)m->y[r] != packed_matrix_fold(lane, true);
        wrong += fabs((double)m->y[r] - exact) > bound;
    }
    return wrong;
}

static void check_f32(uint64_t t, quant_context *ctx, packed_matrix *m)
{
    if (!m->packed) {
        return;
    }
    memset(m->y, 0xff, m->n * sizeof *m->y);
    CHECK_OK(ctx, quant_gemv_f32(ctx, &m->scheme, &m->shape, m->packed, m->layout.bytes, m->x,
                                 m->y));
    size_t wrong = wrong_rows_f32(m);
    if (wrong) {
        char text[QUANT_SCHEME_TEXT];
        quant_scheme_print(&m->scheme, text);
        test_failed_case(t, "%s %zu x %zu: %zu wrong", text, m->n, m->k, wrong);
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

static void any_scheme_times_floats_is_decoding_and_adding(void)
{
    for (uint64_t t = test_first_case(); t < test_last_case(); t++) {
        draw d = draw_begin("gemv-any", t);
        size_t n = (size_t)draw_int(&d, 0, 40), k = (size_t)draw_int(&d, 0, 150);
        quant_shape shape = {2, {n, k}};
        quant_scheme s = t % 8 == 0   ? packed_matrix_scheme(t % 16 ? "f16" : "bf16")
                         : t % 2 == 0 ? draw_linear(&d, &shape)
                                      : draw_codebook(&d, &shape);
        s.stack = 0;
        packed_matrix m = packed_matrix_new(&d, s, n, k);
        check_f32(t, NULL, &m);
        packed_matrix_free(&m);
    }
}

/* At lengths around the steps and chunks of kernels. */
static void four_bit_kernels_are_decoding_and_adding(void)
{
    static const size_t lengths[] = {2, 30, 32, 34, 62, 64, 66, 126, 128, 130, 510, 512, 514, 1022,
                                     1026, 4094, 4096, 4098, 8194};
    quant_context *ctx = quant_context_new(NULL);
    for (uint64_t t = 0; t < OWN * sizeof lengths / sizeof *lengths; t++) {
        size_t k = lengths[t / OWN];
        draw d = draw_begin("gemv-own", t);
        quant_context_set_threads(ctx, 1 + (int)(t % 3));
        quant_scheme s = packed_matrix_scheme(packed_matrix_own(t % OWN));
        packed_matrix m = packed_matrix_new(&d, s, k > 600 ? 70 : 1 + (size_t)t % 70, k);
        check_f32(t, ctx, &m);
        packed_matrix_free(&m);
    }
    quant_context_free(ctx);
}

/* Large enough that threads start, for schemes with and without kernels of their own. */
static void threads_do_not_change_a_byte(void)
{
    static const char *const schemes[] = {"int4:block=32", "lut4:group=32,lut=int8", "int3:channel",
                                          "int8:channel,asym"};
    quant_context *ctx = quant_context_new(NULL);
    for (size_t t = 0; t < sizeof schemes / sizeof *schemes; t++) {
        draw d = draw_begin("gemv-threads", t);
        packed_matrix m = packed_matrix_new(&d, packed_matrix_scheme(schemes[t]), MOST, 130);
        float one[2][MOST], many[2][MOST];
        const quant_gemv_input x = {m.codes, m.scales, 0};
        for (int threads = 1; threads <= 3; threads += 2) {
            float(*y)[MOST] = threads == 1 ? one : many;
            quant_context_set_threads(ctx, threads);
            CHECK_OK(ctx, quant_gemv_f32(ctx, &m.scheme, &m.shape, m.packed, m.layout.bytes, m.x,
                                         y[0]));
            CHECK_OK(ctx, quant_gemv_s8(ctx, &m.scheme, &m.shape, m.packed, m.layout.bytes, &x,
                                        y[1]));
        }
        CU_ASSERT_EQUAL(memcmp(one, many, sizeof one), 0);
        packed_matrix_free(&m);
    }
    quant_context_free(ctx);
}

static void arguments_are_checked(void)
{
    quant_context *c = quant_context_new(NULL);
    draw d = draw_begin("gemv-arguments", 0);
    packed_matrix m = packed_matrix_new(&d, packed_matrix_scheme("int4:block=32"), 6, 64);
    quant_scheme stacked = packed_matrix_scheme("int4:block=32,stack=1");
    const quant_shape line = {1, {64}}, three = {3, {6, 8, 8}}, long_row = {2, {1, 131072}};
    quant_scheme tensor = packed_matrix_scheme("int8:tensor");
    quant_gemv_input x = {m.codes, m.scales, 0};
    size_t b = m.layout.bytes;
    uint8_t *p = m.packed;
#define F32(s, shape, packed, bytes, x, y) quant_gemv_f32(c, s, shape, packed, bytes, x, y)
    CU_ASSERT_EQUAL(F32(NULL, &m.shape, p, b, m.x, m.y), QUANT_EINVAL);
    CU_ASSERT_EQUAL(F32(&m.scheme, &m.shape, NULL, b, m.x, m.y), QUANT_EINVAL);
    CU_ASSERT_EQUAL(F32(&m.scheme, &m.shape, p, b, NULL, m.y), QUANT_EINVAL);
    CU_ASSERT_EQUAL(F32(&m.scheme, &m.shape, p, b, m.x, NULL), QUANT_EINVAL);
    CU_ASSERT_EQUAL(F32(&m.scheme, &m.shape, p, b - 1, m.x, m.y), QUANT_ETRUNC);
    CU_ASSERT_EQUAL(F32(&m.scheme, &m.shape, p, b + 1, m.x, m.y), QUANT_ETRAILING);
    CU_ASSERT_EQUAL(F32(&tensor, &line, p, b, m.x, m.y), QUANT_ESHAPE);
    CU_ASSERT_EQUAL(F32(&m.scheme, &three, p, b, m.x, m.y), QUANT_ESHAPE);
    CU_ASSERT_EQUAL(quant_gemv_f32(c, &stacked, &three, p, b, m.x, m.y), QUANT_ESHAPE);
    const quant_shape no_rows = {2, {0, 64}};
    CU_ASSERT_EQUAL(quant_gemv_f32(c, &m.scheme, &no_rows, NULL, 0, m.x, NULL), QUANT_OK);
    CU_ASSERT_EQUAL(quant_gemv_s8(c, &m.scheme, &no_rows, NULL, 0, &x, NULL), QUANT_OK);
    m.x[63] = NAN;
    CU_ASSERT_EQUAL(F32(&m.scheme, &m.shape, p, b, m.x, m.y), QUANT_ENONFINITE);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(c), "63"));
#undef F32
#define S8(input) quant_gemv_s8(c, &m.scheme, &m.shape, p, b, input, m.y)
    CU_ASSERT_EQUAL(S8(NULL), QUANT_EINVAL);
    CU_ASSERT_EQUAL(S8(&((quant_gemv_input){NULL, m.scales, 0})), QUANT_EINVAL);
    CU_ASSERT_EQUAL(S8(&((quant_gemv_input){m.codes, NULL, 0})), QUANT_EINVAL);
    m.scales[1] = INFINITY;
    CU_ASSERT_EQUAL(S8(&x), QUANT_OK); /* one scale only */
    x.block = 32;
    CU_ASSERT_EQUAL(S8(&x), QUANT_ENONFINITE);
#undef S8
    uint8_t *wide = calloc(1, 131072 + 8);
    CU_ASSERT_EQUAL(quant_gemv_s8(c, &tensor, &long_row, wide, 131072 + 4, &x, m.y), QUANT_ERANGE);
    free(wide);
    packed_matrix_free(&m);
    quant_context_free(c);
}

static void any_allocation_may_fail(void)
{
    draw d = draw_begin("gemv-memory", 0);
    packed_matrix m = packed_matrix_new(&d, packed_matrix_scheme("int3:channel,asym"), 6, 64);
    const quant_gemv_input x = {m.codes, m.scales, 0};
    quant_status last = QUANT_ENOMEM;
    for (int k = 1; k < 4; k++) {
        short_memory short_of = {.fail_at = k, .ever_after = true};
        quant_context *ctx = short_memory_context(&short_of);
        last = quant_gemv_s8(ctx, &m.scheme, &m.shape, m.packed, m.layout.bytes, &x, m.y);
        CU_ASSERT_EQUAL(last, k < 3 ? QUANT_ENOMEM : QUANT_OK);
        quant_context_free(ctx);
    }
    short_memory short_of = {.fail_at = 1, .ever_after = true};
    quant_context *ctx = short_memory_context(&short_of);
    CU_ASSERT_EQUAL(quant_gemv_f32(ctx, &m.scheme, &m.shape, m.packed, m.layout.bytes, m.x, m.y),
                    QUANT_ENOMEM);
    quant_context_free(ctx);
    packed_matrix_free(&m);
}

TEST_SUITE(gemv,
           {"any scheme times floats is decoding and adding",
            any_scheme_times_floats_is_decoding_and_adding},
           {"4-bit kernels are decoding and adding", four_bit_kernels_are_decoding_and_adding},
           {"threads do not change a byte", threads_do_not_change_a_byte},
           {"arguments are checked", arguments_are_checked},
           {"any allocation may fail", any_allocation_may_fail})
