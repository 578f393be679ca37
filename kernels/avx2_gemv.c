/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_gemv.c - rows of 4-bit codes times a vector of floats or of int8.
 *
 * Floats: the 16 values of a table are two registers; the fourth bit of a code chooses between what
 * its low three bits name in each. Eight bytes are 16 codes, the even elements in their low halves,
 * so x is taken apart into even and odd elements, and the lanes of a sum stand in eight registers,
 * even and odd ones of each 16. */
#include <math.h>
#include <string.h>

#include "kernels/avx2.h"
#include "kernels/lanes.h"

#if defined(QK_HAS_AVX2)

enum { CHUNK = 4096, ROWS = 16 };

typedef struct work {
    float x[CHUNK];             /* of each 16: 8 even, 8 odd elements */
    float lane[ROWS][QK_LANES]; /* in the same order */
} work;

/* Where element i of a row stands among even and odd ones of its 16. */
static inline size_t place(size_t i)
{
    return i / 16 * 16 + i % 2 * 8 + i % 16 / 2;
}

static void part_x(work *w, const float *x, size_t n)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + i + 8);
        const __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88));
        const __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xdd));
        _mm256_storeu_ps(w->x + i, _mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8)));
        _mm256_storeu_ps(w->x + i + 8, _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8)));
    }
    for (; i < n; i++) {
        w->x[place(i)] = x[i];
    }
}

typedef struct table16 {
    __m256 low, high;
} table16;

static inline __m256 look_up(table16 t, __m256i code)
{
    const __m256 choose = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(t.low, code),
                            _mm256_permutevar8x32_ps(t.high, code), choose);
}

static inline void add_16(__m256 *even, __m256 *odd, const uint8_t *codes, table16 t,
                          const float *x)
{
    const __m256i low = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)codes));
    const __m256i high = _mm256_srli_epi32(low, 4);
    *even = _mm256_add_ps(*even, _mm256_mul_ps(look_up(t, low), _mm256_loadu_ps(x)));
    *odd = _mm256_add_ps(*odd, _mm256_mul_ps(look_up(t, high), _mm256_loadu_ps(x + 8)));
}

static inline float scale_at(const uint8_t *row, size_t block)
{
    uint16_t half;
    memcpy(&half, row + 2 * block, sizeof half);
    return _cvtsh_ss(half);
}

static inline table16 scaled(const float *table, const uint8_t *row, size_t block)
{
    table16 t = {_mm256_loadu_ps(table), _mm256_loadu_ps(table + 8)};
    if (row) {
        const __m256 s = _mm256_set1_ps(scale_at(row, block));
        t.low = _mm256_mul_ps(s, t.low);
        t.high = _mm256_mul_ps(s, t.high);
    }
    return t;
}

/* Lanes have names, not indices: compilers keep named ones in registers. */
#define EACH_QUARTER(DO) DO(0) DO(1) DO(2) DO(3)
#define LOAD(q)                                         \
    __m256 even##q = _mm256_loadu_ps(lane + 16 * (q)),  \
           odd##q = _mm256_loadu_ps(lane + 16 * (q) + 8);
#define STORE(q)                                        \
    _mm256_storeu_ps(lane + 16 * (q), even##q);         \
    _mm256_storeu_ps(lane + 16 * (q) + 8, odd##q);

/* Weights [at, at + n) of row r, n even; whole 64 in registers, the rest one by one. */
static void add_row(const qk_gemv4_f32 *g, const work *w, float *lane, size_t r, size_t at,
                    size_t n)
{
    const uint8_t *codes = g->codes + r * (g->k / 2) + at / 2;
    const uint8_t *row = g->scale
        ? (const uint8_t *)g->scale + 2 * r * qk_blocks_of(g->k, g->block) : NULL;
    const size_t per = g->block / 32;
    size_t i = 0;
    EACH_QUARTER(LOAD)
    for (; i + QK_LANES <= n; i += QK_LANES) {
        const uint8_t *c = codes + i / 2;
        const float *x = w->x + i;
        table16 t = scaled(g->table, row, (at + i) / 32 / per);
        add_16(&even0, &odd0, c, t, x);
        add_16(&even1, &odd1, c + 8, t, x + 16);
        t = scaled(g->table, row, ((at + i) / 32 + 1) / per);
        add_16(&even2, &odd2, c + 16, t, x + 32);
        add_16(&even3, &odd3, c + 24, t, x + 48);
    }
    EACH_QUARTER(STORE)
    for (; i < n; i++) {
        float v = g->table[codes[i / 2] >> (i % 2 * 4) & 15];
        v = row ? scale_at(row, (at + i) / g->block) * v : v;
        lane[place(i) % QK_LANES] += v * w->x[place(i)];
    }
}

static float fold_in_order(const float *parted)
{
    float lane[QK_LANES];
    for (size_t i = 0; i < QK_LANES; i++) {
        lane[i] = parted[place(i)];
    }
    return qk_fold_floats(lane);
}

/* x is taken apart once when it is one chunk, else once for each group of rows. */
void qk_gemv4_f32_avx2(const qk_gemv4_f32 *g)
{
    work w;
    for (size_t r = 0; r < g->n; r += ROWS) {
        const size_t rows = g->n - r < ROWS ? g->n - r : ROWS;
        memset(w.lane, 0, sizeof w.lane);
        for (size_t at = 0; at < g->k; at += CHUNK) {
            const size_t n = g->k - at < CHUNK ? g->k - at : CHUNK;
            if (g->k > CHUNK || r == 0) {
                part_x(&w, g->x + at, n);
            }
            for (size_t i = 0; i < rows; i++) {
                add_row(g, &w, w.lane[i], r + i, at, n);
            }
        }
        for (size_t i = 0; i < rows; i++) {
            g->y[r + i] = fold_in_order(w.lane[i]);
        }
    }
}

#define EACH_EIGHT(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define BEGIN(v) __m256 s##v = _mm256_setzero_ps();
#define ADD(v)                                                                  \
    s##v = _mm256_add_ps(s##v, _mm256_mul_ps(_mm256_loadu_ps(x + i + 8 * (v)),  \
                                             _mm256_loadu_ps(y + i + 8 * (v))));
#define END(v) _mm256_storeu_ps(lane + 8 * (v), s##v);

float qk_dot_single_avx2(const float *x, const float *y, size_t n)
{
    float lane[QK_LANES];
    size_t i = 0;
    EACH_EIGHT(BEGIN)
    for (; i + QK_LANES <= n; i += QK_LANES) {
        EACH_EIGHT(ADD)
    }
    EACH_EIGHT(END)
    for (; i < n; i++) {
        lane[i % QK_LANES] += x[i] * y[i];
    }
    return qk_fold_floats(lane);
}

#endif
