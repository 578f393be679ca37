/* SPDX-License-Identifier: Apache-2.0 */
/* avx512vbmi_int4.c - blocks of 32 from floats to scales and packed codes. Nothing waits in memory
 * between the steps, and each line of floats is asked for while one is coded: the pass goes at the
 * pace at which memory gives the floats, as a burst of requests between two phases does not. */
#include "kernels/avx512_blocks.h"

#if defined(QK_HAS_AVX512VBMI)

enum { AHEAD = 1024 }; /* floats; half and four times that are slower */

/* Scales as they are kept, and as floats; false when a block is not within the bounds. */
static inline bool scales_of(const float *x, const qk_int4 *g, uint16_t *kept, float scale[SIXTEEN])
{
    const __m512 most = _mm512_castsi512_ps(
        sixteen_blocks(x, QK_INT4_BLOCK, _mm512_set1_epi32(0x7fffffff), larger));
    const __mmask16 inside =
        _mm512_cmp_ps_mask(most, _mm512_set1_ps(g->least), _CMP_GE_OQ) &
        _mm512_cmp_ps_mask(most, _mm512_set1_ps(g->most), _CMP_LE_OQ);
    if (inside != 0xffff) {
        return false;
    }
    const __m256i half = _mm512_cvtps_ph(_mm512_div_ps(most, _mm512_set1_ps(g->steps)),
                                         _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm256_storeu_si256((void *)kept, half);
    _mm512_storeu_ps(scale, _mm512_cvtph_ps(half));
    return true;
}

/* Sixteen codes, each in the low byte of its lane; what stands AHEAD is asked for. */
static inline __m512i codes_of(const float *x, __m512 scale, __m512 lowest, __m512 highest,
                               __mmask16 *outside)
{
    _mm_prefetch((const char *)((uintptr_t)x + AHEAD * sizeof *x), _MM_HINT_T0);
    const __m512 code = _mm512_roundscale_ps(_mm512_div_ps(_mm512_loadu_ps(x), scale),
                                             _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 kept = _mm512_min_ps(_mm512_max_ps(code, lowest), highest);
    *outside = _mm512_cmp_ps_mask(code, kept, _CMP_NEQ_UQ);
    return _mm512_cvtps_epi32(kept);
}

/* Twice 32 codes, in the low halves, as nibbles. */
static inline __m256i nibbles_of(__m512i a, __m512i b)
{
    const __m512i all = _mm512_inserti64x4(a, _mm512_castsi512_si256(b), 1);
    return _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(
        _mm512_and_si512(all, _mm512_set1_epi8(15)), _mm512_set1_epi16(0x1001)));
}

/* One batch; returns how many elements were clamped. */
static inline size_t code_batch(const float *x, const float scale[SIXTEEN], const qk_int4 *g,
                                uint8_t *stream)
{
    const __m512 lowest = _mm512_set1_ps((float)g->lowest);
    const __m512 highest = _mm512_set1_ps((float)g->highest);
    const __m128i four = _mm_set1_epi32(0x0c080400), row = _mm_setr_epi32(0, 1, 2, 3);
    const __m128i quarter = _mm_add_epi8(four, _mm_mullo_epi32(row, _mm_set1_epi32(0x10101010)));
    const __m256i half = _mm256_set_m128i(_mm_add_epi8(quarter, _mm_set1_epi8(64)), quarter);
    const __m512i low_bytes = _mm512_castsi256_si512(half); /* bytes 4 j of two registers */
    size_t outside = 0;
    for (size_t i = 0; i < QK_INT4_BATCH; i += 64) {
        const __m512 s[2] = {_mm512_set1_ps(scale[i / 32]), _mm512_set1_ps(scale[i / 32 + 1])};
        __mmask16 out[4]; /* no loops over four: compilers keep their arrays in memory */
        const __m512i a = codes_of(x + i, s[0], lowest, highest, &out[0]);
        const __m512i b = codes_of(x + i + 16, s[0], lowest, highest, &out[1]);
        const __m512i c = codes_of(x + i + 32, s[1], lowest, highest, &out[2]);
        const __m512i d = codes_of(x + i + 48, s[1], lowest, highest, &out[3]);
        outside += (size_t)__builtin_popcountll(join_masks(out[0], out[1], out[2], out[3]));
        _mm256_storeu_si256((void *)(stream + i / 2),
                            nibbles_of(_mm512_permutex2var_epi8(a, low_bytes, b),
                                       _mm512_permutex2var_epi8(c, low_bytes, d)));
    }
    return outside;
}

size_t qk_encode_int4_avx512vbmi(const float *x, size_t n, qk_int4 g, uint16_t *scale,
                                 uint8_t *stream, size_t *outside)
{
    float s[SIXTEEN];
    size_t i = 0;
    *outside = 0;
    for (; n - i >= QK_INT4_BATCH; i += QK_INT4_BATCH) {
        if (!scales_of(x + i, &g, scale + i / QK_INT4_BLOCK, s)) {
            break;
        }
        *outside += code_batch(x + i, s, &g, stream + i / 2);
    }
    return i;
}

#endif
