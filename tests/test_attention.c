/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_attention.c - the online form against the plain one and against doubles; short memory;
 * what models and tokens are refused for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/fidelity.h"
#include "quant/model/attention.h"
#include "quant/model/gemm.h"
#include "tests/scratch.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

typedef struct sample {
    model_ops ops;
    model_attention a;
    float *q, *k, *v, *online, *plain, *scratch;
    size_t n;
} sample;

static float *normals(draw *d, size_t n, double scale)
{
    float *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)(scale * draw_normal(d));
    }
    return x;
}

static void sample_fill(sample *s, draw *d, size_t longest)
{
    model_attention *a = &s->a;
    s->ops = (model_ops){QUANT_COMPUTE_F32, (int)draw_int(d, 1, 3)};
    a->ops = &s->ops;
    a->sequences = (size_t)draw_int(d, 1, 2);
    a->length = (size_t)draw_int(d, 1, (int64_t)longest);
    a->kv_heads = (size_t)draw_int(d, 1, 2);
    a->heads = a->kv_heads * (size_t)draw_int(d, 1, 2);
    a->head_dim = (size_t)draw_int(d, 1, 20);
    a->window = draw_int(d, 0, 1) ? (size_t)draw_int(d, 1, (int64_t)longest) : 0;
    size_t rows = a->sequences * a->length;
    double sharp = draw_int(d, 0, 3) ? 1 : 6; /* some softmax weights near one */
    s->n = rows * a->heads * a->head_dim;
    a->q = s->q = normals(d, s->n, sharp);
    a->k = s->k = normals(d, rows * a->kv_heads * a->head_dim, sharp);
    a->v = s->v = normals(d, rows * a->kv_heads * a->head_dim, 1);
    s->online = calloc(s->n + 1, sizeof(float));
    s->plain = calloc(s->n + 1, sizeof(float));
    size_t room = model_attention_scratch(a, false), other = model_attention_scratch(a, true);
    a->scratch = s->scratch = malloc(3 * (room > other ? room : other) * sizeof(float));
}

static void sample_free(sample *s)
{
    free(s->q);
    free(s->k);
    free(s->v);
    free(s->online);
    free(s->plain);
    free(s->scratch);
}

/* One output in double, straight from the definition. */
static double by_definition(const model_attention *a, size_t sequence, size_t i, size_t h, size_t c)
{
    size_t d = a->head_dim, g = h / (a->heads / a->kv_heads), row = sequence * a->length;
    double sum = 0, y = 0;
    for (size_t j = 0; j <= i; j++) {
        double dot = 0;
        for (size_t e = 0; e < d; e++) {
            dot += (double)a->q[((row + i) * a->heads + h) * d + e] *
                   (double)a->k[((row + j) * a->kv_heads + g) * d + e];
        }
        double w = a->window == 0 || i - j < a->window ? exp(dot / sqrt((double)d)) : 0;
        sum += w;
        y += w * (double)a->v[((row + j) * a->kv_heads + g) * d + c];
    }
    return y / sum;
}

static void spot_check(const sample *s, draw *d, uint64_t k)
{
    const model_attention *a = &s->a;
    for (int t = 0; t < 8; t++) {
        size_t i = (size_t)draw_int(d, 0, (int64_t)a->length - 1);
        size_t q = (size_t)draw_int(d, 0, (int64_t)a->sequences - 1);
        size_t h = (size_t)draw_int(d, 0, (int64_t)a->heads - 1);
        size_t c = (size_t)draw_int(d, 0, (int64_t)a->head_dim - 1);
        size_t at = ((q * a->length + i) * a->heads + h) * a->head_dim + c;
        double want = by_definition(a, q, i, h, c);
        /* scores up to about 36 * 20 / sqrt(20) carry errors of 2^-24 of that into exp */
        if (!(fabs(want - (double)s->online[at]) <= 2e-4)) {
            test_failed_case(k, "element %zu: expected %g, found %g", at, want,
                             (double)s->online[at]);
            CU_FAIL("by definition");
        }
    }
}

static void online_is_plain(void)
{
    double worst = 1;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("attention", k);
        sample s = {.n = 0};
        sample_fill(&s, &d, k % 20 == 0 ? 300 : 70);
        s.a.y = s.plain;
        model_attend_plain(&s.a);
        s.a.y = s.online;
        model_attend(&s.a);
        quant_fidelity f = quant_fidelity_f32(NULL, s.plain, s.online, s.n);
        worst = quant_cosine(&f) < worst ? quant_cosine(&f) : worst;
        if (!(quant_cosine(&f) > 0.999999)) {
            test_failed_case(k, "length %zu, window %zu: cosine %.9f", s.a.length, s.a.window,
                             quant_cosine(&f));
            CU_FAIL("cosine");
        }
        spot_check(&s, &d, k);
        sample_free(&s);
    }
    printf("\n    1 - cosine at worst %.2g ", 1 - worst);
}

/* Memory of the online form does not grow with the length. */
static void memory_does_not_grow(void)
{
    const model_attention small = {.length = 10, .head_dim = 64}, large = {.length = 1u << 20,
                                                                          .head_dim = 64};
    CU_ASSERT_EQUAL(model_attention_scratch(&small, false), model_attention_scratch(&large, false));
    CU_ASSERT_EQUAL(model_attention_scratch(&large, true), 1u << 20);
}

static void weights_are_shares(void)
{
    for (uint64_t k = 0; k < 20; k++) {
        draw d = draw_begin("shares", k);
        sample s = {.n = 0};
        sample_fill(&s, &d, 40);
        const model_attention *a = &s.a;
        float *w = malloc(a->heads * a->length * a->length * sizeof *w);
        model_attention_weights(a, a->sequences - 1, w);
        for (size_t r = 0; r < a->heads * a->length; r++) {
            double sum = 0;
            size_t i = r % a->length;
            for (size_t j = 0; j < a->length; j++) {
                bool seen = j <= i && (a->window == 0 || i - j < a->window);
                CU_ASSERT(seen || w[r * a->length + j] == 0);
                sum += (double)w[r * a->length + j];
            }
            CU_ASSERT(fabs(sum - 1) < 1e-5);
        }
        free(w);
        sample_free(&s);
    }
}

/* ---- threads -------------------------------------------------------------------------------- */

/* Work large enough that threads are really started gives the same bytes for 1 and 4. */
static void threads_do_not_matter(void)
{
    enum { N = 640 };
    draw d = draw_begin("threads", 0);
    float *x = normals(&d, N * N, 1), *w = normals(&d, N * N, 1);
    float *y[2] = {malloc(N * N * sizeof(float)), malloc(N * N * sizeof(float))};
    float *z[2] = {calloc(N * N, sizeof(float)), calloc(N * N, sizeof(float))};
    for (int t = 0; t < 2; t++) {
        const model_ops ops = {QUANT_COMPUTE_BF16, t ? 4 : 1};
        const model_product p = {x, w, y[t], N, N, N};
        model_attention a = {.ops = &ops, .q = y[t], .k = w, .v = x, .y = z[t], .sequences = 1,
                             .length = N, .heads = 10, .kv_heads = 10, .head_dim = N / 10};
        size_t room = model_attention_scratch(&a, false);
        a.scratch = malloc((size_t)ops.threads * room * sizeof(float));
        model_gemm_begin();
        model_gemm(&p, ops.threads);
        model_round_rows(&ops, y[t], N, N);
        model_norm(&ops, y[t], w, 1e-5, N, N, y[t]);
        model_activate(&ops, MODEL_GELU_TANH, y[t], w, N, N);
        model_attend(&a);
        model_add(&ops, z[t], y[t], N, N);
        model_cap(&ops, 3, z[t], N, N);
        free(a.scratch);
    }
    CU_ASSERT_EQUAL(memcmp(y[0], y[1], N * N * sizeof(float)), 0);
    CU_ASSERT_EQUAL(memcmp(z[0], z[1], N * N * sizeof(float)), 0);
    for (int t = 0; t < 2; t++) {
        free(y[t]);
        free(z[t]);
    }
    free(x);
    free(w);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static quant_status open_says(quant_context *ctx, const char *path, const char *what)
{
    quant_model *model = NULL;
    quant_status s = quant_model_open(ctx, path, &model);
    CU_ASSERT((s == QUANT_OK) == (model != NULL));
    if (s != QUANT_OK && !strstr(quant_context_message(ctx), what)) {
        printf("\n    expected \"%s\" in: %s", what, quant_context_message(ctx));
        CU_FAIL("message");
    }
    quant_model_close(ctx, model);
    return s;
}

static void configurations_are_refused(void)
{
    static const struct {
        const char *line, *says;
        quant_status expected;
    } rows[] = {
        {"", "", QUANT_OK},
        {"\"unknown_key\": 7, ", "", QUANT_OK},
        {"\"hidden_act\": \"silu\", \"rope_scaling\": null, \"attention_bias\": false, ", "",
         QUANT_OK},
        {"\"hidden_act\": \"relu\", ", "hidden_act", QUANT_EUNSUPPORTED},
        {"\"rope_scaling\": {\"type\": \"yarn\"}, ", "rope_scaling", QUANT_EUNSUPPORTED},
        {"\"attention_bias\": true, ", "attention_bias", QUANT_EUNSUPPORTED},
        {"\"quantization_config\": {}, ", "quantization_config", QUANT_EUNSUPPORTED},
        {"\"model_type\": \"llama\", ", "uplicate", QUANT_EDUP},
    };
    quant_context *ctx = quant_context_new(NULL);
    draw d = draw_begin("refused", 0);
    tiny_model *m = tiny_draw(ctx, &d, false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tiny_config(m, rows[i].line);
        quant_status s = open_says(ctx, m->folder, rows[i].says);
        CU_ASSERT_EQUAL(s, rows[i].expected);
    }
    static const struct {
        const char *text, *says;
        quant_status expected;
    } whole[] = {{"[]", "object", QUANT_ETYPE},
                 {"{}", "model_type", QUANT_EFIELD},
                 {"{\"model_type\": \"bert\"}", "llama", QUANT_EUNSUPPORTED},
                 {"{\"model_type\": \"llama\"}", "num_hidden_layers", QUANT_EFIELD},
                 {"{\"model_type\": \"llama\", \"num_hidden_layers\": \"5\"}", "num_hidden_layers",
                  QUANT_ETYPE},
                 {"{\"model_type\": \"llama\", \"num_hidden_layers\": -5}", "num_hidden_layers",
                  QUANT_ERANGE},
                 {"{", "config.json", QUANT_ESYNTAX}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        scratch_put(scratch_join(m->folder, "config.json"), whole[i].text, strlen(whole[i].text));
        CU_ASSERT_EQUAL(open_says(ctx, m->folder, whole[i].says), whole[i].expected);
    }
    remove(scratch_join(m->folder, "config.json"));
    CU_ASSERT_EQUAL(open_says(ctx, m->folder, "config.json"), QUANT_EIO);
    tiny_free(m);
    quant_context_free(ctx);
}

/* Without any one tensor, with any one size changed, with a tensor too many. */
static void tensors_must_fit(void)
{
    quant_context *ctx = quant_context_new(NULL);
    for (uint64_t moe = 0; moe < 2; moe++) {
        draw d = draw_begin("fit", moe);
        tiny_model *m = tiny_draw(ctx, &d, moe);
        for (size_t i = 0; i < m->count; i++) {
            tiny_weights(ctx, m, i);
            bool head = strcmp(m->t[i].name, "lm_head.weight") == 0 && m->tied;
            CU_ASSERT_EQUAL(open_says(ctx, m->folder, m->t[i].name),
                            head ? QUANT_OK : QUANT_EFIELD);
        }
        tiny_weights(ctx, m, SIZE_MAX);
        int *sizes[] = {&m->vocab, &m->heads, &m->inner, &m->width, &m->head_dim};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            *sizes[i] *= 2;
            tiny_config(m, "");
            *sizes[i] /= 2;
            CU_ASSERT_EQUAL(open_says(ctx, m->folder, "expected"), QUANT_ESHAPE);
        }
        m->layers--;
        tiny_config(m, "");
        m->layers++;
        CU_ASSERT_EQUAL(open_says(ctx, m->folder, m->layers > 1 ? "model.layers." : "layers"),
                        m->layers > 1 ? QUANT_EUNSUPPORTED : QUANT_ERANGE);
        tiny_free(m);
    }
    quant_context_free(ctx);
}

static void tokens_must_fit(void)
{
    quant_context *ctx = quant_context_new(NULL);
    draw d = draw_begin("tokens", 0);
    tiny_model *m = tiny_draw(ctx, &d, false);
    quant_model *model = NULL;
    CHECK_OK(ctx, quant_model_open(ctx, m->folder, &model));
    int64_t ids[4] = {0, 0, 0, 0};
    const int64_t wrong[] = {-1, m->vocab, INT64_MAX, INT64_MIN};
    const quant_forward_variant v = {.scheme = NULL};
    for (size_t i = 0; i < 4; i++) {
        ids[i] = wrong[i];
        CU_ASSERT_EQUAL(quant_forward_run(ctx, model, &(quant_tokens){ids, 2, 2}, &v, 1, NULL),
                        QUANT_ERANGE);
        char where[64];
        snprintf(where, sizeof where, "sequence %zu, position %zu", i / 2, i % 2);
        CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), where));
        ids[i] = 0;
    }
    CU_ASSERT_EQUAL(quant_forward_run(ctx, model, &(quant_tokens){ids, 0, 2}, &v, 1, NULL),
                    QUANT_ERANGE);
    CU_ASSERT_EQUAL(quant_forward_run(ctx, model, &(quant_tokens){ids, 2, 2}, &v, 0, NULL),
                    QUANT_EINVAL);
    quant_model_close(ctx, model);
    tiny_free(m);
    quant_context_free(ctx);
}

/* ---- short memory --------------------------------------------------------------------------- */

typedef struct counting {
    size_t held;
    long left;
    bool fired;
} counting;

static void *count_alloc(void *user, size_t n)
{
    counting *c = user;
    if (c->left-- == 0) {
        c->fired = true;
        return NULL;
    }
    c->held += n;
    return malloc(n);
}

static void count_release(void *user, void *memory, size_t n)
{
    ((counting *)user)->held -= n;
    free(memory);
}

static const quant_scheme *four_bits(void *user, const quant_tensor *t)
{
    (void)t;
    return user;
}

static quant_status open_and_run(quant_context *ctx, const tiny_model *m, quant_scheme *scheme)
{
    quant_model *model = NULL;
    int64_t ids[6] = {0}, out[8];
    quant_forward_variant v[2] = {{.scheme = NULL}, {.scheme = four_bits, .user = scheme}};
    quant_status s = quant_model_open(ctx, m->folder, &model);
    if (s == QUANT_OK) {
        s = quant_forward_run(ctx, model, &(quant_tokens){ids, 2, 3}, v, 2, NULL);
    }
    if (s == QUANT_OK) {
        s = quant_forward_greedy(ctx, model, &(quant_tokens){ids, 2, 3}, &v[1], NULL, 1, out);
    }
    quant_model_close(ctx, model);
    return s;
}

static void allocations_may_fail(void)
{
    quant_scheme scheme;
    CHECK_OK(NULL, quant_scheme_parse(NULL, "int4:block=32", &scheme));
    for (uint64_t moe = 0; moe < 2; moe++) {
        draw d = draw_begin("short", moe);
        tiny_model *m = tiny_draw(NULL, &d, moe);
        quant_status s = QUANT_ENOMEM;
        for (long k = 1; s != QUANT_OK && k < 5000; k++) {
            counting c = {.left = k};
            quant_context *ctx = quant_context_new(&(quant_allocator){count_alloc, count_release,
                                                                      &c});
            s = open_and_run(ctx, m, &scheme);
            CU_ASSERT_EQUAL(s, c.fired ? QUANT_ENOMEM : QUANT_OK);
            quant_context_free(ctx);
            CU_ASSERT_EQUAL(c.held, 0);
        }
        CU_ASSERT_EQUAL(s, QUANT_OK);
        tiny_free(m);
    }
}

TEST_SUITE(attention, {"online softmax is the plain one", online_is_plain},
           {"its memory does not depend on the length", memory_does_not_grow},
           {"softmax weights are shares of what is seen", weights_are_shares},
           {"threads do not change a byte", threads_do_not_matter},
           {"configurations that are not understood are refused", configurations_are_refused},
           {"tensors that are missing, misshapen or unknown are named", tensors_must_fit},
           {"tokens out of range are named", tokens_must_fit},
           {"any allocation may fail", allocations_may_fail})
