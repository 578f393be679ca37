/* SPDX-License-Identifier: Apache-2.0 */
/* observer.c - the state: extremes, and counts by leading bits in a window under the largest. */
#include "quant/observer.h"

#include <inttypes.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/internal.h"
#include "quant/observer_bins.h"

enum { BOTH_SIGNS = 2 * QUANT_OBSERVER_BINS };

/* One allocation for everything: the struct, then its arrays, 8-byte ones first. */
typedef struct extent {
    size_t counts, groups, batches, cells, floats, bytes;
} extent;

static bool measure(uint64_t cols, bool per_channel, uint64_t batches, extent *e)
{
    uint64_t groups = per_channel ? cols : 1, longs, halves, bytes;
    bool fits = !__builtin_mul_overflow(groups, (uint64_t)BOTH_SIGNS, &longs) &&
                !__builtin_mul_overflow(groups, batches, &halves) && halves < SIZE_MAX / 64 &&
                longs < SIZE_MAX / 64 && cols < SIZE_MAX / 64 && batches < SIZE_MAX / 64;
    if (!fits) {
        return false;
    }
    e->counts = (size_t)longs;
    e->groups = (size_t)groups;
    e->batches = (size_t)batches;
    e->cells = (size_t)halves;
    e->floats = (size_t)(2 * cols + 2 * halves);
    bytes = sizeof(quant_observer) + 8 * (longs + groups + batches) +
            4 * (groups + (uint64_t)e->floats);
    e->bytes = (size_t)bytes;
    return true;
}

static extent extent_of(const quant_observer *o)
{
    extent e = {0, 0, 0, 0, 0, 0};
    (void)measure(o->cols, o->groups > 1, o->batches, &e); /* it did when o was made */
    return e;
}

static void lay_out(quant_observer *o, const extent *e)
{
    o->count = (uint64_t *)(void *)(o + 1);
    o->small = o->count + e->counts;
    o->batch_rows = o->small + e->groups;
    o->first = (uint32_t *)(void *)(o->batch_rows + e->batches);
    o->lowest = (float *)(void *)(o->first + e->groups);
    o->highest = o->lowest + o->cols;
    o->batch_lowest = o->highest + o->cols;
    o->batch_highest = o->batch_lowest + e->cells;
}

quant_status quant_observer_new(quant_context *ctx, uint64_t cols, bool per_channel,
                                uint64_t batches, quant_observer **observer)
{
    extent e;
    if (!observer || cols == 0 || batches == 0) {
        return quant_fail(ctx, QUANT_EINVAL, "observer: expected channels and batches, found %"
                          PRIu64 " and %" PRIu64, cols, batches);
    }
    if (!measure(cols, per_channel, batches, &e)) {
        return quant_fail(ctx, QUANT_ENOMEM, "observer: %" PRIu64 " channels and %" PRIu64
                          " batches do not fit in memory", cols, batches);
    }
    quant_observer *o = quant_alloc(ctx, e.bytes, 1);
    if (!o) {
        return QUANT_ENOMEM;
    }
    memset(o, 0, e.bytes);
    o->cols = cols;
    o->groups = e.groups;
    o->batches = batches;
    lay_out(o, &e);
    *observer = o;
    return QUANT_OK;
}

void quant_observer_free(quant_context *ctx, quant_observer *o)
{
    if (o) {
        quant_release(ctx, o, extent_of(o).bytes, 1);
    }
}

/* Extremes of a batch or channel that saw `rows` rows so far take in [lowest, highest]. */
static void widen(float *lowest, float *highest, uint64_t rows, float new_lowest,
                  float new_highest)
{
    *lowest = rows == 0 || new_lowest < *lowest ? new_lowest : *lowest;
    *highest = rows == 0 || new_highest > *highest ? new_highest : *highest;
}

/* Let the window of group g begin no lower than `first`: what falls below becomes small. */
static void slide(quant_observer *o, uint64_t g, uint32_t first)
{
    if (first <= o->first[g]) {
        return;
    }
    size_t by = first - o->first[g], gone = by < QUANT_OBSERVER_BINS ? by : QUANT_OBSERVER_BINS;
    for (int sign = 0; sign < 2; sign++) {
        uint64_t *bin = o->count + (2 * g + (uint64_t)sign) * QUANT_OBSERVER_BINS;
        for (size_t b = 0; b < gone; b++) {
            o->small[g] += bin[b];
        }
        memmove(bin, bin + gone, (QUANT_OBSERVER_BINS - gone) * sizeof *bin);
        memset(bin + QUANT_OBSERVER_BINS - gone, 0, gone * sizeof *bin);
    }
    o->first[g] = first;
}

static void count(quant_observer *o, uint64_t g, float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t key = observer_key(x);
    if (key < o->first[g] || key == 0) {
        o->small[g]++;
    } else {
        o->count[(2 * g + (bits >> 31)) * QUANT_OBSERVER_BINS + key - o->first[g]]++;
    }
}

/* Channel by channel, so that a window moves once a call. +0 stands for both zeros. */
static void take_channel(quant_observer *o, uint64_t batch, const float *x, size_t rows, uint64_t c)
{
    size_t cols = (size_t)o->cols;
    uint64_t g = o->groups == 1 ? 0 : c;
    float lowest = x[c] + 0.0f, highest = lowest;
    for (size_t i = 1; i < rows; i++) {
        float v = x[i * cols + c] + 0.0f;
        lowest = v < lowest ? v : lowest;
        highest = v > highest ? v : highest;
    }
    slide(o, g, observer_first(lowest, highest));
    for (size_t i = 0; i < rows; i++) {
        count(o, g, x[i * cols + c]);
    }
    widen(&o->lowest[c], &o->highest[c], o->rows, lowest, highest);
    uint64_t seen = o->batch_rows[batch] + (o->groups == 1 ? c : 0); /* 0: the first to say */
    uint64_t cell = batch * o->groups + g;
    widen(&o->batch_lowest[cell], &o->batch_highest[cell], seen, lowest, highest);
}

quant_status quant_observer_add(quant_context *ctx, quant_observer *o, uint64_t batch,
                                const float *x, size_t rows)
{
    size_t n, first = 0;
    if (!o || batch >= o->batches || (rows > 0 && !x) ||
        __builtin_mul_overflow(rows, (size_t)o->cols, &n)) {
        return quant_fail(ctx, QUANT_EINVAL, "observer: expected values of a batch below %" PRIu64
                          ", found batch %" PRIu64, o ? o->batches : 0, batch);
    }
    size_t bad = qk()->nonfinite_f32(x, n, &first);
    if (bad > 0) {
        return quant_fail(ctx, QUANT_ENONFINITE, "activations: expected finite values, found %zu "
                          "NaN or infinite, the first at row %zu, channel %zu", bad,
                          first / (size_t)o->cols, first % (size_t)o->cols);
    }
    for (uint64_t c = 0; c < o->cols && rows > 0; c++) {
        take_channel(o, batch, x, rows, c);
    }
    o->rows += rows;
    o->batch_rows[batch] += rows;
    return QUANT_OK;
}

static void merge_group(quant_observer *o, const quant_observer *more, uint64_t g)
{
    slide(o, g, more->first[g]);
    o->small[g] += more->small[g];
    for (uint64_t sign = 0; sign < 2; sign++) {
        uint64_t at = (2 * g + sign) * QUANT_OBSERVER_BINS;
        for (uint32_t b = 0; b < QUANT_OBSERVER_BINS; b++) {
            uint32_t key = more->first[g] + b;
            uint64_t n = more->count[at + b];
            *(key < o->first[g] ? &o->small[g] : &o->count[at + key - o->first[g]]) += n;
        }
    }
}

quant_status quant_observer_merge(quant_context *ctx, quant_observer *o,
                                  const quant_observer *more)
{
    if (!o || !more || o->cols != more->cols || o->groups != more->groups ||
        o->batches != more->batches) {
        return quant_fail(ctx, QUANT_ESHAPE, "observer: expected %" PRIu64 " channels and %" PRIu64
                          " batches, found %" PRIu64 " and %" PRIu64, o ? o->cols : 0,
                          o ? o->batches : 0, more ? more->cols : 0, more ? more->batches : 0);
    }
    for (uint64_t g = 0; g < o->groups; g++) {
        merge_group(o, more, g);
    }
    for (uint64_t c = 0; c < o->cols && more->rows > 0; c++) {
        widen(&o->lowest[c], &o->highest[c], o->rows, more->lowest[c], more->highest[c]);
    }
    for (uint64_t cell = 0; cell < o->batches * o->groups; cell++) {
        uint64_t batch = cell / o->groups;
        if (more->batch_rows[batch] > 0) {
            widen(&o->batch_lowest[cell], &o->batch_highest[cell], o->batch_rows[batch],
                  more->batch_lowest[cell], more->batch_highest[cell]);
        }
    }
    for (uint64_t b = 0; b < o->batches; b++) {
        o->batch_rows[b] += more->batch_rows[b];
    }
    o->rows += more->rows;
    return QUANT_OK;
}

/* Extremes of n channels or batches from `at`, `step` apart, that are ordered and finite. */
static bool ordered(const float *lowest, const float *highest, uint64_t n)
{
    size_t first;
    bool fine = qk()->nonfinite_f32(lowest, (size_t)n, &first) == 0 &&
                qk()->nonfinite_f32(highest, (size_t)n, &first) == 0;
    for (uint64_t i = 0; i < n && fine; i++) {
        fine = lowest[i] <= highest[i];
    }
    return fine;
}

/* Counts add up to the rows and the window is the one of the group's extremes. */
static bool consistent(const quant_observer *o, uint64_t g)
{
    uint64_t sum = o->small[g], want;
    bool fits = !__builtin_mul_overflow(o->rows, o->groups == 1 ? o->cols : 1, &want);
    for (uint64_t b = 0; b < BOTH_SIGNS && fits; b++) {
        fits = !__builtin_add_overflow(sum, o->count[g * BOTH_SIGNS + b], &sum);
    }
    float lowest, highest;
    observer_extremes(o, g, &lowest, &highest);
    return fits && sum == want && o->first[g] == observer_first(lowest, highest);
}

quant_status quant_observer_check(quant_context *ctx, const quant_observer *o)
{
    uint64_t rows = 0;
    bool fine = ordered(o->lowest, o->highest, o->cols) &&
                ordered(o->batch_lowest, o->batch_highest, o->batches * o->groups);
    for (uint64_t b = 0; b < o->batches && fine; b++) {
        fine = !__builtin_add_overflow(rows, o->batch_rows[b], &rows);
    }
    fine = fine && rows == o->rows;
    for (uint64_t g = 0; g < o->groups && fine; g++) {
        fine = consistent(o, g);
    }
    return fine ? QUANT_OK
                : quant_fail(ctx, QUANT_ERANGE, "observer: expected counts, rows and extremes that "
                             "agree, found others");
}
