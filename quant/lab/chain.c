/* SPDX-License-Identifier: GPL-3.0-or-later */
/* chain.c - the matrices that follow one another, and four products of each. */
#include "quant/lab/chain.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/adapt_lapacke.h"
#include "quant/lab/propagate_parts.h"
#include "quant/random.h"

enum { INPUTS = QUANT_CHAIN_INPUTS };

/* Vectors stand side by side: x[element][INPUTS]. */
typedef struct work {
    quant_context *ctx;
    quant_bank *bank;
    const quant_chain_options *options;
    quant_chain_result *result;
    size_t widest;        /* elements of a vector */
    double *clean, *next; /* before and behind the matrix at work */
    double *both, *other; /* [columns][widest][INPUTS]: x' before and behind it */
    double *injected, *carried;
} work;

/* ---- chains --------------------------------------------------------------------------------- */

static bool is_matrix(const quant_tensor *t)
{
    bool flat = t->shape.rank >= 2 && t->elements > 0 && !quant_keep_reason(t, 0);
    for (int i = 2; i < t->shape.rank; i++) {
        flat = flat && t->shape.dim[i] == 1;
    }
    return flat;
}

/* Links of all chains of two or more. */
static void find_links(const quant_bank *bank, quant_chain_result *r)
{
    size_t first = 0; /* of the chain that grows */
    for (size_t i = 0; i < quant_bank_count(bank); i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        if (!is_matrix(t)) {
            continue;
        }
        bool grows = r->link_count > first && r->links[r->link_count - 1].out == t->shape.dim[1];
        if (!grows) {
            r->link_count = r->link_count - first >= 2 ? r->link_count : first;
            r->chain_count += r->link_count > first;
            first = r->link_count;
        }
        r->links[r->link_count++] = (quant_chain_link){r->chain_count, i, t->name,
                                                       t->shape.dim[0], t->shape.dim[1], 0};
    }
    r->link_count = r->link_count - first >= 2 ? r->link_count : first;
    r->chain_count += r->link_count > first;
}

/* ---- memory --------------------------------------------------------------------------------- */

void quant_chain_free(quant_context *ctx, quant_chain_result *r)
{
    if (!r) {
        return;
    }
    for (size_t i = 0; r->columns && i < r->column_count; i++) {
        quant_release(ctx, r->columns[i].steps, r->link_count, sizeof *r->columns[i].steps);
    }
    quant_release(ctx, r->columns, r->column_count, sizeof *r->columns);
    quant_release(ctx, r->links, r->room, sizeof *r->links);
    quant_release(ctx, r, 1, sizeof *r);
}

static quant_status new_columns(work *w)
{
    quant_chain_result *r = w->result;
    r->columns = quant_alloc(w->ctx, r->column_count, sizeof *r->columns);
    if (!r->columns) {
        return QUANT_ENOMEM;
    }
    memset(r->columns, 0, r->column_count * sizeof *r->columns);
    for (size_t i = 0; i < r->column_count; i++) {
        quant_chain_column *c = &r->columns[i];
        if (w->options->recipe) {
            snprintf(c->text, sizeof c->text, "recipe");
        } else {
            quant_scheme_print(&w->options->schemes[i], c->text);
        }
        c->steps = quant_alloc(w->ctx, r->link_count, sizeof *c->steps);
        if (!c->steps) {
            return QUANT_ENOMEM;
        }
        memset(c->steps, 0, r->link_count * sizeof *c->steps);
    }
    return QUANT_OK;
}

static quant_status new_result(work *w)
{
    quant_chain_result *r = quant_alloc(w->ctx, 1, sizeof *r);
    if (!r) {
        return QUANT_ENOMEM;
    }
    *r = (quant_chain_result){.room = quant_bank_count(w->bank),
                              .column_count = w->options->recipe ? 1 : w->options->scheme_count};
    w->result = r;
    r->links = quant_alloc(w->ctx, r->room, sizeof *r->links);
    if (!r->links) {
        return QUANT_ENOMEM;
    }
    find_links(w->bank, r);
    if (r->link_count == 0) {
        return quant_fail(w->ctx, QUANT_EUNSUPPORTED, "chains: expected two matrices of which one "
                          "multiplies what the other puts out, found none");
    }
    for (size_t i = 0; i < r->link_count; i++) {
        size_t n = (size_t)(r->links[i].out > r->links[i].in ? r->links[i].out : r->links[i].in);
        w->widest = n > w->widest ? n : w->widest;
    }
    return new_columns(w);
}

static size_t vector_floats(const work *w)
{
    return w->widest * INPUTS;
}

static quant_status new_vectors(work *w)
{
    size_t n = vector_floats(w), all = n * w->result->column_count;
    w->clean = quant_alloc(w->ctx, n, sizeof *w->clean);
    w->next = quant_alloc(w->ctx, n, sizeof *w->next);
    w->injected = quant_alloc(w->ctx, n, sizeof *w->injected);
    w->carried = quant_alloc(w->ctx, n, sizeof *w->carried);
    w->both = quant_alloc(w->ctx, all, sizeof *w->both);
    w->other = quant_alloc(w->ctx, all, sizeof *w->other);
    return w->clean && w->next && w->injected && w->carried && w->both && w->other ? QUANT_OK
                                                                                   : QUANT_ENOMEM;
}

static void free_vectors(work *w)
{
    size_t n = vector_floats(w), all = w->result ? n * w->result->column_count : 0;
    quant_release(w->ctx, w->clean, n, sizeof *w->clean);
    quant_release(w->ctx, w->next, n, sizeof *w->next);
    quant_release(w->ctx, w->injected, n, sizeof *w->injected);
    quant_release(w->ctx, w->carried, n, sizeof *w->carried);
    quant_release(w->ctx, w->both, all, sizeof *w->both);
    quant_release(w->ctx, w->other, all, sizeof *w->other);
}

/* ---- one matrix ----------------------------------------------------------------------------- */

static void multiply(const work *w, const quant_chain_link *l, const float *a, const double *x,
                     double *y)
{
    size_t in = (size_t)l->in;
    int threads = quant_context_threads(w->ctx);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (uint64_t r = 0; r < l->out; r++) {
        double sum[INPUTS] = {0};
        for (size_t c = 0; c < in; c++) {
            double v = (double)a[r * in + c];
            for (int k = 0; k < INPUTS; k++) {
                sum[k] += v * x[c * INPUTS + (size_t)k];
            }
        }
        memcpy(y + r * INPUTS, sum, sizeof sum);
    }
}

/* Largest singular value of a - b (b NULL: of a). */
static quant_status norm_of(const work *w, const quant_chain_link *l, const float *a,
                            const float *b, double *norm)
{
    size_t n = (size_t)(l->out * l->in);
    double *copy = quant_alloc(w->ctx, n, sizeof *copy);
    if (!copy) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        copy[i] = (double)a[i] - (b ? (double)b[i] : 0);
    }
    quant_status s = lab_operator_norm(w->ctx, copy, (size_t)l->out, (size_t)l->in, norm);
    quant_release(w->ctx, copy, n, sizeof *copy);
    return s == QUANT_OK || s == QUANT_ENOMEM ? s : quant_fail_prefix(w->ctx, s, l->name);
}

static double worst_input(const double *a, const double *b, size_t rows)
{
    double worst = 0;
    for (size_t k = 0; k < INPUTS; k++) {
        double sum = 0;
        for (size_t r = 0; r < rows; r++) {
            double e = a[r * INPUTS + k] - b[r * INPUTS + k];
            sum += e * e;
        }
        worst = fmax(worst, sqrt(sum));
    }
    return worst;
}

/* Norms of the matrices before a link of its chain, multiplied. */
static double norms_before(const quant_chain_result *r, size_t link)
{
    double product = 1;
    for (size_t i = link; i > 0 && r->links[i - 1].chain == r->links[link].chain; i--) {
        product *= r->links[i - 1].norm;
    }
    return product;
}

static void grow(const work *w, size_t link, size_t column)
{
    const quant_chain_result *r = w->result;
    quant_chain_step *s = &r->columns[column].steps[link];
    bool first = link == 0 || r->links[link - 1].chain != r->links[link].chain;
    const quant_chain_step none = {.product = 0, .root = 0, .bound = 0};
    const quant_chain_step *before = first ? &none : s - 1;
    double delta = quant_ledger_delta(&s->terms);
    s->product = quant_growth_step(QUANT_GROWTH_PRODUCT, before->product, delta);
    s->root = quant_growth_step(QUANT_GROWTH_ROOT, before->root, delta);
    s->bound = before->bound * (r->links[link].norm + s->error_norm) +
               s->error_norm * norms_before(r, link);
}

/* copy[elements]: scratch. */
static quant_status run_step(const work *w, size_t link, size_t column, const float *a, float *copy)
{
    const quant_chain_link *l = &w->result->links[link];
    const quant_tensor *t = quant_bank_tensor(w->bank, l->tensor);
    const quant_chain_options *o = w->options;
    quant_chain_step *s = &w->result->columns[column].steps[link];
    lab_pick pick = {.scheme = o->recipe ? NULL : &o->schemes[column], .recipe = o->recipe,
                     .select = o->select, .user = o->user};
    double *both = w->both + column * vector_floats(w), *got = w->other + column * vector_floats(w);
    s->quantized = lab_pick_scheme(&pick, t) != NULL;
    if (s->quantized) {
        QUANT_TRY(lab_pick_copy(w->ctx, &pick, t, a, NULL, copy, &(uint64_t){0}));
        QUANT_TRY(norm_of(w, l, copy, a, &s->error_norm));
    }
    multiply(w, l, a, both, w->carried);
    multiply(w, l, s->quantized ? copy : a, w->clean, w->injected);
    multiply(w, l, s->quantized ? copy : a, both, got);
    quant_ledger_add(&s->terms, &(quant_ledger_values){w->next, got, w->injected, w->carried, NULL,
                                                       NULL}, (size_t)l->out * INPUTS);
    s->worst = worst_input(got, w->next, (size_t)l->out);
    memcpy(both, got, (size_t)l->out * INPUTS * sizeof *both);
    grow(w, link, column);
    return QUANT_OK;
}

/* Unit vectors, the same for every column. */
static void draw_inputs(const work *w, const quant_chain_link *l)
{
    quant_random stream = quant_random_stream(w->options->seed, l->name);
    for (uint64_t k = 0; k < INPUTS; k++) {
        double sum = 0;
        for (uint64_t c = 0; c < l->in; c++) {
            double x = quant_random_normal(&stream, k * l->in + c);
            w->clean[c * INPUTS + k] = x;
            sum += x * x;
        }
        for (uint64_t c = 0; c < l->in; c++) {
            w->clean[c * INPUTS + k] /= sqrt(sum);
        }
    }
    for (size_t i = 0; i < w->result->column_count; i++) {
        memcpy(w->both + i * vector_floats(w), w->clean,
               (size_t)l->in * INPUTS * sizeof *w->clean);
    }
}

static quant_status read_matrix(const work *w, const quant_chain_link *l, float *a)
{
    uint64_t n = l->out * l->in;
    QUANT_TRY(quant_bank_read_f32(w->ctx, w->bank, l->tensor, 0, n, a));
    for (uint64_t i = 0; i < n; i++) {
        if (!isfinite(a[i])) {
            return quant_fail(w->ctx, QUANT_ENONFINITE, "tensor %s: expected finite numbers, found "
                              "%g at %llu", l->name, (double)a[i], (unsigned long long)i);
        }
    }
    return QUANT_OK;
}

static quant_status run_link(work *w, size_t link, float *a, float *copy)
{
    quant_chain_link *l = &w->result->links[link];
    QUANT_TRY(read_matrix(w, l, a));
    QUANT_TRY(norm_of(w, l, a, NULL, &l->norm));
    if (link == 0 || w->result->links[link - 1].chain != l->chain) {
        draw_inputs(w, l);
    }
    multiply(w, l, a, w->clean, w->next);
    for (size_t i = 0; i < w->result->column_count; i++) {
        QUANT_TRY(run_step(w, link, i, a, copy));
    }
    memcpy(w->clean, w->next, (size_t)l->out * INPUTS * sizeof *w->clean);
    if (w->options->progress) {
        w->options->progress(w->options->progress_user, l->name, link + 1, w->result->link_count);
    }
    return QUANT_OK;
}

static quant_status run_links(work *w)
{
    size_t most = 0;
    for (size_t i = 0; i < w->result->link_count; i++) {
        size_t n = (size_t)(w->result->links[i].out * w->result->links[i].in);
        most = n > most ? n : most;
    }
    float *a = quant_alloc(w->ctx, most, sizeof *a);
    float *copy = quant_alloc(w->ctx, most, sizeof *copy);
    quant_status s = a && copy ? QUANT_OK : QUANT_ENOMEM;
    for (size_t i = 0; i < w->result->link_count && s == QUANT_OK; i++) {
        s = run_link(w, i, a, copy);
    }
    quant_release(w->ctx, a, most, sizeof *a);
    quant_release(w->ctx, copy, most, sizeof *copy);
    return s == QUANT_OK ? quant_bank_unchanged(w->ctx, w->bank) : s;
}

quant_status quant_chain_run(quant_context *ctx, quant_bank *bank,
                             const quant_chain_options *options, quant_chain_result **result)
{
    *result = NULL;
    if (!bank || !options ||
        (!options->recipe && (!options->schemes || options->scheme_count == 0))) {
        return quant_fail(ctx, QUANT_EINVAL, "chains: expected a bank, and schemes or a recipe");
    }
    work w = {.ctx = ctx, .bank = bank, .options = options};
    quant_status s = new_result(&w);
    if (s == QUANT_OK) {
        s = new_vectors(&w);
    }
    if (s == QUANT_OK) {
        s = run_links(&w);
    }
    free_vectors(&w);
    if (s != QUANT_OK) {
        quant_chain_free(ctx, w.result);
        return s;
    }
    *result = w.result;
    return QUANT_OK;
}
