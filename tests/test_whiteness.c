/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_whiteness.c - p-values are honest on white errors of any scale and small on coloured ones;
 * the spectrum is held against its definition. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/adapt_fftw.h"
#include "quant/lab/whiteness.h"
#include "quant/lab/propagate.h"
#include "tests/deep_model.h"
#include "tests/draw.h"
#include "tests/test.h"

enum { ROWS = 4, COLS = 33 };

static void spectrum_by_definition(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("spectrum", k);
        size_t n = (size_t)draw_int(&d, 1, 40), room = lab_spectrum_work(n);
        double *work = aligned_alloc(64, room * sizeof *work), x[40], power[40];
        lab_spectrum s;
        int ok = lab_spectrum_begin(&s, n, work);
        for (size_t i = 0; i < n; i++) {
            x[i] = draw_normal(&d);
        }
        memcpy(lab_spectrum_input(work), x, n * sizeof *x);
        lab_spectrum_power(&s, work, power);
        for (size_t f = 1; f <= (n - 1) / 2; f++) {
            double re = 0, im = 0;
            for (size_t i = 0; i < n; i++) {
                double angle = 2 * M_PI * (double)(f * i % n) / (double)n;
                re += x[i] * cos(angle);
                im += x[i] * sin(angle);
            }
            ok = ok && fabs(power[f - 1] - re * re - im * im) <= 1e-11 * (double)(n * n);
        }
        CU_ASSERT(ok);
        if (!ok) {
            test_failed_case(k, "%zu values", n);
        }
        lab_spectrum_end(&s);
        free(work);
    }
}

/* Four frequencies of nine values by sums of cosines; three rows that weigh the same. */
static double deviation_of(const float *e)
{
    double mean[4] = {0}, most = 0;
    for (int r = 0; r < 3; r++) {
        double power[4], sum = 0, part = 0;
        for (int f = 0; f < 4; f++) {
            double re = 0, im = 0;
            for (int i = 0; i < 9; i++) {
                re += (double)e[r * 9 + i] * cos(2 * M_PI * (f + 1) * i / 9);
                im += (double)e[r * 9 + i] * sin(2 * M_PI * (f + 1) * i / 9);
            }
            power[f] = re * re + im * im;
            sum += power[f];
        }
        for (int f = 0; f < 4; f++) {
            part += power[f] / sum / 3;
            mean[f] += part;
        }
    }
    for (int f = 0; f < 4; f++) {
        most = fmax(most, fabs(mean[f] - (f + 1) / 4.0));
    }
    return most;
}

static void deviation_by_definition(void)
{
    for (uint64_t k = 0; k < 100; k++) {
        draw d = draw_begin("deviation", k);
        float e[27];
        quant_whiteness w;
        for (int i = 0; i < 27; i++) {
            e[i] = (float)(ldexp(1, i / 9) * draw_normal(&d));
        }
        CU_ASSERT_EQUAL(quant_whiteness_test(NULL, e, 3, 9, k, "e", &w, NULL), QUANT_OK);
        CU_ASSERT(fabs(w.deviation - deviation_of(e)) <= 1e-12);
    }
}

/* White rows, but all the same row: their deviations add up. */
static void rows_that_agree_are_found_out(void)
{
    int found = 0;
    for (uint64_t k = 0; k < 40; k++) {
        draw d = draw_begin("same rows", k);
        float e[16 * 32];
        quant_whiteness w;
        for (int i = 0; i < 16 * 32; i++) {
            e[i] = i < 32 ? (float)draw_normal(&d) : e[i - 32];
        }
        CU_ASSERT_EQUAL(quant_whiteness_test(NULL, e, 16, 32, k, "e", &w, NULL), QUANT_OK);
        found += w.p <= 0.05;
    }
    CU_ASSERT(found >= 30);
}

/* White but of wildly different scales: per row, and per block of 8 inside it. */
static void draw_white(draw *d, float *e, int rows, int cols)
{
    for (int r = 0; r < rows; r++) {
        double scale = 1;
        for (int c = 0; c < cols; c++) {
            scale = c % 8 == 0 ? exp(2 * draw_normal(d)) : scale;
            e[r * cols + c] = (float)(scale * draw_normal(d));
        }
    }
}

/* p <= alpha must come with probability alpha: 1000 cases, standard deviations 0.7 % and 1.6 %,
 * four of them allowed. */
static void p_is_honest(void)
{
    size_t low = 0, half = 0, cases = 0;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++, cases++) {
        draw d = draw_begin("white", k);
        float e[ROWS * COLS];
        quant_whiteness w;
        draw_white(&d, e, ROWS, COLS);
        CU_ASSERT_EQUAL(quant_whiteness_test(NULL, e, ROWS, COLS, k, "e", &w, NULL), QUANT_OK);
        CU_ASSERT(w.p > 0 && w.p <= 1 && w.rows == ROWS);
        low += w.p <= 0.05;
        half += w.p <= 0.5;
    }
    if (cases >= 1000) {
        CU_ASSERT(fabs((double)low / (double)cases - 0.05) <= 0.028);
        CU_ASSERT(fabs((double)half / (double)cases - 0.5) <= 0.064);
    }
}

static void colour_is_seen(void)
{
    for (uint64_t k = 0; k < 20; k++) {
        draw d = draw_begin("coloured", k);
        float e[32 * 64];
        double rho = k % 2 ? 0.5 : -0.5;
        quant_whiteness w, again;
        quant_whiteness_draws all = {{0}};
        quant_context *two = quant_context_new(NULL);
        quant_context_set_threads(two, 2);
        for (int i = 0; i < 32 * 64; i++) {
            e[i] = (float)draw_normal(&d) + (i % 64 ? (float)rho * e[i - 1] : 0);
        }
        CU_ASSERT_EQUAL(quant_whiteness_test(NULL, e, 32, 64, k, "e", &w, &all), QUANT_OK);
        CU_ASSERT_EQUAL(quant_whiteness_test(two, e, 32, 64, k, "e", &again, NULL), QUANT_OK);
        CU_ASSERT_EQUAL(w.p, 1.0 / (QUANT_WHITENESS_DRAWS + 1));
        CU_ASSERT(fabs(w.neighbour - rho) < 0.1 && w.deviation > 0.1);
        CU_ASSERT_EQUAL(memcmp(&w, &again, sizeof w), 0);
        CU_ASSERT_EQUAL(quant_whiteness_p(&all), w.p);
        quant_context_free(two);
    }
}

static void nothing_has_no_p(void)
{
    const float zero[40] = {0};
    quant_whiteness w;
    CU_ASSERT_EQUAL(quant_whiteness_test(NULL, zero, 4, 10, 0, "e", &w, NULL), QUANT_OK);
    CU_ASSERT(isnan(w.p) && w.rows == 0 && isnan(w.neighbour));
    CU_ASSERT_EQUAL(quant_whiteness_test(NULL, zero, 10, 4, 0, "e", &w, NULL), QUANT_OK);
    CU_ASSERT(isnan(w.p));
}

static bool is_query(void *user, const quant_tensor *t)
{
    (void)user;
    return strstr(t->name, "q_proj") != NULL;
}

/* Seven matrices a layer, embedding, head; or the queries alone. */
static void layers_of_a_model(void)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_model *model = deep_model_make(ctx, 11, 3);
    quant_scheme scheme;
    int64_t ids[4] = {1, 2, 3, 4};
    CHECK_OK(ctx, quant_scheme_parse(ctx, "int4:channel", &scheme));
    for (int queries = 0; queries < 2; queries++) {
        quant_propagate_result *r = NULL;
        const quant_propagate_options o = {.schemes = &scheme, .scheme_count = 1, .whiteness = true,
                                           .select = queries ? is_query : NULL};
        CHECK_OK(ctx, quant_propagate(ctx, model, &(quant_tokens){ids, 1, 4}, &o, &r));
        for (int d = 0; r && d < 5; d++) {
            const quant_whiteness_row *row = &r->columns[0].whiteness[d];
            bool inside = d > 0 && d < 4;
            CU_ASSERT_EQUAL(row->tensors, queries ? (inside ? 1 : 0) : inside ? 7 : 1);
            CU_ASSERT(row->tensors ? row->p > 0 && row->p <= 1 && row->tensor
                                   : isnan(row->p) && !row->tensor);
            CU_ASSERT(!queries || !inside || strstr(row->tensor, "q_proj"));
        }
        quant_propagate_free(ctx, r);
    }
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

TEST_SUITE(whiteness, {"the spectrum by its definition", spectrum_by_definition},
           {"p is honest whatever the scales", p_is_honest},
           {"colour is seen, whatever the threads", colour_is_seen},
           {"the deviation by its definition", deviation_by_definition},
           {"rows that agree are found out", rows_that_agree_are_found_out},
           {"nothing has no p", nothing_has_no_p},
           {"layers of a model", layers_of_a_model})
