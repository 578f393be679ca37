/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_observer_merge.c - any split of the data, in any order, is one pass bit for bit. */
#include <math.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/draw.h"
#include "tests/test.h"

enum { ROWS = 96, COLS = 7, BATCHES = 5 };

static bool same_floats(const float *a, const float *b, uint64_t n)
{
    return memcmp(a, b, n * sizeof *a) == 0;
}

static bool same_state(const quant_observer *a, const quant_observer *b)
{
    uint64_t bins = 2 * a->groups * QUANT_OBSERVER_BINS, cells = a->batches * a->groups;
    return a->cols == b->cols && a->groups == b->groups && a->rows == b->rows &&
           memcmp(a->count, b->count, bins * sizeof *a->count) == 0 &&
           memcmp(a->small, b->small, a->groups * sizeof *a->small) == 0 &&
           memcmp(a->first, b->first, a->groups * sizeof *a->first) == 0 &&
           memcmp(a->batch_rows, b->batch_rows, a->batches * sizeof *a->batch_rows) == 0 &&
           same_floats(a->lowest, b->lowest, a->cols) &&
           same_floats(a->highest, b->highest, a->cols) &&
           same_floats(a->batch_lowest, b->batch_lowest, cells) &&
           same_floats(a->batch_highest, b->batch_highest, cells);
}

/* Rows of widely different size, zeros of both signs, subnormals. */
static void fill(draw *d, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int64_t kind = draw_int(d, 0, 9);
        float v = (float)draw_normal(d);
        x[i] = kind == 0   ? (draw_int(d, 0, 1) ? 0.0f : -0.0f)
               : kind == 1 ? v * 1e-40f
               : kind == 2 ? ldexpf(v, (int)draw_int(d, -100, 100))
                           : v;
    }
}

/* Row i belongs to batch batch[i] and goes to one of `parts` observers, in an order of its own;
 * then these are merged as a random tree. */
static quant_observer *in_pieces(quant_context *ctx, draw *d, const float *x, const uint64_t *batch,
                                 bool per_channel)
{
    enum { PARTS = 6 };
    quant_observer *part[PARTS];
    size_t order[ROWS], left = PARTS;
    for (int p = 0; p < PARTS; p++) {
        CHECK_OK(ctx, quant_observer_new(ctx, COLS, per_channel, BATCHES, &part[p]));
    }
    for (size_t i = 0; i < ROWS; i++) {
        size_t j = (size_t)draw_int(d, 0, (int64_t)i);
        order[i] = order[j];
        order[j] = i;
    }
    for (size_t i = 0; i < ROWS; i++) {
        size_t r = order[i];
        CHECK_OK(ctx, quant_observer_add(ctx, part[draw_int(d, 0, PARTS - 1)], batch[r],
                                         x + r * COLS, 1));
    }
    while (left > 1) {
        size_t from = (size_t)draw_int(d, 0, (int64_t)left - 1);
        quant_observer *taken = part[from];
        part[from] = part[--left];
        CHECK_OK(ctx, quant_observer_merge(ctx, part[draw_int(d, 0, (int64_t)left - 1)], taken));
        quant_observer_free(ctx, taken);
    }
    return part[0];
}

static void any_split_equals_one_pass(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float x[ROWS * COLS];
    uint64_t batch[ROWS], last = test_last_case();
    for (uint64_t k = test_first_case(); k < last && k < test_first_case() + 200; k++) {
        draw d = draw_begin("observer", k);
        bool per_channel = k % 2;
        quant_observer *whole;
        fill(&d, x, ROWS * COLS);
        CHECK_OK(ctx, quant_observer_new(ctx, COLS, per_channel, BATCHES, &whole));
        for (size_t i = 0, begin = 0; i < ROWS; i++) { /* runs of a batch at a time */
            batch[i] = i * BATCHES / ROWS;
            if (i + 1 == ROWS || (i + 1) * BATCHES / ROWS != batch[i]) {
                CHECK_OK(ctx, quant_observer_add(ctx, whole, batch[i], x + begin * COLS,
                                                 i + 1 - begin));
                begin = i + 1;
            }
        }
        quant_observer *pieces = in_pieces(ctx, &d, x, batch, per_channel);
        CHECK_OK(ctx, quant_observer_check(ctx, whole));
        bool same = same_state(whole, pieces);
        quant_observer_free(ctx, whole);
        quant_observer_free(ctx, pieces);
        if (!same) {
            test_failed_case(k, "%s", per_channel ? "per channel" : "per tensor");
            CU_FAIL("a split gave other state than one pass");
            break;
        }
    }
    quant_context_free(ctx);
}

TEST_SUITE(observer_merge,
           {"any split equals one pass", any_split_equals_one_pass})
