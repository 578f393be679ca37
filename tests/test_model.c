/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_model.c - the runner against a plain forward pass in double, and against itself. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/fidelity.h"
#include "quant/model/forward.h"
#include "quant/model/ops.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

enum { MOST_ROWS = 3 * 20 };

/* A drawn model, opened, with tokens. */
typedef struct rig {
    quant_context *ctx;
    draw d;
    tiny_model *tiny;
    quant_model *model;
    int64_t ids[MOST_ROWS];
    quant_tokens tokens;
    size_t logits; /* how many */
} rig;

static rig rig_new(const char *word, uint64_t k, bool moe)
{
    rig r = {.ctx = quant_context_new(NULL), .d = draw_begin(word, k)};
    r.tiny = tiny_draw(r.ctx, &r.d, moe);
    CHECK_OK(r.ctx, quant_model_open(r.ctx, r.tiny->folder, &r.model));
    r.tokens = (quant_tokens){NULL, (size_t)draw_int(&r.d, 1, 3), (size_t)draw_int(&r.d, 1, 20)};
    for (size_t i = 0; i < r.tokens.n * r.tokens.s; i++) {
        r.ids[i] = draw_int(&r.d, 0, r.tiny->vocab - 1);
    }
    r.logits = r.tokens.n * r.tokens.s * (size_t)r.tiny->vocab;
    return r;
}

static void rig_free(rig *r)
{
    quant_model_close(r->ctx, r->model);
    tiny_free(r->tiny);
    quant_context_free(r->ctx);
}

static float *run(rig *r, quant_forward_variant v, const quant_forward_options *o)
{
    float *logits = calloc(r->logits, sizeof *logits);
    v.logits = logits;
    r->tokens.id = r->ids;
    CHECK_OK(r->ctx, quant_forward_run(r->ctx, r->model, &r->tokens, &v, 1, o));
    return logits;
}

/* |a - b| / |a| */
static double distance(const double *a, const double *b, size_t n)
{
    double error = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        error += pow(a[i] - b[i], 2);
        norm += a[i] * a[i];
    }
    return sqrt(error / norm);
}

/* What the logits move by when every weight moves to a neighbouring float. */
static double sensitivity(rig *r, const double *want)
{
    double *moved = malloc(r->logits * sizeof *moved);
    tiny_model *m = r->tiny;
    for (int back = 0; back < 2; back++) {
        for (size_t t = 0; t < m->count; t++) {
            for (size_t i = 0; i < m->t[t].count; i++) {
                bool up = (i * 2654435761u >> 7 & 1) != (unsigned)back;
                m->t[t].w[i] = nextafterf(m->t[t].w[i], up ? INFINITY : -INFINITY);
            }
        }
        if (!back) {
            tiny_forward(m, r->ids, (int)r->tokens.n, (int)r->tokens.s, moved, NULL);
        }
    }
    double d = distance(want, moved, r->logits);
    free(moved);
    return d;
}

/* A product in float is the exact product of weights that moved by a few neighbours (backward error
 * k 2^-24 of a sum of k terms, about sqrt(k) in practice; k <= 72 here), so the logits may move by
 * a few times their sensitivity; 1e-5 of the norm is asked for where that is less. A gap between
 * experts below 1e-3 may route otherwise and is left out. */
static void random_models_agree(void)
{
    size_t close_calls = 0;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        rig r = rig_new("models", k, k % 2);
        double *want = malloc(r.logits * sizeof *want), *wide = malloc(r.logits * sizeof *wide);
        tiny_forward(r.tiny, r.ids, (int)r.tokens.n, (int)r.tokens.s, want, NULL);
        bool close_call = r.tiny->margin < 1e-3;
        float *got = run(&r, (quant_forward_variant){.scheme = NULL}, NULL);
        for (size_t i = 0; i < r.logits; i++) {
            wide[i] = (double)got[i];
        }
        double error = distance(want, wide, r.logits), allowed = 8 * sensitivity(&r, want);
        allowed = allowed > 1e-5 ? allowed : 1e-5;
        close_calls += close_call;
        if (!(error <= allowed) && !close_call) {
            test_failed_case(k, "%s, %d layers, error %g, allowed %g",
                             r.tiny->moe ? "experts" : "llama", r.tiny->layers, error, allowed);
            CU_FAIL("another forward pass");
        }
        free(want);
        free(wide);
        free(got);
        rig_free(&r);
    }
    CU_ASSERT(close_calls < (test_last_case() - test_first_case()) / 4 + 2);
}

/* ---- variants ------------------------------------------------------------------------------- */

typedef struct picker {
    quant_scheme scheme;
    const char *part; /* of the name; NULL: any */
} picker;

static const quant_scheme *pick(void *user, const quant_tensor *t)
{
    const picker *p = user;
    CU_ASSERT(t->shape.rank >= 2);
    return !p->part || strstr(t->name, p->part) ? &p->scheme : NULL;
}

static picker picker_of(const char *text, const char *part)
{
    picker p = {.part = part};
    CHECK_OK(NULL, quant_scheme_parse(NULL, text, &p.scheme));
    return p;
}

static void side_by_side_is_alone(void)
{
    static const char *const schemes[] = {"int8:channel", "int4:block=32", "lut2:tensor", "bf16",
                                          "lut3:group=4,lut=f16", "int4:tensor,asym"};
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 10) {
        rig r = rig_new("variants", k, k / 10 % 2);
        picker a = picker_of(schemes[k / 10 % 6], NULL), b = picker_of("int3:channel", "proj");
        const quant_forward_options o = {.compute = (quant_compute)(k / 20 % 3)};
        quant_forward_variant v[4] = {
            {.scheme = NULL}, {.scheme = pick, .user = &a}, {.scheme = pick, .user = &a},
            {.scheme = pick, .user = &b}};
        float *together[4];
        for (int i = 0; i < 4; i++) {
            v[i].logits = together[i] = calloc(r.logits, sizeof(float));
        }
        r.tokens.id = r.ids;
        quant_context_set_threads(r.ctx, 3);
        CHECK_OK(r.ctx, quant_forward_run(r.ctx, r.model, &r.tokens, v, 4, &o));
        quant_context_set_threads(r.ctx, 1);
        for (int i = 0; i < 4; i++) {
            float *alone = run(&r, v[i], &o);
            int same = memcmp(alone, together[i], r.logits * sizeof(float)) == 0;
            if (!same) {
                test_failed_case(k, "variant %d", i);
            }
            CU_ASSERT(same);
            free(alone);
        }
        CU_ASSERT(memcmp(together[0], together[3], r.logits * sizeof(float)) != 0 || r.logits < 3);
        for (int i = 0; i < 4; i++) {
            free(together[i]);
        }
        rig_free(&r);
    }
}

/* What was shown of one stage: [variant][layer][row * width]. */
typedef struct shown {
    quant_stage stage;
    size_t variants, layers, size;
    float *at;
} shown;

static quant_status record(void *user, const quant_stage_view *v)
{
    shown *s = user;
    if (v->stage == s->stage) {
        CU_ASSERT((v->first_row + v->rows) * v->cols <= s->size);
        memcpy(s->at + (v->variant * s->layers + v->layer) * s->size + v->first_row * v->cols,
               v->data, v->rows * v->cols * sizeof(float));
    }
    return QUANT_OK;
}

static shown shown_new(const rig *r, quant_stage stage, size_t cols, size_t variants)
{
    shown s = {stage, variants, (size_t)r->tiny->layers, r->tokens.n * r->tokens.s * cols, NULL};
    s.at = calloc(s.variants * s.layers * s.size + 1, sizeof *s.at);
    return s;
}

static int same_shown(const shown *s, size_t a, size_t b, size_t layer)
{
    return memcmp(s->at + (a * s->layers + layer) * s->size,
                  s->at + (b * s->layers + layer) * s->size, s->size * sizeof(float)) == 0;
}

/* A follower whose weights differ in one layer shows a difference after that layer only; without
 * following the difference stays. */
static void followers_begin_every_layer_anew(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 20) {
        rig r = rig_new("follow", k, k / 20 % 2);
        picker p = picker_of("int2:tensor", "layers.0.");
        quant_forward_variant v[3] = {{.scheme = NULL},
                                      {.scheme = pick, .user = &p, .follows = true},
                                      {.scheme = pick, .user = &p}};
        shown s = shown_new(&r, QUANT_STAGE_RESIDUAL, (size_t)r.tiny->width, 3);
        const quant_forward_options o = {.stages = 1u << QUANT_STAGE_RESIDUAL, .visit = record,
                                         .user = &s};
        r.tokens.id = r.ids;
        CHECK_OK(r.ctx, quant_forward_run(r.ctx, r.model, &r.tokens, v, 3, &o));
        for (size_t l = 0; l < s.layers; l++) {
            CU_ASSERT_EQUAL(same_shown(&s, 0, 1, l), l > 0);
            CU_ASSERT_EQUAL(same_shown(&s, 0, 2, l), 0);
        }
        CU_ASSERT_EQUAL(same_shown(&s, 1, 2, 0), 1);
        v[1].leader = 1;
        CU_ASSERT_EQUAL(quant_forward_run(r.ctx, r.model, &r.tokens, v, 3, &o), QUANT_EINVAL);
        free(s.at);
        rig_free(&r);
    }
}

static void routing_can_be_borrowed(void)
{
    size_t changed = 0;
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 20) {
        rig r = rig_new("routing", k, true);
        picker p = picker_of("int2:tensor", NULL);
        quant_forward_variant v[3] = {{.scheme = NULL}, {.scheme = pick, .user = &p},
                                      {.scheme = pick, .user = &p, .routed = true, .router = 0}};
        shown s = shown_new(&r, QUANT_STAGE_ROUTES, (size_t)r.tiny->experts, 3);
        const quant_forward_options o = {.stages = 1u << QUANT_STAGE_ROUTES, .visit = record,
                                         .user = &s};
        r.tokens.id = r.ids;
        CHECK_OK(r.ctx, quant_forward_run(r.ctx, r.model, &r.tokens, v, 3, &o));
        for (size_t l = 0; l < s.layers; l++) {
            CU_ASSERT(same_shown(&s, 0, 2, l));
            changed += !same_shown(&s, 0, 1, l);
        }
        for (size_t i = 0; i < s.size; i += (size_t)r.tiny->experts) { /* used ones, sum 1 */
            double sum = 0;
            int used = 0;
            for (int e = 0; e < r.tiny->experts; e++) {
                sum += (double)s.at[i + (size_t)e];
                used += s.at[i + (size_t)e] > 0;
            }
            CU_ASSERT(fabs(sum - 1) < 1e-6 && used == r.tiny->used);
        }
        free(s.at);
        rig_free(&r);
    }
    CU_ASSERT(changed > 0);
}

/* Equal shares: the lower index. */
static void ties_go_to_the_first_experts(void)
{
    for (uint64_t k = 0; k < 20; k++) {
        rig r = rig_new("ties", k, true);
        for (size_t t = 0; t < r.tiny->count; t++) {
            if (strstr(r.tiny->t[t].name, "router")) {
                memset(r.tiny->t[t].w, 0, r.tiny->t[t].count * sizeof(float));
            }
        }
        quant_model_close(r.ctx, r.model);
        tiny_weights(r.ctx, r.tiny, SIZE_MAX);
        CHECK_OK(r.ctx, quant_model_open(r.ctx, r.tiny->folder, &r.model));
        shown s = shown_new(&r, QUANT_STAGE_ROUTES, (size_t)r.tiny->experts, 1);
        const quant_forward_options o = {.stages = 1u << QUANT_STAGE_ROUTES, .visit = record,
                                         .user = &s};
        free(run(&r, (quant_forward_variant){.scheme = NULL}, &o));
        for (size_t i = 0; i < s.layers * s.size; i++) {
            CU_ASSERT_EQUAL(s.at[i] > 0, (int)(i % (size_t)r.tiny->experts) < r.tiny->used);
        }
        free(s.at);
        rig_free(&r);
    }
}

/* ---- stages --------------------------------------------------------------------------------- */

typedef struct order {
    quant_compute compute;
    uint64_t layer;
    int last;
    size_t views, bad;
} order;

/* Stages ascend within a layer; every value is one of the compute type. */
static quant_status check_view(void *user, const quant_stage_view *v)
{
    order *o = user;
    size_t n = v->rows * v->cols;
    float *copy = malloc((n + 1) * sizeof *copy);
    memcpy(copy, v->data, n * sizeof *copy);
    model_round(o->compute, copy, n);
    o->bad += memcmp(copy, v->data, n * sizeof *copy) != 0;
    free(copy);
    bool next = v->layer != o->layer || v->stage == QUANT_STAGE_ATTENTION_INPUT;
    CU_ASSERT(next || (int)v->stage > o->last || v->stage == QUANT_STAGE_SCORES ||
              v->stage == QUANT_STAGE_LOGITS || (v->chosen && v->expert > 0));
    CU_ASSERT_STRING_NOT_EQUAL(quant_stage_name(v->stage), "?");
    o->layer = v->layer;
    o->last = (int)v->stage;
    o->views++;
    return QUANT_OK;
}

static void everything_is_rounded(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 20) {
        rig r = rig_new("compute", k, k / 20 % 2);
        float *clean = run(&r, (quant_forward_variant){.scheme = NULL}, NULL);
        double error[3];
        for (int c = 0; c < 3; c++) {
            order seen = {.compute = (quant_compute)c, .last = -1};
            const quant_forward_options o = {.compute = (quant_compute)c, .stages = UINT32_MAX,
                                             .visit = check_view, .user = &seen};
            float *got = run(&r, (quant_forward_variant){.scheme = NULL}, &o);
            quant_fidelity f = quant_fidelity_f32(NULL, clean, got, r.logits);
            error[c] = quant_relative_error(&f);
            CU_ASSERT_EQUAL(seen.bad, 0);
            CU_ASSERT(seen.views >= 16);
            free(got);
        }
        CU_ASSERT_EQUAL(error[0], 0);
        CU_ASSERT(error[1] < 0.2 && error[2] < 1 && (r.tiny->margin < 1 || error[1] < error[2]));
        free(clean);
        rig_free(&r);
    }
}

static quant_status stop_at_o(void *user, const quant_stage_view *v)
{
    (void)user;
    return v->stage == QUANT_STAGE_O && v->layer == 0 ? QUANT_ENONFINITE : QUANT_OK;
}

static void a_visitor_can_end_the_run(void)
{
    rig r = rig_new("stop", 1, false);
    const quant_forward_options o = {.stages = 1u << QUANT_STAGE_O, .visit = stop_at_o};
    r.tokens.id = r.ids;
    CU_ASSERT_EQUAL(quant_forward_run(r.ctx, r.model, &r.tokens,
                                      &(quant_forward_variant){.scheme = NULL}, 1, &o),
                    QUANT_ENONFINITE);
    rig_free(&r);
}

/* Greedy tokens are the first largest logits of the run over what was there. */
static void greedy_takes_the_largest(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 50) {
        rig r = rig_new("greedy", k, k / 50 % 2);
        size_t steps = 3, whole = r.tokens.s + steps;
        int64_t out[MOST_ROWS + 9];
        quant_forward_variant v = {.scheme = NULL};
        r.tokens.id = r.ids;
        CHECK_OK(r.ctx, quant_forward_greedy(r.ctx, r.model, &r.tokens, &v, NULL, steps, out));
        size_t vocab = (size_t)r.tiny->vocab;
        v.logits = malloc(r.tokens.n * whole * vocab * sizeof *v.logits);
        CHECK_OK(r.ctx, quant_forward_run(r.ctx, r.model,
                                          &(quant_tokens){out, r.tokens.n, whole}, &v, 1, NULL));
        for (size_t i = 0; i < r.tokens.n; i++) {
            CU_ASSERT_EQUAL(memcmp(out + i * whole, r.ids + i * r.tokens.s,
                                   r.tokens.s * sizeof *out), 0);
            for (size_t j = r.tokens.s; j < whole; j++) {
                const float *l = v.logits + (i * whole + j - 1) * vocab;
                for (size_t c = 0; c < vocab; c++) {
                    CU_ASSERT(l[c] <= l[out[i * whole + j]] + 1e-4f);
                }
            }
        }
        free(v.logits);
        rig_free(&r);
    }
}

TEST_SUITE(model, {"random models agree with a plain pass in double", random_models_agree},
           {"variants side by side give the bytes that they give alone", side_by_side_is_alone},
           {"a follower begins every layer with its leader's stream",
            followers_begin_every_layer_anew},
           {"routing can be that of another variant", routing_can_be_borrowed},
           {"ties between experts go to the lower index", ties_go_to_the_first_experts},
           {"every stage is rounded to the compute type", everything_is_rounded},
           {"a visitor can end the run", a_visitor_can_end_the_run},
           {"greedy decoding takes the largest logit", greedy_takes_the_largest})
