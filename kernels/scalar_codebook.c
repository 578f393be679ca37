/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_codebook.c - codes that name entries of a table. */
#include "kernels/kernels.h"

void qk_assign_codebook_scalar(const float *x, size_t n, const float *thresholds, size_t m,
                               uint8_t *codes)
{
    for (size_t i = 0; i < n; i++) {
        size_t below = 0, end = m; /* thresholds [0, below) are < x[i], [end, m) are not */
        while (below < end) {
            size_t middle = (below + end) / 2;
            if (thresholds[middle] < x[i]) {
                below = middle + 1;
            } else {
                end = middle;
            }
        }
        codes[i] = (uint8_t)below;
    }
}

void qk_decode_codebook_scalar(const uint8_t *codes, size_t n, const float *table, size_t entries,
                               float *y)
{
    (void)entries; /* what a level with the table in registers needs to know */
    for (size_t i = 0; i < n; i++) {
        y[i] = table[codes[i]];
    }
}
