/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/model/attention.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/model/gemm.h"

enum { QUERIES = 64, KEYS = 64 };

/* One head of one sequence. */
typedef struct view {
    const float *q, *k, *v;
    float *y;
    size_t q_step, k_step; /* floats from a position to the next */
} view;

static view view_of(const model_attention *a, size_t sequence, size_t head)
{
    size_t kv = head * a->kv_heads / a->heads, d = a->head_dim, first = sequence * a->length;
    view w = {.q_step = a->heads * d, .k_step = a->kv_heads * d};
    w.q = a->q + first * w.q_step + head * d;
    w.y = a->y + first * w.q_step + head * d;
    w.k = a->k + first * w.k_step + kv * d;
    w.v = a->v + first * w.k_step + kv * d;
    return w;
}

/* First position that query i sees. */
static size_t first_seen(const model_attention *a, size_t i)
{
    return a->window && i + 1 > a->window ? i + 1 - a->window : 0;
}

static double scale_of(const model_attention *a)
{
    return a->scale > 0 ? a->scale : 1 / sqrt((double)a->head_dim);
}

static void cap_scores(const model_attention *a, float *s, size_t n)
{
    if (a->cap > 0) {
        for (size_t j = 0; j < n; j++) {
            s[j] = (float)(a->cap * tanh((double)s[j] / a->cap));
        }
        model_round(a->ops->compute, s, n);
    }
}

size_t model_attention_scratch(const model_attention *a, bool plain)
{
    return plain ? a->length : QUERIES * (KEYS + a->head_dim + 3);
}

/* State of a block of queries: sums, maxima (as floats), weighted values. */
typedef struct online {
    float *score, *sum_y, *top;
    double *sum;
} online;

/* Scores of keys [key, key + n) for query i become weights; what was gathered is rescaled. */
static void absorb(const model_attention *a, const online *o, size_t r, size_t i, size_t key,
                   size_t n)
{
    float *s = o->score + r * KEYS, top = o->top[r];
    size_t from = first_seen(a, i);
    model_round(a->ops->compute, s, n);
    cap_scores(a, s, n);
    for (size_t j = 0; j < n; j++) {
        s[j] = key + j <= i && key + j >= from ? s[j] : -INFINITY;
        top = s[j] > top ? s[j] : top;
    }
    if (top == -INFINITY) { /* nothing seen so far, or NaN, which stays NaN */
        for (size_t j = 0; j < n; j++) {
            s[j] = isnan(s[j]) ? s[j] : 0;
            o->sum[r] += (double)s[j];
        }
        return;
    }
    float shrink = expf(o->top[r] - top);
    o->sum[r] *= (double)shrink;
    for (size_t c = 0; c < a->head_dim; c++) {
        o->sum_y[r * a->head_dim + c] *= shrink;
    }
    for (size_t j = 0; j < n; j++) {
        s[j] = expf(s[j] - top);
    }
    model_round(a->ops->compute, s, n);
    for (size_t j = 0; j < n; j++) {
        o->sum[r] += (double)s[j];
    }
    o->top[r] = top;
}

static void finish(const model_attention *a, const online *o, const view *w, size_t query, size_t m)
{
    for (size_t r = 0; r < m; r++) {
        float *y = w->y + (query + r) * w->q_step;
        for (size_t c = 0; c < a->head_dim; c++) {
            y[c] = (float)((double)o->sum_y[r * a->head_dim + c] / o->sum[r]);
        }
        model_round(a->ops->compute, y, a->head_dim);
    }
}

static void attend_block(const model_attention *a, const view *w, size_t query, float *scratch)
{
    size_t m = a->length - query < QUERIES ? a->length - query : QUERIES, d = a->head_dim;
    online o = {.sum = (double *)(void *)scratch, .top = scratch + 2 * QUERIES,
                .score = scratch + 3 * QUERIES, .sum_y = scratch + 3 * QUERIES + QUERIES * KEYS};
    for (size_t r = 0; r < QUERIES; r++) {
        o.sum[r] = 0;
        o.top[r] = -INFINITY;
    }
    memset(o.sum_y, 0, m * d * sizeof *o.sum_y);
    float scale = (float)scale_of(a);
    for (size_t key = first_seen(a, query) / KEYS * KEYS; key < query + m; key += KEYS) {
        size_t n = query + m - key < KEYS ? query + m - key : KEYS;
        const model_strided s = {w->q + query * w->q_step, w->k + key * w->k_step, o.score,
                                 m, n, d, w->q_step, w->k_step, KEYS};
        model_gemm_scores(&s, scale);
        for (size_t r = 0; r < m; r++) {
            absorb(a, &o, r, query + r, key, n);
        }
        const model_strided y = {o.score, w->v + key * w->k_step, o.sum_y,
                                 m, d, n, KEYS, w->k_step, d};
        model_gemm_mix(&y);
    }
    finish(a, &o, w, query, m);
}

void model_attend(const model_attention *a)
{
    size_t blocks = (a->length + QUERIES - 1) / QUERIES;
    size_t tasks = a->sequences * a->heads * blocks, room = model_attention_scratch(a, false);
    bool pays = tasks > MODEL_WORTH / QUERIES / (a->length * a->head_dim + 1);
#pragma omp parallel for num_threads(a->ops->threads) schedule(dynamic) if (pays)
    for (size_t t = 0; t < tasks; t++) {
        view w = view_of(a, t / blocks / a->heads, t / blocks % a->heads);
        attend_block(a, &w, t % blocks * QUERIES, a->scratch + (size_t)omp_get_thread_num() * room);
    }
}

/* weight[0 .. i]: zero where masked. */
static void weights_of(const model_attention *a, const view *w, size_t i, float *weight)
{
    size_t from = first_seen(a, i);
    double scale = scale_of(a);
    for (size_t j = 0; j < from; j++) {
        weight[j] = 0;
    }
    for (size_t j = from; j <= i; j++) {
        weight[j] = (float)(scale * qk()->dot_f32(w->q + i * w->q_step, w->k + j * w->k_step,
                                                  a->head_dim));
    }
    model_round(a->ops->compute, weight + from, i + 1 - from);
    cap_scores(a, weight + from, i + 1 - from);
    model_softmax(a->ops, weight + from, 1, i + 1 - from);
}

static void attend_row(const model_attention *a, const view *w, size_t i, float *weight)
{
    float *y = w->y + i * w->q_step;
    weights_of(a, w, i, weight);
    for (size_t c = 0; c < a->head_dim; c++) {
        double sum = 0;
        for (size_t j = 0; j <= i; j++) {
            sum += (double)weight[j] * (double)w->v[j * w->k_step + c];
        }
        y[c] = (float)sum;
    }
    model_round(a->ops->compute, y, a->head_dim);
}

void model_attend_plain(const model_attention *a)
{
    size_t tasks = a->sequences * a->heads;
#pragma omp parallel for num_threads(a->ops->threads) if (tasks > 1)
    for (size_t t = 0; t < tasks; t++) {
        view w = view_of(a, t / a->heads, t % a->heads);
        for (size_t i = 0; i < a->length; i++) {
            attend_row(a, &w, i, a->scratch + (size_t)omp_get_thread_num() * a->length);
        }
    }
}

void model_attention_weights(const model_attention *a, size_t sequence, float *out)
{
    memset(out, 0, a->heads * a->length * a->length * sizeof *out);
#pragma omp parallel for num_threads(a->ops->threads)
    for (size_t h = 0; h < a->heads; h++) {
        view w = view_of(a, sequence, h);
        for (size_t i = 0; i < a->length; i++) {
            weights_of(a, &w, i, out + (h * a->length + i) * a->length);
        }
    }
}
