/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inspect.c - figures of every tensor, one tensor in memory at a time. */
#include "quant/lab/inspect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/recipe.h"

/* ---- stacks ------------------------------------------------------------------------------- */

/* Convolution kernels have rank 3 too, but their last axis is short; a stack holds matrices that
 * are both tall and wide, and not more of them than either side is long. */
enum { MATRIX_SIDE = 16 };

bool quant_tensor_looks_like_stack(const quant_tensor *t)
{
    const uint64_t *d = t->shape.dim;
    if (t->shape.rank != 3 || d[0] < 2) {
        return false;
    }
    if (strstr(t->name, "expert") || strstr(t->name, "_exps")) {
        return true;
    }
    return d[1] >= MATRIX_SIDE && d[2] >= MATRIX_SIDE && d[0] <= d[1] && d[0] <= d[2] &&
           !strstr(t->name, "conv");
}

/* ---- rows --------------------------------------------------------------------------------- */

/* RMS of the finite elements; 0 for none. */
static double row_rms(const float *w, uint64_t n)
{
    double sum = 0;
    uint64_t finite = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (isfinite(w[i])) {
            sum += (double)w[i] * (double)w[i];
            finite++;
        }
    }
    return finite ? sqrt(sum / (double)finite) : 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Largest over median; an even count has the mean of the two in the middle as its median. */
static quant_status row_spread(quant_context *ctx, const quant_tensor *t, const float *w,
                               double *spread)
{
    *spread = NAN;
    if (t->shape.rank < 2 || t->elements == 0) {
        return QUANT_OK;
    }
    size_t rows = (size_t)t->shape.dim[0];
    uint64_t length = t->elements / rows;
    double *rms = quant_alloc(ctx, rows, sizeof *rms);
    if (!rms) {
        return QUANT_ENOMEM;
    }
    for (size_t r = 0; r < rows; r++) {
        rms[r] = row_rms(w + r * length, length);
    }
    qsort(rms, rows, sizeof *rms, ascending);
    *spread = rms[rows - 1] / ((rms[(rows - 1) / 2] + rms[rows / 2]) / 2);
    quant_release(ctx, rms, rows, sizeof *rms);
    return QUANT_OK;
}

/* ---- tensors ------------------------------------------------------------------------------ */

static quant_status measure(quant_context *ctx, quant_bank *bank, quant_inspect_row *row)
{
    const quant_tensor *t = row->info;
    size_t n = (size_t)t->elements;
    float *w = quant_alloc(ctx, n, sizeof *w);
    if (!w) {
        return QUANT_ENOMEM;
    }
    quant_status status = quant_bank_read_f32(ctx, bank, row->tensor, 0, t->elements, w);
    if (status == QUANT_OK) {
        status = quant_summarize(ctx, w, n, &row->figures);
    }
    if (status == QUANT_OK) {
        status = row_spread(ctx, t, w, &row->row_spread);
    }
    quant_release(ctx, w, n, sizeof *w);
    row->measured = status == QUANT_OK;
    return status == QUANT_OK ? status : quant_fail_prefix(ctx, status, t->name);
}

static bool selected(const quant_bank *bank, const char *glob, size_t i)
{
    return !glob || quant_glob_match(glob, quant_bank_tensor(bank, i)->name);
}

quant_status quant_inspect(quant_context *ctx, quant_bank *bank, const char *tensors,
                           quant_progress_fn *progress, void *user, quant_inspect_row *rows,
                           size_t *filled)
{
    uint64_t done = 0, total = 0;
    size_t count = quant_bank_count(bank), n = 0;
    for (size_t i = 0; i < count; i++) {
        total += selected(bank, tensors, i) ? quant_bank_tensor(bank, i)->bytes : 0;
    }
    *filled = 0;
    for (size_t i = 0; i < count; i++) {
        if (!selected(bank, tensors, i)) {
            continue;
        }
        quant_inspect_row *row = &rows[n++];
        memset(row, 0, sizeof *row);
        row->tensor = i;
        row->info = quant_bank_tensor(bank, i);
        row->row_spread = NAN;
        row->looks_like_stack = quant_tensor_looks_like_stack(row->info);
        if (progress) {
            progress(user, row->info->name, done, total);
        }
        if (quant_dtype_is_decoded(row->info->dtype)) {
            QUANT_TRY(measure(ctx, bank, row));
        }
        done += row->info->bytes;
    }
    QUANT_TRY(quant_bank_unchanged(ctx, bank));
    *filled = n;
    return QUANT_OK;
}
