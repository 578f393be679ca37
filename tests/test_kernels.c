/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_kernels.c - every level against scalar, and scalar against mathematics. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/judge.h"
#include "tests/test.h"

static const qk_table *scalar(void)
{
    return qk_table_for(QK_SCALAR);
}

/* ---- every level against scalar ----------------------------------------------------------- */

static const size_t long_lengths[] = {191, 192, 193, 1000, 1023, 1024, 1025, 2047, 2049, 4099,
                                      8192, 10007};
enum { LONG_LENGTHS = sizeof long_lengths / sizeof *long_lengths };

static size_t faults_of_level(const qk_table *level, size_t n, size_t shift)
{
    size_t faults = 0;
    for (int fill = 0; fill < JUDGE_FILLS; fill++) {
        judge_case c = {.n = n, .fill = fill, .shift = shift, .seed = test_seed() + 32 * n + shift};
        judge_kernels(scalar(), level, &c);
        faults += c.faults;
    }
    return faults;
}

static void every_level_gives_the_bytes_of_scalar(void)
{
    static const size_t shifts[3] = {0, 1, 5};
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *level = qk_table_for((qk_isa)isa);
        size_t faults = 0;
        if (!level) {
            test_skip("level %s cannot run on this processor", qk_isa_name((qk_isa)isa));
            continue;
        }
        for (size_t n = 0; n <= 131; n++) {
            for (int s = 0; s < 3; s++) {
                faults += faults_of_level(level, n, shifts[s]);
            }
        }
        for (int k = 0; k < LONG_LENGTHS; k++) {
            faults += faults_of_level(level, long_lengths[k], shifts[k % 3]);
        }
        CU_ASSERT_EQUAL(faults, 0);
    }
}

static void random_lengths_give_the_bytes_of_scalar(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint64_t s = test_seed() + k;
        size_t n = (size_t)judge_between(&s, 0, 700);
        judge_case c = {.n = n, .fill = judge_between(&s, 0, JUDGE_FILLS - 1),
                        .shift = (size_t)judge_between(&s, 0, 31), .seed = judge_random(&s)};
        judge_kernels(scalar(), qk(), &c);
        if (c.faults) {
            test_failed_case(k, "%s", c.text);
        }
        CU_ASSERT_EQUAL(c.faults, 0);
    }
}

/* A level of other processors caps at scalar, whatever is here. */
static void qk_is_the_highest_level_below_the_cap(void)
{
    const char *word = getenv("QUANT_ISA");
    int cap = word && word[0] ? QK_SCALAR : QK_ISA_COUNT - 1;
    const char *want = "";
    for (int isa = 0; word && isa < QK_ISA_COUNT; isa++) {
        cap = strcmp(word, qk_isa_name((qk_isa)isa)) == 0 ? isa : cap;
    }
    if (word && word[0] && (cap == QK_NEON) != (qk_table_for(QK_NEON) != NULL)) {
        cap = QK_SCALAR;
    }
    for (int isa = 0; isa <= cap; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        want = t ? t->name : want;
    }
    CU_ASSERT_STRING_EQUAL(qk()->name, want);
    CU_ASSERT_PTR_NULL(qk_table_for(QK_ISA_COUNT));
    CU_ASSERT_STRING_EQUAL(qk_isa_name(QK_ISA_COUNT), "");
    CU_ASSERT_PTR_NOT_NULL(scalar());
    CU_ASSERT_PTR_EQUAL((void *)(uintptr_t)scalar()->dot_f32, (void *)(uintptr_t)qk_dot_f32_scalar);
}

/* ---- 16-bit floats ------------------------------------------------------------------------ */

/* A binary format by its parameters: `digits` fraction bits, least exponent of a normal number. */
typedef struct format16 {
    int digits, least, greatest;
    uint16_t infinity, quiet;
    qk_narrow16_fn *(*narrow)(const qk_table *);
    qk_widen16_fn *(*widen)(const qk_table *);
} format16;

static qk_narrow16_fn *narrow_f16(const qk_table *t) { return t->f32_to_f16; }
static qk_narrow16_fn *narrow_bf16(const qk_table *t) { return t->f32_to_bf16; }
static qk_widen16_fn *widen_f16(const qk_table *t) { return t->f16_to_f32; }
static qk_widen16_fn *widen_bf16(const qk_table *t) { return t->bf16_to_f32; }

static const format16 formats[] = {
    {10, -14, 15, 0x7c00, 0x7e00, narrow_f16, widen_f16},
    {7, -126, 127, 0x7f80, 0x7fc0, narrow_bf16, widen_bf16},
};
enum { FORMATS = sizeof formats / sizeof *formats };

/* |value| of a finite code, from the definition of the format. */
static double magnitude_of(const format16 *f, unsigned code)
{
    unsigned fraction = code & ((1u << f->digits) - 1u);
    int exponent = (int)((code & 0x7fffu) >> f->digits);
    if (exponent == 0) {
        return ldexp(fraction, f->least - f->digits);
    }
    return ldexp(1.0 + ldexp(fraction, -f->digits), exponent - 1 + f->least);
}

/* |x| rounded to the format by arithmetic in double: exact scaling, one nearbyint, infinity above
 * the largest number plus half a step. */
static double rounded(const format16 *f, double x)
{
    int e = x == 0.0 ? f->least : ilogb(x) > f->least ? ilogb(x) : f->least;
    double q = ldexp(nearbyint(ldexp(x, f->digits - e)), e - f->digits);
    return q >= ldexp(1.0, f->greatest + 1) ? (double)INFINITY : q;
}

static bool is_nan16(const format16 *f, unsigned code)
{
    return (code & 0x7fffu) > f->infinity;
}

static void all_16_bit_codes_widen_exactly_and_come_back(void)
{
    static uint16_t code[65536], back[65536];
    static float value[65536];
    for (unsigned i = 0; i < 65536; i++) {
        code[i] = (uint16_t)i;
    }
    for (int k = 0; k < FORMATS * QK_ISA_COUNT; k++) {
        const format16 *f = &formats[k % FORMATS];
        const qk_table *t = qk_table_for((qk_isa)(k / FORMATS));
        size_t wrong = 0;
        if (!t) {
            continue; /* said by the first test */
        }
        f->widen(t)(code, 65536, value);
        f->narrow(t)(value, 65536, back);
        for (unsigned i = 0; i < 65536; i++) {
            uint32_t b;
            memcpy(&b, &value[i], sizeof b);
            if (is_nan16(f, i)) {
                uint32_t kept = (i & 0x8000u) << 16 | 0x7fc00000u
                    | (i & ((1u << f->digits) - 1u)) << (23 - f->digits);
                wrong += b != kept || back[i] != (f->quiet | (i & 0x8000u));
            } else {
                double m = (i & 0x7fffu) == f->infinity ? (double)INFINITY : magnitude_of(f, i);
                wrong += fabs((double)value[i]) != m || b >> 31 != i >> 15 || back[i] != i;
            }
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

static bool narrows_as_defined(const format16 *f, const float *x, size_t n)
{
    uint16_t y[64];
    f->narrow(scalar())(x, n, y);
    for (size_t i = 0; i < n; i++) {
        double q = rounded(f, fabs((double)x[i]));
        double got = (y[i] & 0x7fffu) == f->infinity ? (double)INFINITY : magnitude_of(f, y[i]);
        if (is_nan16(f, y[i]) || got != q || y[i] >> 15 != (signbit(x[i]) != 0)) {
            printf("\n    %a narrows to 0x%04x, expected magnitude %a\n", (double)x[i], y[i], q);
            return false;
        }
    }
    return true;
}

static void narrowing_rounds_as_arithmetic_says(void)
{
    for (int k = 0; k < FORMATS; k++) {
        const format16 *f = &formats[k];
        bool ok = true;
        for (unsigned c = 0; c < f->infinity && ok; c++) { /* at, below, above each midpoint */
            float half = (float)(magnitude_of(f, c) / 2 + magnitude_of(f, c + 1) / 2);
            float x[6] = {half, nextafterf(half, 0.0f), nextafterf(half, INFINITY),
                          -half, -nextafterf(half, 0.0f), (float)magnitude_of(f, c)};
            ok = c + 1 == f->infinity || narrows_as_defined(f, x, 6);
        }
        for (uint64_t s = test_seed(), i = 0; i < 4000 && ok; i++) {
            float x[64];
            judge_fill(x, 64, i % 4 ? JUDGE_ANY_BITS : JUDGE_SPECIALS, s + i);
            ok = narrows_as_defined(f, x, 64);
        }
        CU_ASSERT(ok);
    }
}

enum { AT_ONCE = 1 << 16 };

/* Does every level narrow these n floats to the codes that scalar gives? */
static bool levels_narrow_alike(const format16 *f, const float *x, size_t n)
{
    static uint16_t want[AT_ONCE], got[AT_ONCE];
    qk_narrow16_fn *last = f->narrow(scalar());
    last(x, n, want);
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *level = qk_table_for((qk_isa)isa);
        if (level && f->narrow(level) != last) { /* a level may keep what it found */
            last = f->narrow(level);
            last(x, n, got);
            if (memcmp(want, got, n * sizeof *want) != 0) {
                return false;
            }
        }
    }
    return true;
}

/* The judge compares a sample of the floats; this one compares them all, in the longer tier. */
static void all_floats_narrow_alike(void)
{
    static float x[AT_ONCE];
    bool alike = true;
    if (!test_is_long()) {
        test_skip("all 2^32 floats to f16 and bf16 (longer tier)");
        return;
    }
    for (uint64_t first = 0; first < UINT64_C(1) << 32 && alike; first += AT_ONCE) {
        for (uint32_t i = 0; i < AT_ONCE; i++) {
            uint32_t b = (uint32_t)first + i;
            memcpy(&x[i], &b, sizeof b);
        }
        for (int k = 0; k < FORMATS; k++) {
            alike = alike && levels_narrow_alike(&formats[k], x, AT_ONCE);
        }
    }
    CU_ASSERT(alike);
}

/* ---- bit streams -------------------------------------------------------------------------- */

static void packing_matches_known_bytes(void)
{
    static const struct {
        unsigned bits;
        size_t n, bytes;
        int codes[8], stream[4];
    } golden[] = {
        {4, 5, 3, {-8, 7, 3, 4, -2}, {120, 67, 14}},
        {4, 5, 3, {1, 2, 3, 4, 5}, {33, 67, 5}},
        {3, 8, 3, {1, 2, 3, 4, 5, 6, 7, 0}, {0xd1, 0x58, 0x1f}}, /* octal 07654321 */
        {3, 3, 2, {-1, -4, 3}, {0xe7, 0x00}},
        {6, 3, 3, {63, 1, 32}, {0x7f, 0x00, 0x02}},
        {2, 5, 2, {-1, -2, 0, 1, 1}, {0x4b, 0x01}},
        {1, 8, 1, {1, 0, 1, 1, 0, 0, 0, 1}, {0x8d}},
        {8, 2, 2, {-128, 5}, {0x80, 0x05}},
    };
    for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
        for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
            const qk_table *t = qk_table_for((qk_isa)isa);
            uint8_t codes[8], stream[4];
            for (size_t i = 0; i < golden[g].n; i++) {
                codes[i] = (uint8_t)golden[g].codes[i];
            }
            if (t) {
                t->pack_codes(codes, golden[g].n, golden[g].bits, stream);
                for (size_t i = 0; i < golden[g].bytes; i++) {
                    CU_ASSERT_EQUAL(stream[i], golden[g].stream[i]);
                }
            }
        }
    }
}

static void packing_is_the_stream_of_bits(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        uint64_t s = test_seed() ^ k * 7919;
        size_t n = (size_t)judge_between(&s, 0, 200), wrong = 0;
        unsigned bits = (unsigned)judge_between(&s, 1, 8);
        uint8_t codes[200], stream[200], back[200], extended[200];
        judge_fill_bytes(codes, n, k);
        scalar()->pack_codes(codes, n, bits, stream);
        scalar()->unpack_unsigned(stream, n, bits, back);
        scalar()->unpack_signed(stream, n, bits, extended);
        for (size_t i = 0; i < n; i++) {
            int low = codes[i] & ((1 << bits) - 1), high = low >> (bits - 1);
            for (unsigned b = 0; b < bits; b++) {
                size_t at = i * bits + b;
                wrong += (low >> b & 1) != (stream[at / 8] >> (at % 8) & 1);
            }
            wrong += back[i] != low || (int8_t)extended[i] != low - (high << bits);
        }
        for (size_t at = n * bits; at % 8; at++) {
            wrong += stream[at / 8] >> (at % 8) & 1;
        }
        if (wrong) {
            test_failed_case(k, "%u bits, %zu codes: %zu wrong", bits, n, wrong);
        }
        CU_ASSERT_EQUAL(wrong, 0);
    }
}

TEST_SUITE(kernels,
           {"every level x length x fill gives the bytes of scalar",
            every_level_gives_the_bytes_of_scalar},
           {"random lengths and shifts give the bytes of scalar",
            random_lengths_give_the_bytes_of_scalar},
           {"qk() is the highest level below the cap", qk_is_the_highest_level_below_the_cap},
           {"all 2^16 codes of f16 and bf16 widen exactly and come back",
            all_16_bit_codes_widen_exactly_and_come_back},
           {"narrowing rounds as arithmetic in double says", narrowing_rounds_as_arithmetic_says},
           {"all 2^32 floats narrow alike on every level", all_floats_narrow_alike},
           {"packing matches known bytes", packing_matches_known_bytes},
           {"packing is the stream of bits", packing_is_the_stream_of_bits})
