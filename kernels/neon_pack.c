/* SPDX-License-Identifier: Apache-2.0 */
/* neon_pack.c - bit streams of any width, sixteen codes at a time: they fill 2b bytes exactly.
 * Vectors are loaded and stored whole, so the last codes, where that would pass the end of the
 * stream, go to scalar. */
#include "kernels/neon.h"

#if defined(QK_HAS_NEON)
#include <stdbool.h>

/* Sixteen codes from i on, with a whole register of stream at hand. */
static inline bool whole(size_t n, size_t i, unsigned bits)
{
    size_t from = i / 8 * bits, bytes = n / 8 * bits + (n % 8 * bits + 7) / 8;
    return n - i >= 16 && bytes - from >= 16;
}

/* Two halves of each word, the low `held` bits of each in use, become neighbours. */
static inline uint64x2_t join(uint8x16_t v, int bits)
{
    uint16x8_t a = vreinterpretq_u16_u8(v);
    a = vorrq_u16(vandq_u16(a, vdupq_n_u16(0xff)),
                  vshlq_u16(vshrq_n_u16(a, 8), vdupq_n_s16((int16_t)bits)));
    uint32x4_t b = vreinterpretq_u32_u16(a);
    b = vorrq_u32(vandq_u32(b, vdupq_n_u32(0xffff)),
                  vshlq_u32(vshrq_n_u32(b, 16), vdupq_n_s32(2 * bits)));
    uint64x2_t c = vreinterpretq_u64_u32(b);
    return vorrq_u64(vandq_u64(c, vdupq_n_u64(0xffffffff)),
                     vshlq_u64(vshrq_n_u64(c, 32), vdupq_n_s64(4 * (int64_t)bits)));
}

void qk_pack_codes_neon(const uint8_t *codes, size_t n, unsigned bits, uint8_t *stream)
{
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1u));
    uint8_t from[16]; /* byte j of the stream is byte j % bits of word j / bits; 255 gives 0 */
    for (unsigned j = 0; j < 16; j++) {
        from[j] = (uint8_t)(j < 2 * bits ? 8 * (j / bits) + j % bits : 255u);
    }
    const uint8x16_t together = vld1q_u8(from);
    size_t i = 0;
    for (; whole(n, i, bits); i += 16) {
        uint64x2_t words = join(vandq_u8(vld1q_u8(codes + i), mask), (int)bits);
        vst1q_u8(stream + i / 8 * bits, vqtbl1q_u8(vreinterpretq_u8_u64(words), together));
    }
    qk_pack_codes_scalar(codes + i, n - i, bits, stream + i / 8 * bits);
}

/* A code lies in the two bytes that begin with byte k bits / 8 (of the last of 8 bits the second is
 * beyond the register and reads as 0). `flip` is the top bit of a code that carries a sign, else 0:
 * (c ^ flip) - flip. Returns how many codes are done. */
static inline size_t unpack_whole(const uint8_t *stream, size_t n, unsigned bits, unsigned flip,
                                  uint8_t *codes)
{
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1u));
    const uint8x16_t top = vdupq_n_u8((uint8_t)flip);
    uint8_t from[32];
    int16_t down[16];
    for (unsigned k = 0; k < 16; k++) {
        from[2 * k] = (uint8_t)(k * bits / 8);
        from[2 * k + 1] = (uint8_t)(k * bits / 8 + 1);
        down[k] = (int16_t)-(int)(k * bits % 8);
    }
    const uint8x16_t pick[2] = {vld1q_u8(from), vld1q_u8(from + 16)};
    const int16x8_t shift[2] = {vld1q_s16(down), vld1q_s16(down + 8)};
    size_t i = 0;
    for (; whole(n, i, bits); i += 16) {
        const uint8x16_t v = vld1q_u8(stream + i / 8 * bits);
        uint16x8_t a = vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(v, pick[0])), shift[0]);
        uint16x8_t b = vshlq_u16(vreinterpretq_u16_u8(vqtbl1q_u8(v, pick[1])), shift[1]);
        uint8x16_t c = vandq_u8(vcombine_u8(vmovn_u16(a), vmovn_u16(b)), mask);
        vst1q_u8(codes + i, vsubq_u8(veorq_u8(c, top), top));
    }
    return i;
}

void qk_unpack_unsigned_neon(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    const size_t i = unpack_whole(stream, n, bits, 0, codes);
    qk_unpack_unsigned_scalar(stream + i / 8 * bits, n - i, bits, codes + i);
}

void qk_unpack_signed_neon(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    const size_t i = unpack_whole(stream, n, bits, 1u << (bits - 1u), codes);
    qk_unpack_signed_scalar(stream + i / 8 * bits, n - i, bits, codes + i);
}

#endif
