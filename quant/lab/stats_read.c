/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats_read.c - statistics from a file that nobody checked: what is said of itself, then arrays of
 * the right types and shapes. stats_check.c looks at the numbers. */
#include <inttypes.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/stats_parts.h"

enum {
    MOST_UNITS = 1 << 16 /* of a site: 48 KiB of histogram each */
};

/* ---- metadata ------------------------------------------------------------------------------- */

static quant_status take_text(quant_context *ctx, const quant_stats *stats, const char *key,
                              const char **value)
{
    *value = quant_bank_metadata(stats->bank, key);
    return *value ? QUANT_OK
                  : quant_fail(ctx, QUANT_EFIELD, "metadata \"%s\": expected it, found none", key);
}

static quant_status take_digest(quant_context *ctx, const quant_stats *stats, const char *key,
                                char out[QUANT_SHA256_TEXT])
{
    const char *value;
    QUANT_TRY(take_text(ctx, stats, key, &value));
    if (strlen(value) != QUANT_SHA256_TEXT - 1 ||
        strspn(value, "0123456789abcdef") != QUANT_SHA256_TEXT - 1) {
        return quant_fail(ctx, QUANT_ESYNTAX, "metadata \"%s\": expected 64 hexadecimal digits, "
                          "found \"%.80s\"", key, value);
    }
    memcpy(out, value, QUANT_SHA256_TEXT);
    return QUANT_OK;
}

/* Digits without sign or leading zero, below 2^32; the rest of the text. NULL: none. */
static const char *parse_number(const char *p, uint64_t *n)
{
    const char *start = p;
    for (*n = 0; *p >= '0' && *p <= '9'; p++) {
        *n = *n * 10 + (uint64_t)(*p - '0');
        if (*n > UINT32_MAX) {
            return NULL;
        }
    }
    return p == start || (*start == '0' && p - start > 1) ? NULL : p;
}

static quant_status take_range(quant_context *ctx, const quant_stats *stats, const char *key,
                               uint64_t *first, uint64_t *count)
{
    const char *value, *p;
    uint64_t last = 0;
    QUANT_TRY(take_text(ctx, stats, key, &value));
    p = parse_number(value, first);
    p = p && strncmp(p, "..", 2) == 0 ? parse_number(p + 2, &last) : NULL;
    if (!p || *p || last < *first) {
        return quant_fail(ctx, QUANT_ESYNTAX, "metadata \"%s\": expected FIRST..LAST, found "
                          "\"%.40s\"", key, value);
    }
    *count = last - *first + 1;
    return QUANT_OK;
}

static quant_status take_metadata(quant_context *ctx, quant_stats *stats)
{
    quant_stats_info *info = &stats->info;
    const char *value, *model, *scheme;
    const char *schema = quant_bank_metadata(stats->bank, "schema");
    if (!schema || strcmp(schema, QUANT_STATS_SCHEMA) != 0) {
        return quant_fail(ctx, QUANT_EVERSION, "metadata \"schema\": expected %s, found %.80s",
                          QUANT_STATS_SCHEMA, schema ? schema : "none");
    }
    QUANT_TRY(take_digest(ctx, stats, "model_sha256", info->model_sha256));
    QUANT_TRY(take_digest(ctx, stats, "tokens_sha256", info->tokens_sha256));
    QUANT_TRY(take_text(ctx, stats, "model", &model));
    QUANT_TRY(take_text(ctx, stats, "scheme", &scheme));
    QUANT_TRY(take_range(ctx, stats, "sequences", &info->first_sequence, &info->sequences));
    QUANT_TRY(take_range(ctx, stats, "positions", &info->first_position, &info->positions));
    QUANT_TRY(take_text(ctx, stats, "done", &value));
    const char *end = parse_number(value, &info->done);
    if (!end || *end || info->done > info->sequences) {
        return quant_fail(ctx, QUANT_ERANGE, "metadata \"done\": expected 0..%" PRIu64 ", found "
                          "\"%.40s\"", info->sequences, value);
    }
    return lab_stats_texts(ctx, stats, model, scheme);
}

/* ---- shapes --------------------------------------------------------------------------------- */

static const quant_tensor *find_array(quant_context *ctx, const quant_stats *stats, quant_site site,
                                      lab_field field, size_t *i)
{
    char name[LAB_ARRAY_NAME];
    lab_array_name(site, field, name);
    return quant_bank_find(ctx, stats->bank, name, i) == QUANT_OK
               ? quant_bank_tensor(stats->bank, *i)
               : NULL;
}

static quant_status expect_array(quant_context *ctx, const quant_stats *stats, quant_site site,
                                 lab_field field, const quant_shape *shape)
{
    size_t i;
    const quant_tensor *t = find_array(ctx, stats, site, field, &i);
    if (!t) {
        return QUANT_EFIELD;
    }
    if (t->dtype != lab_fields[field].dtype) {
        return quant_fail(ctx, QUANT_ETYPE, "array %s: expected %s, found %s", t->name,
                          quant_dtype_name(lab_fields[field].dtype), t->dtype_text);
    }
    bool same = t->shape.rank == shape->rank;
    for (int d = 0; same && d < shape->rank; d++) {
        same = t->shape.dim[d] == shape->dim[d];
    }
    return same ? QUANT_OK
                : quant_fail(ctx, QUANT_ESHAPE, "array %s: expected %d axes, the last %" PRIu64
                             ", found %d with %" PRIu64, t->name, shape->rank,
                             shape->dim[shape->rank - 1], t->shape.rank,
                             t->shape.rank > 0 ? t->shape.dim[t->shape.rank - 1] : 0);
}

/* Sizes of a site, off its rows and lowest; layers = 0 where an expert's is absent. */
static quant_status take_site(quant_context *ctx, quant_stats *stats, quant_site site)
{
    lab_site *s = &stats->site[site];
    size_t i;
    bool expert = quant_site_is_expert(site);
    const quant_tensor *rows = find_array(ctx, stats, site, LAB_ROWS, &i);
    if (!rows) {
        return expert ? QUANT_OK : QUANT_EFIELD;
    }
    const quant_tensor *lowest = find_array(ctx, stats, site, LAB_LOWEST, &i);
    if (!lowest) {
        return QUANT_EFIELD;
    }
    int rank = expert ? 2 : 1;
    if (rows->shape.rank != rank || lowest->shape.rank != rank + 1 || rows->elements == 0 ||
        lowest->elements == 0 || rows->elements > MOST_UNITS) {
        return quant_fail(ctx, QUANT_ESHAPE, "array %s: expected %d axes and 1..%d elements, found "
                          "%d and %" PRIu64, rows->name, rank, MOST_UNITS, rows->shape.rank,
                          rows->elements);
    }
    *s = (lab_site){.layers = rows->shape.dim[0], .experts = expert ? rows->shape.dim[1] : 1,
                    .units = (size_t)rows->elements, .cols = (size_t)lowest->shape.dim[rank]};
    uint64_t layers = site == QUANT_SITE_FINAL ? 1 : stats->site[0].layers;
    uint64_t experts = expert && stats->info.experts > 0 ? stats->info.experts : s->experts;
    if (s->layers != layers || s->experts != experts) {
        return quant_fail(ctx, QUANT_ESHAPE, "array %s: expected %" PRIu64 " layers of %" PRIu64
                          ", found %" PRIu64 " of %" PRIu64, rows->name, layers, experts,
                          s->layers, s->experts);
    }
    stats->info.experts = expert ? s->experts : stats->info.experts;
    return QUANT_OK;
}

/* Every array of the sites that are there; *count grows by how many those are. */
static quant_status check_arrays(quant_context *ctx, quant_stats *stats, quant_site site,
                                 size_t *count)
{
    const lab_site *s = &stats->site[site];
    for (int f = 0; s->layers > 0 && f < LAB_FIELDS; f++) {
        if (f == LAB_MOMENTS && !stats->info.moments) {
            continue;
        }
        quant_shape shape = lab_array_shape(stats, site, (lab_field)f);
        QUANT_TRY(expect_array(ctx, stats, site, (lab_field)f, &shape));
        ++*count;
    }
    return QUANT_OK;
}

static quant_status take_sizes(quant_context *ctx, quant_stats *stats)
{
    size_t i, count = 1;
    QUANT_TRY(quant_bank_find(ctx, stats->bank, "tokens", &i));
    const quant_tensor *tokens = quant_bank_tensor(stats->bank, i);
    if (tokens->dtype != QUANT_U64 || tokens->shape.rank != 1) {
        return quant_fail(ctx, QUANT_ETYPE, "array tokens: expected U64 of 1 axis, found %s of %d",
                          tokens->dtype_text, tokens->shape.rank);
    }
    stats->info.vocab = tokens->elements;
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        QUANT_TRY(take_site(ctx, stats, (quant_site)k));
    }
    stats->info.layers = stats->site[0].layers;
    stats->info.moments = find_array(ctx, stats, QUANT_SITE_ATTENTION_INPUT, LAB_MOMENTS, &i);
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        QUANT_TRY(check_arrays(ctx, stats, (quant_site)k, &count));
    }
    return count == quant_bank_count(stats->bank)
               ? QUANT_OK
               : quant_fail(ctx, QUANT_EFIELD, "expected %zu arrays, found %zu", count,
                            quant_bank_count(stats->bank));
}

/* ---- data ----------------------------------------------------------------------------------- */

static quant_status read_field(quant_context *ctx, quant_stats *stats, quant_site site,
                               lab_field field)
{
    const lab_site *s = &stats->site[site];
    uint64_t bytes = lab_field_elements(stats, s, field) * lab_field_size(field);
    size_t i;
    if (!find_array(ctx, stats, site, field, &i)) {
        return QUANT_EFIELD;
    }
    for (size_t u = 0; u < s->units; u++) {
        QUANT_TRY(quant_bank_read_raw(ctx, stats->bank, i, u * bytes, bytes,
                                      lab_field_at(s, field, u)));
    }
    return QUANT_OK;
}

static quant_status read_all(quant_context *ctx, quant_stats *stats, const char *path)
{
    size_t tokens;
    QUANT_TRY(quant_bank_open(ctx, path, &stats->bank));
    quant_status s = take_metadata(ctx, stats);
    s = s == QUANT_OK ? take_sizes(ctx, stats) : s;
    s = s == QUANT_OK ? lab_stats_allocate(ctx, stats, false) : s;
    s = s == QUANT_OK ? quant_bank_find(ctx, stats->bank, "tokens", &tokens) : s;
    s = s == QUANT_OK ? quant_bank_read_raw(ctx, stats->bank, tokens, 0,
                                            stats->info.vocab * sizeof *stats->tokens,
                                            stats->tokens)
                      : s;
    for (int k = 0; s == QUANT_OK && k < QUANT_SITE_COUNT; k++) {
        for (int f = 0; s == QUANT_OK && f < LAB_MOMENTS && stats->site[k].layers > 0; f++) {
            s = read_field(ctx, stats, (quant_site)k, (lab_field)f);
        }
    }
    s = s == QUANT_OK ? lab_stats_check(ctx, stats) : s;
    bool named = s == QUANT_OK || s == QUANT_EIO || s == QUANT_ENOMEM;
    s = named ? s : quant_fail_prefix(ctx, s, path);
    return s == QUANT_OK ? quant_bank_unchanged(ctx, stats->bank) : s;
}

quant_status quant_stats_open(quant_context *ctx, const char *path, quant_stats **stats)
{
    *stats = NULL;
    quant_stats *s = quant_alloc(ctx, 1, sizeof *s);
    if (!s) {
        return QUANT_ENOMEM;
    }
    *s = (quant_stats){.bank = NULL};
    quant_status status = read_all(ctx, s, path);
    if (status != QUANT_OK) {
        quant_stats_close(ctx, s);
        return status;
    }
    *stats = s;
    return QUANT_OK;
}
