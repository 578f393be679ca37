/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate.c - pieces of sequences, and what is on disk between two of them. */
#include "quant/lab/calibrate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "quant/internal.h"
#include "quant/lab/grids.h"
#include "quant/lab/propagate_parts.h"
#include "quant/lab/stats_parts.h"

enum { PIECE = 32 };

typedef struct work {
    quant_context *ctx;
    quant_model *model;
    const quant_tokens *tokens;
    const quant_calibrate_options *options;
    const char *path;
    quant_stats_info info;
    char scheme[QUANT_SCHEME_TEXT + QUANT_SHA256_TEXT + 16];
    quant_grids *grids;    /* by options->stats; NULL: none */
    quant_stats *stats;
    size_t s;              /* positions that are run */
    size_t first;          /* sequence of the tokens with which the piece at work begins */
    int64_t *ids;          /* [room]: the piece, sequences of s */
    size_t piece, room;
} work;

/* ---- what was asked for ---------------------------------------------------------------------- */

static quant_status take_range(quant_context *ctx, const char *what, uint64_t first, uint64_t count,
                               uint64_t most, uint64_t *taken)
{
    *taken = count > 0 ? count : first < most ? most - first : 0;
    return first < most && *taken > 0 && *taken <= most - first
               ? QUANT_OK
               : quant_fail(ctx, QUANT_ERANGE, "%s: expected some of 0..%" PRIu64 ", found %" PRIu64
                            " from %" PRIu64 " on", what, most > 0 ? most - 1 : 0, *taken, first);
}

static void hash_tokens(const quant_tokens *t, char text[QUANT_SHA256_TEXT])
{
    quant_sha256 h;
    quant_sha256_begin(&h);
    for (size_t i = 0; i < t->n * t->s; i++) {
        unsigned char bytes[8];
        for (int b = 0; b < 8; b++) {
            bytes[b] = (unsigned char)((uint64_t)t->id[i] >> 8 * b);
        }
        quant_sha256_add(&h, bytes, sizeof bytes);
    }
    quant_sha256_end(&h, text);
}

/* The scheme, and which ranges it goes by: part of what this run is. */
static quant_status take_scheme(work *w)
{
    const quant_calibrate_options *o = w->options;
    char sha256[QUANT_SHA256_TEXT];
    w->info.scheme = w->scheme;
    if (!o->scheme) {
        return QUANT_OK;
    }
    quant_scheme_print(o->scheme, w->scheme);
    if (!o->stats) {
        return QUANT_OK;
    }
    QUANT_TRY(quant_grids_of_stats(w->ctx, w->model, o->stats, &w->grids));
    QUANT_TRY(quant_grids_smooth(w->ctx, w->grids, o->scheme));
    if (o->stats->bank) {
        size_t n = strlen(w->scheme);
        QUANT_TRY(quant_bank_sha256(w->ctx, o->stats->bank, sha256));
        snprintf(w->scheme + n, sizeof w->scheme - n, " ranges %s", sha256);
    }
    return QUANT_OK;
}

static quant_status begin(work *w)
{
    const quant_calibrate_options *o = w->options;
    QUANT_TRY(take_range(w->ctx, "sequences", o->first_sequence, o->sequences, w->tokens->n,
                         &w->info.sequences));
    QUANT_TRY(take_range(w->ctx, "positions", o->first_position, o->positions, w->tokens->s,
                         &w->info.positions));
    w->info.first_sequence = o->first_sequence;
    w->info.first_position = o->first_position;
    w->info.moments = o->moments;
    QUANT_TRY(take_scheme(w));
    hash_tokens(w->tokens, w->info.tokens_sha256);
    QUANT_TRY(quant_bank_sha256(w->ctx, quant_model_bank(w->model), w->info.model_sha256));
    w->s = (size_t)(w->info.first_position + w->info.positions);
    w->piece = lab_stats_piece(w->model, w->s, o->piece > 0 ? o->piece : PIECE);
    w->room = (w->piece < w->info.sequences ? w->piece : (size_t)w->info.sequences) * w->s;
    w->ids = quant_alloc(w->ctx, w->room, sizeof *w->ids);
    return w->ids ? QUANT_OK : QUANT_ENOMEM;
}

/* ---- what is there already ------------------------------------------------------------------- */

static bool same_run(const quant_stats_info *a, const quant_stats_info *b, const char *model)
{
    return strcmp(a->model_sha256, b->model_sha256) == 0 && strcmp(a->model, model) == 0 &&
           strcmp(a->tokens_sha256, b->tokens_sha256) == 0 && strcmp(a->scheme, b->scheme) == 0 &&
           a->first_sequence == b->first_sequence && a->sequences == b->sequences &&
           a->first_position == b->first_position && a->positions == b->positions &&
           a->moments == b->moments;
}

static quant_status refuse_existing(const work *w, const char *what)
{
    return quant_fail(w->ctx, QUANT_EIO, "%s: exists%s, expected a new file or --force", w->path,
                      what);
}

/* Takes up an interrupted run of the same call; anything else in the way is refused. */
static quant_status take_up(work *w)
{
    char model[LAB_MODEL_TEXT];
    struct stat there;
    if (!w->path || w->options->replace || lstat(w->path, &there) != 0) {
        return QUANT_OK;
    }
    quant_status s = quant_stats_open(w->ctx, w->path, &w->stats);
    if (s != QUANT_OK) {
        return s == QUANT_ENOMEM ? s : refuse_existing(w, " and holds no statistics");
    }
    lab_model_text(w->model, model);
    if (!same_run(&w->stats->info, &w->info, model)) {
        return refuse_existing(w, " with statistics of something else");
    }
    if (w->stats->info.done == w->info.sequences) {
        return refuse_existing(w, " and is complete");
    }
    return lab_stats_load_moments(w->ctx, w->stats);
}

/* ---- pieces --------------------------------------------------------------------------------- */

static quant_status look(void *user, const quant_stage_view *view)
{
    const work *w = user;
    return lab_stats_add(w->ctx, w->stats, view, w->s, w->first);
}

/* Sequences [first, first + n) of the tokens, cut to s positions. */
static void take_ids(work *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        memcpy(w->ids + i * w->s, w->tokens->id + (w->first + i) * w->tokens->s,
               w->s * sizeof *w->ids);
        for (size_t j = (size_t)w->info.first_position; j < w->s; j++) {
            w->stats->tokens[w->ids[i * w->s + j]]++;
        }
    }
}

static quant_status check_ids(const work *w)
{
    uint64_t vocab = quant_model_sizes_of(w->model)->vocab;
    for (size_t i = 0; i < w->tokens->n * w->tokens->s; i++) {
        if (w->tokens->id[i] < 0 || (uint64_t)w->tokens->id[i] >= vocab) {
            return quant_fail(w->ctx, QUANT_ERANGE, "tokens: sequence %zu, position %zu: expected "
                              "0..%" PRIu64 ", found %" PRId64, i / w->tokens->s,
                              i % w->tokens->s, vocab - 1, w->tokens->id[i]);
        }
    }
    return QUANT_OK;
}

static quant_status run_piece(work *w)
{
    lab_pick pick = {.scheme = w->options->scheme};
    const quant_forward_variant v = {.scheme = pick.scheme ? lab_pick_scheme : NULL, .user = &pick,
                                     .grid = w->grids ? quant_grids_of : NULL,
                                     .smooth = w->grids ? quant_grids_smooth_of : NULL,
                                     .grid_user = w->grids};
    const quant_forward_options o = {.stages = lab_stats_stages(), .visit = look, .user = w};
    quant_stats_info *info = &w->stats->info;
    uint64_t left = info->sequences - info->done;
    size_t n = left < w->piece ? (size_t)left : w->piece;
    w->first = (size_t)(info->first_sequence + info->done);
    take_ids(w, n);
    QUANT_TRY(quant_forward_run(w->ctx, w->model, &(quant_tokens){w->ids, n, w->s}, &v, 1, &o));
    info->done += n;
    if (w->path) {
        QUANT_TRY(lab_stats_write(w->ctx, w->stats, w->model, w->path));
    }
    if (w->options->progress) {
        w->options->progress(w->options->user, "sequences", info->done, info->sequences);
    }
    return QUANT_OK;
}

static quant_status run_all(work *w)
{
    QUANT_TRY(begin(w));
    QUANT_TRY(check_ids(w));
    QUANT_TRY(take_up(w));
    if (!w->stats) {
        QUANT_TRY(lab_stats_new(w->ctx, w->model, &w->info, &w->stats));
    }
    while (w->stats->info.done < w->info.sequences) {
        QUANT_TRY(run_piece(w));
    }
    return QUANT_OK;
}

quant_status quant_calibrate(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                             const quant_calibrate_options *options, const char *path,
                             quant_stats **stats)
{
    static const quant_calibrate_options none = {.piece = 0};
    *stats = NULL;
    if (!model || !tokens || !tokens->id) {
        return quant_fail(ctx, QUANT_EINVAL, "calibrate: expected a model and tokens");
    }
    work w = {.ctx = ctx, .model = model, .tokens = tokens, .options = options ? options : &none,
              .path = path};
    quant_status s = run_all(&w);
    quant_release(ctx, w.ids, w.room, sizeof *w.ids);
    quant_grids_free(ctx, w.grids);
    if (s != QUANT_OK) {
        quant_stats_close(ctx, w.stats);
        return s;
    }
    *stats = w.stats;
    return QUANT_OK;
}
