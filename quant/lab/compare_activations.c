/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_activations.c - outputs of integer weights and integer inputs, and what each side did. */
#include <math.h>
#include <string.h>

#include "quant/activation.h"
#include "quant/gemm.h"
#include "quant/internal.h"
#include "quant/lab/compare_parts.h"

/* ---- inputs --------------------------------------------------------------------------------- */

/* `rows` vectors as floats and as codes; x_hat is what the codes stand for. */
typedef struct coded {
    size_t rows, cols;
    float *x;
    quant_activation_codes a;
} coded;

static void coded_free(quant_context *ctx, coded *c)
{
    quant_release(ctx, c->x, c->rows * c->cols, sizeof *c->x);
    quant_release(ctx, c->a.code, c->rows, c->cols);
    quant_release(ctx, c->a.scale, c->rows, sizeof *c->a.scale);
    quant_release(ctx, c->a.zero, c->rows, sizeof *c->a.zero);
}

/* A static grid that nobody recorded beforehand is fitted to the inputs themselves, each of which
 * is a batch of its own. */
static quant_status own_grid(quant_context *ctx, const quant_activation *how, const coded *c,
                             quant_activation_grid *grid)
{
    quant_observer *o = NULL;
    QUANT_TRY(quant_observer_new(ctx, c->cols, false, c->rows, &o));
    quant_status s = QUANT_OK;
    for (size_t i = 0; i < c->rows && s == QUANT_OK; i++) {
        s = quant_observer_add(ctx, o, i, c->x + i * c->cols, 1);
    }
    if (s == QUANT_OK) {
        s = quant_observer_fit(ctx, o, 0, how, grid);
    }
    quant_observer_free(ctx, o);
    return s;
}

/* What calibration saw of the input of a tensor, all experts together; *pooled NULL: nothing. */
static quant_status recorded(quant_context *ctx, const quant_stats *stats, const char *name,
                             size_t cols, quant_observer **pooled)
{
    quant_stats_row row;
    quant_observer *sum = NULL;
    *pooled = NULL;
    if (!stats || quant_stats_of_tensor(ctx, stats, name, 0, &row) != QUANT_OK) {
        return QUANT_OK;
    }
    if (row.cols != cols) {
        return quant_fail(ctx, QUANT_ESHAPE, "statistics of %s: expected %zu channels, found %zu",
                          name, cols, row.cols);
    }
    uint64_t experts = quant_site_is_expert(row.site) ? quant_stats_info_of(stats)->experts : 1;
    QUANT_TRY(quant_observer_new(ctx, cols, false, row.observer->batches, &sum));
    quant_status s = QUANT_OK;
    for (uint64_t e = 0; e < experts && s == QUANT_OK; e++) {
        s = quant_stats_at(stats, row.site, row.layer, e, &row)
                ? quant_observer_merge(ctx, sum, row.observer)
                : QUANT_OK;
    }
    if (s != QUANT_OK || sum->rows == 0) {
        quant_observer_free(ctx, sum);
        return s;
    }
    *pooled = sum;
    return QUANT_OK;
}

quant_activation_grid lab_smoothed_grid(const quant_observer *o, bool asymmetric,
                                        const float *smooth)
{
    float lowest = 0, highest = 0;
    for (uint64_t j = 0; j < o->cols; j++) {
        lowest = fminf(lowest, o->lowest[j] / smooth[j]);
        highest = fmaxf(highest, o->highest[j] / smooth[j]);
    }
    return quant_activation_grid_of(asymmetric, lowest, highest);
}

static quant_status static_grid(quant_context *ctx, const lab_ranges *from, const coded *c,
                                quant_activation_grid *grid)
{
    quant_observer *o = NULL;
    QUANT_TRY(recorded(ctx, from->stats, from->name, c->cols, &o));
    quant_status s = QUANT_OK;
    if (o && from->smooth) {
        *grid = lab_smoothed_grid(o, from->how->asymmetric, from->smooth);
    } else {
        s = o ? quant_observer_fit(ctx, o, 0, from->how, grid) : own_grid(ctx, from->how, c, grid);
    }
    if (from->own) {
        *from->own = !o;
    }
    quant_observer_free(ctx, o);
    return s;
}

static quant_status encode(quant_context *ctx, const lab_ranges *from, coded *c)
{
    quant_activation_grid grid;
    bool fixed = from->how->kind == QUANT_ACTIVATION_STATIC;
    if (fixed) {
        QUANT_TRY(static_grid(ctx, from, c, &grid));
    }
    return quant_activation_encode(ctx, from->how, fixed ? &grid : NULL, c->x, c->rows, c->cols,
                                   &c->a);
}

/* Vectors of all matrices, as floats, then as codes; freed by coded_free, after a failure too. */
static quant_status coded_new(quant_context *ctx, const lab_ranges *from,
                              const lab_inputs *inputs, uint64_t matrices, coded *c)
{
    size_t rows = (size_t)(inputs->count * (inputs->per_matrix ? matrices : 1));
    size_t cols = (size_t)inputs->cols;
    *c = (coded){.rows = rows, .cols = cols};
    c->x = quant_alloc(ctx, rows * cols, sizeof *c->x); /* they are there as doubles */
    c->a.code = quant_alloc(ctx, rows, cols);
    c->a.scale = quant_alloc(ctx, rows, sizeof *c->a.scale);
    c->a.zero = quant_alloc(ctx, rows, sizeof *c->a.zero);
    if (!c->x || !c->a.code || !c->a.scale || !c->a.zero) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < rows * cols; i++) {
        c->x[i] = (float)inputs->x[i] / (from->smooth ? from->smooth[i % cols] : 1);
    }
    return encode(ctx, from, c);
}

/* x_hat[rows][cols] = scale (code - zero), exact in double, times what x was divided by. */
static void decode(const coded *c, const float *smooth, double *x_hat)
{
    for (size_t i = 0; i < c->rows * c->cols; i++) {
        size_t r = i / c->cols;
        double factor = smooth ? (double)smooth[i % c->cols] : 1;
        x_hat[i] = (double)c->a.scale[r] * (c->a.code[i] - c->a.zero[r]) * factor;
    }
}

static quant_status decoded_inputs(quant_context *ctx, const coded *c, const float *smooth,
                                   const lab_inputs *inputs, lab_inputs *x_hat)
{
    *x_hat = *inputs;
    x_hat->x = quant_alloc(ctx, c->rows * c->cols, sizeof *x_hat->x);
    if (!x_hat->x) {
        return QUANT_ENOMEM;
    }
    decode(c, smooth, x_hat->x);
    return QUANT_OK;
}

quant_status lab_inputs_quantize(quant_context *ctx, const lab_ranges *from,
                                 const lab_inputs *inputs, uint64_t matrices, lab_inputs *x_hat)
{
    coded c;
    quant_status s = coded_new(ctx, from, inputs, matrices, &c);
    if (s == QUANT_OK) {
        s = decoded_inputs(ctx, &c, from->smooth, inputs, x_hat);
    }
    coded_free(ctx, &c);
    return s;
}

void lab_inputs_quantize_free(quant_context *ctx, uint64_t matrices, lab_inputs *x_hat)
{
    size_t rows = (size_t)(x_hat->count * (x_hat->per_matrix ? matrices : 1));
    quant_release(ctx, x_hat->x, rows * (size_t)x_hat->cols, sizeof *x_hat->x);
    x_hat->x = NULL;
}

/* ---- integer outputs ------------------------------------------------------------------------ */

/* Scratch of one matrix. */
typedef struct matrix {
    size_t n, k, bytes;
    quant_integer_weights w;
    void *packed;
    float *y; /* [inputs][n] */
} matrix;

static quant_status matrix_new(quant_context *ctx, size_t n, size_t k, size_t inputs, matrix *m)
{
    *m = (matrix){.n = n, .k = k};
    QUANT_TRY(quant_gemm_s8_layout(ctx, n, k, &m->bytes));
    m->w.code = quant_alloc(ctx, n, k);
    m->w.scale = quant_alloc(ctx, n, sizeof *m->w.scale);
    m->packed = quant_alloc(ctx, m->bytes, 1);
    m->y = quant_alloc(ctx, n, inputs * sizeof *m->y);
    return m->w.code && m->w.scale && m->packed && m->y ? QUANT_OK : QUANT_ENOMEM;
}

static void matrix_free(quant_context *ctx, size_t inputs, matrix *m)
{
    quant_release(ctx, m->w.code, m->n, m->k);
    quant_release(ctx, m->w.scale, m->n, sizeof *m->w.scale);
    quant_release(ctx, m->packed, m->bytes, 1);
    quant_release(ctx, m->y, m->n, inputs * sizeof *m->y);
}

/* y[m][input][row] of every matrix through int8 x int8 -> int32. */
static quant_status multiply(lab_study *s, const lab_tensor *t, const lab_copy *copy,
                             const coded *c, lab_outputs *out)
{
    size_t inputs = (size_t)out->count, n = (size_t)out->view.rows;
    matrix m;
    quant_status status = matrix_new(s->ctx, n, c->cols, inputs, &m);
    for (uint64_t i = 0; i < out->view.matrices && status == QUANT_OK; i++) {
        size_t first = out->inputs->per_matrix ? (size_t)i * inputs : 0;
        const quant_gemm_scales scales = {c->a.scale + first, c->a.zero + first, inputs, m.w.scale,
                                          NULL, n};
        status = quant_weights_s8(s->ctx, &copy->scheme, &t->info->shape, copy->packed,
                                  copy->bytes, i, &m.w);
        if (status == QUANT_OK) {
            status = quant_gemm_s8_pack(s->ctx, n, c->cols, m.w.code, m.packed, m.bytes);
        }
        if (status == QUANT_OK) {
            status = quant_gemm_s8_f32(s->ctx, inputs, c->a.code + first * c->cols, m.packed,
                                       m.bytes, &scales, m.y);
        }
        for (size_t j = 0; j < inputs * n && status == QUANT_OK; j++) {
            out->y[i * inputs * n + j] = (double)m.y[j];
        }
    }
    matrix_free(s->ctx, inputs, &m);
    return status;
}

/* ---- parts ---------------------------------------------------------------------------------- */

void lab_output_parts_add(quant_output_parts *p, const double y[4])
{
    double weights = y[1] - y[0], activations = y[2] - y[0], e = y[3] - y[0];
    double cross = (e - weights) - activations;
    p->n++;
    p->clean2 += y[0] * y[0];
    p->error2 += e * e;
    p->weights2 += weights * weights;
    p->activations2 += activations * activations;
    p->cross2 += cross * cross;
    p->weights_dot += weights * e;
    p->activations_dot += activations * e;
    p->cross_dot += cross * e;
}

void lab_output_parts_pool(quant_output_parts *sum, const quant_output_parts *more)
{
    sum->n += more->n;
    sum->clean2 += more->clean2;
    sum->error2 += more->error2;
    sum->weights2 += more->weights2;
    sum->activations2 += more->activations2;
    sum->cross2 += more->cross2;
    sum->weights_dot += more->weights_dot;
    sum->activations_dot += more->activations_dot;
    sum->cross_dot += more->cross_dot;
    sum->inputs += more->inputs;
    sum->saturated += more->saturated;
}

quant_output_shares quant_output_shares_of(const quant_output_parts *p)
{
    double e = p->error2;
    return e > 0 ? (quant_output_shares){p->weights_dot / e, p->activations_dot / e,
                                         p->cross_dot / e}
                 : (quant_output_shares){(double)NAN, (double)NAN, (double)NAN};
}

/* W x_hat with the weights as stored. */
static quant_status stored_outputs(lab_study *s, const lab_tensor *t, const lab_outputs *like,
                                   const lab_inputs *x_hat, lab_outputs *out)
{
    const lab_copy exact = {0};
    QUANT_TRY(lab_outputs_new(s->ctx, &like->view, x_hat, out));
    lab_outputs *const sinks[2] = {out, NULL};
    return lab_stream(s, t, &exact, NULL, sinks);
}

quant_status lab_activations_measure(lab_study *s, const lab_tensor *t, const lab_copy *copy,
                                     const lab_own *own, const lab_outputs *weights_only,
                                     quant_compare_row *row)
{
    coded c;
    lab_inputs x_hat = {0};
    lab_outputs stored = {0}, both = {0};
    uint64_t matrices = own->reference.view.matrices;
    const lab_ranges from = {&copy->scheme.activation, lab_recorded(s), t->info->name,
                             &row->own_ranges, copy->smooth};
    quant_status status = coded_new(s->ctx, &from, &own->inputs, matrices, &c);
    status = status ? status : decoded_inputs(s->ctx, &c, from.smooth, &own->inputs, &x_hat);
    status = status ? status : stored_outputs(s, t, &own->reference, &x_hat, &stored);
    status = status ? status
                    : lab_outputs_new(s->ctx, &own->reference.view, &own->inputs, &both);
    status = status ? status : multiply(s, t, copy, &c, &both);
    if (status == QUANT_OK) {
        uint64_t n = matrices * own->inputs.count * both.view.rows;
        for (uint64_t i = 0; i < n; i++) {
            const double y[4] = {own->reference.y[i], weights_only->y[i], stored.y[i], both.y[i]};
            lab_output_parts_add(&row->parts, y);
        }
        row->parts.inputs = c.rows * c.cols;
        row->parts.saturated = c.a.saturated;
        row->output = lab_outputs_compare(&own->reference, &both);
    }
    lab_outputs_free(s->ctx, &both);
    lab_outputs_free(s->ctx, &stored);
    lab_inputs_quantize_free(s->ctx, matrices, &x_hat);
    coded_free(s->ctx, &c);
    return status;
}
