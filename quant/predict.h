/* SPDX-License-Identifier: Apache-2.0 */
/* predict.h - the relative error of a scheme from a tensor's statistics, before encoding it.
 *
 * Statistics are the scale of each region as it would be stored, and one histogram of |w| over the
 * step of its region, in bins of a sixteenth of an octave. From them
 *   linear    weights are spread evenly over their bin and pushed through the quantizer of step s:
 *             w^2 inside the dead zone |w| < s/2, s^2/12 from some steps on (uniform noise),
 *             (|w| - limit)^2 beyond the clipping limit; the largest weight of a region is coded;
 *   codebook  its own SSE: the optimal within-group SSE is the error;
 *   float     the rounding step h of each binade, h^2/12.
 * Regions below 16 weights, and those of scale=mse up to 65536 weights, are encoded, not modelled.
 * Linear schemes know the density of the weights only: when they sit on a grid of their own that is
 * not much finer than the step (weights that were quantized before), the prediction is off. Float
 * schemes take the bits that are cut off as evenly spread; a trained bank where they are not was
 * 1 dB worse under bf16 than predicted.
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

/* Figures of the whole tensor; without finite elements extremes, rms and mean are 0. Same bytes for
 * any ISA level and thread count. */
typedef struct quant_summary {
    uint64_t elements;
    float lowest, highest, absmax;
    double rms;          /* sqrt(sum w^2 / n) */
    double mean;
    double kurtosis;     /* sum (w-mean)^4 / n / variance^2; 3 for a Gaussian; NaN when constant */
    uint64_t nonfinite;  /* counted, excluded from the other figures */
    uint64_t first_nonfinite; /* elements when there is none */
    uint64_t zeros;
} quant_summary;
quant_status quant_summarize(quant_context *ctx, const float *w, size_t n, quant_summary *summary);

/* Predicted relative error of encoding with the scheme that the statistics were made for. 0 for
 * an all-zero tensor. Cannot fail. */
double quant_predict(const quant_statistics *statistics);

/* The same from a maximum and an RMS alone, for a Gaussian body of that RMS: a per-tensor linear
 * scheme of b bits and range narrow whose scale is absmax/(2^(b-1)-1). What a plan can say from
 * max/RMS before any data is read. NaN unless 2 <= bits <= 24 and the ratio is positive. */
double quant_predict_gaussian(int bits, double max_over_rms);

#ifdef __cplusplus
}
#endif
#endif
