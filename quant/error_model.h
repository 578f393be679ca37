/* SPDX-License-Identifier: Apache-2.0 */
/* error_model.h - expected squared error of a quantizer on a histogram; not installed. */
#ifndef QUANT_ERROR_MODEL_H
#define QUANT_ERROR_MODEL_H

#include <stdint.h>

/* Log-spaced bins of |x| in some unit: 16 an octave from 2^-12 to 2^16, one more below for
 * everything smaller; values beyond count in the last bin. Signs are kept apart. */
enum { QUANT_BINS_LOG = 4, QUANT_BINS_LOW = -12, QUANT_BINS_HIGH = 16,
       QUANT_BINS = ((QUANT_BINS_HIGH - QUANT_BINS_LOW) << QUANT_BINS_LOG) + 1 };

typedef struct quant_histogram {
    double zeros;
    double weight[2][QUANT_BINS]; /* positive, negative */
} quant_histogram;

/* Values offset + step * k for the integers lowest <= k <= highest; each x goes to the nearest. */
typedef struct quant_grid {
    double step, offset, lowest, highest;
} quant_grid;

/* Add `weight` for each of n values in units of `unit` > 0. */
void quant_histogram_add(quant_histogram *h, const float *x, uint64_t n, double unit,
                         double weight);

/* Weighted sum of squared errors, each bin spread evenly over its part within [from, to], which
 * holds all values. Grid and limits in units of the histogram; infinities are allowed. */
double quant_histogram_error(const quant_histogram *h, quant_grid g, double from, double to);

#endif
