/* SPDX-License-Identifier: GPL-3.0-or-later */
/* judge_kernels.c - one judge per signature class; each tests every operation of its class.
 *
 * A line in kernels.def whose class has no judge here does not compile. */
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/judge_parts.h"

judge_room want_room, got_room;
static const char *op_name, *level_name;

/* A fault at the edge page says which operation read past its end, then dies as usual. */
static void on_fault(int signal_number)
{
    static const char *const words[] = {"\n    judge: outside of its input: "};
    ssize_t ignored = write(STDERR_FILENO, words[0], strlen(words[0]));
    ignored += write(STDERR_FILENO, op_name, strlen(op_name));
    ignored += write(STDERR_FILENO, " ", 1) + write(STDERR_FILENO, level_name, strlen(level_name));
    ignored += write(STDERR_FILENO, "\n", 1);
    (void)ignored;
    signal(signal_number, SIG_DFL);
}

static void fault(judge_case *c, const char *detail, size_t at, const char *what)
{
    c->faults++;
    snprintf(c->text, sizeof c->text, "%s %s n %zu fill %s seed %llu shift %zu, %s: %s at byte %zu",
             op_name, level_name, c->n, judge_fill_name(c->fill), (unsigned long long)c->seed,
             c->shift, detail, what, at);
    if (!c->quiet && c->faults <= 5) {
        printf("\n    %s\n", c->text);
    }
}

void compare_rooms(judge_case *c, const char *detail)
{
    size_t at = judge_first_mismatch(want_room.at, got_room.at, want_room.bytes);
    if (at < want_room.bytes) {
        fault(c, detail, at, "differs from scalar");
    }
    if (!judge_room_intact(&want_room) || !judge_room_intact(&got_room)) {
        fault(c, detail, want_room.bytes, "wrote outside of its output");
    }
}

void compare_values(judge_case *c, const char *detail, const void *want, const void *got,
                    size_t bytes)
{
    size_t at = judge_first_mismatch(want, got, bytes);
    if (at < bytes) {
        fault(c, detail, at, "value differs from scalar");
    }
}

void open_rooms(size_t bytes, size_t shift)
{
    judge_room_open(&want_room, bytes, shift);
    judge_room_open(&got_room, bytes, shift);
}

const float *floats(const judge_case *c, int place, bool finite)
{
    static float x[MOST];
    int fill = finite && c->fill == JUDGE_NONFINITE ? JUDGE_OUTLIERS : c->fill;
    judge_fill(x, c->n, fill, c->seed + (uint64_t)place * 1000003u);
    return judge_edge(place, x, c->n * sizeof *x);
}

const uint8_t *bytes_of(const judge_case *c, size_t n, uint8_t mask)
{
    static uint8_t b[2 * MOST];
    judge_fill_bytes(b, n, c->seed);
    for (size_t i = 0; i < n; i++) {
        b[i] &= mask;
    }
    return judge_edge(2, b, n);
}

static void judge_absmax(qk_absmax_fn *want, qk_absmax_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, true);
    float w = want(x, c->n), g = got(x, c->n);
    compare_values(c, "maximum", &w, &g, sizeof w);
}

static void judge_minmax(qk_minmax_fn *want, qk_minmax_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, true);
    float w[2], g[2] = {NAN, NAN};
    want(x, c->n, &w[0], &w[1]);
    got(x, c->n, &g[0], &g[1]);
    compare_values(c, "extremes", w, g, sizeof w);
}

static void judge_nonfinite(qk_nonfinite_fn *want, qk_nonfinite_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, false);
    size_t w[2], g[2] = {~(size_t)0, ~(size_t)0};
    w[0] = want(x, c->n, &w[1]);
    g[0] = got(x, c->n, &g[1]);
    compare_values(c, "count and first", w, g, sizeof w);
}

static float largest(const float *x, size_t n)
{
    float most = 0.0f;
    for (size_t i = 0; i < n; i++) {
        most = fmaxf(most, fabsf(x[i]));
    }
    return most;
}

bool grid(const judge_case *c, const float *x, unsigned k, qk_linear *p)
{
    static const int ranges[][3] = {{0, -127, 127}, {0, -128, 127}, {-3, -8, 7}, {1, -2, 1},
                                    {-128, -128, 127}, {127, -128, 127}, {0, -7, 7}};
    enum { RANGES = sizeof ranges / sizeof *ranges, SCALES = 7 };
    float most = largest(x, c->n);
    const float scales[SCALES] = {most / 127.0f, most / 7.0f, 1.0f, most / 70.0f, 0.0f,
                                  FLT_TRUE_MIN, FLT_MAX};
    const int *r = ranges[(k + c->n) % RANGES];
    *p = (qk_linear){scales[k % SCALES], r[0], r[1], r[2]};
    return k < SCALES;
}

static void name_grid(char text[80], qk_linear p)
{
    snprintf(text, 80, "scale %a zero %d in %d..%d", (double)p.scale, p.zero, p.lowest, p.highest);
}

static void judge_encode_linear(qk_encode_linear_fn *want, qk_encode_linear_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, true);
    qk_linear p;
    for (unsigned k = 0; grid(c, x, k, &p); k++) {
        char text[80];
        name_grid(text, p);
        open_rooms(c->n, c->shift);
        size_t w = want(x, c->n, p, want_room.at), g = got(x, c->n, p, got_room.at);
        compare_rooms(c, text);
        compare_values(c, text, &w, &g, sizeof w);
    }
}

static void judge_decode_linear(qk_decode_linear_fn *want, qk_decode_linear_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, true);
    const uint8_t *codes = bytes_of(c, c->n, 0xff);
    qk_linear p;
    for (unsigned k = 0; grid(c, x, k, &p); k++) {
        char text[80];
        name_grid(text, p);
        open_rooms(c->n * sizeof(float), c->shift * sizeof(float));
        want(codes, c->n, p, (float *)(void *)want_room.at);
        got(codes, c->n, p, (float *)(void *)got_room.at);
        compare_rooms(c, text);
    }
}

static void judge_sse_linear(qk_sse_linear_fn *want, qk_sse_linear_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, true);
    qk_linear p;
    for (unsigned k = 0; grid(c, x, k, &p); k++) {
        char text[80];
        name_grid(text, p);
        double w = want(x, c->n, p), g = got(x, c->n, p);
        compare_values(c, text, &w, &g, sizeof w);
    }
}

/* Table sizes at every edge of what a level may treat apart. */
static const size_t table_sizes[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 32, 64, 65, 128, 255, 256};
enum { TABLE_SIZES = sizeof table_sizes / sizeof *table_sizes };

static void judge_assign_codebook(qk_assign_codebook_fn *want, qk_assign_codebook_fn *got,
                                  judge_case *c)
{
    const float *x = floats(c, 0, true);
    for (int k = 0; k < TABLE_SIZES; k++) {
        size_t m = table_sizes[k] - 1;
        float t[256];
        char text[80];
        snprintf(text, sizeof text, "%zu thresholds", m);
        judge_fill(t, m, c->fill == JUDGE_NONFINITE ? JUDGE_GAUSS : c->fill, c->seed + 17);
        for (size_t i = 1; i < m; i++) { /* insertion sort; some equal to elements of x */
            float v = c->n && i % 3 == 0 ? x[i % c->n] : t[i];
            size_t j = i;
            for (; j > 0 && t[j - 1] > v; j--) {
                t[j] = t[j - 1];
            }
            t[j] = v;
        }
        const float *edge = judge_edge(1, t, m * sizeof *t);
        open_rooms(c->n, c->shift);
        want(x, c->n, edge, m, want_room.at);
        got(x, c->n, edge, m, got_room.at);
        compare_rooms(c, text);
    }
}

static void judge_decode_codebook(qk_decode_codebook_fn *want, qk_decode_codebook_fn *got,
                                  judge_case *c)
{
    for (size_t entries = 2; entries <= 256; entries *= 2) {
        float t[256];
        char text[80];
        snprintf(text, sizeof text, "%zu entries", entries);
        judge_fill(t, entries, c->fill, c->seed + 18);
        const float *table = judge_edge(1, t, entries * sizeof *t);
        const uint8_t *codes = bytes_of(c, c->n, (uint8_t)(entries - 1));
        open_rooms(c->n * sizeof(float), c->shift * sizeof(float));
        want(codes, c->n, table, entries, (float *)(void *)want_room.at);
        got(codes, c->n, table, entries, (float *)(void *)got_room.at);
        compare_rooms(c, text);
    }
}

static void judge_pack(qk_pack_fn *want, qk_pack_fn *got, judge_case *c)
{
    const uint8_t *codes = bytes_of(c, c->n, 0xff); /* bits above the code's are to be dropped */
    for (unsigned bits = 1; bits <= 8; bits++) {
        char text[80];
        snprintf(text, sizeof text, "%u bits", bits);
        open_rooms((c->n * bits + 7) / 8, c->shift);
        want(codes, c->n, bits, want_room.at);
        got(codes, c->n, bits, got_room.at);
        compare_rooms(c, text);
    }
}

static void judge_unpack(qk_unpack_fn *want, qk_unpack_fn *got, judge_case *c)
{
    for (unsigned bits = 1; bits <= 8; bits++) {
        char text[80];
        snprintf(text, sizeof text, "%u bits", bits);
        const uint8_t *stream = bytes_of(c, (c->n * bits + 7) / 8, 0xff);
        open_rooms(c->n, c->shift);
        want(stream, c->n, bits, want_room.at);
        got(stream, c->n, bits, got_room.at);
        compare_rooms(c, text);
    }
}

static void judge_stream_looked_up(qk_stream_looked_up_fn *want, qk_stream_looked_up_fn *got,
                                   judge_case *c)
{
    for (unsigned bits = 1; bits <= 8; bits++) {
        float t[256];
        char text[80];
        snprintf(text, sizeof text, "%u bits", bits);
        judge_fill(t, (size_t)1 << bits, c->fill, c->seed + 18);
        const float *table = judge_edge(1, t, sizeof *t << bits);
        const uint8_t *stream = bytes_of(c, (c->n * bits + 7) / 8, 0xff);
        open_rooms(c->n * sizeof(float), c->shift * sizeof(float));
        want(stream, c->n, bits, table, (float *)(void *)want_room.at);
        got(stream, c->n, bits, table, (float *)(void *)got_room.at);
        compare_rooms(c, text);
    }
}

static void judge_stream(qk_stream_fn *want, qk_stream_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, false);
    open_rooms(c->n * sizeof(float), c->shift * sizeof(float));
    want(x, c->n, (float *)(void *)want_room.at);
    got(x, c->n, (float *)(void *)got_room.at);
    compare_rooms(c, "copy");
}

static void judge_narrow16(qk_narrow16_fn *want, qk_narrow16_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, false);
    open_rooms(c->n * sizeof(uint16_t), c->shift * sizeof(uint16_t));
    want(x, c->n, (uint16_t *)(void *)want_room.at);
    got(x, c->n, (uint16_t *)(void *)got_room.at);
    compare_rooms(c, "narrow");
}

static void judge_widen16(qk_widen16_fn *want, qk_widen16_fn *got, judge_case *c)
{
    const uint16_t *x = (const uint16_t *)(const void *)bytes_of(c, 2 * c->n, 0xff);
    open_rooms(c->n * sizeof(float), c->shift * sizeof(float));
    want(x, c->n, (float *)(void *)want_room.at);
    got(x, c->n, (float *)(void *)got_room.at);
    compare_rooms(c, "widen");
}

/* Codes of either type as floats, so each operation sees its own and some that are not; all near
 * one key: at zero, where signs change, at both ends and between. Some fills send a few astray. */
static void judge_count_keys(qk_count_keys_fn *want, qk_count_keys_fn *got, judge_case *c)
{
    enum { KEYS = 300, STARTS = 4 };
    static const uint32_t starts[STARTS] = {0x7f60, 0x0400, 0xb123, 0xfbff - KEYS - 9};
    static float y[MOST];
    static uint16_t code[MOST];
    for (uint32_t type = 0; type < 2; type++) {
        uint64_t s = c->seed + type;
        uint32_t first = starts[judge_random(&s) % STARTS];
        for (size_t i = 0; i < c->n; i++) {
            bool astray = judge_random(&s) % 1024 < (uint64_t)c->fill;
            uint32_t key = first + (uint32_t)(judge_random(&s) % (astray ? KEYS + 9 : KEYS));
            code[i] = (uint16_t)(key & 0x8000u ? key ^ 0x8000u : key ^ 0xffffu);
        }
        (type ? qk_f16_to_f32_scalar : qk_bf16_to_f32_scalar)(code, c->n, y);
        const float *x = judge_edge(0, y, c->n * sizeof *y);
        open_rooms(KEYS * sizeof(uint32_t), c->shift * sizeof(uint32_t));
        size_t w = want(x, c->n, (qk_keys){first, KEYS, (uint32_t *)(void *)want_room.at});
        size_t g = got(x, c->n, (qk_keys){first, KEYS, (uint32_t *)(void *)got_room.at});
        compare_values(c, "first that does not count", &w, &g, sizeof w);
        compare_rooms(c, type ? "f16" : "bf16");
    }
}

static void judge_fidelity(qk_fidelity_fn *want, qk_fidelity_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, false), *y = floats(c, 1, false);
    qk_fidelity w, g;
    memset(&w, 0x5a, sizeof w);
    memset(&g, 0xa5, sizeof g);
    want(x, y, c->n, &w);
    got(x, y, c->n, &g);
    compare_values(c, "two fills", &w, &g, sizeof w);
    want(x, x, c->n, &w); /* inputs may be one array: neither is written */
    got(x, x, c->n, &g);
    compare_values(c, "itself", &w, &g, sizeof w);
}

static void judge_dot(qk_dot_fn *want, qk_dot_fn *got, judge_case *c)
{
    const float *x = floats(c, 0, false), *y = floats(c, 1, false);
    double w = want(x, y, c->n), g = got(x, y, c->n);
    compare_values(c, "product", &w, &g, sizeof w);
}

/* Sums of a cloud of points: weights 1 .. 4 and values from the fill. */
static void links_of(judge_case *c, size_t rows, qk_links *a)
{
    static double w[MOST + 1], s[MOST + 1], g[MOST + 1];
    const float *x = floats(c, 0, true), *y = floats(c, 1, true);
    for (size_t i = 0; i + 1 < c->n; i++) {
        w[i + 1] = w[i] + (double)(1 + (c->seed + i * i) % 4);
        s[i + 1] = s[i] + (double)x[i] * 0x1p-20;
        g[i + 1] = (double)y[i] * (c->seed % 2 ? 0x1p-20 : 0.0);
    }
    a->row = c->n - rows;
    a->low = (c->seed >> 8) % a->row;
    a->w = judge_edge(0, w, c->n * sizeof *w);
    a->s = judge_edge(1, s, c->n * sizeof *s);
    a->g = judge_edge(2, g, a->row * sizeof *g);
}

/* About half of the nodes are rows, all others their predecessors. */
static void judge_links(qk_links_fn *want, qk_links_fn *got, judge_case *c)
{
    size_t rows = c->n < 2 ? 0 : c->n < 8 ? 1 : 4;
    qk_links a = {NULL, NULL, NULL, 0, 0};
    char text[80];
    while (rows >= 4 && rows * 4 <= c->n) {
        rows *= 2;
    }
    if (rows > 0) {
        links_of(c, rows, &a);
    }
    snprintf(text, sizeof text, "rows %zu, low %zu", rows, a.low);
    open_rooms(rows * (sizeof(double) + sizeof(uint32_t)), c->shift * sizeof(double));
    double *w = (double *)(void *)want_room.at, *g = (double *)(void *)got_room.at;
    want(&a, rows, w, (uint32_t *)(void *)(w + rows));
    got(&a, rows, g, (uint32_t *)(void *)(g + rows));
    compare_rooms(c, text);
}

void judge_kernels(const qk_table *want, const qk_table *got, judge_case *c)
{
    struct sigaction mine = {.sa_handler = on_fault}, before;
    c->faults = 0;
    c->text[0] = '\0';
    level_name = got->name;
    sigaction(SIGSEGV, &mine, &before);
#define QK_OP(op, cls)                   \
    op_name = #op;                       \
    judge_##cls(want->op, got->op, c);
#include "kernels/kernels.def"
#undef QK_OP
    sigaction(SIGSEGV, &before, NULL);
}
