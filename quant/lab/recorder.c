/* SPDX-License-Identifier: GPL-3.0-or-later */
/* recorder.c - keeps what a run shows of a layer until all four values of it are there, then adds
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
    case QUANT_PLACE_ROUTER:
        return z->experts;
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
    for (int p = 0; p < QUANT_PLACE_COUNT; p++) {
        cols += LAB_VALUES * place_cols(model, (quant_place)p);
    }
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
    r->values = LAB_VALUES;
    for (int p = 0; p < QUANT_PLACE_COUNT; p++) {
        r->cols[p] = (size_t)place_cols(r->model, (quant_place)p);
        r->at[p] = quant_alloc(r->ctx, place_floats(r, p), sizeof(float));
        if (!r->at[p]) {
            return QUANT_ENOMEM;
        }
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
    return stages;
}

/* ---- terms of a depth ----------------------------------------------------------------------- */

static void add_rows(const lab_recorder *r, quant_place place, size_t position,
                     quant_ledger_terms *sum)
{
    size_t cols = r->cols[place], step = r->n * r->s * cols;
    for (size_t i = 0; i < r->n; i++) {
        const float *at = r->at[place] + (i * r->s + position) * cols;
        for (size_t c = 0; c < cols; c++) {
            lab_ledger_put(sum, (double)at[c], (double)at[LAB_BOTH * step + c],
                           (double)at[LAB_INJECTED * step + c],
                           (double)at[LAB_CARRIED * step + c]);
        }
    }
}

static double dot(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

/* Score of a query row and a key row in each of the values. */
static void add_score(const lab_recorder *r, const float *q, const float *k,
                      quant_ledger_terms *sum)
{
    size_t d = (size_t)quant_model_sizes_of(r->model)->head_dim, rows = r->n * r->s;
    size_t q_step = rows * r->cols[QUANT_PLACE_Q], k_step = rows * r->cols[QUANT_PLACE_K];
    double y[LAB_VALUES], scale = 1 / sqrt((double)d);
    for (size_t v = 0; v < LAB_VALUES; v++) {
        y[v] = scale * dot(q + v * q_step, k + v * k_step, d);
    }
    lab_ledger_put(sum, y[LAB_CLEAN], y[LAB_BOTH], y[LAB_INJECTED], y[LAB_CARRIED]);
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
        if (!here) {
            continue;
        }
        quant_ledger_terms *row = lab_ledger_row(r->ledger, depth, (quant_place)p);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 8)
        for (size_t j = 0; j < r->s; j++) {
            if (p == QUANT_PLACE_SCORES) {
                add_scores(r, depth - 1, j, &row[j]);
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

quant_status lab_recorder_visit(void *user, const quant_stage_view *v)
{
    lab_recorder *r = user;
    quant_place place = place_of(v->stage);
    bool ends = place == QUANT_PLACE_STREAM || place == QUANT_PLACE_LOGITS;
    uint64_t depth = v->stage == QUANT_STAGE_EMBED ? 0 : v->layer + 1;
    if (v->cols != r->cols[place]) {
        return quant_fail(r->ctx, QUANT_ESHAPE, "%s: expected %zu columns, found %zu",
                          quant_stage_name(v->stage), r->cols[place], v->cols);
    }
    size_t count = r->n * r->s * v->cols, offset = v->first_row * v->cols;
    float *to = r->at[place] + v->variant * count;
    if (r->keep_plain) {
        to = place == QUANT_PLACE_LOGITS ? r->plain_logits : r->plain + depth * count;
    }
    memcpy(to + offset, v->data, v->rows * v->cols * sizeof *to);
    if (!r->keep_plain && ends && v->variant + 1 == r->values &&
        v->first_row + v->rows == r->n * r->s) {
        account(r, depth);
        if (r->arithmetic) {
            account_arithmetic(r, depth);
        }
    }
    return QUANT_OK;
}
