/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_grids.c - static ranges from statistics of calibration: in the model, in compare, and of
 * another model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/calibrate.h"
#include "quant/lab/compare.h"
#include "quant/lab/grids.h"
#include "tests/lab_bank.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

enum { N = 4, S = 6 };

typedef struct rig {
    quant_context *ctx;
    tiny_model *tiny;
    quant_model *model;
    quant_stats *stats;
    int64_t ids[N * S];
} rig;

static void begin(rig *r, uint64_t k, bool moe)
{
    draw d = draw_begin("grids", k);
    r->ctx = quant_context_new(NULL);
    r->tiny = tiny_draw(r->ctx, &d, moe);
    for (int i = 0; i < N * S; i++) {
        r->ids[i] = draw_int(&d, 0, r->tiny->vocab - 1);
    }
    CHECK_OK(r->ctx, quant_model_open(r->ctx, r->tiny->folder, &r->model));
    CHECK_OK(r->ctx, quant_calibrate(r->ctx, r->model, &(quant_tokens){r->ids, N, S},
                                     &(quant_calibrate_options){.moments = false}, NULL,
                                     &r->stats));
}

static void end(rig *r)
{
    quant_stats_close(r->ctx, r->stats);
    quant_model_close(r->ctx, r->model);
    tiny_free(r->tiny);
    quant_context_free(r->ctx);
}

static const quant_scheme *pick(void *user, const quant_tensor *t)
{
    return t->shape.rank >= 2 ? user : NULL;
}

/* What quant_grids keeps, fitted anew each time. */
static bool fit_anew(void *user, quant_stage stage, uint64_t layer, size_t expert,
                     const quant_activation *how, const float *factors,
                     quant_activation_grid *grid)
{
    quant_site site;
    quant_stats_row row;
    return !factors && quant_site_of_stage(stage, &site) &&
           quant_stats_at(user, site, layer, expert, &row) && row.rows > 0 &&
           quant_observer_fit(NULL, row.observer, 0, how, grid) == QUANT_OK;
}

static void kept_grids_are_those_of_the_observers(void)
{
    static const char *const texts[] = {"w8a8,act=static", "w8a8,act=static,obs=mse",
                                        "w8a8,asym,act=static,obs=ema",
                                        "w4a8,act=static,obs=percentile:99"};
    for (int moe = 0; moe < 2; moe++) {
        rig r;
        quant_grids *grids = NULL;
        begin(&r, (uint64_t)moe, moe);
        CHECK_OK(r.ctx, quant_grids_of_stats(r.ctx, r.model, r.stats, &grids));
        size_t n = N * S * (size_t)r.tiny->vocab;
        float *y[2] = {malloc(n * sizeof **y), malloc(n * sizeof **y)};
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
            quant_scheme s;
            CHECK_OK(r.ctx, quant_scheme_parse(r.ctx, texts[i], &s));
            const quant_forward_variant v[2] = {
                {.scheme = pick, .user = &s, .grid = quant_grids_of, .grid_user = grids,
                 .logits = y[0]},
                {.scheme = pick, .user = &s, .grid = fit_anew, .grid_user = r.stats,
                 .logits = y[1]}};
            CHECK_OK(r.ctx, quant_forward_run(r.ctx, r.model, &(quant_tokens){r.ids, N, S}, v, 2,
                                              NULL));
            CU_ASSERT_EQUAL(memcmp(y[0], y[1], n * sizeof **y), 0);
        }
        free(y[0]);
        free(y[1]);
        quant_grids_free(r.ctx, grids);
        end(&r);
    }
}

static size_t asked;

static const quant_observer *count_asking(void *user, quant_stage stage, uint64_t layer,
                                          size_t expert)
{
    asked++;
    return stage == QUANT_STAGE_MIX && layer == 0 && expert == 0 ? user : NULL;
}

/* Each input is looked up once for each of eight rules, anew for the ninth. */
static void observers_are_asked_once(void)
{
    rig r;
    quant_grids *grids = NULL;
    quant_stats_row row;
    begin(&r, 2, false);
    CU_ASSERT_TRUE(quant_stats_at(r.stats, QUANT_SITE_MIX, 0, 0, &row));
    CHECK_OK(r.ctx, quant_grids_new(r.ctx, r.model, count_asking, (void *)(uintptr_t)row.observer,
                                    &grids));
    for (int rule = 0; rule < QUANT_GRIDS_RULES + 1; rule++) {
        const quant_activation how = {.kind = QUANT_ACTIVATION_STATIC,
                                      .rule = QUANT_OBSERVER_PERCENTILE, .percentile = 90 + rule};
        quant_activation_grid g[2], want;
        CHECK_OK(r.ctx, quant_observer_fit(r.ctx, row.observer, 0, &how, &want));
        asked = 0;
        for (int again = 0; again < 2; again++) {
            CU_ASSERT_TRUE(quant_grids_of(grids, QUANT_STAGE_MIX, 0, 0, &how, NULL, &g[again]));
            CU_ASSERT_EQUAL(g[again].scale, want.scale);
        }
        CU_ASSERT_EQUAL(asked, rule < QUANT_GRIDS_RULES ? 1 : 2);
        CU_ASSERT_FALSE(quant_grids_of(grids, QUANT_STAGE_ACTIVATION, 0, 0, &how, NULL, &want));
        CU_ASSERT_FALSE(quant_grids_of(grids, QUANT_STAGE_LOGITS, 0, 0, &how, NULL, &want));
        CU_ASSERT_FALSE(quant_grids_of(grids, QUANT_STAGE_MIX, 1u << 20, 0, &how, NULL, &want));
    }
    quant_grids_free(r.ctx, grids);
    end(&r);
}

static void statistics_of_another_model_are_refused(void)
{
    rig r, other;
    quant_grids *grids = NULL;
    begin(&r, 3, false);
    begin(&other, 4, false);
    CU_ASSERT_EQUAL(quant_grids_of_stats(r.ctx, r.model, other.stats, &grids), QUANT_ECHECKSUM);
    CU_ASSERT_PTR_NULL(grids);
    end(&other);
    end(&r);
}

/* Largest |w| of column j over roles that multiply one input. */
static double most_weight(const rig *r, const quant_role *roles, uint64_t layer, size_t j)
{
    double most = 0;
    for (int i = 0; i < 4; i++) {
        size_t index;
        const quant_tensor *t = quant_model_tensor(r->model, roles[i], layer, &index);
        size_t cols = t ? (size_t)t->shape.dim[t->shape.rank - 1] : 0, n = t ? t->elements : 0;
        float *w = malloc(n * sizeof *w + 1);
        if (t) {
            CHECK_OK(NULL, quant_bank_read_f32(NULL, quant_model_bank(r->model), index, 0, n, w));
        }
        for (size_t k = j; k < n; k += cols) {
            most = fmax(most, fabs((double)w[k]));
        }
        free(w);
    }
    return most;
}

static void smoothing_is_its_formula(void)
{
    static const quant_role roles[2][4] = {
        {QUANT_ROLE_Q, QUANT_ROLE_K, QUANT_ROLE_V, QUANT_ROLE_V},
        {QUANT_ROLE_GATE, QUANT_ROLE_UP, QUANT_ROLE_EXPERT_GATE, QUANT_ROLE_EXPERT_UP}};
    for (int moe = 0; moe < 2; moe++) {
        rig r;
        quant_grids *grids = NULL;
        quant_scheme scheme;
        begin(&r, 6 + (uint64_t)moe, moe);
        uint64_t last = quant_model_sizes_of(r.model)->layers - 1;
        CHECK_OK(r.ctx, quant_scheme_parse(r.ctx, "w8a8,act=static,smooth=0.6", &scheme));
        CHECK_OK(r.ctx, quant_grids_of_stats(r.ctx, r.model, r.stats, &grids));
        CU_ASSERT_PTR_NULL(quant_grids_smooth_of(grids, QUANT_ROLE_Q, 0, &scheme));
        CHECK_OK(r.ctx, quant_grids_smooth(r.ctx, grids, &scheme));
        for (int g = 0; g < 2; g++) {
            quant_stats_row row;
            const float *s = quant_grids_smooth_of(grids, roles[g][0], last, &scheme);
            quant_stats_at(r.stats, g ? QUANT_SITE_FFN_INPUT : QUANT_SITE_ATTENTION_INPUT, last, 0,
                           &row);
            double range = 0;
            for (size_t j = 0; s && j < row.cols; j++) {
                double x = fmax(-(double)row.observer->lowest[j], (double)row.observer->highest[j]);
                double want = pow(x, 0.6) / pow(most_weight(&r, roles[g], last, j), 0.4);
                CU_ASSERT(fabs((double)s[j] / want - 1) < 1e-6);
                range = fmax(range, x / want);
            }
            quant_activation_grid grid;
            CU_ASSERT_TRUE(quant_grids_of(grids, g ? QUANT_STAGE_FFN_INPUT
                                                   : QUANT_STAGE_ATTENTION_INPUT, last, 0,
                                          &scheme.activation, s, &grid));
            CU_ASSERT(fabs((double)grid.scale * 127 / range - 1) < 1e-5);
        }
        CU_ASSERT_PTR_NULL(quant_grids_smooth_of(grids, QUANT_ROLE_O, last, &scheme));
        CU_ASSERT_PTR_NULL(quant_grids_smooth_of(grids, QUANT_ROLE_DOWN, last, &scheme));
        quant_grids_free(r.ctx, grids);
        end(&r);
    }
}

/* compare takes the recorded range for real inputs, and never for seeded ones. */
static void compare_uses_what_was_recorded(void)
{
    rig r;
    quant_scheme s;
    begin(&r, 5, true);
    quant_stats_close(r.ctx, r.stats); /* names of tensors are known to a file's */
    r.stats = NULL;
    const char *path = test_scratch_path("grids.stats");
    const quant_calibrate_options once = {.replace = true};
    quant_stats *made = NULL;
    CHECK_OK(r.ctx, quant_calibrate(r.ctx, r.model, &(quant_tokens){r.ids, N, S}, &once, path,
                                    &made));
    quant_stats_close(r.ctx, made);
    CHECK_OK(r.ctx, quant_stats_open(r.ctx, path, &r.stats));
    CHECK_OK(r.ctx, quant_scheme_parse(r.ctx, "w8a8,stack=1,act=static", &s));
    quant_bank *bank = quant_model_bank(r.model);
    size_t i = 0;
    quant_stats_row row;
    while (i + 1 < quant_bank_count(bank) &&
           quant_stats_of_tensor(r.ctx, r.stats, quant_bank_tensor(bank, i)->name, 0, &row)) {
        i++;
    }
    float *x = lab_bank_normals(3, "x", 3 * row.cols, 1);
    const lab_bank_item item = {quant_bank_tensor(bank, i)->name, QUANT_F32, {2, {3, row.cols}}, x};
    quant_bank *inputs = lab_bank_make(r.ctx, "x.safetensors", &item, 1);
    for (int k = 0; k < 4; k++) {
        quant_compare_result *c = NULL;
        bool real = k & 1, given = k & 2;
        const quant_compare_options o = {.schemes = &s, .scheme_count = 1, .tensors = item.name,
                                         .probe = real ? 0 : 3, .inputs = real ? inputs : NULL,
                                         .stats = given ? r.stats : NULL};
        CHECK_OK(r.ctx, quant_compare(r.ctx, bank, &o, &c));
        CU_ASSERT_EQUAL(c->row_count, 1);
        CU_ASSERT_EQUAL(c->rows[0].own_ranges, !(real && given));
        quant_compare_free(r.ctx, c);
    }
    quant_bank_close(r.ctx, inputs);
    free(x);
    end(&r);
}

TEST_SUITE(grids,
           {"kept grids are those of the observers", kept_grids_are_those_of_the_observers},
           {"observers are asked once", observers_are_asked_once},
           {"statistics of another model are refused", statistics_of_another_model_are_refused},
           {"smoothing is its formula", smoothing_is_its_formula},
           {"compare uses what was recorded", compare_uses_what_was_recorded})
