/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_matrix_chain.c - the chain analysis against products of whole matrices by dgemm, norms
 * against power iteration, and what the command says of a bank that is no model. */
#include <cblas.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/encode.h"
#include "quant/lab/chain.h"
#include "quant/random.h"
#include "tests/draw.h"
#include "tests/lab_bank.h"
#include "tests/run.h"
#include "tests/test.h"

enum { LINKS = 4, WIDEST = 12, SQUARE = WIDEST * WIDEST, INPUTS = QUANT_CHAIN_INPUTS };

static quant_context *ctx;

/* One chain; w and its decoded copy, both in double, row-major [out][in]. */
typedef struct example {
    int size[LINKS + 1]; /* matrix k is [size[k + 1], size[k]] */
    float *w[LINKS];
    double a[LINKS][SQUARE], hat[LINKS][SQUARE];
    double x[WIDEST * INPUTS]; /* [in][INPUTS] */
    quant_bank *bank;
} example;

static void decoded(const quant_scheme *scheme, const float *w, int out, int in, double *hat)
{
    float copy[SQUARE];
    unsigned char packed[8 * SQUARE];
    quant_shape shape = {2, {(uint64_t)out, (uint64_t)in}};
    quant_layout layout;
    CHECK_OK(ctx, quant_encode_layout(ctx, scheme, &shape, &layout));
    CHECK_OK(ctx, quant_encode(ctx, scheme, &shape, w, packed, layout.bytes, NULL));
    CHECK_OK(ctx, quant_decode(ctx, scheme, &shape, packed, layout.bytes, copy));
    for (int i = 0; i < out * in; i++) {
        hat[i] = (double)copy[i];
    }
}

/* A bias between matrices, and a lone matrix at the end that fits nothing. */
static void make(draw *d, uint64_t seed, const quant_scheme *scheme, example *e)
{
    static const char *const names[LINKS] = {"l0", "l1", "l2", "l3"};
    static const float nothing[WIDEST * (WIDEST + 1)] = {0};
    lab_bank_item items[LINKS + 2];
    for (int k = 0; k <= LINKS; k++) {
        e->size[k] = (int)draw_int(d, 1, WIDEST);
    }
    for (int k = 0; k < LINKS; k++) {
        int out = e->size[k + 1], in = e->size[k], n = out * in;
        e->w[k] = lab_bank_normals(seed, names[k], (size_t)n, 1 / sqrt(in));
        for (int i = 0; i < n; i++) {
            e->a[k][i] = (double)e->w[k][i];
        }
        decoded(scheme, e->w[k], out, in, e->hat[k]);
        items[k + (k > 1)] = (lab_bank_item){names[k], QUANT_F32,
                                             {2, {(uint64_t)out, (uint64_t)in}}, e->w[k]};
    }
    items[2] = (lab_bank_item){"bias", QUANT_F32, {1, {WIDEST}}, nothing};
    items[LINKS + 1] = (lab_bank_item){"lone", QUANT_F32, {2, {WIDEST, WIDEST + 1}}, nothing};
    e->bank = lab_bank_make(ctx, "chain.safetensors", items, LINKS + 2);
    quant_random stream = quant_random_stream(7, "l0");
    for (int k = 0; k < INPUTS; k++) {
        double sum = 0;
        for (int c = 0; c < e->size[0]; c++) {
            double x = quant_random_normal(&stream, (uint64_t)(k * e->size[0] + c));
            e->x[c * INPUTS + k] = x;
            sum += x * x;
        }
        for (int c = 0; c < e->size[0]; c++) {
            e->x[c * INPUTS + k] /= sqrt(sum);
        }
    }
}

static void drop(example *e)
{
    for (int k = 0; k < LINKS; k++) {
        free(e->w[k]);
    }
    quant_bank_close(ctx, e->bank);
}

/* Product of matrices 0 .. k - 1, copies where quantized, and with `last` on top; in double. */
static void product(const example *e, int k, int quantized, const double *last, double *out)
{
    double p[SQUARE] = {0}, next[SQUARE];
    int in = e->size[0];
    for (int i = 0; i < in; i++) {
        p[i * in + i] = 1;
    }
    for (int l = 0; l <= k; l++) {
        const double *m = l == k ? last : quantized ? e->hat[l] : e->a[l];
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, e->size[l + 1], in, e->size[l], 1, m,
                    e->size[l], p, in, 0, next, in);
        memcpy(p, next, sizeof p);
    }
    memcpy(out, p, sizeof p);
}

/* |(A - B - C + D) X| over all inputs, 0 where NULL. */
static double energy(const example *e, int k, const double *const m[4])
{
    static const double sign[] = {1, -1, -1, 1};
    double sum = 0;
    for (int r = 0; r < e->size[k + 1]; r++) {
        for (int i = 0; i < INPUTS; i++) {
            double y = 0;
            for (int c = 0; c < e->size[0]; c++) {
                double v = 0;
                for (int t = 0; t < 4; t++) {
                    v += m[t] ? sign[t] * m[t][r * e->size[0] + c] : 0;
                }
                y += v * e->x[c * INPUTS + i];
            }
            sum += y * y;
        }
    }
    return sum;
}

static int near(double energy_got, double energy_want, double clean)
{
    return fabs(sqrt(energy_got) - sqrt(energy_want)) <= 1e-12 * sqrt(clean);
}

/* By power iteration on A^T A, many steps; a lower bound that comes close. */
static double norm_from_below(const double *a, int out, int in)
{
    double x[WIDEST], y[WIDEST], norm = 0;
    for (int i = 0; i < in; i++) {
        x[i] = 1 + 0.1 * i;
    }
    for (int step = 0; step < 2000; step++) {
        double length = cblas_dnrm2(in, x, 1);
        for (int i = 0; i < in; i++) {
            x[i] /= length > 0 ? length : 1;
        }
        cblas_dgemv(CblasRowMajor, CblasNoTrans, out, in, 1, a, in, x, 1, 0, y, 1);
        norm = cblas_dnrm2(out, y, 1);
        cblas_dgemv(CblasRowMajor, CblasTrans, out, in, 1, a, in, y, 1, 0, x, 1);
    }
    return norm;
}

static int norms_agree(const example *e, int k, const quant_chain_result *r)
{
    const quant_chain_step *s = &r->columns[0].steps[k];
    int out = e->size[k + 1], in = e->size[k];
    double diff[SQUARE], below, error_below;
    for (int i = 0; i < out * in; i++) {
        diff[i] = e->hat[k][i] - e->a[k][i];
    }
    below = norm_from_below(e->a[k], out, in);
    error_below = norm_from_below(diff, out, in);
    return r->links[k].norm >= below * (1 - 1e-12) && r->links[k].norm <= below * 1.01 &&
           s->error_norm >= error_below * (1 - 1e-12) - 1e-300 &&
           s->error_norm <= error_below * 1.05 + 1e-12;
}

static int link_agrees(const example *e, int k, const quant_chain_result *r)
{
    const quant_chain_step *s = &r->columns[0].steps[k];
    double clean[SQUARE], both[SQUARE], injected[SQUARE], carried[SQUARE];
    product(e, k, 0, e->a[k], clean);
    product(e, k, 1, e->hat[k], both);
    product(e, k, 0, e->hat[k], injected);
    product(e, k, 1, e->a[k], carried);
    const double *const y[4] = {clean, NULL, NULL, NULL}, *const er[4] = {both, clean, NULL, NULL};
    const double *const in[4] = {injected, clean, NULL, NULL};
    const double *const ca[4] = {carried, clean, NULL, NULL};
    const double *const cr[4] = {both, injected, carried, clean};
    double size = s->terms.clean2 + energy(e, k, y);
    return near(s->terms.clean2, energy(e, k, y), size) &&
           near(s->terms.error2, energy(e, k, er), size) &&
           near(s->terms.injected2, energy(e, k, in), size) &&
           near(s->terms.carried2, energy(e, k, ca), size) &&
           near(s->terms.cross2, energy(e, k, cr), size) && s->worst <= s->bound + 1e-12 &&
           s->worst * s->worst * INPUTS >= s->terms.error2 * (1 - 1e-12) && s->quantized &&
           norms_agree(e, k, r);
}

static void chains_are_products(void)
{
    static const char *const texts[] = {"int8:channel", "int3:tensor", "lut2:tensor", "bf16"};
    uint64_t first = test_first_case(), last = test_last_case();
    example *e = calloc(1, sizeof *e);
    ctx = quant_context_new(NULL);
    last = !test_is_long() && last - first > 100 ? first + 100 : last;
    for (uint64_t k = first; k < last; k++) {
        draw d = draw_begin("matrix chain", k);
        quant_scheme scheme;
        quant_chain_result *r = NULL;
        CHECK_OK(ctx, quant_scheme_parse(ctx, texts[draw_int(&d, 0, 3)], &scheme));
        make(&d, k + test_seed(), &scheme, e);
        CHECK_OK(ctx, quant_chain_run(ctx, e->bank,
                                      &(quant_chain_options){.schemes = &scheme, .seed = 7,
                                                             .scheme_count = 1}, &r));
        int ok = r && r->chain_count == 1 && r->link_count == LINKS;
        for (int l = 0; l < LINKS && ok; l++) {
            ok = link_agrees(e, l, r);
        }
        CU_ASSERT(ok);
        if (!ok) {
            test_failed_case(k, "chain %d %d %d %d %d", e->size[0], e->size[1], e->size[2],
                             e->size[3], e->size[4]);
        }
        quant_chain_free(ctx, r);
        drop(e);
    }
    quant_context_free(ctx);
    free(e);
}

/* ---- the command ---------------------------------------------------------------------------- */

static void a_bank_is_no_model(void)
{
    static const struct {
        const char *options, *says;
        int status;
    } rows[] = {{"", "chain analysis of weight matrices, not of a model", 0},
                {"--format json", "\"schema\": \"quant.chain/1\"", 0},
                {"--format csv", "chain analysis,int8:channel,0,l0,", 0},
                {"--isolate layer", "--isolate: expected a model", 2},
                {"--tokens /dev/null", "config.json", 5}};
    example *e = calloc(1, sizeof *e);
    ctx = quant_context_new(NULL);
    draw d = draw_begin("matrix chain verb", 0);
    quant_scheme scheme;
    CHECK_OK(ctx, quant_scheme_parse(ctx, "int8:channel", &scheme));
    make(&d, 1, &scheme, e);
    run_result moved = run_shell("mkdir -p '%s' && cp '%s' '%s'/", test_scratch_path("lonely"),
                                 test_scratch_path("chain.safetensors"),
                                 test_scratch_path("lonely"));
    run_free(&moved);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        run_result r = run_shell("\"$QUANT\" propagate '%s' --schemes int8:channel %s",
                                 test_scratch_path("lonely"), rows[i].options);
        CU_ASSERT_EQUAL(r.status, rows[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(rows[i].status ? r.err : r.out, rows[i].says));
        run_free(&r);
    }
    run_result gone = run_shell("rm -r '%s'", test_scratch_path("lonely"));
    run_free(&gone);
    drop(e);
    quant_context_free(ctx);
    free(e);
}

static void real_banks(void)
{
    const char *path = test_bank_path("ani-2x/ani-2x-ensemble0.safetensors");
    if (path) {
        run_result r = run_shell("\"$QUANT\" propagate '%s' --schemes int8:channel", path);
        CU_ASSERT(r.status == 0 && strstr(r.out, ": 7 chains of 28 matrices, 32 inputs each\n"));
        run_free(&r);
    }
    path = test_bank_path("silero-vad/silero_vad_16k.safetensors");
    if (path) {
        run_result r = run_shell("\"$QUANT\" propagate '%s'", path);
        CU_ASSERT(r.status == 4 && strstr(r.err, "expected two matrices") && r.out_bytes == 0);
        run_free(&r);
    }
}

TEST_SUITE(matrix_chain, {"chains are products of matrices, norms are norms, bounds hold",
                          chains_are_products},
           {"a bank is no model, and says so", a_bank_is_no_model},
           {"real banks", real_banks})
