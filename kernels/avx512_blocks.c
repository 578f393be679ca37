/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_blocks.c - many linear regions. Blocks of whole registers have their largest magnitudes
 * found sixteen blocks at a time: the sixteen registers of maxima are folded as they are
 * transposed, which is three instructions a block where one by one it is eight in a row. */
#include "kernels/avx512_linear.h"
#include "kernels/blocks.h"

#if defined(QK_HAS_AVX512)
#include <string.h>

enum { SIXTEEN = 16, SHORT = 512, /* longer blocks gain nothing from company */ USUAL = 32 };

static inline __m512i magnitudes(const float *x, __mmask16 chosen)
{
    return _mm512_and_epi32(_mm512_maskz_loadu_epi32(chosen, x), _mm512_set1_epi32(0x7fffffff));
}

/* Maxima of one block, in sixteen lanes. */
static inline __m512i lanes_of(const float *x, size_t n)
{
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    size_t i = 0;
    for (; n - i >= 64; i += 64) {
        a = _mm512_max_epu32(a, magnitudes(x + i, 0xffff));
        b = _mm512_max_epu32(b, magnitudes(x + i + 16, 0xffff));
        c = _mm512_max_epu32(c, magnitudes(x + i + 32, 0xffff));
        d = _mm512_max_epu32(d, magnitudes(x + i + 48, 0xffff));
    }
    for (; i < n; i += 16) {
        a = _mm512_max_epu32(a, magnitudes(x + i, first_of_16(n - i)));
    }
    return _mm512_max_epu32(_mm512_max_epu32(a, b), _mm512_max_epu32(c, d));
}

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

/* How many elements go sixteen blocks at a time. */
static inline size_t in_sixteens(size_t n, size_t block)
{
    return block % 16 == 0 && block <= SHORT ? n - n % (SIXTEEN * block) : 0;
}

/* Sixteens of blocks; inlined with the usual length as a constant, which unrolls it. Returns how
 * many blocks. */
QK_INLINE size_t absmax_sixteens(const float *x, size_t n, size_t block, float *most)
{
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    size_t k = 0;
    for (size_t i = 0; i < in_sixteens(n, block); i += SIXTEEN * block, k += SIXTEEN) {
        _mm512_storeu_si512(most + k, sixteen_blocks(x + i, block, magnitude, larger));
    }
    return k;
}

void qk_absmax_blocks_avx512(const float *x, size_t n, size_t block, float *most)
{
    size_t k = block == USUAL ? absmax_sixteens(x, n, USUAL, most)
                              : absmax_sixteens(x, n, block, most);
    for (size_t i = k * block; i < n; k++) {
        size_t m = qk_block_length(n, i, block);
        uint32_t largest = _mm512_reduce_max_epu32(lanes_of(x + i, m));
        memcpy(&most[k], &largest, sizeof largest);
        i += m;
    }
}

/* Sixteen extremes; a zero of either sign becomes +0. */
static inline void store_extremes(float *to, __m512i v)
{
    _mm512_storeu_ps(to, _mm512_add_ps(_mm512_castsi512_ps(v), _mm512_setzero_ps()));
}

void qk_minmax_blocks_avx512(const float *x, size_t n, size_t block, float *lowest, float *highest)
{
    const __m512i all = _mm512_set1_epi32(-1);
    size_t i = 0, k = 0;
    for (; i < in_sixteens(n, block); i += SIXTEEN * block, k += SIXTEEN) {
        store_extremes(lowest + k, sixteen_blocks(x + i, block, all, lower));
        store_extremes(highest + k, sixteen_blocks(x + i, block, all, higher));
    }
    for (; i < n; k++) {
        size_t m = qk_block_length(n, i, block);
        qk_minmax_f32_avx512(x + i, m, &lowest[k], &highest[k]);
        i += m;
    }
}

size_t qk_encode_blocks_avx512(const float *x, size_t n, qk_blocks b, uint8_t *codes)
{
    const float *next = b.next ? b.next : x;
    size_t outside = 0;
    for (size_t i = 0, k = 0; i < n; k++) {
        const size_t m = qk_block_length(n, i, b.block);
        const qk_linear p = qk_block_at(b, k);
        if (p.scale == 0.0f) {
            memset(codes + i, p.zero, m);
        } else {
            const grid g = grid_of(p);
            outside += encode_run(x + i, m, &g, codes + i, next + i);
        }
        i += m;
    }
    return outside;
}

/* Whole blocks of whole registers, which lie on lines where that matters; returns how many. */
QK_INLINE size_t decode_whole(const uint8_t *codes, size_t n, qk_blocks b, float *y, bool past)
{
    if (b.block % 16 != 0 || before_line(y, n, past) != 0) {
        return 0;
    }
    size_t k = 0;
    for (; n - k * b.block >= b.block; k++) {
        const grid g = grid_of(qk_block_at(b, k));
        for (size_t i = k * b.block; i < (k + 1) * b.block; i += 16) {
            __m512i code = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(codes + i)));
            put_16(y + i, decoded(code, &g), past);
        }
    }
    return k;
}

QK_INLINE void decode(const uint8_t *codes, size_t n, qk_blocks b, float *y, bool past)
{
    size_t k = decode_whole(codes, n, b, y, past);
    for (size_t i = k * b.block; i < n; k++) {
        const size_t m = qk_block_length(n, i, b.block);
        const grid g = grid_of(qk_block_at(b, k));
        decode_run(codes + i, m, &g, y + i, past);
        i += m;
    }
}

void qk_decode_blocks_avx512(const uint8_t *codes, size_t n, qk_blocks b, float *y)
{
    decode(codes, n, b, y, false);
}

void qk_stream_blocks_avx512(const uint8_t *codes, size_t n, qk_blocks b, float *y)
{
    decode(codes, n, b, y, true);
}

#endif
