/* SPDX-License-Identifier: Apache-2.0 */
/* neon_linear.h - the even grid: the steps of scalar_linear.c in its order. */
#ifndef QUANT_KERNELS_NEON_LINEAR_H
#define QUANT_KERNELS_NEON_LINEAR_H

#include "kernels/neon.h"

#if defined(QK_HAS_NEON)

typedef struct grid {
    float32x4_t scale, zero, lowest, highest;
    int8x8_t zero_byte;
} grid;

static inline grid grid_of(qk_linear p)
{
    grid g = {vdupq_n_f32(p.scale), vdupq_n_f32((float)p.zero), vdupq_n_f32((float)p.lowest),
              vdupq_n_f32((float)p.highest), vdup_n_s8((int8_t)p.zero)};
    return g;
}

static inline float32x4_t unclamped(float32x4_t x, const grid *g)
{
    return vaddq_f32(vrndnq_f32(vdivq_f32(x, g->scale)), g->zero);
}

static inline float32x4_t clamped(float32x4_t code, const grid *g)
{
    return vminq_f32(vmaxq_f32(code, g->lowest), g->highest);
}

static inline float32x4_t scaled(int32x4_t steps, const grid *g)
{
    return vaddq_f32(vmulq_f32(g->scale, vcvtq_f32_s32(steps)), vdupq_n_f32(0.0f));
}

/* Codes of 4 elements; a lane of `kept` becomes all ones where nothing was clamped. scale > 0. */
static inline int32x4_t encode_four(const float *x, const grid *g, uint32x4_t *kept)
{
    float32x4_t code = unclamped(vld1q_f32(x), g), within = clamped(code, g);
    *kept = vceqq_f32(code, within);
    return vcvtq_s32_f32(within);
}

/* Codes of 8 elements; returns how many were clamped. */
static inline size_t encode_eight(const float *x, const grid *g, uint8_t *codes)
{
    uint32x4_t kept[2];
    int32x4_t a = encode_four(x, g, &kept[0]), b = encode_four(x + 4, g, &kept[1]);
    int16x8_t v = vcombine_s16(vmovn_s32(a), vmovn_s32(b));
    vst1_u8(codes, vreinterpret_u8_s8(vmovn_s16(v)));
    return 8u - (0u - vaddvq_u32(vaddq_u32(kept[0], kept[1]))); /* all ones count as -1 */
}

static inline void decode_eight(const uint8_t *codes, const grid *g, float *y)
{
    int16x8_t steps = vsubl_s8(vreinterpret_s8_u8(vld1_u8(codes)), g->zero_byte);
    vst1q_f32(y, scaled(vmovl_s16(vget_low_s16(steps)), g));
    vst1q_f32(y + 4, scaled(vmovl_high_s16(steps), g));
}

#endif
#endif
