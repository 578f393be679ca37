/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_scalar.c - the scalar kernels against mathematics, written independently of them. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "tests/judge.h"
#include "tests/test.h"

enum { MOST = 700 };

static const qk_table *scalar(void)
{
    return qk_table_for(QK_SCALAR);
}

/* ---- range -------------------------------------------------------------------------------- */

static void zeros_come_back_positive(void)
{
    const float minus[3] = {-0.0f, -0.0f, -0.0f};
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        for (size_t n = 0; t && n <= 3; n++) {
            float low = NAN, high = NAN, most = t->absmax_f32(minus, n);
            t->minmax_f32(minus, n, &low, &high);
            CU_ASSERT(most == 0.0f && !signbit(most));
            CU_ASSERT(low == 0.0f && !signbit(low));
            CU_ASSERT(high == 0.0f && !signbit(high));
        }
    }
}

static void range_is_what_a_plain_loop_finds(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint64_t s = test_seed() + 3 * k;
        size_t n = (size_t)judge_between(&s, 1, 300), first, count = 0, want_first = n;
        float x[300], low, high;
        judge_fill(x, n, judge_between(&s, 0, JUDGE_NONFINITE - 1), s);
        double least = (double)x[0], most = (double)x[0];
        for (size_t i = 0; i < n; i++) {
            least = fmin(least, (double)x[i]);
            most = fmax(most, (double)x[i]);
        }
        scalar()->minmax_f32(x, n, &low, &high);
        bool ok = (double)low == least && (double)high == most;
        ok = ok && (double)scalar()->absmax_f32(x, n) == fmax(fabs(least), fabs(most));
        judge_fill(x, n, JUDGE_NONFINITE, s);
        for (size_t i = n; i-- > 0;) {
            if (!(fabsf(x[i]) <= FLT_MAX)) {
                count++;
                want_first = i;
            }
        }
        ok = ok && scalar()->nonfinite_f32(x, n, &first) == count && first == want_first;
        if (!ok) {
            test_failed_case(k, "n %zu", n);
        }
        CU_ASSERT(ok);
    }
}

/* ---- linear codes ------------------------------------------------------------------------- */

static void ties_go_to_even_and_the_clamp_counts(void)
{
    static const struct {
        float x;
        int code;
    } golden[] = {{0.5f, 0},   {1.5f, 2},   {2.5f, 2},   {3.5f, 4},   {-0.5f, 0},  {-1.5f, -2},
                  {-2.5f, -2}, {6.5f, 6},   {7.0f, 7},   {7.5f, 7},   {-7.5f, -7}, {-8.0f, -7},
                  {3e38f, 7},  {-3e38f, -7}, {1e-40f, 0}, {-0.0f, 0}};
    enum { N = sizeof golden / sizeof *golden };
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        float x[N];
        uint8_t codes[N];
        for (int i = 0; i < N; i++) {
            x[i] = golden[i].x;
        }
        if (!t) {
            continue;
        }
        /* outside: 7.5 -> 8, -7.5 -> -8, -8, and the two of 3e38 */
        CU_ASSERT_EQUAL(t->encode_linear(x, N, (qk_linear){1.0f, 0, -7, 7}, codes), 5);
        for (int i = 0; i < N; i++) {
            CU_ASSERT_EQUAL((int8_t)codes[i], golden[i].code);
        }
        CU_ASSERT_EQUAL(t->encode_linear(x, N, (qk_linear){0.0f, -3, -8, 7}, codes), 0);
        CU_ASSERT_EQUAL((int8_t)codes[N - 1], -3);
    }
}

/* One element by arithmetic in double. The quotient of two floats rounded to double and then to
 * float is the float quotient (53 >= 2 * 24 + 2: no double rounding). */
static int code_of(float x, qk_linear p, bool *outside)
{
    double code = nearbyint((double)(float)((double)x / (double)p.scale)) + p.zero;
    *outside = !(code >= p.lowest && code <= p.highest);
    return code < p.lowest ? p.lowest : code > p.highest ? p.highest : (int)code;
}

static void linear_codes_are_what_arithmetic_in_double_gives(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint64_t s = test_seed() + 5 * k;
        size_t n = (size_t)judge_between(&s, 1, 200), count = 0;
        int low = judge_between(&s, -128, 0), high = judge_between(&s, 0, 127);
        float x[200], y[200];
        uint8_t codes[200];
        judge_fill(x, n, judge_between(&s, 0, JUDGE_NONFINITE - 1), s);
        float most = scalar()->absmax_f32(x, n);
        float scale = k % 3 ? most / (float)judge_between(&s, 1, 300) : 1.0f;
        qk_linear p = {scale > 0.0f ? scale : 1.0f, judge_between(&s, low, high), low, high};
        size_t outside = scalar()->encode_linear(x, n, p, codes);
        scalar()->decode_linear(codes, n, p, y);
        bool ok = true;
        for (size_t i = 0; i < n; i++) {
            bool is_out;
            int code = code_of(x[i], p, &is_out);
            float value = (float)((double)p.scale * (code - p.zero)); /* 24 + 9 bits: exact */
            count += is_out;
            ok = ok && (int8_t)codes[i] == code && y[i] == value && !(y[i] == 0 && signbit(y[i]));
        }
        ok = ok && count == outside;
        if (!ok) {
            test_failed_case(k, "n %zu scale %a", n, (double)p.scale);
        }
        CU_ASSERT(ok);
    }
}

static void scale_zero_decodes_to_positive_zero(void)
{
    uint8_t codes[256];
    float y[256];
    for (int i = 0; i < 256; i++) {
        codes[i] = (uint8_t)i;
    }
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        bool ok = true;
        if (!t) {
            continue;
        }
        t->decode_linear(codes, 256, (qk_linear){0.0f, 5, -128, 127}, y);
        for (int i = 0; i < 256; i++) {
            ok = ok && y[i] == 0.0f && !signbit(y[i]);
        }
        CU_ASSERT(ok);
    }
}

/* ---- codebook ----------------------------------------------------------------------------- */

static void assignment_counts_the_thresholds_below(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint64_t s = test_seed() + 11 * k;
        size_t n = (size_t)judge_between(&s, 1, 60), m = (size_t)judge_between(&s, 0, 255);
        float x[60], t[256], table[256], y[60];
        uint8_t codes[60];
        judge_fill(x, n, JUDGE_TIES, s);
        int at = -300;
        for (size_t j = 0; j < m; j++) { /* ascending with repeats, on the grid of x */
            at += judge_between(&s, 0, 4);
            t[j] = 0.5f * (float)at;
        }
        judge_fill(table, 256, JUDGE_NONFINITE, s);
        scalar()->assign_codebook(x, n, t, m, codes);
        scalar()->decode_codebook(codes, n, table, 256, y);
        bool ok = true;
        for (size_t i = 0; i < n; i++) {
            size_t below = 0;
            for (size_t j = 0; j < m; j++) {
                below += t[j] < x[i];
            }
            ok = ok && codes[i] == below && memcmp(&y[i], &table[below], sizeof y[i]) == 0;
        }
        if (!ok) {
            test_failed_case(k, "n %zu m %zu", n, m);
        }
        CU_ASSERT(ok);
    }
}

/* ---- lanes -------------------------------------------------------------------------------- */

/* The contract's sum, written as it reads: 64 lanes, then halves. */
static double lanes_of(const double *term, size_t n)
{
    double lane[64] = {0};
    for (size_t i = 0; i < n; i++) {
        lane[i % 64] += term[i];
    }
    for (size_t h = 32; h; h /= 2) {
        for (size_t j = 0; j < h; j++) {
            lane[j] += lane[j + h];
        }
    }
    return lane[0];
}

/* Largest error of a lane sum S of terms that each carry `roundings` roundings of their own.
 * A lane does ceil(n/64) additions and the fold 6, so a term passes through at most
 * k = ceil(n/64) + 6 + roundings roundings, each of relative size u = 2^-53:
 *     |S - sum| <= sum|term| * ((1 + u)^k - 1) <= sum|term| * 1.01 k u    for k u <= 0.01.
 * The reference in long double adds n * 2^-64 of its own. */
static long double bound(size_t n, int roundings, long double magnitudes)
{
    long double k = (long double)((n + 63) / 64 + 6) + roundings;
    return magnitudes * (1.01L * k * 0x1p-53L + (long double)n * 0x1p-63L);
}

typedef struct sums {
    double term[MOST];
    long double exact, magnitudes;
    size_t n;
} sums;

static void add_term(sums *s, double a, double b, long double exact)
{
    s->term[s->n++] = a * b;
    s->exact += exact;
    s->magnitudes += fabsl(exact);
}

/* Bits equal to the naive lanes, and near to the sum in long double. */
static bool is_sum(const sums *s, double got, int roundings)
{
    double want = lanes_of(s->term, s->n);
    return memcmp(&want, &got, sizeof got) == 0
        && fabsl((long double)got - s->exact) <= bound(s->n, roundings, s->magnitudes);
}

static void sums_are_the_lanes_and_near_the_truth(void)
{
    static sums ref2, got2, dot, err2;
    static float x[MOST], y[MOST];
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint64_t s = test_seed() + 13 * k;
        size_t n = (size_t)judge_between(&s, 0, MOST), where = 0;
        double most = 0;
        qk_fidelity f;
        judge_fill(x, n, judge_between(&s, 0, JUDGE_NONFINITE - 1), s);
        judge_fill(y, n, judge_between(&s, 0, JUDGE_NONFINITE - 1), s + 1);
        memset(&ref2, 0, sizeof ref2);
        got2 = dot = err2 = ref2;
        for (size_t i = 0; i < n; i++) {
            double a = (double)x[i], b = (double)y[i];
            long double e = (long double)a - (long double)b;
            add_term(&ref2, a, a, (long double)a * a);
            add_term(&got2, b, b, (long double)b * b);
            add_term(&dot, a, b, (long double)a * b);
            add_term(&err2, a - b, a - b, e * e);
            if (fabs(a - b) > most) {
                most = fabs(a - b);
                where = i;
            }
        }
        scalar()->fidelity_f32(x, y, n, &f);
        bool ok = is_sum(&ref2, f.ref2, 0) && is_sum(&got2, f.got2, 0) && is_sum(&dot, f.dot, 0)
            && is_sum(&err2, f.err2, 3) && is_sum(&dot, scalar()->dot_f32(x, y, n), 0)
            && f.max_abs == most && f.max_index == where;
        if (!ok) {
            test_failed_case(k, "n %zu", n);
        }
        CU_ASSERT(ok);
    }
}

/* One in each lane, then 99 products of u, each half a step of 1 and rounded away: an error of
 * 99 u of the 107 u that are allowed. A bound that someone widens by a fifth fails here. */
static void the_bound_of_a_sum_is_nearly_reached(void)
{
    enum { ROWS = 100, N = 64 * ROWS };
    static float x[N], y[N];
    for (size_t i = 0; i < N; i++) {
        x[i] = i < 64 ? 1.0f : 0x1p-27f;
        y[i] = i < 64 ? 1.0f : 0x1p-26f;
    }
    long double exact = 64.0L + 64 * (ROWS - 1) * 0x1p-53L;
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        if (t) {
            long double error = fabsl((long double)t->dot_f32(x, y, N) - exact);
            CU_ASSERT(error <= bound(N, 0, exact));
            CU_ASSERT(error >= 0.85L * bound(N, 0, exact));
        }
    }
}

static void sse_is_encode_then_decode(void)
{
    static sums err2;
    static float x[MOST], y[MOST];
    static uint8_t codes[MOST];
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint64_t s = test_seed() + 17 * k;
        size_t n = (size_t)judge_between(&s, 0, MOST);
        judge_fill(x, n, judge_between(&s, 0, JUDGE_NONFINITE - 1), s);
        float most = scalar()->absmax_f32(x, n);
        qk_linear p = {k % 8 ? most / (float)judge_between(&s, 2, 200) : 0.0f,
                       judge_between(&s, -8, 7), -8, 7};
        scalar()->encode_linear(x, n, p, codes);
        scalar()->decode_linear(codes, n, p, y);
        memset(&err2, 0, sizeof err2);
        for (size_t i = 0; i < n; i++) {
            long double e = (long double)x[i] - (long double)y[i];
            add_term(&err2, (double)x[i] - (double)y[i], (double)x[i] - (double)y[i], e * e);
        }
        bool ok = is_sum(&err2, scalar()->sse_linear(x, n, p), 3);
        if (!ok) {
            test_failed_case(k, "n %zu scale %a zero %d", n, (double)p.scale, p.zero);
        }
        CU_ASSERT(ok);
    }
}

static void nan_differences_are_found_first_and_stay(void)
{
    enum { N = 300 };
    float x[N] = {0}, y[N] = {0};
    x[7] = 1.0f;
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        for (size_t at = 0; t && at < N; at += 23) {
            qk_fidelity f;
            float kept[2] = {y[at], y[N - 1]};
            t->fidelity_f32(x, y, N, &f);
            CU_ASSERT(f.max_abs == 1.0 && f.max_index == 7 && f.ref2 == 1.0 && f.got2 == 0.0);
            y[at] = INFINITY;
            t->fidelity_f32(x, y, N, &f);
            CU_ASSERT(f.max_abs == (double)INFINITY && f.max_index == at);
            y[N - 1] = at % 2 ? NAN : -NAN;
            t->fidelity_f32(x, y, N, &f);
            CU_ASSERT(isnan(f.max_abs) && f.max_index == N - 1 && isnan(f.err2) && f.ref2 == 1.0);
            CU_ASSERT(!signbit(f.err2) && !signbit(f.max_abs));
            y[at] = NAN;
            t->fidelity_f32(x, y, N, &f);
            CU_ASSERT(isnan(f.max_abs) && f.max_index == at);
            y[at] = kept[0];
            y[N - 1] = kept[1];
        }
    }
}

TEST_SUITE(scalar,
           {"extremes of zeros are +0", zeros_come_back_positive},
           {"absmax, minmax, nonfinite are what a plain loop finds",
            range_is_what_a_plain_loop_finds},
           {"ties go to even and the clamp counts", ties_go_to_even_and_the_clamp_counts},
           {"linear codes are what arithmetic in double gives",
            linear_codes_are_what_arithmetic_in_double_gives},
           {"scale 0 decodes to +0", scale_zero_decodes_to_positive_zero},
           {"assignment counts the thresholds below", assignment_counts_the_thresholds_below},
           {"sums are the 64 lanes and near the truth", sums_are_the_lanes_and_near_the_truth},
           {"the bound of a sum is nearly reached", the_bound_of_a_sum_is_nearly_reached},
           {"sse is encode, then decode, then the lanes", sse_is_encode_then_decode},
           {"a NaN difference is found first and stays", nan_differences_are_found_first_and_stay})
