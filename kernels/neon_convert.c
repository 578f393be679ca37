/* SPDX-License-Identifier: Apache-2.0 */
/* neon_convert.c - 16-bit floats. FCVTN and FCVTL agree with the specification but for NaN, whose
 * payload FCVTN keeps when narrowing: those are replaced before it sees them. */
#include "kernels/neon.h"

#if defined(QK_HAS_NEON)

static inline uint32x4_t load_bits(const float *x)
{
    return vreinterpretq_u32_f32(vld1q_f32(x));
}

/* All ones where the bits are no NaN's. */
static inline uint32x4_t is_number(uint32x4_t b)
{
    float32x4_t x = vreinterpretq_f32_u32(b);
    return vceqq_f32(x, x);
}

static inline uint16x4_t f16_of(uint32x4_t b)
{
    uint32x4_t plain = vorrq_u32(b, vdupq_n_u32(0x7fc00000));
    plain = vandq_u32(plain, vdupq_n_u32(0xffc00000)); /* the sign, and no payload */
    float32x4_t x = vreinterpretq_f32_u32(vbslq_u32(is_number(b), b, plain));
    return vreinterpret_u16_f16(vcvt_f16_f32(x));
}

void qk_f32_to_f16_neon(const float *x, size_t n, uint16_t *y)
{
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        vst1q_u16(y + i, vcombine_u16(f16_of(load_bits(x + i)), f16_of(load_bits(x + i + 4))));
    }
    qk_f32_to_f16_scalar(x + i, n - i, y + i);
}

/* The sum may carry out of the sign only where the bits are a NaN's. */
static inline uint16x4_t bf16_of(uint32x4_t b)
{
    uint32x4_t odd = vandq_u32(vshrq_n_u32(b, 16), vdupq_n_u32(1));
    uint16x4_t near = vaddhn_u32(b, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    uint16x4_t sign = vand_u16(vshrn_n_u32(b, 16), vdup_n_u16(0x8000));
    return vbsl_u16(vmovn_u32(is_number(b)), near, vorr_u16(sign, vdup_n_u16(0x7fc0)));
}

void qk_f32_to_bf16_neon(const float *x, size_t n, uint16_t *y)
{
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        vst1q_u16(y + i, vcombine_u16(bf16_of(load_bits(x + i)), bf16_of(load_bits(x + i + 4))));
    }
    qk_f32_to_bf16_scalar(x + i, n - i, y + i);
}

void qk_f16_to_f32_neon(const uint16_t *x, size_t n, float *y)
{
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        float16x8_t h = vreinterpretq_f16_u16(vld1q_u16(x + i));
        vst1q_f32(y + i, vcvt_f32_f16(vget_low_f16(h)));
        vst1q_f32(y + i + 4, vcvt_high_f32_f16(h));
    }
    qk_f16_to_f32_scalar(x + i, n - i, y + i);
}

static inline float32x4_t f32_of_bf16(uint16x4_t h)
{
    uint32x4_t b = vshll_n_u16(h, 16);
    uint32x4_t quiet = vbicq_u32(vdupq_n_u32(0x00400000), is_number(b));
    return vreinterpretq_f32_u32(vorrq_u32(b, quiet));
}

void qk_bf16_to_f32_neon(const uint16_t *x, size_t n, float *y)
{
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        vst1q_f32(y + i, f32_of_bf16(vld1_u16(x + i)));
        vst1q_f32(y + i + 4, f32_of_bf16(vld1_u16(x + i + 4)));
    }
    qk_bf16_to_f32_scalar(x + i, n - i, y + i);
}

#endif
