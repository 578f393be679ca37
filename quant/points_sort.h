/* SPDX-License-Identifier: Apache-2.0 */
/* points_sort.h - floats to ascending distinct values, by sorting; not installed. Order of keys is
 * order of floats, -0 counts as +0; x is finite, n >= 1 and below 2^32. */
#ifndef QUANT_POINTS_SORT_H
#define QUANT_POINTS_SORT_H

#include <stddef.h>
#include <stdint.h>

enum { QUANT_SORT_BUCKETS = 1 << 11 };

/* Low bits that are zero in every value, up to 16: all of those in what came from bf16, 13 in what
 * came from f16. Keys do without them. */
int quant_points_spare_bits(const float *x, size_t n);

/* Distinct values and how often each occurs; their number. value[] and weight[] have room for n,
 * work for QUANT_SORT_BUCKETS + 2 n. */
size_t quant_points_sort_counts(const float *x, size_t n, int spare, uint32_t *work,
                                double *value, double *weight);

/* And the importance of each, added in order of x; work has room for QUANT_SORT_BUCKETS + 4 n. */
size_t quant_points_sort_sums(const float *x, const float *importance, size_t n, uint32_t *work,
                              double *value, double *weight);

/* quant_points_sort_counts without other room than work, where values and counts are left. */
size_t quant_points_sort_narrow(const float *x, size_t n, int spare, uint32_t *work,
                                const float **value, const uint32_t **count);

#endif
