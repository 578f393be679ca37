/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench_vectors.c - times the search for nearest vectors, and whole encodings with codebooks of
 * vectors, one and two threads. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "quant/quant.h"
#include "tests/bench/bench_parts.h"

/* An element is a component; x is searched among `parameter` entries that lie in y. */
static void run_nearest(const work *w, size_t dim, const float *weights)
{
    const qk_nearest a = {dim, w->parameter, data.y, data.x, weights};
    ((qk_nearest_fn *)w->op)(&a, w->n / dim, data.bytes, NULL);
}
static void run_pairs(const void *p)
{
    run_nearest(p, 2, NULL);
}
static void run_pairs_weighted(const void *p)
{
    run_nearest(p, 2, data.scales);
}
static void run_fours(const void *p)
{
    run_nearest(p, 4, NULL);
}

/* In cache only: memory is idle meanwhile. */
void add_nearest(const char *name, any_fn *op)
{
    (void)name;
    if (elements_now == IN_CACHE) {
        add_variant("nearest_vectors 2 of", op, run_pairs, 16, 4.5);
        add_variant("nearest_vectors 2 of", op, run_pairs, 256, 4.5);
        add_variant("nearest_vectors 2w of", op, run_pairs_weighted, 256, 8.5);
        add_variant("nearest_vectors 4 of", op, run_fours, 256, 4.25);
    }
}

/* ---- whole encodings ------------------------------------------------------------------------- */

enum { SIDE = 1024, COUNT = SIDE * SIDE };

static const char *const schemes[] = {"lut8:tensor,dim=2", "lut8:tensor,dim=4", "lut4:tensor,dim=2",
                                      "lut4:group=32,dim=2", "lut8:group=32,dim=2"};
enum { SCHEMES = sizeof schemes / sizeof *schemes };

/* Seconds by the clock: threads share the work. */
static double clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median seconds with one and with two threads, in turn; the SQNR in dB. */
static double time_scheme(const char *text, const float *w, float *y, double seconds[2])
{
    const quant_shape shape = {2, {SIDE, SIDE}};
    double spent[2][BENCH_ROUNDS];
    quant_context *ctx = quant_context_new(NULL);
    quant_scheme s;
    quant_layout l;
    uint8_t *packed = NULL;
    if (!ctx || quant_scheme_parse(ctx, text, &s) != QUANT_OK ||
        quant_encode_layout(ctx, &s, &shape, &l) != QUANT_OK || !(packed = malloc(l.bytes))) {
        abort();
    }
    for (int round = 0; round < 2 * BENCH_ROUNDS; round++) {
        quant_context_set_threads(ctx, 1 + round % 2);
        const double begin = clock_now();
        if (quant_encode(ctx, &s, &shape, w, packed, l.bytes, NULL) != QUANT_OK) {
            abort();
        }
        spent[round % 2][round / 2] = clock_now() - begin;
    }
    for (int k = 0; k < 2; k++) {
        qsort(spent[k], BENCH_ROUNDS, sizeof(double), ascending);
        seconds[k] = spent[k][BENCH_ROUNDS / 2];
    }
    quant_decode(ctx, &s, &shape, packed, l.bytes, y);
    quant_context_free(ctx);
    free(packed);
    const quant_fidelity f = quant_fidelity_f32(NULL, w, y, COUNT);
    return quant_sqnr_db(&f);
}

void bench_vectors(void)
{
    float *w = malloc(COUNT * sizeof *w), *y = malloc(COUNT * sizeof *y);
    quant_random r = quant_random_stream(1, "bench");
    if (!w || !y) {
        abort();
    }
    quant_random_fill_normal(&r, 0, COUNT, w);
    printf("\ncodebooks of vectors, %d x %d gaussian weights, %s kernels, medians of %d rounds\n"
           "%-22s %14s %14s %10s\n", SIDE, SIDE, quant_isa(), BENCH_ROUNDS, "scheme",
           "encode Mw/s", "2 threads", "SQNR dB");
    for (int k = 0; k < SCHEMES; k++) {
        double seconds[2], db = time_scheme(schemes[k], w, y, seconds);
        printf("%-22s %14.2f %14.2f %10.3f\n", schemes[k], 1e-6 * COUNT / seconds[0],
               1e-6 * COUNT / seconds[1], db);
    }
    free(w), free(y);
}
