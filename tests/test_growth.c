/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_growth.c - growth models on ledgers whose law is known. */
#include <math.h>
#include <stdlib.h>

#include "quant/lab/propagate.h"
#include "tests/draw.h"
#include "tests/test.h"

enum { MOST = 40 };

/* delta of depth d is delta[d], the measured error scale * model^power * exp(sigma z). */
typedef struct law {
    quant_growth model;
    int layers;
    double scale, power, sigma;
} law;

static quant_ledger make_ledger(draw *r, const law *w)
{
    quant_ledger l = {(uint64_t)w->layers + 2, 1, NULL};
    double e = 0;
    l.terms = calloc((size_t)l.depths * QUANT_PLACE_COUNT, sizeof *l.terms);
    for (int d = 0; d <= w->layers; d++) {
        double delta = 0.1 * exp(draw_normal(r) / 4);
        e = quant_growth_step(w->model, e, delta);
        double error = w->scale * pow(e, w->power) * exp(w->sigma * draw_normal(r));
        l.terms[d * QUANT_PLACE_COUNT + QUANT_PLACE_STREAM] = (quant_ledger_terms){
            .n = 1, .clean2 = 4, .injected2 = 4 * delta * delta, .error2 = 4 * error * error};
    }
    return l;
}

/* sums and products by their formulas */
static void steps_are_the_formulas(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw r = draw_begin("growth steps", k);
        double product = 1, squares = 0, a = 0, b = 0;
        for (int i = (int)draw_int(&r, 1, MOST); i > 0; i--) {
            double delta = draw_uniform(&r) / 2;
            product *= 1 + delta;
            squares += delta * delta;
            a = quant_growth_step(QUANT_GROWTH_PRODUCT, a, delta);
            b = quant_growth_step(QUANT_GROWTH_ROOT, b, delta);
        }
        CU_ASSERT(fabs(a - (product - 1)) <= 1e-13 * product);
        CU_ASSERT(fabs(b - sqrt(squares)) <= 1e-13);
        if (fabs(b - sqrt(squares)) > 1e-13) {
            test_failed_case(k, "root");
        }
    }
}

static void a_law_is_found(void)
{
    for (int model = 0; model < QUANT_GROWTH_COUNT; model++) {
        draw r = draw_begin("growth law", (uint64_t)model);
        const law w = {(quant_growth)model, 9, 1.7, 0.8, 0};
        quant_ledger l = make_ledger(&r, &w);
        quant_growth_fit fit;
        CU_ASSERT_EQUAL(quant_growth_judge(NULL, &l, w.model, &fit), QUANT_OK);
        CU_ASSERT(fit.fitted == 5 && fit.judged == 4);
        CU_ASSERT(fabs(fit.scale - 1.7) < 1e-9 && fabs(fit.power - 0.8) < 1e-9);
        CU_ASSERT(fabs(fit.after.rms - 1) < 1e-9 && fabs(fit.after.worst - 1) < 1e-9);
        CU_ASSERT(fabs(fit.predicted / fit.measured - 1) < 1e-9 && fit.plain.rms > 1.01);
        free(l.terms);
    }
    draw r = draw_begin("growth law", 9);
    const law w = {QUANT_GROWTH_ROOT, 8, 1.25, 1, 0};
    quant_ledger l = make_ledger(&r, &w);
    quant_growth_fit fit;
    CU_ASSERT_EQUAL(quant_growth_judge(NULL, &l, w.model, &fit), QUANT_OK);
    CU_ASSERT(fabs(fit.plain.rms - 1.25) < 1e-9 && fabs(fit.plain.bias - 1.25) < 1e-9 &&
              fabs(fit.plain.worst - 1.25) < 1e-9);
    free(l.terms);
}

/* Half the width of the interval in logarithms, by the textbook: t s sqrt(1 + 1/n + (x - mean)^2 /
 * Sxx), n = 12 layers, t of 10 degrees of freedom. */
static double reach(const quant_ledger *l, const law *w, const quant_growth_fit *fit)
{
    double x[25], e = 0, mean = 0, sxx = 0, residual = 0;
    for (int d = 0; d <= 24; d++) {
        const quant_ledger_terms *t = quant_ledger_at(l, (uint64_t)d, QUANT_PLACE_STREAM, 0);
        e = quant_growth_step(w->model, e, sqrt(t->injected2 / t->clean2));
        x[d] = log(e);
        if (d >= 1 && d <= 12) {
            double off = log(quant_ledger_error(t)) - log(fit->scale) - fit->power * x[d];
            residual += off * off;
            mean += x[d] / 12;
        }
    }
    for (int d = 1; d <= 12; d++) {
        sxx += (x[d] - mean) * (x[d] - mean);
    }
    return 2.228139 * sqrt(residual / 10 * (1 + 1.0 / 12 + (x[24] - mean) * (x[24] - mean) / sxx));
}

/* With normal scatter the power's t statistic and the interval of a new value are exact: 95 % of
 * 1000 cases, standard deviation 0.7 %, four of them allowed. */
static void covariance_and_interval_cover(void)
{
    size_t power = 0, value = 0, cases = 0;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++, cases++) {
        draw r = draw_begin("growth cover", k);
        const law w = {(quant_growth)(k % QUANT_GROWTH_COUNT), 24, 1.3, 1.1, 0.1};
        quant_ledger l = make_ledger(&r, &w);
        quant_growth_fit fit;
        CU_ASSERT_EQUAL(quant_growth_judge(NULL, &l, w.model, &fit), QUANT_OK);
        power += fabs(fit.power - w.power) <= 2.228139 * sqrt(fit.covariance[2]); /* t, 10 */
        value += fit.low <= fit.measured && fit.measured <= fit.high;
        CU_ASSERT(fabs(log(fit.high / fit.low) / 2 - reach(&l, &w, &fit)) <= 1e-6);
        free(l.terms);
    }
    if (cases >= 1000) {
        CU_ASSERT(fabs((double)power / (double)cases - 0.95) <= 0.028);
        CU_ASSERT(fabs((double)value / (double)cases - 0.95) <= 0.028);
    }
}

static void what_cannot_be_fitted_is_nan(void)
{
    draw r = draw_begin("growth none", 0);
    quant_growth_fit fit;
    for (int layers = 0; layers <= 4; layers++) {
        const law w = {QUANT_GROWTH_ROOT, layers, 2, 1, 0};
        quant_ledger l = make_ledger(&r, &w);
        CU_ASSERT_EQUAL(quant_growth_judge(NULL, &l, w.model, &fit), QUANT_OK);
        CU_ASSERT(fit.fitted == 0 && isnan(fit.scale) && isnan(fit.predicted));
        CU_ASSERT_EQUAL(fit.judged, (size_t)layers / 2);
        CU_ASSERT(layers < 2 ? isnan(fit.plain.rms) : fabs(fit.plain.rms - 2) < 1e-9);
        free(l.terms);
    }
    const law w = {QUANT_GROWTH_ROOT, 9, 0, 1, 0}; /* no error at all */
    quant_ledger l = make_ledger(&r, &w);
    CU_ASSERT_EQUAL(quant_growth_judge(NULL, &l, w.model, &fit), QUANT_OK);
    CU_ASSERT(fit.judged == 0 && isnan(fit.plain.rms));
    free(l.terms);
}

TEST_SUITE(growth, {"steps are the formulas", steps_are_the_formulas},
           {"a law is found", a_law_is_found},
           {"covariance and interval cover", covariance_and_interval_cover},
           {"what cannot be fitted is NaN", what_cannot_be_fitted_is_nan})
