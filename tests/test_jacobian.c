/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_jacobian.c - a layer by itself is the layer of the run; its Jacobian, column by column,
 * against what probes and power iteration say. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/propagate.h"
#include "tests/deep_model.h"
#include "tests/draw.h"
#include "tests/test.h"

enum { LAYERS = 3, S = 2, VALUES = S * DEEP_WIDTH };

static quant_context *ctx;

typedef struct streams {
    float at[LAYERS + 1][VALUES];
} streams;

static quant_status keep(void *user, const quant_stage_view *v)
{
    streams *k = user;
    memcpy(k->at[v->stage == QUANT_STAGE_EMBED ? 0 : v->layer + 1], v->data, sizeof k->at[0]);
    return QUANT_OK;
}

static void run_streams(quant_model *model, streams *k)
{
    int64_t ids[S];
    const quant_forward_variant v = {.scheme = NULL};
    const quant_forward_options o = {
        .visit = keep, .user = k,
        .stages = 1u << QUANT_STAGE_EMBED | 1u << QUANT_STAGE_RESIDUAL};
    deep_model_tokens(2, ids, S);
    CHECK_OK(ctx, quant_forward_run(ctx, model, &(quant_tokens){ids, 1, S}, &v, 1, &o));
}

/* Column c of J by differences that are not those of the library: one sided, Richardson. */
static void column(quant_block *b, const float *x, int c, double *out)
{
    float y[3][VALUES], moved[VALUES];
    double h[2];
    CU_ASSERT_EQUAL(quant_block_run(b, x, y[2]), QUANT_OK);
    for (int i = 0; i < 2; i++) {
        memcpy(moved, x, sizeof moved);
        moved[c] += i ? 0x1p-6f : 0x1p-7f;
        h[i] = (double)moved[c] - (double)x[c];
        CU_ASSERT_EQUAL(quant_block_run(b, moved, y[i]), QUANT_OK);
    }
    for (int i = 0; i < VALUES; i++) {
        double slope[2];
        for (int k = 0; k < 2; k++) {
            slope[k] = ((double)y[k][i] - (double)y[2][i]) / h[k];
        }
        out[i] = 2 * slope[0] - slope[1];
    }
}

/* Largest singular value by power iteration on J^T J, and |J|_F^2. */
static double true_norm(double j[VALUES][VALUES], double *frobenius2)
{
    double v[VALUES], y[VALUES], size = 0;
    *frobenius2 = 0;
    for (int i = 0; i < VALUES; i++) {
        v[i] = 1 + i % 3;
        for (int k = 0; k < VALUES; k++) {
            *frobenius2 += j[i][k] * j[i][k];
        }
    }
    for (int step = 0; step < 500; step++) {
        double sum = 0;
        for (int i = 0; i < VALUES; i++) {
            y[i] = 0;
            for (int c = 0; c < VALUES; c++) {
                y[i] += j[c][i] * v[c];
            }
        }
        for (int c = 0; c < VALUES; c++) {
            v[c] = 0;
            for (int i = 0; i < VALUES; i++) {
                v[c] += j[c][i] * y[i];
            }
            sum += v[c] * v[c];
        }
        size = sqrt(sqrt(sum));
        for (int c = 0; c < VALUES; c++) {
            v[c] /= sqrt(sum);
        }
    }
    return size;
}

static void block_is_the_layer(void)
{
    ctx = quant_context_new(NULL);
    for (uint64_t k = 0; k < 20; k++) {
        quant_model *model = deep_model_make(ctx, k, LAYERS);
        streams at;
        float y[VALUES];
        run_streams(model, &at);
        for (uint64_t l = 0; l < LAYERS; l++) {
            quant_block *b = NULL;
            CHECK_OK(ctx, quant_block_open(ctx, model, l, 1, S, &b));
            CHECK_OK(ctx, quant_block_run(b, at.at[l], y));
            CU_ASSERT_EQUAL(memcmp(y, at.at[l + 1], sizeof y), 0);
            quant_block_close(ctx, b);
        }
        quant_block *none;
        CU_ASSERT_EQUAL(quant_block_open(ctx, model, LAYERS, 1, S, &none), QUANT_EINVAL);
        CU_ASSERT_PTR_NULL(none);
        quant_model_close(ctx, model);
    }
    quant_context_free(ctx);
}

/* Richardson on steps of 1/128 leaves some parts in a thousand. Four probes of |J v|^2 scatter by
 * sqrt(2 / 4) over the root of the number of large singular values: within a factor of 2. */
static void norms_are_bounds(void)
{
    double tight = 0;
    ctx = quant_context_new(NULL);
    for (uint64_t k = 0; k < 20; k++) {
        quant_model *model = deep_model_make(ctx, 50 + k, LAYERS);
        streams at;
        quant_block *b = NULL;
        quant_jacobian got;
        double j[VALUES][VALUES], frobenius2;
        run_streams(model, &at);
        CHECK_OK(ctx, quant_block_open(ctx, model, 2, 1, S, &b));
        for (int c = 0; c < VALUES; c++) {
            column(b, at.at[2], c, j[c]);
        }
        double norm = true_norm(j, &frobenius2), gain = sqrt(frobenius2 / VALUES);
        CHECK_OK(ctx, quant_jacobian_measure(ctx, b, at.at[2], VALUES, k, &got));
        CU_ASSERT(got.norm <= norm * 1.02 && got.norm >= got.gain);
        CU_ASSERT(got.gain <= 2 * gain && got.gain >= gain / 2);
        tight += got.norm / norm / 20;
        quant_block_close(ctx, b);
        quant_model_close(ctx, model);
    }
    CU_ASSERT(tight > 0.7);
    quant_context_free(ctx);
}

/* The bundled mixture of experts on random streams: routes change under a perturbation of a few per
 * cent, and jump; frozen ones do not, and at x itself freezing changes nothing. */
static void frozen_routes(void)
{
    enum { POSITIONS = 64, MOST_WIDTH = 512 };
    quant_model *model = NULL;
    quant_block *b = NULL;
    ctx = quant_context_new(NULL);
    CHECK_OK(ctx, quant_model_open(ctx, "data/moe", &model));
    CU_ASSERT_FATAL(model && quant_model_sizes_of(model)->width <= MOST_WIDTH);
    size_t n = POSITIONS * (size_t)quant_model_sizes_of(model)->width;
    float *x = malloc(4 * n * sizeof *x), *moved = x + n, *y = moved + n, *z = y + n;
    draw d = draw_begin("frozen", 0);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)draw_normal(&d);
        moved[i] = x[i] + (float)draw_normal(&d) / 32;
    }
    CHECK_OK(ctx, quant_block_open(ctx, model, 9, 1, POSITIONS, &b));
    CHECK_OK(ctx, quant_block_run(b, x, y));
    CHECK_OK(ctx, quant_block_run(b, moved, z));
    CHECK_OK(ctx, quant_block_freeze(b, x));
    float *again = malloc(n * sizeof *again);
    CHECK_OK(ctx, quant_block_run(b, x, again));
    CU_ASSERT_EQUAL(memcmp(y, again, n * sizeof *y), 0);
    CHECK_OK(ctx, quant_block_run(b, moved, again));
    CU_ASSERT_NOT_EQUAL(memcmp(z, again, n * sizeof *z), 0);
    free(x);
    free(again);
    quant_block_close(ctx, b);
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

static void steps_are_the_formulas(void)
{
    quant_ledger l = {4, 1, calloc(4 * QUANT_PLACE_COUNT, sizeof *l.terms)};
    const double clean[] = {4, 9, 16}, injected[] = {0.04, 0.09, 0.64}; /* delta .1 .1 .2 */
    const quant_jacobian j[] = {{1.5, 3}, {2, 4}};
    quant_jacobian_growth e = {7, 7};
    for (size_t d = 0; d < 3; d++) {
        l.terms[d * QUANT_PLACE_COUNT + QUANT_PLACE_STREAM] = (quant_ledger_terms){
            .n = 1, .clean2 = clean[d], .injected2 = injected[d]};
    }
    e = quant_jacobian_step(&l, j, 0, e);
    CU_ASSERT(fabs(e.by_gain - 0.1) < 1e-15 && fabs(e.by_norm - 0.1) < 1e-15);
    e = quant_jacobian_step(&l, j, 1, e); /* 1.5 * 2/3 * .1 = .1; 3 * 2/3 * .1 = .2 */
    CU_ASSERT(fabs(e.by_gain - sqrt(0.02)) < 1e-15 && fabs(e.by_norm - 0.3) < 1e-15);
    e = quant_jacobian_step(&l, j, 2, e); /* 2 * 3/4 = 1.5; 4 * 3/4 = 3 */
    CU_ASSERT(fabs(e.by_gain - sqrt(2.25 * 0.02 + 0.04)) < 1e-15);
    CU_ASSERT(fabs(e.by_norm - 1.1) < 1e-15);
    free(l.terms);
}

/* Errors of 8-bit weights are small and have no direction, which is what gains are about: after
 * three layers the prediction is within a factor of 2 on every model, on average within 15 %. */
static void gains_predict_small_errors(void)
{
    double mean = 0;
    ctx = quant_context_new(NULL);
    quant_scheme scheme;
    CHECK_OK(ctx, quant_scheme_parse(ctx, "int8:tensor", &scheme));
    for (uint64_t k = 0; k < 20; k++) {
        quant_model *model = deep_model_make(ctx, 90 + k, LAYERS);
        int64_t ids[24];
        quant_propagate_result *r = NULL;
        const quant_propagate_options o = {.schemes = &scheme, .scheme_count = 1,
                                           .jacobians = true};
        deep_model_tokens(k, ids, 24);
        CHECK_OK(ctx, quant_propagate(ctx, model, &(quant_tokens){ids, 6, 4}, &o, &r));
        const quant_ledger *l = &r->columns[0].ledger;
        quant_jacobian_growth e = {0, 0};
        for (uint64_t d = 0; d <= LAYERS; d++) {
            e = quant_jacobian_step(l, r->jacobians, d, e);
        }
        quant_ledger_terms last = quant_ledger_pooled(l, LAYERS, QUANT_PLACE_STREAM);
        double off = log(e.by_gain / quant_ledger_error(&last));
        CU_ASSERT(fabs(off) < log(2) && e.by_norm > e.by_gain);
        mean += off / 20;
        quant_propagate_free(ctx, r);
        quant_model_close(ctx, model);
    }
    CU_ASSERT(fabs(mean) < 0.15);
    quant_context_free(ctx);
}

TEST_SUITE(jacobian, {"a block is the layer of the run", block_is_the_layer},
           {"norms are lower bounds of the norm, gains near the gain", norms_are_bounds},
           {"frozen routes stay", frozen_routes},
           {"steps are the formulas", steps_are_the_formulas},
           {"gains predict small errors", gains_predict_small_errors})
