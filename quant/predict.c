/* SPDX-License-Identifier: Apache-2.0 */
/* predict.c - the error of a linear scheme from a histogram; dispatch over the families.
 *
 * In units of its step s a weight x errs by s^2 (t - rne(t))^2, t = x/s, whatever its region. So
 * one histogram of |x|/s, each weight counted with s^2, serves all regions: bins are log-spaced
 * and within a bin weights are taken as evenly spread. Below half a step that is the dead zone
 * (error x^2), from about 16 steps on every bin holds whole cells (error s^2/12). Weights that are
 * clipped err by what is cut off, and the largest weight of each region, which the scale was made
 * for, is coded on its own: with the default range it is exact (0.14 dB at blocks of 32). Scales
 * are those that would be stored, so their rounding is part of the prediction. */
#include "quant/predict.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/error_model.h"
#include "quant/internal.h"
#include "quant/linear_range.h"
#include "quant/predict_family.h"

enum {
    SINGLE = 16,      /* below this a region is its own statistic: it is encoded, not modelled */
    SEARCHED = 65536  /* up to this scale=mse searches over the weights, above over bins */
};

struct quant_statistics {
    quant_scheme scheme;
    double energy;          /* sum of w^2 */
    double error;           /* squared error of what is not in the histogram */
    quant_histogram *steps; /* linear schemes: |w|/s, weighted with s^2 */
};

static double energy_of(const float *x, size_t n)
{
    return qk()->dot_f32(x, x, n);
}

/* The search of scale=mse over 128 ratios of the full interval, its objective read off a
 * histogram in units of the RMS instead of passes over the weights. */
static quant_linear_fit search_bins(const quant_scheme *s, const float *x, size_t n)
{
    float lowest, highest;
    qk()->minmax_f32(x, n, &lowest, &highest);
    float most = fmaxf(highest, -lowest);
    quant_interval full = {s->asymmetric ? fminf(lowest, 0) : -most,
                           s->asymmetric ? fmaxf(highest, 0) : most};
    quant_linear_fit best = quant_linear_from_interval(s, full);
    double rms = sqrt(energy_of(x, n) / (double)n), least = INFINITY;
    if (best.overflow || !(rms > 0)) {
        return best;
    }
    quant_histogram h;
    memset(&h, 0, sizeof h);
    quant_histogram_add(&h, x, n, rms, 1);
    for (int i = 0; i <= 128; i++) {
        double ratio = 1 - 0.8 * i / 128;
        quant_interval v = {(float)(full.lowest * ratio), (float)(full.highest * ratio)};
        quant_linear_fit f = quant_linear_from_interval(s, v);
        quant_grid g = {(double)f.p.scale / rms, 0, f.p.lowest - f.p.zero,
                        f.p.highest - f.p.zero};
        double e = f.p.scale > 0 ? quant_histogram_error(&h, g, (double)lowest / rms,
                                                         (double)highest / rms)
                                 : INFINITY;
        if (e < least) {
            least = e;
            best = f;
        }
    }
    return best;
}

/* Weights of one region, outside the clipping limits exactly, inside into the histogram; the
 * first weight of largest magnitude exactly. */
static void add_weights(quant_statistics *s, const float *x, size_t n, qk_linear p)
{
    double step = (double)p.scale, most = (double)qk()->absmax_f32(x, n);
    double lowest = (p.lowest - p.zero - 0.5) * step, highest = (p.highest - p.zero + 0.5) * step;
    bool extreme = false;
    size_t begin = 0;
    for (size_t i = 0; i <= n; i++) {
        double v = i < n ? (double)x[i] : 0;
        bool largest = i < n && !extreme && fabs(v) == most;
        if (i == n || largest || v < lowest || v > highest) {
            quant_histogram_add(s->steps, x + begin, i - begin, step, step * step);
            s->error += i < n ? qk()->sse_linear(x + i, 1, p) : 0;
            extreme |= largest;
            begin = i + 1;
        }
    }
}

static quant_status add_linear(quant_statistics *s, const float *x, size_t n)
{
    bool mse = s->scheme.rule == QUANT_SCALE_MSE;
    quant_linear_fit f = mse && n > SEARCHED ? search_bins(&s->scheme, x, n)
                                             : quant_linear_choose(&s->scheme, x, NULL, n, 1);
    s->energy += energy_of(x, n);
    if (f.overflow) {
        return QUANT_ESCALE;
    }
    if (n < SINGLE || !(f.p.scale > 0) || (mse && n <= SEARCHED)) {
        s->error += qk()->sse_linear(x, n, f.p);
    } else {
        add_weights(s, x, n, f.p);
    }
    return QUANT_OK;
}

static quant_status gather_linear(quant_context *ctx, quant_statistics *s, const quant_regions *g,
                                  const float *w)
{
    size_t most = g->contiguous ? 0 : (size_t)quant_region_most(g);
    float *scratch = quant_alloc(ctx, most, sizeof *scratch);
    if (!scratch) {
        return QUANT_ENOMEM;
    }
    quant_status status = QUANT_OK;
    for (uint64_t r = 0; r < g->count && status == QUANT_OK; r++) {
        const float *x = quant_region_values(g, r, w, scratch);
        status = add_linear(s, x, (size_t)quant_region_elements(g, r));
    }
    quant_release(ctx, scratch, most, sizeof *scratch);
    return status == QUANT_ESCALE
               ? quant_fail(ctx, status, "scale: expected to fit its storage type, found overflow")
               : status;
}

static quant_status gather(quant_context *ctx, quant_statistics *s, const quant_shape *shape,
                           const float *w)
{
    quant_regions g;
    size_t first = 0;
    QUANT_TRY(quant_regions_make(ctx, &s->scheme, shape, &g));
    if (g.elements == 0) {
        return QUANT_OK;
    }
    size_t bad = qk()->nonfinite_f32(w, (size_t)g.elements, &first);
    if (bad) {
        return quant_fail(ctx, QUANT_ENONFINITE, "values: expected finite, found %zu NaN or "
                          "infinite, the first at index %zu", bad, first);
    }
    if (s->scheme.family == QUANT_FAMILY_LINEAR) {
        s->steps = quant_alloc(ctx, 1, sizeof *s->steps);
        if (!s->steps) {
            return QUANT_ENOMEM;
        }
        memset(s->steps, 0, sizeof *s->steps);
        return gather_linear(ctx, s, &g, w);
    }
    s->energy = energy_of(w, (size_t)g.elements);
    return s->scheme.family == QUANT_FAMILY_FLOAT
               ? quant_predict_float(ctx, s->scheme.store, w, g.elements, &s->error)
               : quant_predict_codebook(ctx, &s->scheme, &g, w, &s->error);
}

quant_status quant_statistics_new(quant_context *ctx, const quant_scheme *scheme,
                                  const quant_shape *shape, const float *w,
                                  quant_statistics **statistics)
{
    uint64_t n;
    QUANT_TRY(quant_shape_elements(ctx, shape, &n));
    if (!scheme || !statistics || (n && !w)) {
        return quant_fail(ctx, QUANT_EINVAL, "statistics: expected pointers, found NULL");
    }
    quant_statistics *s = quant_alloc(ctx, 1, sizeof *s);
    if (!s) {
        return QUANT_ENOMEM;
    }
    memset(s, 0, sizeof *s);
    s->scheme = *scheme;
    quant_status status = gather(ctx, s, shape, w);
    if (status != QUANT_OK) {
        quant_statistics_free(ctx, s);
        return status;
    }
    *statistics = s;
    return QUANT_OK;
}

void quant_statistics_free(quant_context *ctx, quant_statistics *s)
{
    if (s) {
        quant_release(ctx, s->steps, 1, sizeof *s->steps);
        quant_release(ctx, s, 1, sizeof *s);
    }
}

double quant_predict(const quant_statistics *s)
{
    const quant_grid unbounded = {1, 0, -INFINITY, INFINITY};
    double inside = s->steps ? quant_histogram_error(s->steps, unbounded, -INFINITY, INFINITY) : 0;
    return s->energy > 0 ? sqrt((s->error + inside) / s->energy) : 0;
}
