/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_calibrate_rule.c - the rule of the calibration curve, its spectra and its random inputs, by
 * definition. */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "quant/lab/adapt_lapacke.h"
#include "quant/lab/calibrate_curve.h"
#include "quant/random.h"
#include "tests/stats_rig.h"
#include "tests/test.h"

enum { MOST = 80, SEQUENCES = 9, HELD_OUT = 3 };

static quant_adequacy *run(stats_rig *r, double error, double saturation)
{
    quant_scheme scheme;
    quant_adequacy *c = NULL;
    CHECK_OK(NULL, quant_scheme_parse(NULL, "w8a8,act=static", &scheme));
    const quant_adequacy_options o = {.schemes = &scheme, .scheme_count = 1, .error = error,
                                      .saturation = saturation, .sequences = SEQUENCES, .seed = 7,
                                      .first_held_out = SEQUENCES, .held_out = HELD_OUT};
    CHECK_OK(r->ctx, quant_adequacy_run(r->ctx, r->model, &r->tokens, &o, &c));
    return c;
}

/* The limit's minmax grid has seen all that is held out: it saturates nothing. Both halves of the
 * rule decide somewhere, and so does the interval where the ratio alone would pass. */
static void an_input_is_served_by_the_rule(void)
{
    size_t by_error = 0, by_interval = 0, by_saturation = 0;
    for (uint64_t k = 0; k < 30; k++) {
        stats_rig *r = rig_open("rule", k, k % 2, SEQUENCES + HELD_OUT, 10 + k);
        quant_adequacy *c = run(r, 0.02, 1e-3);
        for (size_t i = 0; c && i < QUANT_SOURCE_COUNT * c->count_n * c->input_count; i++) {
            const quant_adequacy_cell *x = &c->cells[i];
            if (!x->reached || c->inputs[i % c->input_count].elements == 0) {
                CU_ASSERT(!x->served);
                continue;
            }
            bool close = x->high <= 1.02, inside = x->saturated <= 1e-3;
            CU_ASSERT_EQUAL(x->served, close && inside);
            by_error += !close && inside;
            by_interval += x->ratio <= 1.02 && !close && inside;
            by_saturation += close && !inside;
        }
        quant_adequacy_free(r->ctx, c);
        rig_close(r);
    }
    CU_ASSERT(by_error > 0 && by_interval > 0 && by_saturation > 0);
}

/* Statistics of the first `count` prompts, in memory. */
static quant_stats *first_prompts(stats_rig *r, uint64_t count)
{
    quant_stats *stats = NULL;
    const quant_calibrate_options o = {.sequences = count, .moments = true};
    CHECK_OK(r->ctx, quant_calibrate(r->ctx, r->model, &r->tokens, &o, NULL, &stats));
    return stats;
}

/* Fewer sequences in a run may round products otherwise: float precision. */
static bool near(double a, double b, double scale)
{
    return fabs(a - b) <= 1e-5 * scale;
}

static bool spectrum_agrees(stats_rig *r, const quant_stats *stats, size_t input,
                            const quant_adequacy_spectrum *got)
{
    double m[MOST * MOST], values[MOST], sum = 0, entropy = 0;
    quant_stats_row row;
    quant_stats_each(stats, input, &row);
    size_t n = row.cols;
    CHECK_OK(r->ctx, quant_stats_moments(r->ctx, stats, &row, m));
    CHECK_OK(r->ctx, lab_eigenvalues(r->ctx, m, n, values));
    for (size_t i = 0; i < n; i++) {
        sum += fmax(values[i], 0);
    }
    for (size_t i = 0; i < n; i++) {
        entropy -= values[i] > 0 ? values[i] / sum * log2(values[i] / sum) : 0;
    }
    if (row.rows == 0) {
        return got->rows == 0 && isnan(got->effective_rank);
    }
    bool resolved = got->smallest > (double)n * DBL_EPSILON * got->largest;
    return got->rows == row.rows && near(got->effective_rank, exp2(entropy), (double)n) &&
           near(got->smallest, values[0], values[n - 1]) && got->resolved == resolved &&
           near(got->largest, values[n - 1], values[n - 1]);
}

static void spectra_by_their_definition(void)
{
    size_t resolved = 0, singular = 0;
    for (uint64_t k = 0; k < 10; k++) {
        stats_rig *r = rig_open("spectra", k, k % 2, SEQUENCES + HELD_OUT, 10);
        quant_adequacy *c = run(r, 0.05, 1e-4);
        for (size_t p = 0; c && p < c->count_n; p++) {
            quant_stats *stats = first_prompts(r, c->count[p]);
            for (size_t i = 0; i < c->input_count; i++) {
                const quant_adequacy_spectrum *got = &c->spectra[p * c->input_count + i];
                CU_ASSERT(spectrum_agrees(r, stats, i, got));
                resolved += got->resolved;
                singular += got->rows > 0 && !got->resolved;
                CU_ASSERT(!got->resolved || got->rows >= c->inputs[i].cols);
            }
            quant_stats_close(r->ctx, stats);
        }
        quant_adequacy_free(r->ctx, c);
        rig_close(r);
    }
    CU_ASSERT(resolved > 0 && singular > 0);
}

/* Gaussian inputs have the RMS of all prompts and are drawn by (seed, input). */
static void random_inputs_have_the_rms_of_prompts(void)
{
    for (uint64_t k = 0; k < 10; k++) {
        stats_rig *r = rig_open("normals", k, false, SEQUENCES + HELD_OUT, 10 + k);
        quant_adequacy *c = run(r, 0.05, 1e-4);
        quant_stats *stats = first_prompts(r, SEQUENCES);
        quant_random stream = quant_random_stream(7, "calibrate.normal mix 0 0");
        size_t input = 0;
        quant_stats_row row;
        while (quant_stats_each(stats, input, &row) && row.site != QUANT_SITE_MIX) {
            input++;
        }
        for (size_t p = 0; c && p < c->count_n; p++) {
            double most = 0;
            for (uint64_t i = 0; i < c->count[p] * r->tokens.s * row.cols; i++) {
                most = fmax(most, fabs(quant_random_normal(&stream, i)));
            }
            double want = most * quant_stats_rms(&row) / (double)quant_stats_absmax(&row);
            double got = quant_adequacy_at(c, 0, QUANT_SOURCE_NORMAL, p, input)->scale;
            CU_ASSERT(fabs(got - want) <= 1e-6 * want);
        }
        quant_stats_close(r->ctx, stats);
        quant_adequacy_free(r->ctx, c);
        rig_close(r);
    }
}

TEST_SUITE(calibrate_rule, {"an input is served by the rule", an_input_is_served_by_the_rule},
           {"spectra by their definition", spectra_by_their_definition},
           {"random inputs have the RMS of prompts", random_inputs_have_the_rms_of_prompts})
