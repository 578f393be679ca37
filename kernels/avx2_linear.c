/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_linear.c - codes on an even grid and values back from them. The sum of squared errors is
 * in avx2_lanes.c. */
#include "kernels/avx2_linear.h"

#if defined(QK_HAS_AVX2)

size_t qk_encode_linear_avx2(const float *x, size_t n, qk_linear p, uint8_t *codes)
{
    if (p.scale == 0.0f) {
        return qk_encode_linear_scalar(x, n, p, codes);
    }
    const grid g = grid_of(p);
    size_t outside = 0, i = 0;
    for (; n - i >= 32; i += 32) {
        __m256 code[4], kept[4];
        __m256i differs[4];
        for (int k = 0; k < 4; k++) {
            code[k] = unclamped(_mm256_loadu_ps(x + i + 8 * k), &g);
            kept[k] = clamped(code[k], &g);
            differs[k] = _mm256_castps_si256(_mm256_cmp_ps(code[k], kept[k], _CMP_NEQ_UQ));
        }
        store_bytes(codes + i,
                    narrow_to_bytes(_mm256_cvtps_epi32(kept[0]), _mm256_cvtps_epi32(kept[1]),
                                    _mm256_cvtps_epi32(kept[2]), _mm256_cvtps_epi32(kept[3])));
        __m256i any = _mm256_packs_epi16(_mm256_packs_epi32(differs[0], differs[1]),
                                         _mm256_packs_epi32(differs[2], differs[3]));
        outside += (size_t)__builtin_popcount((unsigned)_mm256_movemask_epi8(any));
    }
    return outside + qk_encode_linear_scalar(x + i, n - i, p, codes + i);
}

void qk_decode_linear_avx2(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    const grid g = grid_of(p);
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        __m128i a = load_half(codes + i), b = load_half(codes + i + 16);
        _mm256_storeu_ps(y + i, decoded(_mm256_cvtepi8_epi32(a), &g));
        _mm256_storeu_ps(y + i + 8, decoded(_mm256_cvtepi8_epi32(_mm_srli_si128(a, 8)), &g));
        _mm256_storeu_ps(y + i + 16, decoded(_mm256_cvtepi8_epi32(b), &g));
        _mm256_storeu_ps(y + i + 24, decoded(_mm256_cvtepi8_epi32(_mm_srli_si128(b, 8)), &g));
    }
    qk_decode_linear_scalar(codes + i, n - i, p, y + i);
}

#endif
