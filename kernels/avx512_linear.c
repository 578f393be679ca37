/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_linear.c - codes on an even grid and values back from them. */
#include "kernels/avx512_linear.h"

#if defined(QK_HAS_AVX512)

size_t qk_encode_linear_avx512(const float *x, size_t n, qk_linear p, uint8_t *codes)
{
    if (p.scale == 0.0f) {
        return qk_encode_linear_scalar(x, n, p, codes);
    }
    const grid g = grid_of(p);
    return encode_run(x, n, &g, codes, x);
}

void qk_decode_linear_avx512(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    const grid g = grid_of(p);
    decode_run(codes, n, &g, y, false);
}

void qk_stream_linear_avx512(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    const grid g = grid_of(p);
    decode_run(codes, n, &g, y, true);
}

#endif
