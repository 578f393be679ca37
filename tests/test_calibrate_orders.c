/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_calibrate_orders.c - the curve over several orders of the prompts against runs over prompts
 * that were put in those orders beforehand, and its logits against runs of the model by hand. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/calibrate_curve.h"
#include "quant/lab/grids.h"
#include "quant/lab/propagate.h"
#include "quant/random.h"
#include "tests/stats_rig.h"
#include "tests/test.h"

/* Where a sequence stands among others decides on the last bit of a product, no more. */
static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-5 * fabs(b);
}

enum { N = 12, S = 64, PROMPTS = 9, HELD = 3, DRAWS = 4 };

static quant_scheme scheme_of(const char *text)
{
    quant_scheme s;
    CHECK_OK(NULL, quant_scheme_parse(NULL, text, &s));
    return s;
}

static quant_adequacy *run(stats_rig *r, const quant_scheme *scheme, uint64_t draws, uint64_t seed)
{
    quant_adequacy *c = NULL;
    const quant_adequacy_options o = {.schemes = scheme, .scheme_count = 1, .error = 0.05,
                                      .saturation = 1e-4, .draws = draws, .seed = seed,
                                      .logits = draws == 0};
    CHECK_OK(r->ctx, quant_adequacy_run(r->ctx, r->model, &r->tokens, &o, &c));
    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    CU_ASSERT(c->options.sequences == PROMPTS && c->options.held_out == HELD);
    return c;
}

/* ---- orders ---------------------------------------------------------------------------------- */

/* The prompts as order `order` of a seed has them, out of `as_given`. */
static void put_in_order(stats_rig *r, const int64_t *as_given, uint64_t seed, int order)
{
    char name[64];
    size_t at[PROMPTS];
    snprintf(name, sizeof name, "calibrate.order %d", order);
    quant_random stream = quant_random_stream(seed, name);
    for (size_t i = 0; i < PROMPTS; i++) {
        at[i] = i;
    }
    for (size_t i = PROMPTS - 1; i > 0; i--) {
        size_t k = (size_t)quant_random_below(&stream, i, i + 1), moved = at[i];
        at[i] = at[k];
        at[k] = moved;
    }
    for (size_t i = 0; i < PROMPTS; i++) {
        memcpy(r->ids + i * S, as_given + at[i] * S, S * sizeof *as_given);
    }
}

static void orders_are_runs_over_prompts_in_that_order(void)
{
    static const char *const texts[] = {"w8a8,act=static", "w4a8,asym,act=static",
                                        "w8a8,act=static,obs=percentile:99"};
    for (uint64_t k = 0; k < 4; k++) {
        stats_rig *r = rig_open("orders", k, k % 2, N, S);
        const quant_scheme scheme = scheme_of(texts[k % 3]);
        int64_t given[N * S];
        int different = 0;
        memcpy(given, r->ids, sizeof given);
        quant_adequacy *all = run(r, &scheme, DRAWS, k);
        for (int order = 0; order < DRAWS; order++) {
            memcpy(r->ids, given, sizeof given);
            if (order > 0) {
                put_in_order(r, given, k, order);
            }
            quant_adequacy *one = run(r, &scheme, 1, k);
            for (size_t i = 0; i < all->count_n; i++) {
                const quant_adequacy_point *a = quant_adequacy_draw(all, 0, (size_t)order, i);
                const quant_adequacy_point *b = quant_adequacy_draw(one, 0, 0, i);
                CU_ASSERT(near(a->scale_median, b->scale_median) && near(a->ratio, b->ratio) &&
                          near(a->low, b->low) && near(a->high, b->high));
                CU_ASSERT(near(a->scale_least, b->scale_least) && near(a->error, b->error));
                CU_ASSERT(fabs(a->saturated - b->saturated) < 1e-5);
                CU_ASSERT(a->unserved == b->unserved && a->unreached == b->unreached);
                different += !near(a->ratio, quant_adequacy_draw(all, 0, 0, i)->ratio);
            }
            quant_adequacy_free(r->ctx, one);
        }
        CU_ASSERT(different >= DRAWS - 1);
        quant_adequacy_free(r->ctx, all);
        rig_close(r);
    }
}

/* The table of orders, and the verdict's share of them, from the points themselves. */
static void spread_is_that_of_the_points(void)
{
    stats_rig *r = rig_open("spread", 2, false, N, S);
    const quant_scheme scheme = scheme_of("w8a8,act=static");
    quant_adequacy *c = run(r, &scheme, DRAWS, 3);
    char text[QUANT_ADEQUACY_VERDICT], want[96];
    for (size_t i = 0; i < c->count_n; i++) {
        quant_adequacy_spread s = quant_adequacy_spread_of(c, 0, i);
        size_t below[2] = {0, 0}, enough = 0;
        for (size_t k = 0; k < DRAWS; k++) {
            const quant_adequacy_point *p = quant_adequacy_draw(c, 0, k, i);
            CU_ASSERT(p->ratio >= s.ratio_least && p->ratio <= s.ratio_greatest);
            CU_ASSERT(p->scale_median >= s.scale_least && p->scale_median <= s.scale_greatest);
            CU_ASSERT(p->saturated >= s.saturated_least && p->saturated <= s.saturated_greatest);
            CU_ASSERT(p->unserved >= s.unserved_least && p->unserved <= s.unserved_most);
            below[0] += p->ratio <= s.ratio_median;
            below[1] += p->scale_median <= s.scale_median;
            enough += p->unserved == 0;
        }
        CU_ASSERT(below[0] >= DRAWS / 2 && below[1] >= DRAWS / 2);
        CU_ASSERT_EQUAL(s.enough, enough);
        if (i == (c->enough[0] < c->count_n - 1 ? c->enough[0] : c->count_n - 2)) {
            snprintf(want, sizeof want, "no input short in %zu of %d orders", enough, DRAWS);
        }
    }
    quant_adequacy_verdict(c, 0, text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, want));
    /* Extremes of all prompts do not know of their order. */
    CU_ASSERT(quant_adequacy_spread_of(c, 0, c->count_n - 1).ratio_least ==
              quant_adequacy_spread_of(c, 0, c->count_n - 1).ratio_greatest);
    quant_adequacy *other = run(r, &scheme, DRAWS, 4);
    CU_ASSERT(quant_adequacy_draw(c, 0, 1, 0)->scale_median !=
              quant_adequacy_draw(other, 0, 1, 0)->scale_median);
    quant_adequacy_free(r->ctx, other);
    quant_adequacy_free(r->ctx, c);
    rig_close(r);
}

/* ---- logits ---------------------------------------------------------------------------------- */

static const quant_scheme *pick(void *user, const quant_tensor *t)
{
    return t->shape.rank >= 2 ? user : NULL;
}

/* Rows of the held-out prompts by the ranges of the first n sequences. */
static void rows_by_hand(const stats_rig *r, const quant_scheme *scheme, uint64_t n,
                         quant_logits_row *rows)
{
    quant_stats *stats = NULL;
    quant_grids *grids = NULL;
    const quant_calibrate_options o = {.sequences = n};
    size_t vocab = (size_t)r->tiny->vocab, count = HELD * S * vocab;
    float *y = malloc(2 * count * sizeof *y);
    const int64_t *ids = r->ids + PROMPTS * S;
    CHECK_OK(r->ctx, quant_calibrate(r->ctx, r->model, &r->tokens, &o, NULL, &stats));
    CHECK_OK(r->ctx, quant_grids_of_stats(r->ctx, r->model, stats, &grids));
    quant_scheme mine = *scheme;
    const quant_forward_variant v[2] = {
        {.logits = y}, {.scheme = pick, .user = &mine, .grid = quant_grids_of, .grid_user = grids,
                        .logits = y + count}};
    CHECK_OK(r->ctx, quant_forward_run(r->ctx, r->model, &(quant_tokens){ids, HELD, S}, v, 2,
                                       NULL));
    for (size_t i = 0; i < HELD * S; i++) {
        rows[i] = quant_logits_compare(y + i * vocab, y + count + i * vocab, vocab,
                                       i % S + 1 < S ? ids[i + 1] : -1);
    }
    free(y);
    quant_grids_free(r->ctx, grids);
    quant_stats_close(r->ctx, stats);
}

static double mean_kl(const quant_logits_row *rows)
{
    double sum = 0;
    for (size_t i = 0; i < HELD * S; i++) {
        sum += rows[i].kl;
    }
    return sum / (HELD * S);
}

static void logits_are_runs_of_the_model(void)
{
    static const char *const texts[] = {"w8a8,act=static", "w4a8,asym,act=static"};
    for (uint64_t k = 0; k < 4; k++) {
        stats_rig *r = rig_open("logits", k, k % 2, N, S);
        const quant_scheme scheme = scheme_of(texts[k / 2]);
        quant_logits_row rows[HELD * S];
        quant_logits_summary s;
        char text[QUANT_ADEQUACY_VERDICT];
        bool good = true;
        quant_adequacy *c = run(r, &scheme, 0, k);
        rows_by_hand(r, &scheme, N, rows);
        double limit = mean_kl(rows);
        CU_ASSERT(near(c->logits_limit[0].kl, limit));
        CU_ASSERT(c->logits_limit[0].ratio == 1 && c->logits_limit[0].high == 1);
        for (size_t i = c->count_n; i-- > 0;) {
            const quant_adequacy_logits *l = &c->logits[0][i];
            rows_by_hand(r, &scheme, c->count[i], rows);
            CHECK_OK(NULL, quant_logits_summarize(NULL, rows, HELD, S, k, &s));
            CU_ASSERT(near(l->kl, s.kl_mean) && l->same_top == s.same_top);
            CU_ASSERT(near(l->perplexity, s.ratio) && near(l->perplexity_low, s.low) &&
                      near(l->perplexity_high, s.high));
            CU_ASSERT(near(l->ratio, mean_kl(rows) / limit));
            CU_ASSERT(l->low <= l->ratio && l->ratio <= l->high);
            CU_ASSERT_EQUAL(l->served, l->high <= 1.05 * 1.05);
            good = good && l->served && c->point[0][i].unreached == 0;
            CU_ASSERT_EQUAL(good, i >= c->logits_enough[0]);
        }
        quant_adequacy_verdict(c, 0, text);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "of the limit's, perplexity x "));
        quant_adequacy_free(r->ctx, c);
        rig_close(r);
    }
}

/* ---- all of it ------------------------------------------------------------------------------ */

static void threads_do_not_matter(void)
{
    for (uint64_t k = 0; k < 2; k++) {
        stats_rig *r = rig_open("curve threads", k, k % 2, 12, 200);
        const quant_scheme schemes[] = {scheme_of("w8a8,act=static,asym"),
                                        scheme_of("w4a8,act=static,obs=ema")};
        const quant_adequacy_options o = {.schemes = schemes, .scheme_count = 2, .error = 0.05,
                                          .draws = 3, .logits = true};
        quant_adequacy *one = NULL, *three = NULL;
        CHECK_OK(r->ctx, quant_adequacy_run(r->ctx, r->model, &r->tokens, &o, &one));
        quant_context_set_threads(r->ctx, 3);
        CHECK_OK(r->ctx, quant_adequacy_run(r->ctx, r->model, &r->tokens, &o, &three));
        size_t points = QUANT_SOURCE_COUNT * one->count_n;
        CU_ASSERT(memcmp(one->point, three->point, sizeof one->point) == 0 &&
                  memcmp(one->logits, three->logits, sizeof one->logits) == 0);
        for (size_t i = 0; i < points * one->input_count; i++) {
            CU_ASSERT_EQUAL(memcmp(&one->spectra[i], &three->spectra[i], 4 * 8), 0);
        }
        for (size_t i = 0; i < 2 * one->lanes * one->count_n * one->input_count; i++) {
            const quant_adequacy_cell *a = &one->cells[i], *b = &three->cells[i];
            CU_ASSERT(a->served == b->served && memcmp(&a->scale, &b->scale, 7 * 8) == 0);
        }
        quant_adequacy_free(r->ctx, one);
        quant_adequacy_free(r->ctx, three);
        rig_close(r);
    }
}

TEST_SUITE(calibrate_orders,
           {"orders are runs over prompts in that order",
            orders_are_runs_over_prompts_in_that_order},
           {"spread is that of the points", spread_is_that_of_the_points},
           {"logits are runs of the model", logits_are_runs_of_the_model},
           {"threads do not matter", threads_do_not_matter})
