/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_blocks.h - extremes of sixteen blocks of whole registers at a time: their registers are
 * folded as they are transposed, three instructions a block where one by one it is eight in a
 * row. */
#ifndef QUANT_KERNELS_AVX512_BLOCKS_H
#define QUANT_KERNELS_AVX512_BLOCKS_H

#include "kernels/avx512.h"

#if defined(QK_HAS_AVX512)

enum { SIXTEEN = 16 };

/* What joins two registers of elements, and how sixteen blocks become one register: inlined, each
 * with its own instruction in the place of `join`. */
typedef __m512i join_fn(__m512i a, __m512i b);

static inline __m512i larger(__m512i a, __m512i b)
{
    return _mm512_max_epu32(a, b);
}
static inline __m512i higher(__m512i a, __m512i b)
{
    return _mm512_castps_si512(_mm512_max_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
}
static inline __m512i lower(__m512i a, __m512i b)
{
    return _mm512_castps_si512(_mm512_min_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b)));
}

/* One block of whole registers as sixteen lanes; bits outside of `mask` are dropped first. */
QK_INLINE __m512i one_block(const float *x, size_t block, __m512i mask, join_fn *join)
{
    __m512i v = _mm512_and_epi32(_mm512_loadu_si512(x), mask);
    for (size_t i = 16; i < block; i += 16) {
        v = join(v, _mm512_and_epi32(_mm512_loadu_si512(x + i), mask));
    }
    return v;
}

/* Each step takes two registers into one, so that lanes of two blocks, then of four, then of
 * sixteen lie side by side: words meet, then pairs, then quarters of the register. */
QK_INLINE __m512i two_blocks(const float *x, size_t block, __m512i mask, join_fn *join)
{
    __m512i a = one_block(x, block, mask, join), b = one_block(x + block, block, mask, join);
    return join(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
}

QK_INLINE __m512i four_blocks(const float *x, size_t block, __m512i mask, join_fn *join)
{
    __m512i a = two_blocks(x, block, mask, join), b = two_blocks(x + 2 * block, block, mask, join);
    return join(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

QK_INLINE __m512i join_quarters(__m512i a, __m512i b, join_fn *join)
{
    return join(_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xdd));
}

/* Lane k is block k of sixteen. */
QK_INLINE __m512i sixteen_blocks(const float *x, size_t block, __m512i mask, join_fn *join)
{
    __m512i a = four_blocks(x, block, mask, join);
    __m512i b = four_blocks(x + 4 * block, block, mask, join);
    __m512i c = four_blocks(x + 8 * block, block, mask, join);
    __m512i d = four_blocks(x + 12 * block, block, mask, join);
    return join_quarters(join_quarters(a, b, join), join_quarters(c, d, join), join);
}

#endif
#endif
