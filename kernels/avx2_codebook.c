/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_codebook.c - nearest entries by a binary search whose upper levels live in registers. */
#include "kernels/avx2.h"

#if defined(QK_HAS_AVX2)
#include <math.h>

/* The thresholds as a complete binary tree, level by level: level l has 2^l of them, and the
 * search goes from k to 2k + (threshold[l][k] < x). Missing ones are +infinity, which is below
 * nothing. The first four levels fit one register each; deeper ones are gathered. */
enum { IN_REGISTERS = 4, DEEPEST = 8 };
typedef struct tree {
    int depth;
    __m256 top[IN_REGISTERS];
    float deep[DEEPEST - IN_REGISTERS][1 << (DEEPEST - 1)];
} tree;

static float threshold_at(const float *thresholds, size_t m, size_t j)
{
    return j < m ? thresholds[j] : INFINITY;
}

static void plant(tree *t, const float *thresholds, size_t m)
{
    for (t->depth = 0; (1u << t->depth) <= m; t->depth++) {
    }
    for (int l = 0; l < t->depth; l++) {
        size_t step = (size_t)1 << (t->depth - l); /* between neighbours of this level */
        float few[8] = {0}, *row = l < IN_REGISTERS ? few : t->deep[l - IN_REGISTERS];
        for (size_t k = 0; k < (size_t)1 << l; k++) {
            row[k] = threshold_at(thresholds, m, k * step + step / 2 - 1);
        }
        if (l < IN_REGISTERS) {
            t->top[l] = _mm256_loadu_ps(few);
        }
    }
}

/* The leaf of each of eight elements. */
static inline __m256i search_eight(const tree *t, int depth, __m256 x)
{
    __m256i k = _mm256_setzero_si256();
    for (int l = 0; l < depth; l++) {
        __m256 threshold = l < IN_REGISTERS
            ? _mm256_permutevar8x32_ps(t->top[l], k)
            : _mm256_i32gather_ps(t->deep[l - IN_REGISTERS], k, 4);
        __m256i below = _mm256_castps_si256(_mm256_cmp_ps(threshold, x, _CMP_LT_OQ));
        k = _mm256_sub_epi32(_mm256_add_epi32(k, k), below); /* all ones is -1 */
    }
    return k;
}

/* 32 leaves up to 255, as bytes in order: saturation as unsigned. */
static inline __m256i leaves_to_bytes(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i v = _mm256_packus_epi16(_mm256_packus_epi32(a, b), _mm256_packus_epi32(c, d));
    return _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Inlined with a constant depth, so that the levels unroll and stay in registers. */
static inline size_t search_rows(const tree *t, int depth, const float *x, size_t n, uint8_t *codes)
{
    size_t i = 0;
    for (; n - i >= 32; i += 32) {
        __m256i leaf[4];
        for (int k = 0; k < 4; k++) {
            leaf[k] = search_eight(t, depth, _mm256_loadu_ps(x + i + 8 * k));
        }
        store_bytes(codes + i, leaves_to_bytes(leaf[0], leaf[1], leaf[2], leaf[3]));
    }
    return i;
}

void qk_assign_codebook_avx2(const float *x, size_t n, const float *thresholds, size_t m,
                             uint8_t *codes)
{
    tree t;
    size_t i = 0;
    if (n >= 32) {
        plant(&t, thresholds, m);
        switch (t.depth) {
        case 1: i = search_rows(&t, 1, x, n, codes); break;
        case 2: i = search_rows(&t, 2, x, n, codes); break;
        case 3: i = search_rows(&t, 3, x, n, codes); break;
        case 4: i = search_rows(&t, 4, x, n, codes); break;
        default: i = search_rows(&t, t.depth, x, n, codes); break;
        }
    }
    qk_assign_codebook_scalar(x + i, n - i, thresholds, m, codes + i);
}

/* Eight entries of a table of 16: a permutation looks at three bits of the code, bit 3 chooses. */
static inline __m256 look_up(__m256 low, __m256 high, __m256i code)
{
    __m256 a = _mm256_permutevar8x32_ps(low, code), b = _mm256_permutevar8x32_ps(high, code);
    return _mm256_blendv_ps(a, b, _mm256_castsi256_ps(_mm256_slli_epi32(code, 28)));
}

void qk_decode_codebook_avx2(const uint8_t *codes, size_t n, const float *table, size_t entries,
                             float *y)
{
    size_t i = 0;
    if (entries <= 16) { /* larger tables: a load an element is as fast as a gather */
        float padded[16] = {0};
        for (size_t k = 0; k < entries; k++) {
            padded[k] = table[k];
        }
        const __m256 low = _mm256_loadu_ps(padded), high = _mm256_loadu_ps(padded + 8);
        for (; n - i >= 16; i += 16) {
            __m128i a = load_half(codes + i);
            __m256i first = _mm256_cvtepu8_epi32(a);
            __m256i second = _mm256_cvtepu8_epi32(_mm_srli_si128(a, 8));
            _mm256_storeu_ps(y + i, look_up(low, high, first));
            _mm256_storeu_ps(y + i + 8, look_up(low, high, second));
        }
    }
    qk_decode_codebook_scalar(codes + i, n - i, table, entries, y + i);
}

#endif
