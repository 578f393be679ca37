/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_blocks.c - what scalar_range.c and scalar_linear.c say, block after block. */
#include <string.h>

#include "kernels/blocks.h"
#include "kernels/int4.h"

void qk_absmax_blocks_scalar(const float *x, size_t n, size_t block, float *most)
{
    for (size_t i = 0, k = 0; i < n; k++) {
        uint32_t largest = 0;
        for (size_t end = i + qk_block_length(n, i, block); i < end; i++) {
            uint32_t b;
            memcpy(&b, &x[i], sizeof b);
            b &= 0x7fffffffu;
            largest = b > largest ? b : largest;
        }
        memcpy(&most[k], &largest, sizeof largest); /* a float in between might quiet a NaN */
    }
}

void qk_minmax_blocks_scalar(const float *x, size_t n, size_t block, float *lowest, float *highest)
{
    for (size_t i = 0, k = 0; i < n; k++) {
        size_t m = qk_block_length(n, i, block);
        qk_minmax_f32_scalar(x + i, m, &lowest[k], &highest[k]);
        i += m;
    }
}

size_t qk_encode_blocks_scalar(const float *x, size_t n, qk_blocks b, uint8_t *codes)
{
    size_t outside = 0;
    for (size_t i = 0, k = 0; i < n; k++) {
        size_t m = qk_block_length(n, i, b.block);
        outside += qk_encode_linear_scalar(x + i, m, qk_block_at(b, k), codes + i);
        i += m;
    }
    return outside;
}

void qk_decode_blocks_scalar(const uint8_t *codes, size_t n, qk_blocks b, float *y)
{
    for (size_t i = 0, k = 0; i < n; k++) {
        size_t m = qk_block_length(n, i, b.block);
        qk_decode_linear_scalar(codes + i, m, qk_block_at(b, k), y + i);
        i += m;
    }
}

size_t qk_encode_int4_scalar(const float *x, size_t n, qk_int4 g, uint16_t *scale, uint8_t *stream,
                               size_t *outside)
{
    static const int4_parts parts = {qk_absmax_blocks_scalar, qk_f32_to_f16_scalar,
                                     qk_f16_to_f32_scalar, qk_encode_blocks_scalar,
                                     qk_pack_codes_scalar};
    return int4_by_parts(x, n, g, scale, stream, outside, &parts);
}
