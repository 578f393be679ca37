/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats_sites.c - where linear layers have inputs, and what is kept of each, as tables. */
#include <stdio.h>

#include "quant/lab/stats_parts.h"

static const struct {
    quant_stage stage;
    const char *feeds;
    int count;
    quant_role role[3];
    bool expert;
} sites[QUANT_SITE_COUNT] = {
    [QUANT_SITE_ATTENTION_INPUT] = {QUANT_STAGE_ATTENTION_INPUT, "q k v", 3,
                                    {QUANT_ROLE_Q, QUANT_ROLE_K, QUANT_ROLE_V}, false},
    [QUANT_SITE_MIX] = {QUANT_STAGE_MIX, "o", 1, {QUANT_ROLE_O}, false},
    [QUANT_SITE_FFN_INPUT] = {QUANT_STAGE_FFN_INPUT, "gate up", 3,
                              {QUANT_ROLE_GATE, QUANT_ROLE_UP, QUANT_ROLE_ROUTER}, false},
    [QUANT_SITE_ACTIVATION] = {QUANT_STAGE_ACTIVATION, "down", 1, {QUANT_ROLE_DOWN}, false},
    [QUANT_SITE_EXPERT_INPUT] = {QUANT_STAGE_EXPERT_INPUT, "expert gate up", 2,
                                 {QUANT_ROLE_EXPERT_GATE, QUANT_ROLE_EXPERT_UP}, true},
    [QUANT_SITE_EXPERT_ACTIVATION] = {QUANT_STAGE_EXPERT_ACTIVATION, "expert down", 1,
                                      {QUANT_ROLE_EXPERT_DOWN}, true},
    [QUANT_SITE_FINAL] = {QUANT_STAGE_FINAL, "head", 1, {QUANT_ROLE_HEAD}, false},
};

const char *quant_site_name(quant_site site)
{
    return quant_stage_name(quant_site_stage(site));
}

const char *quant_site_feeds(quant_site site)
{
    return (unsigned)site < QUANT_SITE_COUNT ? sites[site].feeds : "?";
}

quant_stage quant_site_stage(quant_site site)
{
    return (unsigned)site < QUANT_SITE_COUNT ? sites[site].stage : QUANT_STAGE_COUNT;
}

bool quant_site_of_stage(quant_stage stage, quant_site *site)
{
    for (int i = 0; i < QUANT_SITE_COUNT; i++) {
        if (sites[i].stage == stage) {
            *site = (quant_site)i;
            return true;
        }
    }
    return false;
}

bool quant_site_is_expert(quant_site site)
{
    return (unsigned)site < QUANT_SITE_COUNT && sites[site].expert;
}

bool quant_site_role(quant_site site, int i, quant_role *role)
{
    if ((unsigned)site >= QUANT_SITE_COUNT || i < 0 || i >= sites[site].count) {
        return false;
    }
    *role = sites[site].role[i];
    return true;
}

/* ---- arrays of a site ------------------------------------------------------------------------ */

const lab_field_row lab_fields[LAB_FIELDS] = {
    [LAB_ROWS] = {"rows", QUANT_U64},
    [LAB_LOWEST] = {"lowest", QUANT_F32},
    [LAB_HIGHEST] = {"highest", QUANT_F32},
    [LAB_SUM] = {"sum", QUANT_F64},
    [LAB_SQUARE] = {"square", QUANT_F64},
    [LAB_FOURTH] = {"fourth", QUANT_F64},
    [LAB_BATCH_ROWS] = {"batch_rows", QUANT_U64},
    [LAB_BATCH_LOWEST] = {"batch_lowest", QUANT_F32},
    [LAB_BATCH_HIGHEST] = {"batch_highest", QUANT_F32},
    [LAB_SMALL] = {"small", QUANT_U64},
    [LAB_FIRST] = {"first", QUANT_U32},
    [LAB_COUNT] = {"count", QUANT_U64},
    [LAB_MOMENTS] = {"moments", QUANT_F64},
};

void *lab_field_at(const lab_site *s, lab_field field, size_t u)
{
    quant_observer *o = s->observer[u];
    void *const at[LAB_FIELDS] = {
        [LAB_ROWS] = &o->rows, [LAB_LOWEST] = o->lowest, [LAB_HIGHEST] = o->highest,
        [LAB_SUM] = s->sum + u * s->cols, [LAB_SQUARE] = s->square + u * s->cols,
        [LAB_FOURTH] = s->fourth + u, [LAB_BATCH_ROWS] = o->batch_rows,
        [LAB_BATCH_LOWEST] = o->batch_lowest, [LAB_BATCH_HIGHEST] = o->batch_highest,
        [LAB_SMALL] = o->small, [LAB_FIRST] = o->first, [LAB_COUNT] = o->count,
        [LAB_MOMENTS] = s->moments ? s->moments + u * s->cols * s->cols : NULL};
    return at[field];
}

/* The field's axes behind those of the unit. */
static int own_axes(const quant_stats *stats, const lab_site *s, lab_field field, uint64_t dim[2])
{
    dim[0] = dim[1] = s->cols;
    switch (field) {
    case LAB_LOWEST:
    case LAB_HIGHEST:
    case LAB_SUM:
    case LAB_SQUARE:
        return 1;
    case LAB_BATCH_ROWS:
    case LAB_BATCH_LOWEST:
    case LAB_BATCH_HIGHEST:
        dim[0] = stats->info.sequences;
        return 1;
    case LAB_COUNT:
        dim[0] = 2;
        dim[1] = QUANT_OBSERVER_BINS;
        return 2;
    case LAB_MOMENTS:
        return 2;
    default:
        return 0;
    }
}

size_t lab_field_elements(const quant_stats *stats, const lab_site *s, lab_field field)
{
    uint64_t dim[2];
    int axes = own_axes(stats, s, field, dim);
    return (size_t)(axes == 0 ? 1 : axes == 1 ? dim[0] : dim[0] * dim[1]);
}

size_t lab_field_size(lab_field field)
{
    return quant_dtype_bits(lab_fields[field].dtype) / 8;
}

void lab_array_name(quant_site site, lab_field field, char name[LAB_ARRAY_NAME])
{
    snprintf(name, LAB_ARRAY_NAME, "%s.%s", quant_site_name(site), lab_fields[field].name);
}

quant_shape lab_array_shape(const quant_stats *stats, quant_site site, lab_field field)
{
    const lab_site *s = &stats->site[site];
    quant_shape shape = {1, {s->layers}};
    uint64_t dim[2];
    if (quant_site_is_expert(site)) {
        shape.dim[shape.rank++] = s->experts;
    }
    int axes = own_axes(stats, s, field, dim);
    for (int i = 0; i < axes; i++) {
        shape.dim[shape.rank++] = dim[i];
    }
    return shape;
}

void lab_mirror(double *m, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            m[i * n + j] = m[j * n + i];
        }
    }
}
