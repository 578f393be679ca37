/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_gemv.c - rows of 4-bit codes times floats: sixteen values of a table in one register.
 *
 * 16 bytes are 32 codes: widened to 32 bits, the low halves name even elements, a shift by four the
 * odd ones, and vpermps looks at the low four bits only. So x is taken apart into even and odd
 * elements, once for a chunk of it, and the lanes of a sum stand in four registers: even and odd of
 * the first and of the second 32. */
#include <math.h>
#include <string.h>

#include "kernels/avx512.h"
#include "kernels/lanes.h"

#if defined(QK_HAS_AVX512)

enum { CHUNK = 4096, ROWS = 16, SCALES = CHUNK / 32 };

typedef struct work {
    _Alignas(64) float x[CHUNK]; /* of 32: 16 even, 16 odd; zeros up to a multiple of 32 */
    _Alignas(64) float lane[ROWS][QK_LANES];
    float scale[SCALES];         /* of each 32 of a row */
} work;

typedef struct lanes {
    __m512 even0, odd0, even1, odd1;
} lanes;

static void part_x(work *w, const float *x, size_t n)
{
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (size_t i = 0; i < n; i += 32) {
        const __mmask16 high = i + 16 < n ? first_of_16(n - i - 16) : 0;
        const __m512 a = _mm512_maskz_loadu_ps(first_of_16(n - i), x + i);
        const __m512 b = _mm512_maskz_loadu_ps(high, x + (high ? i + 16 : i));
        _mm512_storeu_ps(w->x + i, _mm512_permutex2var_ps(a, even, b));
        _mm512_storeu_ps(w->x + i + 16, _mm512_permutex2var_ps(a, odd, b));
    }
}

/* Scales of the `n` groups of 32 weights from group `first` of a row on. */
static void spread_scales(const uint8_t *row, size_t first, size_t n, size_t per, float *to)
{
    if (per == 1) {
        for (size_t i = 0; i < n; i += 16) {
            const uint8_t *from = row + 2 * (first + i);
            const __m256i half = _mm256_maskz_loadu_epi16(first_of_16(n - i), from);
            _mm512_storeu_ps(to + i, _mm512_cvtph_ps(half));
        }
        return;
    }
    size_t block = first / per, until = (block + 1) * per - first;
    for (size_t i = 0; i < n; until += per) {
        uint16_t half;
        memcpy(&half, row + 2 * block++, sizeof half);
        for (const float s = _cvtsh_ss(half); i < n && i < until; i++) {
            to[i] = s;
        }
    }
}

static inline lanes load_lanes(const float *lane)
{
    lanes s = {_mm512_loadu_ps(lane), _mm512_loadu_ps(lane + 16), _mm512_loadu_ps(lane + 32),
               _mm512_loadu_ps(lane + 48)};
    return s;
}

static inline void store_lanes(float *lane, lanes s)
{
    _mm512_storeu_ps(lane, s.even0);
    _mm512_storeu_ps(lane + 16, s.odd0);
    _mm512_storeu_ps(lane + 32, s.even1);
    _mm512_storeu_ps(lane + 48, s.odd1);
}

/* 32 weights, of which the first 2 * count(some) are there. */
static inline void add_32(__m512 *even, __m512 *odd, __m128i bytes, __m512 table, const float *x,
                          __mmask16 some)
{
    const __m512i low = _mm512_cvtepu8_epi32(bytes), high = _mm512_srli_epi32(low, 4);
    const __m512 e = _mm512_mul_ps(_mm512_permutexvar_ps(low, table), _mm512_loadu_ps(x));
    const __m512 o = _mm512_mul_ps(_mm512_permutexvar_ps(high, table), _mm512_loadu_ps(x + 16));
    *even = _mm512_mask_add_ps(*even, some, *even, e);
    *odd = _mm512_mask_add_ps(*odd, some, *odd, o);
}

static inline __m512 scaled(__m512 table, const float *scale, bool some)
{
    return some ? _mm512_mul_ps(_mm512_set1_ps(*scale), table) : table;
}

/* n weights of a row, n <= CHUNK and even. */
static inline __attribute__((always_inline)) void add_row(work *w, float *lane,
                                                          const uint8_t *codes, size_t n,
                                                          __m512 table, const bool some)
{
    lanes s = load_lanes(lane);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const uint8_t *c = codes + i / 2;
        const float *scale = w->scale + i / 32;
        add_32(&s.even0, &s.odd0, _mm_loadu_si128((const void *)c), scaled(table, scale, some),
               w->x + i, 0xffff);
        add_32(&s.even1, &s.odd1, _mm_loadu_si128((const void *)(c + 16)),
               scaled(table, scale + 1, some), w->x + i + 32, 0xffff);
    }
    if (i < n) {
        const __mmask16 a = first_of_16((n - i) / 2);
        const __mmask16 b = (n - i) / 2 > 16 ? first_of_16((n - i) / 2 - 16) : 0;
        const uint8_t *c = codes + i / 2;
        add_32(&s.even0, &s.odd0, _mm_maskz_loadu_epi8(a, c),
               scaled(table, w->scale + i / 32, some), w->x + i, a);
        if (b) {
            add_32(&s.even1, &s.odd1, _mm_maskz_loadu_epi8(b, c + 16),
                   scaled(table, w->scale + i / 32 + 1, some), w->x + i + 32, b);
        }
    }
    store_lanes(lane, s);
}

static float fold(const float *lane)
{
    const lanes s = load_lanes(lane);
    const __m512 e = _mm512_add_ps(s.even0, s.even1), o = _mm512_add_ps(s.odd0, s.odd1);
    const __m256 e8 = _mm256_add_ps(_mm512_castps512_ps256(e), _mm512_extractf32x8_ps(e, 1));
    const __m256 o8 = _mm256_add_ps(_mm512_castps512_ps256(o), _mm512_extractf32x8_ps(o, 1));
    __m128 e4 = _mm_add_ps(_mm256_castps256_ps128(e8), _mm256_extractf128_ps(e8, 1));
    __m128 o4 = _mm_add_ps(_mm256_castps256_ps128(o8), _mm256_extractf128_ps(o8, 1));
    e4 = _mm_add_ps(e4, _mm_movehl_ps(e4, e4));
    o4 = _mm_add_ps(o4, _mm_movehl_ps(o4, o4));
    e4 = _mm_add_ss(e4, _mm_movehdup_ps(e4));
    o4 = _mm_add_ss(o4, _mm_movehdup_ps(o4));
    return qk_one_nan_float(_mm_cvtss_f32(_mm_add_ss(e4, o4)));
}

static void add_rows(const qk_gemv4_f32 *g, work *w, size_t r0, size_t rows, size_t at, size_t n)
{
    const __m512 table = _mm512_loadu_ps(g->table);
    const size_t blocks = qk_blocks_of(g->k, g->block);
    for (size_t r = 0; r < rows; r++) {
        const uint8_t *codes = g->codes + (r0 + r) * (g->k / 2) + at / 2;
        if (g->scale) {
            const uint8_t *row = (const uint8_t *)g->scale + 2 * (r0 + r) * blocks;
            spread_scales(row, at / 32, (n + 31) / 32, g->block / 32, w->scale);
            add_row(w, w->lane[r], codes, n, table, true);
        } else {
            add_row(w, w->lane[r], codes, n, table, false);
        }
    }
}

/* x is taken apart once when it is one chunk, else once for each group of rows. */
void qk_gemv4_f32_avx512(const qk_gemv4_f32 *g)
{
    work w;
    if (g->k <= CHUNK) {
        part_x(&w, g->x, g->k);
    }
    for (size_t r = 0; r < g->n; r += ROWS) {
        const size_t rows = g->n - r < ROWS ? g->n - r : ROWS;
        memset(w.lane, 0, sizeof w.lane);
        for (size_t at = 0; at < g->k; at += CHUNK) {
            const size_t n = g->k - at < CHUNK ? g->k - at : CHUNK;
            if (g->k > CHUNK) {
                part_x(&w, g->x + at, n);
            }
            add_rows(g, &w, r, rows, at, n);
        }
        for (size_t i = 0; i < rows; i++) {
            g->y[r + i] = fold(w.lane[i]);
        }
    }
}

static inline __m512 add_product(__m512 s, const float *x, const float *y)
{
    return _mm512_add_ps(s, _mm512_mul_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(y)));
}

float qk_dot_single_avx512(const float *x, const float *y, size_t n)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    float lane[QK_LANES];
    size_t i = 0;
    for (; i + QK_LANES <= n; i += QK_LANES) {
        s0 = add_product(s0, x + i, y + i);
        s1 = add_product(s1, x + i + 16, y + i + 16);
        s2 = add_product(s2, x + i + 32, y + i + 32);
        s3 = add_product(s3, x + i + 48, y + i + 48);
    }
    _mm512_storeu_ps(lane, s0);
    _mm512_storeu_ps(lane + 16, s1);
    _mm512_storeu_ps(lane + 32, s2);
    _mm512_storeu_ps(lane + 48, s3);
    for (; i < n; i++) {
        lane[i % QK_LANES] += x[i] * y[i];
    }
    return qk_fold_floats(lane);
}

#endif
