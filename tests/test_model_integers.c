/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_model_integers.c - every quantized product of a model against a simulation with integer
 * operands in double, read off what the pass shows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/gemm.h"
#include "quant/model/forward.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

enum { MOST = 1 << 16 };

/* Outputs that are shown as they come out of a product, and their inputs. */
static const struct {
    quant_stage input, output;
    quant_role role;
} products[] = {
    {QUANT_STAGE_ATTENTION_INPUT, QUANT_STAGE_V, QUANT_ROLE_V},
    {QUANT_STAGE_MIX, QUANT_STAGE_O, QUANT_ROLE_O},
    {QUANT_STAGE_FFN_INPUT, QUANT_STAGE_GATE, QUANT_ROLE_GATE},
    {QUANT_STAGE_FFN_INPUT, QUANT_STAGE_UP, QUANT_ROLE_UP},
    {QUANT_STAGE_ACTIVATION, QUANT_STAGE_DOWN, QUANT_ROLE_DOWN},
    {QUANT_STAGE_EXPERT_INPUT, QUANT_STAGE_EXPERT_GATE, QUANT_ROLE_EXPERT_GATE},
    {QUANT_STAGE_EXPERT_INPUT, QUANT_STAGE_EXPERT_UP, QUANT_ROLE_EXPERT_UP},
    {QUANT_STAGE_EXPERT_ACTIVATION, QUANT_STAGE_EXPERT_DOWN, QUANT_ROLE_EXPERT_DOWN},
};
enum { PRODUCTS = sizeof products / sizeof *products };

typedef struct judge {
    const quant_model *model;
    quant_scheme scheme;
    float input[QUANT_STAGE_COUNT][MOST];
    size_t checked[PRODUCTS];
    int wrong, unexpected;
} judge;

static bool grid_of(void *user, quant_stage stage, uint64_t layer, size_t expert,
                    const quant_activation *how, const float *factors,
                    quant_activation_grid *grid)
{
    (void)user;
    float most = 0.4f + 0.1f * (float)stage + 0.2f * (float)layer + 0.05f * (float)expert;
    most *= factors ? factors[1] : 1;
    *grid = quant_activation_grid_of(how->asymmetric, -most, 0.8f * most);
    return expert != 1; /* of that one nothing is known */
}

/* Factors of roles whose inputs come out of a norm. */
static const float *smooth_of(void *user, quant_role role, uint64_t layer,
                              const quant_scheme *scheme)
{
    const quant_activation *how = &scheme->activation;
    static float factor[MOST];
    (void)user;
    bool normed = role == QUANT_ROLE_Q || role == QUANT_ROLE_K || role == QUANT_ROLE_V ||
                  role == QUANT_ROLE_GATE || role == QUANT_ROLE_UP ||
                  role == QUANT_ROLE_EXPERT_GATE || role == QUANT_ROLE_EXPERT_UP;
    for (size_t i = 0; i < MOST; i++) {
        factor[i] = (float)how->smooth * (1.5f + (float)(i % 5)) + 0.01f * (float)layer;
    }
    return how->smooth > 0 && normed ? factor : NULL;
}

/* Integers of matrix `expert` of a tensor, from the bank. */
static void weights_of(const judge *j, quant_role role, uint64_t layer, uint64_t expert,
                       const quant_integer_weights *w)
{
    size_t at;
    const quant_tensor *t = quant_model_tensor(j->model, role, layer, &at);
    quant_scheme s = quant_scheme_weights(&j->scheme);
    quant_layout layout;
    float *values = malloc(t->elements * sizeof *values);
    s.stack = t->shape.rank - 2;
    CHECK_OK(NULL, quant_bank_read_f32(NULL, quant_model_bank(j->model), at, 0, t->elements,
                                       values));
    const float *factor = smooth_of(NULL, role, layer, &j->scheme);
    for (size_t i = 0; factor && i < t->elements; i++) {
        values[i] *= factor[i % t->shape.dim[t->shape.rank - 1]];
    }
    CHECK_OK(NULL, quant_encode_layout(NULL, &s, &t->shape, &layout));
    void *packed = malloc(layout.bytes);
    CHECK_OK(NULL, quant_encode(NULL, &s, &t->shape, values, packed, layout.bytes, NULL));
    CHECK_OK(NULL, quant_weights_s8(NULL, &s, &t->shape, packed, layout.bytes, expert, w));
    free(packed);
    free(values);
}

/* One token: its codes, then every output as an exact sum in double. */
static int wrong_row(const judge *j, const quant_stage_view *v, int product, const float *x,
                     const quant_integer_weights *w, size_t k, const float *y)
{
    static int8_t code[MOST], zero[1];
    float scale[1];
    const quant_activation *how = &j->scheme.activation;
    quant_activation_grid grid;
    quant_activation_codes a = {code, scale, zero, 0};
    const float *factor = smooth_of(NULL, products[product].role, v->layer, &j->scheme);
    bool fixed = how->kind == QUANT_ACTIVATION_STATIC &&
                 grid_of(NULL, products[product].input, v->layer, v->expert, how, factor, &grid);
    int wrong = 0;
    static float v_smooth[MOST];
    for (size_t i = 0; i < k; i++) {
        v_smooth[i] = factor ? x[i] / factor[i] : x[i];
    }
    CHECK_OK(NULL, quant_activation_encode(NULL, how, fixed ? &grid : NULL, v_smooth, 1, k, &a));
    for (size_t o = 0; o < v->cols; o++) {
        double sum = 0;
        for (size_t i = 0; i < k; i++) {
            sum += ((double)code[i] - zero[0]) * (double)w->code[o * k + i];
        }
        wrong += y[o] != (float)((double)scale[0] * (double)w->scale[o] * sum);
    }
    return wrong;
}

static void check_product(judge *j, const quant_stage_view *v, int product)
{
    static int8_t code[MOST];
    static float scale[MOST];
    const quant_integer_weights w = {code, scale};
    const quant_tensor *t = quant_model_tensor(j->model, products[product].role, v->layer, NULL);
    size_t k = (size_t)t->shape.dim[t->shape.rank - 1];
    weights_of(j, products[product].role, v->layer, v->expert, &w);
    for (size_t r = 0; r < v->rows; r++) {
        j->wrong += wrong_row(j, v, product, j->input[products[product].input] + r * k, &w, k,
                              v->data + r * v->cols);
    }
    j->checked[product] += v->rows;
}

static quant_status look(void *user, const quant_stage_view *v)
{
    judge *j = user;
    for (int p = 0; p < PRODUCTS; p++) {
        if (products[p].input == v->stage) {
            memcpy(j->input[v->stage], v->data, v->rows * v->cols * sizeof *v->data);
        } else if (products[p].output == v->stage) {
            check_product(j, v, p);
        }
    }
    return QUANT_OK;
}

static uint32_t all_stages(void)
{
    uint32_t stages = 0;
    for (int p = 0; p < PRODUCTS; p++) {
        stages |= 1u << products[p].input | 1u << products[p].output;
    }
    return stages;
}

static const quant_scheme *pick(void *user, const quant_tensor *t)
{
    return t->shape.rank >= 2 ? user : NULL;
}

static void every_product_is_its_simulation(void)
{
    static const char *const texts[] = {"w8a8", "w4a8", "w8a8,asym,act=static", "w8a8,act=static",
                                        "w4a8,asym", "w8a8,smooth=0.5", "w4a8,asym,smooth=0.7",
                                        "w8a8,act=static,smooth=0.9"};
    judge *j = calloc(1, sizeof *j);
    for (uint64_t c = test_first_case(); c < test_last_case(); c += 50) {
        quant_context *ctx = quant_context_new(NULL);
        draw d = draw_begin("model integers", c);
        bool moe = c / 50 / 8 % 2;
        tiny_model *tiny = tiny_draw(ctx, &d, moe);
        int64_t ids[24];
        quant_model *model = NULL;
        for (int i = 0; i < 24; i++) {
            ids[i] = draw_int(&d, 0, tiny->vocab - 1);
        }
        memset(j, 0, sizeof *j);
        CHECK_OK(ctx, quant_scheme_parse(ctx, texts[c / 50 % 8], &j->scheme));
        CHECK_OK(ctx, quant_model_open(ctx, tiny->folder, &model));
        j->model = model;
        quant_context_set_threads(ctx, 1 + (int)(c / 50 % 3));
        const quant_forward_variant v = {.scheme = pick, .user = &j->scheme, .grid = grid_of,
                                         .smooth = smooth_of};
        const quant_forward_options o = {.visit = look, .user = j, .stages = all_stages()};
        CHECK_OK(ctx, quant_forward_run(ctx, model, &(quant_tokens){ids, 3, 8}, &v, 1, &o));
        CU_ASSERT_EQUAL(j->wrong, 0);
        for (int p = 0; p < PRODUCTS; p++) {
            bool of_expert = products[p].output == QUANT_STAGE_EXPERT_GATE || p > 5;
            CU_ASSERT_EQUAL(j->checked[p] > 0, !of_expert || moe);
        }
        if (j->wrong) {
            test_failed_case(c, "%s: %d outputs differ", texts[c / 50 % 8], j->wrong);
        }
        quant_model_close(ctx, model);
        tiny_free(tiny);
        quant_context_free(ctx);
    }
    free(j);
}

/* Weights only is the scheme of the weights; activations only of weights that are their own copies
 * is the whole. */
static void sides_can_be_run_alone(void)
{
    quant_context *ctx = quant_context_new(NULL);
    draw d = draw_begin("sides", 0);
    tiny_model *tiny = tiny_draw(ctx, &d, false);
    quant_model *model = NULL;
    quant_scheme whole, weights;
    int64_t ids[8] = {0, 1, 2, 3, 1, 0, 2, 1};
    size_t n = 8 * (size_t)tiny->vocab;
    float *y[4];
    CHECK_OK(ctx, quant_scheme_parse(ctx, "w8a8", &whole));
    CHECK_OK(ctx, quant_scheme_parse(ctx, "int8:channel", &weights));
    CHECK_OK(ctx, quant_model_open(ctx, tiny->folder, &model));
    for (int i = 0; i < 4; i++) {
        y[i] = malloc(n * sizeof **y);
    }
    const quant_forward_variant v[4] = {
        {.scheme = pick, .user = &whole, .logits = y[0]},
        {.scheme = pick, .user = &whole, .float_activations = true, .logits = y[1]},
        {.scheme = pick, .user = &weights, .logits = y[2]},
        {.scheme = pick, .user = &whole, .float_weights = true, .logits = y[3]}};
    CHECK_OK(ctx, quant_forward_run(ctx, model, &(quant_tokens){ids, 1, 8}, v, 4, NULL));
    CU_ASSERT_EQUAL(memcmp(y[1], y[2], n * sizeof **y), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(y[0], y[1], n * sizeof **y), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(y[0], y[3], n * sizeof **y), 0);
    CU_ASSERT_NOT_EQUAL(memcmp(y[1], y[3], n * sizeof **y), 0);
    quant_scheme fixed;
    CHECK_OK(ctx, quant_scheme_parse(ctx, "w8a8,act=static", &fixed));
    const quant_forward_variant lost = {.scheme = pick, .user = &fixed};
    CU_ASSERT_EQUAL(quant_forward_run(ctx, model, &(quant_tokens){ids, 1, 8}, &lost, 1, NULL),
                    QUANT_EINVAL);
    for (int i = 0; i < 4; i++) {
        free(y[i]);
    }
    quant_model_close(ctx, model);
    tiny_free(tiny);
    quant_context_free(ctx);
}

/* A gain that is NaN makes an input NaN at every position. */
static void a_nan_is_refused_with_layer_and_position(void)
{
    quant_context *ctx = quant_context_new(NULL);
    draw d = draw_begin("nan", 0);
    tiny_model *tiny = tiny_draw(ctx, &d, false);
    quant_model *model = NULL;
    quant_scheme s;
    int64_t ids[4] = {0, 1, 2, 3};
    CHECK_OK(ctx, quant_scheme_parse(ctx, "w8a8", &s));
    for (size_t i = 0; i < tiny->count; i++) {
        if (strstr(tiny->t[i].name, "layers.0.post_attention_layernorm")) {
            tiny->t[i].w[2] = NAN;
        }
    }
    tiny_weights(ctx, tiny, SIZE_MAX);
    CHECK_OK(ctx, quant_model_open(ctx, tiny->folder, &model));
    const quant_forward_variant v = {.scheme = pick, .user = &s};
    CU_ASSERT_EQUAL(quant_forward_run(ctx, model, &(quant_tokens){ids, 2, 2}, &v, 1, NULL),
                    QUANT_ENONFINITE);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "layer 0, ffn_input, sequence 0, "
                                  "position 0, channel 2: expected a finite input, found"));
    quant_model_close(ctx, model);
    tiny_free(tiny);
    quant_context_free(ctx);
}

TEST_SUITE(model_integers,
           {"every product is its simulation", every_product_is_its_simulation},
           {"sides can be run alone", sides_can_be_run_alone},
           {"a NaN is refused with layer and position", a_nan_is_refused_with_layer_and_position})
