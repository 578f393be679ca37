/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What integer codes mean, without known answers: each case is drawn from the printed seed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"
#include "quant/linear_range.h"
#include "quant/store.h"
#include "tests/draw.h"
#include "tests/test.h"

/* One drawn case, encoded and decoded. */
typedef struct subject {
    drawn_tensor t;
    quant_scheme s;
    quant_layout l;
    quant_regions g;
    uint8_t *packed;
    float *y;
} subject;

static subject begin(draw *d)
{
    subject c;
    memset(&c, 0, sizeof c);
    c.t = draw_tensor(d);
    c.s = draw_linear(d, &c.t.shape);
    return c;
}

static bool encode(subject *c)
{
    c->packed = encode_new(NULL, &c->s, &c->t.shape, c->t.w, &c->l, NULL);
    c->y = malloc(c->t.n * sizeof *c->y);
    return c->packed && quant_regions_make(NULL, &c->s, &c->t.shape, &c->g) == QUANT_OK &&
           quant_decode(NULL, &c->s, &c->t.shape, c->packed, c->l.bytes, c->y) == QUANT_OK;
}

static void end(subject *c)
{
    free(c->packed);
    free(c->y);
    free(c->t.w);
}

static void report(uint64_t k, const quant_scheme *s, const char *what)
{
    char text[QUANT_SCHEME_TEXT];
    quant_scheme_print(s, text);
    test_failed_case(k, "%s: %s", text, what);
    CU_FAIL("property does not hold");
}

static float scale_of(const subject *c, uint64_t r)
{
    return quant_store_get(c->s.store, c->packed + c->l.scale.offset, r);
}

/* Random codes under random scales and zero points decode to values that encode to the same codes
 * under the same parameters: relative errors of 2^-24 in quotient and product move a code of at
 * most 128 + 128 by far less than 1/2. */
static void codes_survive_with_parameters_held(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("held", k);
        quant_shape any = {2, {1, 1}};
        quant_scheme s = draw_linear(&d, &any);
        qk_linear p;
        uint8_t code[64], again[64];
        float y[64];
        quant_linear_codes(&s, &p.lowest, &p.highest);
        p.scale = quant_store_round(s.store, (float)ldexp(draw_uniform(&d) + 0.5,
                                                          (int)draw_int(&d, -13, 8)));
        p.zero = s.asymmetric ? (int32_t)draw_int(&d, p.lowest, p.highest) : 0;
        for (int i = 0; i < 64; i++) {
            code[i] = (uint8_t)draw_int(&d, p.lowest, p.highest);
        }
        qk()->decode_linear(code, 64, p, y);
        size_t clamped = qk()->encode_linear(y, 64, p, again);
        if (clamped || memcmp(code, again, 64) != 0) {
            report(k, &s, "codes changed");
            return;
        }
    }
}

/* Encoding a decoded tensor again changes nothing: the largest code is always in use, so the
 * range is found again; with half-precision scales the product and quotient are exact. */
static void encoding_is_a_projection(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("projection", k);
        subject c = begin(&d);
        c.s.asymmetric = false;
        c.s.range = QUANT_RANGE_NARROW;
        c.s.rule = QUANT_SCALE_ABSMAX;
        c.s.percentile = 100.0;
        c.s.store = QUANT_STORE_F16;
        bool ok = encode(&c);
        bool raised = false; /* a scale rounded up from a subnormal may be far too wide */
        for (uint64_t r = 0; ok && r < c.g.count; r++) {
            raised |= scale_of(&c, r) > 0.0f && scale_of(&c, r) <= 0x1p-14f;
        }
        quant_layout l;
        quant_scheme s = c.s;
        uint8_t *again = ok ? encode_new(NULL, &s, &c.t.shape, c.y, &l, NULL) : NULL;
        ok = ok && again &&
             (raised || c.s.store != QUANT_STORE_F16 || memcmp(again, c.packed, l.bytes) == 0);
        free(again);
        if (!ok) {
            report(k, &c.s, "encode(decode(encode(w))) differs");
        }
        end(&c);
        if (!ok) {
            return;
        }
    }
}

/* Largest |w - y| in shares of its bound; above 1 the bound is broken. */
static double worst_share(const subject *c)
{
    double worst = 0.0;
    for (uint64_t i = 0; i < c->t.n; i++) {
        uint64_t m = i / c->g.matrix, p = i % c->g.matrix;
        uint64_t r = m * c->g.per_matrix + quant_regions_run(&c->g, p, 1).region;
        double error = fabs((double)c->t.w[i] - (double)c->y[i]);
        double bound = quant_linear_bound(&c->s) * scale_of(c, r);
        worst = error > 0.0 ? fmax(worst, error / bound) : worst;
    }
    return worst;
}

/* |w - y| within the bound that linear_range.h derives, in every region; and the bound is no
 * looser than it need be: with f32 scales every kind of range comes within a tenth of it. */
static void error_stays_within_the_bound(void)
{
    enum { ASYMMETRIC = 3, KINDS };
    double closest[KINDS] = {0.0};
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("bound", k);
        subject c = begin(&d);
        c.s.rule = QUANT_SCALE_ABSMAX;
        c.s.percentile = 100.0;
        bool ok = encode(&c);
        double share = ok ? worst_share(&c) : INFINITY;
        if (c.s.store == QUANT_STORE_F32) {
            int kind = c.s.asymmetric ? ASYMMETRIC : (int)c.s.range;
            closest[kind] = fmax(closest[kind], share);
        }
        if (!(share <= 1.0)) {
            report(k, &c.s, "error beyond the bound");
        }
        end(&c);
        if (!(share <= 1.0)) {
            return;
        }
    }
    for (int kind = 0; kind < KINDS && test_last_case() - test_first_case() >= 1000; kind++) {
        CU_ASSERT(closest[kind] >= 0.9);
    }
}

/* -w under a symmetric narrow scheme gives minus the values; 2^j w gives 2^j times them, with the
 * same codes, as long as scales stay normal. */
static void sign_and_powers_of_two_pass_through(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("equivariance", k);
        subject c = begin(&d);
        float factor = draw_int(&d, 0, 1) ? 4.0f : 0.5f;
        if (!c.s.asymmetric && c.s.range == QUANT_RANGE_NARROW && draw_int(&d, 0, 1)) {
            factor = -factor;
        }
        bool ok = encode(&c), normal = true;
        for (uint64_t r = 0; ok && r < c.g.count; r++) {
            float scale = scale_of(&c, r);
            normal &= scale == 0.0f || (scale > 0x1p-12f && scale < 0x1p13f);
        }
        for (uint64_t i = 0; i < c.t.n; i++) {
            c.t.w[i] *= factor;
        }
        quant_layout l;
        quant_scheme s = c.s;
        uint8_t *p = ok ? encode_new(NULL, &s, &c.t.shape, c.t.w, &l, NULL) : NULL;
        float *y = malloc(c.t.n * sizeof *y);
        ok = p && quant_decode(NULL, &s, &c.t.shape, p, l.bytes, y) == QUANT_OK;
        for (uint64_t i = 0; ok && normal && i < c.t.n; i++) {
            ok = y[i] == c.y[i] * factor;
        }
        if (!ok) {
            report(k, &c.s, factor < 0 ? "sign is lost" : "a power of two is lost");
        }
        free(p);
        free(y);
        end(&c);
        if (!ok) {
            return;
        }
    }
}

/* Swapping two channels swaps their scales and values and touches nothing else. */
static void channels_are_independent(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("swap", k);
        size_t rows = (size_t)draw_int(&d, 2, 20), cols = (size_t)draw_int(&d, 1, 90);
        quant_shape shape = {2, {rows, cols}};
        float *w = malloc(rows * cols * sizeof *w), *y = malloc(rows * cols * sizeof *y);
        float *v = malloc(rows * cols * sizeof *v);
        draw_weights(&d, w, rows, cols);
        quant_scheme s = draw_linear(&d, &shape), t;
        s.granularity = s.granularity == QUANT_PER_TENSOR ? QUANT_PER_CHANNEL : s.granularity;
        s.axis = 0;
        t = s;
        size_t a = (size_t)draw_int(&d, 0, (int64_t)rows - 1);
        size_t b = (size_t)draw_int(&d, 0, (int64_t)rows - 1);
        quant_layout l;
        uint8_t *p = encode_new(NULL, &s, &shape, w, &l, NULL), *q = NULL;
        bool ok = p && quant_decode(NULL, &s, &shape, p, l.bytes, y) == QUANT_OK;
        for (size_t i = 0; i < cols; i++) {
            float keep = w[a * cols + i];
            w[a * cols + i] = w[b * cols + i];
            w[b * cols + i] = keep;
        }
        q = encode_new(NULL, &t, &shape, w, &l, NULL);
        ok = ok && q && quant_decode(NULL, &t, &shape, q, l.bytes, v) == QUANT_OK;
        for (size_t r = 0; ok && r < rows; r++) {
            size_t from = r == a ? b : r == b ? a : r;
            ok = memcmp(v + r * cols, y + from * cols, cols * sizeof *v) == 0;
        }
        if (!ok) {
            report(k, &s, "swapping two channels changed others");
        }
        free(w), free(y), free(v), free(p), free(q);
        if (!ok) {
            return;
        }
    }
}

/* The searched scale is never worse than absmax, in the squared error that it searches. */
static void mse_is_never_worse_than_absmax(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("mse", k);
        subject c = begin(&d);
        double err[2] = {0.0, 0.0};
        bool ok = true;
        for (int m = 0; m < 2 && ok; m++) {
            quant_scheme s = c.s;
            s.rule = m ? QUANT_SCALE_MSE : QUANT_SCALE_ABSMAX;
            s.percentile = 100.0;
            quant_layout l;
            uint8_t *p = encode_new(NULL, &s, &c.t.shape, c.t.w, &l, NULL);
            float *y = malloc(c.t.n * sizeof *y);
            ok = p && quant_decode(NULL, &s, &c.t.shape, p, l.bytes, y) == QUANT_OK;
            for (uint64_t i = 0; ok && i < c.t.n; i++) {
                double e = (double)c.t.w[i] - (double)y[i];
                err[m] += e * e;
            }
            free(p);
            free(y);
        }
        /* sums here and in the search run in different orders: 2^-40 covers 3000 additions */
        if (!ok || err[1] > err[0] * (1.0 + 0x1p-40)) {
            report(k, &c.s, "mse scale is worse");
            ok = false;
        }
        end(&c);
        if (!ok) {
            return;
        }
    }
}

static double squared_error(const quant_scheme *s, const float *x, size_t n, double ratio)
{
    float most = qk()->absmax_f32(x, n) * (float)ratio;
    return qk()->sse_linear(x, n, quant_linear_from_interval(s, (quant_interval){-most, most}).p);
}

/* The search narrows around the best ratio, wherever that moves: over many blocks it finds less
 * error than a scan of 401 ratios. One that stays where the coarse look ended does not. */
static void mse_search_beats_a_scan(void)
{
    enum { BLOCKS = 500, SCAN = 401 };
    quant_scheme s;
    double gain = 0;
    CHECK_OK(NULL, quant_scheme_parse(NULL, "int8:tensor,scale=mse", &s));
    for (uint64_t k = 0; k < BLOCKS; k++) {
        draw d = draw_begin("scan", k);
        float x[32];
        for (int i = 0; i < 32; i++) {
            x[i] = (float)draw_normal(&d);
        }
        double least = INFINITY;
        for (int i = 0; i < SCAN; i++) {
            least = fmin(least, squared_error(&s, x, 32, 1 - 0.8 * i / (SCAN - 1)));
        }
        qk_linear chosen = quant_linear_choose(&s, x, NULL, 32, 1).p;
        gain += 10 * log10(least / qk()->sse_linear(x, 32, chosen));
    }
    CU_ASSERT(gain / BLOCKS > 0.01); /* dB; measured 0.04, and 0.00 without following */
}

static void percentile_is_an_exact_order_statistic(void)
{
    float x[] = {-3, 0, 1, 2, -2.5f, 8, -0.0f, 1e-40f, 5, 4};
    CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 10, 100.0), 8.0f);
    CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 10, 90.0), 5.0f);
    CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 10, 89.9), 5.0f);
    CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 10, 80.0), 4.0f);
    CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 10, 60.0), 2.5f);
    CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 10, 30.0), 1e-40f);
    CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 10, 1e-9), 0.0f);
}

/* P percent of n that is a whole number is that rank, though the double nearest to P may lie above
 * it: with 99.9 of 1000 one rank more would clip nothing at all. */
static void percentile_means_the_decimal_that_was_written(void)
{
    static float x[100000];
    for (size_t i = 0; i < 100000; i++) {
        x[i] = (float)(i + 1) * (i % 2 ? 1.0f : -1.0f);
    }
    for (unsigned tenth = 1; tenth <= 1000; tenth++) {
        char text[64];
        quant_scheme s;
        snprintf(text, sizeof text, "int8:tensor,scale=percentile:%u.%u", tenth / 10, tenth % 10);
        CHECK_OK(NULL, quant_scheme_parse(NULL, text, &s));
        CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 1000, s.percentile), (float)tenth);
        CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 1001, s.percentile),
                        (float)(tenth + (tenth + 999) / 1000));
        CU_ASSERT_EQUAL(quant_magnitude_percentile(x, 100000, s.percentile), (float)(tenth * 100));
    }
}

/* A scale below the normal numbers of its type is never below the exact quotient, so that no weight
 * is clamped: draws integers times the smallest float, where one step of the scale is coarse. */
static void subnormal_scales_never_clamp(void)
{
    static const char *const texts[] = {"int8:tensor", "int8:tensor,asym", "int4:tensor,store=f32",
                                        "int8:tensor,store=bf16", "int8:tensor,store=f16",
                                        "int3:tensor,range=half,store=f32"};
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("subnormal", k);
        quant_scheme s;
        float x[16];
        int64_t most = draw_int(&d, 1, 2000);
        CHECK_OK(NULL, quant_scheme_parse(NULL, texts[k % 6], &s));
        for (int i = 0; i < 16; i++) {
            x[i] = (float)ldexp((double)draw_int(&d, -most, most),
                                s.store == QUANT_STORE_F16 ? -28 : -149);
        }
        quant_linear_fit f = quant_linear_choose(&s, x, NULL, 16, 1);
        double low = 0, high = 0;
        for (int i = 0; i < 16; i++) { /* fmin here crashes gcc 12 for AArch64 */
            low = (double)x[i] < low ? (double)x[i] : low;
            high = (double)x[i] > high ? (double)x[i] : high;
        }
        double steps = (double)f.p.highest - (s.asymmetric ? f.p.lowest : 0) +
                       (s.range == QUANT_RANGE_HALF ? 0.5 : 0.0);
        double range = s.asymmetric ? high - low : fmax(high, -low);
        bool ok = f.raised == (range > 0) && (double)f.p.scale * steps >= range;
        if (!ok) {
            report(k, &s, "a raised scale is too small for its range");
            return;
        }
    }
}

TEST_SUITE(linear_properties,
           {"Q(D(c)) = c with parameters held", codes_survive_with_parameters_held},
           {"encoding is a projection", encoding_is_a_projection},
           {"error stays within the derived bound", error_stays_within_the_bound},
           {"sign and powers of two pass through", sign_and_powers_of_two_pass_through},
           {"channels are independent", channels_are_independent},
           {"mse scale is never worse than absmax", mse_is_never_worse_than_absmax},
           {"mse search beats a scan", mse_search_beats_a_scan},
           {"percentile is an exact order statistic", percentile_is_an_exact_order_statistic},
           {"percentile means the decimal that was written",
            percentile_means_the_decimal_that_was_written},
           {"subnormal scales never clamp", subnormal_scales_never_clamp})
