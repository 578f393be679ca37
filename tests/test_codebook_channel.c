/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pcs: channels divided by their scale share a table, and the error of the weights is least. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/store.h"
#include "tests/draw.h"
#include "tests/test.h"

enum { ROWS = 12, COLUMNS = 40, N = ROWS * COLUMNS };

static const quant_shape shape = {2, {ROWS, COLUMNS}};

typedef struct result {
    uint8_t *packed;
    quant_layout l;
    quant_encode_info info;
    float y[N];
    double error, energy;
} result;

static result encoded(const char *text, const float *w)
{
    quant_scheme s;
    result r;
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
    r.packed = encode_new(NULL, &s, &shape, w, &r.l, &r.info);
    CU_ASSERT_PTR_NOT_NULL_FATAL(r.packed);
    CHECK_OK(NULL, quant_decode(NULL, &s, &shape, r.packed, r.l.bytes, r.y));
    r.error = r.energy = 0.0;
    for (size_t i = 0; i < N; i++) {
        double e = (double)w[i] - (double)r.y[i];
        r.error += e * e;
        r.energy += (double)w[i] * (double)w[i];
    }
    return r;
}

/* Rows of different size, one of them zero. */
static void fill(draw *d, float *w)
{
    for (int c = 0; c < ROWS; c++) {
        double size = c == 5 ? 0.0 : ldexp(1.0, (int)draw_int(d, -4, 3));
        for (int i = 0; i < COLUMNS; i++) {
            w[c * COLUMNS + i] = (float)(size * draw_normal(d));
        }
    }
}

static void scales_by_hand(void)
{
    float w[N];
    draw d = draw_begin("pcs by hand", 0);
    fill(&d, w);
    result r = encoded("lut4:group=4,pcs", w);
    CU_ASSERT_EQUAL_FATAL(r.l.scale.count, ROWS);
    for (uint64_t c = 0; c < ROWS; c++) {
        float most = 0;
        for (int i = 0; i < COLUMNS; i++) {
            most = fmaxf(most, fabsf(w[c * COLUMNS + (uint64_t)i]));
        }
        CU_ASSERT_EQUAL(quant_store_get(QUANT_STORE_F16, r.packed + r.l.scale.offset, c),
                        quant_store_round(QUANT_STORE_F16, most));
    }
    CU_ASSERT(r.info.zero_codes >= COLUMNS);
    free(r.packed);
}

/* Two values and zero rows: the zeros cost no entry. */
static void channels_of_zeros_are_free(void)
{
    float w[N];
    for (int i = 0; i < N; i++) {
        int c = i / COLUMNS;
        w[i] = c % 3 == 0 ? 0.0f : ldexpf(i % 2 ? 1.0f : -0.5f, c);
    }
    result r = encoded("lut1:tensor,pcs", w);
    CU_ASSERT_EQUAL(r.error, 0.0);
    free(r.packed);
    memset(w, 0, sizeof w);
    r = encoded("lut3:group=4,pcs,lut=int8", w);
    CU_ASSERT_EQUAL(r.error, 0.0);
    CU_ASSERT_EQUAL(r.info.zero_codes, N);
    CU_ASSERT_EQUAL(r.info.distinct_codes, 1);
    free(r.packed);
}

/* One power of two for the whole tensor moves the scales and nothing else. */
static void size_is_in_the_scales(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("pcs size", k);
        float w[N], big[N];
        int shift = (int)draw_int(&d, -5, 5);
        const char *text = draw_int(&d, 0, 1) ? "lut3:group=5,pcs" : "lut4:tensor,pcs,lut=int8";
        fill(&d, w);
        for (int i = 0; i < N; i++) {
            big[i] = ldexpf(w[i], shift);
        }
        result a = encoded(text, w), b = encoded(text, big);
        bool same = memcmp(a.packed, b.packed, a.l.codes.bytes) == 0 &&
                    memcmp(a.packed + a.l.table.offset, b.packed + b.l.table.offset,
                           a.l.table.bytes) == 0;
        for (int i = 0; i < N; i++) {
            same &= b.y[i] == ldexpf(a.y[i], shift);
        }
        free(a.packed), free(b.packed);
        if (!same) {
            test_failed_case(k, "%s times 2^%d", text, shift);
            CU_FAIL("a power of two is not in the scales alone");
            return;
        }
    }
}

/* Error of the weights when the table is the optimum of what the division left, every channel
 * having the same say. */
static double error_of_the_unweighted(const float *w, size_t entries)
{
    static double value[N], weight[N], entry[256];
    static float scaled[N];
    float scale[ROWS];
    size_t first[256];
    quant_points p = {value, weight, 0};
    quant_clusters q = {0, first, entry, 0, 0};
    double sum = 0;
    for (int i = 0; i < N; i++) {
        float *most = &scale[i / COLUMNS];
        *most = fmaxf(i % COLUMNS ? *most : 0.0f, fabsf(w[i]));
    }
    for (int i = 0; i < N; i++) {
        scaled[i] = scale[i / COLUMNS] > 0 ? w[i] / scale[i / COLUMNS] : 0.0f;
    }
    CU_ASSERT_EQUAL(quant_points_collapse(NULL, scaled, NULL, N, value, weight, &p.n), QUANT_OK);
    CU_ASSERT_EQUAL(quant_kmeans1d(NULL, &p, entries, &q), QUANT_OK);
    for (int i = 0; i < N; i++) {
        double best = INFINITY;
        for (size_t j = 0; j < q.k; j++) {
            best = fmin(best, fabs((double)scaled[i] - entry[j]));
        }
        sum += best * best * (double)scale[i / COLUMNS] * (double)scale[i / COLUMNS];
    }
    return sum;
}

/* And info.optimal_sse is that least error. */
static void error_of_the_weights_is_least(void)
{
    double ours = 0, theirs = 0;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("pcs least", k);
        float w[N];
        fill(&d, w);
        result r = encoded("lut3:tensor,pcs,store=f32,lut=f32", w);
        double other = error_of_the_unweighted(w, 8), slack = 0x1p-20 * sqrt(other * r.energy);
        ours += r.error;
        theirs += other;
        free(r.packed);
        if (!(r.error <= other + slack && fabs(r.info.optimal_sse - r.error) <= slack)) {
            test_failed_case(k, "%.9g, optimum %.9g, unweighted %.9g", r.error, r.info.optimal_sse,
                             other);
            CU_FAIL("the error of the weights is not least");
            return;
        }
    }
    CU_ASSERT(ours < 0.85 * theirs); /* 0.9 dB on rows of these sizes */
}

/* Mean over live rows of the row's relative squared error. */
static double row_error(const result *r, const float *w)
{
    double sum = 0;
    for (int c = 0; c < ROWS; c++) {
        double error = 0, energy = 0;
        for (int i = c * COLUMNS; i < (c + 1) * COLUMNS; i++) {
            error += ((double)w[i] - (double)r->y[i]) * ((double)w[i] - (double)r->y[i]);
            energy += (double)w[i] * (double)w[i];
        }
        sum += energy > 0 ? error / energy / (ROWS - 1) : 0;
    }
    return sum;
}

/* Rows of sizes over 2^7: without scales a table for all of them serves the large ones. */
static void scales_pay_where_rows_differ(void)
{
    float w[N];
    draw d = draw_begin("pcs pays", 0);
    fill(&d, w);
    result with = encoded("lut3:tensor,pcs", w), without = encoded("lut3:tensor", w);
    CU_ASSERT(with.error < without.error);
    CU_ASSERT(row_error(&with, w) < 0.1 * row_error(&without, w));
    CU_ASSERT(with.l.stored_bytes == without.l.stored_bytes + 2 * ROWS);
    free(with.packed), free(without.packed);
}

/* The product of entry and scale must stay finite next to the largest float. */
static void largest_floats(void)
{
    static const char *const texts[] = {"lut2:tensor,pcs,store=f32", "lut2:tensor,pcs,lut=int8"};
    float w[N] = {0}, y[N];
    for (int i = 0; i < N; i++) {
        w[i] = (i % 2 ? 1.0f : -1.0f) * (i % 3 ? 0x1.fffffep127f : 0x1p126f);
    }
    for (int k = 0; k < 2; k++) {
        quant_scheme s;
        quant_layout l;
        CHECK_OK(NULL, quant_scheme_parse(NULL, texts[k], &s));
        CHECK_OK(NULL, quant_encode_layout(NULL, &s, &shape, &l));
        uint8_t *p = malloc(l.bytes);
        quant_status status = quant_encode(NULL, &s, &shape, w, p, l.bytes, NULL);
        CU_ASSERT(status == QUANT_OK || (k == 1 && status == QUANT_ESCALE));
        if (status == QUANT_OK) {
            CHECK_OK(NULL, quant_decode(NULL, &s, &shape, p, l.bytes, y));
            for (int i = 0; i < N; i++) {
                CU_ASSERT(isfinite(y[i]));
            }
        }
        free(p);
    }
}

TEST_SUITE(codebook_channel,
           {"scales by hand", scales_by_hand},
           {"channels of zeros are free", channels_of_zeros_are_free},
           {"size is in the scales", size_is_in_the_scales},
           {"error of the weights is least", error_of_the_weights_is_least},
           {"scales pay where rows differ", scales_pay_where_rows_differ},
           {"largest floats", largest_floats})
