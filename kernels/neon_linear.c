/* SPDX-License-Identifier: Apache-2.0 */
/* neon_linear.c - codes on an even grid and values back from them, as one region or as many. The
 * sum of squared errors is in neon_lanes.c. */
#include "kernels/blocks.h"
#include "kernels/int4.h"
#include "kernels/neon_linear.h"

#if defined(QK_HAS_NEON)
#include <string.h>

size_t qk_encode_linear_neon(const float *x, size_t n, qk_linear p, uint8_t *codes)
{
    const grid g = grid_of(p);
    size_t outside = 0, i = 0;
    for (; p.scale != 0.0f && n - i >= 16; i += 16) {
        outside += encode_eight(x + i, &g, codes + i);
        outside += encode_eight(x + i + 8, &g, codes + i + 8);
    }
    return outside + qk_encode_linear_scalar(x + i, n - i, p, codes + i);
}

void qk_decode_linear_neon(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    const grid g = grid_of(p);
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        decode_eight(codes + i, &g, y + i);
        decode_eight(codes + i + 8, &g, y + i + 8);
    }
    qk_decode_linear_scalar(codes + i, n - i, p, y + i);
}

void qk_absmax_blocks_neon(const float *x, size_t n, size_t block, float *most)
{
    const uint32x4_t magnitude = vdupq_n_u32(0x7fffffff);
    for (size_t i = 0, k = 0; i < n; k++) {
        const size_t end = i + qk_block_length(n, i, block);
        uint32x4_t v = vdupq_n_u32(0);
        for (; end - i >= 4; i += 4) {
            v = vmaxq_u32(v, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + i)), magnitude));
        }
        uint32_t rest = 0, largest = vmaxvq_u32(v);
        float tail;
        if (i < end) {
            qk_absmax_blocks_scalar(x + i, end - i, end - i, &tail);
            memcpy(&rest, &tail, sizeof rest);
        }
        i = end;
        largest = rest > largest ? rest : largest;
        memcpy(&most[k], &largest, sizeof largest);
    }
}

void qk_minmax_blocks_neon(const float *x, size_t n, size_t block, float *lowest, float *highest)
{
    for (size_t i = 0, k = 0; i < n; k++) {
        size_t m = qk_block_length(n, i, block);
        qk_minmax_f32_neon(x + i, m, &lowest[k], &highest[k]);
        i += m;
    }
}

size_t qk_encode_blocks_neon(const float *x, size_t n, qk_blocks b, uint8_t *codes)
{
    const float *next = b.next ? b.next : x; /* memory would be idle while codes are made */
    size_t outside = 0;
    for (size_t i = 0, k = 0; i < n; k++) {
        const size_t end = i + qk_block_length(n, i, b.block);
        const qk_linear p = qk_block_at(b, k);
        const grid g = grid_of(p);
        for (; end - i >= 8 && p.scale != 0.0f; i += 8) {
            __builtin_prefetch(next + i);
            outside += encode_eight(x + i, &g, codes + i);
        }
        outside += qk_encode_linear_scalar(x + i, end - i, p, codes + i);
        i = end;
    }
    return outside;
}

void qk_decode_blocks_neon(const uint8_t *codes, size_t n, qk_blocks b, float *y)
{
    for (size_t i = 0, k = 0; i < n; k++) {
        const size_t end = i + qk_block_length(n, i, b.block);
        const qk_linear p = qk_block_at(b, k);
        const grid g = grid_of(p);
        for (; end - i >= 8; i += 8) {
            decode_eight(codes + i, &g, y + i);
        }
        qk_decode_linear_scalar(codes + i, end - i, p, y + i);
        i = end;
    }
}

size_t qk_encode_int4_neon(const float *x, size_t n, qk_int4 g, uint16_t *scale, uint8_t *stream,
                           size_t *outside)
{
    static const int4_parts parts = {qk_absmax_blocks_neon, qk_f32_to_f16_neon, qk_f16_to_f32_neon,
                                     qk_encode_blocks_neon, qk_pack_codes_neon};
    return int4_by_parts(x, n, g, scale, stream, outside, &parts);
}

#endif
