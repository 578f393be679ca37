/* SPDX-License-Identifier: Apache-2.0 */
/* avx512vnni_gemv.c - rows of 4-bit codes times int8: a table of bytes in vpshufb, products by
 * vpdpbusd.
 *
 * 64 bytes are 128 codes: even elements in the low halves, odd ones in the high halves. Entries are
 * looked up as entry + 128, unsigned; the excess, 128 times the sum of the same elements of x, is
 * taken off where the sums begin. A 32-bit sum then spans 8 elements, four of them a block of 32.
 */
#include <string.h>

#include "kernels/avx512.h"
#include "kernels/lanes.h"

#if defined(QK_HAS_AVX512VNNI)

enum { CHUNK = 4096, ROWS = 16, STEP = 128, BLOCK = 32 };

/* A chunk of x: even and odd elements of each STEP, zeros past its end; what sums begin with. */
typedef struct work {
    _Alignas(64) int8_t even[CHUNK / 2];
    _Alignas(64) int8_t odd[CHUNK / 2];
    _Alignas(64) int32_t start[CHUNK / 8];
    _Alignas(64) double lane[ROWS][QK_LANES];
} work;

/* Low and high bytes of 64 16-bit words, apart and in order. */
static inline __m512i bytes_of_words(__m512i a, __m512i b, bool high)
{
    const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    const __m512i low = _mm512_set1_epi16(0xff);
    a = high ? _mm512_srli_epi16(a, 8) : _mm512_and_si512(a, low);
    b = high ? _mm512_srli_epi16(b, 8) : _mm512_and_si512(b, low);
    /* vpackuswb works within 128 bits: a0 b0 a1 b1 ...; the permutation gives a, then b */
    return _mm512_permutexvar_epi64(order, _mm512_packus_epi16(a, b));
}

static inline __mmask64 first_of_64(size_t left)
{
    return left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1u;
}

static void part_x(work *w, const int8_t *x, size_t n)
{
    const __m512i excess = _mm512_set1_epi8(-128); /* 128 as an unsigned byte */
    for (size_t i = 0; i < n; i += STEP) {
        const size_t left = n - i;
        const __m512i a = _mm512_maskz_loadu_epi8(first_of_64(left), x + i);
        const __m512i b = _mm512_maskz_loadu_epi8(left > 64 ? first_of_64(left - 64) : 0,
                                                  x + i + (left > 64 ? 64 : 0));
        const __m512i even = bytes_of_words(a, b, false), odd = bytes_of_words(a, b, true);
        __m512i sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), excess, even);
        sum = _mm512_dpbusd_epi32(sum, excess, odd);
        _mm512_storeu_si512(w->even + i / 2, even);
        _mm512_storeu_si512(w->odd + i / 2, odd);
        _mm512_storeu_si512(w->start + i / 8, _mm512_sub_epi32(_mm512_setzero_si512(), sum));
    }
}

/* Sums over 8 elements each of the STEP weights behind `codes`; step i of the chunk. */
static inline __m512i add_step(__m512i sum, __m512i codes, __m512i table, const work *w, size_t i)
{
    const __m512i low = _mm512_set1_epi8(15);
    const __m512i e = _mm512_shuffle_epi8(table, _mm512_and_si512(codes, low));
    const __m512i o =
        _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(codes, 4), low));
    sum = _mm512_add_epi32(sum, _mm512_loadu_si512(w->start + i / 8));
    sum = _mm512_dpbusd_epi32(sum, e, _mm512_loadu_si512(w->even + i / 2));
    return _mm512_dpbusd_epi32(sum, o, _mm512_loadu_si512(w->odd + i / 2));
}

static inline __m512i load_codes(const uint8_t *codes, size_t weights)
{
    return _mm512_maskz_loadu_epi8(first_of_64(weights / 2), codes);
}

/* Sums of the 16 blocks in four registers of four, in order: two rounds of "add what lies apart",
 * then block 4j + i, which stands at place 4i + j, goes home. */
static inline __m512i block_sums(__m512i a, __m512i b, __m512i c, __m512i d)
{
    const __m512i home = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const __m512i all =
        _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    return _mm512_permutexvar_epi32(home, all);
}

/* What a row's blocks are scaled with; scale NULL: one. The end of all codes. */
typedef struct factors {
    const uint8_t *scale, *codes_end;
    float one;
    const float *x_scale;
    size_t x_step;
} factors;

static inline void add_half(double *lane, __m256i sums, __m256 s, __m256 xs)
{
    const __m512d both = _mm512_mul_pd(_mm512_cvtps_pd(s), _mm512_cvtps_pd(xs));
    const __m512d term = _mm512_mul_pd(both, _mm512_cvtepi32_pd(sums));
    _mm512_storeu_pd(lane, _mm512_add_pd(_mm512_loadu_pd(lane), term));
}

/* Blocks b .. b + 15 of a row, of which `left` are there, into their lanes; b % 16 = 0. */
static inline void add_blocks(double *lane, __m512i sums, const factors *f, size_t b, size_t left)
{
    const __mmask16 some = first_of_16(left);
    __m512 s = _mm512_set1_ps(f->one), xs = _mm512_set1_ps(*f->x_scale);
    if (f->scale) {
        s = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(some, f->scale + 2 * b));
    }
    if (f->x_step) {
        xs = _mm512_maskz_loadu_ps(some, f->x_scale + b);
    }
    lane += b % QK_LANES;
    add_half(lane, _mm512_castsi512_si256(sums), _mm512_castps512_ps256(s),
             _mm512_castps512_ps256(xs));
    add_half(lane + 8, _mm512_extracti32x8_epi32(sums, 1), _mm512_extractf32x8_ps(s, 1),
             _mm512_extractf32x8_ps(xs, 1));
}

/* Up to 4 * STEP weights. */
static inline __m512i sums_of_rest(const work *w, const uint8_t *codes, size_t i, size_t n,
                                   __m512i table)
{
    __m512i sum[4];
    for (size_t q = 0; q < 4; q++) {
        const size_t at = i + q * STEP;
        sum[q] = _mm512_setzero_si512();
        if (at < n) {
            sum[q] = add_step(sum[q], load_codes(codes + at / 2, n - at), table, w, at);
        }
    }
    return block_sums(sum[0], sum[1], sum[2], sum[3]);
}

/* Two streams and the work on blocks are more than a prefetcher follows, so it is told, some 3 KiB
 * of codes and their scales ahead; nothing past the end is named. */
/* Inlined by order: gcc takes a call of what only prefetches for one without effect. */
static inline __attribute__((always_inline)) void ask_ahead(const uint8_t *codes,
                                                            const factors *f, size_t b)
{
    const bool room = (size_t)(f->codes_end - codes) > 3072 + 256;
    const char *c = (const char *)codes + (room ? 3072 : 0);
    _mm_prefetch(c, _MM_HINT_T0);
    _mm_prefetch(c + 64, _MM_HINT_T0);
    _mm_prefetch(c + 128, _MM_HINT_T0);
    _mm_prefetch(c + 192, _MM_HINT_T0);
    if (f->scale) { /* 3072 bytes of codes have 384 of scales */
        _mm_prefetch((const char *)f->scale + 2 * b + (room ? 384 : 0), _MM_HINT_T0);
    }
}

/* n weights of a row in blocks of 32, the first of them block b of the row. */
static void add_row(const work *w, double *lane, const uint8_t *codes, size_t n, __m512i table,
                    const factors *f, size_t b)
{
    const __m512i zero = _mm512_setzero_si512();
    size_t i = 0;
    for (; i + 4 * STEP <= n; i += 4 * STEP) {
        const uint8_t *c = codes + i / 2;
        ask_ahead(c, f, b + i / BLOCK);
        const __m512i s0 = add_step(zero, _mm512_loadu_si512(c), table, w, i);
        const __m512i s1 = add_step(zero, _mm512_loadu_si512(c + 64), table, w, i + STEP);
        const __m512i s2 = add_step(zero, _mm512_loadu_si512(c + 128), table, w, i + 2 * STEP);
        const __m512i s3 = add_step(zero, _mm512_loadu_si512(c + 192), table, w, i + 3 * STEP);
        add_blocks(lane, block_sums(s0, s1, s2, s3), f, b + i / BLOCK, 16);
    }
    if (i < n) {
        add_blocks(lane, sums_of_rest(w, codes, i, n, table), f, b + i / BLOCK,
                   (n - i + BLOCK - 1) / BLOCK);
    }
}

/* The sum over n weights of a row. */
static int32_t sum_row(const work *w, const uint8_t *codes, size_t n, __m512i table)
{
    __m512i a = _mm512_setzero_si512(), b = a;
    size_t i = 0;
    for (; i + 2 * STEP <= n; i += 2 * STEP) {
        a = add_step(a, _mm512_loadu_si512(codes + i / 2), table, w, i);
        b = add_step(b, _mm512_loadu_si512(codes + i / 2 + 64), table, w, i + STEP);
    }
    for (; i < n; i += STEP) {
        a = add_step(a, load_codes(codes + i / 2, n - i), table, w, i);
    }
    return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
}

/* The fold of kernels.h, in registers. */
static double fold(const double *lane)
{
    const __m512d v0 = _mm512_add_pd(_mm512_loadu_pd(lane), _mm512_loadu_pd(lane + 32));
    const __m512d v1 = _mm512_add_pd(_mm512_loadu_pd(lane + 8), _mm512_loadu_pd(lane + 40));
    const __m512d v2 = _mm512_add_pd(_mm512_loadu_pd(lane + 16), _mm512_loadu_pd(lane + 48));
    const __m512d v3 = _mm512_add_pd(_mm512_loadu_pd(lane + 24), _mm512_loadu_pd(lane + 56));
    const __m512d eight = _mm512_add_pd(_mm512_add_pd(v0, v2), _mm512_add_pd(v1, v3));
    const __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight),
                                       _mm512_extractf64x4_pd(eight, 1));
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return qk_one_nan(_mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two))));
}

static inline __m512i unsigned_table(const int8_t *table)
{
    const __m128i t = _mm_loadu_si128((const void *)table);
    return _mm512_broadcast_i32x4(_mm_xor_si128(t, _mm_set1_epi8(-128)));
}

static void rows_of_blocks(const qk_gemv4_s8 *g, work *w, size_t r0, size_t rows)
{
    const size_t blocks = qk_blocks_of(g->k, BLOCK);
    const __m512i table = unsigned_table(g->table);
    const uint8_t *scale = g->scale;
    factors f = {NULL, g->codes + g->n * (g->k / 2), g->one_scale, g->x_scale, g->x_step};
    memset(w->lane, 0, sizeof w->lane);
    for (size_t at = 0; at < g->k; at += CHUNK) {
        const size_t n = g->k - at < CHUNK ? g->k - at : CHUNK;
        if (g->k > CHUNK || r0 == 0) {
            part_x(w, g->x + at, n);
        }
        for (size_t r = 0; r < rows; r++) {
            f.scale = scale ? scale + 2 * (r0 + r) * blocks : NULL;
            add_row(w, w->lane[r], g->codes + (r0 + r) * (g->k / 2) + at / 2, n, table, &f,
                    at / BLOCK);
        }
    }
    for (size_t r = 0; r < rows; r++) {
        g->y[r0 + r] = (float)fold(w->lane[r]);
    }
}

static void rows_of_one_block(const qk_gemv4_s8 *g, work *w, size_t r0, size_t rows)
{
    const __m512i table = unsigned_table(g->table);
    int32_t sum[ROWS] = {0};
    for (size_t at = 0; at < g->k; at += CHUNK) {
        const size_t n = g->k - at < CHUNK ? g->k - at : CHUNK;
        if (g->k > CHUNK || r0 == 0) {
            part_x(w, g->x + at, n);
        }
        for (size_t r = 0; r < rows; r++) {
            const uint8_t *codes = g->codes + (r0 + r) * (g->k / 2) + at / 2;
            sum[r] += sum_row(w, codes, n, table);
        }
    }
    for (size_t r = 0; r < rows; r++) {
        const double both = (double)g->one_scale * (double)*g->x_scale;
        g->y[r0 + r] = (float)qk_one_nan(both * (double)sum[r] + 0.0);
    }
}

void qk_gemv4_s8_avx512vnni(const qk_gemv4_s8 *g)
{
    const bool one = g->block >= g->k && !g->scale && g->k > 0;
    work w;
    if (!one && g->block != BLOCK) {
        qk_gemv4_s8_scalar(g);
        return;
    }
    for (size_t r = 0; r < g->n; r += ROWS) {
        const size_t rows = g->n - r < ROWS ? g->n - r : ROWS;
        (one ? rows_of_one_block : rows_of_blocks)(g, &w, r, rows);
    }
}

/* x + 128 is x with its top bit turned over; what that adds is summed beside. */
int32_t qk_dot_s8_avx512vnni(const int8_t *x, const int8_t *y, size_t n)
{
    const __m512i excess = _mm512_set1_epi8(-128); /* 128 as an unsigned byte */
    __m512i sum = _mm512_setzero_si512(), over = sum;
    for (size_t i = 0; i < n; i += 64) {
        const __m512i a = _mm512_maskz_loadu_epi8(first_of_64(n - i), x + i);
        const __m512i b = _mm512_maskz_loadu_epi8(first_of_64(n - i), y + i);
        sum = _mm512_dpbusd_epi32(sum, _mm512_xor_si512(a, excess), b);
        over = _mm512_dpbusd_epi32(over, excess, b);
    }
    return _mm512_reduce_add_epi32(_mm512_sub_epi32(sum, over));
}

#endif
