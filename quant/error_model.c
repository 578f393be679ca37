/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/error_model.h"

#include <math.h>
#include <string.h>

enum { SHIFT = 23 - QUANT_BINS_LOG };

/* Bin 0 ends at 2^LOW; above it the leading bits of a float count bins of equal exponent and
 * leading mantissa bits. */
static int bin_of(float magnitude)
{
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    int bin = (int)(bits >> SHIFT) - ((127 + QUANT_BINS_LOW) << QUANT_BINS_LOG) + 1;
    return bin < 0 ? 0 : bin >= QUANT_BINS ? QUANT_BINS - 1 : bin;
}

static double bin_start(int bin)
{
    if (bin == 0) {
        return 0;
    }
    int i = bin - 1, per_octave = 1 << QUANT_BINS_LOG;
    return ldexp(1 + (double)(i % per_octave) / per_octave, QUANT_BINS_LOW + i / per_octave);
}

void quant_histogram_add(quant_histogram *h, const float *x, uint64_t n, double unit,
                         double weight)
{
    double inverse = 1 / unit;
    for (uint64_t i = 0; i < n; i++) {
        if (x[i] == 0.0f) {
            h->zeros += weight;
        } else {
            h->weight[x[i] < 0.0f][bin_of((float)(fabs((double)x[i]) * inverse))] += weight;
        }
    }
}

/* Integral of (t - Q(t))^2 from a fixed point to x. With y = x - offset in the cell of k and
 * d = y - k s it is k s^3/12 + d^3/3: a whole cell holds s^3/12, and both sides of a cell's border
 * agree (k s^3/12 + s^3/24). The outermost k takes all that lies beyond. */
static double integral(const quant_grid *g, double x)
{
    double y = x - g->offset, k = rint(y / g->step);
    k = k < g->lowest ? g->lowest : k > g->highest ? g->highest : k;
    double d = y - k * g->step;
    return k * g->step * g->step * g->step / 12 + d * d * d / 3;
}

static double square_error(const quant_grid *g, double x)
{
    double y = x - g->offset, k = rint(y / g->step);
    k = k < g->lowest ? g->lowest : k > g->highest ? g->highest : k;
    return (y - k * g->step) * (y - k * g->step);
}

/* One side; no |x| is beyond `limit`, which may cut the last bin short. */
static double side_error(const quant_histogram *h, const quant_grid *g, int side, double limit)
{
    double sign = side ? -1 : 1, end = 0, sum = 0;
    for (int b = 0; b < QUANT_BINS && end < limit; b++) {
        double start = end;
        end = fmin(bin_start(b + 1), limit);
        if (h->weight[side][b] > 0) {
            double area = integral(g, sign * end) - integral(g, sign * start);
            sum += h->weight[side][b] * sign * area / (end - start);
        }
    }
    return sum;
}

double quant_histogram_error(const quant_histogram *h, quant_grid g, double from, double to)
{
    double at_zero = h->zeros > 0 ? h->zeros * square_error(&g, 0) : 0;
    return at_zero + side_error(h, &g, 0, to) + side_error(h, &g, 1, -from);
}
