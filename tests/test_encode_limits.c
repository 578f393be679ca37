/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Encoding at its edges: refusals, extremes, short memory, threads, spans, layout. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/store.h"
#include "tests/draw.h"
#include "tests/short_memory.h"
#include "tests/test.h"

static quant_scheme scheme_of(const char *text)
{
    quant_scheme s;
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
    return s;
}

static const char *const every[] = {
    "f16", "bf16", "int8:tensor", "int8:tensor,asym", "int8:channel", "int8:channel,axis=1,asym",
    "int4:block=32", "int3:block=5,axis=-1", "int2:channel,range=full", "int4:block=7,scale=mse",
    "int8:channel,scale=entropy", "int8:tensor,scale=percentile:99", "lut4:group=32",
    "int4:channel,range=half,asym=", "lut1:tensor", "lut8:group=1",
    "lut2:group=3,axis=1,mode=uniform", "lut6:tensor,lut=f32", "lut3:group=2,stack=1",
    "int8:tensor,stack=1", "lut4:group=4,lut=int8", "lut4:group=4,pcs",
    "lut8:tensor,lut=int8,stack=1", "lut2:tensor,axis=-1,pcs,lut=int8", "lut4:group=2,dim=2",
    "lut8:tensor,axis=1,dim=4,lut=int8", "lut3:group=2,axis=-1,dim=4,pcs",
    "lut1:tensor,dim=2,stack=1",
};
enum { EVERY = sizeof every / sizeof *every };

/* Largest |decoded - w| over a tensor under a scheme; NaN when something is not finite. */
static double worst_error(const char *text, const quant_shape *shape, const float *w, size_t n)
{
    quant_scheme s;
    if (quant_scheme_parse(NULL, text, &s) != QUANT_OK) {
        return 0.0; /* a row of the list that is refused on purpose */
    }
    quant_layout l;
    uint8_t *p = encode_new(NULL, &s, shape, w, &l, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    float *y = malloc((n + 1) * sizeof *y);
    y[n] = 42.0f;
    CU_ASSERT_EQUAL(quant_decode(NULL, &s, shape, p, l.bytes, y), QUANT_OK);
    CU_ASSERT_EQUAL(y[n], 42.0f);
    double worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)y[i] - (double)w[i]);
        worst = isfinite(y[i]) ? fmax(worst, e) : NAN;
    }
    free(y);
    free(p);
    return worst;
}

static void zeros_decode_to_zeros(void)
{
    float w[6 * 50];
    quant_shape shape = {3, {2, 3, 50}};
    for (int i = 0; i < 300; i++) {
        w[i] = i % 2 ? -0.0f : 0.0f;
    }
    for (int i = 0; i < EVERY; i++) {
        CU_ASSERT_EQUAL(worst_error(every[i], &shape, w, 300), 0.0);
    }
}

static void constants_come_within_half_a_step(void)
{
    float w[300];
    quant_shape shape = {3, {2, 3, 50}};
    for (int i = 0; i < 300; i++) {
        w[i] = -0.75f;
    }
    for (int i = 0; i < EVERY; i++) { /* every grid holds its own end or a stored entry */
        CU_ASSERT(worst_error(every[i], &shape, w, 300) <= 0.75 * 0x1p-8 + 0.75 / 6);
    }
    CU_ASSERT_EQUAL(worst_error("lut1:tensor", &shape, w, 300), 0.0);
    CU_ASSERT_EQUAL(worst_error("int4:block=32,asym,store=f32", &shape, w, 300), 0.0);
}

static void subnormal_weights_stay_finite(void)
{
    float w[300];
    quant_shape shape = {3, {2, 3, 50}};
    for (int i = 0; i < 300; i++) {
        w[i] = (float)(i % 9 - 4) * 1e-42f;
    }
    for (int i = 0; i < EVERY; i++) { /* half scales are raised to 2^-24 and swallow them */
        CU_ASSERT(worst_error(every[i], &shape, w, 300) <= 5e-42);
    }
    quant_scheme s = scheme_of("int4:block=32");
    quant_layout l;
    quant_encode_info info;
    uint8_t *p = encode_new(NULL, &s, &shape, w, &l, &info);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    CU_ASSERT_EQUAL(info.raised_scales, info.regions);
    CU_ASSERT_EQUAL(quant_store_get(QUANT_STORE_F16, p + l.scale.offset, 0), 0x1p-24f);
    free(p);
}

/* Where the order statistic is zero it would delete the tensor: the extremes are kept. */
static void a_percentile_of_zero_keeps_the_extremes(void)
{
    float w[300] = {0};
    quant_shape shape = {3, {2, 3, 50}};
    w[7] = 3.0f;
    w[8] = -1.0f;
    CU_ASSERT(worst_error("int8:tensor,scale=percentile:50", &shape, w, 300) <= 3.0 / 127);
    CU_ASSERT(worst_error("int8:tensor,asym,scale=percentile:50", &shape, w, 300) <= 3.0 / 127);
}

static void largest_floats(void)
{
    float w[300];
    quant_shape shape = {3, {2, 3, 50}};
    for (int i = 0; i < 300; i++) {
        w[i] = i % 2 ? FLT_MAX : -FLT_MAX;
    }
    CU_ASSERT(worst_error("int8:tensor", &shape, w, 300) <= FLT_MAX / 127);
    CU_ASSERT(worst_error("int8:tensor,asym", &shape, w, 300) <= FLT_MAX / 126);
    CU_ASSERT(worst_error("int8:tensor,range=half", &shape, w, 300) <= FLT_MAX / 126);
    CU_ASSERT(worst_error("int8:tensor,range=full", &shape, w, 300) <= FLT_MAX / 126);
    /* one step, and a bfloat16 scale is up to 2^-8 below FLT_MAX / 128 */
    CU_ASSERT(worst_error("int8:tensor,range=half,store=bf16", &shape, w, 300) <=
              FLT_MAX * (0x1p-7f + 0x1p-8f));
    CU_ASSERT_EQUAL(worst_error("lut1:tensor,lut=f32", &shape, w, 300), 0.0);
    static const char *const overflowing[] = {"f16", "bf16", "int4:block=32", "lut4:group=32"};
    for (int i = 0; i < 4; i++) {
        quant_context *ctx = quant_context_new(NULL);
        quant_scheme s = scheme_of(overflowing[i]);
        quant_layout l;
        CU_ASSERT_EQUAL(quant_encode_layout(ctx, &s, &shape, &l), QUANT_OK);
        void *p = malloc(l.bytes);
        CU_ASSERT_EQUAL(quant_encode(ctx, &s, &shape, w, p, l.bytes, NULL), QUANT_ESCALE);
        CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "overflow"));
        free(p);
        quant_context_free(ctx);
    }
}

static void nonfinite_is_refused_with_its_place(void)
{
    float w[300] = {0};
    quant_shape shape = {3, {2, 3, 50}};
    w[207] = NAN;
    w[299] = -INFINITY;
    for (int i = 0; i < EVERY; i++) {
        quant_scheme s;
        quant_context *ctx = quant_context_new(NULL);
        quant_layout l;
        quant_context_set_threads(ctx, 3);
        if (quant_scheme_parse(ctx, every[i], &s) == QUANT_OK) {
            CU_ASSERT_EQUAL(quant_encode_layout(ctx, &s, &shape, &l), QUANT_OK);
            void *p = malloc(l.bytes);
            CU_ASSERT_EQUAL(quant_encode(ctx, &s, &shape, w, p, l.bytes, NULL), QUANT_ENONFINITE);
            CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "found 2 NaN"));
            CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "index 207"));
            free(p);
        }
        quant_context_free(ctx);
    }
}

static void arguments_are_checked(void)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_scheme channel = scheme_of("int8:channel,axis=2");
    quant_scheme unique = scheme_of("lut1:tensor,mode=unique");
    quant_shape shape = {2, {3, 4}}, flat = {1, {12}}, none = {2, {0, 7}}, scalar = {0, {0}};
    quant_layout l;
    float w[12] = {1, 2, 3}, y[12];
    uint8_t p[256];
    CU_ASSERT_EQUAL(quant_encode_layout(ctx, &channel, &shape, &l), QUANT_ESHAPE);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "-2..1"));
    quant_scheme s = scheme_of("int8:channel");
    CU_ASSERT_EQUAL(quant_encode_layout(ctx, &s, &flat, &l), QUANT_ESHAPE);
    CU_ASSERT_EQUAL(quant_encode(ctx, &unique, &shape, w, p, sizeof p, NULL), QUANT_ERANGE);
    CU_ASSERT_EQUAL(quant_encode_layout(ctx, &s, &none, &l), QUANT_OK);
    CU_ASSERT_EQUAL(l.bytes, 0);
    CU_ASSERT_EQUAL(l.bits_per_weight, 0.0);
    CU_ASSERT_EQUAL(quant_encode(ctx, &s, &none, NULL, NULL, 0, NULL), QUANT_OK);
    CU_ASSERT_EQUAL(quant_encode_layout(ctx, &s, &shape, &l), QUANT_OK);
    CU_ASSERT_EQUAL(quant_encode(ctx, &s, &shape, w, p, l.bytes - 1, NULL), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_encode(ctx, &s, &shape, NULL, p, sizeof p, NULL), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_encode(ctx, &s, &shape, w, p, l.bytes, NULL), QUANT_OK);
    CU_ASSERT_EQUAL(quant_decode(ctx, &s, &shape, p, l.bytes - 1, y), QUANT_ETRUNC);
    CU_ASSERT_EQUAL(quant_decode(ctx, &s, &shape, p, l.bytes + 1, y), QUANT_ETRAILING);
    CU_ASSERT_EQUAL(quant_decode_span(ctx, &s, &shape, p, l.bytes, 12, 1, y), QUANT_ERANGE);
    CU_ASSERT_EQUAL(quant_decode_span(ctx, &s, &shape, p, l.bytes, 1, UINT64_MAX, y), QUANT_ERANGE);
    quant_scheme tensor = scheme_of("int8:tensor");
    CU_ASSERT_EQUAL(quant_encode(ctx, &tensor, &scalar, w, p, sizeof p, NULL), QUANT_OK);
    quant_shape huge = {2, {UINT64_C(1) << 31, UINT64_C(1) << 30}};
    CU_ASSERT_EQUAL(quant_encode_layout(ctx, &tensor, &huge, &l), QUANT_EOVERFLOW);
    /* points of one table are numbered in 32 bits: told before w or p are touched */
    quant_scheme table = scheme_of("lut4:tensor");
    quant_shape many = {2, {UINT64_C(1) << 31, 2}};
    CHECK_OK(ctx, quant_encode_layout(ctx, &table, &many, &l));
    CU_ASSERT_EQUAL(quant_encode(ctx, &table, &many, w, p, l.bytes, NULL), QUANT_EOVERFLOW);
    quant_context_free(ctx);
}

/* A structure that no parse gave is refused, whatever it holds. */
static void schemes_made_by_hand_are_checked(void)
{
    quant_shape shape = {2, {3, 4}};
    quant_layout l;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("by hand", k);
        quant_scheme s = draw_int(&d, 0, 1) ? draw_linear(&d, &shape) : draw_codebook(&d, &shape);
        CU_ASSERT_NOT_EQUAL(quant_encode_layout(NULL, &s, &shape, &l), QUANT_ESCHEME);
        int bad = draw_int(&d, 0, 1) ? 77 : -1;
        switch (draw_int(&d, 0, 8)) {
        case 0: s.family = (quant_family)bad; break;
        case 1: s.bits = draw_int(&d, 0, 1) ? 5 : 0; break;
        case 2: s.granularity = (quant_granularity)bad; break;
        case 3: s.size = s.size ? 0 : 3; break;
        case 4: s.store = (quant_store)bad; break;
        case 5: s.table_store = (quant_store)bad; break;
        case 6: s.mode = (quant_codebook_mode)bad; break;
        case 7: s.stack = bad; break;
        default: s.percentile = NAN; break;
        }
        CU_ASSERT_EQUAL(quant_encode_layout(NULL, &s, &shape, &l), QUANT_ESCHEME);
    }
}

/* Stored sizes by hand. */
static void layouts_by_hand(void)
{
    static const struct {
        const char *scheme;
        size_t codes, scale, zero, table, all;
    } rows[] = {
        {"int8:tensor", 210, 4, 0, 0, 216 + 4},
        {"int8:channel", 210, 5 * 4, 0, 0, 216 + 20},
        {"int4:block=32", 105, 5 * 2 * 2, 0, 0, 112 + 20},
        {"int3:block=4,asym", 79, 5 * 11 * 2, 21, 0, 80 + 112 + 21},
        {"lut4:group=2", 105, 0, 0, 3 * 16 * 2, 112 + 96},
        {"lut4:group=2,dim=4", 28, 0, 0, 3 * 16 * 4 * 2, 32 + 384}, /* 11 codes a channel */
        {"lut3:tensor,axis=1,dim=2,pcs", 48, 42 * 2, 0, 8 * 2 * 2, 48 + 88 + 32},
        {"lut4:group=2,pcs", 105, 5 * 2, 0, 3 * 16 * 2, 112 + 16 + 96},
        {"lut4:tensor,pcs,axis=1,lut=int8", 105, 42 * 4, 0, 16, 112 + 168 + 16 + 4},
        {"lut4:group=2,lut=int8", 105, 0, 0, 3 * 16, 112 + 48 + 3 * 4},
        {"f16", 420, 0, 0, 0, 420},
    };
    quant_shape shape = {2, {5, 42}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        quant_scheme s = scheme_of(rows[i].scheme);
        quant_layout l;
        CU_ASSERT_EQUAL(quant_encode_layout(NULL, &s, &shape, &l), QUANT_OK);
        CU_ASSERT(l.codes.bytes == rows[i].codes && l.scale.bytes == rows[i].scale);
        CU_ASSERT(l.zero.bytes == rows[i].zero && l.table.bytes == rows[i].table);
        CU_ASSERT_EQUAL(l.bytes, rows[i].all);
        size_t sum = l.codes.bytes + l.scale.bytes + l.zero.bytes + l.table.bytes;
        CU_ASSERT_EQUAL(l.stored_bytes, sum + l.table_scale.bytes);
        CU_ASSERT_DOUBLE_EQUAL(l.bits_per_weight, 8.0 * (double)l.stored_bytes / 210, 1e-12);
    }
    quant_scheme stacked = scheme_of("int3:channel,stack=1");
    quant_shape three = {3, {3, 5, 1}}; /* 15 bits a matrix: two bytes each */
    quant_layout l;
    CU_ASSERT_EQUAL(quant_encode_layout(NULL, &stacked, &three, &l), QUANT_OK);
    CU_ASSERT_EQUAL(l.codes.bytes, 6);
}

/* Bytes and counts for one thread against more, on tensors of several pieces. */
static void threads_do_not_matter(void)
{
    enum { ROWS = 96, COLS = 1037 };
    float *w = malloc(sizeof *w * ROWS * COLS);
    draw d = draw_begin("threads", 0);
    for (size_t i = 0; i < ROWS * COLS; i++) {
        w[i] = (float)draw_normal(&d);
    }
    quant_shape shape = {3, {2, ROWS / 2, COLS}};
    for (int i = 0; i < EVERY; i++) {
        quant_scheme s;
        if (quant_scheme_parse(NULL, every[i], &s) != QUANT_OK) {
            continue;
        }
        uint8_t *first = NULL;
        quant_encode_info info[2];
        for (int threads = 1; threads <= 5; threads += 2) {
            quant_context *ctx = quant_context_new(NULL);
            quant_layout l;
            quant_context_set_threads(ctx, threads);
            memset(info, 0, sizeof info);
            uint8_t *p = encode_new(ctx, &s, &shape, w, &l, &info[threads > 1]);
            CU_ASSERT_PTR_NOT_NULL_FATAL(p);
            if (first) {
                CU_ASSERT_EQUAL(memcmp(first, p, l.bytes), 0);
                free(p);
            } else {
                first = p;
            }
            quant_context_free(ctx);
        }
        free(first);
    }
    free(w);
}

/* Any span equals the same part of the whole. */
static void spans_agree_with_the_whole(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("span", k);
        drawn_tensor t = draw_tensor(&d);
        quant_scheme s = draw_int(&d, 0, 1) ? draw_linear(&d, &t.shape)
                                            : draw_codebook(&d, &t.shape);
        quant_layout l;
        uint8_t *p = encode_new(NULL, &s, &t.shape, t.w, &l, NULL);
        float *whole = malloc(t.n * sizeof *whole), *piece = malloc(t.n * sizeof *piece);
        uint64_t first = (uint64_t)draw_int(&d, 0, (int64_t)t.n);
        uint64_t count = (uint64_t)draw_int(&d, 0, (int64_t)(t.n - first));
        int ok = p && quant_decode(NULL, &s, &t.shape, p, l.bytes, whole) == QUANT_OK &&
                 quant_decode_span(NULL, &s, &t.shape, p, l.bytes, first, count, piece) ==
                     QUANT_OK &&
                 memcmp(whole + first, piece, count * sizeof *piece) == 0;
        free(whole);
        free(piece);
        free(p);
        free(t.w);
        if (!ok) {
            test_failed_case(k, "span %llu + %llu", (unsigned long long)first,
                             (unsigned long long)count);
            CU_FAIL("a span differs from the whole");
            return;
        }
    }
}

/* The k-th allocation fails, for every k until the call passes: clean status, nothing leaks. */
static void short_memory_is_reported(void)
{
    float w[300];
    quant_shape shape = {3, {2, 3, 50}};
    for (int i = 0; i < 300; i++) {
        w[i] = (float)(i * 37 % 101);
    }
    for (int i = 0; i < EVERY; i++) {
        quant_scheme s;
        quant_layout l;
        quant_status st = QUANT_ENOMEM;
        if (quant_scheme_parse(NULL, every[i], &s) != QUANT_OK) {
            continue;
        }
        quant_encode_layout(NULL, &s, &shape, &l);
        void *p = malloc(l.bytes);
        for (long k = 1; st != QUANT_OK && k < 40; k++) {
            short_memory m = {.fail_at = k, .ever_after = true};
            quant_context *ctx = short_memory_context(&m);
            quant_encode_info info;
            quant_context_set_threads(ctx, 2);
            st = quant_encode(ctx, &s, &shape, w, p, l.bytes, &info);
            CU_ASSERT(st == QUANT_OK || st == QUANT_ENOMEM);
            quant_context_free(ctx);
            CU_ASSERT_EQUAL(m.held, 0);
        }
        CU_ASSERT_EQUAL(st, QUANT_OK);
        free(p);
    }
}

static void a_buffer_may_lie_anywhere(void)
{
    static float w[4 * 1024];
    static uint8_t even[1 << 15], odd[(1 << 15) + 1];
    const quant_shape shape = {2, {4, 1024}};
    quant_random r = quant_random_stream(1, "anywhere");
    quant_random_fill_normal(&r, 0, 4 * 1024, w);
    for (int i = 0; i < EVERY; i++) {
        quant_scheme s;
        quant_layout l;
        if (quant_scheme_parse(NULL, every[i], &s) != QUANT_OK ||
            quant_encode_layout(NULL, &s, &shape, &l) != QUANT_OK || l.bytes > sizeof even) {
            continue;
        }
        quant_status a = quant_encode(NULL, &s, &shape, w, even, l.bytes, NULL);
        quant_status b = quant_encode(NULL, &s, &shape, w, odd + 1, l.bytes, NULL);
        CU_ASSERT(a == b && (a != QUANT_OK || memcmp(even, odd + 1, l.bytes) == 0));
    }
}

TEST_SUITE(encode_limits,
           {"zeros decode to zeros", zeros_decode_to_zeros},
           {"constants", constants_come_within_half_a_step},
           {"subnormal weights stay finite", subnormal_weights_stay_finite},
           {"a percentile of zero keeps the extremes", a_percentile_of_zero_keeps_the_extremes},
           {"largest floats", largest_floats},
           {"non-finite values are refused with their place", nonfinite_is_refused_with_its_place},
           {"arguments are checked", arguments_are_checked},
           {"schemes made by hand are checked", schemes_made_by_hand_are_checked},
           {"layouts by hand", layouts_by_hand},
           {"threads do not matter", threads_do_not_matter},
           {"spans agree with the whole", spans_agree_with_the_whole},
           {"a buffer may lie anywhere", a_buffer_may_lie_anywhere},
           {"short memory is reported", short_memory_is_reported})
