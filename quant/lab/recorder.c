/* SPDX-License-Identifier: GPL-3.0-or-later */
/* recorder.c - keeps what a run shows of a layer until all values of it are there, then adds
 * their terms to the ledger. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"

static uint64_t place_cols(const quant_model *model, quant_place place)
{
    const quant_model_sizes *z = quant_model_sizes_of(model);
    switch (place) {
    case QUANT_PLACE_Q:
        return z->heads * z->head_dim;
    case QUANT_PLACE_K:
    case QUANT_PLACE_V:
        return z->kv_heads * z->head_dim;
    case QUANT_PLACE_GATE:
    case QUANT_PLACE_UP:
        return z->inner;
    case QUANT_PLACE_DOWN:
        return z->inner > 0 ? z->width : 0;
    case QUANT_PLACE_ROUTER:
        return z->experts;
    case QUANT_PLACE_EXPERT_GATE:
    case QUANT_PLACE_EXPERT_UP:
        return z->experts * z->expert_inner;
    case QUANT_PLACE_EXPERT_DOWN:
        return z->experts * z->width;
    case QUANT_PLACE_EXPERTS:
        return z->experts > 0 ? z->width : 0;
    case QUANT_PLACE_LOGITS:
        return z->vocab;
    case QUANT_PLACE_SCORES: /* made of q and k */
        return 0;
    default:
        return z->width;
    }
}

bool lab_recorder_floats(const quant_model *model, size_t s, bool plain, uint64_t *floats)
{
    const quant_model_sizes *z = quant_model_sizes_of(model);
    uint64_t cols = plain ? (z->layers + 1) * z->width + z->vocab : 0;
    uint64_t values = z->experts > 0 ? LAB_MOST : LAB_PLAIN;
    for (int p = 0; p < QUANT_PLACE_COUNT; p++) {
        cols += values * place_cols(model, (quant_place)p);
    }
    cols += values * z->experts; /* routes */
    return !__builtin_mul_overflow(cols, (uint64_t)s, floats) &&
           *floats <= SIZE_MAX / sizeof(float);
}

static uint64_t last_depth(const lab_recorder *r)
{
    return quant_model_sizes_of(r->model)->layers + 1;
}

static size_t plain_floats(const lab_recorder *r)
{
    return (size_t)last_depth(r) * r->n * r->s * r->cols[QUANT_PLACE_STREAM];
}

static size_t place_floats(const lab_recorder *r, int place)
{
    return r->values * r->n * r->s * r->cols[place];
}

quant_status lab_recorder_begin(lab_recorder *r, bool plain)
{
    r->values = quant_model_sizes_of(r->model)->experts > 0 ? LAB_MOST : LAB_PLAIN;
    for (int p = 0; p < QUANT_PLACE_COUNT; p++) {
        r->cols[p] = (size_t)place_cols(r->model, (quant_place)p);
        r->at[p] = quant_alloc(r->ctx, place_floats(r, p), sizeof(float));
        if (!r->at[p]) {
            return QUANT_ENOMEM;
        }
    }
    r->routes = quant_alloc(r->ctx, place_floats(r, QUANT_PLACE_ROUTER), sizeof(float));
    if (!r->routes) {
        return QUANT_ENOMEM;
    }
    if (plain) {
        r->plain = quant_alloc(r->ctx, plain_floats(r), sizeof(float));
        r->plain_logits = quant_alloc(r->ctx, r->n * r->s * r->cols[QUANT_PLACE_LOGITS],
                                      sizeof(float));
    }
    return !plain || (r->plain && r->plain_logits) ? QUANT_OK : QUANT_ENOMEM;
}

void lab_recorder_end(lab_recorder *r, bool plain)
{
    for (int p = 0; p < QUANT_PLACE_COUNT; p++) {
        quant_release(r->ctx, r->at[p], place_floats(r, p), sizeof(float));
    }
    quant_release(r->ctx, r->routes, place_floats(r, QUANT_PLACE_ROUTER), sizeof(float));
    if (plain) {
        quant_release(r->ctx, r->plain, plain_floats(r), sizeof(float));
        quant_release(r->ctx, r->plain_logits, r->n * r->s * r->cols[QUANT_PLACE_LOGITS],
                      sizeof(float));
    }
}

uint32_t lab_recorder_stages(const lab_recorder *r)
{
    uint32_t stages = 1u << QUANT_STAGE_EMBED | 1u << QUANT_STAGE_RESIDUAL |
                      1u << QUANT_STAGE_LOGITS;
    for (int p = 0; p < QUANT_PLACE_COUNT && !r->keep_plain; p++) {
        stages |= r->cols[p] > 0 ? 1u << quant_place_stage((quant_place)p) : 0;
    }
    stages |= r->cols[QUANT_PLACE_ROUTER] > 0 && !r->keep_plain ? 1u << QUANT_STAGE_ROUTES : 0;
    return stages;
}

/* ---- terms of a depth ----------------------------------------------------------------------- */

static void put_values(const lab_recorder *r, const double y[LAB_MOST], quant_ledger_terms *sum)
{
    lab_ledger_put(sum, y[LAB_CLEAN], y[LAB_BOTH], y[LAB_INJECTED], y[r->values - 1]);
    if (r->values == LAB_MOST) {
        lab_ledger_put_frozen(sum, y[LAB_CLEAN], y[LAB_FROZEN], y[LAB_FROZEN_INJECTED]);
    }
}

static void add_columns(const lab_recorder *r, const float *at, size_t step, size_t cols,
                        quant_ledger_terms *sum)
{
    quant_ledger_terms own = *sum;
    const float *both = at + LAB_BOTH * step, *injected = at + LAB_INJECTED * step;
    const float *carried = at + (r->values - 1) * step;
    for (size_t c = 0; c < cols; c++) {
        lab_ledger_put(&own, (double)at[c], (double)both[c], (double)injected[c],
                       (double)carried[c]);
    }
    const float *frozen = at + LAB_FROZEN * step, *clean_in = at + LAB_FROZEN_INJECTED * step;
    for (size_t c = 0; c < cols && r->values == LAB_MOST; c++) {
        lab_ledger_put_frozen(&own, (double)at[c], (double)frozen[c], (double)clean_in[c]);
    }
    *sum = own;
}

static void add_rows(const lab_recorder *r, quant_place place, size_t position,
                     quant_ledger_terms *sum)
{
    size_t cols = r->cols[place], step = r->n * r->s * cols;
    for (size_t i = 0; i < r->n; i++) {
        add_columns(r, r->at[place] + (i * r->s + position) * cols, step, cols, sum);
    }
}

static bool is_met(const lab_recorder *r, size_t row, size_t expert)
{
    size_t experts = r->cols[QUANT_PLACE_ROUTER], step = r->n * r->s * experts, v = 0;
    while (v < r->values && r->routes[v * step + row * experts + expert] == 0) {
        v++;
    }
    return v < r->values;
}

/* Columns of an expert that a token meets in no value are zeros. */
static void add_expert_rows(const lab_recorder *r, quant_place place, size_t position,
                            quant_ledger_terms *sum)
{
    size_t cols = r->cols[place], step = r->n * r->s * cols;
    size_t experts = r->cols[QUANT_PLACE_ROUTER], own = cols / experts;
    for (size_t i = 0; i < r->n; i++) {
        size_t row = i * r->s + position;
        for (size_t e = 0; e < experts; e++) {
            if (is_met(r, row, e)) {
                add_columns(r, r->at[place] + row * cols + e * own, step, own, sum);
            } else {
                sum->n += own;
            }
        }
    }
}

/* y[0], y[1] = q k^T of the values of two pairs of rows; their sums run side by side. */
static void two_dots(const float *q[2], const float *k[2], size_t d, double y[2])
{
    double a = 0, b = 0;
    for (size_t c = 0; c < d; c++) {
        a += (double)q[0][c] * (double)k[0][c];
        b += (double)q[1][c] * (double)k[1][c];
    }
    y[0] = a;
    y[1] = b;
}

/* Score of a query row and a key row in each of the values. */
static void add_score(const lab_recorder *r, const float *q, const float *k,
                      quant_ledger_terms *sum)
{
    size_t d = (size_t)quant_model_sizes_of(r->model)->head_dim, rows = r->n * r->s;
    size_t q_step = rows * r->cols[QUANT_PLACE_Q], k_step = rows * r->cols[QUANT_PLACE_K];
    double y[LAB_MOST], scale = 1 / sqrt((double)d);
    for (size_t v = 0; v < r->values; v += 2) {
        const float *two_q[] = {q + v * q_step, q + (v + 1) * q_step};
        const float *two_k[] = {k + v * k_step, k + (v + 1) * k_step};
        two_dots(two_q, two_k, d, y + v);
        y[v] *= scale;
        y[v + 1] *= scale;
    }
    put_values(r, y, sum);
}

static void add_scores(const lab_recorder *r, uint64_t layer, size_t position,
                       quant_ledger_terms *sum)
{
    const quant_model_sizes *z = quant_model_sizes_of(r->model);
    size_t d = (size_t)z->head_dim, shared = (size_t)(z->heads / z->kv_heads), from = 0;
    bool local = quant_model_is_local(r->model, layer) && z->window > 0;
    if (local && position + 1 > z->window) {
        from = position + 1 - (size_t)z->window;
    }
    for (size_t i = 0; i < r->n; i++) {
        const float *q = r->at[QUANT_PLACE_Q] + (i * r->s + position) * r->cols[QUANT_PLACE_Q];
        for (size_t h = 0; h < z->heads; h++) {
            for (size_t j = from; j <= position; j++) {
                const float *k = r->at[QUANT_PLACE_K] +
                                 (i * r->s + j) * r->cols[QUANT_PLACE_K] + h / shared * d;
                add_score(r, q + h * d, k, sum);
            }
        }
    }
}

static void account(const lab_recorder *r, uint64_t depth)
{
    uint64_t last = last_depth(r);
    int threads = quant_context_threads(r->ctx);
    for (int p = 0; p < QUANT_PLACE_COUNT; p++) {
        bool here = depth == 0      ? p == QUANT_PLACE_STREAM
                    : depth == last ? p == QUANT_PLACE_LOGITS
                                    : p != QUANT_PLACE_LOGITS;
        if (!here || (r->cols[p] == 0 && p != QUANT_PLACE_SCORES)) {
            continue;
        }
        quant_ledger_terms *row = lab_ledger_row(r->ledger, depth, (quant_place)p);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 8)
        for (size_t j = 0; j < r->s; j++) {
            if (p == QUANT_PLACE_SCORES) {
                add_scores(r, depth - 1, j, &row[j]);
            } else if (p >= QUANT_PLACE_EXPERT_GATE && p <= QUANT_PLACE_EXPERT_DOWN) {
                add_expert_rows(r, (quant_place)p, j, &row[j]);
            } else {
                add_rows(r, (quant_place)p, j, &row[j]);
            }
        }
    }
}

static void account_arithmetic(const lab_recorder *r, uint64_t depth)
{
    bool last = depth == last_depth(r);
    quant_place place = last ? QUANT_PLACE_LOGITS : QUANT_PLACE_STREAM;
    size_t count = r->n * r->s * r->cols[place];
    const float *plain = last ? r->plain_logits : r->plain + depth * count;
    const float *clean = r->at[place], *both = clean + LAB_BOTH * count;
    quant_arithmetic_terms *t = &r->arithmetic[depth];
    for (size_t i = 0; i < count; i++) {
        double y = (double)plain[i], e = (double)both[i] - y;
        double a = (double)clean[i] - y, q = (double)both[i] - (double)clean[i];
        t->clean2 += y * y;
        t->error2 += e * e;
        t->quantization2 += q * q;
        t->arithmetic2 += a * a;
        t->quantization_dot += q * e;
        t->arithmetic_dot += a * e;
    }
    t->n += count;
}

/* ---- visits --------------------------------------------------------------------------------- */

static quant_place place_of(quant_stage stage)
{
    int p = 0;
    while (p < QUANT_PLACE_COUNT && quant_place_stage((quant_place)p) != stage) {
        p++;
    }
    return stage == QUANT_STAGE_EMBED ? QUANT_PLACE_STREAM : (quant_place)p;
}

/* The experts of these rows are known: their places begin as zeros. */
static void begin_experts(lab_recorder *r, const quant_stage_view *v)
{
    for (int p = QUANT_PLACE_EXPERT_GATE; p <= QUANT_PLACE_EXPERT_DOWN; p++) {
        size_t first = v->variant * r->n * r->s + v->first_row;
        memset(r->at[p] + first * r->cols[p], 0, v->rows * r->cols[p] * sizeof *r->at[p]);
    }
    memcpy(r->routes + (v->variant * r->n * r->s + v->first_row) * v->cols, v->data,
           v->rows * v->cols * sizeof *v->data);
}

/* Rows of one expert go to its columns. */
static void keep_expert(lab_recorder *r, quant_place place, const quant_stage_view *v)
{
    size_t first = v->variant * r->n * r->s;
    for (size_t i = 0; i < v->rows; i++) {
        memcpy(r->at[place] + (first + v->chosen[i]) * r->cols[place] + v->expert * v->cols,
               v->data + i * v->cols, v->cols * sizeof *v->data);
    }
}

static void keep_rows(lab_recorder *r, quant_place place, uint64_t depth, const quant_stage_view *v)
{
    size_t count = r->n * r->s * v->cols;
    float *to = r->at[place] + v->variant * count;
    if (r->keep_plain) {
        to = place == QUANT_PLACE_LOGITS ? r->plain_logits : r->plain + depth * count;
    }
    memcpy(to + v->first_row * v->cols, v->data, v->rows * v->cols * sizeof *to);
}

static void account_depth(lab_recorder *r, uint64_t depth)
{
    account(r, depth);
    if (r->routing && depth > 0 && depth < last_depth(r)) {
        lab_routing_account(r, depth - 1);
    }
    if (r->arithmetic) {
        account_arithmetic(r, depth);
    }
}

quant_status lab_recorder_visit(void *user, const quant_stage_view *v)
{
    lab_recorder *r = user;
    if (v->stage == QUANT_STAGE_ROUTES) {
        begin_experts(r, v);
        return QUANT_OK;
    }
    quant_place place = place_of(v->stage);
    bool ends = place == QUANT_PLACE_STREAM || place == QUANT_PLACE_LOGITS;
    uint64_t depth = v->stage == QUANT_STAGE_EMBED ? 0 : v->layer + 1;
    size_t cols = v->chosen ? v->cols * r->cols[QUANT_PLACE_ROUTER] : v->cols;
    if (cols != r->cols[place]) {
        return quant_fail(r->ctx, QUANT_ESHAPE, "%s: expected %zu columns, found %zu",
                          quant_stage_name(v->stage), r->cols[place], cols);
    }
    if (v->chosen) {
        keep_expert(r, place, v);
    } else {
        keep_rows(r, place, depth, v);
    }
    if (v->stage == QUANT_STAGE_RESIDUAL) {
        lab_progress_add(r->progress, r->what, (int64_t)v->layer, v->rows / r->s);
    }
    if (!r->keep_plain && ends && v->variant + 1 == r->values &&
        v->first_row + v->rows == r->n * r->s) {
        account_depth(r, depth);
    }
    return QUANT_OK;
}
