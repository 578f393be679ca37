/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main.c - peers [PART]...: measures the rows of the parts below, or of those named. */
#include "tests/peers/peers.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/kernels.h"
#include "quant/quant.h"

static const struct {
    const char *name;
    const peers_row *rows;
} parts[] = {
    {"kmeans", peers_kmeans},
    {"palettize", peers_palettize},
    {"roof", peers_roof},
    {"gemm", peers_gemm},
    {"gemv", peers_gemv},
};
enum { PARTS = sizeof parts / sizeof *parts };

static char said[200];

void peers_say(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(said, sizeof said, format, list);
    va_end(list);
}

static double seconds_of(clockid_t clock, void (*run)(void))
{
    struct timespec a, b;
    double spent = 0;
    int calls = 0;
    for (clock_gettime(clock, &a); spent < 0.02; calls++) {
        run();
        clock_gettime(clock, &b);
        spent = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    }
    return spent / calls;
}

double peers_cpu_seconds(void (*run)(void))
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID, run);
}

double peers_seconds(void (*run)(void))
{
    return seconds_of(CLOCK_MONOTONIC, run);
}

float *peers_weights(size_t n, int type)
{
    float *w = malloc(n * sizeof *w);
    uint16_t *half = malloc(n * sizeof *half);
    quant_random r = quant_random_stream(1, "peers");
    if (!w || !half) {
        perror("peers");
        exit(6);
    }
    quant_random_fill_normal(&r, 0, n, w);
    for (size_t i = 0; i < n; i++) {
        w[i] *= 0.02f;
    }
    if (type == PEERS_BF16) {
        qk()->f32_to_bf16(w, n, half);
        qk()->bf16_to_f32(half, n, w);
    } else if (type == PEERS_F16) {
        qk()->f32_to_f16(w, n, half);
        qk()->f16_to_f32(half, n, w);
    }
    free(half);
    return w;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x)
{
    qsort(x, PEERS_PAIRS, sizeof *x, ascending);
    return x[PEERS_PAIRS / 2];
}

static void measure(const peers_row *row)
{
    double ours[PEERS_PAIRS], theirs[PEERS_PAIRS], ratio[PEERS_PAIRS];
    row->ours(), row->theirs(); /* warm up */
    for (int i = 0; i < PEERS_PAIRS; i++) {
        ours[i] = row->ours();
        theirs[i] = row->theirs();
        ratio[i] = theirs[i] / ours[i];
    }
    double middle = median(ratio);
    printf("%8.4g %8.4g %-4s %6.4g (%.4g..%.4g), >= %.4g %s", row->amount / median(ours),
           row->amount / median(theirs), row->unit, middle, ratio[0], ratio[PEERS_PAIRS - 1],
           row->target, middle >= row->target ? "PASS" : "short");
    if (row->stretch > 0) {
        printf(", %.4g %s", row->stretch, middle >= row->stretch ? "PASS" : "short");
    }
    printf("\n    beside %s%s%s\n", row->peer, *said ? ": " : "", said);
}

/* 1 when the two sides disagree. */
static int run(const peers_row *row)
{
    said[0] = '\0';
    peers_state state = row->begin(row);
    printf("%-35s", row->measure);
    if (state == PEERS_READY) {
        measure(row);
    } else {
        printf(" %s beside %s: %s\n", state == PEERS_SKIP ? "skipped" : "WRONG", row->peer, said);
    }
    fflush(stdout);
    row->end();
    return state == PEERS_WRONG;
}

static int wanted(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return 1;
        }
    }
    return argc < 2;
}

int main(int argc, char **argv)
{
    int wrong = 0, ran = 0;
    printf("%s kernels, medians of %d interleaved pairs, ratio = peer's time / ours (min..max);\n"
           "processor time where both sides are one thread, else wall clock\n\n"
           "%-35s%8s %8s %-4s %6s\n", quant_isa(), PEERS_PAIRS, "measure", "ours", "peer", "",
           "ratio");
    for (int p = 0; p < PARTS; p++) {
        for (const peers_row *row = parts[p].rows; wanted(argc, argv, parts[p].name) &&
                                                  row->measure; row++) {
            wrong += run(row);
            ran++;
        }
    }
    if (ran == 0) {
        fprintf(stderr, "peers [PART]...: no such part\n");
    }
    return ran == 0 ? 2 : wrong > 0;
}
