/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench_schemes.c - weights/s of whole schemes, encode, decode and fidelity, one thread, beside
 * reading, memset and memcpy of the same floats in the same rounds. Gaussian weights, more of them
 * than a last-level cache holds; palettes also on weights that came from bfloat16, as most banks
 * do: the number of distinct values decides their cost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/quant.h"
#include "tests/bench/bench.h"

enum { ROWS = 4096, COLS = 4096, COUNT = ROWS * COLS };

typedef struct scheme_work {
    quant_scheme scheme;
    quant_layout layout;
    const float *w;
    float *y;
    uint8_t *packed;
} scheme_work;

static const quant_shape shape = {2, {ROWS, COLS}};
static volatile uint64_t sink;

static void run_encode(const void *work)
{
    const scheme_work *k = work;
    quant_status s = quant_encode(NULL, &k->scheme, &shape, k->w, k->packed, k->layout.bytes, NULL);
    if (s != QUANT_OK) {
        abort();
    }
}

static void run_decode(const void *work)
{
    const scheme_work *k = work;
    quant_decode(NULL, &k->scheme, &shape, k->packed, k->layout.bytes, k->y);
}

static void run_copy(const void *work)
{
    const scheme_work *k = work;
    memcpy(k->y, k->w, COUNT * sizeof(float));
}

static void run_read(const void *work)
{
    const scheme_work *k = work;
    sink = bench_read(k->w, COUNT);
}

static void run_set(const void *work)
{
    memset(((const scheme_work *)work)->y, 1, COUNT * sizeof(float));
}

static void run_fidelity(const void *work)
{
    const scheme_work *k = work;
    sink = quant_fidelity_f32(NULL, k->w, k->y, COUNT).n;
}

static const struct {
    const char *text, *source;
    int from_bf16;
} list[] = {
    {"f16", "f32", 0},           {"bf16", "f32", 0},
    {"int8:tensor", "f32", 0},   {"int8:channel", "f32", 0},
    {"int4:block=32", "f32", 0}, {"int4:block=32,asym", "f32", 0},
    {"int3:block=32", "f32", 0},
    {"lut4:group=32", "bf16", 1}, {"lut3:group=32", "bf16", 1},
    {"lut2:group=32", "bf16", 1}, {"lut4:group=32", "f32", 0},
};
enum { LIST = sizeof list / sizeof *list };
enum { READ, SET, COPY, FIDELITY, FIRST, TASKS = FIRST + 2 * LIST };

static bench_task task_of(const char *name, const char *level, void (*run)(const void *),
                          const scheme_work *work)
{
    bench_task t = {.run = run, .work = work, .elements = COUNT, .bytes = 4.0 * COUNT, .repeat = 1};
    snprintf(t.name, sizeof t.name, "%s", name);
    snprintf(t.level, sizeof t.level, "%s", level);
    return t;
}

static double median_of(const bench_task *t)
{
    return t->seconds[BENCH_ROUNDS / 2];
}

static void print_rows(const bench_task *tasks)
{
    double read = median_of(&tasks[READ]), set = median_of(&tasks[SET]);
    printf("\nwhole schemes, %d x %d weights, one thread, %s kernels, medians of %d rounds\n"
           "reading %.2f GB/s, memset %.2f GB/s, memcpy %.2f GB/s (4 bytes a weight)\n"
           "fidelity of two f32 arrays %.2f GB/s, %.1f%% of reading\n\n"
           "%-20s %-6s %12s %12s %12s %12s\n", ROWS, COLS, quant_isa(), BENCH_ROUNDS,
           4e-9 * COUNT / read, 4e-9 * COUNT / set, 4e-9 * COUNT / median_of(&tasks[COPY]),
           8e-9 * COUNT / median_of(&tasks[FIDELITY]),
           200.0 * read / median_of(&tasks[FIDELITY]), "scheme", "from", "encode Mw/s",
           "of reading", "decode Mw/s", "of memset");
    for (int i = 0; i < LIST; i++) {
        double encode = median_of(&tasks[FIRST + 2 * i]);
        double decode = median_of(&tasks[FIRST + 2 * i + 1]);
        printf("%-20s %-6s %12.1f %11.1f%% %12.1f %11.1f%%\n", list[i].text, list[i].source,
               1e-6 * COUNT / encode, 100.0 * read / encode, 1e-6 * COUNT / decode,
               100.0 * set / decode);
    }
}

void bench_schemes(void)
{
    static scheme_work work[LIST];
    static bench_task tasks[TASKS];
    float *w = malloc(COUNT * sizeof *w), *b = malloc(COUNT * sizeof *b);
    float *y = aligned_alloc(64, COUNT * sizeof *y);
    uint16_t *half = malloc(COUNT * sizeof *half);
    quant_random r = quant_random_stream(1, "bench");
    if (!w || !b || !y || !half) {
        abort();
    }
    quant_random_fill_normal(&r, 0, COUNT, w);
    qk()->f32_to_bf16(w, COUNT, half);
    qk()->bf16_to_f32(half, COUNT, b);
    for (int i = 0; i < LIST; i++) {
        scheme_work *k = &work[i];
        k->w = list[i].from_bf16 ? b : w;
        k->y = y;
        if (quant_scheme_parse(NULL, list[i].text, &k->scheme) != QUANT_OK ||
            quant_encode_layout(NULL, &k->scheme, &shape, &k->layout) != QUANT_OK ||
            !(k->packed = malloc(k->layout.bytes))) {
            abort();
        }
        tasks[FIRST + 2 * i] = task_of(list[i].text, "encode", run_encode, k);
        tasks[FIRST + 2 * i + 1] = task_of(list[i].text, "decode", run_decode, k);
    }
    tasks[READ] = task_of("read", "", run_read, &work[0]);
    tasks[SET] = task_of("memset", "", run_set, &work[0]);
    tasks[COPY] = task_of("memcpy", "", run_copy, &work[0]);
    tasks[FIDELITY] = task_of("fidelity", "", run_fidelity, &work[0]);
    bench_time(tasks, TASKS);
    print_rows(tasks);
    for (int i = 0; i < LIST; i++) {
        free(work[i].packed);
    }
    free(w), free(b), free(y), free(half);
}
