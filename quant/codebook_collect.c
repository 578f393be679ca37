/* SPDX-License-Identifier: Apache-2.0 */
/* codebook_collect.c - from the weights of a group to distinct values with weights. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codebook_table.h"
#include "quant/kmeans1d_internal.h"
#include "quant/linear_range.h"

enum { ALIGN = 64 };

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* Columns in front of the work: value, weight; with pcs also x over scale, importance, scale. */
static size_t column_bytes(const quant_scheme *s, size_t n)
{
    size_t scaled = s->channel_scale ? 3 * aligned(n * sizeof(float)) : 0;
    return 2 * aligned(n * sizeof(double)) + scaled;
}

size_t quant_codebook_work_bytes(const quant_scheme *s, size_t n)
{
    size_t collapse = quant_points_work_bytes(n);
    size_t most = quant_kmeans1d_work_bytes(n, (size_t)1 << s->bits);
    size_t tune = s->table_store == QUANT_STORE_I8 ? quant_int8_work_bytes() : 0;
    if (collapse == 0 || most == 0) {
        return 0;
    }
    most = collapse > most ? collapse : most;
    return column_bytes(s, n) + (tune > most ? tune : most);
}

quant_status quant_codebook_scales(const quant_scheme *s, const quant_regions *g, uint64_t r,
                                   const float *x, float *scale, quant_group *group)
{
    /* a linear scheme of one bit, range full, has this very scale */
    const quant_scheme linear = {
        .family = QUANT_FAMILY_LINEAR, .bits = 1, .range = QUANT_RANGE_FULL, .store = s->store};
    uint64_t channels;
    double most = 0.0;
    quant_region_channel(g, r, &channels);
    *group = (quant_group){.unit = 1.0, .channels = (size_t)channels, .scale = scale};
    size_t length = (size_t)(quant_region_elements(g, r) / channels);
    for (size_t c = 0; s->channel_scale && c < group->channels; c++) {
        float a = qk()->absmax_f32(x + c * length, length);
        quant_linear_fit f = quant_linear_from_interval(&linear, (quant_interval){-a, a});
        if (f.overflow) {
            return QUANT_ESCALE;
        }
        scale[c] = f.p.scale;
        group->raised += f.raised;
        most = (double)scale[c] > most ? (double)scale[c] : most;
    }
    group->unit = s->channel_scale ? most * most : 1.0;
    return QUANT_OK;
}

bool quant_codebook_any(const float *v, size_t n)
{
    for (size_t i = 0; v && i < n; i++) {
        if (v[i] != 0.0f) {
            return true;
        }
    }
    return false;
}

/* x over its scale and what it counts, channels of zeros left out; the number written. */
static size_t normalize(const float *x, const float *importance, size_t length,
                        const quant_group *group, float *y, float *count)
{
    double most = sqrt(group->unit);
    size_t n = 0;
    for (size_t c = 0; c < group->channels; c++) {
        double share = (double)group->scale[c] / most;
        for (size_t i = 0; group->scale[c] > 0.0f && i < length; i++) {
            double own = importance ? (double)importance[c * length + i] : 1.0;
            y[n] = x[c * length + i] / group->scale[c];
            count[n++] = (float)(share * share * own);
        }
    }
    return n;
}

quant_status quant_codebook_collect(const quant_scheme *s, const quant_regions *g, uint64_t r,
                                    const float *x, const float *importance, void *work,
                                    quant_group *group)
{
    size_t n = (size_t)quant_region_elements(g, r), most = (size_t)quant_region_most(g);
    size_t wide = aligned(most * sizeof(double)), narrow = aligned(most * sizeof(float));
    char *at = work;
    double *value = (double *)(void *)at, *weight = (double *)(void *)(at + wide);
    float *y = (float *)(void *)(at + 2 * wide), *count = (float *)(void *)((char *)y + narrow);
    float *scale = (float *)(void *)((char *)count + narrow);
    quant_status status = quant_codebook_scales(s, g, r, x, scale, group);
    if (status != QUANT_OK) {
        return status;
    }
    group->work = at + column_bytes(s, most);
    if (s->channel_scale) {
        importance = quant_codebook_any(importance, n) ? importance : NULL;
        n = normalize(x, importance, n / group->channels, group, y, count);
        x = y;
        importance = count;
    }
    group->points = (quant_points){value, weight, 1};
    value[0] = 0.0;
    weight[0] = 1.0;
    if (n > 0) {
        group->points.n = quant_points_collapse_run(x, importance, n, group->work, value, weight);
    }
    return QUANT_OK;
}

quant_status quant_codebook_fit(const quant_scheme *s, const quant_regions *g, uint64_t r,
                                const float *x, const float *importance, void *work,
                                quant_group *group, quant_codebook *table)
{
    quant_status status = quant_codebook_collect(s, g, r, x, importance, work, group);
    if (status == QUANT_OK) {
        const quant_point_list list = quant_point_list_of(&group->points);
        status = quant_codebook_choose(s, &list, group->work, table);
    }
    if (status != QUANT_OK) {
        return status;
    }
    double most = fmax(fabs((double)table->entry[0]), fabs((double)table->entry[table->used - 1]));
    return isfinite((float)(most * sqrt(group->unit))) ? QUANT_OK : QUANT_ESCALE;
}

bool quant_codebook_is_narrow(const quant_scheme *s, size_t n)
{
    return s->dim == 1 && !s->channel_scale && s->table_store != QUANT_STORE_I8 &&
           quant_kmeans1d_level_nodes(n, (size_t)1 << s->bits) > 0;
}

/* Fewer distinct values than levels take are clustered as ever. */
static size_t wide_points(size_t k)
{
    return quant_kmeans1d_level_least(k) - 1;
}

size_t quant_codebook_narrow_bytes(const quant_scheme *s, size_t n)
{
    size_t k = (size_t)1 << s->bits, most = wide_points(k), counts = quant_points_narrow_bytes(n);
    size_t wide = 2 * aligned(most * sizeof(double)) + quant_kmeans1d_work_bytes(most, k);
    size_t narrow = quant_kmeans1d_work_bytes(quant_kmeans1d_level_nodes(n, k) - 1, k);
    return counts == 0 ? 0 : aligned(counts) + (wide > narrow ? wide : narrow);
}

quant_status quant_codebook_fit_narrow(const quant_scheme *s, const float *x, size_t n, void *work,
                                       quant_codebook *table)
{
    size_t most = wide_points((size_t)1 << s->bits), column = aligned(most * sizeof(double));
    char *rest = (char *)work + aligned(quant_points_narrow_bytes(n));
    double *value = (double *)(void *)rest, *weight = (double *)(void *)(rest + column);
    quant_point_list l = quant_points_narrow_run(x, n, work, most, value, weight);
    return quant_codebook_choose(s, &l, l.wide.value ? rest + 2 * column : rest, table);
}
