/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/bank_spec.h"
#include "quant/internal.h"
#include "tests/made.h"
#include "tests/test.h"

/* ---- arithmetic ----------------------------------------------------------------------------- */

/* The bounds are those of quant/random.c (12u of the logarithm) and data/bank_values.c (4 ulp =
 * 8u of the exponential at most), u = 2^-53, against the long double of libm. */
static void log_and_exp_keep_their_bounds(void)
{
    quant_random r = quant_random_stream(test_seed(), "log and exp");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        double u = quant_random_uniform(&r, 2 * k), v = quant_random_uniform(&r, 2 * k + 1);
        double x = k % 2 ? ldexp(u, (int)(v * 2000) - 1000) : 1 + (u - 0.5) * 0.75;
        long double want = logl((long double)x);
        long double off = fabsl((long double)quant_log(x) - want);
        double y = (v * 2 - 1) * (k % 2 ? 700 : 2);
        long double power = expl((long double)y);
        long double off2 = fabsl((long double)bank_exp(y) - power);
        if (off > 12 * 0x1p-53L * fabsl(want) || off2 > 8 * 0x1p-53L * power) {
            test_failed_case(k, "log(%a) off by %Lg, exp(%a) off by %Lg", x, off / want, y,
                             off2 / power);
            CU_FAIL("log or exp out of bound");
            return;
        }
    }
    CU_ASSERT_EQUAL(quant_log(1), 0);
    CU_ASSERT_EQUAL(bank_exp(0), 1);
}

/* ---- statistics ----------------------------------------------------------------------------- */

/* median: of |z| when the variance is 1 (degrees 1 and 2: of the plain t). kurtosis and its
 * tolerance: 5 standard errors sqrt((m8 - 4 m4 m6 / m2 + 4 m4^3 - m4^2) / n) at n = 2^18, rounded
 * up; 0 where the moments do not exist. */
static const struct {
    const char *what;
    bank_dist dist;
    unsigned dof;
    double median, kurtosis, tolerance;
} known[] = {
    {"gaussian", BANK_GAUSSIAN, 0, 0.674490, 3, 0.05},
    {"laplace", BANK_LAPLACE, 0, 0.490129, 6, 0.6},
    {"uniform", BANK_UNIFORM, 0, 0.866025, 1.8, 0.02},
    {"student-t 1", BANK_STUDENT_T, 1, 1.0, 0, 0},
    {"student-t 2", BANK_STUDENT_T, 2, 0.816497, 0, 0},
    {"student-t 4", BANK_STUDENT_T, 4, 0.740697 * 0.707107, 0, 0},
    {"student-t 5", BANK_STUDENT_T, 5, 0.726687 * 0.774597, 0, 0},
    {"student-t 21", BANK_STUDENT_T, 21, 0.686352 * 0.951190, 3 + 6.0 / 17, 0.12},
};

static void distributions_have_their_moments(void)
{
    enum { N = 1 << 18 };
    for (size_t d = 0; d < sizeof known / sizeof *known; d++) {
        bank_spec spec = made_spec(N / 256, 256);
        spec.dist = known[d].dist;
        spec.dof = known[d].dof;
        spec.rms = 0.5;
        float *w = made_values(&spec, 11);
        double sum = 0, second = 0, fourth = 0;
        int below = 0, both = 0, last = 0;
        for (int i = 0; i < N; i++) {
            double z = 2.0 * (double)w[i];
            sum += z;
            second += z * z;
            fourth += z * z * z * z;
            int now = fabs(z) < known[d].median;
            both += now && last;
            below += now;
            last = now;
        }
        double root = sqrt(second / N), kurtosis = fourth * N / (second * second);
        CU_ASSERT(fabs((double)below / N - 0.5) <= 5 * 0.5 / sqrt(N) + 1e-5);
        /* Neighbours are independent: a quarter of the pairs is small twice. The variance of a
         * pair is 3/16, two pairs that share an element add 2 * 1/16. */
        CU_ASSERT(fabs((double)both / N - 0.25) <= 5 * sqrt(5.0 / 16 / N));
        if (known[d].kurtosis > 0) {
            CU_ASSERT(fabs(sum / N) <= 5 / sqrt(N));
            CU_ASSERT(fabs(root - 1) <= 5 * sqrt((known[d].kurtosis - 1) / 4 / N));
            CU_ASSERT(fabs(kurtosis - known[d].kurtosis) <= known[d].tolerance);
        }
        free(w);
    }
}

/* log of a row's RMS: variance s^2 plus (kurtosis - 1) / 4 / columns of sampling, and E f^2 = 1. */
static void row_spread_is_the_deviation_of_the_log(void)
{
    enum { ROWS = 8192, COLUMNS = 64 };
    const double s = 0.5;
    bank_spec spec = made_spec(ROWS, COLUMNS);
    spec.dist = BANK_UNIFORM;
    spec.row_spread = s;
    spec.rms = 0.02;
    float *w = made_values(&spec, 5);
    double all = 0, mean = 0, square = 0;
    for (int r = 0; r < ROWS; r++) {
        double energy = 0;
        for (int c = 0; c < COLUMNS; c++) {
            energy += (double)w[r * COLUMNS + c] * (double)w[r * COLUMNS + c];
        }
        double l = log(sqrt(energy / COLUMNS) / 0.02);
        all += energy;
        mean += l / ROWS;
        square += l * l / ROWS;
    }
    double variance = s * s + 0.8 / 4 / COLUMNS;
    CU_ASSERT(fabs(mean + s * s) <= 5 * s / sqrt(ROWS) + 0.005);
    CU_ASSERT(fabs(square - mean * mean - variance) <= 5 * variance * sqrt(2.0 / ROWS));
    /* f^2 is log-normal with parameter 2s: its variance is exp(4 s^2) - 1. */
    CU_ASSERT(fabs(all / ROWS / COLUMNS / 0.0004 - 1) <= 5 * sqrt((exp(4 * s * s) - 1) / ROWS));
    free(w);
}

/* ---- outliers and order --------------------------------------------------------------------- */

static bank_spec random_spec(const quant_random *r, uint64_t k)
{
    uint64_t at = k * 16;
    bank_spec t = {.name = "layer.w", .dtype = QUANT_F32, .rms = 0.02};
    t.shape.rank = 1 + (int)quant_random_below(r, at, 3);
    for (int d = 0; d < t.shape.rank; d++) {
        t.shape.dim[d] = 1 + quant_random_below(r, at + 1 + (uint64_t)d, d == 2 ? 40 : 12);
    }
    t.dist = (bank_dist)quant_random_below(r, at + 4, 4);
    t.dof = 1 + (unsigned)quant_random_below(r, at + 5, 9);
    t.mean = quant_random_below(r, at + 6, 2) ? 0 : 0.01;
    t.row_spread = quant_random_below(r, at + 7, 2) ? 0 : 0.7;
    t.in_columns = quant_random_below(r, at + 8, 2) == 1;
    return t;
}

/* max|w| / RMS of the line through element i; how many of its elements differ from `plain`. */
static double line_ratio(const bank_spec *t, const float *w, const float *plain, uint64_t i,
                         int *changed)
{
    int rank = t->shape.rank;
    uint64_t columns = t->shape.dim[rank - 1], rows = rank > 1 ? t->shape.dim[rank - 2] : 1;
    uint64_t matrix = i / (rows * columns) * rows * columns;
    uint64_t first = t->in_columns ? matrix + i % columns : i / columns * columns;
    uint64_t step = t->in_columns ? columns : 1, n = t->in_columns ? rows : columns;
    double energy = 0;
    *changed = 0;
    for (uint64_t k = 0; k < n; k++) {
        double v = (double)w[first + k * step];
        energy += v * v;
        *changed += w[first + k * step] != plain[first + k * step];
    }
    return fabs((double)w[i]) / sqrt(energy / (double)n);
}

/* Exactly COUNT elements change, each alone in its line, and each is RATIO times the line's RMS up
 * to float rounding. Lines of one element are left out: their ratio is 1 whatever happens. */
static const char *outliers_fault(bank_spec t, uint64_t count, uint64_t seed, uint64_t elements)
{
    float *plain = made_values(&t, seed);
    t.outliers = count;
    float *w = made_values(&t, seed);
    uint64_t changed = 0;
    const char *fault = NULL;
    for (uint64_t i = 0; i < elements; i++) {
        int in_line = 0;
        if (w[i] == plain[i]) {
            continue;
        }
        changed++;
        double ratio = line_ratio(&t, w, plain, i, &in_line);
        fault = in_line != 1 ? "two outliers in a line" : fault;
        fault = fabs(ratio / t.ratio - 1) > 1e-6 ? "ratio is not as asked" : fault;
    }
    fault = changed != count ? "wrong number of outliers" : fault;
    free(plain);
    free(w);
    return fault;
}

static void outliers_are_as_asked(void)
{
    quant_random r = quant_random_stream(test_seed(), "outliers");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        bank_spec t = random_spec(&r, k);
        uint64_t elements, at = k * 16 + 9;
        CU_ASSERT_EQUAL(quant_shape_elements(NULL, &t.shape, &elements), QUANT_OK);
        int rank = t.shape.rank;
        uint64_t columns = t.shape.dim[rank - 1], rows = rank > 1 ? t.shape.dim[rank - 2] : 1;
        uint64_t n = t.in_columns ? rows : columns;
        if (n < 2) {
            continue;
        }
        uint64_t count = 1 + quant_random_below(&r, at, elements / n);
        t.ratio = 1 + (sqrt((double)n) - 1) * 0.99 * quant_random_uniform(&r, at + 1);
        const char *fault = outliers_fault(t, count, k, elements);
        if (fault) {
            test_failed_case(k, "%s", fault);
            CU_FAIL("outliers");
            return;
        }
    }
}

/* Any cut into runs of rows and any number of threads gives the same floats. */
static void order_and_threads_do_not_matter(void)
{
    quant_random r = quant_random_stream(test_seed(), "order");
    quant_context *ctx = quant_context_new(NULL);
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        bank_spec t = random_spec(&r, k);
        float *want = made_values(&t, k), *got = NULL;
        bank_source s;
        quant_context_set_threads(ctx, 1 + (int)(k % 16 == 0) * 2);
        CHECK_OK(ctx, bank_source_open(ctx, &t, k, &s));
        size_t bytes = (size_t)(s.rows * s.columns) * sizeof *got;
        got = malloc(bytes);
        for (uint64_t end = s.rows, step; got && end > 0; end -= step) {
            step = 1 + quant_random_below(&r, k * 16 + 10, end);
            bank_source_fill(&s, end - step, step, got + (end - step) * s.columns);
        }
        int same = got && memcmp(want, got, bytes) == 0;
        bank_source_close(ctx, &s);
        free(want);
        free(got);
        if (!same) {
            test_failed_case(k, "pieces differ from the whole");
            CU_FAIL("order");
            break;
        }
    }
    quant_context_free(ctx);
}

TEST_SUITE(bank_values,
    {"logarithm and exponential keep their bounds", log_and_exp_keep_their_bounds},
    {"distributions have their moments", distributions_have_their_moments},
    {"row spread is the deviation of the logarithm", row_spread_is_the_deviation_of_the_log},
    {"outliers are as many and as large as asked", outliers_are_as_asked},
    {"order and threads do not matter", order_and_threads_do_not_matter})
