/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <float.h>
#include <math.h>
#include <string.h>

#include "quant/random.h"
#include "tests/test.h"

/* Test vectors published with the generator (Random123, kat_vectors, "philox4x32 10"). The public
 * functions set words 2 and 3 of the counter to zero, so the all-zero vector is reached directly;
 * the other two are reached through philox_reference, the published rounds once more, which
 * words_are_philox compares with the library. */
static void philox_reference(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c[4], k[2];
    memcpy(c, ctr, sizeof c);
    memcpy(k, key, sizeof k);
    for (int round = 0; round < 10; round++) {
        uint64_t a = UINT64_C(0xD2511F53) * c[0], b = UINT64_C(0xCD9E8D57) * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k[0], (uint32_t)b,
                            (uint32_t)(a >> 32) ^ c[3] ^ k[1], (uint32_t)a};
        memcpy(c, next, sizeof c);
        k[0] += 0x9E3779B9u;
        k[1] += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof c);
}

static void known_answers(void)
{
    static const struct {
        uint32_t ctr[4], key[2], out[4];
    } kat[3] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
    uint32_t out[4];
    for (int i = 0; i < 3; i++) {
        philox_reference(kat[i].ctr, kat[i].key, out);
        CU_ASSERT_EQUAL(memcmp(out, kat[i].out, sizeof out), 0);
    }
    quant_random zero = {{0, 0}};
    quant_random_words(&zero, 0, out);
    CU_ASSERT_EQUAL(memcmp(out, kat[0].out, sizeof out), 0);
}

static void words_are_philox(void)
{
    quant_random r = quant_random_stream(test_seed(), "words");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint32_t at[4], want[4], got[4];
        quant_random_words(&r, k, at);
        quant_random other = {{at[2], at[3]}};
        const uint32_t ctr[4] = {at[0], at[1], 0, 0};
        philox_reference(ctr, other.key, want);
        quant_random_words(&other, (uint64_t)at[1] << 32 | at[0], got);
        if (memcmp(want, got, sizeof got) != 0) {
            test_failed_case(k, "words of key %08x %08x differ", other.key[0], other.key[1]);
            CU_FAIL("words differ");
            return;
        }
    }
}

/* Golden: these numbers must never change, banks and tables are made from them. */
static void stream_is_pinned(void)
{
    quant_random r = quant_random_stream(20260101, "blk.0.ffn_up.weight");
    uint32_t w[4];
    const uint32_t seed[2] = {20260101, 0};
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (const char *p = "blk.0.ffn_up.weight"; *p; p++) {
        h = (h ^ (uint64_t)(unsigned char)*p) * UINT64_C(0x100000001b3);
    }
    const uint32_t ctr[4] = {(uint32_t)h, (uint32_t)(h >> 32), 0, 0};
    philox_reference(ctr, seed, w);
    CU_ASSERT_EQUAL(r.key[0], w[0]);
    CU_ASSERT_EQUAL(r.key[1], w[1]);
    quant_random other = quant_random_stream(20260101, "blk.1.ffn_up.weight");
    quant_random high = quant_random_stream(20260101 + (UINT64_C(1) << 32), "blk.0.ffn_up.weight");
    CU_ASSERT(memcmp(&r, &other, sizeof r) != 0);
    CU_ASSERT(memcmp(&r, &high, sizeof r) != 0);
    quant_random zero = {{0, 0}};
    CU_ASSERT_EQUAL(quant_random_uniform(&zero, 0), (double)(0xe169c58d6627eu * 2 + 1) * 0x1p-53);
    CU_ASSERT_EQUAL(quant_random_uniform(&zero, 1), (double)(0x9b00dbd8bc57au * 2 + 1) * 0x1p-53);
    static float z[10000];
    quant_random_fill_normal(&r, 0, 10000, z);
    h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < 10000; i++) {
        uint32_t bits;
        memcpy(&bits, &z[i], sizeof bits);
        h = (h ^ bits) * UINT64_C(0x100000001b3);
    }
    CU_ASSERT_EQUAL(h, UINT64_C(0x3f75261fdf4003ad));
    if (h != UINT64_C(0x3f75261fdf4003ad)) {
        test_failed_case(0, "normals have hash %016llx", (unsigned long long)h);
    }
}

static void elements_do_not_depend_on_order(void)
{
    enum { N = 257 };
    static float fill[N];
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        quant_random r = quant_random_stream(test_seed() + k, "order");
        uint64_t first = quant_random_below(&r, 0, UINT64_C(1) << 40);
        size_t n = (size_t)quant_random_below(&r, 1, N + 1);
        memset(fill, 0x7f, sizeof fill);
        quant_random_fill_normal(&r, first, n, fill);
        for (size_t j = n; j-- > 0;) {
            if (fill[j] != (float)quant_random_normal(&r, first + j)) {
                test_failed_case(k, "element %zu of %zu differs alone", j, n);
                CU_FAIL("order matters");
                return;
            }
        }
        float guard;
        memset(&guard, 0x7f, sizeof guard);
        CU_ASSERT(n == N || memcmp(&fill[n], &guard, sizeof guard) == 0);
    }
}

/* z of p against erf and erfc in long double. An error d of z moves the probability by phi(z) d,
 * so relative error eps of z is seen as eps |z| phi(z) / Phi(z). The tables and their rounding
 * are allowed 1e-15 in all, erfc 4 units of its last place. */
static int quantile_is_off(double p)
{
    long double z = quant_normal_quantile(p);
    long double phi = expl(-z * z / 2) * 0.398942280401432677939946059934L;
    long double root = 0.707106781186547524400844362105L;
    if (fabs(p - 0.5) <= 0.425) {
        long double off = fabsl(erfl(z * root) / 2 - ((long double)p - 0.5L));
        return !(off <= 1e-15L * fabsl(z) * phi + 4 * LDBL_EPSILON);
    }
    long double tail = z < 0 ? p : 1 - (long double)p;
    long double off = fabsl(erfcl(fabsl(z) * root) / 2 - tail);
    return !(off <= 1e-15L * fabsl(z) * phi + 4 * LDBL_EPSILON * tail) || (z < 0) != (p < 0.5);
}

static void quantile_inverts_erfc(void)
{
    quant_random r = quant_random_stream(test_seed(), "quantile");
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        double u = quant_random_uniform(&r, 2 * k);
        double tiny = ldexp(0.5 + u / 2, -(int)quant_random_below(&r, 2 * k + 1, 1000));
        const double p[] = {u, tiny, 1 - tiny, 0.075 * (1 + (u - 0.5) * 1e-3),
                            1.388794386496402e-11 * (1 + (u - 0.5) * 1e-3)};
        for (size_t j = 0; j < sizeof p / sizeof *p; j++) {
            if (p[j] > 0 && p[j] < 1 && quantile_is_off(p[j])) {
                test_failed_case(k, "quantile of %.17g gives %.17g", p[j],
                                 quant_normal_quantile(p[j]));
                CU_FAIL("quantile is off");
                return;
            }
        }
    }
    CU_ASSERT_EQUAL(quant_normal_quantile(0.5), 0);
    CU_ASSERT_EQUAL(quant_normal_quantile(0.25), -quant_normal_quantile(0.75));
    CU_ASSERT_EQUAL(quantile_is_off(0x1p-53) | quantile_is_off(1 - 0x1p-53), 0);
    CU_ASSERT_EQUAL(quantile_is_off(0.07499) | quantile_is_off(0.92501), 0);
}

/* Sums of N independent values: each limit is 6 standard errors, so a right generator fails it with
 * probability 2e-9 for one seed; powers 1, 2, 3, 4 of a normal have variances 1, 2, 15, 96. */
static void moments_are_those_of_the_normal(void)
{
    enum { N = 100000 };
    quant_random r = quant_random_stream(test_seed(), "moments");
    double m[5] = {0}, lag = 0, last = 0;
    for (uint64_t i = 0; i < N; i++) {
        double z = quant_random_normal(&r, i), p = 1;
        for (int k = 1; k <= 4; k++) {
            p *= z;
            m[k] += p / N;
        }
        lag += z * last / N;
        last = z;
    }
    double six = 6 / sqrt(N);
    CU_ASSERT(fabs(m[1]) <= six);
    CU_ASSERT(fabs(m[2] - 1) <= six * sqrt(2));
    CU_ASSERT(fabs(m[3]) <= six * sqrt(15));
    CU_ASSERT(fabs(m[4] - 3) <= six * sqrt(96));
    CU_ASSERT(fabs(lag) <= six);
}

/* Chi-square with k-1 degrees of freedom: P(X >= d + 2 sqrt(d t) + 2t) <= exp(-t) and
 * P(X <= d - 2 sqrt(d t)) <= exp(-t) (Laurent and Massart 2000); t = 20 makes 2e-9. */
static int chi_square_is_off(const uint32_t *count, int cells, double n)
{
    double x = 0, want = n / cells, d = cells - 1, t = 20;
    for (int j = 0; j < cells; j++) {
        x += (count[j] - want) * (count[j] - want) / want;
    }
    return x > d + 2 * sqrt(d * t) + 2 * t || x < d - 2 * sqrt(d * t);
}

static void cells_fill_evenly(void)
{
    enum { N = 1 << 17, CELLS = 256 };
    static uint32_t high[CELLS], low[CELLS], below[100], pair[CELLS];
    memset(high, 0, sizeof high);
    memset(low, 0, sizeof low);
    memset(below, 0, sizeof below);
    memset(pair, 0, sizeof pair);
    quant_random r = quant_random_stream(test_seed(), "cells");
    double smallest = 1, largest = 0, last = 0;
    uint64_t odd = 1;
    for (uint64_t i = 0; i < N; i++) {
        double u = quant_random_uniform(&r, i);
        smallest = u < smallest ? u : smallest;
        largest = u > largest ? u : largest;
        odd &= (uint64_t)(u * 0x1p53);
        high[(int)(u * CELLS)]++;
        low[((uint64_t)(u * 0x1p53) >> 1) % CELLS]++;
        below[quant_random_below(&r, i, 100)]++;
        if (i % 2) {
            pair[(int)(u * 16) * 16 + (int)(last * 16)]++;
        }
        last = u;
    }
    CU_ASSERT(smallest > 0 && largest < 1);
    CU_ASSERT_EQUAL(odd, 1);
    CU_ASSERT_EQUAL(chi_square_is_off(high, CELLS, N), 0);
    CU_ASSERT_EQUAL(chi_square_is_off(low, CELLS, N), 0);
    CU_ASSERT_EQUAL(chi_square_is_off(below, 100, N), 0);
    CU_ASSERT_EQUAL(chi_square_is_off(pair, CELLS, N / 2), 0);
}

/* With below = 3 * 2^62 a quarter of all draws is rejected; taking the remainder alone would put
 * half of all elements into the lowest third. */
static void below_rejects_what_would_bias(void)
{
    enum { N = 30000 };
    uint32_t third[3] = {0};
    quant_random r = quant_random_stream(test_seed(), "below");
    for (uint64_t i = 0; i < N; i++) {
        third[quant_random_below(&r, i, UINT64_C(3) << 62) >> 62]++;
    }
    CU_ASSERT_EQUAL(chi_square_is_off(third, 3, N), 0);
    CU_ASSERT_EQUAL(quant_random_below(&r, 5, 0), 0);
    CU_ASSERT_EQUAL(quant_random_below(&r, 5, 1), 0);
}

TEST_SUITE(random,
           {"published known answers", known_answers},
           {"words are Philox of key and counter", words_are_philox},
           {"streams and uniforms are pinned", stream_is_pinned},
           {"elements do not depend on order", elements_do_not_depend_on_order},
           {"the quantile inverts erfc", quantile_inverts_erfc},
           {"moments are those of the normal", moments_are_those_of_the_normal},
           {"cells fill evenly", cells_fill_evenly},
           {"below rejects what would bias", below_rejects_what_would_bias})
