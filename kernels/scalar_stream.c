/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_stream.c - what is written past the caches is what would be written into them. */
#include <string.h>

#include "kernels/kernels.h"

void qk_stream_linear_scalar(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    qk_decode_linear_scalar(codes, n, p, y);
}

void qk_stream_blocks_scalar(const uint8_t *codes, size_t n, qk_blocks b, float *y)
{
    qk_decode_blocks_scalar(codes, n, b, y);
}

void qk_stream_codebook_scalar(const uint8_t *codes, size_t n, const float *table, size_t entries,
                               float *y)
{
    qk_decode_codebook_scalar(codes, n, table, entries, y);
}

void qk_stream_f16_scalar(const uint16_t *x, size_t n, float *y)
{
    qk_f16_to_f32_scalar(x, n, y);
}

void qk_stream_bf16_scalar(const uint16_t *x, size_t n, float *y)
{
    qk_bf16_to_f32_scalar(x, n, y);
}

void qk_stream_f32_scalar(const float *x, size_t n, float *y)
{
    if (n > 0) {
        memcpy(y, x, n * sizeof *y);
    }
}
