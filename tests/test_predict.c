/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_predict.c - predictions against what encoding really costs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/schemes.h"
#include "tests/short_memory.h"
#include "tests/test.h"

/* What is promised of a prediction, in dB. Rounding errors of n weights have a mean square that
 * scatters by sqrt(0.8 / n) of itself (uniform noise: E e^4 / (E e^2)^2 = 9/5): 0.03 dB at n =
 * 16384, more where few large weights carry the error of a float. The rest is the model. */
static const double accuracy_db = 0.25;

enum { ROWS = 64, COLUMNS = 256, N = ROWS * COLUMNS };

static void every_option_has_a_variant(void)
{
    const char *key, *meaning, *values;
    list_schemes();
    CU_ASSERT(scheme_count > 30 && scheme_count < MAX_SCHEMES);
    for (int i = 0; quant_scheme_grammar(1, i, &key, &meaning, &values); i++) {
        int found = 0;
        for (int v = 0; v < scheme_variant_count; v++) {
            found |= strncmp(scheme_variants[v], key, strlen(key)) == 0;
        }
        if (!found) {
            test_failed_case(0, "option %s has no variant here", key);
        }
        CU_ASSERT(found);
    }
}

static void prediction_holds_for_every_scheme(void)
{
    static float w[N], decoded[N];
    const quant_shape shape = {2, {ROWS, COLUMNS}};
    double worst = 0;
    list_schemes();
    for (int d = 0; d < DISTRIBUTIONS; d++) {
        quant_random r = quant_random_stream(test_seed() + (uint64_t)d, "predict");
        for (uint64_t i = 0; i < N; i++) {
            w[i] = (float)(0.02 * distribution_value(d, &r, i));
        }
        for (int s = 0; s < scheme_count; s++) {
            double result[2];
            int failed = measure(schemes[s], &shape, w, decoded, result);
            double off = failed ? INFINITY : off_db(result);
            worst = off > worst ? off : worst;
            if (!(off <= accuracy_db)) {
                test_failed_case(0, "%s, distribution %d: measured %g, predicted %g, %.2f dB off",
                                 schemes[s], d, result[0], result[1], off);
                CU_FAIL("prediction is off");
            }
        }
    }
    if (getenv("QUANT_TEST_FIGURES")) {
        printf("worst of %d schemes: %.3f dB\n", scheme_count, worst);
    }
}

/* One weight at `ratio` times the RMS of all, itself included: body of RMS 1 on the others. */
static void prediction_holds_with_an_outlier(void)
{
    enum { MANY = 1 << 18 };
    static float w[MANY], decoded[MANY];
    static const double ratios[] = {5, 12, 30, 80, 200, 400};
    list_schemes();
    for (size_t k = 0; k < sizeof ratios / sizeof *ratios; k++) {
        size_t n = ratios[k] > 200 ? MANY : MANY / 4; /* max/RMS is at most sqrt(n) */
        const quant_shape shape = {2, {256, n / 256}};
        quant_random r = quant_random_stream(test_seed() + k, "outlier");
        quant_random_fill_normal(&r, 0, n, w);
        double square = ratios[k] * ratios[k];
        w[12345] = (float)(ratios[k] * sqrt((double)(n - 1) / ((double)n - square)));
        const char *text;
        for (int i = 0; (text = quant_scheme_example(i)); i++) {
            double result[2];
            if (measure(text, &shape, w, decoded, result) || !(off_db(result) <= accuracy_db)) {
                test_failed_case(0, "%s, max/RMS %g: measured %g, predicted %g", text, ratios[k],
                                 result[0], result[1]);
                CU_FAIL("prediction is off");
            }
        }
    }
}

/* max/RMS alone against a Gaussian tensor: the maximum is what it was told, body and all. */
static void gaussian_rule_needs_two_numbers(void)
{
    static float w[N], decoded[N];
    const quant_shape shape = {2, {ROWS, COLUMNS}};
    static const char *const texts[] = {"int2:tensor", "int3:tensor", "int4:tensor", "int8:tensor"};
    static const int bits[] = {2, 3, 4, 8};
    for (int k = 0; k < 12; k++) {
        quant_random r = quant_random_stream(test_seed() + (uint64_t)k, "rule");
        quant_random_fill_normal(&r, 0, N, w);
        w[777] = (float)(4 + 2 * k);
        quant_summary s;
        CU_ASSERT_EQUAL(quant_summarize(NULL, w, N, &s), QUANT_OK);
        for (int b = 0; b < 4; b++) {
            double result[2] = {1, 1};
            CU_ASSERT_EQUAL(measure(texts[b], &shape, w, decoded, result), 0);
            result[1] = quant_predict_gaussian(bits[b], (double)s.absmax / s.rms);
            if (!(off_db(result) <= accuracy_db)) {
                test_failed_case(0, "%s with %d: measured %g, predicted %g", texts[b], 4 + 2 * k,
                                 result[0], result[1]);
                CU_FAIL("the Gaussian rule is off");
            }
        }
    }
    /* both branches meet at u = 1/4 */
    double below = quant_predict_gaussian(8, 31.75), above = quant_predict_gaussian(8, 31.7500001);
    CU_ASSERT(fabs(above / below - 1) < 1e-7);
    CU_ASSERT(isnan(quant_predict_gaussian(1, 5)) && isnan(quant_predict_gaussian(8, 0)));
    CU_ASSERT(isnan(quant_predict_gaussian(8, NAN)) && isnan(quant_predict_gaussian(25, 5)));
}

/* ---- edges ----------------------------------------------------------------------------------- */

static void unique_tables(void)
{
    static float w[N], decoded[N];
    const quant_shape shape = {2, {ROWS, COLUMNS}};
    quant_random r = quant_random_stream(test_seed(), "unique");
    double result[2];
    for (uint64_t i = 0; i < N; i++) {
        w[i] = (float)quant_random_below(&r, i, 16) - 7.5f;
    }
    CU_ASSERT_EQUAL(measure("lut4:group=32,mode=unique", &shape, w, decoded, result), 0);
    CU_ASSERT(result[0] == 0 && result[1] == 0);
    CU_ASSERT_EQUAL(measure("lut4:tensor", &shape, w, decoded, result), 0);
    CU_ASSERT(result[0] == 0 && result[1] == 0);
    for (uint64_t i = 0; i < N; i++) { /* tables that f16 cannot hold: rounding is all there is */
        w[i] = 0.1f + 0.3f * w[i];
    }
    CU_ASSERT_EQUAL(measure("lut4:group=32,mode=unique", &shape, w, decoded, result), 0);
    CU_ASSERT(result[0] > 0 && off_db(result) < 1e-9);
    CU_ASSERT_EQUAL(measure("lut4:group=32,mode=unique,lut=f32", &shape, w, decoded, result), 0);
    CU_ASSERT(result[0] == 0 && result[1] == 0);
}

/* Sources of few mantissa bits, and a scale so small that f16 runs into its subnormals. */
static void floats_know_their_binades(void)
{
    static float w[N], decoded[N];
    const quant_shape shape = {2, {ROWS, COLUMNS}};
    quant_random r = quant_random_stream(test_seed(), "floats");
    for (int e = 0; e >= -30; e -= 2) {
        double result[2] = {1, 1};
        for (uint64_t i = 0; i < N; i++) {
            w[i] = (float)ldexp(quant_random_normal(&r, i), e);
        }
        CU_ASSERT_EQUAL(measure("f16", &shape, w, decoded, result), 0);
        CU_ASSERT(off_db(result) <= accuracy_db);
    }
    for (int bits = 3; bits <= 14; bits++) {
        for (int half = 0; half < 2; half++) {
            double result[2] = {1, 1};
            for (uint64_t i = 0; i < N; i++) {
                int e;
                double m = frexp(quant_random_normal(&r, i), &e);
                w[i] = (float)ldexp(rint(ldexp(m, bits)), e - bits + 10); /* clear of subnormals */
            }
            CU_ASSERT_EQUAL(measure(half ? "f16" : "bf16", &shape, w, decoded, result), 0);
            int exact = bits <= (half ? 11 : 8);
            CU_ASSERT(exact ? result[0] == 0 && result[1] == 0 : off_db(result) <= accuracy_db);
            if (!exact && !(off_db(result) <= accuracy_db)) {
                test_failed_case(0, "%d bits to %s: measured %g, predicted %g", bits,
                                 half ? "f16" : "bf16", result[0], result[1]);
            }
        }
    }
}

static quant_status statistics_of(const char *text, const float *w, quant_shape shape, double *p)
{
    quant_scheme s;
    quant_statistics *statistics = NULL;
    quant_status status = quant_scheme_parse(NULL, text, &s);
    status = status ? status : quant_statistics_new(NULL, &s, &shape, w, &statistics);
    if (status == QUANT_OK) {
        *p = quant_predict(statistics);
    }
    quant_statistics_free(NULL, statistics);
    return status;
}

static void refusals_are_those_of_encode(void)
{
    float w[64] = {0};
    double p = -1;
    quant_shape square = {2, {8, 8}}, empty = {2, {0, 8}}, flat = {1, {64}};
    list_schemes();
    for (int s = 0; s < scheme_count; s++) {
        CU_ASSERT_EQUAL(statistics_of(schemes[s], w, square, &p), QUANT_OK);
        CU_ASSERT_EQUAL(p, 0);
        CU_ASSERT_EQUAL(statistics_of(schemes[s], w, empty, &p), QUANT_OK);
        CU_ASSERT_EQUAL(p, 0);
        w[9] = NAN;
        CU_ASSERT_EQUAL(statistics_of(schemes[s], w, square, &p), QUANT_ENONFINITE);
        w[9] = 0;
    }
    CU_ASSERT_EQUAL(statistics_of("int8:channel", w, flat, &p), QUANT_ESHAPE);
    CU_ASSERT_EQUAL(statistics_of("int8:tensor", w, flat, &p), QUANT_OK);
    CU_ASSERT_EQUAL(statistics_of("f16", NULL, square, &p), QUANT_EINVAL);
    w[3] = 65520.0f;
    CU_ASSERT_EQUAL(statistics_of("f16", w, square, &p), QUANT_ESCALE);
    w[3] = nextafterf(65520.0f, 0);
    CU_ASSERT_EQUAL(statistics_of("f16", w, square, &p), QUANT_OK);
    w[3] = 3e38f;
    CU_ASSERT_EQUAL(statistics_of("int4:block=8", w, square, &p), QUANT_ESCALE);
    CU_ASSERT_EQUAL(statistics_of("lut2:tensor", w, square, &p), QUANT_ESCALE);
    CU_ASSERT_EQUAL(statistics_of("lut2:tensor,mode=uniform", w, square, &p), QUANT_ESCALE);
    for (int i = 0; i < 64; i++) {
        w[i] = (float)i;
    }
    CU_ASSERT_EQUAL(statistics_of("lut4:tensor,mode=unique", w, square, &p), QUANT_ERANGE);
}

static void every_allocation_may_fail(void)
{
    static float w[N];
    const quant_shape shape = {2, {ROWS, COLUMNS}};
    quant_random r = quant_random_stream(test_seed(), "memory");
    quant_random_fill_normal(&r, 0, N, w);
    list_schemes();
    for (int i = 0; i < scheme_count; i += 3) {
        quant_scheme s;
        quant_status status = QUANT_ENOMEM;
        CU_ASSERT_EQUAL(quant_scheme_parse(NULL, schemes[i], &s), QUANT_OK);
        for (long k = 1; status == QUANT_ENOMEM && k < 20; k++) {
            short_memory m = {.fail_at = k};
            quant_context *ctx = short_memory_context(&m);
            quant_statistics *statistics = NULL;
            status = quant_statistics_new(ctx, &s, &shape, w, &statistics);
            quant_statistics_free(ctx, statistics);
            quant_context_free(ctx);
            CU_ASSERT_EQUAL(m.held, 0);
        }
        CU_ASSERT_EQUAL(status, QUANT_OK);
    }
}

static void threads_change_nothing(void)
{
    static float w[N];
    const quant_shape shape = {2, {ROWS, COLUMNS}};
    quant_random r = quant_random_stream(test_seed(), "threads");
    quant_random_fill_normal(&r, 0, N, w);
    list_schemes();
    for (int i = 0; i < scheme_count; i++) {
        double p[2];
        quant_scheme s;
        quant_context *ctx = quant_context_new(NULL);
        for (int t = 0; t < 2; t++) {
            quant_statistics *statistics = NULL;
            quant_context_set_threads(ctx, t ? 5 : 1);
            CHECK_OK(ctx, quant_scheme_parse(ctx, schemes[i], &s));
            CHECK_OK(ctx, quant_statistics_new(ctx, &s, &shape, w, &statistics));
            p[t] = statistics ? quant_predict(statistics) : -1;
            quant_statistics_free(ctx, statistics);
        }
        CU_ASSERT_EQUAL(p[0], p[1]);
        quant_context_free(ctx);
    }
}

TEST_SUITE(predict,
           {"every option has a variant", every_option_has_a_variant},
           {"prediction holds for every scheme", prediction_holds_for_every_scheme},
           {"prediction holds with an outlier", prediction_holds_with_an_outlier},
           {"the Gaussian rule needs two numbers", gaussian_rule_needs_two_numbers},
           {"tables of distinct values", unique_tables},
           {"floats know their binades", floats_know_their_binades},
           {"refusals are those of encode", refusals_are_those_of_encode},
           {"every allocation may fail", every_allocation_may_fail},
           {"threads change nothing", threads_change_nothing})
