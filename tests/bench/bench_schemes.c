/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench_schemes.c - weights/s of whole schemes, encode and decode, one thread, beside memcpy and
 * reading of the same floats in the same rounds. Gaussian weights; palettes also on weights that
 * came from bfloat16, as most banks do: the number of distinct values decides their cost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/quant.h"
#include "tests/bench/bench.h"

enum { ROWS = 2048, COLS = 2048, COUNT = ROWS * COLS };

typedef struct scheme_work {
    quant_scheme scheme;
    quant_layout layout;
    const float *w;
    float *y;
    uint8_t *packed;
} scheme_work;

static const quant_shape shape = {2, {ROWS, COLS}};
static volatile float sink;

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
    sink = qk()->absmax_f32(k->w, COUNT);
}

static const struct {
    const char *text, *source;
    int from_bf16;
} list[] = {
    {"f16", "f32", 0},           {"bf16", "f32", 0},
    {"int8:tensor", "f32", 0},   {"int8:channel", "f32", 0},
    {"int4:block=32", "f32", 0}, {"int4:block=32,asym", "f32", 0},
    {"lut4:group=32", "bf16", 1}, {"lut3:group=32", "bf16", 1},
    {"lut2:group=32", "bf16", 1}, {"lut4:group=32", "f32", 0},
};
enum { LIST = sizeof list / sizeof *list, TASKS = 2 * LIST + 2 };

static bench_task task_of(const char *name, const char *level, void (*run)(const void *),
                          const scheme_work *work)
{
    bench_task t = {.run = run, .work = work, .elements = COUNT, .bytes = 4.0 * COUNT, .repeat = 1};
    snprintf(t.name, sizeof t.name, "%s", name);
    snprintf(t.level, sizeof t.level, "%s", level);
    return t;
}

static void print_rows(const bench_task *tasks)
{
    int middle = BENCH_ROUNDS / 2;
    double copy = tasks[0].seconds[middle], read = tasks[1].seconds[middle];
    printf("\nwhole schemes, %d x %d weights, one thread, %s kernels, medians of %d rounds\n"
           "memcpy %.2f GB/s (4 bytes a weight), reading %.2f GB/s\n\n"
           "%-20s %-6s %14s %12s %14s\n", ROWS, COLS, quant_isa(), BENCH_ROUNDS,
           4e-9 * COUNT / copy, 4e-9 * COUNT / read, "scheme", "from", "encode Mw/s",
           "of reading", "decode Mw/s");
    for (int i = 0; i < LIST; i++) {
        double encode = tasks[2 + 2 * i].seconds[middle], decode = tasks[3 + 2 * i].seconds[middle];
        printf("%-20s %-6s %14.1f %11.1f%% %14.1f\n", list[i].text, list[i].source,
               1e-6 * COUNT / encode, 100.0 * read / encode, 1e-6 * COUNT / decode);
    }
}

void bench_schemes(void)
{
    static scheme_work work[LIST];
    static bench_task tasks[TASKS];
    float *w = malloc(COUNT * sizeof *w), *b = malloc(COUNT * sizeof *b);
    float *y = malloc(COUNT * sizeof *y);
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
        tasks[2 + 2 * i] = task_of(list[i].text, "encode", run_encode, k);
        tasks[3 + 2 * i] = task_of(list[i].text, "decode", run_decode, k);
    }
    tasks[0] = task_of("memcpy", "", run_copy, &work[0]);
    tasks[1] = task_of("read", "", run_read, &work[0]);
    bench_time(tasks, TASKS);
    print_rows(tasks);
    for (int i = 0; i < LIST; i++) {
        free(work[i].packed);
    }
    free(w), free(b), free(y), free(half);
}
