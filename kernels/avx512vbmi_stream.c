/* SPDX-License-Identifier: Apache-2.0 */
/* avx512vbmi_stream.c - packed codes to values past the caches, 64 at a time and in registers all
 * the way. Results that do not begin on a line, and tables above 16, go by way of a buffer. */
#include "kernels/avx512_linear.h"
#include "kernels/avx512vbmi_cuts.h"
#include "kernels/packed.h"

#if defined(QK_HAS_AVX512VBMI)

/* Up to sixteen values, whole lines past the caches; none where left is 0. */
QK_INLINE void put_some(float *y, size_t left, __m512 v)
{
    if (left >= 16) {
        put_16(y, v, true);
    } else {
        _mm512_mask_storeu_ps(y, first_of_16(left), v);
    }
}

static inline size_t behind(size_t n, size_t i)
{
    return n > i ? n - i : 0;
}

/* Two registers of codes, which are of one block. */
QK_INLINE void put_32(float *y, size_t left, __m256i codes, const grid *g)
{
    const __m512i a = _mm512_cvtepi8_epi32(_mm256_castsi256_si128(codes));
    const __m512i b = _mm512_cvtepi8_epi32(_mm256_extracti128_si256(codes, 1));
    put_some(y, left, decoded(a, g));
    put_some(y + 16, behind(left, 16), decoded(b, g));
}

void qk_stream_packed_avx512vbmi(const uint8_t *stream, size_t n, unsigned bits, qk_blocks b,
                                 float *y)
{
    const cuts c = cuts_of(bits, (uint8_t)(1u << (bits - 1u)));
    size_t k = 0, end = b.block; /* of block k */
    if (before_line(y, n, true) != 0) {
        qk_packed_blocks(stream, n, bits, b, y, qk_unpack_signed_avx512vbmi,
                         qk_stream_blocks_avx512);
        return;
    }
    for (size_t i = 0; i < n; i += 64) {
        const __m512i v = cut_64(stream + i / 8 * bits, n - i, &c);
        prefetch_ahead(stream + i / 8 * bits, true);
        grid g = grid_of(qk_block_at(b, k));
        put_32(y + i, n - i, _mm512_castsi512_si256(v), &g);
        if (n - i <= 32) {
            break;
        }
        if (i + 32 == end) {
            g = grid_of(qk_block_at(b, ++k));
            end += b.block;
        }
        put_32(y + i + 32, n - i - 32, _mm512_extracti64x4_epi64(v, 1), &g);
        if (i + 64 == end) {
            k++;
            end += b.block;
        }
    }
}

void qk_stream_looked_up_avx512vbmi(const uint8_t *stream, size_t n, unsigned bits,
                                    const float *table, float *y)
{
    const cuts c = cuts_of(bits, 0);
    if (before_line(y, n, true) != 0 || bits > 4) {
        qk_packed_table(stream, n, bits, table, y, qk_unpack_unsigned_avx512vbmi,
                        qk_stream_codebook_avx512vbmi);
        return;
    }
    const __m512 t = _mm512_maskz_loadu_ps(first_of_16((size_t)1 << bits), table);
    for (size_t i = 0; i < n; i += 64) {
        const __m512i v = cut_64(stream + i / 8 * bits, n - i, &c);
        const __m512i p = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(v));
        const __m512i q = _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(v, 1));
        const __m512i r = _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(v, 2));
        const __m512i s = _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(v, 3));
        prefetch_ahead(stream + i / 8 * bits, true);
        put_some(y + i, n - i, _mm512_permutexvar_ps(p, t));
        put_some(y + i + 16, behind(n, i + 16), _mm512_permutexvar_ps(q, t));
        put_some(y + i + 32, behind(n, i + 32), _mm512_permutexvar_ps(r, t));
        put_some(y + i + 48, behind(n, i + 48), _mm512_permutexvar_ps(s, t));
    }
}

#endif
