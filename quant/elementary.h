/* SPDX-License-Identifier: Apache-2.0 */
/* elementary.h - elementary functions in operations that IEEE 754 fixes to the last bit; internal,
 * not installed. A C library's own differ in the last bits from processor to processor (with a
 * fused multiply-add or without), and what is computed through them is promised to be the same
 * bytes everywhere. quant_log is in internal.h. */
#ifndef QUANT_ELEMENTARY_H
#define QUANT_ELEMENTARY_H

/* Decimal logarithm, rounded correctly but where it lies within 2^-100 of itself of the middle
 * between two doubles; whole numbers for powers of ten. 0 gives -infinity, a negative number or NaN
 * gives NaN. */
double quant_log10(double x);

/* e^x for -700 <= x <= 700, relative error at most 2.5 2^-53. */
double quant_exp(double x);

#endif
