/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_gemm.c - int8 products by vpmaddwd: 16-bit pairs, whose sums of two products are exact.
 *
 * vpmaddubsw would take bytes as they are, but it saturates: two products of an unsigned byte up to
 * 255 and a signed one pass 32767. So a group of four bytes becomes two pairs of 16-bit numbers,
 * (0, 2) and (1, 3). Weights stay unsigned (w + 128 <= 255); with |a| <= 128 two products sum to at
 * most 65280. Each accumulator begins at -128 times its row's sum of a. */
#include <string.h>

#include "kernels/avx2.h"
#include "kernels/panels.h"

#if defined(QK_HAS_AVX2)

enum { ROWS = 4, DEPTH = 1024, PAIRS = DEPTH / 4, COLUMNS = 16 };

/* Up to DEPTH columns of up to ROWS rows of a: pairs (0, 2) and (1, 3) of each group. */
typedef struct rows_of_a {
    int32_t even[ROWS][PAIRS], odd[ROWS][PAIRS];
    int32_t start[ROWS];
    size_t groups;
} rows_of_a;

static void widen_row(rows_of_a *x, size_t r, const int8_t *a, size_t k)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sum = _mm256_setzero_si256();
    for (size_t l = 0; l < k; l += 32) {
        int8_t rest[32] = {0};
        const int8_t *from = a + l;
        if (k - l < 32) {
            from = memcpy(rest, a + l, k - l);
        }
        const __m256i v = load_bytes(from);
        const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8);
        const __m256i odd = _mm256_srai_epi16(v, 8);
        store_bytes(x->even[r] + l / 4, even);
        store_bytes(x->odd[r] + l / 4, odd);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_add_epi16(even, odd), ones));
    }
    int32_t part[8], total = 0;
    store_bytes(part, sum);
    for (int i = 0; i < 8; i++) {
        total += part[i];
    }
    x->start[r] = -128 * total;
}

/* Sums have names, not indices: compilers keep named ones in registers. rows is a constant of each
 * caller. */
#define EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3)
#define SUM_OF(r)                                                                   \
    __m256i s##r##0 = _mm256_set1_epi32(r < rows ? x->start[r] : 0), s##r##1 = s##r##0;
#define ADD_TO(r)                                                                   \
    if (r < rows) {                                                                 \
        const __m256i e = _mm256_set1_epi32(x->even[r][l]);                         \
        const __m256i o = _mm256_set1_epi32(x->odd[r][l]);                          \
        s##r##0 = _mm256_add_epi32(s##r##0, _mm256_madd_epi16(e0, e));              \
        s##r##1 = _mm256_add_epi32(s##r##1, _mm256_madd_epi16(e1, e));              \
        s##r##0 = _mm256_add_epi32(s##r##0, _mm256_madd_epi16(o0, o));              \
        s##r##1 = _mm256_add_epi32(s##r##1, _mm256_madd_epi16(o1, o));              \
    }
#define STORE(r)                                                                    \
    if (r < rows) {                                                                 \
        store_bytes(sums[r], s##r##0);                                              \
        store_bytes(sums[r] + 8, s##r##1);                                          \
    }

/* `rows` rows of a times COLUMNS columns whose groups stand `step` bytes apart. */
static inline __attribute__((always_inline)) void run(const rows_of_a *x, const uint8_t *w,
                                                      size_t step, int32_t sums[ROWS][COLUMNS],
                                                      const int rows)
{
    const __m256i low = _mm256_set1_epi16(0xff);
    EACH_ROW(SUM_OF)
    for (size_t l = 0; l < x->groups; l++, w += step) {
        const __m256i w0 = load_bytes(w), w1 = load_bytes(w + 32);
        const __m256i e0 = _mm256_and_si256(w0, low), o0 = _mm256_srli_epi16(w0, 8);
        const __m256i e1 = _mm256_and_si256(w1, low), o1 = _mm256_srli_epi16(w1, 8);
        EACH_ROW(ADD_TO)
    }
    EACH_ROW(STORE)
}

#define RUN(r)                                                              \
    static void run_##r(const rows_of_a *x, const uint8_t *w, size_t step,  \
                        int32_t sums[ROWS][COLUMNS])                        \
    {                                                                       \
        run(x, w, step, sums, r);                                           \
    }
RUN(1) RUN(2) RUN(3) RUN(4)
static void (*const runs[ROWS])(const rows_of_a *, const uint8_t *, size_t,
                                int32_t (*)[COLUMNS]) = {run_1, run_2, run_3, run_4};

/* Rows [i, i + rows) and columns [l, l + DEPTH) of a against all panels; c holds the sum over
 * earlier columns. */
static void rows_times_panels(const qk_gemm *g, const rows_of_a *x, size_t i, size_t rows, size_t l)
{
    int32_t sums[ROWS][COLUMNS];
    for (size_t j = 0; j < g->n; j += COLUMNS) {
        const size_t first = j - j % QK_PANEL, width = qk_panel_width(g, first);
        const size_t columns = g->n - j < COLUMNS ? g->n - j : COLUMNS;
        const uint8_t *w = qk_panel(g, first) + l * width + 4 * (j - first);
        runs[rows - 1](x, w, 4 * width, sums);
        for (size_t r = 0; r < rows; r++) {
            int32_t *c = g->c + (i + r) * g->ldc + j;
            for (size_t t = 0; t < columns; t++) {
                c[t] = (int32_t)((uint32_t)sums[r][t] + (l > 0 ? (uint32_t)c[t] : 0u));
            }
        }
    }
}

void qk_gemm_s8_avx2(const qk_gemm *g)
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
