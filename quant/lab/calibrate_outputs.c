/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_outputs.c - held-out inputs under every grid: what saturates, which codes flip, and
 * what that does to the outputs of the matrices that multiply them. */
#include <string.h>

#include "quant/activation.h"
#include "quant/internal.h"
#include "quant/lab/calibrate_parts.h"
#include "quant/lab/propagate_parts.h"
#include "quant/model/gemm.h"

enum { MATRICES = 3, WORTH = 1 << 20 }; /* WORTH: outputs for which threads pay */

typedef struct matrix {
    const quant_tensor *tensor;
    size_t count;                    /* elements in memory */
    float *w;                        /* as stored */
    float *copy[QUANT_ADEQUACY_SCHEMES]; /* decoded; w where a scheme does not fit */
} matrix;

typedef struct bench {
    lab_curve *w;
    matrix matrix[QUANT_SITE_COUNT][MATRICES];
    uint64_t layer;                  /* whose they are; UINT64_MAX: none */
    size_t first;                    /* sequence with which the piece begins */
    /* Of the view at work. */
    const quant_stage_view *view;
    lab_measure *measure;            /* of the scheme */
    double *row2;                    /* [rows] */
    float *x;                        /* [rows][cols] on a grid */
    quant_activation_codes a;
    int8_t *usual;                   /* [rows][cols]: codes by all prompts */
    float *y;                        /* [rows][out] */
    float *reference[MATRICES];      /* [rows][out] */
} bench;

/* ---- weights -------------------------------------------------------------------------------- */

static void drop_matrices(bench *b)
{
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        for (int i = 0; i < MATRICES; i++) {
            matrix *m = &b->matrix[k][i];
            for (size_t s = 0; s < b->w->scheme_count; s++) {
                if (m->copy[s] != m->w) {
                    quant_release(b->w->ctx, m->copy[s], m->count, sizeof *m->w);
                }
            }
            quant_release(b->w->ctx, m->w, m->count, sizeof *m->w);
            *m = (matrix){.tensor = NULL};
        }
    }
    b->layer = UINT64_MAX;
}

/* Experts are a stack of matrices. */
static quant_status decode(bench *b, matrix *m, size_t k)
{
    quant_scheme scheme = quant_scheme_weights(&b->w->schemes[k]);
    lab_pick pick = {.scheme = &scheme};
    scheme.stack = m->tensor->shape.rank - 2;
    m->copy[k] = m->w;
    if (!lab_pick_scheme(&pick, m->tensor)) {
        return QUANT_OK;
    }
    float *copy = quant_alloc(b->w->ctx, m->count, sizeof *copy);
    if (!copy) {
        return QUANT_ENOMEM;
    }
    m->copy[k] = copy;
    return lab_pick_copy(b->w->ctx, &pick, m->tensor, m->w, NULL, copy,
                         &(uint64_t){0});
}

static quant_status load_matrix(bench *b, quant_role role, uint64_t layer, matrix *m)
{
    size_t index;
    lab_curve *w = b->w;
    const quant_tensor *t = quant_model_tensor(w->model, role, layer, &index);
    if (!t || role == QUANT_ROLE_ROUTER) {
        return QUANT_OK;
    }
    m->tensor = t;
    m->count = (size_t)t->elements;
    m->w = quant_alloc(w->ctx, m->count, sizeof *m->w);
    if (!m->w) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(quant_bank_read_f32(w->ctx, quant_model_bank(w->model), index, 0, t->elements, m->w));
    for (size_t k = 0; k < w->scheme_count; k++) {
        QUANT_TRY(decode(b, m, k));
    }
    return QUANT_OK;
}

/* All matrices of a layer; those of the head when it is the last view's. */
static quant_status load_layer(bench *b, const quant_stage_view *v)
{
    quant_role role;
    if (b->layer == v->layer) {
        return QUANT_OK;
    }
    drop_matrices(b);
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        bool here = (k == QUANT_SITE_FINAL) == (v->stage == QUANT_STAGE_FINAL);
        for (int i = 0; here && quant_site_role((quant_site)k, i, &role); i++) {
            uint64_t layer = k == QUANT_SITE_FINAL ? 0 : v->layer;
            QUANT_TRY(load_matrix(b, role, layer, &b->matrix[k][i]));
        }
    }
    b->layer = v->layer;
    return QUANT_OK;
}

/* ---- one view ------------------------------------------------------------------------------- */

/* Sizes of a matrix and where its expert's begins. */
static model_product product_of(const bench *b, const matrix *m, const float *weights,
                                const float *x, float *y)
{
    const quant_shape *shape = &m->tensor->shape;
    size_t out = (size_t)shape->dim[shape->rank - 2], in = (size_t)shape->dim[shape->rank - 1];
    return (model_product){x, weights + b->view->expert * out * in, y, b->view->rows, in, out};
}

/* Codes of the view on the grid of a slot, in b->usual or b->a.code, and what they stand for. */
static quant_status code(bench *b, size_t k, size_t slot, bool is_usual)
{
    const quant_stage_view *v = b->view;
    quant_activation_codes a = b->a;
    a.code = is_usual ? b->usual : b->a.code;
    QUANT_TRY(quant_activation_encode(b->w->ctx, &b->w->schemes[k].activation,
                                      &b->measure->grid[slot], v->data, v->rows, v->cols, &a));
    if (is_usual) {
        return QUANT_OK;
    }
    for (size_t i = 0; i < v->rows * v->cols; i++) {
        b->measure->flipped[slot] += a.code[i] != b->usual[i];
    }
    b->measure->saturated[slot] += a.saturated;
    quant_activation_decode(&a, v->rows, v->cols, b->x);
    return QUANT_OK;
}

/* sum += squares of y - reference (NULL: 0) row by row. */
static void add_rows(const bench *b, const float *y, const float *reference, size_t out)
{
    size_t rows = b->view->rows;
    int threads = quant_context_threads(b->w->ctx);
#pragma omp parallel for num_threads(threads) if (rows * out > WORTH)
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t c = 0; c < out; c++) {
            double e = (double)y[r * out + c] - (reference ? (double)reference[r * out + c] : 0);
            sum += e * e;
        }
        b->row2[r] += sum;
    }
}

/* Rows go to the units that the bootstrap draws. */
static void spread(const bench *b, double *units)
{
    const lab_curve *w = b->w;
    const quant_stage_view *v = b->view;
    for (size_t r = 0; r < v->rows; r++) {
        size_t row = v->chosen ? v->chosen[r] : v->first_row + r;
        size_t run = w->per_sequence > 1 ? row % w->s / LAB_RUN : 0;
        units[(b->first + row / w->s) * w->per_sequence + run] += b->row2[r];
        b->row2[r] = 0;
    }
}

static quant_status measure_slot(bench *b, const matrix *m, size_t scheme, size_t slot)
{
    if (slot < LAB_FLOAT) {
        QUANT_TRY(code(b, scheme, slot, false));
    }
    for (int i = 0; i < MATRICES; i++) {
        if (m[i].tensor) {
            const model_product p = product_of(b, &m[i], m[i].copy[scheme],
                                               slot < LAB_FLOAT ? b->x : b->view->data, b->y);
            model_gemm(&p, quant_context_threads(b->w->ctx));
            add_rows(b, b->y, b->reference[i], p.out);
        }
    }
    spread(b, lab_error2(b->w, b->measure, slot));
    return QUANT_OK;
}

static quant_status measure_view(bench *b, size_t input, const matrix *m)
{
    lab_curve *w = b->w;
    for (int i = 0; i < MATRICES; i++) {
        if (m[i].tensor) {
            const model_product p = product_of(b, &m[i], m[i].w, b->view->data, b->reference[i]);
            model_gemm(&p, quant_context_threads(w->ctx));
            add_rows(b, b->reference[i], NULL, p.out);
        }
    }
    spread(b, w->output2 + input * w->units);
    for (size_t k = 0; k < w->scheme_count; k++) {
        size_t usual = lab_point(w, QUANT_SOURCE_PROMPTS, w->c->count_n - 1);
        b->measure = lab_measure_at(w, input, k);
        usual = b->measure->reached[usual] ? usual : LAB_LIMIT;
        QUANT_TRY(code(b, k, usual, true));
        for (size_t slot = 0; slot < LAB_SLOTS; slot++) {
            if (b->measure->same[slot] == slot) {
                QUANT_TRY(measure_slot(b, m, k, slot));
            }
        }
    }
    return QUANT_OK;
}

static size_t widest(const matrix *m)
{
    size_t most = 0;
    for (int i = 0; i < MATRICES; i++) {
        size_t out = m[i].tensor ? (size_t)m[i].tensor->shape.dim[m[i].tensor->shape.rank - 2] : 0;
        most = out > most ? out : most;
    }
    return most;
}

static quant_status look(void *user, const quant_stage_view *v)
{
    bench *b = user;
    quant_context *ctx = b->w->ctx;
    quant_site site;
    QUANT_TRY(load_layer(b, v));
    quant_site_of_stage(v->stage, &site);
    const matrix *m = b->matrix[site];
    size_t in = v->rows * v->cols, out = v->rows * widest(m);
    size_t experts = quant_site_is_expert(site)
                         ? (size_t)quant_model_sizes_of(b->w->model)->experts : 1;
    size_t layer = site == QUANT_SITE_FINAL ? 0 : (size_t)v->layer;
    b->view = v;
    b->row2 = quant_alloc(ctx, v->rows, sizeof *b->row2);
    b->x = quant_alloc(ctx, in, sizeof *b->x);
    b->a.code = quant_alloc(ctx, 2 * in + v->rows, 1);
    b->a.scale = quant_alloc(ctx, v->rows, sizeof *b->a.scale);
    b->y = quant_alloc(ctx, out * (MATRICES + 1), sizeof *b->y);
    quant_status s = b->row2 && b->x && b->a.code && b->a.scale && b->y ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        memset(b->row2, 0, v->rows * sizeof *b->row2);
        b->usual = b->a.code + in;
        b->a.zero = b->usual + in;
        for (int i = 0; i < MATRICES; i++) {
            b->reference[i] = b->y + out * (size_t)(i + 1);
        }
        s = measure_view(b, b->w->offset[site] + layer * experts + (size_t)v->expert, m);
    }
    quant_release(ctx, b->row2, v->rows, sizeof *b->row2);
    quant_release(ctx, b->x, in, sizeof *b->x);
    quant_release(ctx, b->a.code, 2 * in + v->rows, 1);
    quant_release(ctx, b->a.scale, v->rows, sizeof *b->a.scale);
    quant_release(ctx, b->y, out * (MATRICES + 1), sizeof *b->y);
    return s;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static bool same_grid(const quant_activation_grid *a, const quant_activation_grid *b)
{
    return a->scale == b->scale && a->zero == b->zero && a->lowest == b->lowest &&
           a->highest == b->highest;
}

/* Many counts lead to one grid: it is measured once. */
static void find_same(const lab_curve *w, lab_measure *m)
{
    size_t points = lab_points(w);
    for (size_t slot = 0; slot < LAB_SLOTS; slot++) {
        bool used = slot < points || slot >= LAB_LIMIT;
        m->reached[LAB_FLOAT] = true;
        m->same[slot] = used && m->reached[slot] ? slot : SIZE_MAX;
        for (size_t k = slot < LAB_FLOAT ? slot : 0; k-- > 0 && m->same[slot] != SIZE_MAX;) {
            if (m->same[k] == k && same_grid(&m->grid[k], &m->grid[slot])) {
                m->same[slot] = k;
                break;
            }
        }
    }
}

quant_status lab_curve_measure(lab_curve *w)
{
    const quant_adequacy_options *o = &w->c->options;
    const quant_forward_variant v = {.scheme = NULL};
    bench b = {.w = w, .layer = UINT64_MAX};
    quant_status s = QUANT_OK;
    size_t n = (size_t)o->held_out, piece = lab_stats_piece(w->model, w->s, n);
    for (size_t i = 0; i < w->c->input_count * w->scheme_count; i++) {
        find_same(w, &w->measure[i]);
    }
    for (; s == QUANT_OK && b.first < n; b.first += piece) {
        size_t some = n - b.first < piece ? n - b.first : piece;
        const int64_t *ids = w->tokens->id + (o->first_held_out + b.first) * w->s;
        const quant_forward_options f = {.stages = lab_stats_stages(), .visit = look, .user = &b};
        if (o->progress) {
            o->progress(o->user, "outputs", b.first, n);
        }
        s = quant_forward_run(w->ctx, w->model, &(quant_tokens){ids, some, w->s}, &v, 1, &f);
        drop_matrices(&b);
    }
    drop_matrices(&b);
    return s;
}
