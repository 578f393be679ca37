/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "quant/scheme.h"
#include "tests/draw.h"
#include "tests/test.h"

static void canonical_text_is_stable(void)
{
    static const char *const pairs[][2] = {
        {"f16", "f16"},
        {"bf16", "bf16"},
        {"int8:tensor", "int8:tensor"},
        {"int4:block", "int4:block=32"},
        {"int4:block=32,store=f16", "int4:block=32"},
        {"int8:channel,store=f32,range=narrow,axis=0", "int8:channel"},
        {"int8:channel,stack=1,axis=-1", "int8:channel,axis=-1,stack=1"},
        {"int8:channel,asym,scale=percentile:99.90", "int8:channel,asym,scale=percentile:99.9"},
        {"int2:tensor,scale=mse,range=full,store=bf16",
         "int2:tensor,scale=mse,range=full,store=bf16"},
        {"lut3:group", "lut3:group=32"},
        {"int8:channel,scale=entropy", "int8:channel,scale=entropy"},
        {"lut6:tensor,lut=f32,mode=uniform", "lut6:tensor,lut=f32,mode=uniform"},
        {"lut4:group=32,store=f32,lut=int8", "lut4:group=32,lut=int8"},
        {"lut8:tensor,pcs,dim=2,axis=1", "lut8:tensor,axis=1,dim=2,pcs"},
        {"lut8:tensor,dim=1", "lut8:tensor"},
        {"lut4:tensor,pcs,axis=1,store=f16", "lut4:tensor,axis=1,pcs"},
        {"lut4:group=32,pcs,store=f32", "lut4:group=32,store=f32,pcs"},
        {"lut8:group=32,pcs,store=f32", "lut8:group=32,pcs"},
        {"lut4:group=32,pcs,lut=int8,store=f32", "lut4:group=32,lut=int8,pcs"},
        {"lut4:tensor,lut=int8,store=f16", "lut4:tensor,store=f16,lut=int8"},
        {"int8:tensor,scale=percentile:100", "int8:tensor,scale=percentile:100"},
        {"int8:tensor,scale=percentile:0.000001", "int8:tensor,scale=percentile:0.000001"},
        {"w8a8,act=token,obs=minmax", "w8a8"},
        {"w8a8,obs=percentile:99.90,asym,act=static,stack=1",
         "w8a8,stack=1,asym,act=static,obs=percentile:99.9"},
        {"w8a8,scale=mse,range=full,act=static,obs=ema",
         "w8a8,scale=mse,range=full,act=static,obs=ema"},
        {"w8a8,smooth=0.50", "w8a8,smooth=0.5"},
        {"w4a8,smooth=search,act=static", "w4a8,act=static,smooth=search"},
        {"w4a8,obs=entropy,asym,act=static", "w4a8,asym,act=static,obs=entropy"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        quant_scheme s;
        char text[QUANT_SCHEME_TEXT];
        CU_ASSERT_EQUAL(quant_scheme_parse(NULL, pairs[i][0], &s), QUANT_OK);
        quant_scheme_print(&s, text);
        CU_ASSERT_STRING_EQUAL(text, pairs[i][1]);
    }
}

/* w8a8 or w4a8 with any options of its activations. */
static quant_scheme draw_activations(draw *d)
{
    quant_scheme s;
    quant_scheme_parse(NULL, draw_int(d, 0, 1) ? "w8a8" : "w4a8", &s);
    s.activation.asymmetric = draw_int(d, 0, 1);
    s.activation.smooth = draw_int(d, 0, 1) ? (double)draw_int(d, 0, 1000) / 1000
                                            : QUANT_SMOOTH_SEARCH;
    if (draw_int(d, 0, 1)) {
        s.activation.kind = QUANT_ACTIVATION_STATIC;
        s.activation.rule = (quant_observer_rule)draw_int(d, 0, QUANT_OBSERVER_ENTROPY);
    }
    s.activation.smooth = s.activation.rule == QUANT_OBSERVER_MINMAX ? s.activation.smooth : 0;
    if (s.activation.rule == QUANT_OBSERVER_PERCENTILE) {
        s.activation.percentile = (double)draw_int(d, 1, 1000000000) / 1e7;
    }
    return s;
}

static void print_and_parse_are_inverse(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("scheme", k);
        quant_shape shape = {3, {2, 3, 4}};
        quant_scheme a = draw_int(&d, 0, 1) ? draw_linear(&d, &shape) : draw_codebook(&d, &shape);
        if (draw_int(&d, 0, 3) == 0) {
            a = draw_activations(&d);
        }
        quant_scheme b;
        char text[QUANT_SCHEME_TEXT], again[QUANT_SCHEME_TEXT];
        if (a.rule == QUANT_SCALE_PERCENTILE) {
            a.percentile = (double)draw_int(&d, 1, 1000000000) / 1e7;
        }
        quant_scheme_print(&a, text);
        quant_status st = quant_scheme_parse(NULL, text, &b);
        quant_scheme_print(&b, again);
        if (st != QUANT_OK || memcmp(&a, &b, sizeof a) != 0 || strcmp(text, again) != 0) {
            test_failed_case(k, "%s became %s", text, again);
            CU_FAIL("print and parse disagree");
            return;
        }
    }
}

static const char *const bad[][2] = {
    {"", "expected"},
    {"int8", "expected"},
    {"int5:tensor", "2,3,4,8"},
    {"int8:tensor=3", "expected"},
    {"int8:block=0", "expected"},
    {"int8:block=-1", "expected"},
    {"int8:block=99999999999", "expected"},
    {"int4:block=32x", "expected"},
    {"lut5:group=32", "1,2,3,4,6,8"},
    {"lut4:channel", "expected"},
    {"f16,asym", "does not take"},
    {"lut4:group=32,asym", "does not take"},
    {"int8:tensor,axis=1", "no channel axis"},
    {"int8:channel,axis=9", "axis"},
    {"int8:channel,axis=", "axis"},
    {"int8:channel,stack=-1", "stack"},
    {"int8:channel,range=full,asym", "symmetric"},
    {"int8:channel,scale=percentile:0", "percentile"},
    {"int8:channel,scale=percentile:100.5", "percentile"},
    {"int8:channel,scale=percentile:1e1", "percentile"},
    {"int8:channel,scale=percentile:", "percentile"},
    {"int8:channel,scale=percentile:nan", "percentile"},
    {"int8:channel,scale=best", "mse"},
    {"int8:channel,scale=percentile", "percentile:P"},
    {"int8:channel,scale=entropy:3", "entropy"},
    {"int8:channel,store=f8", "f16"},
    {"int8:channel,store=int8", "expected f32"},
    {"lut4:group=32,store=f16", "lut=int8 or pcs"},
    {"lut4:group=32,lut=f16,store=f32", "lut=int8 or pcs"},
    {"lut4:tensor,axis=1", "no channel axis"},
    {"int8:channel,pcs", "does not take"},
    {"lut4:group=32,pcs=1", "pcs"},
    {"lut4:group=32,dim=3", "2, 4"},
    {"lut4:group=32,dim=0", "2, 4"},
    {"lut4:group=32,dim=2,mode=unique", "kmeans"},
    {"int8:channel,dim=2", "does not take"},
    {"lut4:group=32,lut=int4", "expected f16"},
    {"int8:channel,lut=int8", "does not take"},
    {"int8:channel,asym=1", "asym"},
    {"int8:channel,asym,asym", "twice"},
    {"int8:channel,", "option"},
    {"int8:channel,speed=fast", "expected one of"},
    {"w8a8:tensor", "expected"},
    {"w8a8,axis=1", "does not take"},
    {"w4a8,scale=mse", "does not take"},
    {"w4a8,lut=f16", "does not take"},
    {"w8a8,obs=mse", "act=static only"},
    {"w8a8,act=float", "token"},
    {"w8a8,smooth=0", "(0, 1]"},
    {"w8a8,smooth=0.5,act=static,obs=mse", "minmax"},
    {"w8a8,smooth=1.5", "(0, 1]"},
    {"w8a8,smooth", "search"},
    {"int8:channel,smooth=0.5", "does not take"},
    {"w8a8,act=static,obs=percentile", "percentile:P"},
    {"w8a8,act=static,obs=percentile:0", "percentile:P"},
    {"int8:channel,act=token", "does not take"},
    {"INT8:channel", "expected"},
    {" int8:channel", "expected"},
};

static void nonsense_is_refused_with_a_reason(void)
{
    quant_context *ctx = quant_context_new(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        quant_scheme s, before;
        memset(&s, 0x5a, sizeof s);
        before = s;
        quant_status st = quant_scheme_parse(ctx, bad[i][0], &s);
        if (st != QUANT_ESCHEME || !strstr(quant_context_message(ctx), bad[i][1])) {
            printf("\n    '%s' gave %s: %s\n", bad[i][0], quant_status_word(st),
                   quant_context_message(ctx));
            CU_FAIL("a bad scheme was not refused as it should");
        }
        CU_ASSERT_EQUAL(memcmp(&s, &before, sizeof s), 0);
    }
    char longest[1000];
    memset(longest, 'a', sizeof longest);
    longest[999] = '\0';
    quant_scheme s;
    CU_ASSERT_EQUAL(quant_scheme_parse(ctx, longest, &s), QUANT_ESCHEME);
    CU_ASSERT_EQUAL(quant_scheme_parse(ctx, NULL, &s), QUANT_ESCHEME);
    quant_context_free(ctx);
}

static void every_grammar_row_has_a_canonical_example(void)
{
    const char *pattern, *meaning, *values;
    int rows = 0;
    while (quant_scheme_grammar(0, rows, &pattern, &meaning, &values)) {
        quant_scheme s;
        char text[QUANT_SCHEME_TEXT];
        const char *example = quant_scheme_example(rows);
        CU_ASSERT_PTR_NOT_NULL_FATAL(example);
        CU_ASSERT_EQUAL(quant_scheme_parse(NULL, example, &s), QUANT_OK);
        quant_scheme_print(&s, text);
        CU_ASSERT_STRING_EQUAL(text, example);
        rows++;
    }
    CU_ASSERT(rows >= 7);
    CU_ASSERT_PTR_NULL(quant_scheme_example(rows));
    for (int i = 0; quant_scheme_grammar(1, i, &pattern, &meaning, &values); i++) {
        CU_ASSERT(strlen(pattern) > 0 && strlen(meaning) > 0 && strlen(values) > 0);
    }
}

/* Encoding goes by the weights alone, whatever is said of activations. */
static void the_weights_of_an_activation_scheme_are_a_scheme(void)
{
    static const char *const pairs[][2] = {
        {"w8a8", "int8:channel"},
        {"w8a8,stack=1,asym,scale=mse,act=static,obs=mse", "int8:channel,stack=1,scale=mse"},
        {"w4a8", "lut4:group=32,lut=int8"},
        {"w4a8,store=bf16,act=static", "lut4:group=32,store=bf16,lut=int8"},
        {"int4:block=16,asym", "int4:block=16,asym"},
    };
    static float w[64 * 6];
    unsigned char packed[2][1024];
    quant_random r = quant_random_stream(3, "weights part");
    quant_random_fill_normal(&r, 0, 64 * 6, w);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        quant_scheme whole, part, want;
        quant_shape shape = {3, {2, 32, 6}};
        quant_layout layout[2];
        char text[QUANT_SCHEME_TEXT];
        CU_ASSERT_EQUAL(quant_scheme_parse(NULL, pairs[i][0], &whole), QUANT_OK);
        CU_ASSERT_EQUAL(quant_scheme_parse(NULL, pairs[i][1], &want), QUANT_OK);
        part = quant_scheme_weights(&whole);
        quant_scheme_print(&part, text);
        CU_ASSERT_STRING_EQUAL(text, pairs[i][1]);
        memset(packed, 0, sizeof packed);
        CU_ASSERT_EQUAL(quant_encode_layout(NULL, &whole, &shape, &layout[0]), QUANT_OK);
        CU_ASSERT_EQUAL(quant_encode_layout(NULL, &want, &shape, &layout[1]), QUANT_OK);
        CU_ASSERT_EQUAL(quant_encode(NULL, &whole, &shape, w, packed[0], 1024, NULL), QUANT_OK);
        CU_ASSERT_EQUAL(quant_encode(NULL, &want, &shape, w, packed[1], 1024, NULL), QUANT_OK);
        CU_ASSERT_EQUAL(layout[0].bytes, layout[1].bytes);
        CU_ASSERT_EQUAL(memcmp(packed[0], packed[1], sizeof packed[0]), 0);
    }
}

static void widening_stores_f32(void)
{
    quant_scheme s;
    char text[QUANT_SCHEME_TEXT];
    quant_scheme_parse(NULL, "int4:block=32", &s);
    CU_ASSERT_TRUE(quant_scheme_widen(&s));
    quant_scheme_print(&s, text);
    CU_ASSERT_STRING_EQUAL(text, "int4:block=32,store=f32");
    CU_ASSERT_FALSE(quant_scheme_widen(&s));
    quant_scheme_parse(NULL, "lut4:group=8", &s);
    CU_ASSERT_TRUE(quant_scheme_widen(&s));
    quant_scheme_print(&s, text);
    CU_ASSERT_STRING_EQUAL(text, "lut4:group=8,lut=f32");
    quant_scheme_parse(NULL, "lut4:group=8,lut=int8,store=bf16", &s);
    CU_ASSERT_TRUE(quant_scheme_widen(&s));
    quant_scheme_print(&s, text);
    CU_ASSERT_STRING_EQUAL(text, "lut4:group=8,lut=int8");
    CU_ASSERT_FALSE(quant_scheme_widen(&s));
    quant_scheme_parse(NULL, "f16", &s);
    CU_ASSERT_FALSE(quant_scheme_widen(&s));
}

/* A whole bank under stack=1: stacks are stacks, plain matrices and vectors are not. */
static void a_stack_leaves_a_matrix(void)
{
    static const struct {
        int rank, asked, given;
    } rows[] = {{4, 1, 1}, {4, 2, 2}, {4, 3, 2}, {3, 1, 1},
                {3, 2, 1}, {2, 1, 0}, {1, 1, 0}, {0, 1, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        quant_scheme s;
        quant_shape shape = {rows[i].rank, {2, 3, 4, 5}};
        quant_scheme_parse(NULL, "int8:tensor", &s);
        s.stack = rows[i].asked;
        quant_scheme fit = quant_scheme_for_shape(&s, &shape);
        char want[QUANT_SCHEME_TEXT], got[QUANT_SCHEME_TEXT];
        CU_ASSERT_EQUAL(fit.stack, rows[i].given);
        fit.stack = s.stack; /* nothing else changed */
        quant_scheme_print(&s, want);
        quant_scheme_print(&fit, got);
        CU_ASSERT_STRING_EQUAL(got, want);
    }
}

TEST_SUITE(scheme,
           {"canonical texts", canonical_text_is_stable},
           {"print and parse are inverse", print_and_parse_are_inverse},
           {"nonsense is refused with a reason", nonsense_is_refused_with_a_reason},
           {"every grammar row has a canonical example", every_grammar_row_has_a_canonical_example},
           {"the weights of an activation scheme are a scheme",
            the_weights_of_an_activation_scheme_are_a_scheme},
           {"widening stores f32", widening_stores_f32},
           {"a stack leaves a matrix", a_stack_leaves_a_matrix})
