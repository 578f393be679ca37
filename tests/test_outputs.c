/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Outputs of compare: seeded and real inputs, stacks, dead matrices, gate/up/down. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/compare.h"
#include "quant/random.h"
#include "tests/lab_bank.h"
#include "tests/test.h"

static quant_compare_result *compare_one(quant_context *ctx, quant_bank *bank, const char *scheme,
                                         quant_compare_options options)
{
    quant_scheme s;
    quant_compare_result *r = NULL;
    CHECK_OK(ctx, quant_scheme_parse(ctx, scheme, &s));
    options.schemes = &s;
    options.scheme_count = 1;
    CHECK_OK(ctx, quant_compare(ctx, bank, &options, &r));
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    return r;
}

/* ---- a plain computation ------------------------------------------------------------------ */

enum { K = 3, SEED = 11 };

/* Inputs of unit norm for a name: x[K][cols]. */
static void plain_inputs(const char *name, size_t cols, long double *x)
{
    quant_random stream = quant_random_stream(SEED, name);
    for (size_t k = 0; k < K; k++) {
        long double norm2 = 0;
        for (size_t c = 0; c < cols; c++) {
            x[k * cols + c] = quant_random_normal(&stream, k * cols + c);
            norm2 += x[k * cols + c] * x[k * cols + c];
        }
        for (size_t c = 0; c < cols; c++) {
            x[k * cols + c] /= sqrtl(norm2);
        }
    }
}

static void plain_product(const float *w, size_t rows, size_t cols, const long double *x,
                          long double *y)
{
    for (size_t r = 0; r < rows; r++) {
        y[r] = 0;
        for (size_t c = 0; c < cols; c++) {
            y[r] += (long double)w[r * cols + c] * x[c];
        }
    }
}

/* Pooled energies, mean and least cosine over pairs. */
typedef struct plain_pairs {
    size_t pairs, live;
    long double ref2, got2, dot, err2, sum, least;
} plain_pairs;

static void plain_add(plain_pairs *p, const long double *a, const long double *b, size_t n)
{
    long double ref2 = 0, got2 = 0, dot = 0;
    for (size_t i = 0; i < n; i++) {
        ref2 += a[i] * a[i];
        got2 += b[i] * b[i];
        dot += a[i] * b[i];
        p->err2 += (a[i] - b[i]) * (a[i] - b[i]);
    }
    p->pairs++;
    p->ref2 += ref2;
    p->got2 += got2;
    p->dot += dot;
    if (ref2 > 0 || got2 > 0) {
        long double cosine = ref2 > 0 && got2 > 0 ? dot / sqrtl(ref2 * got2) : 0;
        p->least = p->live && p->least < cosine ? p->least : cosine;
        p->sum += cosine;
        p->live++;
    }
}

/* Outputs come from double sums of at most 200 products of magnitude <= |w||x|: 1e-13 relative to
 * the norms; squares of errors that small relative to the error itself need 1e-9. */
static bool pairs_agree(const quant_output_fidelity *o, const plain_pairs *p)
{
    bool counts = o->pairs == p->pairs && o->live == p->live;
    bool energies = fabsl(o->pooled.ref2 - p->ref2) <= 1e-12L * p->ref2 &&
                    fabsl(o->pooled.got2 - p->got2) <= 1e-12L * p->got2 &&
                    fabsl(o->pooled.dot - p->dot) <= 1e-12L * sqrtl(p->ref2 * p->got2) &&
                    fabsl(o->pooled.err2 - p->err2) <= 1e-9L * p->err2;
    if (p->live == 0) {
        return counts && isnan(o->cosine_mean) && isnan(o->cosine_min);
    }
    return counts && energies && fabsl(o->cosine_min - p->least) <= 1e-12L &&
           fabsl(o->cosine_mean - p->sum / (long double)p->live) <= 1e-12L;
}

static float *decoded(const char *text, const quant_shape *shape, const float *w, size_t n)
{
    quant_scheme s;
    quant_layout layout;
    float *y = malloc(n * sizeof *y);
    CHECK_OK(NULL, quant_scheme_parse(NULL, text, &s));
    s = quant_scheme_for_shape(&s, shape);
    CHECK_OK(NULL, quant_encode_layout(NULL, &s, shape, &layout));
    void *packed = malloc(layout.bytes);
    CHECK_OK(NULL, quant_encode(NULL, &s, shape, w, packed, layout.bytes, NULL));
    CHECK_OK(NULL, quant_decode(NULL, &s, shape, packed, layout.bytes, y));
    free(packed);
    return y;
}

/* Every matrix of a stack sees the same K inputs. */
static plain_pairs plain_outputs(const char *name, const size_t view[3], const float *w,
                                 const float *w_hat)
{
    plain_pairs p = {0};
    size_t rows = view[1], cols = view[2];
    long double *x = malloc((K * cols + 2 * rows) * sizeof *x), *y = x + K * cols, *z = y + rows;
    plain_inputs(name, cols, x);
    for (size_t m = 0; m < view[0]; m++) {
        for (size_t k = 0; k < K; k++) {
            plain_product(w + m * rows * cols, rows, cols, x + k * cols, y);
            plain_product(w_hat + m * rows * cols, rows, cols, x + k * cols, z);
            plain_add(&p, y, z, rows);
        }
    }
    free(x);
    return p;
}

static void outputs_agree_with_a_plain_computation(void)
{
    static const struct {
        const char *scheme;
        quant_shape shape;
        size_t view[3];
    } rows[] = {
        {"int4:block=32", {2, {24, 37}}, {1, 24, 37}},
        {"lut2:tensor", {2, {24, 37}}, {1, 24, 37}},
        {"int4:channel", {3, {6, 5, 7}}, {1, 6, 35}},
        {"int4:channel,stack=1", {3, {6, 5, 7}}, {6, 5, 7}},
        {"int3:tensor,stack=2", {4, {2, 3, 8, 9}}, {6, 8, 9}},
        {"int3:tensor,stack=2", {3, {2, 3, 40}}, {2, 3, 40}}, /* two axes are a matrix */
        {"int2:tensor", {2, {1, 90}}, {1, 1, 90}},
        {"bf16", {2, {90, 1}}, {1, 90, 1}},
        {"int3:block=32", {2, {5, 300007}}, {1, 5, 300007}}, /* rows cross spans */
    };
    quant_context *ctx = quant_context_new(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n = rows[i].view[0] * rows[i].view[1] * rows[i].view[2];
        float *w = lab_bank_normals(i, "w", n, 0.1);
        const lab_bank_item item = {"w", QUANT_F32, rows[i].shape, w};
        quant_bank *bank = lab_bank_make(ctx, "outputs.safetensors", &item, 1);
        quant_compare_options options = {.probe = K, .seed = SEED};
        quant_compare_result *r = compare_one(ctx, bank, rows[i].scheme, options);
        float *w_hat = decoded(rows[i].scheme, &rows[i].shape, w, n);
        plain_pairs p = plain_outputs("w", rows[i].view, w, w_hat);
        CU_ASSERT_EQUAL_FATAL(r->row_count, 1);
        CU_ASSERT_TRUE(pairs_agree(&r->rows[0].output, &p));
        CU_ASSERT_EQUAL(r->summary[0].output.pairs, p.pairs);
        CU_ASSERT_EQUAL(r->triple_count, 0);
        quant_fidelity whole = quant_fidelity_f32(NULL, w, w_hat, n);
        CU_ASSERT_EQUAL(memcmp(&whole, &r->rows[0].weight, sizeof whole), 0);
        quant_compare_free(ctx, r);
        quant_bank_close(ctx, bank);
        free(w);
        free(w_hat);
    }
    quant_context_free(ctx);
}

/* ---- dead matrices ------------------------------------------------------------------------ */

static void a_dead_expert_is_counted_apart(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(1, "w", 5 * 64, 1);
    memset(w + 64, 0, 64 * sizeof *w);
    memset(w + 192, 0, 64 * sizeof *w);
    const lab_bank_item item = {"experts", QUANT_F32, {3, {5, 8, 8}}, w};
    quant_bank *bank = lab_bank_make(ctx, "dead.safetensors", &item, 1);
    quant_compare_result *r = compare_one(ctx, bank, "int8:tensor,stack=1",
                                          (quant_compare_options){.probe = 1});
    const quant_output_fidelity *o = &r->rows[0].output;
    CU_ASSERT_EQUAL(o->pairs, 5);
    CU_ASSERT_EQUAL(o->live, 3);
    CU_ASSERT(o->cosine_mean > 0.999 && o->cosine_min > 0.999 && o->cosine_mean <= 1);
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    memset(w, 0, 5 * 64 * sizeof *w);
    bank = lab_bank_make(ctx, "dead.safetensors", &item, 1);
    r = compare_one(ctx, bank, "int8:tensor,stack=1", (quant_compare_options){.probe = 2});
    CU_ASSERT_EQUAL(r->rows[0].output.pairs, 10);
    CU_ASSERT_EQUAL(r->rows[0].output.live, 0);
    CU_ASSERT(isnan(r->rows[0].output.cosine_mean) && isnan(r->summary[0].output.cosine_min));
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    free(w);
    quant_context_free(ctx);
}

/* ---- real inputs -------------------------------------------------------------------------- */

static void real_inputs_are_found_by_name(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(1, "w", 48, 1);
    float x[12] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2};
    const lab_bank_item items[] = {{"a", QUANT_F32, {2, {8, 6}}, w},
                                   {"b", QUANT_F32, {2, {8, 6}}, w}};
    const lab_bank_item inputs[] = {{"a", QUANT_F32, {2, {2, 6}}, x},
                                    {"b", QUANT_F32, {2, {3, 4}}, x}};
    quant_bank *bank = lab_bank_make(ctx, "with.safetensors", items, 2);
    quant_bank *given = lab_bank_make(ctx, "inputs.safetensors", inputs, 1);
    quant_compare_options options = {.inputs = given, .probe = 7};
    quant_compare_result *r = compare_one(ctx, bank, "int4:tensor", options);
    float *w_hat = decoded("int4:tensor", &items[0].shape, w, 48);
    plain_pairs p = {0};
    for (int k = 0; k < 2; k++) {
        long double y[8], z[8];
        for (size_t i = 0; i < 8; i++) {
            y[i] = k ? 2.0L * w[i * 6 + 5] : (long double)w[i * 6];
            z[i] = k ? 2.0L * w_hat[i * 6 + 5] : (long double)w_hat[i * 6];
        }
        plain_add(&p, y, z, 8);
    }
    CU_ASSERT_TRUE(pairs_agree(&r->rows[0].output, &p));
    CU_ASSERT_EQUAL(r->rows[1].output.pairs, 0);
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, given);
    given = lab_bank_make(ctx, "inputs.safetensors", inputs, 2);
    quant_scheme s;
    CHECK_OK(ctx, quant_scheme_parse(ctx, "bf16", &s));
    options = (quant_compare_options){.inputs = given, .schemes = &s, .scheme_count = 1};
    CU_ASSERT_EQUAL(quant_compare(ctx, bank, &options, &r), QUANT_ESHAPE);
    CU_ASSERT_PTR_NULL(r);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "b: "));
    quant_bank_close(ctx, given);
    quant_bank_close(ctx, bank);
    free(w);
    free(w_hat);
    quant_context_free(ctx);
}

/* ---- gate, up, down ----------------------------------------------------------------------- */

enum { E = 3, H = 20, IN = 16, OUT = 12 };

static void plain_chain(float *const w[3], size_t e, const long double *x, long double *y)
{
    long double g[H], u[H];
    plain_product(w[0] + e * H * IN, H, IN, x, g);
    plain_product(w[1] + e * H * IN, H, IN, x, u);
    for (size_t i = 0; i < H; i++) {
        g[i] = g[i] / (1 + expl(-g[i])) * u[i];
    }
    plain_product(w[2] + e * OUT * H, OUT, H, g, y);
}

static plain_pairs plain_triple(const char *name, size_t experts, float *const w[3],
                                float *const w_hat[3])
{
    plain_pairs p = {0};
    long double x[K * IN], y[OUT], z[OUT];
    plain_inputs(name, IN, x);
    for (size_t e = 0; e < experts; e++) {
        for (size_t k = 0; k < K; k++) {
            plain_chain(w, e, x + k * IN, y);
            plain_chain(w_hat, e, x + k * IN, z);
            plain_add(&p, y, z, OUT);
        }
    }
    return p;
}

static const char *const triple_names[][4] = {
    {"l.0.mlp.gate_proj.weight", "l.0.mlp.up_proj.weight", "l.0.mlp.down_proj.weight",
     "l.0.mlp.*_proj.weight"},
    {"blk.1.ffn_gate_exps.weight", "blk.1.ffn_up_exps.weight", "blk.1.ffn_down_exps.weight",
     "blk.1.ffn_*_exps.weight"},
    {"x/w1", "x/w3", "x/w2", "x/w*"},
    {"gate", "up", "down", "*"},
    {"ffn_gate", "ffn_up", "ffn_down", "ffn_*"},
};
static const int triple_orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                        {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* Names of gate, up, down and of the triple; every order of the three in the file. */
static void triples_are_recognized_in_any_order(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w[3], *w_hat[3];
    const quant_shape shape[3] = {{3, {E, H, IN}}, {3, {E, H, IN}}, {3, {E, OUT, H}}};
    for (size_t p = 0; p < 3; p++) {
        size_t n = p < 2 ? E * H * IN : E * OUT * H;
        w[p] = lab_bank_normals(p, "part", n, 2);
        w_hat[p] = decoded("int4:channel,stack=1", &shape[p], w[p], n);
    }
    for (size_t i = 0; i < 30; i++) {
        const char *const *name = triple_names[i / 6];
        lab_bank_item items[4] = {{"other", QUANT_F32, {3, {2, 2, 2}}, w[0]}};
        for (size_t j = 0; j < 3; j++) {
            size_t p = (size_t)triple_orders[i % 6][j];
            items[1 + j] = (lab_bank_item){name[p], QUANT_F32, shape[p], w[p]};
        }
        quant_bank *bank = lab_bank_make(ctx, "triple.safetensors", items, 4);
        quant_compare_result *r = compare_one(ctx, bank, "int4:channel,stack=1",
                                              (quant_compare_options){.probe = K, .seed = SEED});
        plain_pairs p = plain_triple(name[3], E, w, w_hat);
        CU_ASSERT_EQUAL_FATAL(r->triple_count, 1);
        CU_ASSERT_STRING_EQUAL(r->triples[0].name, name[3]);
        CU_ASSERT_TRUE(pairs_agree(&r->triples[0].output, &p));
        CU_ASSERT_EQUAL_FATAL(r->row_count, 4);
        for (size_t j = 0; j < 4; j++) {
            CU_ASSERT_EQUAL(r->rows[j].tensor, j);
            CU_ASSERT_EQUAL(r->rows[j].output.pairs, j ? E * K : 2 * K);
        }
        quant_compare_free(ctx, r);
        quant_bank_close(ctx, bank);
    }
    for (size_t p = 0; p < 3; p++) {
        free(w[p]);
        free(w_hat[p]);
    }
    quant_context_free(ctx);
}

static void what_is_no_triple_is_left_alone(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(0, "w", 4096, 1), *bad = lab_bank_normals(1, "w", 4096, 1);
    bad[17] = NAN;
    const lab_bank_item items[] = {
        {"a.gate_proj", QUANT_F32, {2, {8, 4}}, w}, {"a.up_proj", QUANT_F32, {2, {8, 4}}, w},
        {"a.down_proj", QUANT_F32, {2, {4, 7}}, w}, /* does not fit */
        {"b.gate", QUANT_F32, {2, {8, 4}}, w}, {"b.up", QUANT_F32, {2, {8, 4}}, w},
        {"c.w1", QUANT_F32, {2, {8, 4}}, w}, {"c.w2", QUANT_F32, {2, {4, 8}}, bad},
        {"c.w3", QUANT_F32, {2, {8, 4}}, w}, {"d.gate_projection", QUANT_F32, {2, {8, 4}}, w},
    };
    quant_bank *bank = lab_bank_make(ctx, "none.safetensors", items, 9);
    quant_compare_result *r = compare_one(ctx, bank, "int8:tensor",
                                          (quant_compare_options){.probe = 1});
    CU_ASSERT_EQUAL(r->triple_count, 0);
    CU_ASSERT_EQUAL(r->row_count, 8);
    CU_ASSERT_EQUAL(r->refused_count, 1);
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    free(w);
    free(bad);
    quant_context_free(ctx);
}

/* Weight cosine at the best 4-bit table is 0.9953 for a Gaussian; three factors of it, and the
 * curvature of silu, leave about 0.985 of a gated output. */
static void outputs_lose_more_than_weights(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(5, "gauss", 3 * 192 * 128, 1);
    const lab_bank_item items[] = {{"gate", QUANT_F32, {2, {192, 128}}, w},
                                   {"up", QUANT_F32, {2, {192, 128}}, w + 192 * 128},
                                   {"down", QUANT_F32, {2, {128, 192}}, w + 2 * 192 * 128}};
    quant_bank *bank = lab_bank_make(ctx, "gauss.safetensors", items, 3);
    quant_compare_result *r = compare_one(ctx, bank, "lut4:tensor",
                                          (quant_compare_options){.probe = 16});
    CU_ASSERT_DOUBLE_EQUAL(quant_cosine(&r->summary[0].weight), 0.9953, 0.0003);
    CU_ASSERT_DOUBLE_EQUAL(r->rows[0].output.cosine_mean, 0.9953, 0.001);
    CU_ASSERT_EQUAL_FATAL(r->triple_count, 1);
    CU_ASSERT_DOUBLE_EQUAL(r->triples[0].output.cosine_mean, 0.985, 0.004);
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    free(w);
    quant_context_free(ctx);
}

TEST_SUITE(outputs,
           {"outputs agree with a plain computation", outputs_agree_with_a_plain_computation},
           {"a dead expert is counted apart", a_dead_expert_is_counted_apart},
           {"real inputs are found by name", real_inputs_are_found_by_name},
           {"triples are recognized in any order", triples_are_recognized_in_any_order},
           {"what is no triple is left alone", what_is_no_triple_is_left_alone},
           {"outputs lose more than weights", outputs_lose_more_than_weights})
