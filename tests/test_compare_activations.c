/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_compare_activations.c - w8a8 and w4a8 of compare against a plain computation in floats. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/compare.h"
#include "quant/quant.h"
#include "tests/lab_bank.h"
#include "tests/short_memory.h"
#include "tests/test.h"

enum { STACK = 2, ROWS = 40, COLS = 24, INPUTS = 9 };

static quant_compare_result *compare_one(quant_context *ctx, quant_bank *bank, quant_bank *inputs,
                                         const char *text)
{
    quant_scheme s;
    quant_compare_result *r = NULL;
    CHECK_OK(ctx, quant_scheme_parse(ctx, text, &s));
    const quant_compare_options o = {.schemes = &s, .scheme_count = 1, .inputs = inputs};
    CHECK_OK(ctx, quant_compare(ctx, bank, &o, &r));
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    return r;
}

/* Symmetric 8-bit codes of n values with the largest magnitude of `of`, decoded. */
static void plain_codes(const float *x, size_t n, float most, double *x_hat)
{
    float s = most / 127;
    for (size_t i = 0; i < n; i++) {
        double c = most > 0 ? rint((double)(x[i] / s)) : 0;
        x_hat[i] = (double)s * fmin(fmax(c, -127), 127);
    }
}

static float most_of(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    return most;
}

/* Energies of the error and its parts, one element at a time in plain loops. */
static void plain_parts(const float *w, const float *x, bool fixed, double energy[4])
{
    double x_hat[INPUTS * COLS], w_hat[COLS];
    for (size_t k = 0; k < INPUTS; k++) {
        float most = fixed ? most_of(x, INPUTS * COLS) : most_of(x + k * COLS, COLS);
        plain_codes(x + k * COLS, COLS, most, x_hat + k * COLS);
    }
    memset(energy, 0, 4 * sizeof *energy);
    for (size_t r = 0; r < STACK * ROWS; r++) {
        const float *row = w + r * COLS;
        plain_codes(row, COLS, most_of(row, COLS), w_hat);
        for (size_t k = 0; k < INPUTS; k++) {
            double y[4] = {0};
            for (size_t c = 0; c < COLS; c++) {
                double v = (double)x[k * COLS + c], v_hat = x_hat[k * COLS + c];
                y[0] += (double)row[c] * v;
                y[1] += w_hat[c] * v;
                y[2] += (double)row[c] * v_hat;
                y[3] += w_hat[c] * v_hat;
            }
            energy[0] += (y[3] - y[0]) * (y[3] - y[0]);
            energy[1] += (y[1] - y[0]) * (y[1] - y[0]);
            energy[2] += (y[2] - y[0]) * (y[2] - y[0]);
            energy[3] += pow(y[3] - y[1] - y[2] + y[0], 2);
        }
    }
}

/* Outputs are floats: relative roundings of 2^-24 on values some hundred times the error. */
static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-4 * fabs(b);
}

static void parts_are_the_plain_ones(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(3, "w", STACK * ROWS * COLS, 0.1);
    float *x = lab_bank_normals(4, "x", INPUTS * COLS, 2);
    const lab_bank_item weights = {"w", QUANT_F32, {3, {STACK, ROWS, COLS}}, w};
    const lab_bank_item given = {"w", QUANT_F32, {2, {INPUTS, COLS}}, x};
    quant_bank *bank = lab_bank_make(ctx, "w.safetensors", &weights, 1);
    quant_bank *inputs = lab_bank_make(ctx, "x.safetensors", &given, 1);
    for (int fixed = 0; fixed < 2; fixed++) {
        double energy[4];
        plain_parts(w, x, fixed, energy);
        quant_compare_result *r = compare_one(ctx, bank, inputs, fixed ? "w8a8,stack=1,act=static"
                                                                       : "w8a8,stack=1");
        quant_compare_result *only = compare_one(ctx, bank, inputs, "int8:channel,stack=1");
        const quant_output_parts *p = &r->rows[0].parts;
        quant_output_shares s = quant_output_shares_of(p);
        CU_ASSERT_EQUAL(p->n, STACK * ROWS * INPUTS);
        CU_ASSERT(near(p->error2, energy[0]) && near(p->weights2, energy[1]));
        CU_ASSERT(near(p->activations2, energy[2]));
        CU_ASSERT(fabs(p->cross2 - energy[3]) <= 0.01 * energy[3]); /* tiny beside the others */
        CU_ASSERT_DOUBLE_EQUAL(s.weights + s.activations + s.cross, 1, 1e-9);
        CU_ASSERT(near(r->rows[0].output.pooled.err2, p->error2));
        CU_ASSERT(near(only->rows[0].output.pooled.err2, p->weights2));
        CU_ASSERT_EQUAL(only->rows[0].parts.n, 0);
        CU_ASSERT_EQUAL(r->rows[0].weight.err2, only->rows[0].weight.err2);
        CU_ASSERT_EQUAL(p->saturated, 0);
        CU_ASSERT_EQUAL(p->inputs, INPUTS * COLS);
        quant_compare_free(ctx, r);
        quant_compare_free(ctx, only);
    }
    quant_bank_close(ctx, bank);
    quant_bank_close(ctx, inputs);
    free(w);
    free(x);
    quant_context_free(ctx);
}

/* gate/up/down with coded inputs before each matrix: larger error than with weights alone, and none
 * without a scheme that codes. */
static void blocks_code_their_inputs(void)
{
    enum { WIDE = 32 };
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(5, "mlp", 3 * WIDE * WIDE, 0.2);
    float *x = lab_bank_normals(6, "x", INPUTS * WIDE, 1);
    const lab_bank_item items[] = {{"gate", QUANT_F32, {2, {WIDE, WIDE}}, w},
                                   {"up", QUANT_F32, {2, {WIDE, WIDE}}, w + WIDE * WIDE},
                                   {"down", QUANT_F32, {2, {WIDE, WIDE}}, w + 2 * WIDE * WIDE}};
    const lab_bank_item given[] = {{"gate", QUANT_F32, {2, {INPUTS, WIDE}}, x}};
    quant_bank *bank = lab_bank_make(ctx, "mlp.safetensors", items, 3);
    quant_bank *inputs = lab_bank_make(ctx, "x.safetensors", given, 1);
    double error[3];
    static const char *const texts[] = {"int8:channel", "w8a8",
                                        "w8a8,act=static,obs=percentile:50"};
    for (int i = 0; i < 3; i++) {
        quant_compare_result *r = compare_one(ctx, bank, inputs, texts[i]);
        CU_ASSERT_EQUAL(r->triple_count, 1);
        error[i] = quant_relative_error(&r->triples[0].output.pooled);
        CU_ASSERT_EQUAL(r->rows[0].parts.saturated > 0, i == 2);
        quant_compare_free(ctx, r);
    }
    CU_ASSERT(error[0] < 0.9 * error[1] && error[1] < 0.05 && error[2] > 3 * error[1]);
    quant_bank_close(ctx, bank);
    quant_bank_close(ctx, inputs);
    free(w);
    free(x);
    quant_context_free(ctx);
}

/* All-zero inputs, a constant channel, a channel at 1e4 times the rest. */
static void odd_inputs_have_figures(void)
{
    static const char *const texts[] = {"w8a8", "w8a8,asym", "w8a8,act=static", "w4a8",
                                        "w8a8,act=static,obs=entropy", "w8a8,asym,act=static"};
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(7, "w", ROWS * COLS, 0.1);
    for (int kind = 0; kind < 3; kind++) {
        float *x = lab_bank_normals(8, "x", INPUTS * COLS, kind == 0 ? 0 : 1);
        for (size_t k = 0; kind > 0 && k < INPUTS; k++) {
            x[k * COLS + 5] = kind == 1 ? 3 : 1e4f * x[k * COLS + 5];
        }
        const lab_bank_item weights = {"w", QUANT_F32, {2, {ROWS, COLS}}, w};
        const lab_bank_item given = {"w", QUANT_F32, {2, {INPUTS, COLS}}, x};
        quant_bank *bank = lab_bank_make(ctx, "w.safetensors", &weights, 1);
        quant_bank *inputs = lab_bank_make(ctx, "x.safetensors", &given, 1);
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++) {
            quant_compare_result *r = compare_one(ctx, bank, inputs, texts[t]);
            CU_ASSERT_EQUAL(r->row_count, 1);
            const quant_compare_row *row = &r->rows[0];
            CU_ASSERT_EQUAL(row->output.live, kind == 0 ? 0 : INPUTS);
            CU_ASSERT(isfinite(row->parts.error2) && (row->parts.error2 > 0) == (kind > 0));
            quant_compare_free(ctx, r);
        }
        quant_bank_close(ctx, bank);
        quant_bank_close(ctx, inputs);
        free(x);
    }
    free(w);
    quant_context_free(ctx);
}

/* SmoothQuant by its formula in plain loops: codes of W diag(s) and diag(s)^-1 x, per token. */
static double plain_smooth(const float *w, const float *x, double alpha)
{
    double s[COLS], w_hat[COLS], x_hat[COLS], sum = 0;
    float row[COLS];
    for (size_t j = 0; j < COLS; j++) {
        float x_most = 0, w_most = 0;
        for (size_t k = 0; k < INPUTS; k++) {
            x_most = fmaxf(x_most, fabsf(x[k * COLS + j]));
        }
        for (size_t r = 0; r < ROWS; r++) {
            w_most = fmaxf(w_most, fabsf(w[r * COLS + j]));
        }
        s[j] = pow((double)x_most, alpha) / pow((double)w_most, 1 - alpha);
    }
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t j = 0; j < COLS; j++) {
            row[j] = w[r * COLS + j] * (float)s[j];
        }
        plain_codes(row, COLS, most_of(row, COLS), w_hat);
        for (size_t k = 0; k < INPUTS; k++) {
            float v[COLS];
            double y[2] = {0, 0};
            for (size_t j = 0; j < COLS; j++) {
                v[j] = x[k * COLS + j] / (float)s[j];
            }
            plain_codes(v, COLS, most_of(v, COLS), x_hat);
            for (size_t j = 0; j < COLS; j++) {
                y[0] += (double)w[r * COLS + j] * (double)x[k * COLS + j];
                y[1] += w_hat[j] * x_hat[j];
            }
            sum += (y[1] - y[0]) * (y[1] - y[0]);
        }
    }
    return sum;
}

/* Inputs with a few channels far above the rest: what the method is for. */
static void smoothing_is_its_formula_and_helps(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(12, "w", ROWS * COLS, 0.1);
    float *x = lab_bank_normals(13, "x", INPUTS * COLS, 1);
    for (size_t i = 0; i < INPUTS * COLS; i++) {
        x[i] *= i % COLS == 3 ? 100 : i % COLS == 11 ? 40 : 1;
    }
    const lab_bank_item weights = {"w", QUANT_F32, {2, {ROWS, COLS}}, w};
    const lab_bank_item given = {"w", QUANT_F32, {2, {INPUTS, COLS}}, x};
    quant_bank *bank = lab_bank_make(ctx, "w.safetensors", &weights, 1);
    quant_bank *inputs = lab_bank_make(ctx, "x.safetensors", &given, 1);
    static const char *const texts[] = {"w8a8", "w8a8,smooth=0.5", "w8a8,smooth=0.8",
                                        "w8a8,smooth=search", "w4a8", "w4a8,smooth=search"};
    double error[6], chosen[6];
    for (int i = 0; i < 6; i++) {
        quant_compare_result *r = compare_one(ctx, bank, inputs, texts[i]);
        const quant_output_parts *p = &r->rows[0].parts;
        quant_output_shares s = quant_output_shares_of(p);
        error[i] = p->error2;
        chosen[i] = r->rows[0].smooth;
        CU_ASSERT_DOUBLE_EQUAL(s.weights + s.activations + s.cross, 1, 1e-9);
        CU_ASSERT(r->rows[0].weight.err2 > 0);
        CU_ASSERT(i > 3 || quant_sqnr_db(&r->rows[0].weight) > 20); /* told in the weights' units */
        quant_compare_free(ctx, r);
    }
    CU_ASSERT(fabs(error[1] / plain_smooth(w, x, 0.5) - 1) < 1e-3);
    CU_ASSERT(fabs(error[2] / plain_smooth(w, x, 0.8) - 1) < 1e-3);
    CU_ASSERT(error[1] < 0.5 * error[0]);
    CU_ASSERT(error[3] <= error[1] && error[3] <= error[2]);
    CU_ASSERT(error[5] <= error[4]);
    CU_ASSERT(chosen[0] == 0 && chosen[1] == 0.5 && chosen[3] > 0 && chosen[3] < 1);
    CU_ASSERT(fabs(error[3] / plain_smooth(w, x, chosen[3]) - 1) < 1e-3);
    quant_compare_result *only = compare_one(ctx, bank, NULL, "w8a8,smooth=0.5");
    CU_ASSERT(only->rows[0].smooth == 0); /* no inputs to take ranges from */
    quant_compare_free(ctx, only);
    quant_bank_close(ctx, bank);
    quant_bank_close(ctx, inputs);
    free(w);
    free(x);
    quant_context_free(ctx);
}

/* Every allocation of a run may fail; nothing leaks and the status says so. */
static void memory_may_run_out(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(9, "w", ROWS * COLS, 0.1);
    const lab_bank_item weights = {"w", QUANT_F32, {2, {ROWS, COLS}}, w};
    quant_bank_close(ctx, lab_bank_make(ctx, "short.safetensors", &weights, 1));
    const char *path = test_scratch_path("short.safetensors");
    quant_scheme s;
    CHECK_OK(ctx, quant_scheme_parse(ctx, "w4a8,act=static,smooth=0.7", &s));
    bool done = false;
    for (int fail = 0; !done && fail < 500; fail++) {
        short_memory m = {.fail_at = fail, .ever_after = true};
        quant_context *tight = short_memory_context(&m);
        quant_compare_result *r = NULL;
        quant_bank *bank = NULL;
        const quant_compare_options o = {.schemes = &s, .scheme_count = 1, .probe = 2};
        quant_status status = tight ? quant_bank_open(tight, path, &bank) : QUANT_ENOMEM;
        status = status ? status : quant_compare(tight, bank, &o, &r);
        CU_ASSERT(status == QUANT_ENOMEM || status == QUANT_OK);
        done = status == QUANT_OK;
        quant_compare_free(tight, r);
        quant_bank_close(tight, bank);
        quant_context_free(tight);
        CU_ASSERT_EQUAL(m.held, 0);
    }
    CU_ASSERT_TRUE(done);
    free(w);
    quant_context_free(ctx);
}

TEST_SUITE(compare_activations,
           {"parts are the plain ones", parts_are_the_plain_ones},
           {"blocks code their inputs", blocks_code_their_inputs},
           {"odd inputs have figures", odd_inputs_have_figures},
           {"smoothing is its formula and helps", smoothing_is_its_formula_and_helps},
           {"memory may run out", memory_may_run_out})
