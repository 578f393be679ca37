/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/lab/probe.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/random.h"

lab_view lab_view_of(const quant_shape *shape, int stack)
{
    lab_view v = {1, 1, 1};
    for (int i = 0; i < shape->rank; i++) {
        uint64_t d = shape->dim[i];
        if (i < stack) {
            v.matrices *= d;
        } else if (i == stack && i + 1 < shape->rank) {
            v.rows = d;
        } else {
            v.cols *= d;
        }
    }
    return v;
}

/* ---- inputs ------------------------------------------------------------------------------- */

static quant_status inputs_new(quant_context *ctx, uint64_t count, uint64_t cols,
                               lab_inputs *inputs)
{
    *inputs = (lab_inputs){NULL, count, cols, false};
    if (count > SIZE_MAX / sizeof(double)) {
        return quant_fail(ctx, QUANT_EOVERFLOW, "inputs: %" PRIu64 " vectors of %" PRIu64
                          " do not fit in memory", count, cols);
    }
    inputs->x = quant_alloc(ctx, (size_t)cols, (size_t)count * sizeof(double));
    return inputs->x ? QUANT_OK : QUANT_ENOMEM;
}

void lab_inputs_free(quant_context *ctx, lab_inputs *inputs)
{
    quant_release(ctx, inputs->x, (size_t)inputs->cols, (size_t)inputs->count * sizeof(double));
    inputs->x = NULL;
}

/* Directions of independent normals, scaled to norm 1: uniform on the sphere. */
static quant_status seeded(quant_context *ctx, const quant_compare_options *options,
                           const char *name, uint64_t cols, lab_inputs *inputs)
{
    QUANT_TRY(inputs_new(ctx, (uint64_t)options->probe, cols, inputs));
    quant_random stream = quant_random_stream(options->seed, name);
    for (uint64_t k = 0; k < inputs->count; k++) {
        double *x = inputs->x + k * cols, norm2 = 0;
        for (uint64_t c = 0; c < cols; c++) {
            x[c] = quant_random_normal(&stream, k * cols + c);
            norm2 += x[c] * x[c];
        }
        double scale = norm2 > 0 ? 1 / sqrt(norm2) : 0;
        for (uint64_t c = 0; c < cols; c++) {
            x[c] *= scale;
        }
    }
    return QUANT_OK;
}

/* The tensor of the input bank that belongs to `name`; *tensor NULL when there is none. */
static quant_status find_inputs(quant_context *ctx, const quant_bank *bank, const char *name,
                                uint64_t cols, size_t *i, const quant_tensor **tensor)
{
    *tensor = NULL;
    bool anonymous = strcmp(quant_bank_format(bank), "npy") == 0;
    *i = 0;
    if (quant_bank_count(bank) == 0 || (!anonymous && quant_bank_find(ctx, bank, name, i))) {
        return QUANT_OK;
    }
    const quant_tensor *t = quant_bank_tensor(bank, *i);
    uint64_t width = t->shape.rank ? t->shape.dim[t->shape.rank - 1] : 1;
    if (width == cols && t->elements > 0) {
        *tensor = t;
        return QUANT_OK;
    }
    return anonymous ? QUANT_OK
                     : quant_fail(ctx, QUANT_ESHAPE, "inputs of %s: expected vectors of %" PRIu64
                                  " elements, found %" PRIu64, name, cols, width);
}

static quant_status recorded(quant_context *ctx, quant_bank *bank, const char *name, uint64_t cols,
                             lab_inputs *inputs)
{
    size_t i;
    const quant_tensor *t;
    QUANT_TRY(find_inputs(ctx, bank, name, cols, &i, &t));
    if (!t) {
        return QUANT_OK;
    }
    QUANT_TRY(inputs_new(ctx, t->elements / cols, cols, inputs));
    quant_status s = quant_bank_read_f64(ctx, bank, i, 0, t->elements, inputs->x);
    for (uint64_t j = 0; s == QUANT_OK && j < t->elements; j++) {
        if (!isfinite(inputs->x[j])) {
            s = quant_fail(ctx, QUANT_ENONFINITE, "inputs of %s: element %" PRIu64
                           " is not finite", name, j);
        }
    }
    if (s != QUANT_OK) {
        lab_inputs_free(ctx, inputs);
    }
    return s;
}

quant_status lab_inputs_make(quant_context *ctx, const quant_compare_options *options,
                             const char *name, uint64_t cols, lab_inputs *inputs)
{
    *inputs = (lab_inputs){NULL, 0, cols, false};
    if (options->inputs) {
        return recorded(ctx, options->inputs, name, cols, inputs);
    }
    return options->probe > 0 ? seeded(ctx, options, name, cols, inputs) : QUANT_OK;
}

/* ---- outputs ------------------------------------------------------------------------------ */

quant_status lab_outputs_new(quant_context *ctx, const lab_view *view, const lab_inputs *inputs,
                             lab_outputs *outputs)
{
    size_t rows = (size_t)(view->matrices * view->rows); /* at most the tensor's elements */
    size_t bytes = (size_t)inputs->count * sizeof(double);
    *outputs = (lab_outputs){*view, inputs, inputs->count, quant_alloc(ctx, rows, bytes)};
    if (!outputs->y) {
        return QUANT_ENOMEM;
    }
    memset(outputs->y, 0, rows * bytes);
    return QUANT_OK;
}

void lab_outputs_free(quant_context *ctx, lab_outputs *outputs)
{
    quant_release(ctx, outputs->y, (size_t)(outputs->view.matrices * outputs->view.rows),
                  (size_t)outputs->count * sizeof(double));
    outputs->y = NULL;
}

/* Sixteen fixed lanes, folded as a tree: one order of additions, whatever the compiler does. */
static double dot(const double *a, const double *b, uint64_t n)
{
    enum { LANES = 16 };
    double lane[LANES] = {0};
    uint64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lane[j] += a[i + (uint64_t)j] * b[i + (uint64_t)j];
        }
    }
    for (int j = 0; i < n; i++, j++) {
        lane[j] += a[i] * b[i];
    }
    for (int h = LANES / 2; h; h /= 2) {
        for (int j = 0; j < h; j++) {
            lane[j] += lane[j + h];
        }
    }
    return lane[0];
}

/* The part of one row that lies in the span w[first, first + count). */
static void add_row(lab_outputs *o, const double *w, uint64_t first, uint64_t count, uint64_t row)
{
    const lab_view *v = &o->view;
    const lab_inputs *in = o->inputs;
    uint64_t begin = row * v->cols, end = begin + v->cols;
    begin = begin < first ? first : begin;
    end = end > first + count ? first + count : end;
    uint64_t m = row / v->rows, r = row % v->rows, c = begin - row * v->cols;
    const double *x = in->x + (in->per_matrix ? m * in->count * v->cols : 0) + c;
    for (uint64_t k = 0; k < in->count; k++) {
        double *y = &o->y[(m * in->count + k) * v->rows + r];
        *y += dot(w + (begin - first), x + k * v->cols, end - begin);
    }
}

/* Products below which waking other threads costs more than it saves. */
enum { WORTH_A_TEAM = 1 << 16 };

void lab_outputs_add(quant_context *ctx, lab_outputs *outputs, const double *w, uint64_t first,
                     uint64_t count)
{
    if (count == 0) {
        return;
    }
    uint64_t row = first / outputs->view.cols;
    uint64_t rows = (first + count - 1) / outputs->view.cols - row + 1;
    bool worth = rows > 1 && count * outputs->count >= WORTH_A_TEAM;
#pragma omp parallel for schedule(static) num_threads(quant_context_threads(ctx)) if (worth)
    for (uint64_t i = 0; i < rows; i++) {
        add_row(outputs, w, first, count, row + i);
    }
}

/* ---- fidelity ----------------------------------------------------------------------------- */

quant_output_fidelity lab_output_none(void)
{
    quant_output_fidelity f = {0};
    f.cosine_mean = f.cosine_min = NAN;
    return f;
}

void lab_output_pool(quant_output_fidelity *sum, const quant_output_fidelity *more)
{
    if (more->live > 0) {
        double total = (double)sum->live + (double)more->live;
        double before = sum->live ? sum->cosine_mean * ((double)sum->live / total) : 0;
        sum->cosine_mean = before + more->cosine_mean * ((double)more->live / total);
        bool lower = !sum->live || !(more->cosine_min >= sum->cosine_min);
        sum->cosine_min = lower && !(sum->live && isnan(sum->cosine_min)) ? more->cosine_min
                                                                           : sum->cosine_min;
    }
    sum->pairs += more->pairs;
    sum->live += more->live;
    quant_fidelity_add(&sum->pooled, &more->pooled);
}

quant_output_fidelity lab_outputs_compare(const lab_outputs *reference, const lab_outputs *copy)
{
    quant_output_fidelity all = lab_output_none();
    double sum = 0;
    all.pairs = reference->view.matrices * reference->count;
    for (uint64_t p = 0; p < all.pairs; p++) {
        uint64_t at = p * reference->view.rows;
        quant_fidelity f = quant_fidelity_f64(NULL, reference->y + at, copy->y + at,
                                              (size_t)reference->view.rows);
        quant_fidelity_add(&all.pooled, &f);
        if (quant_fidelity_live(&f)) {
            double cosine = quant_cosine(&f);
            sum += cosine;
            all.cosine_min = !all.live || !(cosine >= all.cosine_min) ? cosine : all.cosine_min;
            all.live++;
        }
    }
    if (all.live > 0) {
        all.cosine_mean = sum / (double)all.live;
    }
    return all;
}
