/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What optimal tables mean, without known answers. "f64 table" stands for the centroids of
 * quant_kmeans1d as they are, before any rounding to a storage type. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/store.h"
#include "tests/draw.h"
#include "tests/test.h"

enum { MOST = 600 };

/* A drawn set of distinct values with counts. */
typedef struct cloud {
    float x[MOST];
    double value[MOST], weight[MOST];
    size_t n;            /* of x */
    quant_points points;
    double energy;       /* sum of x^2 */
} cloud;

static cloud *cloud_new(draw *d)
{
    cloud *c = malloc(sizeof *c);
    c->n = (size_t)draw_int(d, 1, MOST);
    draw_weights(d, c->x, 1, c->n);
    c->points = (quant_points){c->value, c->weight, 0};
    CU_ASSERT_EQUAL_FATAL(quant_points_collapse(NULL, c->x, NULL, c->n, c->value, c->weight,
                                                &c->points.n), QUANT_OK);
    c->energy = 0.0;
    for (size_t i = 0; i < c->n; i++) {
        c->energy += (double)c->x[i] * (double)c->x[i];
    }
    return c;
}

static double optimum(const quant_points *p, size_t k, double *centroid, size_t *used)
{
    size_t first[256];
    double own[256];
    quant_clusters q = {0, first, centroid ? centroid : own, 0.0, 0.0};
    CU_ASSERT_EQUAL(quant_kmeans1d(NULL, p, k, &q), QUANT_OK);
    if (used) {
        *used = q.k;
    }
    return q.sse;
}

/* Squared error of the nearest of n ascending entries. */
static double nearest_error(const cloud *c, const double *entry, size_t n, double *dot,
                            double *got2)
{
    double sse = 0.0;
    *dot = *got2 = 0.0;
    for (size_t i = 0; i < c->n; i++) {
        double x = c->x[i], best = entry[0];
        for (size_t j = 1; j < n; j++) {
            best = fabs(x - entry[j]) < fabs(x - best) ? entry[j] : best;
        }
        sse += (x - best) * (x - best);
        *dot += x * best;
        *got2 += best * best;
    }
    return sse;
}

static bool judge(uint64_t k, bool ok, const char *what)
{
    if (!ok) {
        test_failed_case(k, "%s", what);
        CU_FAIL("property does not hold");
    }
    return ok;
}

/* Sums over at most 600 terms in different orders agree to 2^-40 of the energy. */
static double slack(const cloud *c)
{
    return 0x1p-40 * c->energy;
}

/* optimal SSE <= 2^b equal steps <= n (step/2)^2; and <= any symmetric integer grid. */
static void optimum_beats_every_grid(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("grids", k);
        cloud *c = cloud_new(&d);
        size_t entries = (size_t)1 << draw_int(&d, 1, 6);
        double lo = c->value[0], hi = c->value[c->points.n - 1], most = fmax(hi, -lo);
        double step = (hi - lo) / (double)(entries - 1), grid[256], codes[256], dot, got2;
        size_t half = entries / 2 - 1;
        for (size_t i = 0; i < entries; i++) {
            grid[i] = lo + (double)i * step;
            codes[i] = most * ((double)i - (double)half) / (double)(half ? half : 1);
        }
        double best = optimum(&c->points, entries, NULL, NULL);
        double uniform = nearest_error(c, grid, entries, &dot, &got2);
        double linear = nearest_error(c, codes, 2 * half + 1, &dot, &got2);
        double ceiling = (double)c->n * step * step / 4.0;
        bool ok = best <= uniform + slack(c) && uniform <= ceiling + slack(c) &&
                  best <= linear + slack(c);
        free(c);
        if (!judge(k, ok, "a grid beats the optimum")) {
            return;
        }
    }
}

/* Entries that are means of what they stand for make the error orthogonal to the copy:
 * cos^2 = 1 - delta^2, hence the cosine rises with every bit and with finer nested groups. */
static void mean_centroids_tie_cosine_to_error(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("cosine", k);
        cloud *c = cloud_new(&d);
        double entry[256], dot, got2, before = INFINITY;
        bool ok = true;
        for (int bits = 1; ok && bits <= 6 && c->energy > 0.0; bits++) {
            size_t used;
            double sse = optimum(&c->points, (size_t)1 << bits, entry, &used);
            double direct = nearest_error(c, entry, used, &dot, &got2);
            double cosine2 = got2 > 0.0 ? dot * dot / (c->energy * got2) : 0.0;
            ok = fabs(direct - sse) <= slack(c) && sse <= before &&
                 (got2 == 0.0 || fabs(cosine2 - (1.0 - sse / c->energy)) <= 1e-11);
            before = sse;
        }
        free(c);
        if (!judge(k, ok, "cos^2 is not 1 - delta^2, or falls with bits")) {
            return;
        }
    }
}

static void finer_nested_groups_lose_less(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("nested", k);
        cloud *c = cloud_new(&d);
        size_t cut = (size_t)draw_int(&d, 0, (int64_t)c->n);
        size_t entries = (size_t)1 << draw_int(&d, 1, 5);
        double whole = optimum(&c->points, entries, NULL, NULL), parts = 0.0;
        for (int half = 0; half < 2; half++) {
            size_t n = half ? c->n - cut : cut;
            quant_points p = {c->value, c->weight, 0};
            if (n) {
                quant_points_collapse(NULL, c->x + (half ? cut : 0), NULL, n, c->value, c->weight,
                                      &p.n);
                parts += optimum(&p, entries, NULL, NULL);
            }
        }
        bool ok = parts <= whole + slack(c);
        free(c);
        if (!judge(k, ok, "two tables lose more than one")) {
            return;
        }
    }
}

static quant_scheme scheme_of(const char *text)
{
    quant_scheme s;
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
    return s;
}

/* No more distinct values than entries: nothing is lost with a table type that holds them. */
static void few_distinct_values_are_exact(void)
{
    static const char *const texts[] = {"lut1:tensor,lut=f32", "lut2:tensor,lut=f32",
                                        "lut3:tensor,lut=f32", "lut4:tensor,lut=f32",
                                        "lut6:tensor,lut=f32", "lut8:tensor,lut=f32"};
    static const int bits[] = {1, 2, 3, 4, 6, 8};
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("few", k);
        float entry[256], w[MOST], y[MOST];
        int row = (int)draw_int(&d, 0, 5), distinct = (int)draw_int(&d, 1, 1 << bits[row]);
        quant_scheme s = scheme_of(texts[row]);
        quant_shape shape = {2, {1, MOST}};
        quant_layout l;
        for (int i = 0; i < distinct; i++) {
            entry[i] = (float)(draw_normal(&d) * ldexp(1.0, (int)draw_int(&d, -20, 20)));
        }
        for (int i = 0; i < MOST; i++) {
            w[i] = entry[draw_int(&d, 0, distinct - 1)];
        }
        uint8_t *p = encode_new(NULL, &s, &shape, w, &l, NULL);
        bool ok = p && quant_decode(NULL, &s, &shape, p, l.bytes, y) == QUANT_OK &&
                  memcmp(w, y, sizeof w) == 0;
        free(p);
        if (!judge(k, ok, "distinct values fit the table and were changed")) {
            return;
        }
    }
}

/* Values decoded through half-precision tables encode to themselves. */
static void encoding_is_a_projection(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("lut projection", k);
        drawn_tensor t = draw_tensor(&d);
        quant_scheme s = draw_codebook(&d, &t.shape);
        s.table_store = QUANT_STORE_F16; /* of int8 another scale may fit the values no worse */
        s.store = QUANT_STORE_F32;       /* and max|w| of them is another channel scale */
        s.channel_scale = false;
        s.dim = 1; /* of vectors there is no optimum to find again */
        quant_layout l;
        float *y = malloc(t.n * sizeof *y), *z = malloc(t.n * sizeof *z);
        uint8_t *p = encode_new(NULL, &s, &t.shape, t.w, &l, NULL), *q = NULL;
        bool ok = p && quant_decode(NULL, &s, &t.shape, p, l.bytes, y) == QUANT_OK;
        q = ok ? encode_new(NULL, &s, &t.shape, y, &l, NULL) : NULL;
        ok = q && quant_decode(NULL, &s, &t.shape, q, l.bytes, z) == QUANT_OK &&
             memcmp(y, z, t.n * sizeof *y) == 0;
        free(p), free(q), free(y), free(z), free(t.w);
        if (!judge(k, ok, "encode(decode(encode(w))) differs")) {
            return;
        }
    }
}

/* Every code names the nearest stored entry, ties the lower; entries in use ascend, the rest is
 * zero and unnamed: the canonical form. */
static bool is_canonical(const quant_scheme *s, const float *w, size_t n, const uint8_t *packed,
                         const quant_layout *l)
{
    float table[256];
    bool used[256] = {false};
    size_t entries = (size_t)1 << s->bits, kept = 0;
    table_load(s, packed, l, 0, table);
    for (size_t i = 0; i < n; i++) {
        size_t at = i * (size_t)s->bits, code = packed[at / 8] | (size_t)packed[at / 8 + 1] << 8;
        code = code >> at % 8 & (entries - 1);
        used[code] = true;
        for (size_t j = 0; j < entries && (j == 0 || table[j] > table[j - 1]); j++) {
            double gain = fabs((double)w[i] - (double)table[code]) -
                          fabs((double)w[i] - (double)table[j]);
            if (used[j] && (gain > 0.0 || (gain == 0.0 && j < code))) {
                return false;
            }
        }
    }
    while (kept < entries && used[kept]) {
        kept++;
    }
    for (size_t j = 1; j < entries; j++) {
        if (j < kept ? table[j] <= table[j - 1] : used[j] || table[j] != 0.0f) {
            return false;
        }
    }
    return true;
}

static void tables_are_canonical(void)
{
    static const char *const texts[] = {"lut1:tensor", "lut2:tensor,lut=bf16", "lut3:tensor",
                                        "lut4:tensor,mode=uniform", "lut6:tensor,lut=bf16",
                                        "lut8:tensor", "lut4:tensor,lut=f32",
                                        "lut3:tensor,lut=int8,store=f16", "lut4:tensor,lut=int8",
                                        "lut8:tensor,lut=int8"};
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("canonical", k);
        size_t n = (size_t)draw_int(&d, 1, MOST);
        float w[MOST];
        draw_weights(&d, w, 1, n);
        quant_shape shape = {1, {n}};
        quant_scheme s = scheme_of(texts[draw_int(&d, 0, 9)]);
        quant_layout l;
        uint8_t *p = encode_new(NULL, &s, &shape, w, &l, NULL);
        bool ok = p && is_canonical(&s, w, n, p, &l);
        free(p);
        if (!judge(k, ok, "table or codes are not canonical")) {
            return;
        }
    }
}

/* Half way between 0 and 1 a table of {-tiny, 1} is nearer to 1, though -tiny + 1 is 1 in double;
 * a table of {tiny, 1} is nearer to tiny. A tie goes to the lower index. */
static void nearest_entry_is_exact_across_magnitudes(void)
{
    static const struct {
        float w[3], middle;
    } rows[] = {{{-0x1p-60f, 0.5f, 1}, 1},
                {{0x1p-60f, 0.5f, 1}, 0x1p-60f},
                {{-1, -0.5f, 0x1p-70f}, -1},
                {{-1, -0.5f, -0x1p-70f}, -0x1p-70f},
                {{0, 0.5f, 1}, 0}};
    quant_shape shape = {1, {3}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        quant_scheme s = scheme_of("lut1:tensor,lut=f32,mode=uniform");
        quant_layout l;
        float y[3];
        uint8_t *p = encode_new(NULL, &s, &shape, rows[i].w, &l, NULL);
        CHECK_OK(NULL, quant_decode(NULL, &s, &shape, p, l.bytes, y));
        CU_ASSERT_EQUAL(y[0], rows[i].w[0]);
        CU_ASSERT_EQUAL(y[1], rows[i].middle);
        CU_ASSERT_EQUAL(y[2], rows[i].w[2]);
        free(p);
    }
}

TEST_SUITE(codebook_properties,
           {"the optimum beats every grid", optimum_beats_every_grid},
           {"mean centroids tie cosine to error", mean_centroids_tie_cosine_to_error},
           {"finer nested groups lose less", finer_nested_groups_lose_less},
           {"few distinct values are exact", few_distinct_values_are_exact},
           {"encoding is a projection", encoding_is_a_projection},
           {"tables are canonical", tables_are_canonical},
           {"nearest entry is exact across magnitudes", nearest_entry_is_exact_across_magnitudes})
