/* SPDX-License-Identifier: Apache-2.0 */
/* predict.h - the relative error of a scheme from a tensor's statistics, before encoding it.
 *
 * Statistics are one pass: energy and range of each region (what shares a scale), and one histogram
 * of |w| relative to its region's RMS. From them
 *   linear    a weight at |w| in a bin errs like a uniform density over that bin pushed through the
 *             quantizer of step s: s^2/12 well inside the range (uniform noise), w^2 inside the dead
 *             zone |w| < s/2, (|w| - limit)^2 beyond the clipping limit;
 *   codebook  its own SSE: the optimal within-group SSE is the error;
 *   float     the rounding step of each binade, s^2/12.
 * delta = |e| / |w| (relative error); SQNR = -20 log10(delta). */
#ifndef QUANT_PREDICT_H
#define QUANT_PREDICT_H

#include <stddef.h>
#include <stdint.h>

#include "quant/encode.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quant_statistics quant_statistics;

/* Gather what quant_predict needs of w[shape] for this scheme's regions. Freed by
 * quant_statistics_free (NULL allowed). Failures as in quant_encode. */
quant_status quant_statistics_new(quant_context *ctx, const quant_scheme *scheme,
                                  const quant_shape *shape, const float *w,
                                  quant_statistics **statistics);
void quant_statistics_free(quant_context *ctx, quant_statistics *statistics);

/* Figures of the whole tensor. */
typedef struct quant_summary {
    uint64_t elements;
    float lowest, highest, absmax;
    double rms;          /* sqrt(sum w^2 / n) */
    double mean;
    double kurtosis;     /* sum (w-mean)^4 / n / variance^2; 3 for a Gaussian; NaN when constant */
    uint64_t nonfinite;  /* counted, excluded from the other figures */
    uint64_t first_nonfinite;
    uint64_t zeros;
} quant_summary;
quant_status quant_summarize(quant_context *ctx, const float *w, size_t n, quant_summary *summary);

/* Predicted relative error of encoding with the scheme that the statistics were made for. 0 for
 * an all-zero tensor. Cannot fail. */
double quant_predict(const quant_statistics *statistics);

/* The same from a maximum and an RMS alone, for a Gaussian body of that RMS: a per-tensor linear
 * scheme of b bits and range narrow whose scale is absmax/(2^(b-1)-1). What a plan can say from
 * max/RMS before any data is read. */
double quant_predict_gaussian(int bits, double max_over_rms);

#ifdef __cplusplus
}
#endif
#endif
