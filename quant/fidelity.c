/* SPDX-License-Identifier: Apache-2.0 */
/* fidelity.c - the pass over both arrays. Figures are read off its record in metric.c.
 *
 * The arrays are cut into chunks of QUANT_FIDELITY_CHUNK elements. Each chunk has a record of its
 * own; records are appended in the order of the chunks, whoever computed them. */
#include "quant/fidelity.h"

#include <math.h>

#include "kernels/kernels.h"
#include "kernels/lanes.h"

/* Records wait on the stack for their turn: 256 of them are 14 KiB and cover 16 Mi elements, so
 * that starting threads costs nothing beside the work. */
enum { CHUNK = QUANT_FIDELITY_CHUNK, WAVE = 256 };

typedef struct pair {
    const void *ref, *got;
    void (*measure)(const struct pair *p, size_t first, size_t n, quant_fidelity *out);
} pair;

/* A chunk of f32 has 1024 additions a lane and 6 in the tree; products of two floats are exact
 * and a squared difference carries 3 roundings; then one addition a chunk. Each step adds a
 * relative error of at most u = 2^-53 to sums of one sign; for dot it is relative to
 * sum |w y| <= |w| |y|. Squares and products of doubles carry one or two more; 8 covers all. The
 * factor 1.01 covers the second order. */
double quant_fidelity_bound(uint64_t n)
{
    double chunks = (double)(n / CHUNK) + 1;
    double lane = n < CHUNK ? (double)(n / QK_LANES) + 1 : (double)CHUNK / QK_LANES;
    return 1.01 * 0x1p-53 * (lane + 6 + 8 + chunks);
}

void quant_fidelity_add(quant_fidelity *sum, const quant_fidelity *more)
{
    if (!isnan(sum->max_abs) && (isnan(more->max_abs) || more->max_abs > sum->max_abs)) {
        sum->max_abs = more->max_abs;
        sum->max_index = sum->n + more->max_index;
    }
    sum->n += more->n;
    sum->ref2 += more->ref2;
    sum->got2 += more->got2;
    sum->dot += more->dot;
    sum->err2 += more->err2;
}

static quant_fidelity measure_all(quant_context *ctx, const pair *p, size_t n)
{
    int threads = quant_context_threads(ctx);
    quant_fidelity sum = {0, 0, 0, 0, 0, 0, 0};
    quant_fidelity wave[WAVE];
    for (size_t begin = 0; begin < n; begin += (size_t)WAVE * CHUNK) {
        size_t left = n - begin;
        size_t chunks = left >= (size_t)WAVE * CHUNK ? WAVE : (left + CHUNK - 1) / CHUNK;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && chunks > 1)
        for (size_t c = 0; c < chunks; c++) {
            size_t first = begin + c * CHUNK;
            p->measure(p, first, n - first < CHUNK ? n - first : CHUNK, &wave[c]);
        }
        for (size_t c = 0; c < chunks; c++) {
            quant_fidelity_add(&sum, &wave[c]);
        }
        if (left <= (size_t)WAVE * CHUNK) {
            break; /* begin would pass SIZE_MAX on the largest n */
        }
    }
    return sum;
}

static void measure_f32(const pair *p, size_t first, size_t n, quant_fidelity *out)
{
    qk_fidelity k;
    qk()->fidelity_f32((const float *)p->ref + first, (const float *)p->got + first, n, &k);
    *out = (quant_fidelity){n, k.ref2, k.got2, k.dot, k.err2, k.max_abs, k.max_index};
}

typedef struct lanes {
    double ref2[QK_LANES], got2[QK_LANES], dot[QK_LANES], err2[QK_LANES];
} lanes;

/* One row of the lanes: m <= QK_LANES pairs whose first index in the chunk is `at`. */
static void add_row(lanes *l, const double *ref, const double *got, size_t m, quant_fidelity *out,
                    size_t at)
{
    for (size_t j = 0; j < m; j++) {
        double e = got[j] - ref[j];
        l->ref2[j] += ref[j] * ref[j];
        l->got2[j] += got[j] * got[j];
        l->dot[j] += ref[j] * got[j];
        l->err2[j] += e * e;
    }
    for (size_t j = 0; j < m; j++) {
        double a = fabs(got[j] - ref[j]);
        if (!isnan(out->max_abs) && !(a <= out->max_abs)) {
            out->max_abs = a;
            out->max_index = at + j;
        }
    }
}

/* The 64 lanes of kernels.h in double; got is float or double. */
static void measure_lanes(const double *ref, const double *got, const float *narrow, size_t n,
                          quant_fidelity *out)
{
    lanes l = {{0}, {0}, {0}, {0}};
    *out = (quant_fidelity){n, 0, 0, 0, 0, 0, 0};
    for (size_t i = 0; i < n; i += QK_LANES) {
        size_t m = n - i < QK_LANES ? n - i : QK_LANES;
        double wide[QK_LANES];
        if (narrow) {
            for (size_t j = 0; j < m; j++) {
                wide[j] = (double)narrow[i + j];
            }
        }
        add_row(&l, ref + i, narrow ? wide : got + i, m, out, i);
    }
    out->ref2 = qk_fold_lanes(l.ref2);
    out->got2 = qk_fold_lanes(l.got2);
    out->dot = qk_fold_lanes(l.dot);
    out->err2 = qk_fold_lanes(l.err2);
    out->max_abs = qk_one_nan(out->max_abs);
}

static void measure_f64(const pair *p, size_t first, size_t n, quant_fidelity *out)
{
    measure_lanes((const double *)p->ref + first, (const double *)p->got + first, NULL, n, out);
}

static void measure_f64_f32(const pair *p, size_t first, size_t n, quant_fidelity *out)
{
    measure_lanes((const double *)p->ref + first, NULL, (const float *)p->got + first, n, out);
}

quant_fidelity quant_fidelity_f32(quant_context *ctx, const float *ref, const float *got, size_t n)
{
    const pair p = {ref, got, measure_f32};
    return measure_all(ctx, &p, n);
}

quant_fidelity quant_fidelity_f64(quant_context *ctx, const double *ref, const double *got,
                                  size_t n)
{
    const pair p = {ref, got, measure_f64};
    return measure_all(ctx, &p, n);
}

quant_fidelity quant_fidelity_f64_f32(quant_context *ctx, const double *ref, const float *got,
                                      size_t n)
{
    const pair p = {ref, got, measure_f64_f32};
    return measure_all(ctx, &p, n);
}
