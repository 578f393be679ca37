/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_activation.c - integer operands are what floats encode to, and their products what integer
 * operands give in double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/draw.h"
#include "tests/test.h"

enum { MOST = 4096 };

/* A stack of weights under a scheme, its inputs, and both as integers. */
typedef struct setup {
    quant_scheme scheme;
    quant_shape shape;
    size_t stack, n, k, m; /* matrices, outputs, inner dimension, tokens */
    float w[MOST], decoded[MOST], x[MOST], x_hat[MOST], w_scale[MOST], a_scale[MOST];
    int8_t w_code[MOST], a_code[MOST], a_zero[MOST];
    unsigned char packed[4 * MOST];
    quant_layout layout;
    quant_activation_codes a;
    quant_integer_weights weights;
} setup;

static const char *const texts[] = {
    "w8a8", "w4a8", "w8a8,asym", "w4a8,asym,act=static", "w8a8,act=static,obs=percentile:95",
    "w8a8,range=full,store=bf16", "w4a8,store=f16,mode=uniform", "int8:tensor", "int3:channel",
    "lut2:group=3,lut=int8", "lut4:tensor,lut=int8", "int8:block=1000"};
enum { TEXTS = sizeof texts / sizeof *texts };

static void set_up(setup *t, draw *d, const char *text)
{
    memset(t, 0, sizeof *t);
    CHECK_OK(NULL, quant_scheme_parse(NULL, text, &t->scheme));
    t->scheme.stack = (int)draw_int(d, 0, 1);
    t->stack = t->scheme.stack ? (size_t)draw_int(d, 1, 3) : 1;
    t->n = (size_t)draw_int(d, 1, 36);
    t->k = (size_t)draw_int(d, 1, 33);
    t->m = (size_t)draw_int(d, 1, 9);
    t->shape = t->scheme.stack ? (quant_shape){3, {t->stack, t->n, t->k}}
                               : (quant_shape){2, {t->n, t->k}};
    draw_weights(d, t->w, t->stack * t->n, t->k);
    draw_weights(d, t->x, t->m, t->k);
    CHECK_OK(NULL, quant_encode_layout(NULL, &t->scheme, &t->shape, &t->layout));
    CHECK_OK(NULL, quant_encode(NULL, &t->scheme, &t->shape, t->w, t->packed, sizeof t->packed,
                                NULL));
    CHECK_OK(NULL, quant_decode(NULL, &t->scheme, &t->shape, t->packed, t->layout.bytes,
                                t->decoded));
    t->a = (quant_activation_codes){t->a_code, t->a_scale, t->a_zero, 0};
    t->weights = (quant_integer_weights){t->w_code, t->w_scale};
}

static void encode_inputs(setup *t)
{
    const quant_activation *how = &t->scheme.activation;
    quant_activation_grid grid;
    bool fixed = how->kind == QUANT_ACTIVATION_STATIC;
    if (fixed) {
        quant_observer *o;
        CHECK_OK(NULL, quant_observer_new(NULL, t->k, false, 1, &o));
        CHECK_OK(NULL, quant_observer_add(NULL, o, 0, t->x, t->m));
        CHECK_OK(NULL, quant_observer_fit(NULL, o, 0, how, &grid));
        quant_observer_free(NULL, o);
    }
    CHECK_OK(NULL, quant_activation_encode(NULL, how, fixed ? &grid : NULL, t->x, t->m, t->k,
                                           &t->a));
    quant_activation_decode(&t->a, t->m, t->k, t->x_hat);
}

/* y = sa sw sum (a - za) w with integer operands in double: every product and sum is exact. */
static float simulated(const setup *t, size_t i, size_t j)
{
    double sum = 0;
    for (size_t l = 0; l < t->k; l++) {
        sum += ((double)t->a_code[i * t->k + l] - t->a_zero[i]) * (double)t->w_code[j * t->k + l];
    }
    return (float)((double)t->a_scale[i] * (double)t->w_scale[j] * sum);
}

static size_t wrong_outputs(const setup *t)
{
    static float y[MOST];
    static _Alignas(64) unsigned char packed[8 * MOST];
    size_t bytes, wrong = 0;
    quant_gemm_scales s = {t->a_scale, t->a_zero, t->m, t->w_scale, NULL, t->n};
    CHECK_OK(NULL, quant_gemm_s8_layout(NULL, t->n, t->k, &bytes));
    CHECK_OK(NULL, quant_gemm_s8_pack(NULL, t->n, t->k, t->w_code, packed, sizeof packed));
    CHECK_OK(NULL, quant_gemm_s8_f32(NULL, t->m, t->a_code, packed, bytes, &s, y));
    for (size_t i = 0; i < t->m * t->n; i++) {
        wrong += y[i] != simulated(t, i / t->n, i % t->n);
    }
    return wrong;
}

static size_t wrong_weights(const setup *t, size_t matrix)
{
    size_t wrong = 0;
    for (size_t i = 0; i < t->n * t->k; i++) {
        float v = t->w_scale[i / t->k] * (float)t->w_code[i];
        wrong += v != t->decoded[matrix * t->n * t->k + i];
    }
    return wrong;
}

static void integer_products_are_the_simulation_to_the_last_bit(void)
{
    static setup t;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("integers", k);
        const char *text = texts[k % TEXTS];
        set_up(&t, &d, text);
        encode_inputs(&t);
        size_t wrong = 0;
        for (size_t matrix = 0; matrix < t.stack; matrix++) {
            CHECK_OK(NULL, quant_weights_s8(NULL, &t.scheme, &t.shape, t.packed, t.layout.bytes,
                                            matrix, &t.weights));
            wrong += wrong_weights(&t, matrix) + wrong_outputs(&t);
        }
        if (wrong) {
            test_failed_case(k, "%s, %zu x %zu: %zu wrong", text, t.n, t.k, wrong);
            CU_FAIL("integers and their simulation differ");
            break;
        }
    }
}

/* Symmetric codes by token are those of int8:channel, asymmetric ones those of its asym. */
static void tokens_are_channels(void)
{
    static setup t;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("tokens", k);
        unsigned char packed[2 * MOST];
        float want[MOST];
        quant_scheme s;
        quant_layout layout;
        set_up(&t, &d, k % 2 ? "w8a8,asym" : "w8a8");
        encode_inputs(&t);
        const quant_shape shape = {2, {t.m, t.k}};
        CHECK_OK(NULL, quant_scheme_parse(NULL, k % 2 ? "int8:channel,asym" : "int8:channel", &s));
        CHECK_OK(NULL, quant_encode_layout(NULL, &s, &shape, &layout));
        CHECK_OK(NULL, quant_encode(NULL, &s, &shape, t.x, packed, sizeof packed, NULL));
        CHECK_OK(NULL, quant_decode(NULL, &s, &shape, packed, layout.bytes, want));
        bool same = memcmp(packed, t.a_code, t.m * t.k) == 0 &&
                    memcmp(want, t.x_hat, t.m * t.k * sizeof *want) == 0;
        if (!same) {
            test_failed_case(k, "%zu tokens of %zu", t.m, t.k);
            CU_FAIL("a token is not coded as a channel");
            break;
        }
    }
}

static void saturation_is_counted(void)
{
    float x[6] = {0, 1, -1, 127.4f, 127.6f, -300}, scale[1];
    int8_t code[6], zero[1];
    quant_activation_codes a = {code, scale, zero, 0};
    const quant_activation how = {.percentile = 100};
    const quant_activation_grid grid = {1, 0, -127, 127};
    CHECK_OK(NULL, quant_activation_encode(NULL, &how, &grid, x, 1, 6, &a));
    CU_ASSERT_EQUAL(a.saturated, 2);
    CU_ASSERT(code[3] == 127 && code[4] == 127 && code[5] == -127 && scale[0] == 1.0f);
}

static void what_is_no_integer_is_refused(void)
{
    static const char *const bad[] = {"f16", "int8:channel,asym", "int8:channel,axis=1",
                                      "int4:block=2", "lut4:group=2", "lut4:group=2,lut=f32",
                                      "lut4:group=2,lut=int8,axis=-1"};
    static setup t;
    quant_context *ctx = quant_context_new(NULL);
    draw d = draw_begin("refused", 0);
    set_up(&t, &d, "w8a8");
    t.shape = (quant_shape){2, {4, 6}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_OK(ctx, quant_scheme_parse(ctx, bad[i], &t.scheme));
        CHECK_OK(ctx, quant_encode_layout(ctx, &t.scheme, &t.shape, &t.layout));
        CU_ASSERT_EQUAL(quant_weights_s8(ctx, &t.scheme, &t.shape, t.packed, t.layout.bytes, 0,
                                         &t.weights), QUANT_EUNSUPPORTED);
    }
    CHECK_OK(ctx, quant_scheme_parse(ctx, "int8:channel,axis=-2", &t.scheme));
    CHECK_OK(ctx, quant_encode_layout(ctx, &t.scheme, &t.shape, &t.layout));
    CHECK_OK(ctx, quant_weights_s8(ctx, &t.scheme, &t.shape, t.packed, t.layout.bytes, 0,
                                   &t.weights));
    CU_ASSERT_EQUAL(quant_weights_s8(ctx, &t.scheme, &t.shape, t.packed, t.layout.bytes, 1,
                                     &t.weights), QUANT_ERANGE);
    CU_ASSERT_EQUAL(quant_weights_s8(ctx, &t.scheme, &t.shape, t.packed, t.layout.bytes - 1, 0,
                                     &t.weights), QUANT_ESIZE);
    float x[4] = {1, 2, 3, NAN};
    const quant_activation how = {.percentile = 100};
    CU_ASSERT_EQUAL(quant_activation_encode(ctx, &how, NULL, x, 2, 2, &t.a), QUANT_ENONFINITE);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "row 1, channel 1"));
    CU_ASSERT_EQUAL(quant_activation_encode(ctx, NULL, NULL, x, 2, 2, &t.a), QUANT_EINVAL);
    quant_context_free(ctx);
}

TEST_SUITE(activation,
           {"integer products are the simulation to the last bit",
            integer_products_are_the_simulation_to_the_last_bit},
           {"tokens are channels", tokens_are_channels},
           {"saturation is counted", saturation_is_counted},
           {"what is no integer is refused", what_is_no_integer_is_refused})
