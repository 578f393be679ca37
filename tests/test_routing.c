/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_routing.c - routes of random mixtures against passes in double over decoded weights, which
 * know nothing of variants: a model that is quantized in one layer only has clean input there, one
 * that is quantized before it has clean weights there. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/npz_write.h"
#include "quant/encode.h"
#include "quant/lab/propagate.h"
#include "tests/run.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

enum { N = 2, S = 7, ROWS = N * S, MOST_LAYERS = 3, MOST_EXPERTS = 6, MOST_WIDTH = 24 };

static quant_context *ctx;

/* One pass in double. */
typedef struct pass {
    double routes[MOST_LAYERS * ROWS * MOST_EXPERTS];
    double outputs[MOST_LAYERS * ROWS * MOST_EXPERTS * MOST_WIDTH];
    double hidden[MOST_LAYERS * ROWS * MOST_WIDTH], logits[ROWS * 50];
    double margin;
} pass;

static float *decoded(const quant_scheme *scheme, const tiny_tensor *t)
{
    quant_layout layout;
    quant_scheme s = quant_scheme_for_shape(scheme, &t->shape);
    float *out = malloc(t->count * sizeof *out);
    CHECK_OK(ctx, quant_encode_layout(ctx, &s, &t->shape, &layout));
    void *packed = malloc(layout.bytes);
    CHECK_OK(ctx, quant_encode(ctx, &s, &t->shape, t->w, packed, layout.bytes, NULL));
    CHECK_OK(ctx, quant_decode(ctx, &s, &t->shape, packed, layout.bytes, out));
    free(packed);
    return out;
}

/* Depth 0 is the embedding, l + 1 layer l, more is the head. */
static int depth_of(const tiny_tensor *t)
{
    int layer;
    return sscanf(t->name, "model.layers.%d.", &layer) == 1 ? layer + 1
           : strstr(t->name, "embed")                        ? 0
                                                             : MOST_LAYERS + 1;
}

/* m with the matrices of depths [from, to) decoded; free with drop. */
static tiny_model quantized(const tiny_model *m, const quant_scheme *scheme, int from, int to)
{
    tiny_model copy = *m;
    for (size_t i = 0; i < m->count; i++) {
        int depth = depth_of(&m->t[i]);
        bool here = m->t[i].shape.rank >= 2 && depth >= from && depth < to;
        copy.t[i].w = here ? decoded(scheme, &m->t[i]) : m->t[i].w;
    }
    return copy;
}

static void drop(tiny_model *copy, const tiny_model *m)
{
    for (size_t i = 0; i < m->count; i++) {
        if (copy->t[i].w != m->t[i].w) {
            free(copy->t[i].w);
        }
    }
}

/* Depths [from, to) quantized; `routes` NULL: its own. */
static void run(const tiny_model *m, const quant_scheme *scheme, const int64_t *ids, int from,
                int to, const pass *routes, pass *p)
{
    tiny_model copy = quantized(m, scheme, from, to);
    if (routes) {
        memcpy(p->routes, routes->routes, sizeof p->routes);
    }
    copy.routes = p->routes;
    copy.outputs = p->outputs;
    copy.frozen = routes != NULL;
    tiny_forward(&copy, ids, N, S, p->logits, p->hidden);
    p->margin = copy.margin;
    drop(&copy, m);
}

static int chosen(const tiny_model *m, const pass *p, int layer, int row, int e)
{
    return p->routes[(layer * ROWS + row) * m->experts + e] != 0;
}

/* Tokens of position j whose sets differ. */
static uint64_t changed(const tiny_model *m, const pass *a, const pass *b, int layer, int j)
{
    uint64_t count = 0;
    for (int row = j; row < ROWS; row += S) {
        int differs = 0;
        for (int e = 0; e < m->experts; e++) {
            differs |= chosen(m, a, layer, row, e) != chosen(m, b, layer, row, e);
        }
        count += (uint64_t)differs;
    }
    return count;
}

static double stream_energy(const tiny_model *m, const pass *a, const pass *b, int layer)
{
    double sum = 0;
    for (int i = layer * ROWS * m->width; i < (layer + 1) * ROWS * m->width; i++) {
        double d = a->hidden[i] - (b ? b->hidden[i] : 0);
        sum += d * d;
    }
    return sum;
}

/* Norms agree to 1e-4 of the clean norm: the runner's products are float. */
static int near(double energy, double want, double clean)
{
    return fabs(sqrt(energy) - sqrt(want)) <= 1e-4 * sqrt(clean);
}

static int expert_agrees(const tiny_model *m, const quant_expert_terms *t, const pass *a,
                         const pass *b, int layer, int e)
{
    quant_expert_terms want = {0, 0, 0, 0, 0, 0, 0};
    for (int row = 0; row < ROWS; row++) {
        int x = chosen(m, a, layer, row, e), y = chosen(m, b, layer, row, e);
        want.clean_tokens += (uint64_t)x;
        want.free_tokens += (uint64_t)y;
        want.both_tokens += (uint64_t)(x && y);
        for (int i = 0; i < m->width; i++) {
            size_t at = (size_t)((((layer * ROWS + row) * m->experts + e) * m->width) + i);
            double d = b->outputs[at] - a->outputs[at];
            want.clean2 += a->outputs[at] * a->outputs[at];
            want.free2 += b->outputs[at] * b->outputs[at];
            want.error2 += d * d;
        }
    }
    double cosine = quant_expert_cosine(t);
    double all = want.clean2 + want.free2, dot = (all - want.error2) / 2;
    int live = want.clean2 > 0 && want.free2 > 0;
    return t->clean_tokens == want.clean_tokens && t->free_tokens == want.free_tokens &&
           t->both_tokens == want.both_tokens && near(t->clean2, want.clean2, all) &&
           near(t->free2, want.free2, all) && near(t->error2, want.error2, all) &&
           (all == 0 ? isnan(cosine)
            : !live  ? cosine == 0
                     : fabs(cosine - dot / sqrt(want.clean2 * want.free2)) <= 1e-3);
}

/* Everything of one layer; passes: clean, free, frozen, quantized here only (its own routes, and
 * frozen), quantized before it only. */
static int layer_agrees(const tiny_model *m, const quant_propagate_column *c, int l,
                        const pass p[6])
{
    const quant_ledger_terms t = quant_ledger_pooled(&c->ledger, (uint64_t)l + 1,
                                                     QUANT_PLACE_STREAM);
    double clean = stream_energy(m, &p[0], NULL, l);
    int ok = near(t.frozen2, stream_energy(m, &p[2], &p[0], l), clean) &&
             near(t.frozen_injected2, stream_energy(m, &p[4], &p[0], l), clean) &&
             near(t.error2, stream_energy(m, &p[1], &p[0], l), clean) &&
             near(t.injected2, stream_energy(m, &p[3], &p[0], l), clean);
    for (int j = 0; j < S; j++) {
        const quant_routing_terms *r = &c->routing.terms[l * S + j];
        ok = ok && r->tokens == N && r->free == changed(m, &p[0], &p[1], l, j) &&
             r->injected == changed(m, &p[0], &p[3], l, j) &&
             r->carried == changed(m, &p[0], &p[5], l, j);
    }
    size_t idle[2] = {0, 0};
    for (int e = 0; e < m->experts; e++) {
        const quant_expert_terms *x = &c->routing.expert[l * m->experts + e];
        ok = ok && expert_agrees(m, x, &p[0], &p[1], l, e);
        idle[0] += x->clean_tokens == 0;
        idle[1] += x->free_tokens == 0;
    }
    quant_routing_idle told = quant_routing_idle_of(&c->routing, (uint64_t)l);
    return ok && told.clean == idle[0] && told.free == idle[1] &&
           told.live + idle[0] >= (size_t)m->experts;
}

static quant_propagate_result *propagate(const tiny_model *m, const quant_scheme *scheme,
                                         const int64_t *ids,
                                         bool (*select)(void *, const quant_tensor *))
{
    quant_model *model = NULL;
    quant_propagate_result *result = NULL;
    const quant_propagate_options options = {.schemes = scheme, .scheme_count = 1,
                                             .select = select};
    CHECK_OK(ctx, quant_model_open(ctx, m->folder, &model));
    CHECK_OK(ctx, quant_propagate(ctx, model, &(quant_tokens){ids, N, S}, &options, &result));
    quant_model_close(ctx, model);
    return result;
}

/* Is a position's stream exactly nothing behind a layer? Vectors of two bits cancel exactly in
 * double; in float they may leave 2^-24, which norms make as large as a signal. */
static bool cancels(const tiny_model *m, const pass *p)
{
    bool found = false;
    for (int row = 0; row < m->layers * ROWS; row++) {
        double sum = 0;
        for (int i = 0; i < m->width; i++) {
            sum += fabs(p->hidden[row * m->width + i]);
        }
        found = found || sum == 0;
    }
    return found;
}

/* 1 agreed, 0 not, -1 a choice is too close to call in float, or a stream cancels. */
static int one_mixture(uint64_t k, pass p[6])
{
    static const char *const texts[] = {"int4:channel", "int2:tensor", "lut2:tensor",
                                        "int3:channel"};
    draw d = draw_begin("routing", k);
    tiny_model *m = tiny_draw(ctx, &d, true);
    quant_scheme scheme;
    int64_t ids[ROWS];
    for (int i = 0; i < ROWS; i++) {
        ids[i] = draw_int(&d, 0, m->vocab - 1);
    }
    CHECK_OK(ctx, quant_scheme_parse(ctx, texts[draw_int(&d, 0, 3)], &scheme));
    quant_propagate_result *r = propagate(m, &scheme, ids, NULL);
    run(m, &scheme, ids, 0, 0, NULL, &p[0]);
    run(m, &scheme, ids, 0, 9, NULL, &p[1]);
    run(m, &scheme, ids, 0, 9, &p[0], &p[2]);
    double margin = fmin(p[0].margin, p[1].margin);
    int ok = 1;
    for (int l = 0; l < m->layers; l++) {
        run(m, &scheme, ids, l + 1, l + 2, NULL, &p[3]);
        run(m, &scheme, ids, l + 1, l + 2, &p[0], &p[4]);
        run(m, &scheme, ids, 0, l + 1, NULL, &p[5]);
        margin = fmin(margin, fmin(p[3].margin, p[5].margin));
        ok = ok && r && layer_agrees(m, &r->columns[0], l, p);
    }
    quant_propagate_free(ctx, r);
    ok = margin < 1e-6 || cancels(m, &p[1]) ? -1 : ok;
    tiny_free(m);
    return ok;
}

/* A choice whose two shares differ by less than 1e-6 is not judged: most of these are the ties that
 * two bits make of a router, rows of zeros. */
static void mixtures(void)
{
    uint64_t first = test_first_case(), last = test_last_case(), close = 0, judged = 0;
    pass *p = malloc(6 * sizeof *p);
    ctx = quant_context_new(NULL);
    last = !test_is_long() && last - first > 200 ? first + 200 : last;
    for (uint64_t k = first; k < last; k++) {
        int ok = one_mixture(k, p);
        judged += ok >= 0;
        close += ok < 0;
        CU_ASSERT(ok != 0);
        if (ok == 0) {
            test_failed_case(k, "routes of a mixture");
        }
    }
    CU_ASSERT(close <= 1 + judged / 4);
    quant_context_free(ctx);
    free(p);
}

static bool none(void *user, const quant_tensor *t)
{
    (void)user;
    (void)t;
    return false;
}

static void frozen_nothing_is_exactly_nothing(void)
{
    ctx = quant_context_new(NULL);
    for (uint64_t k = 0; k < 8; k++) {
        draw d = draw_begin("frozen nothing", k);
        tiny_model *m = tiny_draw(ctx, &d, true);
        int64_t ids[ROWS] = {0};
        quant_scheme scheme;
        CHECK_OK(ctx, quant_scheme_parse(ctx, "int2:tensor", &scheme));
        quant_propagate_result *r = propagate(m, &scheme, ids, none);
        const quant_propagate_column *c = &r->columns[0];
        for (size_t i = 0; i < (size_t)r->depths * QUANT_PLACE_COUNT * r->s; i++) {
            const quant_ledger_terms *t = &c->ledger.terms[i];
            CU_ASSERT(t->frozen2 == 0 && t->frozen_injected2 == 0 && t->error2 == 0);
        }
        for (int i = 0; i < m->layers * S; i++) {
            const quant_routing_terms *t = &c->routing.terms[i];
            CU_ASSERT(t->tokens == N && !t->free && !t->injected && !t->carried);
        }
        for (int i = 0; i < m->layers * m->experts; i++) {
            const quant_expert_terms *t = &c->routing.expert[i];
            CU_ASSERT(t->error2 == 0 && t->clean_tokens == t->both_tokens &&
                      t->free_tokens == t->both_tokens);
        }
        CU_ASSERT(c->frozen.kl_mean == 0 && c->frozen.ratio == 1 && c->frozen.relative_error == 0);
        quant_propagate_free(ctx, r);
        tiny_free(m);
    }
    quant_context_free(ctx);
}

/* Routers alone quantized: with frozen routes nothing is left of it. */
static bool routers(void *user, const quant_tensor *t)
{
    (void)user;
    return strstr(t->name, "router") != NULL;
}

static void frozen_routes_leave_nothing_of_the_routers(void)
{
    int moved = 0;
    ctx = quant_context_new(NULL);
    for (uint64_t k = 0; k < 8; k++) {
        draw d = draw_begin("routers alone", k);
        tiny_model *m = tiny_draw(ctx, &d, true);
        int64_t ids[ROWS] = {0};
        quant_scheme scheme;
        CHECK_OK(ctx, quant_scheme_parse(ctx, "int2:tensor", &scheme));
        quant_propagate_result *r = propagate(m, &scheme, ids, routers);
        for (int l = 0; l < m->layers; l++) {
            quant_ledger_terms t = quant_ledger_pooled(&r->columns[0].ledger, (uint64_t)l + 1,
                                                       QUANT_PLACE_STREAM);
            CU_ASSERT(t.frozen2 == 0 && t.frozen_injected2 == 0);
            CU_ASSERT(t.error2 == 0 || m->experts > 1);
            moved += t.error2 > 0;
        }
        CU_ASSERT_EQUAL(r->columns[0].frozen.kl_mean, 0);
        quant_propagate_free(ctx, r);
        tiny_free(m);
    }
    CU_ASSERT(moved > 0);
    quant_context_free(ctx);
}

/* Figures of the bundled bank by the command, each form naming what it should. */
static void the_command_tells_routes(void)
{
    static const char *const forms[][4] = {
        {"table", "routes of all layers: ", "\nsliding  ", "\nroutes frozen  "},
        {"json", "\"changed_injected\": ", "\"kinds\": {", "\"logits_frozen\": {"},
        {"csv", "changed_free,changed_injected,changed_carried", ",expert_down,all,",
         ",relative_error_frozen,"}};
    const char *path = test_scratch_path("few.npz");
    const quant_npz_item item = {"tokens", QUANT_I32, {2, {1, 20}}};
    quant_npz_writer *w = NULL;
    int32_t ids[20] = {0};
    CHECK_OK(NULL, quant_npz_create(NULL, path, &item, 1, &w));
    CHECK_OK(NULL, quant_npz_put(NULL, w, 0, ids, sizeof ids));
    CHECK_OK(NULL, quant_npz_commit(NULL, w));
    for (int i = 0; i < 3; i++) {
        run_result r = run_shell("\"$QUANT\" propagate data/moe --tokens '%s' --schemes "
                                 "int8:channel --format %s", path, forms[i][0]);
        CU_ASSERT_EQUAL(r.status, 0);
        CU_ASSERT_STRING_EQUAL(r.err, "");
        for (int k = 1; k < 4; k++) {
            CU_ASSERT_PTR_NOT_NULL(strstr(r.out, forms[i][k]));
        }
        run_free(&r);
    }
}

TEST_SUITE(routing, {"routes, idle experts and frozen errors by passes in double", mixtures},
           {"frozen, nothing quantized is exactly nothing", frozen_nothing_is_exactly_nothing},
           {"frozen routes leave nothing of the routers",
            frozen_routes_leave_nothing_of_the_routers},
           {"the command tells routes", the_command_tells_routes})
