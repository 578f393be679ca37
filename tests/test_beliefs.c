/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Two popular beliefs that are no theorems: how often they hold over paired random matrices, with a
 * 95 % Clopper-Pearson interval, and for each a small matrix where it fails. */
#include <gsl/gsl_cdf.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/draw.h"
#include "tests/test.h"

static double error_of(const char *text, const quant_shape *shape, const float *w, size_t n)
{
    quant_scheme s;
    quant_layout l;
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
    uint8_t *p = encode_new(NULL, &s, shape, w, &l, NULL);
    float *y = malloc(n * sizeof *y);
    CU_ASSERT_EQUAL_FATAL(quant_decode(NULL, &s, shape, p, l.bytes, y), QUANT_OK);
    quant_fidelity f = quant_fidelity_f32(NULL, w, y, n);
    free(p);
    free(y);
    return quant_relative_error(&f);
}

/* A trained-looking matrix: Gaussian, log-normal row spread up to sigma 0.6, rare outliers. */
static void paired_matrix(uint64_t k, quant_shape *shape, float **w)
{
    draw d = draw_begin("belief", k);
    size_t rows = (size_t)draw_int(&d, 2, 48), cols = (size_t)draw_int(&d, 2, 64);
    double sigma = 0.6 * draw_uniform(&d);
    int64_t rare = draw_int(&d, 20, 2000);
    *shape = (quant_shape){2, {rows, cols}};
    *w = malloc(rows * cols * sizeof **w);
    for (size_t r = 0; r < rows; r++) {
        double scale = exp(sigma * draw_normal(&d));
        for (size_t c = 0; c < cols; c++) {
            double v = draw_normal(&d) * (draw_int(&d, 0, rare) ? 1.0 : 12.0);
            (*w)[r * cols + c] = (float)(scale * v);
        }
    }
}

/* Share of pairs in which `finer` loses less than `coarser`, printed with its interval; the share
 * itself is checked against the band that the printed claim needs. */
static void win_share(const char *claim, const char *finer, const char *coarser, double at_least)
{
    uint64_t wins = 0, pairs = 0;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++, pairs++) {
        quant_shape shape;
        float *w;
        paired_matrix(k, &shape, &w);
        size_t n = (size_t)(shape.dim[0] * shape.dim[1]);
        wins += error_of(finer, &shape, w, n) < error_of(coarser, &shape, w, n);
        free(w);
    }
    double a = (double)wins, b = (double)(pairs - wins);
    double low = wins ? gsl_cdf_beta_Pinv(0.025, a, b + 1.0) : 0.0;
    double high = b > 0.0 ? gsl_cdf_beta_Pinv(0.975, a + 1.0, b) : 1.0;
    printf("\n    %s: %llu of %llu pairs, 95 %% interval %.4f..%.4f ", claim,
           (unsigned long long)wins, (unsigned long long)pairs, low, high);
    CU_ASSERT(pairs < 100 || low > at_least);
    CU_ASSERT(low <= a / (a + b) && a / (a + b) <= high);
}

static void finer_scales_usually_win(void)
{
    win_share("int8:channel loses less than int8:tensor", "int8:channel", "int8:tensor", 0.9);
}

static void more_bits_usually_win(void)
{
    win_share("int4:channel loses less than int3:channel", "int4:channel", "int3:channel", 0.9);
}

/* The tensor's scale is exactly 1 and every weight an integer; the second row's own is not. */
static void a_matrix_where_one_scale_is_better(void)
{
    const float w[] = {127, 3, -64, 1, 100, 3, -61, 17};
    quant_shape shape = {2, {2, 4}};
    CU_ASSERT_EQUAL(error_of("int8:tensor", &shape, w, 8), 0.0);
    CU_ASSERT(error_of("int8:channel", &shape, w, 8) > 1e-4);
}

/* Weights on the 3-bit grid: exact there, off the 4-bit grid of the same range. */
static void a_matrix_where_fewer_bits_are_better(void)
{
    const float w[] = {3, -2, 1, 0, -3, 2, -1, 1};
    quant_shape shape = {2, {2, 4}};
    CU_ASSERT_EQUAL(error_of("int3:channel,store=f32", &shape, w, 8), 0.0);
    CU_ASSERT(error_of("int4:channel,store=f32", &shape, w, 8) > 0.05);
}

TEST_SUITE(beliefs,
           {"per-channel scales usually beat one scale", finer_scales_usually_win},
           {"but not always", a_matrix_where_one_scale_is_better},
           {"a fourth bit usually helps", more_bits_usually_win},
           {"but not always", a_matrix_where_fewer_bits_are_better})
