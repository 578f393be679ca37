/* SPDX-License-Identifier: Apache-2.0 */
/* avx512vnni_gemm.c - int8 products with vpdpbusd: four unsigned times four signed bytes, summed
 * into 32 bits modulo 2^32.
 *
 * The weights are the unsigned side (panels hold w + 128), so every accumulator begins at
 * -128 times the sum of its row of a. A block is ROWS rows of a times a panel: 24 accumulators,
 * four registers of weights, one of a. */
#include <string.h>

#include "kernels/avx512.h"
#include "kernels/panels.h"

#if defined(QK_HAS_AVX512VNNI)

enum { ROWS = 6, VECTORS = QK_PANEL / 16 };

/* What a run over groups of four reads: `groups` of them from each row of a and from a panel. */
typedef struct span {
    const int8_t *a;
    size_t lda;
    const uint8_t *w;
    size_t groups;
} span;

/* A block of rows times one panel: the whole groups, then the last one, copied. */
typedef struct block {
    span part[2];
    int32_t *c;
    size_t ldc;
    const int32_t *start; /* of the accumulators of each row */
    __mmask16 last;       /* columns of the last register */
} block;

static inline __m512i four_of(const int8_t *a)
{
    int32_t four;
    memcpy(&four, a, sizeof four);
    return _mm512_set1_epi32(four);
}

/* Sums have names, not indices: compilers keep named ones in registers. rows and vectors are
 * constants of each caller. */
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5)
#define SUM_OF(r) __m512i s##r##0, s##r##1, s##r##2, s##r##3; \
    s##r##0 = s##r##1 = s##r##2 = s##r##3 = _mm512_set1_epi32(r < rows ? b->start[r] : 0);
#define ADD_TO(r)                                            \
    if (r < rows) {                                          \
        const __m512i x = four_of(a + (size_t)r * lda);      \
        s##r##0 = _mm512_dpbusd_epi32(s##r##0, w0, x);       \
        s##r##1 = vectors > 1 ? _mm512_dpbusd_epi32(s##r##1, w1, x) : s##r##1; \
        s##r##2 = vectors > 2 ? _mm512_dpbusd_epi32(s##r##2, w2, x) : s##r##2; \
        s##r##3 = vectors > 3 ? _mm512_dpbusd_epi32(s##r##3, w3, x) : s##r##3; \
    }
#define STORE(r)                                             \
    if (r < rows) {                                          \
        const __m512i s[VECTORS] = {s##r##0, s##r##1, s##r##2, s##r##3}; \
        store_row(b->c + (size_t)r * b->ldc, s, vectors, b->last); \
    }

static inline __attribute__((always_inline)) void store_row(int32_t *c, const __m512i *s,
                                                            int vectors, __mmask16 last)
{
    for (int v = 0; v + 1 < vectors; v++) {
        _mm512_storeu_si512(c + 16 * v, s[v]);
    }
    _mm512_mask_storeu_epi32(c + 16 * (vectors - 1), last, s[vectors - 1]);
}

static inline __attribute__((always_inline)) void run(const block *b, const int rows,
                                                      const int vectors)
{
    EACH_ROW(SUM_OF)
    for (const span *p = b->part; p < b->part + 2; p++) {
        const int8_t *a = p->a;
        const size_t lda = p->lda, step = 64 * (size_t)vectors;
        const uint8_t *w = p->w, *end = w + p->groups * step;
        for (; w < end; w += step, a += 4) {
            const __m512i w0 = _mm512_loadu_si512(w);
            const __m512i w1 = vectors > 1 ? _mm512_loadu_si512(w + 64) : w0;
            const __m512i w2 = vectors > 2 ? _mm512_loadu_si512(w + 128) : w0;
            const __m512i w3 = vectors > 3 ? _mm512_loadu_si512(w + 192) : w0;
            EACH_ROW(ADD_TO)
        }
    }
    EACH_ROW(STORE)
}

#define RUN(r, v) static void run_##r##_##v(const block *b) { run(b, r, v); }
#define RUNS(r) RUN(r, 1) RUN(r, 2) RUN(r, 3) RUN(r, 4)
RUNS(1) RUNS(2) RUNS(3) RUNS(4) RUNS(5) RUNS(6)
#define ROW(r) {run_##r##_1, run_##r##_2, run_##r##_3, run_##r##_4}
static void (*const runs[ROWS][VECTORS])(const block *) = {ROW(1), ROW(2), ROW(3),
                                                           ROW(4), ROW(5), ROW(6)};

/* -128 times the sum of a row of a. */
static int32_t start_of(const int8_t *a, size_t k)
{
    const __m512i unsigned_128 = _mm512_set1_epi8(-128);
    __m512i sum = _mm512_setzero_si512();
    for (size_t l = 0; l < k; l += 64) {
        const __mmask64 some = k - l >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << (k - l)) - 1u;
        sum = _mm512_dpbusd_epi32(sum, unsigned_128, _mm512_maskz_loadu_epi8(some, a + l));
    }
    return -_mm512_reduce_add_epi32(sum);
}

/* Rows [i, i + rows) of a against all panels. */
static void rows_of(const qk_gemm *g, size_t i, size_t rows)
{
    const int8_t *a = g->a + i * g->lda;
    int8_t rest[4 * ROWS] = {0};
    int32_t start[ROWS];
    for (size_t r = 0; r < rows; r++) {
        start[r] = start_of(a + r * g->lda, g->k);
        memcpy(rest + 4 * r, a + r * g->lda + g->k / 4 * 4, g->k % 4);
    }
    for (size_t j = 0; j < g->n; j += QK_PANEL) {
        const size_t vectors = qk_panel_width(g, j) / 16;
        const uint8_t *w = qk_panel(g, j);
        const block b = {{{a, g->lda, w, g->k / 4},
                          {rest, 4, w + g->k / 4 * 64 * vectors, g->k % 4 != 0}},
                         g->c + i * g->ldc + j, g->ldc, start,
                         first_of_16(g->n - j - 16 * (vectors - 1))};
        runs[rows - 1][vectors - 1](&b);
    }
}

void qk_gemm_s8_avx512vnni(const qk_gemm *g)
{
    for (size_t i = 0; i < g->m; i += ROWS) {
        rows_of(g, i, g->m - i < ROWS ? g->m - i : ROWS);
    }
}

#endif
