/* SPDX-License-Identifier: Apache-2.0 */
/* neon_products.c - inner products of floats in single precision, and of bytes. */
#include "kernels/lanes.h"
#include "kernels/neon.h"

#if defined(QK_HAS_NEON)

/* 64 lanes of floats are half of the registers. Neither product nor addition may be fused. */
float qk_dot_single_neon(const float *x, const float *y, size_t n)
{
    float32x4_t sum[QK_LANES / 4];
    float lane[QK_LANES];
    size_t i = 0;
    QK_UNROLLED
    for (int q = 0; q < QK_LANES / 4; q++) {
        sum[q] = vdupq_n_f32(0.0f);
    }
    for (; n - i >= QK_LANES; i += QK_LANES) {
        QK_UNROLLED
        for (size_t q = 0; q < QK_LANES / 4; q++) {
            float32x4_t product = vmulq_f32(vld1q_f32(x + i + 4 * q), vld1q_f32(y + i + 4 * q));
            sum[q] = vaddq_f32(sum[q], product);
        }
    }
    QK_UNROLLED
    for (size_t q = 0; q < QK_LANES / 4; q++) {
        vst1q_f32(lane + 4 * q, sum[q]);
    }
    for (; i < n; i++) {
        lane[i % QK_LANES] += x[i] * y[i];
    }
    return qk_fold_floats(lane);
}

/* (-128)^2 fits 16 bits, and no partial sum is larger than the bound of the whole one. */
int32_t qk_dot_s8_neon(const int8_t *x, const int8_t *y, size_t n)
{
    int32x4_t a = vdupq_n_s32(0), b = a;
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        int8x16_t u = vld1q_s8(x + i), v = vld1q_s8(y + i);
        a = vpadalq_s16(a, vmull_s8(vget_low_s8(u), vget_low_s8(v)));
        b = vpadalq_s16(b, vmull_high_s8(u, v));
    }
    return vaddvq_s32(vaddq_s32(a, b)) + qk_dot_s8_scalar(x + i, y + i, n - i);
}

#endif
