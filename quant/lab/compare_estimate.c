/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_estimate.c - the error of outputs on recorded inputs, without running them: over all rows
 * x that calibration saw, sum |E x|^2 = tr(E M E^T) with E = W' - W and M = sum x x^T. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"
#include "quant/lab/stats.h"

/* ROWS of a matrix at a time, each with a sum of its own, added in their order; WORTH: products for
 * which threads pay. */
enum { ROWS = 64, WORTH = 1 << 24 };

typedef struct estimate {
    lab_study *s;
    const lab_tensor *t;
    const lab_copy *copy;
    size_t rows, cols;
    double *m;              /* [cols][cols] */
    double *rows_of;        /* [3][ROWS][cols]: error, weights, product */
    float *narrow;          /* [ROWS][cols] of the copy */
    double error2[ROWS], output2[ROWS];
} estimate;

double lab_quadratic_form(const double *v, const double *m, size_t cols, double *product)
{
    double sum = 0;
    memset(product, 0, cols * sizeof *product);
    for (size_t i = 0; i < cols; i++) {
        for (size_t j = 0; v[i] != 0 && j < cols; j++) {
            product[j] += v[i] * m[i * cols + j];
        }
    }
    for (size_t j = 0; j < cols; j++) {
        sum += v[j] * product[j];
    }
    return fmax(sum, 0);
}

static quant_status read_copy(const estimate *e, uint64_t first, size_t count)
{
    const lab_copy *c = e->copy;
    return c->packed ? quant_decode_span(e->s->ctx, &c->scheme, &e->t->info->shape, c->packed,
                                         c->bytes, first, count, e->narrow)
                     : quant_bank_read_f32(e->s->ctx, c->other, c->index, first, count, e->narrow);
}

/* Rows [row, row + n) of the matrix that begins at element `first`. */
static quant_status add_rows(estimate *e, uint64_t first, size_t row, size_t n,
                             quant_compare_row *out)
{
    size_t cols = e->cols;
    const float *w = e->t->w + first + row * cols;
    double *error = e->rows_of, *weights = error + ROWS * cols, *product = weights + ROWS * cols;
    QUANT_TRY(read_copy(e, first + row * cols, n * cols));
    for (size_t i = 0; i < n * cols; i++) {
        weights[i] = (double)w[i];
        error[i] = (double)e->narrow[i] - (double)w[i];
    }
#pragma omp parallel for num_threads(quant_context_threads(e->s->ctx)) if (n * cols * cols > WORTH)
    for (size_t r = 0; r < n; r++) {
        double *room = product + r * cols;
        e->error2[r] = lab_quadratic_form(error + r * cols, e->m, cols, room);
        e->output2[r] = lab_quadratic_form(weights + r * cols, e->m, cols, room);
    }
    for (size_t r = 0; r < n; r++) {
        out->estimate.error2 += e->error2[r];
        out->estimate.output2 += e->output2[r];
    }
    return QUANT_OK;
}

static quant_status add_matrix(estimate *e, uint64_t matrix, const quant_stats_row *input,
                               quant_compare_row *out)
{
    const quant_stats *stats = e->s->options->stats;
    QUANT_TRY(quant_stats_moments(e->s->ctx, stats, input, e->m));
    for (size_t row = 0; row < e->rows; row += ROWS) {
        size_t n = e->rows - row < ROWS ? e->rows - row : ROWS;
        QUANT_TRY(add_rows(e, matrix * e->rows * e->cols, row, n, out));
    }
    out->estimate.inputs += input->rows;
    return QUANT_OK;
}

/* Every matrix of a stack has an input of its own, or there is one matrix. */
static quant_status add_all(estimate *e, quant_compare_row *out)
{
    const quant_shape *shape = &e->t->info->shape;
    uint64_t matrices = shape->rank == 3 ? shape->dim[0] : 1;
    for (uint64_t i = 0; i < matrices; i++) {
        quant_stats_row input;
        if (quant_stats_of_tensor(NULL, e->s->options->stats, e->t->info->name, i, &input) !=
                QUANT_OK || input.cols != e->cols) {
            return quant_fail(e->s->ctx, QUANT_ESHAPE, "statistics: expected an input of width %zu "
                              "for matrix %zu", e->cols, (size_t)i);
        }
        QUANT_TRY(add_matrix(e, i, &input, out));
    }
    return QUANT_OK;
}

quant_status lab_estimate(lab_study *s, const lab_tensor *t, const lab_copy *copy,
                          quant_compare_row *row)
{
    const quant_shape *shape = &t->info->shape;
    quant_stats_row input;
    if (!s->options->stats || !quant_stats_info_of(s->options->stats)->moments ||
        shape->rank < 2 || shape->rank > 3 || t->info->elements == 0 ||
        quant_stats_of_tensor(NULL, s->options->stats, t->info->name, 0, &input) != QUANT_OK) {
        return QUANT_OK;
    }
    estimate *e = quant_alloc(s->ctx, 1, sizeof *e);
    if (!e) {
        return QUANT_ENOMEM;
    }
    size_t cols = (size_t)shape->dim[shape->rank - 1];
    *e = (estimate){.s = s, .t = t, .copy = copy, .rows = (size_t)shape->dim[shape->rank - 2],
                    .cols = cols, .m = quant_alloc(s->ctx, cols * cols, sizeof *e->m),
                    .rows_of = quant_alloc(s->ctx, 3 * ROWS * cols, sizeof *e->rows_of),
                    .narrow = quant_alloc(s->ctx, ROWS * cols, sizeof *e->narrow)};
    quant_status status = e->m && e->rows_of && e->narrow ? add_all(e, row) : QUANT_ENOMEM;
    quant_release(s->ctx, e->m, cols * cols, sizeof *e->m);
    quant_release(s->ctx, e->rows_of, 3 * ROWS * cols, sizeof *e->rows_of);
    quant_release(s->ctx, e->narrow, ROWS * cols, sizeof *e->narrow);
    quant_release(s->ctx, e, 1, sizeof *e);
    return status;
}

void lab_estimate_pool(quant_output_estimate *sum, const quant_output_estimate *more)
{
    sum->error2 += more->error2;
    sum->output2 += more->output2;
    sum->inputs += more->inputs;
}

double quant_estimate_error(const quant_output_estimate *e)
{
    return e->inputs == 0 || (e->error2 == 0 && e->output2 == 0) ? (double)NAN
                                                                  : sqrt(e->error2 / e->output2);
}
