/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>

#include "quant/quant.h"
#include "tests/test.h"

enum { MANY = 20000 };
static float w[MANY];

static int near(double value, long double want, long double room)
{
    return fabsl((long double)value - want) <= room;
}

/* Every figure against long double sums over the finite values. n doubles added in 64 lanes and
 * pieces are off by less than (n/64 + 100) u of the sum of magnitudes; the fourth moment about a
 * mean that is itself off by that much of the RMS stays within 16 times as much. */
static int summary_is_off(const quant_summary *s, size_t n)
{
    long double sum = 0, sum2 = 0, two = 0, four = 0, finite = 0, zeros = 0;
    long double b = ((long double)n / 64 + 100) * 0x1p-53L;
    size_t first = n;
    float lowest = 0, highest = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(w[i])) {
            first = first == n ? i : first;
            continue;
        }
        lowest = finite == 0 || w[i] < lowest ? w[i] : lowest;
        highest = finite == 0 || w[i] > highest ? w[i] : highest;
        finite += 1;
        zeros += w[i] == 0.0f;
        sum += (long double)w[i];
        sum2 += (long double)w[i] * (long double)w[i];
    }
    if (s->elements != n || s->first_nonfinite != first ||
        (long double)s->nonfinite != n - finite || (long double)s->zeros != zeros ||
        s->lowest != lowest || s->highest != highest ||
        s->absmax != fmaxf(fabsf(lowest), fabsf(highest))) {
        return 1;
    }
    if (finite == 0) {
        return !(s->rms == 0 && s->mean == 0 && isnan(s->kurtosis));
    }
    long double mean = sum / finite, rms = sqrtl(sum2 / finite);
    for (size_t i = 0; i < n; i++) {
        long double d = isfinite(w[i]) ? (long double)w[i] - mean : 0;
        two += d * d / finite;
        four += d * d * d * d / finite;
    }
    if (!near(s->mean, mean, b * rms) || !near(s->rms, rms, b * rms)) {
        return 2;
    }
    return lowest == highest ? 3 * !isnan(s->kurtosis)
                             : 4 * !near(s->kurtosis, four / (two * two),
                                         16 * b * four / (two * two));
}

static void figures_agree_with_long_double(void)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    quant_random r = quant_random_stream(test_seed(), "summary");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        size_t n = (size_t)quant_random_below(&r, 3 * k, k % 50 ? 300 : MANY + 1);
        uint64_t spoiled = quant_random_below(&r, 3 * k + 1, 4);
        quant_random v = quant_random_stream(test_seed() + k, "values");
        for (size_t i = 0; i < n; i++) {
            double z = quant_random_normal(&v, 2 * i);
            uint64_t dice = quant_random_below(&v, 2 * i + 1, 100);
            w[i] = k % 11 == 0 ? -0.3f : dice < 5 ? 0.0f : (float)(z + 0.5);
            if (spoiled == 1 && dice >= 97) {
                w[i] = bad[dice - 97];
            } else if (spoiled == 2 && k % 3 == 0) {
                w[i] = bad[i % 3];
            }
        }
        quant_summary s;
        quant_status status = quant_summarize(NULL, w, n, &s);
        int off = status == QUANT_OK ? summary_is_off(&s, n) : 9;
        if (off) {
            test_failed_case(k, "n %zu: figure group %d", n, off);
            CU_FAIL("a figure is off");
            return;
        }
    }
}

static void threads_change_no_byte(void)
{
    static float many[4 << 20];
    size_t n = sizeof many / sizeof *many - 5;
    quant_random r = quant_random_stream(test_seed(), "threads");
    for (size_t i = 0; i < n; i++) {
        many[i] = (float)quant_random_uniform(&r, i / 16) - (float)(i % 7);
    }
    many[n - 3] = NAN;
    quant_context *ctx = quant_context_new(NULL);
    quant_summary one, five;
    CHECK_OK(ctx, quant_summarize(ctx, many, n, &one));
    quant_context_set_threads(ctx, 5);
    CHECK_OK(ctx, quant_summarize(ctx, many, n, &five));
    CU_ASSERT(one.mean == five.mean && one.rms == five.rms && one.kurtosis == five.kurtosis);
    CU_ASSERT(one.lowest == five.lowest && one.highest == five.highest);
    CU_ASSERT(one.zeros == five.zeros && one.nonfinite == five.nonfinite);
    CU_ASSERT_EQUAL(one.first_nonfinite, n - 3);
    CU_ASSERT_EQUAL(one.nonfinite, 1);
    quant_context_free(ctx);
}

static void known_kurtosis(void)
{
    static const float two[4] = {-1, 1, -1, 1}, nine[9] = {0, 0, 0, 0, 3, 0, 0, 0, 0};
    quant_summary s;
    CU_ASSERT_EQUAL(quant_summarize(NULL, two, 4, &s), QUANT_OK);
    CU_ASSERT(s.kurtosis == 1 && s.mean == 0 && s.rms == 1 && s.zeros == 0 && s.absmax == 1);
    CU_ASSERT_EQUAL(quant_summarize(NULL, nine, 9, &s), QUANT_OK);
    CU_ASSERT(fabs(s.kurtosis - 57.0 / 8.0) < 1e-12 && s.zeros == 8 && s.rms == 1);
    CU_ASSERT_EQUAL(quant_summarize(NULL, NULL, 0, &s), QUANT_OK);
    CU_ASSERT(s.elements == 0 && s.rms == 0 && isnan(s.kurtosis) && s.first_nonfinite == 0);
    CU_ASSERT_EQUAL(quant_summarize(NULL, NULL, 1, &s), QUANT_EINVAL);
}

TEST_SUITE(summary,
           {"figures agree with long double", figures_agree_with_long_double},
           {"threads change no byte", threads_change_no_byte},
           {"known kurtosis", known_kurtosis})
