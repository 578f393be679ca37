/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/whiteness.h"

#include <limits.h>
#include <math.h>
#include <omp.h>

#include "quant/internal.h"
#include "quant/lab/adapt_fftw.h"
#include "quant/random.h"

typedef struct task {
    const float *error;
    uint64_t rows, step, cols; /* every step-th row of `rows` */
    size_t frequencies;
    const lab_spectrum *spectrum;
    quant_random signs;
    size_t room;               /* doubles of one thread: work, power, mean */
} task;

double quant_whiteness_p(const quant_whiteness_draws *d)
{
    int above = 0;
    for (int i = 0; i <= QUANT_WHITENESS_DRAWS; i++) {
        above += d->statistic[i] >= d->statistic[0];
    }
    return (double)above / (QUANT_WHITENESS_DRAWS + 1);
}

static uint64_t rows_seen(const task *t)
{
    return (t->rows + t->step - 1) / t->step;
}

/* Row r with the signs of draw b: bit i of its stream; draw 0 keeps them. */
static double load_row(const task *t, uint64_t r, uint64_t b, double *x)
{
    const float *e = t->error + r * t->step * t->cols;
    uint64_t blocks = (t->cols + 127) / 128;
    uint32_t words[4];
    double energy = 0;
    for (uint64_t c = 0; c < t->cols; c++) {
        if (b > 0 && c % 128 == 0) {
            quant_random_words(&t->signs, (b * rows_seen(t) + r) * blocks + c / 128, words);
        }
        bool turn = b > 0 && (words[c % 128 / 32] >> c % 32 & 1);
        x[c] = turn ? -(double)e[c] : (double)e[c];
        energy += x[c] * x[c];
    }
    return energy;
}

/* Add the cumulated shares of one row to mean; false when it has no error. */
static bool add_row(const task *t, uint64_t r, uint64_t b, double *scratch)
{
    double *power = scratch + lab_spectrum_work((size_t)t->cols), *mean = power + t->frequencies;
    double sum = 0, part = 0;
    if (load_row(t, r, b, lab_spectrum_input(scratch)) == 0) {
        return false;
    }
    lab_spectrum_power(t->spectrum, scratch, power);
    for (size_t k = 0; k < t->frequencies; k++) {
        sum += power[k];
    }
    if (!(sum > 0)) { /* a constant row, or one that alternates */
        return false;
    }
    for (size_t k = 0; k < t->frequencies; k++) {
        part += power[k];
        mean[k] += part / sum;
    }
    return true;
}

/* Largest distance of draw b from the line, and the rows that count. */
static double deviation(const task *t, uint64_t b, double *scratch, uint64_t *rows)
{
    double *mean = scratch + lab_spectrum_work((size_t)t->cols) + t->frequencies, most = 0;
    *rows = 0;
    for (size_t k = 0; k < t->frequencies; k++) {
        mean[k] = 0;
    }
    for (uint64_t r = 0; r < rows_seen(t); r++) {
        *rows += add_row(t, r, b, scratch);
    }
    for (size_t k = 0; k < t->frequencies && *rows > 0; k++) {
        double line = (double)(k + 1) / (double)t->frequencies;
        most = fmax(most, fabs(mean[k] / (double)*rows - line));
    }
    return most;
}

static double neighbours(const task *t)
{
    double energy = 0, product = 0;
    for (uint64_t r = 0; r < rows_seen(t); r++) {
        const float *e = t->error + r * t->step * t->cols;
        for (uint64_t c = 0; c < t->cols; c++) {
            energy += (double)e[c] * (double)e[c];
            product += c > 0 ? (double)e[c] * (double)e[c - 1] : 0;
        }
    }
    return energy > 0 ? product / energy : (double)NAN;
}

/* rows * frequencies * deviation^2 has about the same size for every matrix, so that sums over
 * several are not ruled by one. */
static void run_draws(const task *t, int threads, double *scratch, quant_whiteness *result,
                      quant_whiteness_draws *own)
{
    double first = 0;
    uint64_t first_rows = 0;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 4)
    for (int b = 0; b <= QUANT_WHITENESS_DRAWS; b++) {
        uint64_t rows;
        double d = deviation(t, (uint64_t)b, scratch + (size_t)omp_get_thread_num() * t->room,
                             &rows);
        own->statistic[b] = (double)rows * (double)t->frequencies * d * d;
        if (b == 0) {
            first = d;
            first_rows = rows;
        }
    }
    result->deviation = first;
    result->rows = first_rows;
    result->p = first_rows > 0 ? quant_whiteness_p(own) : (double)NAN;
}

quant_status quant_whiteness_test(quant_context *ctx, const float *error, uint64_t rows,
                                  uint64_t cols, uint64_t seed, const char *name,
                                  quant_whiteness *result, quant_whiteness_draws *draws)
{
    quant_whiteness_draws own;
    *result = (quant_whiteness){0, (double)NAN, (double)NAN, (double)NAN};
    if (rows == 0 || cols < 5 || cols > INT_MAX / 4) {
        return QUANT_OK;
    }
    uint64_t seen = QUANT_WHITENESS_ELEMENTS / cols;
    seen = seen < 1 ? 1 : seen > rows ? rows : seen;
    task t = {.error = error, .rows = rows, .step = (rows + seen - 1) / seen, .cols = cols,
              .frequencies = (size_t)(cols - 1) / 2, .signs = quant_random_stream(seed, name)};
    int threads = quant_context_threads(ctx);
    t.room = (lab_spectrum_work((size_t)cols) + 2 * t.frequencies + 7) / 8 * 8;
    size_t count = t.room * (size_t)threads;
    double *scratch = quant_alloc(ctx, count, sizeof *scratch);
    lab_spectrum spectrum = {NULL, 0};
    bool ready = scratch && lab_spectrum_begin(&spectrum, (size_t)cols, scratch);
    t.spectrum = &spectrum;
    if (ready) {
        run_draws(&t, threads, scratch, result, &own);
        result->neighbour = neighbours(&t);
    }
    for (int b = 0; ready && draws && b <= QUANT_WHITENESS_DRAWS; b++) {
        draws->statistic[b] += own.statistic[b];
    }
    lab_spectrum_end(&spectrum);
    quant_release(ctx, scratch, count, sizeof *scratch);
    return ready ? QUANT_OK : quant_fail(ctx, QUANT_ENOMEM, "memory: spectrum of %zu values",
                                         (size_t)cols);
}
