/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_elementary.c - own elementary functions against the C library's in long double. */
#include "quant/elementary.h"

#include <float.h>
#include <math.h>

#include "quant/predict.h"
#include "quant/random.h"
#include "tests/test.h"

/* Distance in units of the last place of `got`. */
static double ulps(double got, long double truth)
{
    int e;
    (void)frexp(got, &e);
    return (double)(fabsl((long double)got - truth) / ldexpl(1, e - DBL_MANT_DIG));
}

static void log10_is_rounded_correctly(void)
{
    quant_random r = quant_random_stream(test_seed(), "log10");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        for (uint64_t i = 0; i < 50; i++) {
            double x = quant_random_uniform(&r, 50 * k + i);
            x = i % 3 == 0   ? 1 + (x - 0.5) / 64
                : i % 3 == 1 ? 1.40 + x / 64 /* where the series is longest */
                             : ldexp(x, (int)(i * 37 % 300) - 150);
            if (!(ulps(quant_log10(x), log10l((long double)x)) <= 0.501)) {
                test_failed_case(k, "log10(%a) = %a", x, quant_log10(x));
                CU_FAIL("log10 is not rounded correctly");
                return;
            }
        }
    }
}

static void log10_of_powers_of_ten_is_whole(void)
{
    double up = 1;
    for (int k = 0; k <= 22; k++) {
        CU_ASSERT_EQUAL(quant_log10(up), k);
        CU_ASSERT_EQUAL(quant_log10(1 / up), -k);
        up *= 10;
    }
    CU_ASSERT(quant_log10(0) == -INFINITY && quant_log10(INFINITY) == INFINITY);
    CU_ASSERT(isnan(quant_log10(-1)) && isnan(quant_log10(NAN)) && isnan(quant_log10(-INFINITY)));
    CU_ASSERT(ulps(quant_log10(DBL_TRUE_MIN), log10l((long double)DBL_TRUE_MIN)) <= 0.501);
    CU_ASSERT(ulps(quant_log10(DBL_MAX), log10l((long double)DBL_MAX)) <= 0.501);
}

static void exp_stays_within_its_bound(void)
{
    quant_random r = quant_random_stream(test_seed(), "exp");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        for (uint64_t i = 0; i < 50; i++) {
            double x = (quant_random_uniform(&r, 50 * k + i) - 0.5) * (i % 2 ? 1400 : 90);
            long double truth = expl((long double)x);
            if (!(fabsl((long double)quant_exp(x) - truth) <= 2.5L * 0x1p-53L * truth)) {
                test_failed_case(k, "exp(%a) = %a", x, quant_exp(x));
                CU_FAIL("exp is off by more than its bound");
                return;
            }
        }
    }
    CU_ASSERT_EQUAL(quant_exp(0), 1);
}

/* Integral of (x - c)^2 phi(x) over [a, b] in closed form. */
static long double cell(long double c, long double a, long double b)
{
    const long double root = sqrtl(2), height = 1 / sqrtl(2 * acosl(-1));
    long double pa = expl(-a * a / 2) * height, pb = expl(-b * b / 2) * height;
    long double mass = (erfcl(a / root) - erfcl(b / root)) / 2;
    return (1 + c * c) * mass - (b * pb - a * pa) + 2 * c * (pb - pa);
}

static void the_gaussian_prediction_is_the_integral(void)
{
    for (int bits = 2; bits <= 6; bits++) {
        const long double codes = (1 << (bits - 1)) - 1;
        for (int i = 1; i < 60; i++) {
            const double ratio = 0.3 * i * i;
            const long double u = (long double)ratio / codes, most = (long double)ratio;
            long double sum = 0;
            for (int k = 0; k <= (int)codes && u > 0.25L && (k - 0.5L) * u < 12; k++) {
                sum += cell(k * u, k ? (k - 0.5L) * u : 0, fminl((k + 0.5L) * u, most));
            }
            long double want = sqrtl(2 * sum / erfl(most / sqrtl(2)));
            if (u > 0.25L && !(fabsl(quant_predict_gaussian(bits, ratio) / want - 1) <= 1e-14L)) {
                test_failed_case(0, "%d bits, ratio %g: %.17g, expected %.17g", bits, ratio,
                                 quant_predict_gaussian(bits, ratio), (double)want);
                CU_FAIL("the prediction is not the integral");
            }
        }
    }
}

TEST_SUITE(elementary, {"log10 is rounded correctly", log10_is_rounded_correctly},
           {"log10 of powers of ten is whole", log10_of_powers_of_ten_is_whole},
           {"exp stays within its bound", exp_stays_within_its_bound},
           {"the Gaussian prediction is the integral", the_gaussian_prediction_is_the_integral})
