/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_ledger.c - terms against products that they were not computed from; logits against their
 * definitions. */
#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/propagate.h"
#include "tests/draw.h"
#include "tests/test.h"

enum { MOST_WIDTH = 8, CHAIN = 24, SQUARE = MOST_WIDTH * MOST_WIDTH };

/* Chain k of matrices W and W', their products from the input on, and the products of the absolute
 * values, all by dgemm. */
typedef struct chain {
    int d;
    double x[MOST_WIDTH];
    double w[CHAIN][SQUARE], hat[CHAIN][SQUARE];
    double product[CHAIN + 1][SQUARE], hat_product[CHAIN + 1][SQUARE], size[CHAIN + 1][SQUARE];
} chain;

static void multiply(int d, const double *a, const double *b, double *c)
{
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, d, d, d, 1, a, d, b, d, 0, c, d);
}

static void make_chain(draw *r, chain *c)
{
    double larger[SQUARE], step = ldexp(1, -(int)draw_int(r, 1, 20));
    c->d = (int)draw_int(r, 1, MOST_WIDTH);
    int n = c->d * c->d;
    for (int i = 0; i < n; i++) {
        c->product[0][i] = c->hat_product[0][i] = c->size[0][i] = i % (c->d + 1) == 0;
    }
    for (int i = 0; i < c->d; i++) {
        c->x[i] = draw_normal(r);
    }
    for (int k = 0; k < CHAIN; k++) {
        for (int i = 0; i < n; i++) {
            c->w[k][i] = draw_normal(r) / sqrt(c->d);
            c->hat[k][i] = c->w[k][i] + step * draw_normal(r) / sqrt(c->d);
            larger[i] = fmax(fabs(c->w[k][i]), fabs(c->hat[k][i]));
        }
        multiply(c->d, c->w[k], c->product[k], c->product[k + 1]);
        multiply(c->d, c->hat[k], c->hat_product[k], c->hat_product[k + 1]);
        multiply(c->d, larger, c->size[k], c->size[k + 1]);
    }
}

/* y = a x by plain sums. */
static void apply(int d, const double *a, const double *x, double *y)
{
    for (int i = 0; i < d; i++) {
        y[i] = 0;
        for (int j = 0; j < d; j++) {
            y[i] += a[i * d + j] * x[j];
        }
    }
}

/* |D Q x| and friends: matrices are combined first, the vector comes last. */
static double norm_of(int d, const double *a, const double *a2, const double *b, const double *b2,
                      const double *x)
{
    double left[SQUARE], right[SQUARE], both[SQUARE], y[MOST_WIDTH];
    for (int i = 0; i < d * d; i++) {
        left[i] = a[i] - (a2 ? a2[i] : 0);
        right[i] = b[i] - (b2 ? b2[i] : 0);
    }
    multiply(d, left, right, both);
    apply(d, both, x, y);
    return cblas_dnrm2(d, y, 1);
}

/* Any of these vectors is a sum of at most 4 products of k matrices and the input; each product
 * loses k (d + 2) u of the product of absolute values, and k differs by at most 1 between them. */
static double chain_bound(const chain *c, int k)
{
    double x[MOST_WIDTH], y[MOST_WIDTH];
    for (int i = 0; i < c->d; i++) {
        x[i] = fabs(c->x[i]);
    }
    apply(c->d, c->size[k], x, y);
    return 8 * k * (c->d + 2) * (DBL_EPSILON / 2) * cblas_dnrm2(c->d, y, 1);
}

static int agrees(const quant_ledger_terms *t, const chain *c, int k)
{
    int d = c->d;
    const double *p = c->product[k - 1], *q = c->hat_product[k - 1];
    const double *w = c->w[k - 1], *h = c->hat[k - 1];
    double bound = chain_bound(c, k), identity[SQUARE];
    memcpy(identity, c->product[0], sizeof identity);
    double carried = norm_of(d, w, NULL, q, p, c->x), injected = norm_of(d, h, w, p, NULL, c->x);
    double cross = norm_of(d, h, w, q, p, c->x);
    double error = norm_of(d, identity, NULL, c->hat_product[k], c->product[k], c->x);
    return fabs(sqrt(t->carried2) - carried) <= bound &&
           fabs(sqrt(t->injected2) - injected) <= bound &&
           fabs(sqrt(t->cross2) - cross) <= bound && fabs(sqrt(t->error2) - error) <= bound;
}

static int shares_sum(const quant_ledger_terms *t)
{
    quant_ledger_shares s = quant_ledger_shares_of(t);
    double off = fabs(s.carried + s.injected + s.cross - 1);
    return t->error2 == 0 ? isnan(s.carried) : off <= quant_ledger_shares_bound(t);
}

static void linear_chains(void)
{
    chain *c = calloc(1, sizeof *c);
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw r = draw_begin("ledger chain", k);
        double clean[MOST_WIDTH], both[MOST_WIDTH], next[4][MOST_WIDTH];
        int ok = 1;
        make_chain(&r, c);
        memcpy(clean, c->x, sizeof clean);
        memcpy(both, c->x, sizeof both);
        for (int l = 0; l < CHAIN; l++) {
            quant_ledger_terms t = {.n = 0};
            apply(c->d, c->w[l], clean, next[0]);
            apply(c->d, c->hat[l], both, next[1]);
            apply(c->d, c->hat[l], clean, next[2]);
            apply(c->d, c->w[l], both, next[3]);
            quant_ledger_add(&t, &(quant_ledger_values){next[0], next[1], next[2], next[3], NULL,
                                                        NULL}, (size_t)c->d);
            ok = ok && agrees(&t, c, l + 1) && shares_sum(&t);
            memcpy(clean, next[0], sizeof clean);
            memcpy(both, next[1], sizeof both);
        }
        CU_ASSERT(ok);
        if (!ok) {
            test_failed_case(k, "chain of width %d", c->d);
        }
    }
    free(c);
}

static void pooling_is_adding(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw r = draw_begin("ledger pool", k);
        double y[6][40];
        size_t n = (size_t)draw_int(&r, 1, 40), cut = (size_t)draw_int(&r, 0, (int64_t)n);
        for (size_t i = 0; i < 6 * n; i++) {
            y[i / n][i % n] = (double)draw_int(&r, -9, 9);
        }
        quant_ledger_terms whole = {.n = 0}, a = {.n = 0}, b = {.n = 0};
        quant_ledger_add(&whole, &(quant_ledger_values){y[0], y[1], y[2], y[3], y[4], y[5]}, n);
        quant_ledger_add(&a, &(quant_ledger_values){y[0], y[1], y[2], y[3], y[4], y[5]}, cut);
        quant_ledger_add(&b, &(quant_ledger_values){y[0] + cut, y[1] + cut, y[2] + cut, y[3] + cut,
                                                    y[4] + cut, y[5] + cut}, n - cut);
        quant_ledger_pool(&a, &b);
        int ok = memcmp(&a, &whole, sizeof a) == 0 && shares_sum(&whole);
        CU_ASSERT(ok);
        if (!ok) {
            test_failed_case(k, "%zu integers cut at %zu", n, cut);
        }
    }
}

/* ---- logits --------------------------------------------------------------------------------- */

/* By the definition, in long double, without taking the maximum out. */
static void definition(const float *ref, const float *got, size_t n, int64_t next, double out[3])
{
    long double a = 0, b = 0, kl = 0;
    for (size_t i = 0; i < n; i++) {
        a += expl((long double)ref[i]);
        b += expl((long double)got[i]);
    }
    for (size_t i = 0; i < n; i++) {
        long double p = expl((long double)ref[i]) / a, q = expl((long double)got[i]) / b;
        kl += p * logl(p / q);
    }
    out[0] = (double)kl;
    out[1] = (double)-logl(expl((long double)ref[next]) / a);
    out[2] = (double)-logl(expl((long double)got[next]) / b);
}

static void logits_by_definition(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw r = draw_begin("logits", k);
        float ref[20], got[20];
        double want[3], size = ldexp(1, (int)draw_int(&r, -3, 4));
        size_t n = (size_t)draw_int(&r, 2, 20);
        for (size_t i = 0; i < n; i++) {
            ref[i] = (float)(size * draw_normal(&r));
            got[i] = ref[i] + (float)(draw_normal(&r) / 4);
        }
        int64_t next = draw_int(&r, 0, (int64_t)n - 1);
        definition(ref, got, n, next, want);
        quant_logits_row row = quant_logits_compare(ref, got, n, next);
        quant_logits_row self = quant_logits_compare(ref, ref, n, -1);
        int ok = fabs(row.kl - want[0]) <= 1e-12 && fabs(row.ref_surprise - want[1]) <= 1e-12 &&
                 fabs(row.got_surprise - want[2]) <= 1e-12 && row.predicts && self.kl == 0 &&
                 self.error2 == 0 && self.same_top && !self.predicts && self.ref_surprise == 0;
        CU_ASSERT(ok);
        if (!ok) {
            test_failed_case(k, "%zu logits", n);
        }
    }
}

static void first_choice_ties_to_the_lower_id(void)
{
    const float tie[] = {1, 3, 3}, later[] = {1, 2, 3}, zero[] = {0, 0, 0};
    CU_ASSERT_FALSE(quant_logits_compare(tie, later, 3, -1).same_top);
    CU_ASSERT_TRUE(quant_logits_compare(tie, tie, 3, -1).same_top);
    quant_logits_row none = quant_logits_compare(zero, zero, 3, -1);
    quant_logits_row one = quant_logits_compare(zero, tie, 3, -1);
    CU_ASSERT(isnan(quant_logits_cosine(&none)));
    CU_ASSERT_EQUAL(quant_logits_cosine(&one), 0);
}

/* rows[n][s] with differences shift + N(0, 1). */
static void draw_rows(draw *r, quant_logits_row *rows, size_t n, size_t s, double shift)
{
    for (size_t i = 0; i < n * s; i++) {
        rows[i] = (quant_logits_row){.ref2 = 1, .got2 = 1, .dot = 1, .predicts = (i + 1) % s != 0};
        rows[i].ref_surprise = rows[i].predicts ? 2 + draw_normal(r) : 0;
        rows[i].got_surprise = rows[i].predicts ? rows[i].ref_surprise + shift + draw_normal(r) : 0;
    }
}

/* A percentile bootstrap over 20 sequences covers a little less than 95 %: with variance
 * sigma^2 (1 - 1/20) instead of a t interval, 92.7 % for normals. 1000 cases: standard deviation
 * 0.8 %; 4 of them are allowed either way. */
static void interval_covers(void)
{
    size_t covered = 0, cases = 0;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++, cases++) {
        draw r = draw_begin("interval", k);
        quant_logits_row rows[20 * 3];
        quant_logits_summary near, far;
        draw_rows(&r, rows, 20, 3, 0);
        CU_ASSERT_EQUAL(quant_logits_summarize(NULL, rows, 20, 3, k, &near), QUANT_OK);
        covered += near.low <= 1 && near.high >= 1;
        CU_ASSERT_EQUAL(near.distinguishable, near.low > 1 || near.high < 1);
        CU_ASSERT(near.units == 20 && near.by_sequence && near.predicted == 40);
        if (k % 50 == 0) {
            draw_rows(&r, rows, 20, 3, 2);
            CU_ASSERT_EQUAL(quant_logits_summarize(NULL, rows, 20, 3, k, &far), QUANT_OK);
            CU_ASSERT(far.distinguishable && far.low > 1);
        }
    }
    if (cases >= 1000) {
        double share = (double)covered / (double)cases;
        CU_ASSERT(share >= 0.895 && share <= 0.96);
    }
}

static void verdict_of(double ratio, double low, double high, const char *word)
{
    char text[QUANT_LOGITS_VERDICT];
    quant_logits_summary s = {.ratio = ratio, .low = low, .high = high, .predicted = 5,
                              .distinguishable = low > 1 || high < 1};
    quant_logits_verdict(&s, text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, word));
}

static void verdicts(void)
{
    double nan = (double)NAN;
    verdict_of(1.01, 0.99, 1.02, "not distinguishable from");
    verdict_of(1.10, 1.05, 1.15, ": worse than");
    verdict_of(0.90, 0.85, 0.95, ": better than");
    verdict_of(1, 1, 1, "not distinguishable from");
    verdict_of(1.5, nan, nan, "no interval");
    verdict_of(nan, nan, nan, "not finite");
    verdict_of(INFINITY, INFINITY, INFINITY, "worse");
}

/* A NaN must reach the figures that it enters. */
static void nan_is_not_lost(void)
{
    quant_logits_summary s;
    quant_logits_row rows[40];
    draw r = draw_begin("nan", 0);
    draw_rows(&r, rows, 1, 40, 0);
    rows[7].got_surprise = rows[7].kl = rows[7].dot = (double)NAN;
    CU_ASSERT_EQUAL(quant_logits_summarize(NULL, rows, 1, 40, 0, &s), QUANT_OK);
    CU_ASSERT(isnan(s.ratio) && isnan(s.low) && isnan(s.high) && isnan(s.kl_99) &&
              isnan(s.kl_mean) && isnan(s.cosine_mean));
    CU_ASSERT_FALSE(s.distinguishable);
    CU_ASSERT(s.units == 3 && !s.by_sequence);
}

TEST_SUITE(ledger, {"linear chains: the terms are those of dgemm products", linear_chains},
           {"pooling is adding", pooling_is_adding},
           {"logits: divergence and surprise by definition", logits_by_definition},
           {"logits: ties and zeros", first_choice_ties_to_the_lower_id},
           {"the interval covers and convicts", interval_covers},
           {"verdicts", verdicts},
           {"NaN is not lost", nan_is_not_lost})
