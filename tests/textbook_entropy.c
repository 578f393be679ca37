/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/textbook_entropy.h"

#include <math.h>

#include "quant/observer.h"

double textbook_bins(const float *x, size_t n, double *bin)
{
    double most = 0;
    for (int b = 0; b < QUANT_ENTROPY_BINS; b++) {
        bin[b] = 0;
    }
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs((double)x[i]));
    }
    for (size_t i = 0; i < n; i++) {
        int b = (int)(fabs((double)x[i]) / most * QUANT_ENTROPY_BINS);
        bin[b < QUANT_ENTROPY_BINS ? b : QUANT_ENTROPY_BINS - 1]++;
    }
    return most;
}

double textbook_divergence(const double *bin, int m, int levels)
{
    double p[QUANT_ENTROPY_BINS] = {0}, q[QUANT_ENTROPY_BINS] = {0}, sum_p = 0, sum_q = 0, kl = 0;
    for (int i = 0; i < QUANT_ENTROPY_BINS; i++) {
        p[i < m ? i : m - 1] += bin[i];
    }
    for (int l = 0; l < levels; l++) {
        int from = m * l / levels, to = m * (l + 1) / levels, used = 0;
        double mass = 0;
        for (int i = from; i < to; i++) {
            mass += bin[i];
            used += p[i] > 0;
        }
        for (int i = from; i < to; i++) {
            q[i] = p[i] > 0 ? mass / used : 0;
        }
    }
    for (int i = 0; i < m; i++) {
        sum_p += p[i];
        sum_q += q[i];
    }
    for (int i = 0; i < m; i++) {
        kl += p[i] > 0 ? p[i] / sum_p * log(p[i] / sum_p / (q[i] / sum_q)) : 0;
    }
    return kl;
}
