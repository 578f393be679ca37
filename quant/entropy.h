/* SPDX-License-Identifier: Apache-2.0 */
/* entropy.h - clipping limits that lose least information; not installed.
 *
 * Migacz 2017, "8-bit inference with TensorRT": magnitudes in QUANT_ENTROPY_BINS evenly wide bins
 * up to the largest; a limit of m bins keeps P, the first m with all that lies beyond added to the
 * last, and can represent Q, the same bins pooled into `levels`, each spread over the bins of P
 * that hold something. The m with the least Kullback-Leibler divergence of P from Q is taken. */
#ifndef QUANT_ENTROPY_H
#define QUANT_ENTROPY_H

#include <stdint.h>

#include "quant/observer.h"

/* m in levels .. QUANT_ENTROPY_BINS; ties to the larger. all = the sum of bin[], or nearly. Limits
 * under which a bin that holds something is given nothing are left out. In double from quant_log,
 * so the same everywhere. O(bins * levels). */
int quant_entropy_limit(const double bin[QUANT_ENTROPY_BINS], double all, int levels);

/* That limit for n finite magnitudes |x|, whose largest is `most` > 0, and codes of `bits` bits:
 * 2^(bits-1) levels. In (0, most]. */
float quant_magnitude_entropy(const float *x, uint64_t n, float most, int bits);

#endif
