/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Codebooks that count some weights more than others. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/draw.h"
#include "tests/short_memory.h"
#include "tests/test.h"

enum { MOST = 1200, ROOM = 16384 };

static float w[MOST], importance[MOST], y[MOST];
static uint8_t packed[ROOM], other[ROOM];

/* Which table a weight at (i, j, k) belongs to, written down once more. */
static size_t by_three(const size_t at[3]) { return at[0] / 3; }
static size_t by_two_columns(const size_t at[3]) { return at[1] / 2; }
static size_t by_matrix(const size_t at[3]) { return at[0]; }
static size_t all(const size_t at[3]) { return at[0] * 0; }

static const struct {
    const char *text;
    size_t entries;
    size_t (*table_of)(const size_t at[3]);
} list[] = {{"lut2:group=3,lut=f32", 4, by_three},
            {"lut1:group=2,axis=1,lut=f32", 2, by_two_columns},
            {"lut3:tensor,stack=1,lut=f32", 8, by_matrix},
            {"lut4:tensor,lut=f32", 16, all}};
enum { LIST = sizeof list / sizeof *list };

static quant_scheme scheme_of(const char *text)
{
    quant_scheme s;
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
    return s;
}

static size_t draw_case(uint64_t k, quant_shape *shape)
{
    draw d = draw_begin("importance", k);
    *shape = (quant_shape){3, {0}};
    for (int a = 0; a < 3; a++) {
        shape->dim[a] = (uint64_t)draw_int(&d, 1, 4 << 1 * a);
    }
    size_t n = (size_t)(shape->dim[0] * shape->dim[1] * shape->dim[2]);
    draw_weights(&d, w, 1, n);
    for (size_t i = 0; i < n; i++) {
        importance[i] = (float)draw_int(&d, 0, 3) * (k % 2 ? 1.0f : 0.37f);
    }
    return n;
}

static double importance_or_one(size_t i, const int *live)
{
    return live[i] ? (double)importance[i] : 1.0;
}

/* Optimum of one table from its members alone; live[i] = 0 where its importance is all zero. */
static double table_optimum(size_t which, size_t t, const quant_shape *s, int *live)
{
    static float x[MOST], v[MOST];
    static double value[MOST], weight[MOST];
    static size_t member[MOST];
    size_t m = 0, i = 0, distinct = 0, first[16];
    double centroid[16], sum = 0;
    for (size_t a = 0; a < s->dim[0]; a++) {
        for (size_t b = 0; b < s->dim[1]; b++) {
            for (size_t c = 0; c < s->dim[2]; c++, i++) {
                if (list[which].table_of((size_t[3]){a, b, c}) == t) {
                    member[m] = i;
                    x[m] = w[i];
                    v[m++] = importance[i];
                    sum += (double)importance[i];
                }
            }
        }
    }
    for (size_t j = 0; j < m; j++) {
        live[member[j]] = sum > 0;
    }
    if (m == 0) {
        return 0;
    }
    quant_clusters c = {.first = first, .centroid = centroid};
    CU_ASSERT_EQUAL(quant_points_collapse(NULL, x, v, m, value, weight, &distinct), QUANT_OK);
    quant_points p = {value, weight, distinct};
    CU_ASSERT_EQUAL(quant_kmeans1d_reference(NULL, &p, list[which].entries, &c), QUANT_OK);
    return c.sse;
}

/* sum importance (w - y)^2 */
static double weighted_error(size_t n, const int *live, const uint8_t *bytes, const quant_scheme *s,
                             const quant_shape *shape)
{
    quant_layout l;
    double sse = 0;
    quant_encode_layout(NULL, s, shape, &l);
    CU_ASSERT_EQUAL(quant_decode(NULL, s, shape, bytes, l.bytes, y), QUANT_OK);
    for (size_t i = 0; i < n; i++) {
        double d = (double)w[i] - (double)y[i];
        sse += importance_or_one(i, live) * (d * d);
    }
    return sse;
}

static void tables_are_the_weighted_optimum(void)
{
    static int live[MOST];
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        quant_shape shape;
        size_t n = draw_case(k, &shape);
        size_t which = k / 2 % LIST;
        quant_scheme s = scheme_of(list[which].text);
        quant_encode_info info;
        quant_encode_options o = {importance, &info};
        double best = 0, energy = 0;
        for (size_t t = 0; t < 4u * 8 * 16; t++) {
            best += table_optimum(which, t, &shape, live);
        }
        for (size_t i = 0; i < n; i++) {
            energy += (double)w[i] * (double)w[i] * (1 + (double)importance[i]);
        }
        CHECK_OK(NULL, quant_encode_with(NULL, &s, &shape, w, packed, ROOM, &o));
        CHECK_OK(NULL, quant_encode(NULL, &s, &shape, w, other, ROOM, NULL));
        double slack = 1e-9 * best + 1e-12 * energy;
        double got = weighted_error(n, live, packed, &s, &shape);
        double plain = weighted_error(n, live, other, &s, &shape);
        int good = fabs(info.optimal_sse - best) <= slack &&
                   fabs(got - best) <= 1e-5 * best + slack && got <= plain * (1 + 1e-5) + slack;
        CU_ASSERT(good);
        if (!good) {
            test_failed_case(k, "%s: optimum %.17g, info %.17g, decoded %.17g, unweighted %.17g",
                             list[which].text, best, info.optimal_sse, got, plain);
        }
    }
}

static void equal_importance_is_none(void)
{
    for (uint64_t k = 0; k < 200; k++) {
        quant_shape shape;
        size_t n = draw_case(k + 7000001, &shape);
        quant_scheme s = scheme_of(list[k % LIST].text);
        quant_layout l;
        quant_encode_layout(NULL, &s, &shape, &l);
        quant_encode(NULL, &s, &shape, w, packed, ROOM, NULL);
        for (int power = -40; power <= 40; power += 20) {
            for (size_t i = 0; i < n; i++) {
                importance[i] = power ? ldexpf(1.0f, power) : 0.0f;
            }
            quant_encode_options o = {importance, NULL};
            CHECK_OK(NULL, quant_encode_with(NULL, &s, &shape, w, other, ROOM, &o));
            CU_ASSERT_EQUAL(memcmp(packed, other, l.bytes), 0);
        }
    }
}

static void what_cannot_be_weighted_is_refused(void)
{
    static const char *const no[] = {"int8:channel", "f16", "lut4:tensor,mode=uniform",
                                     "int4:block=32,asym"};
    quant_context *ctx = quant_context_new(NULL);
    quant_shape shape = {2, {4, 5}};
    quant_encode_options o = {importance, NULL};
    for (size_t i = 0; i < 20; i++) {
        w[i] = (float)i;
        importance[i] = 1;
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        quant_scheme s = scheme_of(no[i]);
        CU_ASSERT_EQUAL(quant_encode_with(ctx, &s, &shape, w, packed, ROOM, &o), QUANT_EINVAL);
    }
    const float bad[] = {-1, NAN, INFINITY, -INFINITY};
    quant_scheme s = scheme_of("lut2:group=2");
    for (size_t i = 0; i < 4; i++) {
        importance[13] = bad[i];
        CU_ASSERT_EQUAL(quant_encode_with(ctx, &s, &shape, w, packed, ROOM, &o), QUANT_EINVAL);
    }
    CU_ASSERT_STRING_EQUAL(quant_context_message(ctx),
                           "importance 13: expected finite and >= 0, found -inf");
    CHECK_OK(ctx, quant_encode_with(ctx, &s, &shape, w, packed, ROOM, NULL));
    quant_context_free(ctx);
}

static void short_memory_is_reported(void)
{
    quant_shape shape;
    draw_case(5, &shape);
    quant_scheme s = scheme_of(list[1].text);
    quant_status st = QUANT_ENOMEM;
    for (long k = 1; st != QUANT_OK && k < 40; k++) {
        short_memory m = {.fail_at = k, .ever_after = true};
        quant_context *ctx = short_memory_context(&m);
        quant_encode_options o = {importance, NULL};
        st = quant_encode_with(ctx, &s, &shape, w, packed, ROOM, &o);
        CU_ASSERT(st == QUANT_OK || st == QUANT_ENOMEM);
        quant_context_free(ctx);
        CU_ASSERT_EQUAL(m.held, 0);
    }
    CU_ASSERT_EQUAL(st, QUANT_OK);
}

TEST_SUITE(importance,
           {"tables are the weighted optimum", tables_are_the_weighted_optimum},
           {"equal importance is none", equal_importance_is_none},
           {"what cannot be weighted is refused", what_cannot_be_weighted_is_refused},
           {"short memory is reported", short_memory_is_reported})
