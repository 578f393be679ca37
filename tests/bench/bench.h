/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench.h - timing in interleaved rounds.
 *
 * Every task runs once a round, so that a slow second of the machine hits all of them; of the
 * rounds the best and the median are shown. A new file adds a part to the table in main.c. */
#ifndef QUANT_BENCH_H
#define QUANT_BENCH_H

#include <stddef.h>
#include <stdint.h>

enum { BENCH_ROUNDS = 9 };

/* What is timed: run(work) handles `elements` elements and moves `bytes` bytes (read plus
 * written, as the arithmetic needs them; what a cache fetches beyond that is not counted). */
typedef struct bench_task {
    char name[28], level[12];
    void (*run)(const void *work);
    const void *work;
    double elements, bytes;
    int repeat;                   /* calls a round */
    double seconds[BENCH_ROUNDS]; /* per call, sorted by bench_time */
} bench_task;

/* Seconds that this process was given a processor: other work on the machine costs bandwidth, but
 * not the time it ran itself. Everything timed here is one thread. */
double bench_now(void);

/* Time all tasks; afterwards seconds[0] is the best, seconds[BENCH_ROUNDS / 2] the median. */
void bench_time(bench_task *tasks, size_t n);

/* What reading costs: n floats (a multiple of 8) of an array from malloc, and nothing but. */
uint64_t bench_read(const float *x, size_t n);

/* --filter of the command line, or "": only names that contain it are to be run. */
const char *bench_filter(void);

void bench_kernels(void);
void bench_schemes(void);
void bench_model(void);
void bench_vectors(void);

#endif
