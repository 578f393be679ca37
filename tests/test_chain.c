/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_chain.c - errors of quantized layers as they grow along a chain, against the predictions
 * made layer by layer. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/schemes.h"
#include "tests/test.h"

/* x <- normalize(x + g W_k x), LAYERS times, clean with W_k and erroneous with its copy. Model: the
 * copy injects an error of norm delta_k g |W_k x|, whose direction is independent of x and of the
 * error that is carried; I + g W_k stretches a random direction as it stretches x, so
 * normalizing leaves carried errors as long as they were. With r_k = delta_k g |W_k x| / |x + g W_k
 * x| directions turn by atan r_k, each turn orthogonal to the last ones:
 *     cos(angle) = prod 1/sqrt(1 + r_k^2),     growth = 2 sin(angle/2),
 * which is sqrt(sum r_k^2) while small.
 *
 * Scatter: the final error has SIZE random components, so its square scatters by sqrt(2/SIZE) =
 * 0.16 for one start and 0.032 over all; the stretch of a carried error by 2 g/sqrt(SIZE) <= 0.022
 * a layer: 0.11 after 24, 0.06 on average over the injections. Together 0.07 of a square, should
 * all starts go the same way: at most 0.035 of the norm. The allowed factor is four of these. */
enum { LAYERS = 24, SIZE = 80, STARTS = 24 };
static const double chain_factor = 1.15;

static int chain_is_off(double measured, double modelled)
{
    return !(measured <= modelled * chain_factor && modelled <= measured * chain_factor);
}

typedef struct chain {
    float clean[LAYERS][SIZE * SIZE], copy[LAYERS][SIZE * SIZE];
    double delta[LAYERS];
} chain;

/* y = normalize(x + g W x); returns g |W x| / |x + g W x|. */
static double step(const float *w, double g, const double *x, double *y)
{
    double update = 0, norm = 0;
    for (int i = 0; i < SIZE; i++) {
        double sum = 0;
        for (int j = 0; j < SIZE; j++) {
            sum += (double)w[i * SIZE + j] * x[j];
        }
        update += g * sum * g * sum;
        y[i] = x[i] + g * sum;
        norm += y[i] * y[i];
    }
    for (int i = 0; i < SIZE; i++) {
        y[i] /= sqrt(norm);
    }
    return sqrt(update / norm);
}

/* Growth over the chain, RMS over the starts: [0] measured, [1] modelled, [2] and [3] modelled with
 * deltas that are wrong by 1.5 either way. */
static void drive(const chain *c, double g, double growth[4])
{
    static const double wrong[4] = {0, 1, 1.5, 1 / 1.5};
    quant_random r = quant_random_stream(test_seed(), "start");
    double squares[4] = {0};
    for (int s = 0; s < STARTS; s++) {
        double x[2][SIZE], y[2][SIZE], cosine[4] = {1, 1, 1, 1}, norm = 0;
        for (int i = 0; i < SIZE; i++) {
            x[0][i] = quant_random_normal(&r, (uint64_t)(s * SIZE + i));
            norm += x[0][i] * x[0][i];
        }
        for (int i = 0; i < SIZE; i++) {
            x[1][i] = x[0][i] /= sqrt(norm);
        }
        for (int k = 0; k < LAYERS; k++) {
            double turn = c->delta[k] * step(c->clean[k], g, x[0], y[0]);
            step(c->copy[k], g, x[1], y[1]);
            memcpy(x, y, sizeof x);
            for (int m = 1; m < 4; m++) {
                cosine[m] /= sqrt(1 + wrong[m] * turn * wrong[m] * turn);
            }
        }
        for (int i = 0; i < SIZE; i++) {
            squares[0] += (x[1][i] - x[0][i]) * (x[1][i] - x[0][i]);
        }
        for (int m = 1; m < 4; m++) {
            squares[m] += 2 * (1 - cosine[m]);
        }
    }
    for (int m = 0; m < 4; m++) {
        growth[m] = sqrt(squares[m] / STARTS);
    }
}

static void fill_chain(chain *c)
{
    for (int k = 0; k < LAYERS; k++) {
        char name[32];
        snprintf(name, sizeof name, "layer.%d", k);
        quant_random r = quant_random_stream(test_seed(), name);
        for (uint64_t i = 0; i < SIZE * SIZE; i++) {
            double spread = k % 2 ? 1 / sqrt(2) : 1; /* of Laplace and Gaussian */
            c->clean[k][i] = (float)(draw(k % 2, &r, i) * spread / sqrt(SIZE));
        }
    }
}

static void errors_grow_along_a_chain_as_predicted(void)
{
    static chain c;
    const quant_shape shape = {2, {SIZE, SIZE}};
    double worst = 1;
    list_schemes();
    fill_chain(&c);
    for (int s = 0; s < scheme_count; s++) {
        double square = 0, growth[4];
        int failed = 0;
        for (int k = 0; k < LAYERS; k++) {
            double result[2] = {0, 0};
            failed |= measure(schemes[s], &shape, c.clean[k], c.copy[k], result);
            c.delta[k] = result[1];
            square += result[1] * result[1];
        }
        double g = fmin(0.1, 0.3 / sqrt(square)); /* growth near 0.3, where it still convicts */
        drive(&c, g, growth);
        double ratio = fmax(growth[0] / growth[1], growth[1] / growth[0]);
        worst = ratio > worst ? ratio : worst;
        if (failed || chain_is_off(growth[0], growth[1])) {
            test_failed_case(0, "%s: error grew to %g, modelled %g", schemes[s], growth[0],
                             growth[1]);
            CU_FAIL("growth is off");
        }
        if (!chain_is_off(growth[0], growth[2]) || !chain_is_off(growth[0], growth[3])) {
            test_failed_case(0, "%s: deltas off by 1.5 pass", schemes[s]);
            CU_FAIL("the chain cannot convict");
        }
    }
    CU_ASSERT(scheme_count > 30 && worst <= chain_factor);
    if (getenv("QUANT_TEST_FIGURES")) {
        printf("worst factor of the chain: %.3f\n", worst);
    }
}

TEST_SUITE(chain,
           {"errors grow along a chain as predicted", errors_grow_along_a_chain_as_predicted})
