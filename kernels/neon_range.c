/* SPDX-License-Identifier: Apache-2.0 */
/* neon_range.c - maxima and minima do not depend on order, so the last four elements may be taken
 * twice instead of one by one. */
#include "kernels/neon.h"

#if defined(QK_HAS_NEON)

float qk_absmax_f32_neon(const float *x, size_t n)
{
    if (n < 4) {
        return qk_absmax_f32_scalar(x, n);
    }
    float32x4_t a = vabsq_f32(vld1q_f32(x + n - 4)), b = a, c = a, d = a;
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        a = vmaxq_f32(a, vabsq_f32(vld1q_f32(x + i)));
        b = vmaxq_f32(b, vabsq_f32(vld1q_f32(x + i + 4)));
        c = vmaxq_f32(c, vabsq_f32(vld1q_f32(x + i + 8)));
        d = vmaxq_f32(d, vabsq_f32(vld1q_f32(x + i + 12)));
    }
    for (; n - i >= 4; i += 4) {
        a = vmaxq_f32(a, vabsq_f32(vld1q_f32(x + i)));
    }
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(a, b), vmaxq_f32(c, d)));
}

void qk_minmax_f32_neon(const float *x, size_t n, float *lowest, float *highest)
{
    if (n < 4) {
        qk_minmax_f32_scalar(x, n, lowest, highest);
        return;
    }
    float32x4_t low0 = vld1q_f32(x + n - 4), low1 = low0, high0 = low0, high1 = low0;
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        float32x4_t a = vld1q_f32(x + i), b = vld1q_f32(x + i + 4);
        low0 = vminq_f32(low0, a);
        low1 = vminq_f32(low1, b);
        high0 = vmaxq_f32(high0, a);
        high1 = vmaxq_f32(high1, b);
    }
    if (n - i >= 4) {
        low0 = vminq_f32(low0, vld1q_f32(x + i));
        high0 = vmaxq_f32(high0, vld1q_f32(x + i));
    }
    *lowest = vminvq_f32(vminq_f32(low0, low1)) + 0.0f; /* a zero of either sign becomes +0 */
    *highest = vmaxvq_f32(vmaxq_f32(high0, high1)) + 0.0f;
}

/* Bits of |x|, in whose order infinity is above all finite numbers and NaN above infinity. */
static inline uint32x4_t magnitude(const float *x)
{
    return vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x)), vdupq_n_u32(0x7fffffff));
}

size_t qk_nonfinite_f32_neon(const float *x, size_t n, size_t *first)
{
    size_t count = 0, i = 0, at;
    *first = n;
    for (; n - i >= 16; i += 16) {
        uint32x4_t a = vmaxq_u32(magnitude(x + i), magnitude(x + i + 4));
        uint32x4_t b = vmaxq_u32(magnitude(x + i + 8), magnitude(x + i + 12));
        if (vmaxvq_u32(vmaxq_u32(a, b)) >= 0x7f800000u) { /* rare in any bank worth reading */
            size_t here = qk_nonfinite_f32_scalar(x + i, 16, &at);
            *first = count == 0 ? i + at : *first;
            count += here;
        }
    }
    size_t here = qk_nonfinite_f32_scalar(x + i, n - i, &at);
    *first = count == 0 && here > 0 ? i + at : *first;
    return count + here;
}

#endif
