/* SPDX-License-Identifier: GPL-3.0-or-later */
/* smooth_search.c - SmoothQuant's alpha for an input of a model, by the error that its outputs are
 * predicted to have; from what calibration recorded, nothing is run. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/compare_parts.h"
#include "quant/lab/propagate_parts.h"
#include "quant/lab/smoothing.h"

enum {
    TRIES = LAB_SMOOTH_ALPHAS + 1, /* the last without factors, for comparison */
    NODES = 128,                   /* of the integral below */
    WORTH = 1 << 22                /* products for which threads pay */
};

typedef struct trial {
    quant_context *ctx;
    const lab_smooth_search *s;
    lab_pick pick;
    quant_scheme weights;
    bool moments;
    size_t width, rows;           /* of the matrices */
    float *factor;                /* [TRIES][width] */
    double *square, *error, *m;   /* [width]: sums of x^2, room; [width][width]: sum x x^T */
    float *stored, *copy;         /* [rows][width] */
    double *rows_of;              /* [rows]: errors */
    double *scratch;              /* [rows][2][width] */
    double error2[TRIES], output2;
} trial;

/* ---- steps of the input ---------------------------------------------------------------------- */

/* E max z^2 = integral of 2 t P(max |z| > t), by the midpoint rule up to eight times the largest
 * deviation, beyond which there is nothing. */
double lab_token_step2(const double *square, size_t n, double most, double levels)
{
    double widest = 0, sum = 0;
    for (size_t j = 0; j < n; j++) {
        widest = fmax(widest, square[j]);
    }
    double end = fmin(most, 8 * sqrt(widest)), h = end / NODES;
    for (int k = 0; k < NODES && widest > 0; k++) {
        double t = (k + 0.5) * h, within = 1;
        for (size_t j = 0; j < n && within > 0; j++) {
            within *= square[j] > 0 ? erf(t / sqrt(2 * square[j])) : 1;
        }
        sum += 2 * t * h * (1 - within);
    }
    return sum / (levels * levels);
}

/* square of the row in b->square: mean squares of x / factor are wanted. */
static double step2_of(trial *b, const quant_stats_row *row, const float *factor)
{
    const quant_activation *how = &b->s->scheme->activation;
    double most = 0;
    if (how->kind == QUANT_ACTIVATION_STATIC) {
        quant_activation_grid g = lab_smoothed_grid(row->observer, how->asymmetric, factor);
        return (double)g.scale * (double)g.scale;
    }
    for (size_t j = 0; j < b->width; j++) {
        double f = (double)factor[j];
        b->error[j] = row->square[j] / (double)row->rows / (f * f);
        most = fmax(most, fmax(-(double)row->observer->lowest[j],
                               (double)row->observer->highest[j]) / f);
    }
    return lab_token_step2(b->error, b->width, most, how->asymmetric ? 127.5 : 127);
}

/* ---- one matrix under one alpha -------------------------------------------------------------- */

/* sum over rows of E of E M E^T, or of E diag(M) E^T; E = a - b (NULL: 0). */
static double weighed(trial *b, const float *a, const float *less)
{
    size_t w = b->width;
    double sum = 0;
    int threads = quant_context_threads(b->ctx);
#pragma omp parallel for num_threads(threads) if (b->moments && b->rows * w * w > WORTH)
    for (size_t r = 0; r < b->rows; r++) {
        double *e = b->scratch + 2 * r * w, own = 0;
        for (size_t j = 0; j < w; j++) {
            e[j] = (double)a[r * w + j] - (less ? (double)less[r * w + j] : 0);
            own += e[j] * e[j] * b->square[j];
        }
        b->rows_of[r] = b->moments ? lab_quadratic_form(e, b->m, w, e + w) : own;
    }
    for (size_t r = 0; r < b->rows; r++) {
        sum += b->rows_of[r];
    }
    return sum;
}

/* rows * sum of |W'_j|^2 v_j. */
static double rounding(const trial *b, const quant_stats_row *row, const float *factor,
                       double step2)
{
    size_t w = b->width;
    double sum = 0, rows = (double)row->rows;
    for (size_t r = 0; r < b->rows; r++) {
        for (size_t j = 0; j < w; j++) {
            double v = (double)b->copy[r * w + j], f = (double)factor[j];
            sum += v * v * fmin(rows * f * f * step2 / 12, b->square[j]);
        }
    }
    return sum;
}

static quant_status try_matrix(trial *b, const quant_tensor *t, const quant_stats_row *row)
{
    memcpy(b->square, row->square, b->width * sizeof *b->square);
    if (b->moments) {
        QUANT_TRY(quant_stats_moments(b->ctx, b->s->from->stats, row, b->m));
    }
    for (int i = 0; i < TRIES; i++) {
        const float *factor = b->factor + (size_t)i * b->width;
        double step2 = step2_of(b, row, factor);
        QUANT_TRY(lab_pick_copy(b->ctx, &b->pick, t, b->stored, factor, b->copy,
                                &(uint64_t){0}));
        b->error2[i] += weighed(b, b->copy, b->stored) + rounding(b, row, factor, step2);
    }
    b->output2 += weighed(b, b->stored, NULL);
    return QUANT_OK;
}

/* ---- all matrices of the input --------------------------------------------------------------- */

/* The input of matrix `expert`; false: nothing of it was seen. */
static bool find_row(const trial *b, quant_role role, uint64_t expert, quant_stats_row *row)
{
    const quant_stats *stats = b->s->from->stats;
    bool experts = role == QUANT_ROLE_EXPERT_GATE_UP || role == QUANT_ROLE_EXPERT_GATE ||
                   role == QUANT_ROLE_EXPERT_UP;
    quant_site site = experts                              ? QUANT_SITE_EXPERT_INPUT
                      : b->s->group == LAB_SMOOTH_ATTENTION ? QUANT_SITE_ATTENTION_INPUT
                                                            : QUANT_SITE_FFN_INPUT;
    return quant_stats_at(stats, site, b->s->layer, expert, row) && row->rows > 0 &&
           row->cols == b->width;
}

static void free_matrix(trial *b)
{
    size_t n = b->rows * b->width;
    quant_release(b->ctx, b->stored, n, sizeof *b->stored);
    quant_release(b->ctx, b->copy, n, sizeof *b->copy);
    quant_release(b->ctx, b->rows_of, b->rows, sizeof *b->rows_of);
    quant_release(b->ctx, b->scratch, b->rows, 2 * b->width * sizeof *b->scratch);
}

static bool new_matrix(trial *b, size_t rows)
{
    size_t n = rows * b->width;
    b->rows = rows;
    b->stored = quant_alloc(b->ctx, n, sizeof *b->stored);
    b->copy = quant_alloc(b->ctx, n, sizeof *b->copy);
    b->rows_of = quant_alloc(b->ctx, rows, sizeof *b->rows_of);
    b->scratch = quant_alloc(b->ctx, rows, 2 * b->width * sizeof *b->scratch);
    return b->stored && b->copy && b->rows_of && b->scratch;
}

/* Matrices of a stack one at a time: no scale or table is shared between them. */
static quant_status try_tensor(trial *b, quant_role role, uint64_t k)
{
    size_t index;
    const quant_model *model = b->s->from->model;
    const quant_tensor *t = quant_model_part(model, role, b->s->layer, k, &index);
    uint64_t rows = t->shape.dim[t->shape.rank - 2], each = rows * b->width;
    quant_tensor one = *t;
    one.shape = (quant_shape){2, {rows, b->width}};
    one.elements = each;
    if (!lab_pick_scheme(&b->pick, &one)) {
        return QUANT_OK;
    }
    quant_status s = new_matrix(b, (size_t)rows) ? QUANT_OK : QUANT_ENOMEM;
    for (uint64_t i = 0; each > 0 && i < t->elements / each && s == QUANT_OK; i++) {
        quant_stats_row row;
        if (find_row(b, role, t->shape.rank > 2 ? i : k, &row)) {
            s = quant_bank_read_f32(b->ctx, quant_model_bank(model), index, i * each, each,
                                    b->stored);
            s = s == QUANT_OK ? try_matrix(b, &one, &row) : s;
        }
    }
    free_matrix(b);
    return s;
}

static quant_status try_all(trial *b)
{
    const quant_model *model = b->s->from->model;
    quant_role role;
    for (int i = 0; lab_smoothing_role(b->s->group, i, &role); i++) {
        for (uint64_t k = 0; k < quant_model_parts(model, role) &&
                             quant_model_part(model, role, b->s->layer, k, NULL); k++) {
            QUANT_TRY(try_tensor(b, role, k));
        }
    }
    return QUANT_OK;
}

/* ---- the least ------------------------------------------------------------------------------- */

static void set_factors(trial *b)
{
    const lab_smooth_search *s = b->s;
    for (int i = 0; i < LAB_SMOOTH_ALPHAS; i++) {
        lab_smooth_factors(lab_smooth_alpha(i), s->x_most, s->w_most, s->width,
                           b->factor + (size_t)i * s->width);
    }
    for (size_t j = 0; j < s->width; j++) {
        b->factor[LAB_SMOOTH_ALPHAS * s->width + j] = 1;
    }
}

static void choose(const trial *b, quant_smooth_choice *choice)
{
    int best = 0;
    for (int i = 1; i < LAB_SMOOTH_ALPHAS; i++) {
        best = b->error2[i] < b->error2[best] ? i : best;
    }
    *choice = (quant_smooth_choice){
        .layer = b->s->layer, .input = lab_smoothing_stage(b->s->group),
        .alpha = lab_smooth_alpha(best), .error = sqrt(b->error2[best] / b->output2),
        .unsmoothed = sqrt(b->error2[LAB_SMOOTH_ALPHAS] / b->output2), .moments = b->moments};
}

quant_status lab_smooth_search_run(quant_context *ctx, const lab_smooth_search *s,
                                   quant_smooth_choice *choice)
{
    size_t w = s->width, squares;
    trial b = {.ctx = ctx, .s = s, .weights = quant_scheme_weights(s->scheme), .width = w,
               .moments = quant_stats_info_of(s->from->stats)->moments};
    if (__builtin_mul_overflow(w, w, &squares)) {
        return QUANT_ENOMEM;
    }
    b.weights.stack = 0;
    b.pick = (lab_pick){.scheme = &b.weights};
    b.factor = quant_alloc(ctx, w, TRIES * sizeof *b.factor);
    b.square = quant_alloc(ctx, w, 2 * sizeof *b.square);
    b.m = b.moments ? quant_alloc(ctx, squares, sizeof *b.m) : NULL;
    quant_status status = b.factor && b.square && (b.m || !b.moments) ? QUANT_OK : QUANT_ENOMEM;
    if (status == QUANT_OK) {
        b.error = b.square + w;
        set_factors(&b);
        status = try_all(&b);
        choose(&b, choice);
    }
    quant_release(ctx, b.factor, w, TRIES * sizeof *b.factor);
    quant_release(ctx, b.square, w, 2 * sizeof *b.square);
    quant_release(ctx, b.m, b.moments ? squares : 0, sizeof *b.m);
    return status;
}
