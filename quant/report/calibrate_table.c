/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_table.c - inputs of linear layers as tables. */
#include <inttypes.h>
#include <math.h>

#include "quant/internal.h"
#include "quant/report/calibrate_report.h"
#include "quant/report/table.h"
#include "quant/report/text.h"

static void add_real(quant_table *t, double value)
{
    char text[QUANT_TEXT_NUMBER];
    quant_text_real(value, text);
    quant_table_add(t, text);
}

static void add_count(quant_table *t, uint64_t value)
{
    char text[QUANT_TEXT_NUMBER];
    quant_text_count(value, text);
    quant_table_add(t, text);
}

static quant_status show(quant_table *t, FILE *to)
{
    quant_status s = t ? quant_table_print(t, to) : QUANT_ENOMEM;
    quant_table_free(t);
    return s;
}

static void add_row(quant_table *t, const quant_stats_row *row)
{
    double over, absmax = (double)quant_stats_absmax(row), rms = quant_stats_rms(row);
    size_t worst = quant_stats_worst_channel(row, &over);
    char text[QUANT_TEXT_NUMBER];
    snprintf(text, sizeof text, "%" PRIu64, row->layer);
    quant_table_add(t, row->site == QUANT_SITE_FINAL ? "head" : text);
    quant_table_add(t, quant_site_name(row->site));
    quant_table_add(t, quant_site_feeds(row->site));
    add_real(t, absmax);
    add_real(t, rms);
    add_real(t, absmax / rms);
    add_real(t, quant_stats_kurtosis(row));
    add_count(t, worst);
    add_real(t, over);
}

/* Sites without experts, layer by layer. */
static bool plain_row(const quant_stats *stats, size_t i, quant_stats_row *row)
{
    static const quant_site order[] = {QUANT_SITE_ATTENTION_INPUT, QUANT_SITE_MIX,
                                       QUANT_SITE_FFN_INPUT, QUANT_SITE_ACTIVATION};
    uint64_t layers = quant_stats_info_of(stats)->layers;
    if (i >= 4 * layers) {
        return i == 4 * layers && quant_stats_at(stats, QUANT_SITE_FINAL, 0, 0, row);
    }
    return quant_stats_at(stats, order[i % 4], i / 4, 0, row);
}

static quant_status print_plain(quant_context *ctx, const quant_stats *stats, FILE *to)
{
    static const quant_column columns[] = {
        {"layer", true, 0}, {"input", true, 0}, {"of", true, 0}, {"absmax", false, 0},
        {"RMS", false, 0}, {"absmax\n/RMS", false, 0}, {"kurtosis", false, 0},
        {"worst\nchannel", false, 0}, {"/median", false, 0}};
    quant_stats_row row;
    size_t rows = 4 * (size_t)quant_stats_info_of(stats)->layers + 1;
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns, rows);
    for (size_t i = 0; t && plain_row(stats, i, &row); i++) {
        add_row(t, &row);
    }
    return show(t, to);
}

/* What the experts of a layer have in common. */
typedef struct experts {
    uint64_t fewest, most, idle, thin; /* rows; without any; with fewer than columns */
    double absmax, peak;               /* largest; largest absmax / RMS */
    uint64_t peak_at;
} experts;

static experts pool(const quant_stats *stats, quant_site site, uint64_t layer)
{
    experts e = {.fewest = UINT64_MAX};
    quant_stats_row row;
    for (uint64_t k = 0; quant_stats_at(stats, site, layer, k, &row); k++) {
        double absmax = (double)quant_stats_absmax(&row), peak = absmax / quant_stats_rms(&row);
        e.fewest = row.rows < e.fewest ? row.rows : e.fewest;
        e.most = row.rows > e.most ? row.rows : e.most;
        e.idle += row.rows == 0;
        e.thin += row.rows < row.cols;
        e.absmax = fmax(e.absmax, absmax);
        if (peak > e.peak) {
            e.peak = peak;
            e.peak_at = k;
        }
    }
    return e;
}

static quant_status print_experts(quant_context *ctx, const quant_stats *stats, FILE *to)
{
    static const quant_column columns[] = {
        {"layer", true, 0}, {"rows\nfewest", false, 0}, {"\nmost", false, 0},
        {"experts\nidle", false, 0}, {"\nrows < cols", false, 0}, {"input\nabsmax", false, 0},
        {"absmax\n/RMS", false, 0}, {"of\nexpert", false, 0}, {"activation\nabsmax", false, 0},
        {"absmax\n/RMS", false, 0}, {"of\nexpert", false, 0}};
    const quant_stats_info *info = quant_stats_info_of(stats);
    if (info->experts == 0) {
        return QUANT_OK;
    }
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     (size_t)info->layers);
    fprintf(to, "\n%" PRIu64 " experts a layer: the worst of them\n", info->experts);
    for (uint64_t l = 0; t && l < info->layers; l++) {
        const experts in = pool(stats, QUANT_SITE_EXPERT_INPUT, l);
        const experts act = pool(stats, QUANT_SITE_EXPERT_ACTIVATION, l);
        const experts *each[] = {&in, &act};
        add_count(t, l);
        add_count(t, in.fewest);
        add_count(t, in.most);
        add_count(t, in.idle);
        add_count(t, in.thin);
        for (int k = 0; k < 2; k++) {
            add_real(t, each[k]->absmax);
            add_real(t, each[k]->peak);
            add_count(t, each[k]->peak_at);
        }
    }
    return show(t, to);
}

static uint64_t idle_experts(const quant_stats *stats)
{
    uint64_t idle = 0;
    for (uint64_t l = 0; l < quant_stats_info_of(stats)->layers; l++) {
        idle += pool(stats, QUANT_SITE_EXPERT_INPUT, l).idle;
    }
    return idle;
}

static void print_coverage(const quant_stats *stats, FILE *to)
{
    const quant_stats_info *info = quant_stats_info_of(stats);
    uint64_t distinct = 0;
    for (uint64_t i = 0; i < info->vocab; i++) {
        distinct += quant_stats_tokens(stats)[i] > 0;
    }
    fprintf(to, "%" PRIu64 " of %" PRIu64 " token ids met", distinct, info->vocab);
    if (info->experts > 0) {
        fprintf(to, "; experts never reached: %" PRIu64 " of %" PRIu64, idle_experts(stats),
                info->layers * info->experts);
    }
    fputs("\n", to);
}

quant_status quant_calibrate_report_table(quant_context *ctx, const quant_calibrate_report *report,
                                          FILE *to)
{
    const quant_stats_info *info = quant_stats_info_of(report->stats);
    char name[512];
    quant_text_fit(report->name, 40, name, sizeof name);
    fprintf(to, "%s: sequences %" PRIu64 "..%" PRIu64 ", positions %" PRIu64 "..%" PRIu64
            ", weights %s\n", name, info->first_sequence,
            info->first_sequence + info->sequences - 1, info->first_position,
            info->first_position + info->positions - 1,
            info->scheme[0] ? info->scheme : "as stored");
    print_coverage(report->stats, to);
    QUANT_TRY(print_plain(ctx, report->stats, to));
    QUANT_TRY(print_experts(ctx, report->stats, to));
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "table: writing failed") : QUANT_OK;
}
