/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_attention.c - the online form against the plain one and against doubles; threads. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/fidelity.h"
#include "quant/model/attention.h"
#include "quant/model/gemm.h"
#include "tests/test.h"
#include "tests/draw.h"

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

TEST_SUITE(attention, {"online softmax is the plain one", online_is_plain},
           {"its memory does not depend on the length", memory_does_not_grow},
           {"softmax weights are shares of what is seen", weights_are_shares},
           {"threads do not change a byte", threads_do_not_matter})
