/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_smooth_search.c - smooth=search of whole models against its criterion in plain loops over
 * all alphas, against errors that are measured, and short of memory. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/encode.h"
#include "quant/lab/grids.h"
#include "quant/lab/smoothing.h"
#include "tests/short_memory.h"
#include "tests/stats_rig.h"
#include "tests/test.h"

enum { ALPHAS = 20, N = 5, S = 12, ODD = 1000 };

static const struct {
    quant_stage stage;
    quant_role roles[4];
} inputs[LAB_SMOOTH_GROUPS] = {
    {QUANT_STAGE_ATTENTION_INPUT,
     {QUANT_ROLE_Q, QUANT_ROLE_K, QUANT_ROLE_V, QUANT_ROLE_COUNT}},
    {QUANT_STAGE_FFN_INPUT,
     {QUANT_ROLE_GATE, QUANT_ROLE_UP, QUANT_ROLE_EXPERT_GATE, QUANT_ROLE_EXPERT_UP}}};

typedef struct rig {
    stats_rig *r;
    quant_stats *stats;
    quant_grids *grids;
    quant_scheme scheme;
    bool moments;
} rig;

/* Odd channels when k is ODD. */
static void begin(rig *g, uint64_t k, const char *text, bool moments)
{
    g->moments = moments;
    g->r = rig_open("smooth", k, k & 1, N, S);
    if (k == ODD) {
        rig_odd_channels(g->r);
    }
    const quant_calibrate_options o = {.moments = moments};
    CHECK_OK(g->r->ctx, quant_calibrate(g->r->ctx, g->r->model, &g->r->tokens, &o, NULL,
                                        &g->stats));
    CHECK_OK(g->r->ctx, quant_scheme_parse(g->r->ctx, text, &g->scheme));
    CHECK_OK(g->r->ctx, quant_grids_of_stats(g->r->ctx, g->r->model, g->stats, &g->grids));
    CHECK_OK(g->r->ctx, quant_grids_smooth(g->r->ctx, g->grids, &g->scheme));
}

static void end(rig *g)
{
    quant_grids_free(g->r->ctx, g->grids);
    quant_stats_close(g->r->ctx, g->stats);
    rig_close(g->r);
}

/* ---- the criterion in plain loops ------------------------------------------------------------ */

/* Step of the grid of an input whose channels are divided by factors, squared. */
static double plain_step2(const rig *g, const quant_stats_row *row, const float *factor)
{
    const quant_observer *o = row->observer;
    bool asym = g->scheme.activation.asymmetric;
    double lowest = 0, highest = 0, most = 0, square[256], n = (double)row->rows;
    for (size_t j = 0; j < row->cols; j++) {
        double f = (double)factor[j];
        lowest = fmin(lowest, (double)o->lowest[j] / f);
        highest = fmax(highest, (double)o->highest[j] / f);
        square[j] = row->square[j] / n / (f * f);
    }
    most = fmax(-lowest, highest);
    if (g->scheme.activation.kind == QUANT_ACTIVATION_TOKEN) {
        return lab_token_step2(square, row->cols, most, asym ? 127.5 : 127);
    }
    return asym ? pow((highest - lowest) / 255, 2) : pow(most / 127, 2);
}

/* Error and energy of one matrix w[rows][cols] under factors (NULL: 1). */
static void plain_matrix(const rig *g, const quant_stats_row *row, const float *w, size_t rows,
                         const float *factor, double sum[2])
{
    size_t cols = row->cols, n = rows * cols;
    const quant_shape shape = {2, {rows, cols}};
    quant_scheme s = quant_scheme_weights(&g->scheme);
    quant_layout layout;
    float *scaled = malloc(2 * n * sizeof *scaled), *copy = scaled + n;
    double *m = calloc(cols * cols, sizeof *m), step2 = plain_step2(g, row, factor);
    if (g->moments) {
        CHECK_OK(NULL, quant_stats_moments(NULL, g->stats, row, m));
    }
    for (size_t j = 0; j < cols && !g->moments; j++) {
        m[j * cols + j] = row->square[j];
    }
    for (size_t i = 0; i < n; i++) {
        scaled[i] = w[i] * factor[i % cols];
    }
    CHECK_OK(NULL, quant_encode_layout(NULL, &s, &shape, &layout));
    void *packed = malloc(layout.bytes);
    CHECK_OK(NULL, quant_encode(NULL, &s, &shape, scaled, packed, layout.bytes, NULL));
    CHECK_OK(NULL, quant_decode(NULL, &s, &shape, packed, layout.bytes, copy));
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < cols; i++) {
            double c = (double)(copy[r * cols + i] / factor[i]), f = (double)factor[i];
            double v = fmin(f * f * step2 / 12, row->square[i] / (double)row->rows);
            sum[0] += (double)row->rows * c * c * v;
            for (size_t j = 0; j < cols; j++) {
                double e = (double)(copy[r * cols + j] / factor[j]) - (double)w[r * cols + j];
                sum[0] += (c - (double)w[r * cols + i]) * e * m[i * cols + j];
                sum[1] += (double)w[r * cols + i] * (double)w[r * cols + j] * m[i * cols + j];
            }
        }
    }
    free(packed);
    free(m);
    free(scaled);
}

/* Every matrix that multiplies the input. */
static void plain_error(const rig *g, int group, uint64_t layer, const float *factor, double sum[2])
{
    sum[0] = sum[1] = 0;
    for (int i = 0; i < 4; i++) {
        size_t at;
        quant_role role = inputs[group].roles[i];
        const quant_tensor *t = role == QUANT_ROLE_COUNT
                                    ? NULL
                                    : quant_model_tensor(g->r->model, role, layer, &at);
        for (uint64_t e = 0; t && e < (t->shape.rank > 2 ? t->shape.dim[0] : 1); e++) {
            size_t rows = (size_t)t->shape.dim[t->shape.rank - 2];
            size_t n = rows * (size_t)t->shape.dim[t->shape.rank - 1];
            quant_stats_row row;
            quant_site site = t->shape.rank > 2 ? QUANT_SITE_EXPERT_INPUT
                              : group           ? QUANT_SITE_FFN_INPUT
                                                : QUANT_SITE_ATTENTION_INPUT;
            if (!quant_stats_at(g->stats, site, layer, e, &row) || row.rows == 0) {
                continue;
            }
            float *w = malloc(n * sizeof *w);
            CHECK_OK(NULL, quant_bank_read_f32(NULL, quant_model_bank(g->r->model), at, e * n, n,
                                               w));
            plain_matrix(g, &row, w, rows, factor, sum);
            free(w);
        }
    }
}

/* No alpha of the grid has a smaller error than the one chosen, and the figures are those of the
 * definition; factors of each alpha are those of smooth=ALPHA. */
static int wrong_choice(rig *g, const quant_smooth_choice *c)
{
    int group = c->input == QUANT_STAGE_FFN_INPUT, wrong = 0;
    float one[256];
    double sum[2], own[2] = {NAN, NAN}, least = INFINITY, found = 0;
    for (int i = 1; i <= ALPHAS; i++) {
        quant_scheme fixed = g->scheme;
        fixed.activation.smooth = i / 20.0;
        CHECK_OK(NULL, quant_grids_smooth(NULL, g->grids, &fixed));
        const float *factor = quant_grids_smooth_of(g->grids, inputs[group].roles[group ? 2 : 0],
                                                    c->layer, &fixed);
        plain_error(g, group, c->layer, factor, sum);
        if (sum[0] < least) {
            least = sum[0];
            found = i / 20.0;
        }
        if (i / 20.0 == c->alpha) {
            memcpy(own, sum, sizeof own);
            const float *mine = quant_grids_smooth_of(g->grids, inputs[group].roles[group ? 2 : 0],
                                                      c->layer, &g->scheme);
            size_t width = (size_t)quant_model_sizes_of(g->r->model)->width;
            wrong += memcmp(mine, factor, width * sizeof *mine) != 0;
        }
    }
    for (size_t j = 0; j < 256; j++) {
        one[j] = 1;
    }
    plain_error(g, group, c->layer, one, sum);
    wrong += !(own[0] <= least * (1 + 1e-9));
    wrong += found != c->alpha && !(fabs(own[0] / least - 1) < 1e-9);
    wrong += !(fabs(c->error / sqrt(own[0] / own[1]) - 1) < 1e-6);
    wrong += !(fabs(c->unsmoothed / sqrt(sum[0] / sum[1]) - 1) < 1e-6);
    return wrong;
}

static void no_alpha_is_better(void)
{
    static const char *const texts[] = {
        "w8a8,act=static,smooth=search", "w8a8,smooth=search", "w4a8,act=static,smooth=search",
        "w4a8,smooth=search", "w8a8,asym,smooth=search", "w8a8,asym,act=static,smooth=search"};
    const uint64_t most = test_is_long() ? 72 : 24, first = test_first_case();
    const uint64_t last = test_last_case() - first < most ? test_last_case() : first + most;
    for (uint64_t k = first; k < last; k++) {
        rig g;
        quant_smooth_choice c;
        size_t seen = 0;
        int wrong = 0;
        begin(&g, k, texts[k / 2 % 6], k / 12 % 2);
        for (; quant_grids_choice(g.grids, seen, &c); seen++) {
            wrong += wrong_choice(&g, &c);
            wrong += c.moments != g.moments || strcmp(c.scheme, texts[k / 2 % 6]) != 0;
        }
        wrong += seen != 2 * quant_model_sizes_of(g.r->model)->layers;
        CU_ASSERT_EQUAL(wrong, 0);
        if (wrong) {
            test_failed_case(k, "%s: %d of %zu choices wrong", texts[k / 2 % 6], wrong, seen);
        }
        end(&g);
    }
}

/* ---- figures --------------------------------------------------------------------------------- */

/* E max of n equal Gaussian squares: 1, and 1 + 2/pi for two. */
static void steps_of_tokens_are_known_expectations(void)
{
    static const double square[3] = {4, 4, 0};
    double pi = acos(-1);
    CU_ASSERT_DOUBLE_EQUAL(lab_token_step2(square, 1, 1e9, 1), 4, 4e-3);
    CU_ASSERT_DOUBLE_EQUAL(lab_token_step2(square, 2, 1e9, 1), 4 * (1 + 2 / pi), 5e-3);
    CU_ASSERT_EQUAL(lab_token_step2(square, 3, 1e9, 1), lab_token_step2(square, 2, 1e9, 1));
    CU_ASSERT_DOUBLE_EQUAL(lab_token_step2(square, 2, 1e9, 127) * 127 * 127,
                           lab_token_step2(square, 2, 1e9, 1), 1e-12);
    CU_ASSERT(lab_token_step2(square, 2, 1, 1) <= 1); /* no token goes beyond the extremes */
    CU_ASSERT_EQUAL(lab_token_step2(square + 2, 1, 1e9, 1), 0);
}

static void threads_do_not_matter(void)
{
    rig g;
    begin(&g, 3, "w4a8,smooth=search", true);
    quant_context *ctx = quant_context_new(NULL);
    quant_grids *again = NULL;
    quant_smooth_choice a, b;
    quant_context_set_threads(ctx, 3);
    CHECK_OK(ctx, quant_grids_of_stats(ctx, g.r->model, g.stats, &again));
    CHECK_OK(ctx, quant_grids_smooth(ctx, again, &g.scheme));
    size_t i = 0;
    for (; quant_grids_choice(g.grids, i, &a) && quant_grids_choice(again, i, &b); i++) {
        CU_ASSERT(a.alpha == b.alpha && a.error == b.error && a.unsmoothed == b.unsmoothed);
    }
    CU_ASSERT(i > 0 && !quant_grids_choice(again, i, &b));
    quant_grids_free(ctx, again);
    quant_context_free(ctx);
    end(&g);
}

/* ---- whether it tells the truth -------------------------------------------------------------- */

typedef struct film {
    const rig *g;
    float clean[2][N * S * 256]; /* gate, up of the layer at work */
    double error2[16], output2[16];
} film;

static quant_status look(void *user, const quant_stage_view *v)
{
    film *f = user;
    int which = v->stage == QUANT_STAGE_UP;
    float *clean = f->clean[which] + v->first_row * v->cols;
    for (size_t i = 0; i < v->rows * v->cols; i++) {
        double e = v->variant ? (double)v->data[i] - (double)clean[i] : 0;
        f->error2[v->layer] += e * e;
        f->output2[v->layer] += v->variant ? (double)clean[i] * (double)clean[i] : 0;
        clean[i] = v->variant ? clean[i] : v->data[i];
    }
    return QUANT_OK;
}

static const quant_scheme *gate_and_up(void *user, const quant_tensor *t)
{
    return strstr(t->name, "gate_proj") || strstr(t->name, "up_proj") ? user : NULL;
}

/* Recorded second moments predict what gate and up do on the very prompts: their channels are
 * correlated, roundings of 8 bits nearly not. */
static void moments_predict_what_is_measured(void)
{
    static const char *const texts[] = {"w8a8,act=static,smooth=search", "w8a8,smooth=search",
                                        "w4a8,act=static,smooth=search"};
    film *f = malloc(sizeof *f);
    for (uint64_t k = 0; k < 12; k++) {
        rig g;
        quant_smooth_choice c;
        begin(&g, 2 * k, texts[k % 3], true);
        memset(f, 0, sizeof *f);
        const quant_forward_variant v[2] = {
            {.scheme = NULL},
            {.scheme = gate_and_up, .user = &g.scheme, .grid = quant_grids_of,
             .smooth = quant_grids_smooth_of, .grid_user = g.grids, .follows = true}};
        const quant_forward_options o = {.visit = look, .user = f,
                                         .stages = 1u << QUANT_STAGE_GATE | 1u << QUANT_STAGE_UP};
        CHECK_OK(g.r->ctx, quant_forward_run(g.r->ctx, g.r->model, &g.r->tokens, v, 2, &o));
        for (size_t i = 0; quant_grids_choice(g.grids, i, &c); i++) {
            double measured = sqrt(f->error2[c.layer] / f->output2[c.layer]);
            bool good = c.input != QUANT_STAGE_FFN_INPUT ||
                        (c.error < 1.25 * measured && c.error > 0.8 * measured);
            CU_ASSERT(good);
            if (!good) {
                test_failed_case(k, "%s, layer %d: predicted %g, measured %g", c.scheme,
                                 (int)c.layer, c.error, measured);
            }
        }
        end(&g);
    }
    free(f);
}

/* ---- hostile channels ------------------------------------------------------------------------ */

static const quant_scheme *pick(void *user, const quant_tensor *t)
{
    return t->shape.rank >= 2 ? user : NULL;
}

/* A channel at 1e4 times the rest takes the range of all others; the search moves it away, and the
 * factors of channels that are zero or constant are as good as any. */
static void odd_channels_are_smoothed(void)
{
    static const char *const texts[] = {"w8a8,act=static,smooth=search", "w8a8,smooth=search",
                                        "w8a8,asym,act=static,smooth=search"};
    for (size_t i = 0; i < 3; i++) {
        rig g;
        quant_smooth_choice c;
        begin(&g, ODD, texts[i], true);
        size_t n = N * S * (size_t)g.r->tiny->vocab, bad = 0;
        float *logits = malloc(n * sizeof *logits);
        const float *s = quant_grids_smooth_of(g.grids, QUANT_ROLE_Q, 0, &g.scheme);
        CU_ASSERT(quant_grids_choice(g.grids, 0, &c) && c.error < 0.5 * c.unsmoothed);
        CU_ASSERT(s[0] > 50 * s[2] && s[1] == 1 && s[2] > 0);
        const quant_forward_variant v = {.scheme = pick, .user = &g.scheme, .grid = quant_grids_of,
                                         .smooth = quant_grids_smooth_of, .grid_user = g.grids,
                                         .logits = logits};
        CHECK_OK(g.r->ctx, quant_forward_run(g.r->ctx, g.r->model, &g.r->tokens, &v, 1, NULL));
        for (size_t k = 0; k < n; k++) {
            bad += isfinite(logits[k]) ? 0 : 1;
        }
        CU_ASSERT_EQUAL(bad, 0);
        free(logits);
        end(&g);
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

static const quant_observer *no_observer(void *user, quant_stage stage, uint64_t layer,
                                         size_t expert)
{
    (void)user;
    (void)stage;
    (void)layer;
    (void)expert;
    return NULL;
}

static void observers_alone_are_not_enough(void)
{
    rig g;
    quant_grids *bare = NULL;
    quant_smooth_choice c;
    begin(&g, 0, "w8a8,smooth=search", false);
    CHECK_OK(NULL, quant_grids_new(NULL, g.r->model, no_observer, NULL, &bare));
    CU_ASSERT_EQUAL(quant_grids_smooth(g.r->ctx, bare, &g.scheme), QUANT_EUNSUPPORTED);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(g.r->ctx), "statistics"));
    CU_ASSERT_FALSE(quant_grids_choice(bare, 0, &c));
    quant_grids_free(NULL, bare);
    end(&g);
}

static void short_memory_is_told(void)
{
    rig g;
    long calls = 0, step = 1;
    begin(&g, 1, "w4a8,smooth=search", true);
    for (long k = 0; k <= calls; k += step) { /* first with nothing missing, then a sample of all */
        short_memory r = {.fail_at = k > 0 ? k : -1};
        quant_context *ctx = short_memory_context(&r);
        quant_grids *grids = NULL;
        quant_status s = quant_grids_of_stats(ctx, g.r->model, g.stats, &grids);
        s = s == QUANT_OK ? quant_grids_smooth(ctx, grids, &g.scheme) : s;
        quant_grids_free(ctx, grids);
        quant_context_free(ctx);
        CU_ASSERT(s == (k > 0 ? QUANT_ENOMEM : QUANT_OK) && r.held == 0);
        if (k == 0) {
            calls = r.calls - 1;
            step = 1 + calls / (test_is_long() ? 300 : 50);
        }
    }
    CU_ASSERT(calls > 40);
    end(&g);
}

TEST_SUITE(smooth_search, {"no alpha of the grid is better", no_alpha_is_better},
           {"steps of tokens are known expectations", steps_of_tokens_are_known_expectations},
           {"threads do not matter", threads_do_not_matter},
           {"moments predict what is measured", moments_predict_what_is_measured},
           {"odd channels are smoothed", odd_channels_are_smoothed},
           {"observers alone are not enough", observers_alone_are_not_enough},
           {"short memory is told and leaks nothing", short_memory_is_told})
