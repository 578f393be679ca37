/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/assert.h"
#include "quant/quant.h"
#include "tests/test.h"

enum { CHUNK = QUANT_FIDELITY_CHUNK, MANY = 3 * CHUNK + 77 };

static float ref[MANY], got[MANY];
static double wide_ref[MANY], wide_got[MANY];

/* A pair whose copy is scaled and disturbed; relative error near `delta`. */
static void fill_pair(quant_random r, uint64_t from, size_t n, double delta, double gain)
{
    for (size_t i = 0; i < n; i++) {
        double w = quant_random_normal(&r, from + 2 * i);
        double e = quant_random_normal(&r, from + 2 * i + 1);
        ref[i] = (float)w;
        got[i] = (float)(gain * w + delta * e);
        wide_ref[i] = w;
        wide_got[i] = gain * w + delta * e;
    }
}

typedef struct exact {
    long double ref2, got2, dot, err2, max_abs;
    size_t max_index;
} exact;

static void exact_add(exact *x, size_t i, long double w, long double y)
{
    x->ref2 += w * w;
    x->got2 += y * y;
    x->dot += w * y;
    x->err2 += (y - w) * (y - w);
    if (fabsl(y - w) > x->max_abs) {
        x->max_abs = fabsl(y - w);
        x->max_index = i;
    }
}

static int near(double value, long double want, long double room)
{
    return fabsl((long double)value - want) <= room;
}

/* Long double sums one by one; they add n 2^-64 to the bound of the library. */
static int record_is_off(const quant_fidelity *f, const exact *x, size_t n)
{
    long double b = quant_fidelity_bound(n) + (long double)n * LDBL_EPSILON;
    long double scale = sqrtl(x->ref2) * sqrtl(x->got2);
    return !(f->n == n && near(f->ref2, x->ref2, b * x->ref2) &&
             near(f->got2, x->got2, b * x->got2) && near(f->err2, x->err2, b * x->err2) &&
             near(f->dot, x->dot, b * scale) &&
             near(f->max_abs, x->max_abs, x->max_abs * 0x1p-53L) &&
             (n == 0 || f->max_index == x->max_index));
}

static int metrics_are_off(const quant_fidelity *f, const exact *x, size_t n)
{
    long double b = quant_fidelity_bound(n) + (long double)n * LDBL_EPSILON, u = 0x1p-53L;
    if (x->ref2 == 0) {
        return !(isnan(quant_cosine(f)) || n == 0 || quant_cosine(f) == 0);
    }
    long double c = x->dot / sqrtl(x->ref2) / sqrtl(x->got2);
    long double d = sqrtl(x->err2 / x->ref2);
    long double db = d == 0 ? (long double)INFINITY : -20 * log10l(d);
    long double room = 2 * b + 4 * u;
    return !(near(quant_cosine(f), c, room) && near(quant_relative_error(f), d, d * (b + 4 * u)) &&
             (d == 0 ? isinf(quant_sqnr_db(f))
                     : near(quant_sqnr_db(f), db, 8.7L * (b + 4 * u) + 4 * u * fabsl(db))) &&
             near(quant_mse(f), x->err2 / n, x->err2 / n * (b + 2 * u)) &&
             near(quant_max_abs_error(f), x->max_abs, x->max_abs * u));
}

static void agrees_with_long_double(void)
{
    quant_random r = quant_random_stream(test_seed(), "fidelity");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        size_t n = k % 250 == 0 ? (size_t)quant_random_below(&r, 3 * k, MANY + 1)
                                : (size_t)quant_random_below(&r, 3 * k, 400);
        double delta = exp(-20 * quant_random_uniform(&r, 3 * k + 1));
        double u = quant_random_uniform(&r, 3 * k + 2), gain = u < 0.6 ? 1 : 6 * u - 5;
        fill_pair(quant_random_stream(test_seed() + k, "pair"), 0, n, delta, gain);
        exact narrow = {0}, wide = {0}, mixed = {0};
        for (size_t i = 0; i < n; i++) {
            exact_add(&narrow, i, (long double)ref[i], (long double)got[i]);
            exact_add(&wide, i, (long double)wide_ref[i], (long double)wide_got[i]);
            exact_add(&mixed, i, (long double)wide_ref[i], (long double)got[i]);
        }
        quant_fidelity f = quant_fidelity_f32(NULL, ref, got, n);
        quant_fidelity g = quant_fidelity_f64(NULL, wide_ref, wide_got, n);
        quant_fidelity h = quant_fidelity_f64_f32(NULL, wide_ref, got, n);
        int off = record_is_off(&f, &narrow, n) + 2 * record_is_off(&g, &wide, n) +
                  4 * record_is_off(&h, &mixed, n) + 8 * metrics_are_off(&f, &narrow, n) +
                  16 * metrics_are_off(&g, &wide, n) + 32 * metrics_are_off(&h, &mixed, n);
        if (off) {
            test_failed_case(k, "n %zu delta %g gain %g: mask %d", n, delta, gain, off);
            CU_FAIL("off the long double sums");
            return;
        }
    }
}

/* The same floats through the f32 and the f64 path are the same additions: equal bytes. */
static void paths_and_pieces_give_equal_bytes(void)
{
    fill_pair(quant_random_stream(test_seed(), "paths"), 0, MANY, 0.1, 1);
    for (size_t i = 0; i < MANY; i++) {
        wide_ref[i] = (double)ref[i];
        wide_got[i] = (double)got[i];
    }
    quant_fidelity one = quant_fidelity_f32(NULL, ref, got, MANY), sum = {0, 0, 0, 0, 0, 0, 0};
    for (size_t i = 0; i < MANY; i += CHUNK) {
        size_t n = MANY - i < CHUNK ? MANY - i : CHUNK;
        quant_fidelity piece = quant_fidelity_f32(NULL, ref + i, got + i, n);
        quant_fidelity_add(&sum, &piece);
    }
    CU_ASSERT_EQUAL(memcmp(&one, &sum, sizeof one), 0);
    quant_context *ctx = quant_context_new(NULL);
    for (int threads = 1; threads <= 7; threads += 3) {
        quant_context_set_threads(ctx, threads);
        quant_fidelity f[3] = {quant_fidelity_f32(ctx, ref, got, MANY),
                               quant_fidelity_f64(ctx, wide_ref, wide_got, MANY),
                               quant_fidelity_f64_f32(ctx, wide_ref, got, MANY)};
        for (int i = 0; i < 3; i++) {
            CU_ASSERT_EQUAL(memcmp(&one, &f[i], sizeof one), 0);
        }
    }
    quant_context_free(ctx);
}

/* Any split agrees within the bound, and the index of the maximum shifts. */
static void adding_pools_energies(void)
{
    quant_random r = quant_random_stream(test_seed(), "pool");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        size_t n = 1 + (size_t)quant_random_below(&r, 2 * k, 300);
        size_t cut = (size_t)quant_random_below(&r, 2 * k + 1, n + 1);
        fill_pair(quant_random_stream(test_seed() + k, "pool"), 0, n, 0.3, 1);
        quant_fidelity all = quant_fidelity_f32(NULL, ref, got, n);
        quant_fidelity a = quant_fidelity_f32(NULL, ref, got, cut);
        quant_fidelity b = quant_fidelity_f32(NULL, ref + cut, got + cut, n - cut);
        quant_fidelity_add(&a, &b);
        double room = 2 * quant_fidelity_bound(n);
        if (a.n != n || a.max_index != all.max_index || a.max_abs != all.max_abs ||
            fabs(a.ref2 - all.ref2) > room * all.ref2 ||
            fabs(a.got2 - all.got2) > room * all.got2 ||
            fabs(a.err2 - all.err2) > room * all.err2 ||
            fabs(a.dot - all.dot) > room * sqrt(all.ref2 * all.got2)) {
            test_failed_case(k, "n %zu cut at %zu", n, cut);
            CU_FAIL("pooled record differs");
            return;
        }
    }
}

/* A common power of two leaves every ratio as it is; the absolute figures follow it. */
static void powers_of_two_change_nothing(void)
{
    quant_random r = quant_random_stream(test_seed(), "scale");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        size_t n = 1 + (size_t)quant_random_below(&r, 2 * k, 200);
        int e = (int)quant_random_below(&r, 2 * k + 1, 160) - 80;
        double delta = k % 2 ? 1e-3 : 0.8;
        fill_pair(quant_random_stream(test_seed() + k, "scale"), 0, n, delta, 1);
        quant_fidelity a = quant_fidelity_f32(NULL, ref, got, n);
        for (size_t i = 0; i < n; i++) {
            ref[i] = ldexpf(ref[i], e);
            got[i] = ldexpf(got[i], e);
        }
        quant_fidelity b = quant_fidelity_f32(NULL, ref, got, n);
        if (quant_cosine(&a) != quant_cosine(&b) || quant_sqnr_db(&a) != quant_sqnr_db(&b) ||
            quant_relative_error(&a) != quant_relative_error(&b) ||
            quant_mse(&b) != ldexp(quant_mse(&a), 2 * e) ||
            quant_max_abs_error(&b) != ldexp(quant_max_abs_error(&a), e)) {
            test_failed_case(k, "n %zu times 2^%d", n, e);
            CU_FAIL("a power of two shows");
            return;
        }
    }
}

/* 1 - c of nearly equal arrays: the bound beside quant_cosine, where dot / (|w| |y|) would be off
 * by the rounding of the sums. All of one sign and one magnitude, so that the sums are biased. */
static void cosine_is_sharp_near_one(void)
{
    for (int e = 4; e < 24; e++) {
        double d = ldexp(1, -e);
        long double w2 = 0, y2 = 0, e2 = 0;
        for (size_t i = 0; i < CHUNK; i++) {
            wide_ref[i] = 0.1;
            wide_got[i] = 0.1 * (i % 2 ? 1 + d : 1 - d);
            long double w = (long double)wide_ref[i], y = (long double)wide_got[i];
            w2 += w * w;
            y2 += y * y;
            e2 += (y - w) * (y - w);
        }
        quant_fidelity f = quant_fidelity_f64(NULL, wide_ref, wide_got, CHUNK);
        long double w = sqrtl(w2), y = sqrtl(y2), gap = (w2 - y2) / (w + y);
        long double c = 1 - (e2 - gap * gap) / (2 * w * y);
        double room = quant_fidelity_bound(CHUNK) * (6 * d + 2 * d * d) + 2 * 0x1p-53;
        CU_ASSERT(near(quant_cosine(&f), c, (long double)room));
    }
    quant_fidelity near_one = {1000000, 1, 1, 1 - 1e-12, 1e-14, 1e-8, 0};
    CU_ASSERT_EQUAL(quant_cosine(&near_one), 1 - 5e-15);
}

static void identical_and_opposite(void)
{
    quant_random r = quant_random_stream(test_seed(), "same");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        size_t n = 1 + (size_t)quant_random_below(&r, k, 300);
        fill_pair(quant_random_stream(test_seed() + k, "same"), 0, n, 0, 1);
        quant_fidelity same = quant_fidelity_f32(NULL, ref, ref, n);
        quant_fidelity wide = quant_fidelity_f64(NULL, wide_ref, wide_ref, n);
        for (size_t i = 0; i < n; i++) {
            got[i] = -ref[i];
        }
        quant_fidelity opposite = quant_fidelity_f32(NULL, ref, got, n);
        if (quant_cosine(&same) != 1 || quant_cosine(&wide) != 1 ||
            quant_sqnr_db(&same) != INFINITY || quant_relative_error(&same) != 0 ||
            quant_max_abs_error(&same) != 0 ||
            quant_cosine(&opposite) < -1 || quant_cosine(&opposite) > -1 + 4 * 0x1p-53 ||
            quant_relative_error(&opposite) != 2) {
            test_failed_case(k, "n %zu", n);
            CU_FAIL("identical arrays are not identical");
            return;
        }
    }
}

static void zeros(void)
{
    static const float zero[5] = {0, -0.0f, 0, 0, 0}, some[5] = {0, 3, 0, -4, 0};
    quant_fidelity f = quant_fidelity_f32(NULL, zero, zero, 5);
    CU_ASSERT_FALSE(quant_fidelity_live(&f));
    CU_ASSERT(isnan(quant_cosine(&f)) && isnan(quant_relative_error(&f)));
    CU_ASSERT(isnan(quant_sqnr_db(&f)));
    CU_ASSERT(quant_mse(&f) == 0 && quant_max_abs_error(&f) == 0);
    f = quant_fidelity_f32(NULL, some, zero, 5);
    CU_ASSERT(quant_fidelity_live(&f) && quant_cosine(&f) == 0 && quant_relative_error(&f) == 1);
    CU_ASSERT(quant_sqnr_db(&f) == 0 && quant_mse(&f) == 5 && f.max_index == 3 && f.max_abs == 4);
    f = quant_fidelity_f32(NULL, zero, some, 5);
    CU_ASSERT(quant_fidelity_live(&f) && quant_cosine(&f) == 0);
    CU_ASSERT(quant_relative_error(&f) == INFINITY && quant_sqnr_db(&f) == -INFINITY);
    f = quant_fidelity_f32(NULL, NULL, NULL, 0);
    for (int m = 0; m < QUANT_METRIC_COUNT; m++) {
        CU_ASSERT(isnan(quant_metric_row(m)->value(&f)));
    }
    CU_ASSERT_EQUAL(f.max_index, 0);
}

/* One bad value anywhere, on either side: every metric is NaN and no check holds. */
static void nonfinite_never_passes(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    quant_random r = quant_random_stream(test_seed(), "bad");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        size_t n = 1 + (size_t)quant_random_below(&r, 2 * k, 200);
        size_t at = (size_t)quant_random_below(&r, 2 * k + 1, n);
        fill_pair(quant_random_stream(test_seed() + k, "bad"), 0, n, 1e-3, 1);
        float *side[2] = {ref, got};
        if (k % 7 != 0) {
            side[k % 2][at] = bad[k % 3];
        } else {
            ref[at] = got[at] = bad[k % 3];
        }
        for (size_t i = 0; i < n; i++) {
            wide_ref[i] = (double)ref[i];
            wide_got[i] = (double)got[i];
        }
        quant_fidelity f[3] = {quant_fidelity_f32(NULL, ref, got, n),
                               quant_fidelity_f64(NULL, wide_ref, wide_got, n),
                               quant_fidelity_f64_f32(NULL, wide_ref, got, n)};
        int off = f[0].max_index != at || f[1].max_index != at || f[2].max_index != at;
        for (int m = 0; m < QUANT_METRIC_COUNT; m++) {
            char text[QUANT_CHECK_MESSAGE], want[64];
            double lax = quant_metric_row(m)->higher_is_better ? -INFINITY : INFINITY;
            off |= quant_fidelity_check((quant_metric_id)m, lax, ref, got, n, text, sizeof text);
            snprintf(want, sizeof want, "index %zu: expected", at);
            off |= !strstr(text, want);
            for (int p = 0; p < 3; p++) {
                off |= !isnan(quant_metric_row(m)->value(&f[p]));
            }
        }
        if (off) {
            test_failed_case(k, "n %zu, bad at %zu", n, at);
            CU_FAIL("a non-finite value passed");
            return;
        }
    }
}

static void nan_is_found_across_chunks(void)
{
    fill_pair(quant_random_stream(test_seed(), "late"), 0, MANY, 0.1, 1);
    got[CHUNK + 5] = NAN;
    got[2 * CHUNK + 9] = NAN;
    quant_fidelity f = quant_fidelity_f32(NULL, ref, got, MANY);
    CU_ASSERT(isnan(f.max_abs));
    CU_ASSERT_EQUAL(f.max_index, CHUNK + 5);
}

static void table_is_whole(void)
{
    for (int m = 0; m < QUANT_METRIC_COUNT; m++) {
        const quant_metric *row = quant_metric_row(m);
        CU_ASSERT_PTR_EQUAL(quant_metric_find(row->name), row);
        CU_ASSERT(row->heading[0] && row->value);
    }
    CU_ASSERT(quant_metric_find("cosine")->value == quant_cosine);
    CU_ASSERT(quant_metric_find("mse")->value == quant_mse);
    CU_ASSERT(quant_metric_find("cosine")->higher_is_better);
    CU_ASSERT(quant_metric_find("sqnr_db")->higher_is_better);
    CU_ASSERT_FALSE(quant_metric_find("relative_error")->higher_is_better);
    CU_ASSERT_FALSE(quant_metric_find("max_abs_error")->higher_is_better);
    CU_ASSERT_PTR_NULL(quant_metric_row(-1));
    CU_ASSERT_PTR_NULL(quant_metric_row(QUANT_METRIC_COUNT));
    CU_ASSERT_PTR_NULL(quant_metric_find("cosines"));
}

static void expect_verdict(bool want, const char *text, quant_metric_id m, double limit,
                           const float *w, const float *y, size_t n)
{
    char message[QUANT_CHECK_MESSAGE];
    CU_ASSERT_EQUAL(quant_fidelity_check(m, limit, w, y, n, message, sizeof message), want);
    CU_ASSERT_STRING_EQUAL(message, text);
    char cut[9];
    CU_ASSERT_EQUAL(quant_fidelity_check(m, limit, w, y, n, cut, sizeof cut), want);
    CU_ASSERT(strlen(cut) == 8 && strncmp(cut, text, 8) == 0);
}

static void verdicts_read_well(void)
{
    static const float w[4] = {3, 0, 4, 0}, y[4] = {3, 0, 3.5f, 0}, z[4] = {0, 0, 0, 0};
    static const float nan[4] = {3, NAN, 4, 0};
    expect_verdict(false, "relative_error 0.1 > 0.05 over 4 elements; worst at index 2: "
                   "expected 4, got 3.5", QUANT_RELATIVE_ERROR, 0.05, w, y, 4);
    expect_verdict(true, "max_abs_error 0.5 <= 0.5 over 4 elements; worst at index 2: expected 4, "
                   "got 3.5", QUANT_MAX_ABS_ERROR, 0.5, w, y, 4);
    expect_verdict(false, "sqnr_db 20 < 20.1 over 4 elements; worst at index 2: "
                   "expected 4, got 3.5", QUANT_SQNR_DB, 20.1, w, y, 4);
    expect_verdict(true, "sqnr_db inf >= 300 over 4 elements; worst at index 0: expected 3, got 3",
                   QUANT_SQNR_DB, 300, w, w, 4);
    expect_verdict(true, "cosine 1 >= 1 over 4 elements; worst at index 0: expected 3, got 3",
                   QUANT_COSINE, 1, w, w, 4);
    expect_verdict(false, "cosine is not a number: first non-finite pair at index 1: expected 0, "
                   "got nan", QUANT_COSINE, 0.97, w, nan, 4);
    expect_verdict(false, "mse: nothing to compare (n = 0)", QUANT_MSE, 1, w, y, 0);
    expect_verdict(false, "max_abs_error: both arrays are zero in all 4 elements",
                   QUANT_MAX_ABS_ERROR, 1, z, z, 4);
    expect_verdict(false, "metric 99 against limit 1: not a check",
                   (quant_metric_id)99, 1, w, y, 4);
    expect_verdict(false, "metric 0 against limit nan: not a check", QUANT_COSINE, NAN, w, y, 4);
}

/* The macros take the same road; that they fail is shown above through quant_fidelity_check. */
static void assertions_hold(void)
{
    static const float w[4] = {3, 0, 4, 0}, y[4] = {3, 0, 3.5f, 0};
    QUANT_ASSERT_COSINE(w, y, 4, 0.99);
    QUANT_ASSERT_SQNR(w, y, 4, 19.9);
    QUANT_ASSERT_RELATIVE_ERROR(w, y, 4, 0.11);
    QUANT_ASSERT_MAX_ERROR(w, y, 4, 0.5);
    QUANT_ASSERT_COSINE_FATAL(w, y, 4, 0.99);
    QUANT_ASSERT_SQNR_FATAL(w, w, 4, 400);
    QUANT_ASSERT_RELATIVE_ERROR_FATAL(w, w, 4, 0);
    QUANT_ASSERT_MAX_ERROR_FATAL(w, w, 4, 0);
}

TEST_SUITE(fidelity,
           {"agrees with long double within the bound", agrees_with_long_double},
           {"paths, threads and pieces give equal bytes", paths_and_pieces_give_equal_bytes},
           {"adding pools energies", adding_pools_energies},
           {"powers of two change nothing", powers_of_two_change_nothing},
           {"cosine is sharp near one", cosine_is_sharp_near_one},
           {"identical and opposite arrays", identical_and_opposite},
           {"zeros", zeros},
           {"non-finite values never pass", nonfinite_never_passes},
           {"NaN is found across chunks", nan_is_found_across_chunks},
           {"the metric table is whole", table_is_whole},
           {"verdicts read well", verdicts_read_well},
           {"assertions hold", assertions_hold})
