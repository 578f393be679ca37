/* SPDX-License-Identifier: Apache-2.0 */
/* avx2.h - the AVX2 level: what its files share. Without AVX2 and F16C they are empty.
 *
 * Tails go to the scalar functions, which are the specification anyway. */
#ifndef QUANT_KERNELS_AVX2_H
#define QUANT_KERNELS_AVX2_H

#include "kernels/kernels.h"

#define QK_OP(op, cls) qk_##cls##_fn qk_##op##_avx2;
#include "kernels/kernels.def"
#undef QK_OP

#if defined(__AVX2__) && defined(__F16C__)
#define QK_HAS_AVX2 1
#include <immintrin.h>

/* Unaligned loads and stores of whole registers; the casts say that bytes are meant. */
static inline __m256i load_bytes(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}
static inline __m128i load_half(const void *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}
static inline void store_bytes(void *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)p, v);
}
static inline void store_half(void *p, __m128i v)
{
    _mm_storeu_si128((__m128i *)p, v);
}

/* 32 integers, each within [-128, 127], as 32 bytes in order. */
static inline __m256i narrow_to_bytes(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i v = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
#endif

#endif
