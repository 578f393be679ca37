/* SPDX-License-Identifier: Apache-2.0 */
/* summary.c - figures of a tensor in two passes: extremes and sums, then moments about the mean.
 *
 * Pieces of PIECE elements have records of their own which are added in order of index. Sums run
 * over the virtual lanes of kernels.h. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "quant/internal.h"
#include "quant/predict.h"

enum { PIECE = 4096, WAVE = 512 };

typedef struct piece {
    uint64_t finite, zeros;
    uint64_t first_nonfinite;         /* index in the piece, or its length */
    float lowest, highest;
    double sum, sum2, about2, about4; /* about: (w - mean)^2 and its square */
} piece;

/* The finite values of x: x itself, or those copied to room when some are not. */
static const float *finite_values(const float *x, size_t n, float *room, piece *p)
{
    size_t first = n, kept = 0;
    size_t bad = qk()->nonfinite_f32(x, n, &first);
    p->first_nonfinite = first;
    p->finite = n - bad;
    for (size_t i = 0; bad && i < n; i++) {
        if (isfinite(x[i])) {
            room[kept++] = x[i];
        }
    }
    return bad ? room : x;
}

static void measure_plain(const float *x, size_t n, piece *p)
{
    double lane[QK_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        lane[i % QK_LANES] += (double)x[i];
        p->zeros += x[i] == 0.0f;
    }
    qk()->minmax_f32(x, n, &p->lowest, &p->highest);
    p->sum = qk_fold_lanes(lane);
    p->sum2 = qk()->dot_f32(x, x, n);
}

static void measure_about(const float *x, size_t n, double mean, piece *p)
{
    double two[QK_LANES] = {0}, four[QK_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - mean, d2 = d * d;
        two[i % QK_LANES] += d2;
        four[i % QK_LANES] += d2 * d2;
    }
    p->about2 = qk_fold_lanes(two);
    p->about4 = qk_fold_lanes(four);
}

static void add(piece *sum, const piece *p, uint64_t position, uint64_t length)
{
    if (p->finite) {
        sum->lowest = sum->finite && sum->lowest <= p->lowest ? sum->lowest : p->lowest;
        sum->highest = sum->finite && sum->highest >= p->highest ? sum->highest : p->highest;
    }
    if (p->first_nonfinite < length && sum->first_nonfinite > position) {
        sum->first_nonfinite = position + p->first_nonfinite;
    }
    sum->finite += p->finite;
    sum->zeros += p->zeros;
    sum->sum += p->sum;
    sum->sum2 += p->sum2;
    sum->about2 += p->about2;
    sum->about4 += p->about4;
}

/* One pass; mean NULL: the first. */
static piece pass(quant_context *ctx, const float *w, size_t n, const double *mean)
{
    int threads = quant_context_threads(ctx);
    piece sum = {0, 0, n, 0, 0, 0, 0, 0, 0}, wave[WAVE];
    size_t pieces = n / PIECE + (n % PIECE != 0);
    for (size_t base = 0; base < pieces; base += WAVE) {
        size_t many = pieces - base < WAVE ? pieces - base : WAVE;
#pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1 && many > 1)
        for (size_t k = 0; k < many; k++) {
            size_t at = (base + k) * PIECE, length = n - at < PIECE ? n - at : PIECE;
            float room[PIECE];
            memset(&wave[k], 0, sizeof wave[k]);
            const float *x = finite_values(w + at, length, room, &wave[k]);
            if (mean) {
                measure_about(x, (size_t)wave[k].finite, *mean, &wave[k]);
            } else {
                measure_plain(x, (size_t)wave[k].finite, &wave[k]);
            }
        }
        for (size_t k = 0; k < many; k++) {
            size_t at = (base + k) * PIECE;
            add(&sum, &wave[k], at, n - at < PIECE ? n - at : PIECE);
        }
    }
    return sum;
}

quant_status quant_summarize(quant_context *ctx, const float *w, size_t n, quant_summary *summary)
{
    if (!summary || (n && !w)) {
        return quant_fail(ctx, QUANT_EINVAL, "summary: expected pointers, found NULL");
    }
    piece first = pass(ctx, w, n, NULL);
    double finite = (double)first.finite, mean = first.finite ? first.sum / finite : 0;
    quant_summary s = {n, first.lowest, first.highest, 0, 0, mean, NAN, n - first.finite,
                       first.first_nonfinite, first.zeros};
    s.absmax = s.highest >= -s.lowest ? s.highest : -s.lowest;
    s.rms = first.finite ? sqrt(first.sum2 / finite) : 0;
    if (s.lowest < s.highest) {
        piece second = pass(ctx, w, n, &mean);
        double variance = second.about2 / finite;
        s.kurtosis = second.about4 / finite / variance / variance;
    }
    *summary = s;
    return QUANT_OK;
}
