/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench_kernels.c - every operation of kernels.def at every level, in cache and in memory,
 * beside what the machine does in the same minute: memcpy, memset, and a loop that only reads. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "tests/bench/bench_parts.h"
#include "tests/judge.h"

enum { MOST_TASKS = 512 };

struct bench_data data;
volatile double sink;

static struct {
    bench_task task[MOST_TASKS];
    work work[MOST_TASKS];
    size_t n;
} list;
size_t elements_now;
static const char *level_now;

void add(const char *name, any_fn *op, void (*run)(const void *), unsigned parameter,
         double bytes_an_element)
{
    if (!strstr(name, bench_filter()) || list.n == MOST_TASKS) {
        return;
    }
    bench_task *t = &list.task[list.n];
    work *w = &list.work[list.n++];
    *w = (work){op, elements_now, parameter};
    *t = (bench_task){.run = run, .work = w, .elements = (double)elements_now,
                      .bytes = bytes_an_element * (double)elements_now,
                      .repeat = elements_now == IN_CACHE ? CALLS_IN_CACHE : 1};
    snprintf(t->name, sizeof t->name, "%s", name);
    snprintf(t->level, sizeof t->level, "%s", level_now);
}

void add_variant(const char *name, any_fn *op, void (*run)(const void *), unsigned parameter,
                 double bytes_an_element)
{
    char text[28];
    snprintf(text, sizeof text, "%s %u", name, parameter);
    add(text, op, run, parameter, bytes_an_element);
}

static const qk_linear four_bits = {0.4f, 0, -7, 7};

static void run_absmax(const void *p)
{
    const work *w = p;
    sink = (double)((qk_absmax_fn *)w->op)(data.x, w->n);
}
static void run_minmax(const void *p)
{
    const work *w = p;
    float low, high;
    ((qk_minmax_fn *)w->op)(data.x, w->n, &low, &high);
    sink = (double)low + (double)high;
}
static void run_nonfinite(const void *p)
{
    const work *w = p;
    size_t first;
    sink = (double)((qk_nonfinite_fn *)w->op)(data.x, w->n, &first);
}
static void run_encode_linear(const void *p)
{
    const work *w = p;
    sink = (double)((qk_encode_linear_fn *)w->op)(data.x, w->n, four_bits, data.bytes);
}
static void run_decode_linear(const void *p)
{
    const work *w = p;
    ((qk_decode_linear_fn *)w->op)(data.codes8, w->n, four_bits, data.y);
}
static void run_sse_linear(const void *p)
{
    const work *w = p;
    sink = ((qk_sse_linear_fn *)w->op)(data.x, w->n, four_bits);
}
static void run_absmax_blocks(const void *p)
{
    const work *w = p;
    ((qk_absmax_blocks_fn *)w->op)(data.x, w->n, w->parameter, data.y);
}
static void run_minmax_blocks(const void *p)
{
    const work *w = p;
    ((qk_minmax_blocks_fn *)w->op)(data.x, w->n, w->parameter, data.y, data.y + w->n / 2);
}
static void run_encode_blocks(const void *p)
{
    const work *w = p;
    const qk_blocks b = {w->parameter, data.scales, NULL, -7, 7, NULL};
    sink = (double)((qk_encode_blocks_fn *)w->op)(data.x, w->n, b, data.bytes);
}
static void run_encode_int4(const void *p)
{
    const work *w = p;
    const qk_int4 g = {7, 0x1p-10f, 0x1p17f, -7, 7};
    size_t outside;
    sink = (double)((qk_encode_int4_fn *)w->op)(data.x, w->n, g, (uint16_t *)(void *)data.y,
                                             data.bytes, &outside);
}
static void run_decode_blocks(const void *p)
{
    const work *w = p;
    const qk_blocks b = {w->parameter, data.scales, NULL, -7, 7, NULL};
    ((qk_decode_blocks_fn *)w->op)(data.codes8, w->n, b, data.y);
}
static void run_assign_codebook(const void *p)
{
    const work *w = p;
    const float *t = data.thresholds + (255 - w->parameter) / 2; /* the middle ones */
    ((qk_assign_codebook_fn *)w->op)(data.x, w->n, t, w->parameter, data.bytes);
}
static void run_decode_codebook(const void *p)
{
    const work *w = p;
    const uint8_t *codes = w->parameter == 256 ? data.codes8 : data.codes4;
    ((qk_decode_codebook_fn *)w->op)(codes, w->n, data.table, w->parameter, data.y);
}
static void run_pack(const void *p)
{
    const work *w = p;
    ((qk_pack_fn *)w->op)(data.codes4, w->n, w->parameter, data.bytes);
}
static void run_unpack(const void *p)
{
    const work *w = p;
    ((qk_unpack_fn *)w->op)(data.codes8, w->n, w->parameter, data.bytes);
}
static void run_stream_packed(const void *p)
{
    const work *w = p;
    const qk_blocks b = {32, data.scales, NULL, -7, 7, NULL};
    ((qk_stream_packed_fn *)w->op)(data.codes8, w->n, w->parameter, b, data.y);
}
static void run_stream_looked_up(const void *p)
{
    const work *w = p;
    ((qk_stream_looked_up_fn *)w->op)(data.codes8, w->n, w->parameter, data.table, data.y);
}
static void run_stream(const void *p)
{
    const work *w = p; /* from the first-level cache, as callers do */
    for (size_t i = 0; i < w->n; i += 4096) {
        ((qk_stream_fn *)w->op)(data.x, w->n - i < 4096 ? w->n - i : 4096, data.y + i);
    }
}
static void run_narrow16(const void *p)
{
    const work *w = p;
    ((qk_narrow16_fn *)w->op)(data.x, w->n, (uint16_t *)(void *)data.y);
}
static void run_widen16(const void *p)
{
    const work *w = p;
    ((qk_widen16_fn *)w->op)((const uint16_t *)(const void *)data.x, w->n, data.y);
}
static void run_fidelity(const void *p)
{
    const work *w = p;
    qk_fidelity f;
    ((qk_fidelity_fn *)w->op)(data.x, data.y, w->n, &f);
    sink = f.err2;
}
static void run_dot(const void *p)
{
    const work *w = p;
    sink = ((qk_dot_fn *)w->op)(data.x, data.y, w->n);
}

/* Points at equal distances, half of the nodes rows of one cluster's length ahead. */
enum { LINK_ROWS = 1024 };
static struct {
    double w[2 * LINK_ROWS], s[2 * LINK_ROWS], g[LINK_ROWS];
} chain;
static void run_links(const void *p)
{
    static double best[LINK_ROWS];
    static uint32_t from[LINK_ROWS];
    const qk_links a = {chain.w, chain.s, chain.g, 0, LINK_ROWS};
    ((qk_links_fn *)((const work *)p)->op)(&a, LINK_ROWS, best, from);
    sink = best[LINK_ROWS - 1];
}
static void add_links(const char *name, any_fn *op)
{
    size_t before = list.n;
    for (size_t i = 0; i + 1 < 2 * LINK_ROWS; i++) {
        chain.w[i + 1] = chain.w[i] + 1;
        chain.s[i + 1] = chain.s[i] + (double)data.x[i] * 9 + (double)i;
    }
    for (size_t i = 0; i < LINK_ROWS; i++) {
        chain.g[i] = -chain.s[i] * (double)i / 4;
    }
    if (elements_now == IN_CACHE) {
        add(name, op, run_links, 0, 0);
    }
    if (list.n > before) {
        list.task[before].elements = LINK_ROWS;
    }
}

/* Both types hold these whole. */
static float sixteen_bits[IN_CACHE];
static void run_count_keys(const void *p)
{
    static uint32_t count[1 << 16];
    const work *w = p;
    const qk_keys all = {0, 1 << 16, count};
    sink = (double)((qk_count_keys_fn *)w->op)(sixteen_bits, w->n, all);
}
static void add_count_keys(const char *name, any_fn *op)
{
    for (size_t i = 0; i < IN_CACHE; i++) {
        sixteen_bits[i] = (float)(int)(data.x[i] * 32) / 32;
    }
    if (elements_now == IN_CACHE) {
        add(name, op, run_count_keys, 0, 4);
    }
}

static void add_absmax(const char *name, any_fn *op) { add(name, op, run_absmax, 0, 4); }
static void add_minmax(const char *name, any_fn *op) { add(name, op, run_minmax, 0, 4); }
static void add_nonfinite(const char *name, any_fn *op) { add(name, op, run_nonfinite, 0, 4); }
static void add_encode_linear(const char *name, any_fn *op)
{
    add(name, op, run_encode_linear, 0, 5);
}
static void add_decode_linear(const char *name, any_fn *op)
{
    add(name, op, run_decode_linear, 0, 5);
}
static void add_sse_linear(const char *name, any_fn *op) { add(name, op, run_sse_linear, 0, 4); }
static void add_absmax_blocks(const char *name, any_fn *op)
{
    add_variant(name, op, run_absmax_blocks, 32, 4);
}
static void add_minmax_blocks(const char *name, any_fn *op)
{
    add_variant(name, op, run_minmax_blocks, 32, 4);
}
static void add_encode_blocks(const char *name, any_fn *op)
{
    add_variant(name, op, run_encode_blocks, 32, 5);
}
static void add_encode_int4(const char *name, any_fn *op)
{
    add_variant(name, op, run_encode_int4, 32, 4.5625);
}
static void add_decode_blocks(const char *name, any_fn *op)
{
    add_variant(name, op, run_decode_blocks, 32, 5);
}
static void add_assign_codebook(const char *name, any_fn *op)
{
    for (unsigned bits = 2; bits <= 8; bits += 2) {
        add_variant(name, op, run_assign_codebook, (1u << bits) - 1, 5);
    }
}
static void add_decode_codebook(const char *name, any_fn *op)
{
    add_variant(name, op, run_decode_codebook, 16, 5);
    add_variant(name, op, run_decode_codebook, 256, 5);
}
static void add_pack(const char *name, any_fn *op)
{
    for (unsigned bits = 2; bits <= 8; bits += bits < 4 ? 1 : 4) {
        add_variant(name, op, run_pack, bits, 1 + bits / 8.0);
    }
}
static void add_unpack(const char *name, any_fn *op)
{
    for (unsigned bits = 2; bits <= 8; bits += bits < 4 ? 1 : 4) {
        add_variant(name, op, run_unpack, bits, 1 + bits / 8.0);
    }
}
static void add_stream_packed(const char *name, any_fn *op)
{
    add_variant(name, op, run_stream_packed, 4, 4.5);
}
static void add_stream_looked_up(const char *name, any_fn *op)
{
    add_variant(name, op, run_stream_looked_up, 4, 4.5);
}
static void add_stream(const char *name, any_fn *op) { add(name, op, run_stream, 0, 4); }
static void add_narrow16(const char *name, any_fn *op) { add(name, op, run_narrow16, 0, 6); }
static void add_widen16(const char *name, any_fn *op) { add(name, op, run_widen16, 0, 6); }
static void add_fidelity(const char *name, any_fn *op) { add(name, op, run_fidelity, 0, 8); }
static void add_dot(const char *name, any_fn *op) { add(name, op, run_dot, 0, 8); }

/* The machine itself, moving floats. */
static void run_memcpy(const void *p)
{
    memcpy(data.y, data.x, ((const work *)p)->n * sizeof(float));
    sink = (double)data.y[((const work *)p)->n - 1];
}
static void run_memset(const void *p)
{
    memset(data.y, 1, ((const work *)p)->n * sizeof(float));
    sink = (double)data.y[((const work *)p)->n - 1];
}
static void run_read(const void *p)
{
    sink = (double)bench_read(data.x, ((const work *)p)->n);
}

static void fill_list(size_t elements)
{
    list.n = 0;
    elements_now = elements;
    level_now = "machine";
    add("memcpy", NULL, run_memcpy, 0, 8);
    add("memset", NULL, run_memset, 0, 4);
    add("read", NULL, run_read, 0, 4);
    qk_table below = {0};
    for (int isa = 0; isa < QK_ISA_COUNT; isa++) {
        const qk_table *t = qk_table_for((qk_isa)isa);
        level_now = qk_isa_name((qk_isa)isa);
        if (t) {
#define QK_OP(op, cls)                                          \
    if (t->op != below.op) { /* a level's own, not inherited */ \
        add_##cls(#op, (any_fn *)t->op);                        \
    }
#include "kernels/kernels.def"
#undef QK_OP
            below = *t;
        } else {
            printf("level %s cannot run on this processor\n", level_now);
        }
    }
}

static void print_list(const char *title)
{
    printf("\n%s; ns an element and GB/s, best and median of %d rounds\n", title, BENCH_ROUNDS);
    printf("%-22s %-10s %10s %10s %10s %10s\n", "operation", "level", "ns best", "ns median",
           "GB/s best", "GB/s med");
    for (size_t i = 0; i < list.n; i++) {
        const bench_task *t = &list.task[i];
        double best = t->seconds[0], median = t->seconds[BENCH_ROUNDS / 2];
        printf("%-22s %-10s %10.3f %10.3f %10.2f %10.2f\n", t->name, t->level,
               1e9 * best / t->elements, 1e9 * median / t->elements, 1e-9 * t->bytes / best,
               1e-9 * t->bytes / median);
    }
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int allocate(void)
{
    data.x = aligned_alloc(64, IN_MEMORY * sizeof(float));
    data.y = aligned_alloc(64, IN_MEMORY * sizeof(float));
    data.codes8 = aligned_alloc(64, IN_MEMORY);
    data.codes4 = aligned_alloc(64, IN_MEMORY);
    data.bytes = aligned_alloc(64, IN_MEMORY);
    data.scales = malloc(IN_MEMORY / 32 * sizeof(float));
    return data.x && data.y && data.codes8 && data.codes4 && data.bytes && data.scales;
}

void bench_kernels(void)
{
    if (!allocate()) {
        fprintf(stderr, "bench: no memory for the operands\n");
        return;
    }
    judge_fill(data.x, IN_MEMORY, JUDGE_GAUSS, 1);
    judge_fill(data.y, IN_MEMORY, JUDGE_GAUSS, 2);
    judge_fill(data.table, 256, JUDGE_GAUSS, 3);
    judge_fill(data.thresholds, 255, JUDGE_GAUSS, 4);
    qsort(data.thresholds, 255, sizeof(float), compare_floats);
    judge_fill_bytes(data.codes8, IN_MEMORY, 5);
    for (size_t i = 0; i < IN_MEMORY; i++) {
        data.codes4[i] = data.codes8[i] & 15;
    }
    memset(data.bytes, 0, IN_MEMORY);
    for (size_t i = 0; i < IN_MEMORY / 32; i++) {
        data.scales[i] = four_bits.scale;
    }
    fill_list(IN_CACHE);
    bench_time(list.task, list.n);
    print_list("in cache: 2^14 elements");
    fill_list(IN_MEMORY);
    bench_time(list.task, list.n);
    print_list("in memory: 2^24 elements");
    free(data.x);
    free(data.y);
    free(data.codes8);
    free(data.codes4);
    free(data.bytes), free(data.scales);
}
