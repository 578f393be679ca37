/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_propagate.c - the ledger of whole nets against stacks that are quantized up to some depth:
 * they run without followers, so the ledger was not computed from them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/propagate.h"
#include "tests/draw.h"
#include "tests/test.h"
#include "tests/deep_model.h"

enum { LEAST = 24, MOST = 27, UNITS = MOST + 2, VARIANTS = 2 * UNITS + 1 };
enum { N = 2, S = 3, ROWS = N * S };

static quant_context *ctx;

/* Tensors of depths [from, to) are quantized. */
typedef struct span {
    const quant_scheme *scheme;
    int layers, from, to;
} span;

static const quant_scheme *pick(void *user, const quant_tensor *t)
{
    const span *s = user;
    int depth = deep_model_depth(t, s->layers);
    return depth >= s->from && depth < s->to ? s->scheme : NULL;
}

/* Stream of every variant at every depth, logits at the last. */
typedef struct film {
    float at[VARIANTS][UNITS][ROWS * DEEP_VOCAB];
    span spans[VARIANTS];
    int layers;
} film;

static quant_status shoot(void *user, const quant_stage_view *v)
{
    film *f = user;
    size_t depth = v->stage == QUANT_STAGE_EMBED ? 0 : (size_t)v->layer + 1;
    memcpy(f->at[v->variant][depth] + v->first_row * v->cols, v->data,
           v->rows * v->cols * sizeof(float));
    return QUANT_OK;
}

/* Variants 0 .. units: the first k depths quantized; then each depth alone. */
static void run_film(film *f, quant_model *model, const quant_tokens *tokens,
                     const quant_scheme *scheme, int layers)
{
    int units = layers + 2;
    quant_forward_variant v[VARIANTS];
    f->layers = layers;
    for (int k = 0; k < 2 * units + 1; k++) {
        f->spans[k] = k <= units ? (span){scheme, layers, 0, k}
                                 : (span){scheme, layers, k - units - 1, k - units};
        v[k] = (quant_forward_variant){.scheme = pick, .user = &f->spans[k]};
    }
    const quant_forward_options o = {
        .visit = shoot, .user = f,
        .stages = 1u << QUANT_STAGE_EMBED | 1u << QUANT_STAGE_RESIDUAL | 1u << QUANT_STAGE_LOGITS};
    CHECK_OK(ctx, quant_forward_run(ctx, model, tokens, v, (size_t)(2 * units + 1), &o));
}

/* Energy of a - b at one position of both sequences. */
static double energy(const film *f, int a, int b, int depth, size_t position, size_t cols)
{
    double sum = 0;
    for (size_t r = position; r < ROWS; r += S) {
        for (size_t c = r * cols; c < (r + 1) * cols; c++) {
            double d = (double)f->at[a][depth][c] - (double)f->at[b][depth][c];
            sum += d * d;
        }
    }
    return sum;
}

static double cross_energy(const film *f, int both, int injected, int carried, int depth,
                           size_t position, size_t cols)
{
    double sum = 0;
    for (size_t r = position; r < ROWS; r += S) {
        for (size_t c = r * cols; c < (r + 1) * cols; c++) {
            double d = (double)f->at[both][depth][c] - (double)f->at[injected][depth][c] -
                       (double)f->at[carried][depth][c] + (double)f->at[0][depth][c];
            sum += d * d;
        }
    }
    return sum;
}

static int near(double a, double b, double size)
{
    return fabs(a - b) <= 1e-12 * size;
}

/* Stack d is clean weights on the stream of d quantized depths, stack d + 1 one more. */
static int ledger_is_the_film(const quant_ledger *l, const film *f)
{
    int units = f->layers + 2, ok = 1;
    for (int d = 0; d < units; d++) {
        quant_place place = d + 1 == units ? QUANT_PLACE_LOGITS : QUANT_PLACE_STREAM;
        size_t cols = d + 1 == units ? DEEP_VOCAB : DEEP_WIDTH;
        for (size_t j = 0; j < S; j++) {
            const quant_ledger_terms *t = quant_ledger_at(l, (uint64_t)d, place, j);
            double size = t->clean2 + t->error2;
            quant_ledger_shares s = quant_ledger_shares_of(t);
            ok = ok && t->n == N * cols && near(t->carried2, energy(f, d, 0, d, j, cols), size) &&
                 near(t->error2, energy(f, d + 1, 0, d, j, cols), size) &&
                 near(t->injected2, energy(f, units + 1 + d, 0, d, j, cols), size) &&
                 near(t->cross2, cross_energy(f, d + 1, units + 1 + d, d, d, j, cols), size) &&
                 (t->error2 == 0 ||
                  fabs(s.carried + s.injected + s.cross - 1) <= quant_ledger_shares_bound(t));
        }
    }
    return ok;
}

/* What each further depth adds to the logits, summed as vectors. */
static int steps_telescope(const quant_ledger *l, const film *f)
{
    int units = f->layers + 2;
    double sum2 = 0;
    for (int c = 0; c < ROWS * DEEP_VOCAB; c++) {
        double sum = 0;
        for (int k = 0; k < units; k++) {
            sum += (double)f->at[k + 1][units - 1][c] - (double)f->at[k][units - 1][c];
        }
        sum2 += sum * sum;
    }
    quant_ledger_terms t = quant_ledger_pooled(l, (uint64_t)units - 1, QUANT_PLACE_LOGITS);
    return t.error2 > 0 && near(t.error2, sum2, t.clean2);
}

static quant_scheme scheme_of(const char *text)
{
    quant_scheme scheme;
    CHECK_OK(ctx, quant_scheme_parse(ctx, text, &scheme));
    return scheme;
}

static int one_stack(uint64_t k, film *f)
{
    static const char *const texts[] = {"int8:tensor", "int4:block=4", "lut3:group=2", "bf16",
                                        "int2:channel,range=half", "lut2:tensor"};
    draw r = draw_begin("hybrid stacks", k);
    int layers = (int)draw_int(&r, LEAST, MOST);
    quant_scheme scheme = scheme_of(texts[draw_int(&r, 0, 5)]);
    quant_model *model = k % 4 == 3 ? deep_model_make_experts(ctx, k + test_seed(), layers)
                                    : deep_model_make(ctx, k + test_seed(), layers);
    quant_propagate_result *result = NULL;
    int64_t ids[ROWS];
    deep_model_tokens(k, ids, ROWS);
    const quant_tokens tokens = {ids, N, S};
    run_film(f, model, &tokens, &scheme, layers);
    CHECK_OK(ctx, quant_propagate(ctx, model, &tokens,
                                  &(quant_propagate_options){.schemes = &scheme, .scheme_count = 1},
                                  &result));
    int ok = result && ledger_is_the_film(&result->columns[0].ledger, f) &&
             steps_telescope(&result->columns[0].ledger, f);
    quant_propagate_free(ctx, result);
    quant_model_close(ctx, model);
    return ok;
}

/* A case is some 60 stacks of 24 to 27 layers, one in four with experts; 1000 of them in the longer
 * tier. */
static void hybrid_stacks(void)
{
    uint64_t first = test_first_case(), last = test_last_case();
    film *f = malloc(sizeof *f);
    ctx = quant_context_new(NULL);
    last = !test_is_long() && last - first > 40 ? first + 40 : last;
    for (uint64_t k = first; k < last; k++) {
        int ok = one_stack(k, f);
        CU_ASSERT(ok);
        if (!ok) {
            test_failed_case(k, "hybrid stacks");
        }
    }
    quant_context_free(ctx);
    free(f);
}

/* ---- runs of one model ---------------------------------------------------------------------- */

static bool none(void *user, const quant_tensor *t)
{
    (void)user;
    (void)t;
    return false;
}

static quant_propagate_result *run_deep(quant_model *model, int threads, quant_compute compute,
                                        bool nothing)
{
    static int64_t ids[8 * 16];
    quant_propagate_result *result = NULL;
    quant_scheme schemes[2] = {scheme_of("int4:block=4"), scheme_of("lut2:group=4")};
    deep_model_tokens(1, ids, 8 * 16);
    quant_context_set_threads(ctx, threads);
    const quant_propagate_options options = {.schemes = schemes, .scheme_count = 2,
                                             .compute = compute, .select = nothing ? none : NULL};
    CHECK_OK(ctx, quant_propagate(ctx, model, &(quant_tokens){ids, 8, 16}, &options, &result));
    return result;
}

static int terms_are_zero(const quant_ledger_terms *t)
{
    return t->error2 == 0 && t->carried2 == 0 && t->injected2 == 0 && t->cross2 == 0;
}

static void quantizing_nothing_is_exactly_nothing(void)
{
    ctx = quant_context_new(NULL);
    quant_model *model = deep_model_make(ctx, 3, 4);
    for (int compute = 0; compute <= QUANT_COMPUTE_BF16; compute++) {
        quant_propagate_result *r = run_deep(model, 1, (quant_compute)compute, true);
        const quant_propagate_column *c = &r->columns[1];
        size_t seen = 0;
        CU_ASSERT(c->quantized == 0 && c->kept == 4 * 9 + 3);
        for (size_t i = 0; i < (size_t)r->depths * QUANT_PLACE_COUNT * r->s; i++) {
            CU_ASSERT(terms_are_zero(&c->ledger.terms[i]));
            seen += c->ledger.terms[i].n > 0;
        }
        CU_ASSERT_EQUAL(seen, (4 * 9 + 2) * r->s); /* q k v scores o gate up down stream */
        CU_ASSERT(c->logits.kl_mean == 0 && c->logits.kl_99 == 0 && c->logits.ratio == 1);
        CU_ASSERT(c->logits.low == 1 && c->logits.high == 1 && c->logits.same_top == 1);
        CU_ASSERT(c->logits.relative_error == 0 && !c->logits.distinguishable);
        quant_propagate_free(ctx, r);
    }
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

static void threads_do_not_matter(void)
{
    ctx = quant_context_new(NULL);
    quant_model *model = deep_model_make(ctx, 4, 3);
    quant_propagate_result *a = run_deep(model, 1, QUANT_COMPUTE_BF16, false);
    quant_propagate_result *b = run_deep(model, 3, QUANT_COMPUTE_BF16, false);
    size_t terms = (size_t)a->depths * QUANT_PLACE_COUNT * a->s;
    for (int i = 0; i < 2; i++) {
        const quant_propagate_column *x = &a->columns[i], *y = &b->columns[i];
        CU_ASSERT_EQUAL(memcmp(x->ledger.terms, y->ledger.terms, terms * sizeof *x->ledger.terms),
                        0);
        CU_ASSERT_EQUAL(memcmp(x->arithmetic, y->arithmetic, a->depths * sizeof *x->arithmetic), 0);
        CU_ASSERT_EQUAL(x->logits.kl_mean, y->logits.kl_mean);
        CU_ASSERT_EQUAL(x->logits.low, y->logits.low);
        CU_ASSERT(x->logits.kl_mean > 0 && x->quantized == 3 * 7 + 2);
    }
    quant_propagate_free(ctx, a);
    quant_propagate_free(ctx, b);
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

/* quantization + arithmetic = error, and unquantized bf16 differs from f32. */
static void arithmetic_is_its_own_term(void)
{
    ctx = quant_context_new(NULL);
    quant_model *model = deep_model_make(ctx, 5, 3);
    quant_propagate_result *r = run_deep(model, 1, QUANT_COMPUTE_BF16, false);
    quant_propagate_result *f = run_deep(model, 1, QUANT_COMPUTE_F32, false);
    CU_ASSERT_PTR_NULL(f->columns[0].arithmetic);
    CU_ASSERT_PTR_NULL(f->arithmetic_rows);
    for (uint64_t d = 0; d < r->depths; d++) {
        const quant_arithmetic_terms *t = &r->columns[0].arithmetic[d];
        quant_place place = d + 1 == r->depths ? QUANT_PLACE_LOGITS : QUANT_PLACE_STREAM;
        quant_ledger_terms own = quant_ledger_pooled(&r->columns[0].ledger, d, place);
        quant_ledger_terms clean = quant_ledger_pooled(&f->columns[0].ledger, d, place);
        CU_ASSERT(near(t->quantization_dot + t->arithmetic_dot, t->error2, t->clean2));
        CU_ASSERT(near(t->quantization2, own.error2, t->clean2));
        CU_ASSERT(near(t->clean2, clean.clean2, t->clean2));
        CU_ASSERT(t->arithmetic2 > 1e-8 * t->clean2 && t->arithmetic2 < 1e-3 * t->clean2);
    }
    CU_ASSERT(r->arithmetic.relative_error > 1e-4 && r->arithmetic.relative_error < 3e-2);
    quant_propagate_free(ctx, r);
    quant_propagate_free(ctx, f);
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

/* ---- scores --------------------------------------------------------------------------------- */

typedef struct seen {
    float q[2][16 * DEEP_WIDTH], k[16 * DEEP_WIDTH], weight[2][DEEP_HEADS * 16 * 16];
} seen;

static quant_status keep_attention(void *user, const quant_stage_view *v)
{
    seen *p = user;
    float *to = v->stage == QUANT_STAGE_Q   ? p->q[v->variant]
                : v->stage == QUANT_STAGE_K ? p->k
                                            : p->weight[v->variant];
    memcpy(to, v->data, v->rows * v->cols * sizeof(float));
    return QUANT_OK;
}

static bool is_query(void *user, const quant_tensor *t)
{
    (void)user;
    return strcmp(t->name, "model.layers.0.self_attn.q_proj.weight") == 0;
}

static const quant_scheme *pick_query(void *user, const quant_tensor *t)
{
    return is_query(NULL, t) ? user : NULL;
}

/* Four elements a head, whose root is 2; both heads share the keys. */
static double score(const seen *p, int variant, size_t head, size_t i, size_t j)
{
    const float *q = p->q[variant] + i * DEEP_WIDTH + head * 4, *k = p->k + j * 4;
    return ((double)q[0] * (double)k[0] + (double)q[1] * (double)k[1] +
            (double)q[2] * (double)k[2] + (double)q[3] * (double)k[3]) / 2;
}

/* Energy of the scores' error at position i; what the runner made of them by softmax must agree. */
static double score_error(const seen *p, size_t i)
{
    double sum = 0;
    for (size_t h = 0; h < DEEP_HEADS; h++) {
        for (size_t j = 0; j <= i; j++) {
            double a = score(p, 0, h, i, j), b = score(p, 1, h, i, j);
            const float *w = p->weight[1] + (h * 16 + i) * 16;
            double told = log((double)w[j] / (double)w[0]);
            CU_ASSERT(fabs(b - score(p, 1, h, i, 0) - told) <= 1e-4);
            sum += (b - a) * (b - a);
        }
    }
    return sum;
}

static void scores_fit_the_softmax(void)
{
    int64_t ids[16];
    seen p;
    ctx = quant_context_new(NULL);
    quant_model *model = deep_model_make(ctx, 6, 1);
    quant_scheme scheme = scheme_of("int2:channel");
    quant_propagate_result *r = NULL;
    deep_model_tokens(1, ids, 16);
    const quant_tokens tokens = {ids, 1, 16};
    const quant_forward_variant v[2] = {{.scheme = NULL}, {.scheme = pick_query, .user = &scheme}};
    const quant_forward_options o = {
        .visit = keep_attention, .user = &p,
        .stages = 1u << QUANT_STAGE_SCORES | 1u << QUANT_STAGE_Q | 1u << QUANT_STAGE_K};
    const quant_propagate_options options = {.schemes = &scheme, .scheme_count = 1,
                                             .select = is_query};
    CHECK_OK(ctx, quant_forward_run(ctx, model, &tokens, v, 2, &o));
    CHECK_OK(ctx, quant_propagate(ctx, model, &tokens, &options, &r));
    for (size_t i = 0; i < 16; i++) {
        const quant_ledger_terms *t = quant_ledger_at(&r->columns[0].ledger, 1, QUANT_PLACE_SCORES,
                                                      i);
        double error = score_error(&p, i);
        CU_ASSERT(t->n == DEEP_HEADS * (i + 1) && error > 0 && near(t->error2, error, t->clean2));
        CU_ASSERT(t->carried2 == 0 && t->cross2 == 0);
    }
    CU_ASSERT_EQUAL(r->columns[0].quantized, 1);
    quant_propagate_free(ctx, r);
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

TEST_SUITE(propagate, {"hybrid stacks give the terms and telescope", hybrid_stacks},
           {"quantizing nothing is exactly nothing", quantizing_nothing_is_exactly_nothing},
           {"threads do not matter", threads_do_not_matter},
           {"arithmetic is a term of its own", arithmetic_is_its_own_term},
           {"scores fit the softmax", scores_fit_the_softmax})
