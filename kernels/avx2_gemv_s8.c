/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_gemv_s8.c - rows of 4-bit codes times int8: table entries by vpshufb, then products of
 * 16-bit numbers by vpmaddwd, whose sums of two are exact.
 *
 * 32 bytes are 64 codes. The low halves of bytes name even elements, the high halves odd ones; each
 * is widened by shifts to 16 bits, bytes 0, 2, ... and 1, 3, ... apart. x is laid out to match, in
 * four arrays of 16-bit numbers: elements 4t, 4t + 2, 4t + 1, 4t + 3. A 32-bit sum then spans 8
 * elements, four of them a block of 32.
 *
 * Where the entries of a table lie within 63 of each other, as the 16 values of a linear code do,
 * they are taken as unsigned bytes above the lowest, and vpmaddubsw multiplies bytes: four products
 * in 16 bits, 4 * 63 * 128 < 2^15. The lowest times the sum of x comes back for each block. */
#include <stdbool.h>
#include <string.h>

#include "kernels/avx2.h"
#include "kernels/lanes.h"

#if defined(QK_HAS_AVX2)

enum { CHUNK = 4096, ROWS = 16, STEP = 64, BLOCK = 32, TOGETHER = 4 * STEP };

enum { NARROW = 63 };

typedef struct work {
    int16_t x[4][CHUNK / 4]; /* zeros up to a multiple of TOGETHER */
    int8_t even[CHUNK / 2], odd[CHUNK / 2]; /* the same elements in bytes, for narrow tables */
    int32_t sum[CHUNK / BLOCK];             /* and those of blocks */
    bool narrow;
    int32_t lowest; /* entry of a narrow table */
    double lane[ROWS][QK_LANES];
} work;

/* Of 16 times four bytes the last of what is left after a shift, as 16-bit numbers. */
static inline __m256i fourth_of(__m256i a, __m256i b)
{
    const __m256i v = _mm256_packs_epi32(_mm256_srai_epi32(a, 24), _mm256_srai_epi32(b, 24));
    return _mm256_permute4x64_epi64(v, 0xd8);
}

static void part_x(work *w, const int8_t *x, size_t n)
{
    static const int first[4] = {0, 2, 1, 3};
    size_t whole = 0;
    for (; whole + 64 <= n; whole += 64) {
        const __m256i a = load_bytes(x + whole), b = load_bytes(x + whole + 32);
        store_bytes(w->x[0] + whole / 4,
                    fourth_of(_mm256_slli_epi32(a, 24), _mm256_slli_epi32(b, 24)));
        store_bytes(w->x[1] + whole / 4,
                    fourth_of(_mm256_slli_epi32(a, 8), _mm256_slli_epi32(b, 8)));
        store_bytes(w->x[2] + whole / 4,
                    fourth_of(_mm256_slli_epi32(a, 16), _mm256_slli_epi32(b, 16)));
        store_bytes(w->x[3] + whole / 4, fourth_of(a, b));
    }
    for (size_t i = whole; i < (n + TOGETHER - 1) / TOGETHER * TOGETHER; i += 4) {
        for (size_t j = 0; j < 4; j++) {
            const size_t at = i + (size_t)first[j];
            w->x[j][i / 4] = at < n ? x[at] : 0;
        }
    }
}

static inline __m256i byte_sums(__m256i e, __m256i o, const work *w, size_t i)
{
    const __m256i pairs = _mm256_add_epi16(_mm256_maddubs_epi16(e, load_bytes(w->even + i / 2)),
                                           _mm256_maddubs_epi16(o, load_bytes(w->odd + i / 2)));
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

static inline __m256i products(__m256i entries, const int16_t *x0, const int16_t *x1)
{
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(entries, 8), 8);
    const __m256i odd = _mm256_srai_epi16(entries, 8);
    return _mm256_add_epi32(_mm256_madd_epi16(even, load_bytes(x0)),
                            _mm256_madd_epi16(odd, load_bytes(x1)));
}

/* Sums over 8 elements each of the STEP weights behind `codes`; weight i of the chunk. */
static inline __m256i step(__m256i codes, __m256i table, const work *w, size_t i)
{
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i e = _mm256_shuffle_epi8(table, _mm256_and_si256(codes, low));
    const __m256i o =
        _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(codes, 4), low));
    if (w->narrow) {
        return byte_sums(e, o, w, i);
    }
    return _mm256_add_epi32(products(e, w->x[0] + i / 4, w->x[1] + i / 4),
                            products(o, w->x[2] + i / 4, w->x[3] + i / 4));
}

/* Of up to STEP weights; what is missing counts as code 0, whose x are zeros. */
static inline __m256i some_codes(const uint8_t *codes, size_t weights)
{
    uint8_t rest[STEP / 2] = {0};
    if (weights >= STEP) {
        return load_bytes(codes);
    }
    memcpy(rest, codes, weights / 2);
    return load_bytes(rest);
}

static inline void four_steps(__m256i sum[4], const uint8_t *codes, size_t n, size_t i,
                              __m256i table, const work *w)
{
    if (n - i >= TOGETHER) {
        codes += i / 2; /* written out: the sums stay in registers */
        sum[0] = step(load_bytes(codes), table, w, i);
        sum[1] = step(load_bytes(codes + 32), table, w, i + STEP);
        sum[2] = step(load_bytes(codes + 64), table, w, i + 2 * STEP);
        sum[3] = step(load_bytes(codes + 96), table, w, i + 3 * STEP);
        return;
    }
    for (size_t q = 0; q < 4; q++) {
        const size_t at = i + q * STEP;
        sum[q] = at < n ? step(some_codes(codes + at / 2, n - at), table, w, at)
                        : _mm256_setzero_si256();
    }
}

/* The sums of eight blocks in order. */
static inline __m256i block_sums(const __m256i sum[4])
{
    const __m256i home = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(sum[0], sum[1]),
                                          _mm256_hadd_epi32(sum[2], sum[3]));
    return _mm256_permutevar8x32_epi32(all, home);
}

/* x in bytes, and its sums. */
static void part_bytes(work *w, const int8_t *x, size_t n)
{
    const __m256i apart = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
    const __m256i one = _mm256_set1_epi8(1);
    const size_t end = (n + TOGETHER - 1) / TOGETHER * TOGETHER;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m256i v = _mm256_permute4x64_epi64(
            _mm256_shuffle_epi8(load_bytes(x + i), apart), 0xd8);
        store_half(w->even + i / 2, _mm256_castsi256_si128(v));
        store_half(w->odd + i / 2, _mm256_extracti128_si256(v, 1));
    }
    for (; i < end; i += 2) {
        w->even[i / 2] = i < n ? x[i] : 0;
        w->odd[i / 2] = i + 1 < n ? x[i + 1] : 0;
    }
    for (i = 0; i < end; i += TOGETHER) {
        __m256i sum[4];
        for (size_t q = 0; q < 4; q++) {
            sum[q] = byte_sums(one, one, w, i + q * STEP);
        }
        store_bytes(w->sum + i / BLOCK, block_sums(sum));
    }
}

/* The table as the steps want it: 16 bytes twice, above the lowest when narrow. */
static inline __m256i table_of(const qk_gemv4_s8 *g, const work *w)
{
    const __m256i t = _mm256_broadcastsi128_si256(load_half(g->table));
    return w->narrow ? _mm256_sub_epi8(t, _mm256_set1_epi8((char)w->lowest)) : t;
}

static void look_at_table(const qk_gemv4_s8 *g, work *w)
{
    int32_t lowest = g->table[0], highest = g->table[0];
    for (int j = 1; j < 16; j++) {
        lowest = g->table[j] < lowest ? g->table[j] : lowest;
        highest = g->table[j] > highest ? g->table[j] : highest;
    }
    w->narrow = highest - lowest <= NARROW;
    w->lowest = lowest;
}

static inline void add_half(double *lane, __m128i sums, __m128 s, __m128 xs)
{
    const __m256d both = _mm256_mul_pd(_mm256_cvtps_pd(s), _mm256_cvtps_pd(xs));
    const __m256d term = _mm256_mul_pd(both, _mm256_cvtepi32_pd(sums));
    _mm256_storeu_pd(lane, _mm256_add_pd(_mm256_loadu_pd(lane), term));
}

/* Fewer than eight, and zeros. A copy that waits for bytes just written: for the end only. */
static __m256 some_halves(const uint8_t *p, size_t n)
{
    uint16_t half[8] = {0};
    memcpy(half, p, 2 * n);
    return _mm256_cvtph_ps(load_half(half));
}
static __m256 some_floats(const float *p, size_t n)
{
    float some[8] = {0};
    memcpy(some, p, n * sizeof *some);
    return _mm256_loadu_ps(some);
}

/* Blocks b .. b + 7 of row r, of which `left` are there, into their lanes; b % 8 = 0. */
static void add_blocks(const qk_gemv4_s8 *g, size_t r, double *lane, __m256i sums, size_t b,
                       size_t left)
{
    __m256 s = _mm256_set1_ps(g->one_scale), xs = _mm256_set1_ps(*g->x_scale);
    if (g->scale) {
        const uint8_t *row = (const uint8_t *)g->scale + 2 * r * qk_blocks_of(g->k, BLOCK) + 2 * b;
        s = left >= 8 ? _mm256_cvtph_ps(load_half(row)) : some_halves(row, left);
    }
    if (g->x_step) {
        xs = left >= 8 ? _mm256_loadu_ps(g->x_scale + b) : some_floats(g->x_scale + b, left);
    }
    lane += b % QK_LANES;
    add_half(lane, _mm256_castsi256_si128(sums), _mm256_castps256_ps128(s),
             _mm256_castps256_ps128(xs));
    add_half(lane + 4, _mm256_extracti128_si256(sums, 1), _mm256_extractf128_ps(s, 1),
             _mm256_extractf128_ps(xs, 1));
}

static void add_row(const qk_gemv4_s8 *g, const work *w, double *lane, size_t r, size_t at,
                    size_t n)
{
    const uint8_t *codes = g->codes + r * (g->k / 2) + at / 2;
    const __m256i table = table_of(g, w), lowest = _mm256_set1_epi32(w->lowest);
    __m256i sum[4];
    for (size_t i = 0; i < n; i += TOGETHER) {
        four_steps(sum, codes, n, i, table, w);
        __m256i sums = block_sums(sum);
        if (w->narrow) {
            const __m256i of_x = load_bytes(w->sum + i / BLOCK);
            sums = _mm256_add_epi32(sums, _mm256_mullo_epi32(lowest, of_x));
        }
        add_blocks(g, r, lane, sums, (at + i) / BLOCK, (n - i + BLOCK - 1) / BLOCK);
    }
}

/* Rows that are one block: the whole sum into the first lane, in exact integers. */
static void sum_row(const qk_gemv4_s8 *g, const work *w, double *lane, size_t r, size_t at,
                    size_t n)
{
    const uint8_t *codes = g->codes + r * (g->k / 2) + at / 2;
    const __m256i table = table_of(g, w);
    __m256i sum[4], all = _mm256_setzero_si256();
    int32_t part[8];
    for (size_t i = 0; i < n; i += TOGETHER) {
        four_steps(sum, codes, n, i, table, w);
        all = _mm256_add_epi32(all, _mm256_add_epi32(_mm256_add_epi32(sum[0], sum[1]),
                                                     _mm256_add_epi32(sum[2], sum[3])));
    }
    store_bytes(part, all);
    for (int i = 0; i < 8; i++) {
        lane[0] += (double)part[i];
    }
    for (size_t b = 0; w->narrow && b < qk_blocks_of(n, BLOCK); b++) {
        lane[0] += (double)(w->lowest * w->sum[b]);
    }
}

static void rows_from(const qk_gemv4_s8 *g, work *w, size_t r0, size_t rows, bool one)
{
    memset(w->lane, 0, sizeof w->lane);
    for (size_t at = 0; at < g->k; at += CHUNK) {
        const size_t n = g->k - at < CHUNK ? g->k - at : CHUNK;
        if (g->k > CHUNK || r0 == 0) {
            (w->narrow ? part_bytes : part_x)(w, g->x + at, n);
        }
        for (size_t r = 0; r < rows; r++) {
            (one ? sum_row : add_row)(g, w, w->lane[r], r0 + r, at, n);
        }
    }
    for (size_t r = 0; r < rows; r++) {
        if (one) {
            w->lane[r][0] *= (double)g->one_scale * (double)*g->x_scale;
            w->lane[r][0] += 0.0; /* -0 becomes +0, as in a sum that begins with +0 */
        }
        g->y[r0 + r] = (float)qk_fold_lanes(w->lane[r]);
    }
}

void qk_gemv4_s8_avx2(const qk_gemv4_s8 *g)
{
    const bool one = g->block >= g->k && !g->scale && g->k > 0;
    work w;
    if (!one && g->block != BLOCK) {
        qk_gemv4_s8_scalar(g);
        return;
    }
    look_at_table(g, &w);
    for (size_t r = 0; r < g->n; r += ROWS) {
        rows_from(g, &w, r, g->n - r < ROWS ? g->n - r : ROWS, one);
    }
}

int32_t qk_dot_s8_avx2(const int8_t *x, const int8_t *y, size_t n)
{
    __m256i sum = _mm256_setzero_si256();
    int32_t part[8];
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_cvtepi8_epi16(load_half(x + i)),
                                                      _mm256_cvtepi8_epi16(load_half(y + i))));
    }
    store_bytes(part, sum);
    int32_t all = qk_dot_s8_scalar(x + i, y + i, n - i);
    for (int j = 0; j < 8; j++) {
        all += part[j];
    }
    return all;
}

#endif
