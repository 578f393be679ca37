/* SPDX-License-Identifier: Apache-2.0 */
/* int4.h - encode_int4 as its parts say it, batch by batch. A level that has no body of its own
 * names its parts. */
#ifndef QUANT_KERNELS_INT4_H
#define QUANT_KERNELS_INT4_H

#include "kernels/kernels.h"

typedef struct int4_parts {
    qk_absmax_blocks_fn *absmax_blocks;
    qk_narrow16_fn *f32_to_f16;
    qk_widen16_fn *f16_to_f32;
    qk_encode_blocks_fn *encode_blocks;
    qk_pack_fn *pack_codes;
} int4_parts;

static inline size_t int4_by_parts(const float *x, size_t n, qk_int4 g, uint16_t *scale,
                                   uint8_t *stream, size_t *outside, const int4_parts *parts)
{
    enum { BLOCKS = QK_INT4_BATCH / QK_INT4_BLOCK };
    float most[BLOCKS];
    uint8_t codes[QK_INT4_BATCH];
    size_t i = 0;
    *outside = 0;
    for (; n - i >= QK_INT4_BATCH; i += QK_INT4_BATCH) {
        parts->absmax_blocks(x + i, QK_INT4_BATCH, QK_INT4_BLOCK, most);
        for (int k = 0; k < BLOCKS; k++) {
            if (!(most[k] >= g.least && most[k] <= g.most)) {
                return i;
            }
            most[k] /= g.steps;
        }
        parts->f32_to_f16(most, BLOCKS, scale + i / QK_INT4_BLOCK);
        parts->f16_to_f32(scale + i / QK_INT4_BLOCK, BLOCKS, most);
        qk_blocks b = {QK_INT4_BLOCK, most, NULL, g.lowest, g.highest, NULL};
        b.next = n - i >= 2 * QK_INT4_BATCH ? x + i + QK_INT4_BATCH : NULL;
        *outside += parts->encode_blocks(x + i, QK_INT4_BATCH, b, codes);
        parts->pack_codes(codes, QK_INT4_BATCH, 4, stream + i / 2);
    }
    return i;
}

#endif
