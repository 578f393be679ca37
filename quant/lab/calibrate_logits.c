/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_logits.c - what the scales of every point do to the logits of held-out prompts. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/calibrate_parts.h"
#include "quant/lab/propagate_parts.h"

enum {
    CLEAN,                       /* variant 0: as stored */
    POINTS = QUANT_SOURCE_COUNT * QUANT_ADEQUACY_COUNTS,
    ROOM_FLOATS = 1 << 26        /* of a piece: streams of all variants, logits of one */
};

/* The scales of one slot, as the forward pass asks for them. */
typedef struct scales {
    const lab_curve *w;
    size_t scheme, slot;
} scales;

typedef struct run {
    lab_curve *w;
    size_t scheme, variants;
    scales of[POINTS + 1];       /* of variants 1 on: every point, then the limit */
    lab_pick pick;
    size_t first;                /* sequence with which the piece begins */
    const int64_t *ids;          /* of the piece */
    float *clean;                /* [piece][vocab] */
    quant_logits_row *rows;      /* [variants - 1][held out * s] */
    size_t held;                 /* held out * s */
} run;

static bool grid_of(void *user, quant_stage stage, uint64_t layer, size_t expert,
                    const quant_activation *how, const float *factors, quant_activation_grid *grid)
{
    const scales *g = user;
    quant_site site = QUANT_SITE_COUNT;
    (void)how;
    (void)factors;
    bool there = quant_site_of_stage(stage, &site);
    size_t experts = quant_site_is_expert(site)
                         ? (size_t)quant_model_sizes_of(g->w->model)->experts : 1;
    const lab_measure *m = there ? lab_measure_at(g->w, g->w->offset[site] +
                                                  (size_t)layer * experts + expert, g->scheme)
                                 : NULL;
    if (m && m->reached[g->slot]) {
        *grid = m->grid[g->slot];
        return true;
    }
    return false;
}

/* Logits of a piece of rows: kept, or held against those kept. */
static quant_status look(void *user, const quant_stage_view *v)
{
    run *r = user;
    size_t vocab = v->cols, s = r->w->s;
    float *clean = r->clean + v->first_row * vocab;
    if (v->variant == CLEAN) {
        memcpy(clean, v->data, v->rows * vocab * sizeof *clean);
        return QUANT_OK;
    }
    quant_logits_row *rows = r->rows + (v->variant - 1) * r->held + r->first * s + v->first_row;
    int threads = quant_context_threads(r->w->ctx);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < v->rows; i++) {
        size_t row = v->first_row + i;
        rows[i] = quant_logits_compare(clean + i * vocab, v->data + i * vocab, vocab,
                                       (row + 1) % s == 0 ? -1 : r->ids[row + 1]);
    }
    return QUANT_OK;
}

/* Sequences of a piece: whole batches of the pass. */
static size_t piece_of(const run *r)
{
    const quant_model_sizes *z = quant_model_sizes_of(r->w->model);
    size_t batch = quant_forward_batch(r->w->s);
    size_t most = ROOM_FLOATS / (r->w->s * (r->variants * (size_t)z->width + (size_t)z->vocab));
    return most > batch ? most / batch * batch : batch;
}

static quant_status run_piece(run *r, size_t some)
{
    const lab_curve *w = r->w;
    quant_forward_variant v[POINTS + 2] = {[CLEAN] = {.scheme = NULL}};
    for (size_t i = 1; i < r->variants; i++) {
        v[i] = (quant_forward_variant){.scheme = lab_pick_scheme, .user = &r->pick, .grid = grid_of,
                                       .grid_user = &r->of[i - 1]};
    }
    const quant_forward_options o = {.stages = 1u << QUANT_STAGE_LOGITS, .visit = look, .user = r};
    r->ids = w->tokens->id + (w->c->options.first_held_out + r->first) * w->s;
    return quant_forward_run(w->ctx, w->model, &(quant_tokens){r->ids, some, w->s}, v, r->variants,
                             &o);
}

/* ---- figures --------------------------------------------------------------------------------- */

/* sums [units] of KL. */
static void gather(const run *r, const quant_logits_row *rows, double *sums)
{
    const lab_curve *w = r->w;
    memset(sums, 0, w->units * sizeof *sums);
    for (size_t i = 0; i < r->held; i++) {
        size_t at = w->per_sequence > 1 ? i % w->s / LAB_RUN : 0;
        sums[i / w->s * w->per_sequence + at] += rows[i].kl;
    }
}

static double over(double a, double b)
{
    return a == 0 && b == 0 ? 1 : a / b;
}

/* room [2 units + LAB_RESAMPLES], the first of which has the limit's sums. */
static quant_status judge(const run *r, const quant_logits_row *rows, const uint16_t *times,
                          double *room, quant_adequacy_logits *out)
{
    const lab_curve *w = r->w;
    const quant_adequacy_options *o = &w->c->options;
    double *limit = room, *own = room + w->units, *ratio = own + w->units;
    quant_logits_summary s;
    QUANT_TRY(quant_logits_summarize(w->ctx, rows, (size_t)o->held_out, w->s, o->seed, &s));
    gather(r, rows, own);
    for (size_t b = 0; b < LAB_RESAMPLES && w->units > 1; b++) {
        const uint16_t *t = times + b * w->units;
        ratio[b] = over(lab_curve_weighted(t, own, w->units),
                        lab_curve_weighted(t, limit, w->units));
    }
    bool drawn = w->units > 1;
    *out = (quant_adequacy_logits){
        .kl = s.kl_mean,
        .ratio = over(lab_curve_total(own, w->units), lab_curve_total(limit, w->units)),
        .low = drawn ? lab_order_statistic(ratio, LAB_RESAMPLES, 0.025) : (double)NAN,
        .high = drawn ? lab_order_statistic(ratio, LAB_RESAMPLES, 0.975) : (double)NAN,
        .perplexity = s.ratio, .perplexity_low = s.low, .perplexity_high = s.high,
        .same_top = s.same_top};
    out->served = out->high <= (1 + o->error) * (1 + o->error);
    return QUANT_OK;
}

static quant_status judge_all(const run *r, const uint16_t *times, double *room)
{
    quant_adequacy *c = r->w->c;
    size_t points = r->variants - 2;
    bool good[QUANT_ADEQUACY_COUNTS];
    gather(r, r->rows + points * r->held, room);
    for (size_t i = 0; i <= points; i++) {
        QUANT_TRY(judge(r, r->rows + i * r->held, times, room,
                        i < points ? &c->logits[r->scheme][i] : &c->logits_limit[r->scheme]));
    }
    for (size_t i = 0; i < c->count_n; i++) {
        size_t point = lab_point(r->w, QUANT_SOURCE_PROMPTS, i);
        good[i] = c->logits[r->scheme][point].served &&
                  c->point[r->scheme][point].unreached == 0;
    }
    c->logits_enough[r->scheme] = lab_curve_from(c, good);
    return QUANT_OK;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static quant_status run_scheme(run *r, const uint16_t *times, double *room)
{
    const lab_curve *w = r->w;
    const quant_adequacy_options *o = &w->c->options;
    size_t n = (size_t)o->held_out, piece = piece_of(r);
    r->pick = (lab_pick){.scheme = &w->schemes[r->scheme]};
    for (size_t i = 0; i + 1 < r->variants; i++) {
        r->of[i] = (scales){w, r->scheme, i + 2 < r->variants ? i : LAB_LIMIT};
    }
    for (r->first = 0; r->first < n; r->first += piece) {
        if (o->progress) {
            o->progress(o->user, "logits", r->scheme * n + r->first, w->scheme_count * n);
        }
        QUANT_TRY(run_piece(r, n - r->first < piece ? n - r->first : piece));
    }
    return judge_all(r, times, room);
}

quant_status lab_curve_logits(lab_curve *w)
{
    size_t points = QUANT_SOURCE_COUNT * w->c->count_n, count = LAB_RESAMPLES * w->units;
    size_t doubles = 2 * w->units + LAB_RESAMPLES;
    run r = {.w = w, .variants = points + 2, .held = (size_t)w->c->options.held_out * w->s};
    size_t piece = piece_of(&r) * w->s, vocab = (size_t)quant_model_sizes_of(w->model)->vocab;
    uint16_t *times = quant_alloc(w->ctx, count, sizeof *times);
    double *room = quant_alloc(w->ctx, doubles, sizeof *room);
    piece = piece < r.held ? piece : r.held;
    r.clean = quant_alloc(w->ctx, piece, vocab * sizeof *r.clean);
    r.rows = quant_alloc(w->ctx, points + 1, r.held * sizeof *r.rows);
    quant_status s = times && room && r.clean && r.rows ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        lab_curve_draw(w, times);
    }
    for (; r.scheme < w->scheme_count && s == QUANT_OK; r.scheme++) {
        s = run_scheme(&r, times, room);
    }
    quant_release(w->ctx, times, count, sizeof *times);
    quant_release(w->ctx, room, doubles, sizeof *room);
    quant_release(w->ctx, r.clean, piece, vocab * sizeof *r.clean);
    quant_release(w->ctx, r.rows, points + 1, r.held * sizeof *r.rows);
    return s;
}
