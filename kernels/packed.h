/* SPDX-License-Identifier: Apache-2.0 */
/* packed.h - a stream of codes to values in pieces, by operations of a level: unpacked into a
 * buffer, written past the caches from there. For levels and operands without a body of their
 * own. */
#ifndef QUANT_KERNELS_PACKED_H
#define QUANT_KERNELS_PACKED_H

#include "kernels/blocks.h"

enum { QK_PACKED_PIECE = 1024 }; /* a multiple of 32 */

/* A piece holds whole blocks, or is a part of one. */
static inline void qk_packed_blocks(const uint8_t *stream, size_t n, unsigned bits, qk_blocks b,
                                    float *y, qk_unpack_fn *unpack, qk_decode_blocks_fn *decode)
{
    uint8_t codes[QK_PACKED_PIECE];
    const size_t whole = QK_PACKED_PIECE / b.block * b.block;
    for (size_t i = 0, m; i < n; i += m) {
        const size_t k = i / b.block;
        const qk_blocks part = {b.block, b.scale + k, b.zero ? b.zero + k : NULL, b.lowest,
                                b.highest, NULL};
        m = whole ? whole : qk_block_length(b.block, i % b.block, QK_PACKED_PIECE);
        m = qk_block_length(n, i, m);
        unpack(stream + i / 8 * bits, m, bits, codes);
        decode(codes, m, part, y + i);
    }
}

static inline void qk_packed_table(const uint8_t *stream, size_t n, unsigned bits,
                                   const float *table, float *y, qk_unpack_fn *unpack,
                                   qk_decode_codebook_fn *decode)
{
    uint8_t codes[QK_PACKED_PIECE];
    for (size_t i = 0, m; i < n; i += m) {
        m = qk_block_length(n, i, QK_PACKED_PIECE);
        unpack(stream + i / 8 * bits, m, bits, codes);
        decode(codes, m, table, (size_t)1 << bits, y + i);
    }
}

#endif
