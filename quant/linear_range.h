/* SPDX-License-Identifier: Apache-2.0 */
/* linear_range.h - from the values of a region to its scale and zero point; not installed. */
#ifndef QUANT_LINEAR_RANGE_H
#define QUANT_LINEAR_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "quant/scheme.h"

typedef struct quant_linear_fit {
    qk_linear p;     /* scale as stored */
    bool raised;     /* the scale is subnormal in its type */
    bool overflow;   /* the scale does not fit its type; p is unset */
} quant_linear_fit;

/* The interval of values that the codes must represent. Symmetric schemes: lowest = -highest. */
typedef struct quant_interval {
    float lowest, highest;
} quant_interval;

/* Code range of a scheme. */
void quant_linear_codes(const quant_scheme *s, int32_t *lowest, int32_t *highest);

/* Scale and zero point for an interval, the scale rounded to its storage type. */
quant_linear_fit quant_linear_from_interval(const quant_scheme *s, quant_interval v);

/* quant_linear_from_interval of n <= 256 regions: scale[k], with an asymmetric scheme zero[k] too.
 * lowest and highest are extremes as measured: the interval is widened to hold zero. Symmetric
 * schemes read highest only, the largest magnitudes, and leave zero alone. */
typedef struct quant_linear_many {
    uint64_t raised;   /* scales that are subnormal in their type */
    bool overflow;     /* a scale does not fit its type */
} quant_linear_many;
quant_linear_many quant_linear_from_intervals(const quant_scheme *s, const float *lowest,
                                              const float *highest, size_t n, float *scale,
                                              int8_t *zero);

/* Symmetric schemes: a region whose largest magnitude is within [least, most] has the scale
 * (largest / steps) rounded to the scheme's type, a normal number with finite products. */
void quant_linear_plain(const quant_scheme *s, float *steps, float *least, float *most);

/* Largest |w - decoded| in steps (stored scales) for any w inside the interval that the scale was
 * made for, the scale being a normal number of its type.
 *
 * With u the unit roundoff of the storage type and v = 2^-24 that of f32: the quotient w/s errs by
 * |w/s| v, rounding to an integer by 1/2, the product s * code by |code| v; both magnitudes are
 * below 2^b, so they cost at most 2^(b+1) v. Clamping adds:
 *   narrow  nothing: rounding to nearest leaves the stored s at least (1 - u/(1+u)) times the
 *           exact one, so A/s <= (2^(b-1)-1)(1+u)(1+2v) < last code + 1/2; the closest case is 8
 *           bits in bf16, 127 (1 + 2^-8) = 127.4961
 *   half    u (2^(b-1)-1/2): the code 2^(b-1) that A/s itself rounds to is clamped, by 1/2 + that
 *   full    1/2 + u 2^(b-1): A is one whole step above the last positive code
 *   asym    u 2^b: the zero point rounds by at most 1/2, so either end is missed by at most 1/2 */
double quant_linear_bound(const quant_scheme *s);

/* Whole rule of the scheme on n finite values; n >= 1. importance (NULL: all 1) is for mse, whose
 * search then takes one thread. Long regions are cut into fixed pieces
 * which `threads` threads share; the result does not depend on threads. One pass for absmax,
 * four for percentile, two for entropy (and 2^(bits-1) 2000 logarithms), up to 34 for mse. */
quant_linear_fit quant_linear_choose(const quant_scheme *s, const float *x,
                                     const float *importance, uint64_t n, int threads);

/* ceil(percent/100 n) in 1 .. n, of the decimal that was written. */
uint64_t quant_percentile_rank(uint64_t n, double percent);

/* Value of rank ceil(percent/100 * n), at least 1, of |x| in ascending order: exact. percent is
 * meant as the decimal of at most 12 places that was written: 99.9 of 1000 has rank 999. */
float quant_magnitude_percentile(const float *x, uint64_t n, double percent);

#endif
