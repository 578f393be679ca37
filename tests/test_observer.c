/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_observer.c - rules against naive versions of themselves on the values. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/test.h"
#include "tests/textbook_entropy.h"

static quant_observer *observe(quant_context *ctx, const float *x, size_t rows, size_t cols)
{
    quant_observer *o = NULL;
    CHECK_OK(ctx, quant_observer_new(ctx, cols, false, 1, &o));
    CHECK_OK(ctx, quant_observer_add(ctx, o, 0, x, rows));
    return o;
}

static quant_activation_grid fitted(quant_context *ctx, const quant_observer *o, const char *text)
{
    quant_scheme s;
    quant_activation_grid g = {0, 0, 0, 0};
    CHECK_OK(ctx, quant_scheme_parse(ctx, text, &s));
    CHECK_OK(ctx, quant_observer_fit(ctx, o, 0, &s.activation, &g));
    return g;
}

static double squared_error(const float *x, size_t n, const quant_activation_grid *g)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double c = rint((double)(x[i] / g->scale)) + g->zero;
        c = fmin(fmax(c, g->lowest), g->highest);
        double e = (double)x[i] - (double)g->scale * (c - g->zero);
        sum += g->scale > 0 ? e * e : (double)x[i] * (double)x[i];
    }
    return sum;
}

static int by_size(const void *a, const void *b)
{
    float x = fabsf(*(const float *)a), y = fabsf(*(const float *)b);
    return (x > y) - (x < y);
}

enum { N = 40000 };
static float values[N], sorted[N];

/* Gaussian with one value in a thousand twenty times larger; shifted: all above -1. */
static void draw_values(const char *word, bool shifted)
{
    quant_random r = quant_random_stream(11, word);
    for (size_t i = 0; i < N; i++) {
        float z = (float)quant_random_normal(&r, 2 * i);
        z = quant_random_uniform(&r, 2 * i + 1) < 1e-3 ? 20 * z : z;
        values[i] = shifted ? fabsf(z) - 1 : z;
    }
}

static void min_max_and_average_are_their_formulas(void)
{
    quant_context *ctx = quant_context_new(NULL);
    static const float x[3][2] = {{-4, 2}, {1, 3}, {-1, 6}};
    quant_observer *o;
    CHECK_OK(ctx, quant_observer_new(ctx, 2, false, 4, &o));
    CHECK_OK(ctx, quant_observer_add(ctx, o, 3, x[2], 1));
    CHECK_OK(ctx, quant_observer_add(ctx, o, 0, x[0], 1));
    CHECK_OK(ctx, quant_observer_add(ctx, o, 1, x[1], 1)); /* batch 2 never comes */
    quant_activation_grid g = fitted(ctx, o, "w8a8,act=static");
    CU_ASSERT_EQUAL(g.scale, 6.0f / 127);
    CU_ASSERT(g.zero == 0 && g.lowest == -127 && g.highest == 127);
    g = fitted(ctx, o, "w8a8,asym,act=static");
    CU_ASSERT_EQUAL(g.scale, (float)(10.0 / 255));
    CU_ASSERT_EQUAL(g.zero, -26); /* -128 + 4 / (10 / 255) = -26 */
    double average = 0.9 * (0.9 * 4 + 0.1 * 3) + 0.1 * 6;
    g = fitted(ctx, o, "w8a8,act=static,obs=ema");
    CU_ASSERT_EQUAL(g.scale, (float)average / 127);
    double lowest = 0.9 * (0.9 * -4 + 0.1 * 1) + 0.1 * -1, highest = 0.9 * (0.9 * 2 + 0.3) + 0.6;
    g = fitted(ctx, o, "w8a8,asym,act=static,obs=ema");
    CU_ASSERT_DOUBLE_EQUAL((double)g.scale, (highest - lowest) / 255, 1e-8);
    quant_observer_free(ctx, o);
    quant_context_free(ctx);
}

static void a_percentile_is_within_a_bin_of_the_order_statistic(void)
{
    quant_context *ctx = quant_context_new(NULL);
    draw_values("percentile", false);
    memcpy(sorted, values, sizeof values);
    qsort(sorted, N, sizeof *sorted, by_size);
    static const double percent[] = {50, 90, 99, 99.9, 99.99, 100};
    quant_observer *o = observe(ctx, values, N / 8, 8);
    for (size_t i = 0; i < sizeof percent / sizeof *percent; i++) {
        char text[64];
        snprintf(text, sizeof text, "w8a8,act=static,obs=percentile:%g", percent[i]);
        quant_activation_grid g = fitted(ctx, o, text);
        double exact = (double)fabsf(sorted[(size_t)ceil(percent[i] / 100 * N - 1e-6) - 1]);
        double limit = (double)g.scale * 127;
        CU_ASSERT(limit >= exact * (1 - 1e-6) && limit <= exact * (1 + 1.0 / 128 + 1e-6));
    }
    quant_observer_free(ctx, o);
    quant_context_free(ctx);
}

/* Within a thousandth of the best of a fine scan over the values, and clearly below min-max. */
static void the_squared_error_is_least(void)
{
    quant_context *ctx = quant_context_new(NULL);
    for (int shifted = 0; shifted < 2; shifted++) {
        draw_values("mse", shifted);
        quant_observer *o = observe(ctx, values, N / 8, 8);
        quant_activation_grid g = fitted(ctx, o, shifted ? "w8a8,asym,act=static,obs=mse"
                                                         : "w8a8,act=static,obs=mse");
        quant_activation_grid wide = fitted(ctx, o, shifted ? "w8a8,asym,act=static"
                                                            : "w8a8,act=static");
        double got = squared_error(values, N, &g), least = INFINITY;
        for (int i = 1; i <= 400; i++) {
            quant_activation_grid t = wide;
            t.scale = wide.scale * (float)i / 400;
            if (shifted) {
                t.zero = -128 + (int)rint(1 / (double)t.scale);
            }
            double e = squared_error(values, N, &t);
            least = e < least ? e : least;
        }
        CU_ASSERT(got <= 1.001 * least);
        CU_ASSERT(got < 0.97 * squared_error(values, N, &wide));
        quant_observer_free(ctx, o);
    }
    quant_context_free(ctx);
}

/* The observer's bins are up to 16 times wider than the textbook's, which sees the noise of 40 000
 * draws in its own, so the two limits need not be the same one; what they lose must be near. */
static void the_entropy_limit_is_the_textbooks(void)
{
    quant_context *ctx = quant_context_new(NULL);
    for (int shifted = 0; shifted < 2; shifted++) {
        double bin[QUANT_ENTROPY_BINS] = {0}, most = 0, least = INFINITY;
        draw_values("entropy", shifted);
        most = textbook_bins(values, N, bin);
        for (int m = QUANT_ENTROPY_LEVELS; m <= QUANT_ENTROPY_BINS; m++) {
            double d = textbook_divergence(bin, m, QUANT_ENTROPY_LEVELS);
            least = d < least ? d : least;
        }
        quant_observer *o = observe(ctx, values, N / 8, 8);
        double limit = (double)fitted(ctx, o, "w8a8,act=static,obs=entropy").scale * 127;
        int m = (int)rint(limit / most * QUANT_ENTROPY_BINS);
        CU_ASSERT(m < QUANT_ENTROPY_BINS / 2); /* it clips the rare large ones */
        double lost = textbook_divergence(bin, m, QUANT_ENTROPY_LEVELS);
        CU_ASSERT(lost <= 1.25 * least);
        CU_ASSERT(lost < 0.6 * textbook_divergence(bin, QUANT_ENTROPY_BINS, QUANT_ENTROPY_LEVELS));
        quant_observer_free(ctx, o);
    }
    quant_context_free(ctx);
}

static void the_prediction_is_the_error(void)
{
    static const char *const texts[] = {
        "w8a8,act=static", "w8a8,asym,act=static", "w8a8,act=static,obs=mse",
        "w8a8,act=static,obs=percentile:99", "w8a8,act=static,obs=percentile:90",
        "w8a8,asym,act=static,obs=percentile:90", "w8a8,act=static,obs=entropy",
        "w8a8,asym,act=static,obs=entropy", "w8a8,asym,act=static,obs=mse"};
    quant_context *ctx = quant_context_new(NULL);
    for (int shifted = 0; shifted < 2; shifted++) {
        draw_values("predict", shifted);
        quant_observer *o = observe(ctx, values, N / 8, 8);
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            quant_activation_grid g = fitted(ctx, o, texts[i]);
            quant_activation_error e = quant_observer_predict(o, 0, &g);
            double got = squared_error(values, N, &g), saturated = 0, energy = 0;
            for (size_t k = 0; k < N; k++) {
                double c = rint((double)(values[k] / g.scale)) + g.zero;
                saturated += c < g.lowest || c > g.highest;
                energy += (double)values[k] * (double)values[k];
            }
            double off = 10 * log10((e.rounding2 + e.clipping2) / got);
            CU_ASSERT(fabs(off) < 0.1); /* dB */
            CU_ASSERT(fabs(e.saturated - saturated) <= 0.02 * saturated + 3);
            CU_ASSERT_DOUBLE_EQUAL(e.energy2 / energy, 1, 1e-3);
        }
        quant_observer_free(ctx, o);
    }
    quant_context_free(ctx);
}

/* ---- hostile -------------------------------------------------------------------------------- */

static void one_channel_far_above_the_rest_is_cut_or_kept(void)
{
    quant_context *ctx = quant_context_new(NULL);
    draw_values("outlier", false);
    for (size_t i = 0; i < N; i += 100) {
        values[i] = 1e4f;
    }
    quant_observer *tensor = observe(ctx, values, N / 100, 100), *channel;
    CHECK_OK(ctx, quant_observer_new(ctx, 100, true, 1, &channel));
    CHECK_OK(ctx, quant_observer_add(ctx, channel, 0, values, N / 100));
    CU_ASSERT_DOUBLE_EQUAL((double)fitted(ctx, tensor, "w8a8,act=static").scale, 1e4 / 127, 1e-3);
    CU_ASSERT(fitted(ctx, tensor, "w8a8,act=static,obs=percentile:98").scale < 0.05f);
    quant_activation how = {.percentile = 100};
    quant_activation_grid g;
    CHECK_OK(ctx, quant_observer_fit(ctx, channel, 0, &how, &g)); /* constant: exact */
    CU_ASSERT_EQUAL(g.scale, 1e4f / 127);
    quant_activation_error e = quant_observer_predict(channel, 0, &g);
    CU_ASSERT(e.rounding2 + e.clipping2 <= 1e-9 * e.energy2 && e.energy2 > 0);
    CHECK_OK(ctx, quant_observer_fit(ctx, channel, 7, &how, &g));
    CU_ASSERT(g.scale < 1);
    quant_observer_free(ctx, tensor);
    quant_observer_free(ctx, channel);
    quant_context_free(ctx);
}

static void zeros_and_constants_have_a_grid(void)
{
    static const char *const rules[] = {"minmax", "ema", "percentile:50", "mse", "entropy"};
    static const float constants[] = {0, -0.0f, 3, -3, 1e-42f, 3e38f};
    quant_context *ctx = quant_context_new(NULL);
    for (size_t c = 0; c < 2 * sizeof constants / sizeof *constants; c++) {
        float x[12];
        for (int i = 0; i < 12; i++) {
            x[i] = constants[c / 2];
        }
        quant_observer *o = observe(ctx, x, 3, 4);
        for (size_t r = 0; r < sizeof rules / sizeof *rules; r++) {
            char text[64];
            snprintf(text, sizeof text, "w8a8%s,act=static,obs=%s", c % 2 ? ",asym" : "", rules[r]);
            quant_activation_grid g = fitted(ctx, o, text);
            CU_ASSERT(isfinite(g.scale) && g.scale >= 0);
            CU_ASSERT((g.scale > 0) == (fabsf(x[0]) > 0));
            quant_activation_error e = quant_observer_predict(o, 0, &g);
            CU_ASSERT(e.rounding2 >= 0 && e.clipping2 >= 0);
            CU_ASSERT(squared_error(x, 12, &g) <= 1e-9 * e.energy2 || fabsf(x[0]) < 1e-30f);
        }
        quant_observer_free(ctx, o);
    }
    quant_context_free(ctx);
}

static void what_is_no_activation_is_refused(void)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_observer *o, *other;
    quant_activation_grid g;
    quant_activation how = {.percentile = 100};
    float x[6] = {1, 2, 3, 4, NAN, INFINITY};
    CU_ASSERT_EQUAL(quant_observer_new(ctx, 0, false, 1, &o), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_observer_new(ctx, UINT64_MAX, true, 2, &o), QUANT_ENOMEM);
    CHECK_OK(ctx, quant_observer_new(ctx, 3, false, 2, &o));
    CHECK_OK(ctx, quant_observer_new(ctx, 2, false, 2, &other));
    CU_ASSERT_EQUAL(quant_observer_fit(ctx, o, 0, &how, &g), QUANT_ERANGE);
    CU_ASSERT_EQUAL(quant_observer_add(ctx, o, 0, x, 2), QUANT_ENONFINITE);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "row 1, channel 1"));
    CU_ASSERT_EQUAL(o->rows, 0);
    CU_ASSERT_EQUAL(quant_observer_add(ctx, o, 2, x, 1), QUANT_EINVAL);
    CU_ASSERT_EQUAL(quant_observer_merge(ctx, o, other), QUANT_ESHAPE);
    CHECK_OK(ctx, quant_observer_add(ctx, o, 1, x, 1));
    CHECK_OK(ctx, quant_observer_check(ctx, o));
    CU_ASSERT_EQUAL(quant_observer_fit(ctx, o, 1, &how, &g), QUANT_ERANGE);
    o->small[0]++;
    CU_ASSERT_EQUAL(quant_observer_check(ctx, o), QUANT_ERANGE);
    o->small[0]--;
    o->highest[2] = 300;
    CU_ASSERT_EQUAL(quant_observer_check(ctx, o), QUANT_ERANGE);
    o->highest[2] = NAN;
    CU_ASSERT_EQUAL(quant_observer_check(ctx, o), QUANT_ERANGE);
    quant_observer_free(ctx, o);
    quant_observer_free(ctx, other);
    quant_context_free(ctx);
}

TEST_SUITE(observer,
           {"min-max and average are their formulas", min_max_and_average_are_their_formulas},
           {"a percentile is within a bin of the order statistic",
            a_percentile_is_within_a_bin_of_the_order_statistic},
           {"the squared error is least", the_squared_error_is_least},
           {"the entropy limit is the textbook's", the_entropy_limit_is_the_textbooks},
           {"the prediction is the error", the_prediction_is_the_error},
           {"one channel far above the rest is cut or kept",
            one_channel_far_above_the_rest_is_cut_or_kept},
           {"zeros and constants have a grid", zeros_and_constants_have_a_grid},
           {"what is no activation is refused", what_is_no_activation_is_refused})
