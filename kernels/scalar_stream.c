/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_stream.c - what is written past the caches is what would be written into them. */
#include <string.h>

#include "kernels/blocks.h"

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

/* Codes unpacked at once: a multiple of 8, so that they begin at a byte, and of a block's 32. */
enum { SOME = 32 };

void qk_stream_packed_scalar(const uint8_t *stream, size_t n, unsigned bits, qk_blocks b, float *y)
{
    uint8_t codes[SOME];
    for (size_t i = 0; i < n; i += SOME) {
        const size_t m = n - i < SOME ? n - i : SOME;
        qk_unpack_signed_scalar(stream + i / 8 * bits, m, bits, codes);
        qk_decode_linear_scalar(codes, m, qk_block_at(b, i / b.block), y + i);
    }
}

void qk_stream_looked_up_scalar(const uint8_t *stream, size_t n, unsigned bits, const float *table,
                                float *y)
{
    uint8_t codes[SOME];
    for (size_t i = 0; i < n; i += SOME) {
        const size_t m = n - i < SOME ? n - i : SOME;
        qk_unpack_unsigned_scalar(stream + i / 8 * bits, m, bits, codes);
        qk_decode_codebook_scalar(codes, m, table, (size_t)1 << bits, y + i);
    }
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
