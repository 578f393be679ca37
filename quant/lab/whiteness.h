/* SPDX-License-Identifier: GPL-3.0-or-later */
/* whiteness.h - is an error white along the axis that is summed over?
 *
 * A row's cumulated periodogram grows in a straight line when its elements are uncorrelated
 * (Bartlett). The statistic is the largest distance from that line of the rows' mean, each row
 * weighing the same. Its p-value comes from the error itself with random signs: if the signs of
 * the elements are independent and fair given their magnitudes, whatever those are, p is exact (at
 * most alpha with probability alpha, in steps of 1 / (QUANT_WHITENESS_DRAWS + 1)). Scales that
 * change from block to block therefore do not look like correlation; rows that resemble each other,
 * as rare words of an embedding do, are dependent and are found out too. */
#ifndef QUANT_LAB_WHITENESS_H
#define QUANT_LAB_WHITENESS_H

#include <stdint.h>

#include "quant/context.h"

enum {
    QUANT_WHITENESS_DRAWS = 199,
    QUANT_WHITENESS_ELEMENTS = 1 << 16 /* looked at in a matrix: whole rows, evenly spread */
};

typedef struct quant_whiteness {
    uint64_t rows;      /* that were looked at and have an error */
    double deviation;   /* from the straight line, 0 .. 1 */
    double neighbour;   /* correlation of neighbours, pooled */
    double p;           /* NaN: no row, or fewer than 5 columns */
} quant_whiteness;

/* statistic[0] of the error itself, the others with random signs; sums over several matrices are
 * the statistics of all of them together. */
typedef struct quant_whiteness_draws {
    double statistic[QUANT_WHITENESS_DRAWS + 1];
} quant_whiteness_draws;

/* error[rows][cols]; signs are keyed by (seed, name). Adds to *draws (NULL allowed). */
quant_status quant_whiteness_test(quant_context *ctx, const float *error, uint64_t rows,
                                  uint64_t cols, uint64_t seed, const char *name,
                                  quant_whiteness *result, quant_whiteness_draws *draws);
/* Share of the draws that are at least as large as the error's own, itself counted. */
double quant_whiteness_p(const quant_whiteness_draws *draws);

#endif
