/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats_write.c - statistics as a safetensors file. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "quant/bank/safetensors_write.h"
#include "quant/internal.h"
#include "quant/lab/stats_parts.h"

enum {
    ITEMS = QUANT_SITE_COUNT * LAB_FIELDS + 1,
    FIXED = 8,       /* metadata of the file as a whole */
    RANGE_TEXT = 48
};

/* One array of the file. */
typedef struct array {
    char name[LAB_ARRAY_NAME];
    quant_site site;
    lab_field field; /* LAB_FIELDS: the token counts */
} array;

typedef struct output {
    quant_context *ctx;
    const quant_stats *stats;
    const quant_model *model;
    quant_safetensors_writer *to;
    array list[ITEMS];
    quant_safetensors_item items[ITEMS];
    size_t count;
    quant_safetensors_pair *pairs; /* [pair_room] */
    char *texts;                   /* [text_room], keys and values of inputs */
    size_t pair_count, pair_room, text_room, text_used;
} output;

/* ---- arrays --------------------------------------------------------------------------------- */

static void plan(output *o)
{
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        const lab_site *s = &o->stats->site[k];
        for (int f = 0; s->layers > 0 && f < LAB_FIELDS; f++) {
            array *a = &o->list[o->count];
            if (f == LAB_MOMENTS && !s->moments) {
                continue;
            }
            *a = (array){.site = (quant_site)k, .field = (lab_field)f};
            lab_array_name(a->site, a->field, a->name);
            o->items[o->count++] = (quant_safetensors_item){
                a->name, lab_fields[f].dtype, lab_array_shape(o->stats, a->site, a->field)};
        }
    }
    o->list[o->count] = (array){.name = "tokens", .field = LAB_FIELDS};
    o->items[o->count] = (quant_safetensors_item){o->list[o->count].name, QUANT_U64,
                                                  {1, {o->stats->info.vocab}}};
    o->count++;
}

static quant_status put_array(output *o, size_t i)
{
    const array *a = &o->list[i];
    const quant_stats *stats = o->stats;
    const lab_site *s = &stats->site[a->site];
    if (a->field == LAB_FIELDS) {
        return quant_safetensors_put(o->ctx, o->to, i, 0, stats->tokens,
                                     (size_t)stats->info.vocab * sizeof *stats->tokens);
    }
    size_t bytes = lab_field_elements(stats, s, a->field) * lab_field_size(a->field);
    for (size_t u = 0; u < s->units; u++) {
        if (a->field == LAB_MOMENTS) {
            lab_mirror(lab_field_at(s, a->field, u), s->cols);
        }
        QUANT_TRY(quant_safetensors_put(o->ctx, o->to, i, u * bytes, lab_field_at(s, a->field, u),
                                        bytes));
    }
    return QUANT_OK;
}

/* ---- metadata ------------------------------------------------------------------------------- */

static const char *keep_text(output *o, const char *text)
{
    size_t n = strlen(text) + 1;
    char *at = o->texts + o->text_used;
    memcpy(at, text, n);
    o->text_used += n;
    return at;
}

static void pair(output *o, const char *key, const char *value)
{
    o->pairs[o->pair_count++] = (quant_safetensors_pair){key, keep_text(o, value)};
}

static void pair_range(output *o, const char *key, uint64_t first, uint64_t count)
{
    char text[RANGE_TEXT];
    snprintf(text, sizeof text, "%" PRIu64 "..%" PRIu64, first, first + count - 1);
    pair(o, key, text);
}

/* Calls `each` for every tensor that multiplies a recorded input. */
static void each_input(output *o, void (*each)(output *o, const quant_tensor *t, quant_site site,
                                               uint64_t layer))
{
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        quant_role role;
        for (uint64_t l = 0; l < o->stats->site[k].layers; l++) {
            for (int i = 0; quant_site_role((quant_site)k, i, &role); i++) {
                const quant_tensor *t = quant_model_tensor(o->model, role, l, NULL);
                if (t) {
                    each(o, t, (quant_site)k, l);
                }
            }
        }
    }
}

static void measure_input(output *o, const quant_tensor *t, quant_site site, uint64_t layer)
{
    (void)site;
    (void)layer;
    o->pair_room++;
    o->text_room += strlen(t->name) + sizeof "input:" + LAB_ARRAY_NAME + 24;
}

static void pair_input(output *o, const quant_tensor *t, quant_site site, uint64_t layer)
{
    char value[LAB_ARRAY_NAME + 24];
    char *key = o->texts + o->text_used;
    int n = snprintf(key, strlen(t->name) + sizeof "input:", "input:%s", t->name);
    o->text_used += (size_t)n + 1;
    snprintf(value, sizeof value, "%s %" PRIu64, quant_site_name(site), layer);
    pair(o, key, value);
}

static quant_status describe(output *o)
{
    const quant_stats_info *info = &o->stats->info;
    char done[RANGE_TEXT];
    each_input(o, measure_input);
    o->pair_room += FIXED;
    o->text_room += FIXED * (QUANT_SHA256_TEXT + RANGE_TEXT) + strlen(info->model) +
                    strlen(info->scheme);
    o->pairs = quant_alloc(o->ctx, o->pair_room, sizeof *o->pairs);
    o->texts = quant_alloc(o->ctx, o->text_room, 1);
    if (!o->pairs || !o->texts) {
        return QUANT_ENOMEM;
    }
    snprintf(done, sizeof done, "%" PRIu64, info->done);
    pair(o, "schema", QUANT_STATS_SCHEMA);
    pair(o, "model", info->model);
    pair(o, "model_sha256", info->model_sha256);
    pair(o, "tokens_sha256", info->tokens_sha256);
    pair(o, "scheme", info->scheme);
    pair_range(o, "sequences", info->first_sequence, info->sequences);
    pair_range(o, "positions", info->first_position, info->positions);
    pair(o, "done", done);
    each_input(o, pair_input);
    return QUANT_OK;
}

static quant_status write_all(output *o, const char *path)
{
    plan(o);
    QUANT_TRY(describe(o));
    QUANT_TRY(quant_safetensors_create(o->ctx, path, o->items, o->count, o->pairs, o->pair_count,
                                       &o->to));
    for (size_t i = 0; i < o->count; i++) {
        QUANT_TRY(put_array(o, i));
    }
    quant_safetensors_writer *to = o->to;
    o->to = NULL;
    return quant_safetensors_commit(o->ctx, to);
}

quant_status lab_stats_write(quant_context *ctx, const quant_stats *stats, const quant_model *model,
                             const char *path)
{
    output *o = quant_alloc(ctx, 1, sizeof *o);
    if (!o) {
        return QUANT_ENOMEM;
    }
    *o = (output){.ctx = ctx, .stats = stats, .model = model};
    quant_status s = write_all(o, path);
    quant_safetensors_discard(ctx, o->to);
    quant_release(ctx, o->pairs, o->pair_room, sizeof *o->pairs);
    quant_release(ctx, o->texts, o->text_room, 1);
    quant_release(ctx, o, 1, sizeof *o);
    return s;
}
