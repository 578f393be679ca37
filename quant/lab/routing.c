/* SPDX-License-Identifier: GPL-3.0-or-later */
/* routing.c - sets of experts and their outputs in the runs of a ledger. */
#include "quant/lab/routing.h"

#include <math.h>

#include "quant/lab/propagate_parts.h"

quant_routing_terms quant_routing_pooled(const quant_routing *r, uint64_t layer)
{
    quant_routing_terms sum = {0, 0, 0, 0};
    for (size_t j = 0; j < r->positions; j++) {
        const quant_routing_terms *t = &r->terms[layer * r->positions + j];
        sum.tokens += t->tokens;
        sum.free += t->free;
        sum.injected += t->injected;
        sum.carried += t->carried;
    }
    return sum;
}

double quant_expert_cosine(const quant_expert_terms *t)
{
    if (t->clean2 == 0 || t->free2 == 0) {
        return t->clean2 == t->free2 ? (double)NAN : 0;
    }
    double c = t->dot / sqrt(t->clean2 * t->free2);
    return c > 1 ? 1 : c;
}

double quant_expert_error(const quant_expert_terms *t)
{
    return lab_norm_ratio(t->error2, t->clean2);
}

quant_routing_idle quant_routing_idle_of(const quant_routing *r, uint64_t layer)
{
    quant_routing_idle idle = {0, 0, 0};
    for (size_t e = 0; e < r->experts; e++) {
        const quant_expert_terms *t = &r->expert[layer * r->experts + e];
        idle.clean += t->clean_tokens == 0;
        idle.free += t->free_tokens == 0;
        idle.live += t->clean2 != 0 || t->free2 != 0;
    }
    return idle;
}

/* ---- what the recorder saw of a layer ------------------------------------------------------- */

static const float *routes_of(const lab_recorder *r, size_t value, size_t row)
{
    size_t experts = r->cols[QUANT_PLACE_ROUTER];
    return r->routes + (value * r->n * r->s + row) * experts;
}

static bool same_set(const float *a, const float *b, size_t experts)
{
    size_t e = 0;
    while (e < experts && (a[e] != 0) == (b[e] != 0)) {
        e++;
    }
    return e == experts;
}

static void add_sets(const lab_recorder *r, quant_routing_terms *terms)
{
    size_t experts = r->cols[QUANT_PLACE_ROUTER];
    for (size_t i = 0; i < r->n * r->s; i++) {
        quant_routing_terms *t = &terms[i % r->s];
        const float *clean = routes_of(r, LAB_CLEAN, i);
        t->tokens++;
        t->free += !same_set(clean, routes_of(r, LAB_BOTH, i), experts);
        t->injected += !same_set(clean, routes_of(r, LAB_INJECTED, i), experts);
        t->carried += !same_set(clean, routes_of(r, r->values - 1, i), experts);
    }
}

static void add_expert(const lab_recorder *r, size_t e, quant_expert_terms *t)
{
    size_t cols = r->cols[QUANT_PLACE_EXPERT_DOWN], width = r->cols[QUANT_PLACE_STREAM];
    const float *down = r->at[QUANT_PLACE_EXPERT_DOWN];
    for (size_t i = 0; i < r->n * r->s; i++) {
        bool in_clean = routes_of(r, LAB_CLEAN, i)[e] != 0;
        bool in_free = routes_of(r, LAB_BOTH, i)[e] != 0;
        const float *clean = down + i * cols + e * width;
        const float *got = clean + LAB_BOTH * r->n * r->s * cols;
        t->clean_tokens += in_clean;
        t->free_tokens += in_free;
        t->both_tokens += in_clean && in_free;
        for (size_t c = 0; c < width && (in_clean || in_free); c++) {
            double x = (double)clean[c], y = (double)got[c];
            t->clean2 += x * x;
            t->free2 += y * y;
            t->dot += x * y;
            t->error2 += (y - x) * (y - x);
        }
    }
}

void lab_routing_account(const lab_recorder *r, uint64_t layer)
{
    const quant_routing *to = r->routing;
    int threads = quant_context_threads(r->ctx);
    add_sets(r, to->terms + layer * to->positions);
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t e = 0; e < to->experts; e++) {
        add_expert(r, e, &to->expert[layer * to->experts + e]);
    }
}
