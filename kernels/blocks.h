/* SPDX-License-Identifier: Apache-2.0 */
/* blocks.h - one block of many as the parameters of one linear region. */
#ifndef QUANT_KERNELS_BLOCKS_H
#define QUANT_KERNELS_BLOCKS_H

#include "kernels/kernels.h"

static inline qk_linear qk_block_at(qk_blocks b, size_t k)
{
    qk_linear p = {b.scale[k], b.zero ? b.zero[k] : 0, b.lowest, b.highest};
    return p;
}

/* Elements of the block that begins at element i. */
static inline size_t qk_block_length(size_t n, size_t i, size_t block)
{
    return n - i < block ? n - i : block;
}

#endif
