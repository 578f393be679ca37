/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main.c - bench [PART] [--filter TEXT]: runs the parts below, or one of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/bench/bench.h"

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {
    {"kernels", bench_kernels},
    {"schemes", bench_schemes},
    {"model", bench_model},
    {"vectors", bench_vectors},
};
enum { PARTS = sizeof parts / sizeof *parts };

static const char *filter = "";

const char *bench_filter(void)
{
    return filter;
}

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void bench_time(bench_task *tasks, size_t n)
{
    for (int round = -1; round < BENCH_ROUNDS; round++) { /* round -1 warms up */
        for (size_t i = 0; i < n; i++) {
            double begin = bench_now();
            for (int r = 0; r < tasks[i].repeat; r++) {
                tasks[i].run(tasks[i].work);
            }
            double spent = (bench_now() - begin) / tasks[i].repeat;
            if (round >= 0) {
                tasks[i].seconds[round] = spent;
            }
        }
    }
    for (size_t i = 0; i < n; i++) {
        qsort(tasks[i].seconds, BENCH_ROUNDS, sizeof(double), ascending);
    }
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    int ran = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
            filter = argv[++i];
        } else {
            only = argv[i];
        }
    }
    for (int i = 0; i < PARTS; i++) {
        if (!only || strcmp(only, parts[i].name) == 0) {
            parts[i].run();
            ran++;
        }
    }
    if (ran == 0) {
        fprintf(stderr, "bench [PART] [--filter TEXT]: no part %s\n", only);
    }
    return ran == 0 ? 2 : 0;
}
