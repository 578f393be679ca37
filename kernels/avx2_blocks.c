/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_blocks.c - many linear regions: eight elements at a time inside a block, what is left of it
 * in scalar. Where blocks are no longer than a few registers, the calls are what is saved. */
#include "kernels/avx2_linear.h"
#include "kernels/blocks.h"
#include "kernels/int4.h"

#if defined(QK_HAS_AVX2)
#include <string.h>

static uint32_t largest_of(__m256i v)
{
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epu32(m, _mm_unpackhi_epi64(m, m));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(m, _mm_shuffle_epi32(m, 1)));
}

void qk_absmax_blocks_avx2(const float *x, size_t n, size_t block, float *most)
{
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    for (size_t i = 0, k = 0; i < n; k++) {
        const size_t end = i + qk_block_length(n, i, block);
        __m256i v = _mm256_setzero_si256();
        for (; end - i >= 8; i += 8) {
            v = _mm256_max_epu32(v, _mm256_and_si256(load_bytes(x + i), magnitude));
        }
        uint32_t rest = 0, largest = largest_of(v);
        float tail;
        if (i < end) {
            qk_absmax_blocks_scalar(x + i, end - i, end - i, &tail);
            memcpy(&rest, &tail, sizeof rest);
        }
        i = end;
        largest = rest > largest ? rest : largest;
        memcpy(&most[k], &largest, sizeof largest);
    }
}

void qk_minmax_blocks_avx2(const float *x, size_t n, size_t block, float *lowest, float *highest)
{
    for (size_t i = 0, k = 0; i < n; k++) {
        size_t m = qk_block_length(n, i, block);
        qk_minmax_f32_avx2(x + i, m, &lowest[k], &highest[k]);
        i += m;
    }
}

/* Eight codes as bytes in the low half of the result's low half; bit k of `outside`: clamped. */
static inline __m128i encode_eight(__m256 x, const grid *g, unsigned *outside)
{
    __m256 code = unclamped(x, g), kept = clamped(code, g);
    __m256i c = _mm256_cvtps_epi32(kept);
    *outside = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(code, kept, _CMP_NEQ_UQ));
    __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(c), _mm256_extracti128_si256(c, 1));
    return _mm_packs_epi16(w, w);
}

size_t qk_encode_blocks_avx2(const float *x, size_t n, qk_blocks b, uint8_t *codes)
{
    const float *next = b.next ? b.next : x; /* memory would be idle while codes are made */
    size_t outside = 0;
    for (size_t i = 0, k = 0; i < n; k++) {
        const size_t end = i + qk_block_length(n, i, b.block);
        const qk_linear p = qk_block_at(b, k);
        const grid g = grid_of(p);
        for (; end - i >= 8 && p.scale != 0.0f; i += 8) {
            unsigned out;
            _mm_prefetch((const char *)(next + i), _MM_HINT_T1);
            __m128i c = encode_eight(_mm256_loadu_ps(x + i), &g, &out);
            _mm_storel_epi64((__m128i *)(void *)(codes + i), c);
            outside += (size_t)__builtin_popcount(out);
        }
        outside += qk_encode_linear_scalar(x + i, end - i, p, codes + i);
        i = end;
    }
    return outside;
}

void qk_decode_blocks_avx2(const uint8_t *codes, size_t n, qk_blocks b, float *y)
{
    for (size_t i = 0, k = 0; i < n; k++) {
        const size_t end = i + qk_block_length(n, i, b.block);
        const qk_linear p = qk_block_at(b, k);
        const grid g = grid_of(p);
        for (; end - i >= 8; i += 8) {
            __m128i c = _mm_loadl_epi64((const __m128i *)(const void *)(codes + i));
            _mm256_storeu_ps(y + i, decoded(_mm256_cvtepi8_epi32(c), &g));
        }
        qk_decode_linear_scalar(codes + i, end - i, p, y + i);
        i = end;
    }
}

size_t qk_encode_int4_avx2(const float *x, size_t n, qk_int4 g, uint16_t *scale, uint8_t *stream,
                             size_t *outside)
{
    static const int4_parts parts = {qk_absmax_blocks_avx2, qk_f32_to_f16_avx2, qk_f16_to_f32_avx2,
                                     qk_encode_blocks_avx2, qk_pack_codes_avx2};
    return int4_by_parts(x, n, g, scale, stream, outside, &parts);
}

#endif
