/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/entropy.h"

#include <math.h>
#include <string.h>

#include "quant/internal.h"

/* Running sums: entry i is of the bins before i. */
typedef struct evenly {
    double mass[QUANT_ENTROPY_BINS + 1];
    double plogp[QUANT_ENTROPY_BINS + 1]; /* of mass / all */
    int used[QUANT_ENTROPY_BINS + 1];     /* bins that hold something */
} evenly;

static double xlogx(double x)
{
    return x > 0 ? x * quant_log(x) : 0;
}

static void accumulate(const double *bin, double all, evenly *e)
{
    e->mass[0] = e->plogp[0] = 0;
    e->used[0] = 0;
    for (int i = 0; i < QUANT_ENTROPY_BINS; i++) {
        e->mass[i + 1] = e->mass[i] + bin[i];
        e->plogp[i + 1] = e->plogp[i] + xlogx(bin[i] / all);
        e->used[i + 1] = e->used[i] + (bin[i] > 0);
    }
}

/* KL(P || Q) of the first m bins: P has what lies beyond added to its last bin, Q is the bins
 * pooled into levels, each spread over the bins of P that hold something. Infinite when Q lacks
 * what P has. In double from quant_log, so the same everywhere. Every level adds: when the
 * sum is `enough` the rest is not looked at. */
static double divergence(const evenly *e, int m, int levels, double enough)
{
    double all = e->mass[QUANT_ENTROPY_BINS], inside = e->mass[m], tail = all - inside;
    double last = e->mass[m] - e->mass[m - 1];
    double sum = e->plogp[m - 1] + xlogx((last + tail) / all);
    bool fills = last <= 0 && tail > 0; /* the last bin of P holds nothing but the tail */
    for (int l = 0; l < levels && sum < enough; l++) {
        int from = (int)((long)m * l / levels);
        int to = (int)((long)m * (l + 1) / levels);
        double q = e->mass[to] - e->mass[from];
        double p = q + (l + 1 == levels ? tail : 0);
        int used = e->used[to] - e->used[from] + (l + 1 == levels && fills);
        if (p > 0 && !(q > 0)) {
            return INFINITY;
        }
        sum -= p > 0 ? p / all * quant_log(q / used / inside) : 0;
    }
    return sum;
}

int quant_entropy_limit(const double bin[QUANT_ENTROPY_BINS], double all, int levels)
{
    evenly e;
    int best = QUANT_ENTROPY_BINS;
    accumulate(bin, all, &e);
    double least = divergence(&e, best, levels, INFINITY);
    for (int m = QUANT_ENTROPY_BINS - 1; m >= levels; m--) {
        double d = divergence(&e, m, levels, least);
        if (d < least) {
            least = d;
            best = m;
        }
    }
    return best;
}

float quant_magnitude_entropy(const float *x, uint64_t n, float most, int bits)
{
    double bin[QUANT_ENTROPY_BINS] = {0};
    for (uint64_t i = 0; i < n; i++) {
        double at = fabs((double)x[i]) / (double)most * QUANT_ENTROPY_BINS;
        bin[at < QUANT_ENTROPY_BINS ? (int)at : QUANT_ENTROPY_BINS - 1] += 1.0;
    }
    int limit = quant_entropy_limit(bin, (double)n, 1 << (bits - 1));
    return limit == QUANT_ENTROPY_BINS ? most
                                       : (float)((double)most * limit / QUANT_ENTROPY_BINS);
}
