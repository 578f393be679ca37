/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_sides.c - what layers inject by weights and by activations, against the ledgers of the whole
 * and of the weights alone, and against a run with activations alone. */
#include <math.h>
#include <string.h>

#include "quant/lab/propagate.h"
#include "tests/deep_model.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

enum { N = 3, S = 7, LAYERS = 4, MOST = 1 << 14 };

static quant_context *ctx;

static bool any_grid(void *user, quant_stage stage, uint64_t layer, size_t expert,
                     const quant_activation *how, const float *factors,
                     quant_activation_grid *grid)
{
    (void)user;
    (void)factors;
    (void)stage;
    (void)layer;
    (void)expert;
    *grid = quant_activation_grid_of(how->asymmetric, -3, 3);
    return true;
}

static quant_propagate_result *run(quant_model *model, const quant_tokens *tokens,
                                   const char *text, quant_scheme *parsed)
{
    quant_propagate_result *r = NULL;
    CHECK_OK(ctx, quant_scheme_parse(ctx, text, parsed));
    const quant_propagate_options o = {.schemes = parsed, .scheme_count = 1, .grid = any_grid};
    CHECK_OK(ctx, quant_propagate(ctx, model, tokens, &o, &r));
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    return r;
}

/* |f(W,x') - f(W,x)|^2 of every layer on the clean stream. */
typedef struct alone {
    float clean[LAYERS][MOST];
    double activations2[LAYERS];
} alone;

static quant_status look(void *user, const quant_stage_view *v)
{
    alone *a = user;
    size_t from = v->first_row * v->cols, n = v->rows * v->cols;
    for (size_t i = 0; i < n; i++) {
        double d = (double)v->data[i] - (double)a->clean[v->layer][from + i];
        a->activations2[v->layer] += v->variant == 1 ? d * d : 0;
        a->clean[v->layer][from + i] = v->variant == 0 ? v->data[i]
                                                       : a->clean[v->layer][from + i];
    }
    return QUANT_OK;
}

static const quant_scheme *pick(void *user, const quant_tensor *t)
{
    return t->shape.rank >= 2 ? user : NULL;
}

static void run_alone(quant_model *model, const quant_tokens *tokens, quant_scheme *s, alone *a)
{
    const quant_forward_variant v[2] = {
        {.scheme = NULL},
        {.scheme = pick, .user = s, .float_weights = true, .grid = any_grid, .follows = true}};
    const quant_forward_options o = {.stages = 1u << QUANT_STAGE_RESIDUAL, .visit = look,
                                     .user = a};
    memset(a, 0, sizeof *a);
    CHECK_OK(ctx, quant_forward_run(ctx, model, tokens, v, 2, &o));
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * fabs(b);
}

static void check(quant_model *model, const quant_tokens *tokens, const char *text,
                  const char *weights)
{
    static alone a;
    quant_scheme s, w;
    quant_propagate_result *whole = run(model, tokens, text, &s);
    quant_propagate_result *only = run(model, tokens, weights, &w);
    const quant_output_parts *sides = whole->columns[0].sides;
    run_alone(model, tokens, &s, &a);
    CU_ASSERT_PTR_NULL(only->columns[0].sides);
    CU_ASSERT_PTR_NOT_NULL_FATAL(sides);
    CU_ASSERT(sides[0].n == 0 && sides[whole->depths - 1].n == 0);
    for (uint64_t d = 1; d + 1 < whole->depths; d++) {
        quant_ledger_terms t = quant_ledger_pooled(&whole->columns[0].ledger, d,
                                                   QUANT_PLACE_STREAM);
        quant_ledger_terms u = quant_ledger_pooled(&only->columns[0].ledger, d,
                                                   QUANT_PLACE_STREAM);
        quant_output_shares h = quant_output_shares_of(&sides[d]);
        CU_ASSERT(sides[d].n == t.n && near(sides[d].clean2, t.clean2));
        CU_ASSERT(near(sides[d].error2, t.injected2));
        CU_ASSERT(near(sides[d].weights2, u.injected2));
        CU_ASSERT(near(sides[d].activations2, a.activations2[d - 1]));
        CU_ASSERT_DOUBLE_EQUAL(h.weights + h.activations + h.cross, 1, 1e-9);
        CU_ASSERT(sides[d].activations2 > 0 && sides[d].cross2 > 0);
    }
    quant_propagate_free(ctx, whole);
    quant_propagate_free(ctx, only);
}

static void sides_are_those_of_separate_runs(void)
{
    int64_t ids[N * S];
    ctx = quant_context_new(NULL);
    quant_model *model = deep_model_make(ctx, 3, LAYERS);
    deep_model_tokens(5, ids, N * S);
    check(model, &(quant_tokens){ids, N, S}, "w8a8", "int8:channel");
    check(model, &(quant_tokens){ids, N, S}, "w4a8,asym", "lut4:group=32,lut=int8");
    check(model, &(quant_tokens){ids, N, S}, "w8a8,act=static", "int8:channel");
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

static void experts_have_sides(void)
{
    int64_t ids[N * S];
    ctx = quant_context_new(NULL);
    draw d = draw_begin("sides of experts", 0);
    tiny_model *tiny = tiny_draw(ctx, &d, true);
    quant_model *model = NULL;
    quant_scheme s;
    for (int i = 0; i < N * S; i++) {
        ids[i] = draw_int(&d, 0, tiny->vocab - 1);
    }
    CHECK_OK(ctx, quant_model_open(ctx, tiny->folder, &model));
    quant_propagate_result *r = run(model, &(quant_tokens){ids, N, S}, "w8a8", &s);
    for (int l = 0; l < tiny->layers; l++) {
        quant_ledger_terms t = quant_ledger_pooled(&r->columns[0].ledger, (uint64_t)l + 1,
                                                   QUANT_PLACE_STREAM);
        CU_ASSERT(near(r->columns[0].sides[l + 1].error2, t.injected2));
    }
    quant_propagate_free(ctx, r);
    quant_model_close(ctx, model);
    tiny_free(tiny);
    quant_context_free(ctx);
}

TEST_SUITE(sides,
           {"sides are those of separate runs", sides_are_those_of_separate_runs},
           {"experts have sides", experts_have_sides})
