/* SPDX-License-Identifier: Apache-2.0 */
/* gemm.c - exact products of 8-bit matrices: packing, tiles, dequantization.
 *
 * A packed matrix is a header of 64 bytes, the sums of its rows (4 bytes each, padded to 64), and
 * the panels of kernels/kernels.h. */
#include "quant/gemm.h"

#include <math.h>
#include <string.h>

#include "kernels/panels.h"
#include "kernels/kernels.h"
#include "quant/internal.h"

/* Tiles have at most TILE_ROWS rows, and weights of about TILE_BYTES, which a second-level cache
 * holds while the rows pass; FEW rows pass at once, and then only the tasks of threads matter. */
enum { HEAD = 64, TILE_ROWS = 96, TILE_BYTES = 1 << 19, FEW = 6, FEW_COLUMNS = 16 * QK_PANEL };

static const char magic[16] = "quant.gemm_s8/1";

typedef struct head {
    char magic[16];
    uint64_t n, k;
} head;

/* A packed matrix taken apart, or the places where one is to be written. */
typedef struct parts {
    size_t n, k, sums, panels, bytes; /* offsets and total */
} parts;

static quant_status lay_out(quant_context *ctx, size_t n, size_t k, parts *p)
{
    if (k > QUANT_GEMM_MAX_K) {
        return quant_fail(ctx, QUANT_ERANGE,
                          "inner dimension: expected at most %d so that int32 cannot overflow, "
                          "found %zu", QUANT_GEMM_MAX_K, k);
    }
    size_t row = 4 * qk_gemm_groups(k) + sizeof(int32_t);
    if (n > (SIZE_MAX >> 2) / row - 128) { /* 16 rows more by padding, and 128 bytes */
        return quant_fail(ctx, QUANT_EOVERFLOW, "packed size: %zu rows of %zu do not fit", n, k);
    }
    *p = (parts){n, k, HEAD, HEAD + (n * sizeof(int32_t) + 63) / 64 * 64, 0};
    p->bytes = p->panels + (n + 15) / 16 * 16 * 4 * qk_gemm_groups(k);
    return QUANT_OK;
}

quant_status quant_gemm_s8_layout(quant_context *ctx, size_t n, size_t k, size_t *bytes)
{
    parts p;
    if (!bytes) {
        return quant_fail(ctx, QUANT_EINVAL, "bytes: expected a pointer, found NULL");
    }
    QUANT_TRY(lay_out(ctx, n, k, &p));
    *bytes = p.bytes;
    return QUANT_OK;
}

/* Row j of the weights into its panel; its sum. */
static int32_t pack_row(const parts *p, size_t j, const int8_t *w, uint8_t *panels)
{
    const size_t groups = qk_gemm_groups(p->k), first = j - j % QK_PANEL;
    const size_t width = qk_width_of(p->n - first < QK_PANEL ? p->n - first : QK_PANEL);
    uint8_t *to = panels + first * 4 * groups + 4 * (j % QK_PANEL);
    int32_t sum = 0;
    for (size_t l = 0; l < p->k; l++) {
        to[l / 4 * width * 4 + l % 4] = (uint8_t)(w[l] + 128);
        sum += w[l];
    }
    return sum;
}

quant_status quant_gemm_s8_pack(quant_context *ctx, size_t n, size_t k, const int8_t *w,
                                void *packed, size_t capacity)
{
    parts p;
    QUANT_TRY(lay_out(ctx, n, k, &p));
    if (!packed || (n && k && !w)) {
        return quant_fail(ctx, QUANT_EINVAL, "w, packed: expected pointers, found NULL");
    }
    if (capacity < p.bytes) {
        return quant_fail(ctx, QUANT_ESIZE, "packed: expected room for %zu bytes, found %zu",
                          p.bytes, capacity);
    }
    uint8_t *to = packed;
    head h = {{0}, n, k};
    memcpy(h.magic, magic, sizeof h.magic);
    memset(to, 0, p.bytes);
    memcpy(to, &h, sizeof h);
    for (size_t j = 0; j < n; j++) {
        int32_t sum = pack_row(&p, j, w + j * k, to + p.panels);
        memcpy(to + p.sums + j * sizeof sum, &sum, sizeof sum);
    }
    return QUANT_OK;
}

static quant_status open_packed(quant_context *ctx, size_t m, const void *packed, size_t bytes,
                                parts *p)
{
    head h;
    if (!packed) {
        return quant_fail(ctx, QUANT_EINVAL, "packed: expected a pointer, found NULL");
    }
    if (bytes < HEAD) {
        return quant_fail(ctx, QUANT_ESIZE, "packed: expected at least %d bytes, found %zu", HEAD,
                          bytes);
    }
    memcpy(&h, packed, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0) {
        return quant_fail(ctx, QUANT_EMAGIC,
                          "packed: expected a matrix of quant_gemm_s8_pack, found other bytes");
    }
    QUANT_TRY(lay_out(ctx, (size_t)h.n, (size_t)h.k, p));
    if (bytes < p->bytes) {
        return quant_fail(ctx, QUANT_ESIZE, "packed: expected %zu bytes for %zu x %zu, found %zu",
                          p->bytes, p->n, p->k, bytes);
    }
    size_t longer = p->n > p->k ? p->n : p->k;
    if (longer && m > (SIZE_MAX >> 3) / longer) {
        return quant_fail(ctx, QUANT_EOVERFLOW, "product: %zu rows of %zu do not fit", m, longer);
    }
    return QUANT_OK;
}

/* A product cut into tiles; how it is cut depends on its shape alone. */
typedef struct product {
    parts p;
    size_t m;
    const int8_t *a;
    const uint8_t *packed;
    int32_t *c;                      /* NULL: y, through scales */
    const quant_gemm_scales *scales;
    const int64_t *a_sum;            /* of each row of a; NULL: not needed */
    float *y;
} product;

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int32_t w_sum(const product *g, size_t j)
{
    int32_t sum;
    memcpy(&sum, g->packed + g->p.sums + j * sizeof sum, sizeof sum);
    return sum;
}

/* Row i of y, columns [j, j + n), from their integer sums. */
static void dequantize(const product *g, size_t i, size_t j, size_t n, const int32_t *c)
{
    const quant_gemm_scales *s = g->scales;
    const size_t ai = s->a_rows == 1 ? 0 : i;
    const double a_scale = (double)s->a_scale[ai];
    const int64_t a_zero = s->a_zero ? s->a_zero[ai] : 0, k = (int64_t)g->p.k;
    for (size_t t = 0; t < n; t++) {
        const size_t wj = s->w_rows == 1 ? 0 : j + t;
        int64_t sum = c[t];
        if (a_zero) {
            sum -= a_zero * w_sum(g, j + t);
        }
        if (s->w_zero) {
            sum += s->w_zero[wj] * (k * a_zero - g->a_sum[i]);
        }
        g->y[i * g->p.n + j + t] = (float)(a_scale * (double)s->w_scale[wj] * (double)sum);
    }
}

static void run_tile(const product *g, size_t i, size_t m, size_t j, size_t n)
{
    qk_gemm t = {g->a + i * g->p.k, g->packed + g->p.panels + j * 4 * qk_gemm_groups(g->p.k),
                 NULL, m, n, g->p.k, g->p.k, g->p.n};
    if (g->c) {
        t.c = g->c + i * g->p.n + j;
        qk()->gemm_s8(&t);
        return;
    }
    int32_t c[TILE_ROWS * QK_PANEL];
    const size_t at_once = TILE_ROWS / m * QK_PANEL;
    t.c = c;
    for (; n > 0; n -= t.n, j += t.n) {
        t.n = t.ldc = min_size(n, at_once);
        t.panels = g->packed + g->p.panels + j * 4 * qk_gemm_groups(g->p.k);
        qk()->gemm_s8(&t);
        for (size_t r = 0; r < m; r++) {
            dequantize(g, i + r, j, t.n, c + r * t.ldc);
        }
    }
}

/* Columns of a tile, whole panels; the shape alone decides. */
static size_t tile_columns(const product *g)
{
    const size_t panel = QK_PANEL * 4 * qk_gemm_groups(g->p.k);
    if (g->m <= FEW) {
        return FEW_COLUMNS;
    }
    return QK_PANEL * (panel < TILE_BYTES ? TILE_BYTES / (panel + 1) + 1 : 1);
}

static void run(const product *g, int threads)
{
    const size_t columns = tile_columns(g);
    const size_t down = g->m / TILE_ROWS + (g->m % TILE_ROWS != 0);
    const size_t across = g->p.n / columns + (g->p.n % columns != 0);
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t t = 0; t < (int64_t)(down * across); t++) {
        const size_t i = (size_t)t % down * TILE_ROWS, j = (size_t)t / down * columns;
        run_tile(g, i, min_size(TILE_ROWS, g->m - i), j, min_size(columns, g->p.n - j));
    }
}

/* Below some 2^20 multiplications waking a team costs more than it saves. */
static int threads_for(quant_context *ctx, const product *g)
{
    double work = (double)g->m * (double)g->p.n * (double)g->p.k;
    return work < 0x1p20 ? 1 : quant_context_threads(ctx);
}

quant_status quant_gemm_s8(quant_context *ctx, size_t m, const int8_t *a, const void *packed,
                           size_t bytes, int32_t *c)
{
    product g = {.m = m, .a = a ? a : packed, .packed = packed, .c = c};
    QUANT_TRY(open_packed(ctx, m, packed, bytes, &g.p));
    if (m == 0 || g.p.n == 0) {
        return QUANT_OK;
    }
    if (!c || (g.p.k && !a)) {
        return quant_fail(ctx, QUANT_EINVAL, "a, c: expected pointers, found NULL");
    }
    run(&g, threads_for(ctx, &g));
    return QUANT_OK;
}

static quant_status check_side(quant_context *ctx, const char *name, const float *scale,
                               size_t found, size_t rows)
{
    if (!scale) {
        return quant_fail(ctx, QUANT_EINVAL, "%s_scale: expected a pointer, found NULL", name);
    }
    if (found != 1 && found != rows) {
        return quant_fail(ctx, QUANT_ESHAPE, "%s_rows: expected 1 or %zu, found %zu", name, rows,
                          found);
    }
    for (size_t i = 0; i < found; i++) {
        if (!isfinite(scale[i])) {
            return quant_fail(ctx, QUANT_ENONFINITE, "%s_scale[%zu]: expected finite, found %g",
                              name, i, (double)scale[i]);
        }
    }
    return QUANT_OK;
}

static void sum_rows(const product *g, int64_t *sums)
{
    for (size_t i = 0; i < g->m; i++) {
        int64_t sum = 0;
        for (size_t l = 0; l < g->p.k; l++) {
            sum += g->a[i * g->p.k + l];
        }
        sums[i] = sum;
    }
}

quant_status quant_gemm_s8_f32(quant_context *ctx, size_t m, const int8_t *a, const void *packed,
                               size_t bytes, const quant_gemm_scales *scales, float *y)
{
    product g = {.m = m, .a = a ? a : packed, .packed = packed, .scales = scales, .y = y};
    int64_t *sums = NULL;
    QUANT_TRY(open_packed(ctx, m, packed, bytes, &g.p));
    if (m == 0 || g.p.n == 0) {
        return QUANT_OK;
    }
    if (!scales || !y || (g.p.k && !a)) {
        return quant_fail(ctx, QUANT_EINVAL, "a, scales, y: expected pointers, found NULL");
    }
    QUANT_TRY(check_side(ctx, "a", scales->a_scale, scales->a_rows, m));
    QUANT_TRY(check_side(ctx, "w", scales->w_scale, scales->w_rows, g.p.n));
    if (scales->w_zero) {
        if (!(sums = quant_alloc(ctx, m, sizeof *sums))) {
            return QUANT_ENOMEM;
        }
        sum_rows(&g, sums);
        g.a_sum = sums;
    }
    run(&g, threads_for(ctx, &g));
    quant_release(ctx, sums, m, sizeof *sums);
    return QUANT_OK;
}
