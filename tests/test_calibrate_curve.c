/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_calibrate_curve.c - cells of the curve against a plain computation, verdicts on planted
 * cases. */
#include "quant/lab/calibrate_curve.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/encode.h"
#include "quant/lab/adapt_lapacke.h"
#include "tests/short_memory.h"
#include "tests/stats_rig.h"
#include "tests/test.h"

static quant_scheme scheme_of(const char *text)
{
    quant_scheme s;
    CHECK_OK(NULL, quant_scheme_parse(NULL, text, &s));
    return s;
}

static quant_adequacy *run_curve(stats_rig *r, const quant_adequacy_options *o)
{
    quant_adequacy *c = NULL;
    CHECK_OK(r->ctx, quant_adequacy_run(r->ctx, r->model, &r->tokens, o, &c));
    return c;
}

/* Write changed weights and open the model again. */
static void rewrite(stats_rig *r)
{
    quant_model_close(r->ctx, r->model);
    tiny_weights(r->ctx, r->tiny, SIZE_MAX);
    CHECK_OK(r->ctx, quant_model_open(r->ctx, r->tiny->folder, &r->model));
}

static tiny_tensor *tensor_of(stats_rig *r, const char *name)
{
    for (size_t t = 0; t < r->tiny->count; t++) {
        if (strcmp(r->tiny->t[t].name, name) == 0) {
            return &r->tiny->t[t];
        }
    }
    return NULL;
}

/* ---- eigenvalues ----------------------------------------------------------------------------- */

/* Their sum and the sum of their squares are trace and squared norm; 2 x 2 in closed form. */
static void eigenvalues_keep_trace_and_norm(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 4) {
        draw d = draw_begin("eigenvalues", k);
        size_t n = (size_t)draw_int(&d, 1, 24);
        double m[24 * 24], values[24], trace = 0, norm = 0, sum = 0, squares = 0;
        for (size_t i = 0; i < n; i++) {
            for (size_t j = i; j < n; j++) {
                m[i * n + j] = draw_normal(&d);
                m[j * n + i] = j > i ? 1e6 : m[i * n + i]; /* below is not looked at */
                norm += (i == j ? 1 : 2) * m[i * n + j] * m[i * n + j];
            }
            trace += m[i * n + i];
        }
        double a = m[0], b = n > 1 ? m[1] : 0, c = n > 1 ? m[n + 1] : 0;
        CHECK_OK(NULL, lab_eigenvalues(NULL, m, n, values));
        int ascending = 1;
        for (size_t i = 0; i < n; i++) {
            sum += values[i];
            squares += values[i] * values[i];
            ascending = ascending && (i == 0 || values[i] >= values[i - 1]);
        }
        CU_ASSERT(ascending && fabs(sum - trace) <= 1e-12 * (double)n * sqrt(norm));
        CU_ASSERT(fabs(squares - norm) <= 1e-12 * (double)n * norm);
        if (n == 2) {
            double want = (a + c) / 2 - hypot((a - c) / 2, b);
            CU_ASSERT(fabs(values[0] - want) <= 1e-14 * sqrt(norm));
        }
    }
}

/* ---- against a plain computation ------------------------------------------------------------- */

/* Rows that o of layer 0 multiplies, sequence after sequence. */
typedef struct rows {
    float *x;
    size_t cols;
} rows;

static quant_status keep_mix(void *user, const quant_stage_view *v)
{
    rows *k = user;
    if (v->layer == 0) {
        memcpy(k->x + v->first_row * v->cols, v->data, v->rows * v->cols * sizeof *v->data);
    }
    return QUANT_OK;
}

static float absmax_of(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    return most;
}

static float coded(float x, float scale)
{
    return fminf(fmaxf(rintf(x / scale), -127), 127);
}

/* Squared error of W' Q(x) and of W x, over rows. */
static void plain_error(const tiny_tensor *w, const float *copy, const float *x, size_t n,
                        float scale, double *error2, double *output2)
{
    size_t out = (size_t)w->shape.dim[0], in = (size_t)w->shape.dim[1];
    for (size_t r = 0; r < n; r++) {
        for (size_t i = 0; i < out; i++) {
            double y = 0, got = 0;
            for (size_t c = 0; c < in; c++) {
                double q = scale > 0 ? (double)(scale * coded(x[r * in + c], scale))
                                     : (double)x[r * in + c];
                y += (double)w->w[i * in + c] * (double)x[r * in + c];
                got += (double)copy[i * in + c] * q;
            }
            *error2 += (got - y) * (got - y);
            *output2 += y * y;
        }
    }
}

static float *decoded(const tiny_tensor *w, const quant_scheme *scheme)
{
    quant_scheme weights = quant_scheme_weights(scheme);
    quant_layout layout;
    uint8_t *packed = encode_new(NULL, &weights, &w->shape, w->w, &layout, NULL);
    float *copy = malloc(w->count * sizeof *copy);
    CHECK_OK(NULL, quant_decode(NULL, &weights, &w->shape, packed, layout.bytes, copy));
    free(packed);
    return copy;
}

/* Everything of one cell once more: prompts 0..8, held out 9..11, and k of them calibrate. */
static bool cell_agrees(stats_rig *r, const quant_adequacy *c, const rows *x, size_t count,
                        const float *copy)
{
    const tiny_tensor *w = tensor_of(r, "model.layers.0.self_attn.o_proj.weight");
    size_t each = r->tokens.s * x->cols, k = (size_t)c->count[count], n = 3 * each, input = 0;
    const float *held = x->x + 9 * each;
    float scale = absmax_of(x->x, k * each) / 127, all = absmax_of(x->x, 9 * each) / 127;
    float limit = absmax_of(x->x, 12 * each) / 127;
    double error2 = 0, limit2 = 0, output2 = 0, saturated = 0, flipped = 0, twice = 0;
    while (c->inputs[input].site != QUANT_SITE_MIX) {
        input++;
    }
    for (size_t i = 0; i < n; i++) {
        saturated += fabsf(rintf(held[i] / scale)) > 127;
        flipped += coded(held[i], scale) != coded(held[i], all);
    }
    plain_error(w, copy, held, 3 * r->tokens.s, limit, &limit2, &twice);
    plain_error(w, copy, held, 3 * r->tokens.s, scale, &error2, &output2);
    const quant_adequacy_cell *got = quant_adequacy_at(c, 0, QUANT_SOURCE_PROMPTS, count, input);
    return got->reached && got->scale == (double)scale / (double)all &&
           got->saturated == saturated / (double)n && got->flipped == flipped / (double)n &&
           fabs(got->error - sqrt(error2 / output2)) <= 1e-4 * got->error &&
           fabs(got->ratio - sqrt(error2 / limit2)) <= 1e-4 * got->ratio &&
           got->low <= got->ratio && got->ratio <= got->high &&
           c->inputs[input].elements == n;
}

static void cells_are_what_a_plain_computation_gives(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 50) {
        stats_rig *r = rig_open("cells", k, k / 50 % 2, 12, 20 + k % 40);
        const quant_scheme scheme = scheme_of(k % 100 ? "w8a8,act=static" : "w4a8,act=static");
        const quant_adequacy_options o = {.schemes = &scheme, .scheme_count = 1, .error = 0.05,
                                       .saturation = 1e-4, .held_out = 3, .first_held_out = 9};
        rows x = {NULL, (size_t)(r->tiny->heads * r->tiny->head_dim)};
        x.x = malloc(r->tokens.n * r->tokens.s * x.cols * sizeof *x.x);
        const quant_forward_variant v = {.scheme = NULL};
        const quant_forward_options f = {.stages = 1u << QUANT_STAGE_MIX, .visit = keep_mix,
                                         .user = &x};
        CHECK_OK(r->ctx, quant_forward_run(r->ctx, r->model, &r->tokens, &v, 1, &f));
        quant_adequacy *c = run_curve(r, &o);
        float *copy = decoded(tensor_of(r, "model.layers.0.self_attn.o_proj.weight"), &scheme);
        CU_ASSERT(c && c->count_n == 5 && c->count[3] == 8 && c->count[4] == 9 && !c->by_sequence);
        for (size_t i = 0; c && i < c->count_n; i++) {
            bool good = cell_agrees(r, c, &x, i, copy);
            CU_ASSERT(good);
            if (!good) {
                test_failed_case(k, "%d sequences", (int)c->count[i]);
            }
        }
        free(copy);
        free(x.x);
        quant_adequacy_free(r->ctx, c);
        rig_close(r);
    }
}

/* ---- planted -------------------------------------------------------------------------------- */

/* Token 1 drives channel 0 of layer 0's input to a thousand times the rest; `seen` is the sequence
 * of the prompts that holds it, held-out ones do. */
static quant_adequacy *planted(stats_rig *r, const quant_adequacy_options *o, size_t seen)
{
    tiny_tensor *embed = tensor_of(r, "model.embed_tokens.weight");
    tiny_tensor *norm = tensor_of(r, "model.layers.0.input_layernorm.weight");
    size_t width = (size_t)r->tiny->width;
    for (size_t i = 0; i < embed->count; i += width) {
        embed->w[i] = i == width ? 1.0f : 0.0f;
    }
    norm->w[0] = 1000;
    rewrite(r);
    for (size_t i = 0; i < r->tokens.n * r->tokens.s; i++) {
        bool holds = i / r->tokens.s == seen || i / r->tokens.s >= 10;
        r->ids[i] = r->ids[i] == 1 ? 0 : r->ids[i];
        r->ids[i] = holds && i % 7 == 3 ? 1 : r->ids[i];
    }
    return run_curve(r, o);
}

static void a_rare_token_makes_it_not_enough(void)
{
    static const size_t seen[] = {SIZE_MAX, 3};
    for (int i = 0; i < 2; i++) {
        stats_rig *r = rig_open("planted", 11, false, 12, 30);
        const quant_scheme scheme = scheme_of("w8a8,act=static");
        const quant_adequacy_options o = {.schemes = &scheme, .scheme_count = 1, .error = 0.05,
                                       .saturation = 0.01, .held_out = 2, .first_held_out = 10};
        char text[QUANT_ADEQUACY_VERDICT];
        quant_adequacy *c = planted(r, &o, seen[i]);
        const quant_adequacy_cell *first = quant_adequacy_at(c, 0, QUANT_SOURCE_PROMPTS, 0, 0);
        quant_adequacy_verdict(c, 0, text);
        CU_ASSERT(!first->served && first->ratio > 1.5 && first->saturated > 0.001);
        if (i == 0) {
            CU_ASSERT_EQUAL(c->enough[0], c->count_n);
            CU_ASSERT_PTR_NOT_NULL(strstr(text, "not enough: 10 sequences leave"));
            CU_ASSERT_PTR_NOT_NULL(strstr(text, "layer 0 attention_input x "));
        } else { /* the fourth sequence has it: 5 are enough for that input, 2 are not */
            CU_ASSERT(!quant_adequacy_at(c, 0, QUANT_SOURCE_PROMPTS, 1, 0)->served);
            CU_ASSERT(quant_adequacy_at(c, 0, QUANT_SOURCE_PROMPTS, 2, 0)->served);
        }
        quant_adequacy_free(r->ctx, c);
        rig_close(r);
    }
}

/* Prompts that hold all that there is: enough from the first on. Sequences of a whole block of rows
 * of the products give the same bits wherever they stand. */
static void sequences_that_repeat_are_enough(void)
{
    stats_rig *r = rig_open("repeated", 1, false, 12, 64);
    const quant_scheme schemes[] = {scheme_of("w8a8,act=static"), scheme_of("w4a8,act=static")};
    const quant_adequacy_options o = {.schemes = schemes, .scheme_count = 2, .error = 0.05};
    char text[QUANT_ADEQUACY_VERDICT];
    for (size_t i = 64; i < r->tokens.n * r->tokens.s; i++) {
        r->ids[i] = r->ids[i - 64];
    }
    quant_adequacy *c = run_curve(r, &o);
    CU_ASSERT(c->options.sequences == 9 && c->options.held_out == 3);
    for (size_t k = 0; k < 2; k++) {
        quant_adequacy_verdict(c, k, text);
        CU_ASSERT_EQUAL(c->enough[k], 0);
        CU_ASSERT_PTR_NOT_NULL(strstr(text, "enough from 1 of 9 sequences on"));
        for (size_t i = 0; i < c->count_n; i++) {
            const quant_adequacy_point *p = &c->point[k][i];
            CU_ASSERT(p->ratio == 1 && p->low == 1 && p->high == 1 && p->flipped == 0);
        }
        CU_ASSERT(c->weights[k] <= c->limit[k]);
    }
    quant_adequacy_free(r->ctx, c);
    rig_close(r);
}

/* A router of zeros sends every token to the first experts. */
static void experts_that_nobody_reaches_are_named(void)
{
    stats_rig *r = NULL;
    for (uint64_t k = 0; !r; k++) {
        r = rig_open("idle experts", k, true, 6, 30);
        if (r->tiny->used == r->tiny->experts) {
            rig_close(r);
            r = NULL;
        }
    }
    for (size_t t = 0; t < r->tiny->count; t++) {
        if (strstr(r->tiny->t[t].name, "router")) {
            memset(r->tiny->t[t].w, 0, r->tiny->t[t].count * sizeof(float));
        }
    }
    rewrite(r);
    const quant_scheme scheme = scheme_of("w8a8,act=static");
    const quant_adequacy_options o = {.schemes = &scheme, .scheme_count = 1, .error = 1e9,
                                   .saturation = 1, .logits = true};
    char text[QUANT_ADEQUACY_VERDICT], name[96];
    quant_adequacy *c = run_curve(r, &o);
    size_t idle = (size_t)(r->tiny->layers * (r->tiny->experts - r->tiny->used) * 2);
    CU_ASSERT_EQUAL(c->point[0][0].unreached, idle);
    CU_ASSERT_EQUAL(c->measured, c->input_count - idle);
    CU_ASSERT_EQUAL(c->enough[0], c->count_n);
    /* The KL is within any limit, but not by static scales alone. */
    CU_ASSERT(c->logits[0][0].served && c->logits_enough[0] == c->count_n);
    quant_adequacy_verdict(c, 0, text);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, "KL not enough by "));
    snprintf(name, sizeof name, "layer 0 expert_input of expert %d never reached", r->tiny->used);
    CU_ASSERT_PTR_NOT_NULL(strstr(text, name));
    quant_adequacy_free(r->ctx, c);
    rig_close(r);
}

static void nonsense_is_refused(void)
{
    stats_rig *r = rig_open("curve refuses", 1, false, 6, 10);
    const quant_scheme good = scheme_of("w8a8,act=static"), token = scheme_of("w8a8");
    const struct {
        quant_adequacy_options o;
        quant_status status;
        const char *says;
    } list[] = {
        {{.scheme_count = 1}, QUANT_EINVAL, "schemes"},
        {{.schemes = &good, .scheme_count = 9}, QUANT_EINVAL, "schemes"},
        {{.schemes = &token, .scheme_count = 1}, QUANT_ESCHEME, "static activations"},
        {{.schemes = &good, .scheme_count = 1, .error = -1}, QUANT_EINVAL, "limits"},
        {{.schemes = &good, .scheme_count = 1, .first_sequence = 6}, QUANT_ERANGE, "prompts"},
        {{.schemes = &good, .scheme_count = 1, .sequences = 6, .held_out = 1}, QUANT_ERANGE,
         "expected none that calibrate"},
        {{.schemes = &good, .scheme_count = 1, .first_held_out = 7, .held_out = 1}, QUANT_ERANGE,
         "held-out prompts"},
        {{.schemes = &good, .scheme_count = 1, .sequences = UINT64_MAX, .held_out = 1,
          .first_held_out = 5}, QUANT_ERANGE, "prompts"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        quant_adequacy *c = NULL;
        CU_ASSERT_EQUAL(quant_adequacy_run(r->ctx, r->model, &r->tokens, &list[i].o, &c),
                        list[i].status);
        CU_ASSERT_PTR_NULL(c);
        CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(r->ctx), list[i].says));
    }
    rig_close(r);
}

static void short_memory_is_told_and_leaks_nothing(void)
{
    stats_rig *r = rig_open("curve memory", 1, true, 3, 6);
    const quant_scheme scheme = scheme_of("w4a8,act=static");
    const quant_adequacy_options o = {.schemes = &scheme, .scheme_count = 1, .draws = 2,
                                      .logits = true};
    quant_status s = QUANT_ENOMEM;
    for (long k = 0; s == QUANT_ENOMEM; k += 1 + k / 9) {
        short_memory ration = {.fail_at = k};
        quant_context *ctx = short_memory_context(&ration);
        quant_adequacy *c = NULL;
        quant_model *model = NULL;
        if (ctx) {
            s = quant_model_open(ctx, r->tiny->folder, &model);
            s = s == QUANT_OK ? quant_adequacy_run(ctx, model, &r->tokens, &o, &c) : s;
            CU_ASSERT_EQUAL(s == QUANT_OK, c != NULL);
            quant_adequacy_free(ctx, c);
            quant_model_close(ctx, model);
            quant_context_free(ctx);
        }
        CU_ASSERT(s == QUANT_OK || s == QUANT_ENOMEM);
        CU_ASSERT_EQUAL(ration.held, 0);
    }
    rig_close(r);
}

TEST_SUITE(calibrate_curve,
           {"eigenvalues keep trace and norm", eigenvalues_keep_trace_and_norm},
           {"cells are what a plain computation gives", cells_are_what_a_plain_computation_gives},
           {"a rare token makes it not enough", a_rare_token_makes_it_not_enough},
           {"sequences that repeat are enough", sequences_that_repeat_are_enough},
           {"experts that nobody reaches are named", experts_that_nobody_reaches_are_named},
           {"nonsense is refused", nonsense_is_refused},
           {"short memory is told and leaks nothing", short_memory_is_told_and_leaks_nothing})
