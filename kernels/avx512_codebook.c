/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_codebook.c - tables in registers: one permutation looks into 16 or 32 floats, larger
 * tables are several such looks of which the higher bits choose. */
#include "kernels/avx512.h"

#if defined(QK_HAS_AVX512)
#include <math.h>

/* Entry number k of a table: as many low bits of k as its size has. */
QK_INLINE __m512 look_16(const __m512 *table, __m512i k)
{
    return _mm512_permutexvar_ps(k, table[0]);
}
QK_INLINE __m512 look_32(const __m512 *table, __m512i k)
{
    return _mm512_permutex2var_ps(table[0], k, table[1]);
}
QK_INLINE __m512 look_64(const __m512 *table, __m512i k)
{
    __mmask16 upper = _mm512_test_epi32_mask(k, _mm512_set1_epi32(32));
    return _mm512_mask_mov_ps(look_32(table, k), upper, look_32(table + 2, k));
}
QK_INLINE __m512 look_128(const __m512 *table, __m512i k)
{
    __mmask16 upper = _mm512_test_epi32_mask(k, _mm512_set1_epi32(64));
    return _mm512_mask_mov_ps(look_64(table, k), upper, look_64(table + 4, k));
}
QK_INLINE __m512 look_256(const __m512 *table, __m512i k)
{
    __mmask16 upper = _mm512_test_epi32_mask(k, _mm512_set1_epi32(128));
    return _mm512_mask_mov_ps(look_128(table, k), upper, look_128(table + 8, k));
}

/* The thresholds as a complete binary tree, level by level: level l has 2^l of them, and the
 * search goes from k to 2k + (threshold[l][k] < x). Missing ones are +infinity, which is below
 * nothing. */
enum { DEEPEST = 8, REGISTERS = 8 };
typedef struct tree {
    __m512 level[DEEPEST][REGISTERS];
} tree;

static int plant(tree *t, const float *thresholds, size_t m)
{
    int depth = 0;
    while ((1u << depth) <= m) {
        depth++;
    }
    for (int l = 0; l < depth; l++) {
        size_t step = (size_t)1 << (depth - l); /* between neighbours of this level */
        float row[16 * REGISTERS] = {0};
        for (size_t k = 0; k < (size_t)1 << l; k++) {
            size_t at = k * step + step / 2 - 1;
            row[k] = at < m ? thresholds[at] : INFINITY;
        }
        for (int j = 0; j < 1 + (1 << l) / 17; j++) {
            t->level[l][j] = _mm512_loadu_ps(row + 16 * j);
        }
    }
    return depth;
}

QK_INLINE __m512i descend(__m512i k, __m512 threshold, __m512 x)
{
    __mmask16 below = _mm512_cmp_ps_mask(threshold, x, _CMP_LT_OQ);
    k = _mm512_add_epi32(k, k);
    return _mm512_mask_or_epi32(k, below, k, _mm512_set1_epi32(1));
}

/* The leaves of sixteen elements, as bytes. */
QK_INLINE __m128i search_16(const tree *t, int depth, __m512 x)
{
    __m512i k = _mm512_setzero_si512();
    k = depth > 0 ? descend(k, look_16(t->level[0], k), x) : k;
    k = depth > 1 ? descend(k, look_16(t->level[1], k), x) : k;
    k = depth > 2 ? descend(k, look_16(t->level[2], k), x) : k;
    k = depth > 3 ? descend(k, look_16(t->level[3], k), x) : k;
    k = depth > 4 ? descend(k, look_16(t->level[4], k), x) : k;
    k = depth > 5 ? descend(k, look_32(t->level[5], k), x) : k;
    k = depth > 6 ? descend(k, look_64(t->level[6], k), x) : k;
    k = depth > 7 ? descend(k, look_128(t->level[7], k), x) : k;
    return _mm512_cvtepi32_epi8(k);
}

/* Inlined with a constant depth, so that the levels unroll and stay in registers. */
QK_INLINE void search(const tree *t, int depth, const float *x, size_t n, uint8_t *codes)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        _mm_storeu_si128((void *)(codes + i), search_16(t, depth, _mm512_loadu_ps(x + i)));
    }
    if (i < n) {
        __mmask16 m = first_of_16(n - i);
        _mm_mask_storeu_epi8(codes + i, m, search_16(t, depth, _mm512_maskz_loadu_ps(m, x + i)));
    }
}

void qk_assign_codebook_avx512(const float *x, size_t n, const float *thresholds, size_t m,
                               uint8_t *codes)
{
    tree t;
    if (n < 16) { /* planting costs more */
        qk_assign_codebook_scalar(x, n, thresholds, m, codes);
        return;
    }
    switch (plant(&t, thresholds, m)) {
    case 0: search(&t, 0, x, n, codes); break;
    case 1: search(&t, 1, x, n, codes); break;
    case 2: search(&t, 2, x, n, codes); break;
    case 3: search(&t, 3, x, n, codes); break;
    case 4: search(&t, 4, x, n, codes); break;
    case 5: search(&t, 5, x, n, codes); break;
    case 6: search(&t, 6, x, n, codes); break;
    case 7: search(&t, 7, x, n, codes); break;
    default: search(&t, 8, x, n, codes); break;
    }
}

typedef __m512 look_fn(const __m512 *table, __m512i k);

QK_INLINE void decode_some(const uint8_t *codes, size_t n, const __m512 *table, look_fn *look,
                           float *y)
{
    __mmask16 m = first_of_16(n);
    __m512i k = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, codes));
    _mm512_mask_storeu_ps(y, m, look(table, k));
}

/* Inlined, with its look-up in place. */
QK_INLINE void decode(const uint8_t *codes, size_t n, const __m512 *table, look_fn *look, float *y,
                      bool past)
{
    size_t i = before_line(y, n, past);
    if (i > 0) {
        decode_some(codes, i, table, look, y);
    }
    for (; n - i >= 16; i += 16) {
        __m512i k = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(codes + i)));
        prefetch_ahead(codes + i, past);
        put_16(y + i, look(table, k), past);
    }
    if (i < n) {
        decode_some(codes + i, n - i, table, look, y + i);
    }
}

QK_INLINE void decode_any(const uint8_t *codes, size_t n, const float *table, size_t entries,
                          float *y, bool past)
{
    __m512 t[16];
    for (size_t i = 0; i < entries || i == 0; i += 16) {
        t[i / 16] = _mm512_maskz_loadu_ps(first_of_16(entries - i), table + i);
    }
    switch (entries) {
    case 256: decode(codes, n, t, look_256, y, past); break;
    case 128: decode(codes, n, t, look_128, y, past); break;
    case 64: decode(codes, n, t, look_64, y, past); break;
    case 32: decode(codes, n, t, look_32, y, past); break;
    default: decode(codes, n, t, look_16, y, past); break;
    }
}

void qk_decode_codebook_avx512(const uint8_t *codes, size_t n, const float *table, size_t entries,
                               float *y)
{
    decode_any(codes, n, table, entries, y, false);
}

void qk_stream_codebook_avx512(const uint8_t *codes, size_t n, const float *table, size_t entries,
                               float *y)
{
    decode_any(codes, n, table, entries, y, true);
}

#endif
