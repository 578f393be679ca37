/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_linear.c - codes on an even grid, values back from them, and the error of the pair. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/lanes.h"

/* The code before the clamp, as a float: exact below 2^24 in magnitude, and far out of range
 * above that, infinity included. scale > 0. */
static float unclamped(float x, qk_linear p)
{
    return rintf(x / p.scale) + (float)p.zero;
}

/* Clamps before any conversion to an integer, so that the conversion is defined. */
static float clamped(float code, qk_linear p)
{
    code = code > (float)p.lowest ? code : (float)p.lowest;
    return code < (float)p.highest ? code : (float)p.highest;
}

/* The sum with +0 turns the -0 that scale = 0 gives for negative differences into +0. */
static float decoded(int32_t code, qk_linear p)
{
    return p.scale * (float)(code - p.zero) + 0.0f;
}

size_t qk_encode_linear_scalar(const float *x, size_t n, qk_linear p, uint8_t *codes)
{
    if (p.scale == 0.0f) {
        if (n > 0) {
            memset(codes, p.zero, n);
        }
        return 0;
    }
    size_t outside = 0;
    for (size_t i = 0; i < n; i++) {
        float code = unclamped(x[i], p), kept = clamped(code, p);
        outside += code != kept;
        codes[i] = (uint8_t)(int32_t)kept;
    }
    return outside;
}

void qk_decode_linear_scalar(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = decoded((int8_t)codes[i], p);
    }
}

double qk_sse_linear_scalar(const float *x, size_t n, qk_linear p)
{
    double lane[QK_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        float y = 0.0f;
        if (p.scale != 0.0f) {
            y = decoded((int32_t)clamped(unclamped(x[i], p), p), p);
        }
        double e = (double)x[i] - (double)y;
        lane[i % QK_LANES] += e * e;
    }
    return qk_fold_lanes(lane);
}
