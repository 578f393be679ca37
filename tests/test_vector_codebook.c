/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dim=2, dim=4: what a table of vectors promises, and where it wins. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/store.h"
#include "tests/draw.h"
#include "tests/test.h"

/* Squared error of w under a scheme; the packed bytes to *packed unless NULL (free()). */
static double error_of(const char *text, const quant_shape *shape, const float *w,
                       const quant_encode_options *options, uint8_t **packed, quant_layout *l)
{
    quant_scheme s;
    quant_layout own;
    uint64_t n = 0;
    double sum = 0.0;
    l = l ? l : &own;
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
    CHECK_OK(NULL, quant_shape_elements(NULL, shape, &n));
    CHECK_OK(NULL, quant_encode_layout(NULL, &s, shape, l));
    uint8_t *p = malloc(l->bytes);
    float *y = malloc((size_t)n * sizeof *y);
    quant_status status = quant_encode_with(NULL, &s, shape, w, p, l->bytes, options);
    if (status == QUANT_ESCALE && quant_scheme_widen(&s)) {
        CHECK_OK(NULL, quant_encode_layout(NULL, &s, shape, l));
        p = realloc(p, l->bytes);
        status = quant_encode_with(NULL, &s, shape, w, p, l->bytes, options);
    }
    CHECK_OK(NULL, status);
    CHECK_OK(NULL, quant_decode(NULL, &s, shape, p, l->bytes, y));
    for (size_t i = 0; i < n; i++) {
        double e = (double)w[i] - (double)y[i];
        double importance = options && options->importance ? (double)options->importance[i] : 1.0;
        sum += importance * e * e;
    }
    free(y);
    if (packed) {
        *packed = p;
    } else {
        free(p);
    }
    return sum;
}

/* The same bits without and with vectors. */
static const struct {
    const char *scalar, *vector;
} pairs[] = {{"lut1:%s", "lut2:%s,dim=2"},           {"lut2:%s", "lut4:%s,dim=2"},
             {"lut3:%s", "lut6:%s,dim=2"},           {"lut4:%s", "lut8:%s,dim=2"},
             {"lut1:%s", "lut4:%s,dim=4"},           {"lut2:%s", "lut8:%s,dim=4"},
             {"lut2:%s,lut=int8", "lut4:%s,dim=2,lut=int8"},
             {"lut2:%s,lut=f32", "lut8:%s,dim=4,lut=f32"},
             {"lut2:%s,pcs", "lut4:%s,dim=2,pcs"},
             {"lut1:%s,pcs,lut=int8", "lut4:%s,dim=4,pcs,lut=int8"}};
enum { PAIRS = sizeof pairs / sizeof *pairs };

/* As stored, with equality allowed to the last bit: the scalar table squared is a candidate. */
static void never_worse_than_scalars_of_the_same_bits(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 4) { /* dear */
        draw d = draw_begin("vector scalar", k);
        drawn_tensor t = draw_tensor(&d);
        size_t which = (size_t)draw_int(&d, 0, PAIRS - 1);
        char regions[40], scalar[80], vector[80];
        snprintf(regions, sizeof regions, "group=%d,axis=%d", (int)draw_int(&d, 1, 20),
                 (int)draw_int(&d, 0, t.shape.rank - 1));
        snprintf(scalar, sizeof scalar, pairs[which].scalar, regions);
        snprintf(vector, sizeof vector, pairs[which].vector, regions);
        double one = error_of(scalar, &t.shape, t.w, NULL, NULL, NULL);
        double many = error_of(vector, &t.shape, t.w, NULL, NULL, NULL), energy = 0;
        for (size_t i = 0; i < t.n; i++) {
            energy += (double)t.w[i] * (double)t.w[i];
        }
        free(t.w);
        if (!(many <= one + 0x1p-40 * energy)) {
            test_failed_case(k, "%s: %.9g, %s: %.9g", vector, many, scalar, one);
            CU_FAIL("vectors lose to scalars of the same bits");
            return;
        }
    }
}

/* Product of the optimal f32 tables of both components, from the reference programme. */
static double product_error(const float *w, size_t vectors, size_t entries)
{
    double sum = 0;
    for (size_t d = 0; d < 2; d++) {
        static float x[600];
        static double value[600], weight[600], entry[256];
        size_t first[256];
        quant_points p = {value, weight, 0};
        quant_clusters c = {0, first, entry, 0, 0};
        for (size_t i = 0; i < vectors; i++) {
            x[i] = w[2 * i + d];
        }
        CU_ASSERT_EQUAL(quant_points_collapse(NULL, x, NULL, vectors, value, weight, &p.n),
                        QUANT_OK);
        CU_ASSERT_EQUAL(quant_kmeans1d_reference(NULL, &p, entries, &c), QUANT_OK);
        sum += c.sse;
    }
    return sum;
}

/* Components of different size: the product gives each its own table. */
static void never_worse_than_the_product_of_optima(void)
{
    static const struct {
        const char *text;
        size_t entries;
    } rows[] = {{"lut2:tensor,dim=2,lut=f32", 2}, {"lut4:tensor,dim=2,lut=f32", 4},
                {"lut6:tensor,dim=2,lut=f32", 8}, {"lut8:tensor,dim=2,lut=f32", 16}};
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 4) { /* dear */
        draw d = draw_begin("vector product", k);
        size_t vectors = (size_t)draw_int(&d, 1, 300), which = (size_t)draw_int(&d, 0, 3);
        float w[600];
        draw_weights(&d, w, 1, 2 * vectors);
        for (size_t i = 0; i < vectors && k % 2; i++) {
            w[2 * i] *= 0.01f;
        }
        quant_shape shape = {2, {1, 2 * vectors}};
        double product = product_error(w, vectors, rows[which].entries), energy = 0;
        double ours = error_of(rows[which].text, &shape, w, NULL, NULL, NULL);
        for (size_t i = 0; i < 2 * vectors; i++) {
            energy += (double)w[i] * (double)w[i];
        }
        if (!(ours <= product + 0x1p-22 * sqrt(product * energy) + 0x1p-40 * energy)) {
            test_failed_case(k, "%s: %.9g, product %.9g", rows[which].text, ours, product);
            CU_FAIL("vectors lose to the product of scalar optima");
            return;
        }
    }
}

/* Every code names the nearest stored vector, the lowest of equals; vectors in use ascend, zeros
 * that no code names follow. By hand from the layout. */
static bool is_canonical(const quant_scheme *s, const float *w, size_t n, const uint8_t *p,
                         const quant_layout *l)
{
    size_t dim = (size_t)s->dim, entries = (size_t)1 << s->bits, used = 0;
    const float *table = (const float *)(const void *)(p + l->table.offset);
    bool named[256] = {false};
    for (size_t v = 0; v * dim < n; v++) {
        size_t at = v * (size_t)s->bits, code = p[at / 8] | (size_t)p[at / 8 + 1] << 8, best = 0;
        double least = INFINITY;
        code = code >> at % 8 & (entries - 1);
        named[code] = true;
        used = code + 1 > used ? code + 1 : used;
        for (size_t j = 0; j < entries; j++) {
            double e = 0;
            for (size_t d = 0; d < dim && v * dim + d < n; d++) {
                double x = (double)w[v * dim + d] - (double)table[j * dim + d];
                e += x * x;
            }
            best = e < least ? j : best;
            least = e < least ? e : least;
        }
        if (best != code && best < used) { /* padding is no entry */
            return false;
        }
    }
    for (size_t j = 1; j < entries; j++) {
        int order = 0;
        for (size_t d = 0; d < dim && order == 0; d++) {
            float a = table[(j - 1) * dim + d], b = table[j * dim + d];
            order = a < b ? 1 : a > b ? -1 : 0;
            order = j >= used && b != 0.0f ? -2 : order;
        }
        if (order == -2 || (j < used && (order != 1 || !named[j]))) {
            return false;
        }
    }
    return true;
}

static void tables_are_canonical(void)
{
    static const char *const texts[] = {"lut2:tensor,dim=2,lut=f32", "lut5:tensor,dim=2,lut=f32",
                                        "lut3:tensor,dim=4,lut=f32", "lut6:tensor,dim=4,lut=f32",
                                        "lut8:tensor,dim=2,lut=f32"};
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 4) { /* dear */
        draw d = draw_begin("vector canonical", k);
        quant_scheme s;
        quant_layout l;
        float w[600];
        uint8_t *p = NULL;
        size_t n = (size_t)draw_int(&d, 1, 600);
        quant_shape shape = {2, {1, n}};
        draw_weights(&d, w, 1, n);
        const char *text = texts[draw_int(&d, 0, 4)];
        if (quant_scheme_parse(NULL, text, &s) != QUANT_OK) {
            continue; /* 5 bits: none */
        }
        error_of(text, &shape, w, NULL, &p, &l);
        bool ok = is_canonical(&s, w, n, p, &l);
        free(p);
        if (!ok) {
            test_failed_case(k, "%s, %zu weights", text, n);
            CU_FAIL("table or codes are not canonical");
            return;
        }
    }
}

/* Golden: vectors over two rows of five: codes row by row, three each, the last of one weight. */
static void golden_codes(void)
{
    const float w[10] = {1, 2, 3, 4, 1, 3, 4, 1, 2, 3};
    quant_shape shape = {2, {2, 5}};
    quant_layout l;
    uint8_t *p = NULL;
    CU_ASSERT_EQUAL(error_of("lut1:tensor,dim=2,lut=f32", &shape, w, NULL, &p, &l), 0.0);
    const float table[4] = {1, 2, 3, 4};
    CU_ASSERT_EQUAL(l.codes.count, 6);
    CU_ASSERT_EQUAL(p[0], 0x2a); /* 0 1 0, 1 0 1, least significant bit first */
    CU_ASSERT_EQUAL(memcmp(p + l.table.offset, table, sizeof table), 0);
    free(p);
}

static void *dirty_alloc(void *user, size_t bytes)
{
    (void)user;
    void *memory = malloc(bytes);
    return memory ? memset(memory, 0xa5, bytes) : NULL;
}

static void dirty_release(void *user, void *memory, size_t bytes)
{
    (void)user, (void)bytes;
    free(memory);
}

/* What the memory held before is in no byte and no count. */
static void dirty_memory_does_not_matter(void)
{
    static const char *const texts[] = {"lut3:group=2,dim=2", "lut4:tensor,dim=4,pcs",
                                        "lut4:group=3,dim=2,lut=int8"};
    quant_allocator a = {dirty_alloc, dirty_release, NULL};
    quant_context *ctx = quant_context_new(&a);
    float w[8 * 30];
    quant_shape shape = {2, {8, 30}};
    draw d = draw_begin("vector dirty", 0);
    draw_weights(&d, w, 8, 30);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        quant_scheme s;
        quant_layout l;
        quant_encode_info clean, dirty;
        CHECK_OK(NULL, quant_scheme_parse(NULL, texts[i], &s));
        uint8_t *p = encode_new(NULL, &s, &shape, w, &l, &clean);
        uint8_t *q = encode_new(ctx, &s, &shape, w, &l, &dirty);
        CU_ASSERT(p && q && memcmp(p, q, l.bytes) == 0);
        CU_ASSERT_EQUAL(dirty.raised_scales, 0);
        CU_ASSERT_EQUAL(dirty.optimal_sse, 0);
        CU_ASSERT_EQUAL(clean.zero_codes, dirty.zero_codes);
        free(p), free(q);
    }
    quant_context_free(ctx);
}

/* Where vectors win: neighbours that go together. And the gain of packing alone, for independent
 * Gaussian weights. */
static void vectors_pay(void)
{
    enum { ROWS = 64, COLUMNS = 128 };
    static float w[ROWS * COLUMNS];
    quant_shape shape = {2, {ROWS, COLUMNS}};
    draw d = draw_begin("vector pays", 0);
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        w[i] = (float)draw_normal(&d);
    }
    double one = error_of("lut2:tensor", &shape, w, NULL, NULL, NULL);
    double two = error_of("lut4:tensor,dim=2", &shape, w, NULL, NULL, NULL);
    double four = error_of("lut8:tensor,dim=4", &shape, w, NULL, NULL, NULL);
    CU_ASSERT(two < 0.95 * one && four < 0.9 * two);
    for (size_t i = 1; i < ROWS * COLUMNS; i++) {
        w[i] = i % COLUMNS ? 0.9f * w[i - 1] + 0.436f * w[i] : w[i];
    }
    one = error_of("lut2:tensor", &shape, w, NULL, NULL, NULL);
    two = error_of("lut4:tensor,dim=2", &shape, w, NULL, NULL, NULL);
    CU_ASSERT(two < 0.5 * one);
}

/* Importance decides whose error is small; equal importance changes no byte. */
static void importance_is_weighed(void)
{
    enum { N = 32 * 40 };
    static float w[N], importance[N], equal[N];
    quant_shape shape = {2, {32, 40}};
    draw d = draw_begin("vector importance", 0);
    for (size_t i = 0; i < N; i++) {
        w[i] = (float)draw_normal(&d);
        importance[i] = i % 3 == 0 ? 0.0f : i % 5 == 0 ? 100.0f : 1.0f;
        equal[i] = 4.0f;
    }
    const char *text = "lut4:group=16,dim=2,lut=f32";
    quant_encode_options with = {.importance = importance}, same = {.importance = equal};
    uint8_t *plain = NULL, *again = NULL, *weighed = NULL;
    quant_layout l;
    error_of(text, &shape, w, NULL, &plain, &l);
    error_of(text, &shape, w, &same, &again, &l);
    CU_ASSERT_EQUAL(memcmp(plain, again, l.bytes), 0);
    double best = error_of(text, &shape, w, &with, &weighed, &l), sum = 0;
    float y[N];
    quant_scheme s;
    CHECK_OK(NULL, quant_scheme_parse(NULL, text, &s));
    CHECK_OK(NULL, quant_decode(NULL, &s, &shape, plain, l.bytes, y));
    for (size_t i = 0; i < N; i++) {
        double e = (double)w[i] - (double)y[i];
        sum += (double)importance[i] * e * e;
    }
    CU_ASSERT(best < 0.5 * sum);
    free(plain), free(again), free(weighed);
}

TEST_SUITE(vector_codebook,
           {"never worse than scalars of the same bits", never_worse_than_scalars_of_the_same_bits},
           {"never worse than the product of optima", never_worse_than_the_product_of_optima},
           {"tables are canonical", tables_are_canonical},
           {"golden codes", golden_codes},
           {"dirty memory does not matter", dirty_memory_does_not_matter},
           {"vectors pay", vectors_pay},
           {"importance is weighed", importance_is_weighed})
