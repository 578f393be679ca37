/* SPDX-License-Identifier: Apache-2.0 */
/* neon_stream.c - packed codes to values by way of a buffer. */
#include "kernels/neon.h"
#include "kernels/packed.h"

#if defined(QK_HAS_NEON)

void qk_stream_packed_neon(const uint8_t *stream, size_t n, unsigned bits, qk_blocks b, float *y)
{
    qk_packed_blocks(stream, n, bits, b, y, qk_unpack_signed_neon, qk_decode_blocks_neon);
}

void qk_stream_looked_up_neon(const uint8_t *stream, size_t n, unsigned bits, const float *table,
                              float *y)
{
    qk_packed_table(stream, n, bits, table, y, qk_unpack_unsigned_neon, qk_decode_codebook_neon);
}

#endif
