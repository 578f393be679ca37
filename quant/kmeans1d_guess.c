/* SPDX-License-Identifier: Apache-2.0 */
/* Where the search for the penalty begins: a few steps of Lloyd's iteration from a start that
 * spreads the boundaries like a high-resolution quantizer. Only speed depends on it. */
#include <string.h>

#include "quant/kmeans1d_internal.h"

enum { CELLS = 256, SWEEPS = 8 };

/* Cube root of x > 0 to three digits: a third of the exponent, then two Newton steps. */
static double cube_root(double x)
{
    uint64_t bits;
    double y;
    memcpy(&bits, &x, sizeof bits);
    bits = bits / 3 + UINT64_C(0x2a9f7893782da1ce);
    memcpy(&y, &bits, sizeof y);
    y = (2 * y + x / (y * y)) / 3;
    return (2 * y + x / (y * y)) / 3;
}

/* High-resolution theory (Panter and Dite 1951) wants levels at density p^(1/3), that is
 * mass^(1/3) width^(2/3) a cell. */
static void spread(const quant_kmeans1d_sums *a, const quant_points *p, size_t k, uint32_t *bound)
{
    size_t cells = a->n < CELLS ? a->n : CELLS, filled = 1;
    double height[CELLS + 1];
    height[0] = 0;
    for (size_t c = 0; c < cells; c++) {
        size_t from = a->n * c / cells, to = a->n * (c + 1) / cells;
        double mass = a->w.hi[to] - a->w.hi[from];
        double width = (to < a->n ? p->value[to] : p->value[to - 1]) - p->value[from];
        width *= a->value_scale[0] * a->value_scale[1];
        height[c + 1] = height[c] + cube_root(mass * width * width);
    }
    for (size_t c = 0; c < cells && filled < k; c++) {
        size_t from = a->n * c / cells, to = a->n * (c + 1) / cells;
        double rise = height[c + 1] - height[c];
        for (; filled < k && height[c + 1] * (double)k > height[cells] * (double)filled; filled++) {
            double part = (height[cells] * (double)filled / (double)k - height[c]) / rise;
            bound[filled] = (uint32_t)((double)from + part * (double)(to - from));
        }
    }
    for (; filled < k; filled++) {
        bound[filled] = (uint32_t)a->n;
    }
}

/* Strictly ascending, every cluster with at least one point. */
static void separate(size_t n, size_t k, uint32_t *bound)
{
    bound[0] = 0;
    for (size_t c = 1; c < k; c++) {
        size_t low = bound[c - 1] + (size_t)1, high = n - (k - c);
        bound[c] = (uint32_t)(bound[c] < low ? low : bound[c] > high ? high : bound[c]);
    }
    bound[k] = (uint32_t)n;
}

/* The first point at or beyond x, looked for around i. */
static size_t seek(const double *value, size_t n, double x, size_t i)
{
    size_t low = i, high = i, step = 1;
    while (high < n && value[high] < x) {
        low = high + 1;
        high += step;
        step *= 2;
    }
    high = high < n ? high : n;
    for (step = 1; low > 0 && value[low - 1] >= x; step *= 2) {
        high = low - 1;
        low = low > step ? low - step : 0;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (value[middle] < x) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static double mean_of(const quant_kmeans1d_sums *a, size_t from, size_t to)
{
    double w = a->w.hi[to] - a->w.hi[from];
    return w > 0 ? (a->s.hi[to] - a->s.hi[from]) / w : 0;
}

static void sweep(const quant_kmeans1d_sums *a, const quant_points *p, size_t k, double unit,
                  uint32_t *bound)
{
    double left = mean_of(a, 0, bound[1]);
    for (size_t c = 1; c < k; c++) {
        double right = mean_of(a, bound[c], bound[c + 1]);
        double middle = ((left + right) / 2 + a->mean) * unit;
        bound[c] = (uint32_t)seek(p->value, a->n, middle, bound[c]);
        left = right;
    }
    separate(a->n, k, bound);
}

double quant_kmeans1d_penalty_guess(const quant_kmeans1d_sums *a, const quant_points *p, size_t k,
                                    uint32_t *bound)
{
    spread(a, p, k, bound);
    separate(a->n, k, bound);
    double unit = 1 / a->value_scale[0] / a->value_scale[1], sse = a->square;
    for (int i = 0; i < SWEEPS; i++) {
        sweep(a, p, k, unit, bound);
    }
    for (size_t c = 0; c < k; c++) {
        double w = a->w.hi[bound[c + 1]] - a->w.hi[bound[c]];
        double s = a->s.hi[bound[c + 1]] - a->s.hi[bound[c]];
        sse -= w > 0 ? s * s / w : 0;
    }
    sse = sse > 0 ? sse : 0;
    /* Sums of squares fall like k^-2, so the penalty is about 2 sse / k; 1.6 / k fits the optimal
     * quantizers of the Gaussian, where it stays inside the interval of k from 2 to 256. */
    return sse / (double)k * (2 - 1.6 / (double)k);
}
