/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_linear.c - codes on an even grid and values back from them. */
#include "kernels/avx512_linear.h"

#if defined(QK_HAS_AVX512)

/* Sixteen codes; `outside` is the mask of those that were clamped. */
static inline __m128i encode_16(__m512 x, const grid *g, __mmask16 *outside)
{
    __m512 code = unclamped(x, g), kept = clamped(code, g);
    *outside = _mm512_cmp_ps_mask(code, kept, _CMP_NEQ_UQ);
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(kept));
}

size_t qk_encode_linear_avx512(const float *x, size_t n, qk_linear p, uint8_t *codes)
{
    if (p.scale == 0.0f) {
        return qk_encode_linear_scalar(x, n, p, codes);
    }
    const grid g = grid_of(p);
    size_t outside = 0, i = 0;
    for (; n - i >= 64; i += 64) {
        __mmask16 out[4];
        for (int k = 0; k < 4; k++) {
            __m128i c = encode_16(_mm512_loadu_ps(x + i + 16 * k), &g, &out[k]);
            _mm_storeu_si128((void *)(codes + i + 16 * k), c);
        }
        outside += (size_t)__builtin_popcountll(join_masks(out[0], out[1], out[2], out[3]));
    }
    for (; i < n; i += 16) {
        __mmask16 m = first_of_16(n - i), out;
        __m128i c = encode_16(_mm512_maskz_loadu_ps(m, x + i), &g, &out);
        _mm_mask_storeu_epi8(codes + i, m, c);
        outside += (size_t)__builtin_popcount(out & m);
    }
    return outside;
}

void qk_decode_linear_avx512(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    const grid g = grid_of(p);
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        __m512i code = _mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(codes + i)));
        _mm512_storeu_ps(y + i, decoded(code, &g));
    }
    if (i < n) {
        __mmask16 m = first_of_16(n - i);
        __m512i code = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(m, codes + i));
        _mm512_mask_storeu_ps(y + i, m, decoded(code, &g));
    }
}

#endif
