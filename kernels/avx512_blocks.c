/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_blocks.c - many linear regions. */
#include "kernels/avx512_blocks.h"
#include "kernels/avx512_linear.h"
#include "kernels/blocks.h"
#include "kernels/int4.h"

#if defined(QK_HAS_AVX512)
#include <string.h>

enum { SHORT = 512, /* longer blocks gain nothing from company */ USUAL = 32 };

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
            prefetch_ahead(codes + i, past);
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

qk_pack_fn qk_pack_codes_avx2; /* this level has none of its own */

size_t qk_encode_int4_avx512(const float *x, size_t n, qk_int4 g, uint16_t *scale, uint8_t *stream,
                               size_t *outside)
{
    static const int4_parts parts = {qk_absmax_blocks_avx512, qk_f32_to_f16_avx512,
                                     qk_f16_to_f32_avx512, qk_encode_blocks_avx512,
                                     qk_pack_codes_avx2};
    return int4_by_parts(x, n, g, scale, stream, outside, &parts);
}

#endif
