/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_stream.c - results past the caches: pieces are made in a buffer of a few lines and copied. A
 * piece holds whole blocks. */
#include "kernels/avx2.h"
#include "kernels/packed.h"

#if defined(QK_HAS_AVX2)

enum { PIECE = 1024 };

void qk_stream_f32_avx2(const float *x, size_t n, float *y)
{
    size_t lead = (size_t)(-(uintptr_t)y / sizeof *y % 8), i = lead < n ? lead : n;
    qk_stream_f32_scalar(x, i, y);
    for (; n - i >= 8; i += 8) {
        _mm256_stream_ps(y + i, _mm256_loadu_ps(x + i));
    }
    qk_stream_f32_scalar(x + i, n - i, y + i);
}

/* Memory is asked for the n bytes that the next piece is made of; behind the last piece for what
 * nobody reads, which no address forbids. */
static inline void ask_for(const void *x, size_t n)
{
    for (size_t i = 0; i < n; i += 64) {
        _mm_prefetch((const char *)((uintptr_t)x + n + i), _MM_HINT_T0);
    }
}

static inline size_t piece_of(size_t left)
{
    return left < PIECE ? left : PIECE;
}

void qk_stream_linear_avx2(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    float piece[PIECE];
    for (size_t i = 0, m; i < n; i += m) {
        m = piece_of(n - i);
        ask_for(codes + i, m);
        qk_decode_linear_avx2(codes + i, m, p, piece);
        qk_stream_f32_avx2(piece, m, y + i);
    }
}

void qk_stream_blocks_avx2(const uint8_t *codes, size_t n, qk_blocks b, float *y)
{
    float piece[PIECE];
    const size_t many = b.block <= PIECE ? PIECE / b.block : 1, step = many * b.block;
    for (size_t i = 0, k = 0; i < n; k += many) {
        const size_t m = qk_block_length(n, i, step);
        if (b.block <= PIECE) {
            const qk_blocks part = {b.block, b.scale + k, b.zero ? b.zero + k : NULL, b.lowest,
                                    b.highest, NULL};
            ask_for(codes + i, m);
            qk_decode_blocks_avx2(codes + i, m, part, piece);
            qk_stream_f32_avx2(piece, m, y + i);
        } else {
            qk_stream_linear_avx2(codes + i, m, qk_block_at(b, k), y + i);
        }
        i += m;
    }
}

void qk_stream_codebook_avx2(const uint8_t *codes, size_t n, const float *table, size_t entries,
                             float *y)
{
    float piece[PIECE];
    for (size_t i = 0, m; i < n; i += m) {
        m = piece_of(n - i);
        ask_for(codes + i, m);
        qk_decode_codebook_avx2(codes + i, m, table, entries, piece);
        qk_stream_f32_avx2(piece, m, y + i);
    }
}

static inline void widen(const uint16_t *x, size_t n, float *y, qk_widen16_fn *convert)
{
    float piece[PIECE];
    for (size_t i = 0, m; i < n; i += m) {
        m = piece_of(n - i);
        ask_for(x + i, m * sizeof *x);
        convert(x + i, m, piece);
        qk_stream_f32_avx2(piece, m, y + i);
    }
}

void qk_stream_f16_avx2(const uint16_t *x, size_t n, float *y)
{
    widen(x, n, y, qk_f16_to_f32_avx2);
}

void qk_stream_bf16_avx2(const uint16_t *x, size_t n, float *y)
{
    widen(x, n, y, qk_bf16_to_f32_avx2);
}

void qk_stream_packed_avx2(const uint8_t *stream, size_t n, unsigned bits, qk_blocks b, float *y)
{
    qk_packed_blocks(stream, n, bits, b, y, qk_unpack_signed_avx2, qk_stream_blocks_avx2);
}

void qk_stream_looked_up_avx2(const uint8_t *stream, size_t n, unsigned bits, const float *table,
                              float *y)
{
    qk_packed_table(stream, n, bits, table, y, qk_unpack_unsigned_avx2, qk_stream_codebook_avx2);
}

#endif
