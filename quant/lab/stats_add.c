/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats_add.c - rows of inputs into statistics. Sums go row after row, moments sequence after
 * sequence, so that neither threads nor the pieces that a run is cut into matter. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "quant/internal.h"
#include "quant/lab/stats_parts.h"
#include "quant/model/gemm.h"

static quant_status refuse(quant_context *ctx, const quant_stage_view *v, size_t sequence,
                           size_t position, size_t channel, float found)
{
    char expert[32] = "";
    if (v->chosen) {
        snprintf(expert, sizeof expert, ", expert %" PRIu64, v->expert);
    }
    return quant_fail(ctx, QUANT_ENONFINITE, "layer %" PRIu64 ", %s%s: sequence %zu, position %zu, "
                      "channel %zu: expected finite values, found %g", v->layer,
                      quant_stage_name(v->stage), expert, sequence, position, channel,
                      (double)found);
}

static void add_sums(const float *x, size_t rows, size_t cols, double *sum, double *square,
                     double *fourth)
{
    for (size_t i = 0; i < rows; i++, x += cols) {
        double row4 = 0;
        for (size_t c = 0; c < cols; c++) {
            double v = (double)x[c], v2 = v * v;
            sum[c] += v;
            square[c] += v2;
            row4 += v2 * v2;
        }
        *fourth += row4;
    }
}

static quant_status add_moments(quant_context *ctx, const float *x, size_t rows, size_t cols,
                                double *moments)
{
    size_t n = rows * cols;
    double *wide = quant_alloc(ctx, n, sizeof *wide);
    if (!wide) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        wide[i] = (double)x[i];
    }
    model_gemm_gram(wide, rows, cols, moments);
    quant_release(ctx, wide, n, sizeof *wide);
    return QUANT_OK;
}

quant_status lab_stats_add_rows(quant_context *ctx, quant_stats *stats, quant_site site, size_t u,
                                size_t batch, const float *x, size_t rows)
{
    const lab_site *s = &stats->site[site];
    if (stats->before) {
        QUANT_TRY(stats->before(stats->user, stats, site, u, batch));
    }
    QUANT_TRY(quant_observer_add(ctx, s->observer[u], batch, x, rows));
    add_sums(x, rows, s->cols, s->sum + u * s->cols, s->square + u * s->cols, s->fourth + u);
    return s->moments ? add_moments(ctx, x, rows, s->cols, s->moments + u * s->cols * s->cols)
                      : QUANT_OK;
}

uint32_t lab_stats_stages(void)
{
    uint32_t stages = 0;
    for (int k = 0; k < QUANT_SITE_COUNT; k++) {
        stages |= 1u << quant_site_stage((quant_site)k);
    }
    return stages;
}

size_t lab_stats_piece(const quant_model *model, size_t s, uint64_t wanted)
{
    enum { STREAM_FLOATS = 1 << 26 };
    size_t batch = quant_forward_batch(s), width = (size_t)quant_model_sizes_of(model)->width;
    size_t most = STREAM_FLOATS / width / s / batch, whole = ((size_t)wanted + batch - 1) / batch;
    return (whole < most ? whole : most > 0 ? most : 1) * batch;
}

quant_status lab_stats_add(quant_context *ctx, quant_stats *stats, const quant_stage_view *v,
                           size_t s, size_t first)
{
    quant_site kind;
    if (!quant_site_of_stage(v->stage, &kind)) {
        return QUANT_OK;
    }
    const lab_site *site = &stats->site[kind];
    size_t layer = kind == QUANT_SITE_FINAL ? 0 : (size_t)v->layer;
    size_t u = layer * (size_t)site->experts + (size_t)v->expert, begin = 0;
    for (size_t r = 0; r < v->rows; r++) {
        size_t row = v->chosen ? v->chosen[r] : v->first_row + r;
        size_t next = r + 1 == v->rows ? SIZE_MAX : v->chosen ? v->chosen[r + 1] : row + 1;
        if (row % s < stats->info.first_position) {
            begin = r + 1;
            continue;
        }
        for (size_t c = 0; c < v->cols; c++) {
            if (!isfinite(v->data[r * v->cols + c])) {
                return refuse(ctx, v, first + row / s, row % s, c, v->data[r * v->cols + c]);
            }
        }
        if (next / s != row / s) {
            size_t batch = first - (size_t)stats->info.first_sequence + row / s;
            QUANT_TRY(lab_stats_add_rows(ctx, stats, kind, u, batch, v->data + begin * v->cols,
                                         r + 1 - begin));
            begin = r + 1;
        }
    }
    return QUANT_OK;
}
