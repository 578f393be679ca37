/* SPDX-License-Identifier: Apache-2.0 */
/* avx512_gemm.c - int8 products by vpmaddwd: 16-bit pairs, whose sums of two products are exact.
 *
 * A group of four bytes is two pairs of 16-bit numbers, (0, 2) and (1, 3): what remains of its two
 * 16-bit words after a shift down by 8, and what a mask of the low byte leaves. Weights stay
 * unsigned (w + 128 <= 255); with |a| <= 128 two products sum to at most 65280. Each accumulator
 * begins at -128 times its row's sum of a. */
#include <string.h>

#include "kernels/avx512.h"
#include "kernels/panels.h"

#if defined(QK_HAS_AVX512)

enum { ROWS = 8, DEPTH = 1024, PAIRS = DEPTH / 4 };

/* Up to DEPTH columns of up to ROWS rows of a: pairs (0, 2) and (1, 3) of each group. */
typedef struct rows_of_a {
    int32_t even[ROWS][PAIRS], odd[ROWS][PAIRS];
    int32_t start[ROWS];
    size_t groups;
} rows_of_a;

static void widen_row(rows_of_a *x, size_t r, const int8_t *a, size_t k)
{
    const __m512i ones = _mm512_set1_epi16(1);
    __m512i sum = _mm512_setzero_si512();
    for (size_t l = 0; l < k; l += 64) {
        const __mmask64 some = k - l >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << (k - l)) - 1u;
        const __m512i v = _mm512_maskz_loadu_epi8(some, a + l);
        const __m512i even = _mm512_srai_epi16(_mm512_slli_epi16(v, 8), 8);
        const __m512i odd = _mm512_srai_epi16(v, 8);
        _mm512_storeu_si512(x->even[r] + l / 4, even);
        _mm512_storeu_si512(x->odd[r] + l / 4, odd);
        sum = _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_add_epi16(even, odd), ones));
    }
    x->start[r] = -128 * _mm512_reduce_add_epi32(sum);
}

/* Sums have names, not indices: compilers keep named ones in registers. rows and vectors are
 * constants of each caller. */
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#define SUM_OF(r)                                                                   \
    __m512i s##r##0 = _mm512_set1_epi32(r < rows ? x->start[r] : 0), s##r##1 = s##r##0;
#define ADD_TO(r)                                                                   \
    if (r < rows) {                                                                 \
        const __m512i e = _mm512_set1_epi32(x->even[r][l]);                         \
        const __m512i o = _mm512_set1_epi32(x->odd[r][l]);                          \
        s##r##0 = _mm512_add_epi32(s##r##0, _mm512_madd_epi16(e0, e));              \
        s##r##0 = _mm512_add_epi32(s##r##0, _mm512_madd_epi16(o0, o));              \
        if (vectors > 1) {                                                          \
            s##r##1 = _mm512_add_epi32(s##r##1, _mm512_madd_epi16(e1, e));          \
            s##r##1 = _mm512_add_epi32(s##r##1, _mm512_madd_epi16(o1, o));          \
        }                                                                           \
    }
#define STORE(r)                                                                    \
    if (r < rows) {                                                                 \
        add_or_set(c + (size_t)r * ldc, s##r##0, vectors > 1 ? all : last, more);   \
        if (vectors > 1) {                                                          \
            add_or_set(c + (size_t)r * ldc + 16, s##r##1, last, more);              \
        }                                                                           \
    }

static inline void add_or_set(int32_t *c, __m512i sum, __mmask16 some, bool more)
{
    const __m512i before = more ? _mm512_maskz_loadu_epi32(some, c) : _mm512_setzero_si512();
    _mm512_mask_storeu_epi32(c, some, _mm512_add_epi32(before, sum));
}

/* Where a run of one or two registers of columns reads and writes. */
typedef struct place {
    const uint8_t *w;
    size_t step; /* bytes from a group to the next */
    int32_t *c;
    size_t ldc;
    __mmask16 last;
    bool more;   /* c holds the sum over earlier columns of a */
} place;

static inline __attribute__((always_inline)) void run(const rows_of_a *x, const place *p,
                                                      const int rows, const int vectors)
{
    const __m512i low = _mm512_set1_epi16(0xff);
    const __mmask16 all = 0xffff, last = p->last;
    const uint8_t *w = p->w;
    int32_t *c = p->c;
    const size_t ldc = p->ldc, step = p->step;
    const bool more = p->more;
    EACH_ROW(SUM_OF)
    for (size_t l = 0; l < x->groups; l++, w += step) {
        const __m512i w0 = _mm512_loadu_si512(w);
        const __m512i w1 = vectors > 1 ? _mm512_loadu_si512(w + 64) : w0;
        const __m512i e0 = _mm512_and_si512(w0, low), o0 = _mm512_srli_epi16(w0, 8);
        const __m512i e1 = _mm512_and_si512(w1, low), o1 = _mm512_srli_epi16(w1, 8);
        EACH_ROW(ADD_TO)
    }
    EACH_ROW(STORE)
}

#define RUN(r) \
    static void run_##r##_1(const rows_of_a *x, const place *p) { run(x, p, r, 1); } \
    static void run_##r##_2(const rows_of_a *x, const place *p) { run(x, p, r, 2); }
RUN(1) RUN(2) RUN(3) RUN(4) RUN(5) RUN(6) RUN(7) RUN(8)
#define PAIR(r) {run_##r##_1, run_##r##_2}
static void (*const runs[ROWS][2])(const rows_of_a *, const place *) = {
    PAIR(1), PAIR(2), PAIR(3), PAIR(4), PAIR(5), PAIR(6), PAIR(7), PAIR(8)};

/* Rows [i, i + rows) and columns [l, l + DEPTH) of a against all panels. */
static void rows_times_panels(const qk_gemm *g, const rows_of_a *x, size_t i, size_t rows, size_t l)
{
    for (size_t j = 0; j < g->n; j += 32) {
        const size_t first = j - j % QK_PANEL, width = qk_panel_width(g, first);
        const size_t vectors = j % QK_PANEL + 16 < width ? 2 : 1;
        const place p = {qk_panel(g, first) + l * width + 4 * (j % QK_PANEL), 4 * width,
                         g->c + i * g->ldc + j, g->ldc, first_of_16(g->n - j - 16 * (vectors - 1)),
                         l > 0};
        runs[rows - 1][vectors - 1](x, &p);
    }
}

void qk_gemm_s8_avx512(const qk_gemm *g)
{
    rows_of_a x;
    for (size_t i = 0; i < g->m; i += ROWS) {
        const size_t rows = g->m - i < ROWS ? g->m - i : ROWS;
        size_t l = 0;
        do {
            const size_t depth = g->k - l < DEPTH ? g->k - l : DEPTH;
            x.groups = qk_gemm_groups(depth);
            for (size_t r = 0; r < rows; r++) {
                widen_row(&x, r, g->a + (i + r) * g->lda + l, depth);
            }
            rows_times_panels(g, &x, i, rows, l);
            l += DEPTH;
        } while (l < g->k);
    }
}

#endif
