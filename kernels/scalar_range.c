/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_range.c - what lies in a row of floats: largest magnitude, extremes, non-finite values. */
#include <math.h>

#include "kernels/kernels.h"

float qk_absmax_f32_scalar(const float *x, size_t n)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        most = a > most ? a : most;
    }
    return most;
}

void qk_minmax_f32_scalar(const float *x, size_t n, float *lowest, float *highest)
{
    float low = n ? x[0] : 0.0f, high = low;
    for (size_t i = 1; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *lowest = low + 0.0f; /* -0 + 0 = +0: the zero that is returned does not depend on order */
    *highest = high + 0.0f;
}

size_t qk_nonfinite_f32_scalar(const float *x, size_t n, size_t *first)
{
    size_t count = 0;
    *first = n;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            *first = count == 0 ? i : *first;
            count++;
        }
    }
    return count;
}
