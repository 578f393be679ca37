/* SPDX-License-Identifier: Apache-2.0 */
/* neon_codebook.c - nearest entries of small tables by counting, values by looking bytes up. */
#include "kernels/neon.h"

#if defined(QK_HAS_NEON)
#include <string.h>

/* Beyond this many thresholds a search by halves, one element after another, does less. */
enum { COUNTED = 31 };

/* 16 counts as bytes: each threshold below adds one, a comparison being 0 or -1. */
static inline uint8x16_t count_below(const float *x, const float *thresholds, size_t m)
{
    float32x4_t v[4];
    uint32x4_t below[4];
    QK_UNROLLED
    for (int q = 0; q < 4; q++) {
        v[q] = vld1q_f32(x + 4 * q);
        below[q] = vdupq_n_u32(0);
    }
    for (size_t j = 0; j < m; j++) {
        const float32x4_t t = vdupq_n_f32(thresholds[j]);
        QK_UNROLLED
        for (int q = 0; q < 4; q++) {
            below[q] = vsubq_u32(below[q], vcltq_f32(t, v[q]));
        }
    }
    uint16x8_t low = vcombine_u16(vmovn_u32(below[0]), vmovn_u32(below[1]));
    uint16x8_t high = vcombine_u16(vmovn_u32(below[2]), vmovn_u32(below[3]));
    return vcombine_u8(vmovn_u16(low), vmovn_u16(high));
}

void qk_assign_codebook_neon(const float *x, size_t n, const float *thresholds, size_t m,
                             uint8_t *codes)
{
    size_t i = 0;
    for (; m <= COUNTED && n - i >= 16; i += 16) {
        vst1q_u8(codes + i, count_below(x + i, thresholds, m));
    }
    qk_assign_codebook_scalar(x + i, n - i, thresholds, m, codes + i);
}

/* The table by planes: byte b of all entries stands together, so that one look-up gives byte b of
 * 16 values, and an interleaving store makes floats of the four. */
enum { SMALL = 16, LARGE = 64 };

static void split_planes(const float *table, size_t entries, uint8_t planes[4][LARGE])
{
    memset(planes, 0, 4 * LARGE);
    for (size_t k = 0; k < entries; k++) {
        uint32_t b;
        memcpy(&b, &table[k], sizeof b);
        QK_UNROLLED
        for (int p = 0; p < 4; p++) {
            planes[p][k] = (uint8_t)(b >> 8 * p);
        }
    }
}

static size_t decode_small(const uint8_t *codes, size_t n, const uint8_t planes[4][LARGE], float *y)
{
    uint8x16_t table[4];
    size_t i = 0;
    QK_UNROLLED
    for (int p = 0; p < 4; p++) {
        table[p] = vld1q_u8(planes[p]);
    }
    for (; n - i >= 16; i += 16) {
        const uint8x16_t c = vld1q_u8(codes + i);
        uint8x16x4_t v = {{vqtbl1q_u8(table[0], c), vqtbl1q_u8(table[1], c),
                           vqtbl1q_u8(table[2], c), vqtbl1q_u8(table[3], c)}};
        vst4q_u8((uint8_t *)(y + i), v);
    }
    return i;
}

static size_t decode_large(const uint8_t *codes, size_t n, const uint8_t planes[4][LARGE], float *y)
{
    uint8x16x4_t table[4];
    size_t i = 0;
    QK_UNROLLED
    for (int p = 0; p < 4; p++) {
        table[p] = vld1q_u8_x4(planes[p]);
    }
    for (; n - i >= 16; i += 16) {
        const uint8x16_t c = vld1q_u8(codes + i);
        uint8x16x4_t v = {{vqtbl4q_u8(table[0], c), vqtbl4q_u8(table[1], c),
                           vqtbl4q_u8(table[2], c), vqtbl4q_u8(table[3], c)}};
        vst4q_u8((uint8_t *)(y + i), v);
    }
    return i;
}

void qk_decode_codebook_neon(const uint8_t *codes, size_t n, const float *table, size_t entries,
                             float *y)
{
    uint8_t planes[4][LARGE];
    size_t i = 0;
    if (n >= 16 && entries <= LARGE) { /* larger tables: a load an element */
        split_planes(table, entries, planes);
        i = entries <= SMALL ? decode_small(codes, n, (const uint8_t(*)[LARGE])planes, y)
                             : decode_large(codes, n, (const uint8_t(*)[LARGE])planes, y);
    }
    qk_decode_codebook_scalar(codes + i, n - i, table, entries, y + i);
}

#endif
