/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats_check.c - do the numbers of a file agree with one another, and with a bank?
 *
 * Sums of n terms that rounding touched lie within n u of exact ones relative to the sum of
 * magnitudes; all comparisons below allow 2 (n + 4) u with u = 2^-53. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/lab/stats_parts.h"

static double slack(double n)
{
    return DBL_EPSILON * (n + 4);
}

static quant_status wrong(quant_context *ctx, const quant_stats_row *row, const char *field,
                          const char *expected, double found)
{
    return quant_fail(ctx, QUANT_ERANGE, "array %s.%s, layer %" PRIu64 ", expert %" PRIu64 ": "
                      "expected %s, found %g", quant_site_name(row->site), field, row->layer,
                      row->expert, expected, found);
}

/* sum^2 <= rows square, absmax^2 <= square <= rows absmax^2. */
static quant_status check_channel(quant_context *ctx, const quant_stats_row *row, size_t c)
{
    double n = (double)row->rows, sum = row->sum[c], square = row->square[c];
    double most = (double)fmaxf(-row->observer->lowest[c], row->observer->highest[c]);
    double room = 1 + slack(n);
    if (!(square <= n * most * most * room) || !(most * most <= square * room)) {
        return wrong(ctx, row, "square", "what the extremes allow", square);
    }
    return fabs(sum) <= sqrt(n * square) * room
               ? QUANT_OK
               : wrong(ctx, row, "sum", "what the squares allow", sum);
}

/* (sum x^2)^2 / n <= sum x^4 <= absmax^2 sum x^2. */
static quant_status check_fourth(quant_context *ctx, const quant_stats_row *row)
{
    double n = (double)row->rows * (double)row->cols, energy = 0;
    double most = (double)quant_stats_absmax(row), room = 1 + slack(2 * n);
    for (size_t c = 0; c < row->cols; c++) {
        energy += row->square[c];
    }
    return energy * energy <= n * row->fourth * room &&
                   row->fourth <= most * most * energy * room
               ? QUANT_OK
               : wrong(ctx, row, "fourth", "what the squares allow", row->fourth);
}

/* Every sequence that is in sends all its positions to a plain site, and at most that many to an
 * expert; later ones send nothing. */
static quant_status check_batches(quant_context *ctx, const quant_stats_info *info,
                                  const quant_stats_row *row)
{
    for (uint64_t i = 0; i < info->sequences; i++) {
        uint64_t most = i < info->done ? info->positions : 0, found = row->observer->batch_rows[i];
        if (found > most || (found < most && !quant_site_is_expert(row->site))) {
            return wrong(ctx, row, "batch_rows", "the positions of the sequences that are done",
                         (double)found);
        }
    }
    return QUANT_OK;
}

static quant_status check_row(quant_context *ctx, const quant_stats *stats,
                              const quant_stats_row *row)
{
    char where[LAB_ARRAY_NAME + 64];
    quant_status s = quant_observer_check(ctx, row->observer);
    if (s != QUANT_OK) {
        snprintf(where, sizeof where, "arrays of %s, layer %" PRIu64 ", expert %" PRIu64,
                 quant_site_name(row->site), row->layer, row->expert);
        return quant_fail_prefix(ctx, s, where);
    }
    QUANT_TRY(check_batches(ctx, &stats->info, row));
    for (size_t c = 0; c < row->cols; c++) {
        QUANT_TRY(check_channel(ctx, row, c));
    }
    return check_fourth(ctx, row);
}

quant_status lab_stats_check(quant_context *ctx, const quant_stats *stats)
{
    quant_stats_row row, other;
    uint64_t tokens = 0, want = stats->info.done * stats->info.positions;
    for (size_t i = 0; quant_stats_each(stats, i, &row); i++) {
        QUANT_TRY(check_row(ctx, stats, &row));
        if (row.site == QUANT_SITE_EXPERT_INPUT &&
            quant_stats_at(stats, QUANT_SITE_EXPERT_ACTIVATION, row.layer, row.expert, &other) &&
            other.rows != row.rows) {
            return wrong(ctx, &other, "rows", "those of expert_input", (double)other.rows);
        }
    }
    for (uint64_t i = 0; i < stats->info.vocab; i++) {
        if (stats->tokens[i] > want || __builtin_add_overflow(tokens, stats->tokens[i], &tokens)) {
            tokens = UINT64_MAX;
            break;
        }
    }
    return tokens == want ? QUANT_OK
                          : quant_fail(ctx, QUANT_ERANGE, "array tokens: expected %" PRIu64
                                       " in all, found another sum", want);
}

/* ---- moments -------------------------------------------------------------------------------- */

static quant_status check_moments(quant_context *ctx, const quant_stats_row *row, const double *m)
{
    size_t n = row->cols;
    double room = slack((double)row->rows);
    for (size_t i = 0; i < n; i++) {
        double own = m[i * n + i];
        if (!(fabs(own - row->square[i]) <= room * row->square[i])) {
            return wrong(ctx, row, "moments", "the squares on the diagonal", own);
        }
        for (size_t j = 0; j < n; j++) {
            double x = m[i * n + j];
            if (!(x == m[j * n + i]) || !(fabs(x) <= sqrt(own * m[j * n + j]) * (1 + room))) {
                return wrong(ctx, row, "moments", "a symmetric matrix within its diagonal", x);
            }
        }
    }
    return QUANT_OK;
}

quant_status quant_stats_moments(quant_context *ctx, const quant_stats *stats,
                                 const quant_stats_row *row, double *out)
{
    const lab_site *s = &stats->site[row->site];
    size_t i, n = row->cols, u = (size_t)(row->layer * s->experts + row->expert);
    char name[LAB_ARRAY_NAME];
    if (s->moments) {
        memcpy(out, s->moments + u * n * n, n * n * sizeof *out);
        lab_mirror(out, n);
        return QUANT_OK;
    }
    if (!stats->info.moments) {
        return quant_fail(ctx, QUANT_EFIELD, "second moments: expected them, found statistics "
                          "without (calibrate --moments records them)");
    }
    lab_array_name(row->site, LAB_MOMENTS, name);
    QUANT_TRY(quant_bank_find(ctx, stats->bank, name, &i));
    QUANT_TRY(quant_bank_read_f64(ctx, stats->bank, i, (uint64_t)u * n * n, (uint64_t)n * n, out));
    return check_moments(ctx, row, out);
}

quant_status lab_stats_load_moments(quant_context *ctx, quant_stats *stats)
{
    quant_stats_row row;
    for (int k = 0; k < QUANT_SITE_COUNT && stats->info.moments; k++) {
        lab_site *s = &stats->site[k];
        size_t each = s->cols * s->cols;
        double *all = quant_alloc(ctx, s->units * each, sizeof *all);
        quant_status status = all ? QUANT_OK : QUANT_ENOMEM;
        for (size_t u = 0; status == QUANT_OK && u < s->units; u++) {
            quant_stats_at(stats, (quant_site)k, u / s->experts, u % s->experts, &row);
            status = quant_stats_moments(ctx, stats, &row, all + u * each);
        }
        if (status != QUANT_OK) {
            quant_release(ctx, all, s->units * each, sizeof *all);
            return status;
        }
        s->moments = all;
    }
    return QUANT_OK;
}

/* ---- a bank --------------------------------------------------------------------------------- */

quant_status quant_stats_match(quant_context *ctx, const quant_stats *stats, const quant_bank *bank)
{
    char found[QUANT_SHA256_TEXT];
    const quant_stats_info *info = &stats->info;
    if (info->done < info->sequences) {
        return quant_fail(ctx, QUANT_ESIZE, "statistics: expected %" PRIu64 " sequences, found %"
                          PRIu64 ": the calibration was interrupted, the same command finishes it",
                          info->sequences, info->done);
    }
    QUANT_TRY(quant_bank_sha256(ctx, bank, found));
    return strcmp(found, info->model_sha256) == 0
               ? QUANT_OK
               : quant_fail(ctx, QUANT_ECHECKSUM, "statistics of another model: expected SHA-256 "
                            "%s, found %s", info->model_sha256, found);
}

quant_status quant_stats_of_tensor(quant_context *ctx, const quant_stats *stats, const char *name,
                                   uint64_t expert, quant_stats_row *row)
{
    char key[1024], want[LAB_ARRAY_NAME + 24];
    size_t room = strlen(name) + sizeof "input:";
    const char *value = NULL;
    if (stats->bank && room <= sizeof key) {
        snprintf(key, sizeof key, "input:%s", name);
        value = quant_bank_metadata(stats->bank, key);
    }
    for (int k = 0; value && k < QUANT_SITE_COUNT; k++) {
        for (uint64_t l = 0; l < stats->site[k].layers; l++) {
            snprintf(want, sizeof want, "%s %" PRIu64, quant_site_name((quant_site)k), l);
            if (strcmp(want, value) == 0 &&
                quant_stats_at(stats, (quant_site)k, l, expert, row)) {
                return QUANT_OK;
            }
        }
    }
    return quant_fail(ctx, QUANT_EFIELD, "statistics: tensor %s: no input of it was recorded%s%s",
                      name, value ? ": " : "", value ? value : "");
}
