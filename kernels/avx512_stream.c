/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_stream.c - packed codes past the caches, by way of a buffer. */
#include "kernels/avx2.h"
#include "kernels/avx512.h"
#include "kernels/packed.h"

#if defined(QK_HAS_AVX512)

void qk_stream_packed_avx512(const uint8_t *stream, size_t n, unsigned bits, qk_blocks b, float *y)
{
    qk_packed_blocks(stream, n, bits, b, y, qk_unpack_signed_avx2, qk_stream_blocks_avx512);
}

void qk_stream_looked_up_avx512(const uint8_t *stream, size_t n, unsigned bits, const float *table,
                                float *y)
{
    qk_packed_table(stream, n, bits, table, y, qk_unpack_unsigned_avx2, qk_stream_codebook_avx512);
}

#endif
