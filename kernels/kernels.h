/* SPDX-License-Identifier: Apache-2.0 */
/* kernels.h - the hot loops: plain pointers, sizes, PODs. They allocate nothing and cannot fail.
 *
 * Everything here is private to the library; callers outside use <quant/quant.h>.
 *
 * Contract of all operations
 *   - n counts elements, never bytes; n = 0 is legal and touches nothing.
 *   - Inputs and outputs never overlap. No alignment is assumed. Nothing outside [0, n) is read
 *     or written; memory may be asked for lines behind n, a hint that cannot fault.
 *   - The scalar version (kernels/scalar_*.c) is the specification; every other level gives the
 *     same bytes for every input, NaN and infinities included where an operation admits them.
 *   - Arithmetic is IEEE binary32/64, round to nearest even, no contraction (a fused multiply-add
 *     only where the product is exact), subnormals kept.
 *
 * Reductions in floating point run over QK_LANES virtual lanes: element i is added to lane
 * i mod 64 in order of i, and the lanes are folded as a tree of halves:
 *     for (h = 32; h; h /= 2) for (j = 0; j < h; j++) lane[j] += lane[j + h];
 * A level may keep the lanes in any registers it likes; the additions are the same.
 */
#ifndef QUANT_KERNELS_H
#define QUANT_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QK_LANES 64

/* Parameters of one linear region: value = scale * (code - zero); scale >= 0 and finite.
 * lowest <= zero <= highest, all within [-128, 127]. scale = 0 encodes everything as zero. */
typedef struct qk_linear {
    float scale;
    int32_t zero;
    int32_t lowest, highest;
} qk_linear;

/* Energies of a reference w and its copy y, and the largest |w - y|. All sums in double over
 * QK_LANES lanes; differences are taken in double. For n = 0 all fields are zero. */
typedef struct qk_fidelity {
    double ref2;       /* sum of w^2 */
    double got2;       /* sum of y^2 */
    double dot;        /* sum of w*y */
    double err2;       /* sum of (w - y)^2 */
    double max_abs;    /* max |w - y| */
    size_t max_index;  /* its first index; 0 when n = 0 */
} qk_fidelity;

/* max |x|; 0 for n = 0. x must be finite. */
typedef float qk_absmax_fn(const float *x, size_t n);

/* Smallest and largest of finite x; for n = 0 both are 0. -0 and +0 compare equal; the zero that
 * is returned is always +0. */
typedef void qk_minmax_fn(const float *x, size_t n, float *lowest, float *highest);

/* Number of NaN and infinite elements; *first is the index of the first one (n when none). */
typedef size_t qk_nonfinite_fn(const float *x, size_t n, size_t *first);

/* codes[i] = clamp(rne(x[i] / p.scale) + p.zero, p.lowest, p.highest), an f32 division, as a
 * two's complement byte. Returns how many elements were clamped (unclamped code out of range).
 * x finite; the quotient may overflow to infinity, which clamps. scale = 0: codes = zero. */
typedef size_t qk_encode_linear_fn(const float *x, size_t n, qk_linear p, uint8_t *codes);

/* y[i] = p.scale * (float)(code - p.zero), one f32 product; codes are two's complement bytes.
 * scale = 0 or code = zero gives +0. */
typedef void qk_decode_linear_fn(const uint8_t *codes, size_t n, qk_linear p, float *y);

/* Sum over i of (x[i] - y[i])^2 in double over lanes, y being what encode_linear followed by
 * decode_linear would give. */
typedef double qk_sse_linear_fn(const float *x, size_t n, qk_linear p);

/* Many linear regions at once: block k is the elements [k * block, (k + 1) * block) of n, the last
 * one may be shorter. block >= 1; arrays by block have ceil(n / block) entries. */
typedef struct qk_blocks {
    size_t block;
    const float *scale;   /* of each block, as qk_linear */
    const int8_t *zero;   /* of each block; NULL: all are 0 */
    int32_t lowest, highest;
    const float *next;    /* what the caller reads next: a level may ask memory for as many floats
                             from here on; NULL: unknown. Never read */
} qk_blocks;

/* most[k] = max |x| of block k in the order of bit patterns, in which infinity is above all finite
 * numbers and NaN above infinity: most[k] is finite exactly when block k is. */
typedef void qk_absmax_blocks_fn(const float *x, size_t n, size_t block, float *most);

/* qk_minmax of each block. x finite. */
typedef void qk_minmax_blocks_fn(const float *x, size_t n, size_t block, float *lowest,
                                 float *highest);

/* qk_encode_linear of each block; returns the sum of what was clamped. */
typedef size_t qk_encode_blocks_fn(const float *x, size_t n, qk_blocks b, uint8_t *codes);

/* Blocks of 32 on 4-bit grids around zero, whose scales are kept as f16: what a block's scale is
 * made of. */
typedef struct qk_int4 {
    float steps;          /* scale = f16(max |x| / steps), rounded to nearest even */
    float least, most;    /* bounds of max |x| within which such a scale is a normal f16 */
    int32_t lowest, highest;
} qk_int4;
enum { QK_INT4_BLOCK = 32, QK_INT4_BATCH = 16 * QK_INT4_BLOCK };

/* From floats to what is kept of them, in one pass: scale[k] of block k, and its codes (those of
 * qk_encode_linear, packed) as 16 bytes of stream. Goes by batches of QK_INT4_BATCH elements and
 * stops before the first one that is not whole or has a block whose max |x| is not within
 * [least, most], as with NaN; nothing of it or behind it is written. Returns how many elements were
 * done; *outside: how many of them were clamped. A level may ask memory for floats behind x. */
typedef size_t qk_encode_int4_fn(const float *x, size_t n, qk_int4 g, uint16_t *scale,
                                 uint8_t *stream, size_t *outside);

/* qk_decode_linear of each block. */
typedef void qk_decode_blocks_fn(const uint8_t *codes, size_t n, qk_blocks b, float *y);

/* codes[i] = number of thresholds strictly below x[i]; thresholds ascending, m of them, m <= 255.
 * With threshold j = largest float <= (t_j + t_{j+1})/2 this is the index of the nearest table
 * entry, ties to the lower one. x finite. */
typedef void qk_assign_codebook_fn(const float *x, size_t n, const float *thresholds, size_t m,
                                   uint8_t *codes);

/* y[i] = table[codes[i]]; every code is below the table's length (256 at most). entries = 2^bits
 * is the table's length. */
typedef void qk_decode_codebook_fn(const uint8_t *codes, size_t n, const float *table,
                                   size_t entries, float *y);

/* Nearest entries of a table of vectors: codes[i] = the entry j of least
 *     d(i, j) = w[i][0] (x[i][0] - entry[j][0])^2 + w[i][1] (x[i][1] - entry[j][1])^2 + ...,
 * the lowest j of several, in double: the difference of two floats, then (w e) e, each rounded;
 * the terms are added in order. A vector whose w are all 0 counts them as 1, so that its code is
 * that of its nearest entry all the same. error[i], unless error is NULL, is d(i, codes[i]) with
 * the true w (so 0 where all are). x, entry and w finite, w >= 0; entries may repeat.
 *
 * A level may look at all entries in single precision first, as it likes, where what is left in
 * doubt is decided by the sums above. */
typedef struct qk_nearest {
    size_t dim;         /* 2 or 4 */
    size_t entries;     /* 1 .. 256 */
    const float *entry; /* [entries][dim] */
    const float *x;     /* [n][dim] */
    const float *w;     /* [n][dim]; NULL: all 1 */
} qk_nearest;
typedef void qk_nearest_fn(const qk_nearest *a, size_t n, uint8_t *codes, double *error);

/* Low `bits` (1..8) bits of each code as one stream, least significant bit first:
 * code i occupies stream bits [i*bits, (i+1)*bits), bit b of the stream is bit b%8 of byte b/8.
 * Writes exactly ceil(n*bits/8) bytes; the unused high bits of the last byte are zero. */
typedef void qk_pack_fn(const uint8_t *codes, size_t n, unsigned bits, uint8_t *stream);

/* Inverse of pack: reads exactly ceil(n*bits/8) bytes. _unsigned zero-extends each code to a byte,
 * _signed extends its top bit. */
typedef void qk_unpack_fn(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes);

/* stream_* are decode_*, *_to_f32 and (stream_f32) a copy that write past the caches: for results
 * that are larger than they are. Lines of 64 bytes are written whole where y lets them; a caller
 * whose y is not on such a line copies by stream_f32, which finds the lines. The stores are
 * weakly ordered: the caller ends with a fence (C11 seq_cst) before others may look.
 * y[i] = x[i]: */
typedef void qk_stream_fn(const float *x, size_t n, float *y);

/* stream_blocks of the codes that unpack_signed gives, stream_codebook of those of unpack_unsigned
 * with a table of 2^bits floats, without a buffer between: what was just stored is not read before
 * all that was stored before it, also past the caches, is gone. b.block is a multiple of 32. */
typedef void qk_stream_packed_fn(const uint8_t *stream, size_t n, unsigned bits, qk_blocks b,
                                 float *y);
typedef void qk_stream_looked_up_fn(const uint8_t *stream, size_t n, unsigned bits,
                                    const float *table, float *y);

/* IEEE binary16 or bfloat16 from binary32, ties to even, overflow to infinity, NaN becomes the
 * quiet NaN of that sign with payload 0 (0x7e00 / 0x7fc0 | sign). Subnormals are kept. */
typedef void qk_narrow16_fn(const float *x, size_t n, uint16_t *y);

/* Exact; NaN keeps sign and payload bits and becomes quiet. */
typedef void qk_widen16_fn(const uint16_t *x, size_t n, float *y);

/* A histogram of 16-bit floats by key: code + 2^15, or 2^16 - 1 - code when its sign bit is set, so
 * that keys ascend with values. It has the keys first .. first + keys - 1, all below 2^16. */
typedef struct qk_keys {
    uint32_t first, keys;
    uint32_t *count; /* of each key */
} qk_keys;

/* count[key of x[i] - first]++ for i = 0, 1, ..., a zero of either sign being +0, up to the first
 * x[i] that is not exactly such a float or whose key is not there; returns that i, n when there is
 * none. x finite. */
typedef size_t qk_count_keys_fn(const float *x, size_t n, qk_keys k);

typedef void qk_fidelity_fn(const float *ref, const float *got, size_t n, qk_fidelity *out);

/* Sum of x[i]*y[i], each product exact in double, over lanes. */
typedef double qk_dot_fn(const float *x, const float *y, size_t n);

/* Sum of x[i]*y[i] in single precision: products and lanes are floats. What a matrix of decoded
 * weights times a vector means, row by row. */
typedef float qk_dot_single_fn(const float *x, const float *y, size_t n);

/* Sum of x[i]*y[i], exact; n <= 131071, so that it fits. */
typedef int32_t qk_dot_s8_fn(const int8_t *x, const int8_t *y, size_t n);

/* Rows of 4-bit codes times a vector, for n rows of k weights, k even: row r begins at byte r k/2
 * of `codes`, weight 2i is the low half of its byte i. A weight's value is table[code], the code
 * taken as 0..15, times the scale of its block when there are scales: binary16, at any address, one
 * for each `block` weights of a row, ceil(k/block) a row; `block` is then a multiple of 32. */

/* y[r] = what dot_single gives for the values of row r, each rounded to a float, and x. x and the
 * table are finite. */
typedef struct qk_gemv4_f32 {
    const uint8_t *codes;
    const float *table; /* [16] */
    const void *scale;  /* NULL: none */
    size_t block, n, k;
    const float *x;     /* [k] */
    float *y;           /* [n] */
} qk_gemv4_f32;
typedef void qk_gemv4_f32_fn(const qk_gemv4_f32 *g);

/* With integers: sum_b = sum over block b of table[code] * x[i], exact, and over lanes in double
 *     y[r] = (float) sum over b of (s_rb * x_scale[b * x_step]) * sum_b,
 * s_rb the binary16 scale, or one_scale for all when there are none. k <= 131071, so that sum_b
 * fits int32; block >= k makes a row one block. */
typedef struct qk_gemv4_s8 {
    const uint8_t *codes;
    const int8_t *table;  /* [16] */
    const void *scale;    /* NULL: one_scale */
    float one_scale;
    size_t block, n, k;
    const int8_t *x;      /* [k] */
    const float *x_scale; /* one (x_step 0) or one for each block (x_step 1) */
    size_t x_step;
    float *y;             /* [n] */
} qk_gemv4_s8;
typedef void qk_gemv4_s8_fn(const qk_gemv4_s8 *g);

/* Blocks of a row; k = 0 has none. */
static inline size_t qk_blocks_of(size_t k, size_t block)
{
    return k / block + (k % block != 0);
}

/* Weights of an integer product as panels of QK_PANEL rows: panel p holds rows [p QK_PANEL, ...),
 * of which the last may have fewer; its width v is their number rounded up to a multiple of 16.
 * Inside a panel the bytes of four consecutive l stand together, row by row:
 *     byte ((l / 4) v + r) 4 + l % 4  is  w[row r][l] + 128  (unsigned);
 * places without a weight (l >= k, r past the last row) hold 0. A panel has 4 v ceil(k/4) bytes;
 * the next one follows directly. */
enum { QK_PANEL = 64 };

/* c[i][j] = sum over l < k of a[i][l] * w[j][l], i < m, j < n. a has rows of k bytes, lda apart, c
 * rows of n, ldc apart; panels begins with the panel of row 0. k <= 131071, so that the sum fits;
 * levels may go through other sums modulo 2^32. m or n = 0 touches nothing; k = 0 gives zeros. */
typedef struct qk_gemm {
    const int8_t *a;
    const uint8_t *panels;
    int32_t *c;
    size_t m, n, k, lda, ldc;
} qk_gemm;
typedef void qk_gemm_s8_fn(const qk_gemm *g);

/* Last links of cheapest paths (quant/kmeans1d_path.c). The nodes row .. row + rows - 1 are reached
 * from the nodes i of [low, row), low < row, node t from i at
 *     reach(i, t) = g[i] - (s[t] - s[i])^2 / (w[t] - w[i]),
 * w strictly ascending, all finite, no overflow. w and s have entries up to the last row, g up to
 * row; entries below low are not read. For the row at distance r: from[r] is the predecessor that
 * is taken and best[r] what it reaches at, a zero being +0. rows is 1 or a power of two from 4 on;
 * 0 touches nothing.
 *
 * Each row takes the first of the cheapest among these: the last row all of [low, row); then, as
 * distances halve down to 4, the row midway between two rows of known predecessors those from the
 * one's to the other's, ends included (before the first row: low); at last each four rows those
 * from the fourth's of the four before to their own fourth's. Where the reach obeys the quadrangle
 * inequality reach(a,c) + reach(b,d) <= reach(a,d) + reach(b,c), a < b < c < d, predecessors ascend
 * with the rows, and this is the cheapest of all. */
typedef struct qk_links {
    const double *w, *s, *g;
    size_t low, row;
} qk_links;
typedef void qk_links_fn(const qk_links *a, size_t rows, double *best, uint32_t *from);

/* One row of function pointers a level. `name` is what QUANT_ISA accepts. */
typedef struct qk_table {
    const char *name;
#define QK_OP(op, cls) qk_##cls##_fn *op;
#include "kernels/kernels.def"
#undef QK_OP
} qk_table;

/* Levels in ascending order; of one processor's levels each includes the ones before it, and all
 * include scalar. A level that this build or this processor lacks has no table. */
typedef enum qk_isa {
    QK_SCALAR,
    QK_NEON,       /* AArch64, of which Advanced SIMD is a part */
    QK_AVX2,       /* AVX2, F16C */
    QK_AVX512,     /* AVX-512 F, BW, DQ, VL */
    QK_AVX512VNNI, /* and VNNI: sums of byte products */
    QK_AVX512VBMI, /* and VBMI, VBMI2: permutations of bytes */
    QK_ISA_COUNT
} qk_isa;

/* The table in use: the highest level the processor has, capped by the environment variable
 * QUANT_ISA (read once, thread-safe; an unknown word, or a level of other processors, means
 * scalar). */
const qk_table *qk(void);

/* The table of one level with the levels below filling its gaps; NULL when it cannot run here. */
const qk_table *qk_table_for(qk_isa level);
const char *qk_isa_name(qk_isa level);

/* A level's own overrides, called by dispatch.c only: false when the build has none of them. */
#define QK_OP(op, cls) qk_##cls##_fn qk_##op##_scalar;
#include "kernels/kernels.def"
#undef QK_OP
bool qk_override_neon(qk_table *t);
bool qk_override_avx2(qk_table *t);
bool qk_override_avx512(qk_table *t);
bool qk_override_avx512vnni(qk_table *t);
bool qk_override_avx512vbmi(qk_table *t);

#endif
