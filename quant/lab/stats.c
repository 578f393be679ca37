/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats.c - memory of statistics, rows of them, and figures. */
#include "quant/lab/stats.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/stats_parts.h"

/* ---- memory --------------------------------------------------------------------------------- */

static void *zeroed(quant_context *ctx, size_t count, size_t size)
{
    void *at = quant_alloc(ctx, count, size);
    if (at) {
        memset(at, 0, count * size);
    }
    return at;
}

static quant_status allocate_site(quant_context *ctx, const quant_stats_info *info, lab_site *s,
                                  bool moments)
{
    size_t squares;
    if (__builtin_mul_overflow(s->cols * s->cols, s->units, &squares) ||
        s->cols > UINT32_MAX || squares > SIZE_MAX / sizeof(double)) {
        return quant_fail(ctx, QUANT_ENOMEM, "memory: moments of %zu inputs of width %zu", s->units,
                          s->cols);
    }
    s->observer = zeroed(ctx, s->units, sizeof *s->observer);
    s->sum = zeroed(ctx, s->units * s->cols, sizeof *s->sum);
    s->square = zeroed(ctx, s->units * s->cols, sizeof *s->square);
    s->fourth = zeroed(ctx, s->units, sizeof *s->fourth);
    s->moments = moments ? zeroed(ctx, squares, sizeof *s->moments) : NULL;
    if (!s->observer || !s->sum || !s->square || !s->fourth ||
        (moments && !s->moments)) {
        return QUANT_ENOMEM;
    }
    for (size_t u = 0; u < s->units; u++) {
        QUANT_TRY(quant_observer_new(ctx, s->cols, false, info->sequences, &s->observer[u]));
    }
    return QUANT_OK;
}

quant_status lab_stats_allocate(quant_context *ctx, quant_stats *stats, bool moments)
{
    stats->tokens = zeroed(ctx, (size_t)stats->info.vocab, sizeof *stats->tokens);
    if (!stats->tokens) {
        return QUANT_ENOMEM;
    }
    for (int i = 0; i < QUANT_SITE_COUNT; i++) {
        if (stats->site[i].layers > 0) {
            QUANT_TRY(allocate_site(ctx, &stats->info, &stats->site[i], moments));
        }
    }
    return QUANT_OK;
}

static void free_site(quant_context *ctx, lab_site *s)
{
    for (size_t u = 0; s->observer && u < s->units; u++) {
        quant_observer_free(ctx, s->observer[u]);
    }
    quant_release(ctx, s->observer, s->units, sizeof *s->observer);
    quant_release(ctx, s->sum, s->units * s->cols, sizeof *s->sum);
    quant_release(ctx, s->square, s->units * s->cols, sizeof *s->square);
    quant_release(ctx, s->fourth, s->units, sizeof *s->fourth);
    quant_release(ctx, s->moments, s->units * s->cols * s->cols, sizeof *s->moments);
}

void quant_stats_close(quant_context *ctx, quant_stats *stats)
{
    if (!stats) {
        return;
    }
    for (int i = 0; i < QUANT_SITE_COUNT; i++) {
        free_site(ctx, &stats->site[i]);
    }
    quant_release(ctx, stats->tokens, (size_t)stats->info.vocab, sizeof *stats->tokens);
    quant_release(ctx, stats->model, stats->model_room, 1);
    quant_release(ctx, stats->scheme, stats->scheme_room, 1);
    quant_bank_close(ctx, stats->bank);
    quant_release(ctx, stats, 1, sizeof *stats);
}

static quant_status copy_text(quant_context *ctx, const char *text, char **copy, size_t *room)
{
    *room = strlen(text) + 1;
    *copy = quant_alloc(ctx, *room, 1);
    if (!*copy) {
        return QUANT_ENOMEM;
    }
    memcpy(*copy, text, *room);
    return QUANT_OK;
}

quant_status lab_stats_texts(quant_context *ctx, quant_stats *stats, const char *model,
                             const char *scheme)
{
    QUANT_TRY(copy_text(ctx, model, &stats->model, &stats->model_room));
    QUANT_TRY(copy_text(ctx, scheme, &stats->scheme, &stats->scheme_room));
    stats->info.model = stats->model;
    stats->info.scheme = stats->scheme;
    return QUANT_OK;
}

void lab_model_text(const quant_model *model, char text[LAB_MODEL_TEXT])
{
    const quant_model_sizes *z = quant_model_sizes_of(model);
    snprintf(text, LAB_MODEL_TEXT,
             "%s: layers %" PRIu64 ", width %" PRIu64 ", vocab %" PRIu64 ", heads %" PRIu64 "/%"
             PRIu64 " of %" PRIu64 ", inner %" PRIu64 ", experts %" PRIu64 "/%" PRIu64 " of %"
             PRIu64 ", window %" PRIu64 "/%" PRIu64 ", eps %.17g, theta %.17g/%.17g, cap %.17g%s",
             quant_model_architecture(model), z->layers, z->width, z->vocab, z->heads, z->kv_heads,
             z->head_dim, z->inner, z->experts_used, z->experts, z->expert_inner, z->window,
             z->pattern, z->eps, z->theta, z->theta_local, z->logit_cap, z->tied ? ", tied" : "");
}

/* Layers, experts and width of a site in a model; layers 0 when it has no such site. */
static lab_site site_of(const quant_model *model, quant_site site)
{
    const quant_model_sizes *z = quant_model_sizes_of(model);
    quant_role role;
    quant_site_role(site, 0, &role);
    const quant_tensor *t = quant_model_tensor(model, role, 0, NULL);
    lab_site s = {.layers = site == QUANT_SITE_FINAL ? 1 : z->layers,
                  .experts = quant_site_is_expert(site) ? z->experts : 1};
    if (!t || s.experts == 0) {
        return (lab_site){.layers = 0};
    }
    s.units = (size_t)(s.layers * s.experts);
    s.cols = (size_t)t->shape.dim[t->shape.rank - 1];
    return s;
}

quant_status lab_stats_new(quant_context *ctx, const quant_model *model,
                           const quant_stats_info *info, quant_stats **stats)
{
    char text[LAB_MODEL_TEXT];
    *stats = NULL;
    quant_stats *s = quant_alloc(ctx, 1, sizeof *s);
    if (!s) {
        return QUANT_ENOMEM;
    }
    *s = (quant_stats){.info = *info};
    s->info.vocab = quant_model_sizes_of(model)->vocab;
    s->info.layers = quant_model_sizes_of(model)->layers;
    s->info.experts = quant_model_sizes_of(model)->experts;
    for (int i = 0; i < QUANT_SITE_COUNT; i++) {
        s->site[i] = site_of(model, (quant_site)i);
    }
    lab_model_text(model, text);
    quant_status status = lab_stats_texts(ctx, s, text, info->scheme);
    if (status == QUANT_OK) {
        status = lab_stats_allocate(ctx, s, info->moments);
    }
    if (status != QUANT_OK) {
        quant_stats_close(ctx, s);
        return status;
    }
    *stats = s;
    return QUANT_OK;
}

/* ---- rows ----------------------------------------------------------------------------------- */

const quant_stats_info *quant_stats_info_of(const quant_stats *stats)
{
    return &stats->info;
}

const uint64_t *quant_stats_tokens(const quant_stats *stats)
{
    return stats->tokens;
}

bool quant_stats_at(const quant_stats *stats, quant_site site, uint64_t layer, uint64_t expert,
                    quant_stats_row *row)
{
    if ((unsigned)site >= QUANT_SITE_COUNT || layer >= stats->site[site].layers ||
        expert >= stats->site[site].experts) {
        return false;
    }
    const lab_site *s = &stats->site[site];
    size_t u = (size_t)(layer * s->experts + expert);
    *row = (quant_stats_row){site, layer, expert, s->observer[u]->rows, s->cols, s->observer[u],
                             s->sum + u * s->cols, s->square + u * s->cols, s->fourth[u]};
    return true;
}

bool quant_stats_each(const quant_stats *stats, size_t i, quant_stats_row *row)
{
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        const lab_site *s = &stats->site[k];
        if (i < s->units) {
            return quant_stats_at(stats, (quant_site)k, i / s->experts, i % s->experts, row);
        }
        i -= s->units;
    }
    return false;
}

/* ---- figures -------------------------------------------------------------------------------- */

static float channel_absmax(const quant_stats_row *row, size_t c)
{
    return fmaxf(-row->observer->lowest[c], row->observer->highest[c]);
}

float quant_stats_absmax(const quant_stats_row *row)
{
    float most = 0;
    for (size_t c = 0; c < row->cols; c++) {
        most = fmaxf(most, channel_absmax(row, c));
    }
    return most;
}

static double energy_of(const quant_stats_row *row)
{
    double sum = 0;
    for (size_t c = 0; c < row->cols; c++) {
        sum += row->square[c];
    }
    return sum;
}

double quant_stats_rms(const quant_stats_row *row)
{
    return sqrt(energy_of(row) / ((double)row->rows * (double)row->cols));
}

double quant_stats_kurtosis(const quant_stats_row *row)
{
    double energy = energy_of(row);
    return (double)row->rows * (double)row->cols * row->fourth / (energy * energy);
}

/* How many channels are below, or as low and before: its place in ascending order. */
static size_t place_of(const quant_stats_row *row, size_t channel)
{
    float own = channel_absmax(row, channel);
    size_t place = 0;
    for (size_t c = 0; c < row->cols; c++) {
        float other = channel_absmax(row, c);
        place += other < own || (other == own && c < channel);
    }
    return place;
}

size_t quant_stats_worst_channel(const quant_stats_row *row, double *over_median)
{
    size_t worst = 0, middle = 0;
    for (size_t c = 0; c < row->cols; c++) {
        worst = channel_absmax(row, c) > channel_absmax(row, worst) ? c : worst;
        middle = place_of(row, c) == (row->cols - 1) / 2 ? c : middle;
    }
    *over_median = (double)channel_absmax(row, worst) / (double)channel_absmax(row, middle);
    return worst;
}
