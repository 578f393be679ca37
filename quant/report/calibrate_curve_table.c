/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_curve_table.c - the curve of every scheme, spectra, and sentences. */
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

static void add_fixed(quant_table *t, double value)
{
    char text[QUANT_TEXT_NUMBER];
    snprintf(text, sizeof text, "%.3f", value);
    quant_table_add(t, isnan(value) ? "-" : text);
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

/* Source and count of point p; the source's name once. */
static void add_point(quant_table *t, const quant_adequacy *c, size_t p)
{
    bool first = p % c->count_n == 0;
    quant_table_add(t, first ? quant_source_name((quant_source)(p / c->count_n)) : "");
    add_count(t, c->count[p % c->count_n]);
}

static quant_status print_scheme(quant_context *ctx, const quant_adequacy *c, size_t k, FILE *to)
{
    static const quant_column columns[] = {
        {"calibrated on", true, 0}, {"sequ-\nences", false, 0}, {"scale/all\nmedian", false, 0},
        {"\nleast", false, 0}, {"\nmost", false, 0}, {"satu-\nrated", false, 0},
        {"codes\nflipped", false, 0}, {"error\n/ limit", false, 0}, {"95 %\nlow", false, 0},
        {"\nhigh", false, 0}, {"inputs\nshort", false, 0}};
    size_t points = QUANT_SOURCE_COUNT * c->count_n;
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns, points);
    char error[2][QUANT_TEXT_NUMBER];
    quant_text_real(c->limit[k], error[0]);
    quant_text_real(c->weights[k], error[1]);
    fprintf(to, "\n%s: output error %s at the limit, %s with activations in float\n", c->text[k],
            error[0], error[1]);
    for (size_t p = 0; t && p < points; p++) {
        const quant_adequacy_point *x = &c->point[k][p];
        add_point(t, c, p);
        add_fixed(t, x->scale_median);
        add_fixed(t, x->scale_least);
        add_fixed(t, x->scale_greatest);
        add_real(t, x->saturated);
        add_real(t, x->flipped);
        add_fixed(t, x->ratio);
        add_fixed(t, x->low);
        add_fixed(t, x->high);
        add_count(t, x->unserved);
    }
    return show(t, to);
}

static quant_status print_draws(quant_context *ctx, const quant_adequacy *c, size_t k, FILE *to)
{
    static const quant_column columns[] = {
        {"sequ-\nences", false, 0}, {"scale/all\nleast", false, 0}, {"\nmedian", false, 0},
        {"\nmost", false, 0}, {"saturated\nleast", false, 0}, {"\nmost", false, 0},
        {"err/limit\nleast", false, 0}, {"\nmedian", false, 0}, {"\nmost", false, 0},
        {"short\nleast", false, 0}, {"\nmost", false, 0}, {"none\nshort", false, 0}};
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns, c->count_n);
    char text[QUANT_TEXT_NUMBER];
    fprintf(to, "\nover %" PRIu64 " orders of the prompts, the one above and %" PRIu64 " drawn\n",
            c->options.draws, c->options.draws - 1);
    for (size_t i = 0; t && i < c->count_n; i++) {
        const quant_adequacy_spread s = quant_adequacy_spread_of(c, k, i);
        const double fixed[] = {s.scale_least, s.scale_median, s.scale_greatest};
        const double ratio[] = {s.ratio_least, s.ratio_median, s.ratio_greatest};
        add_count(t, c->count[i]);
        for (int n = 0; n < 3; n++) {
            add_fixed(t, fixed[n]);
        }
        add_real(t, s.saturated_least);
        add_real(t, s.saturated_greatest);
        for (int n = 0; n < 3; n++) {
            add_fixed(t, ratio[n]);
        }
        add_count(t, s.unserved_least);
        add_count(t, s.unserved_most);
        snprintf(text, sizeof text, "%zu/%" PRIu64, s.enough, c->options.draws);
        quant_table_add(t, text);
    }
    return show(t, to);
}

static quant_status print_logits(quant_context *ctx, const quant_adequacy *c, size_t k, FILE *to)
{
    static const quant_column columns[] = {
        {"calibrated on", true, 0}, {"sequ-\nences", false, 0}, {"KL\nmean", false, 0},
        {"KL\n/ limit", false, 0}, {"95 %\nlow", false, 0}, {"\nhigh", false, 0},
        {"per-\nplexity x", false, 0}, {"95 %\nlow", false, 0}, {"\nhigh", false, 0},
        {"top-1\n%", false, 0}};
    size_t points = QUANT_SOURCE_COUNT * c->count_n;
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns, points);
    const quant_adequacy_logits *limit = &c->logits_limit[k];
    char text[QUANT_TEXT_NUMBER];
    quant_text_real(limit->kl, text);
    fprintf(to, "\nlogits of the held-out prompts, KL(unquantized || quantized); at the limit KL "
            "%s, perplexity x %.4f\n", text, limit->perplexity);
    for (size_t p = 0; t && p < points; p++) {
        const quant_adequacy_logits *l = &c->logits[k][p];
        const double more[] = {l->perplexity, l->perplexity_low, l->perplexity_high};
        add_point(t, c, p);
        add_real(t, l->kl);
        add_fixed(t, l->ratio);
        add_fixed(t, l->low);
        add_fixed(t, l->high);
        for (int n = 0; n < 3; n++) {
            snprintf(text, sizeof text, "%.4f", more[n]);
            quant_table_add(t, isnan(more[n]) ? "-" : text);
        }
        snprintf(text, sizeof text, "%.2f", 100 * l->same_top);
        quant_table_add(t, text);
    }
    return show(t, to);
}

static quant_status print_spectra(quant_context *ctx, const quant_adequacy *c, FILE *to)
{
    static const quant_column columns[] = {
        {"calibrated on", true, 0}, {"sequ-\nences", false, 0},
        {"effective rank\n/ width", false, 0},
        {"inputs\nsingular", false, 0}, {"smallest / largest\neigenvalue, least", false, 0},
        {"inputs\nnever reached", false, 0}};
    size_t points = QUANT_SOURCE_COUNT * c->count_n;
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns, points);
    bool computed = !isnan(c->spectrum[0].rank);
    fprintf(to, "\nsum of x x^T: singular when the smallest eigenvalue is below width x 2^-52 of "
            "the largest%s\n", computed ? "" : "; not computed, inputs are too wide");
    for (size_t p = 0; t && p < points; p++) {
        add_point(t, c, p);
        add_fixed(t, c->spectrum[p].rank);
        add_count(t, c->spectrum[p].singular);
        add_real(t, c->spectrum[p].smallest);
        add_count(t, c->point[0][p].unreached);
    }
    return show(t, to);
}

/* "at 5 sequences the error is x 1.02 (1.01 .. 1.03) by prompts, ... by random tokens, ..." */
static void print_five(const quant_adequacy *c, size_t k, FILE *to)
{
    size_t five = 0;
    char text[512];
    while (five + 1 < c->count_n && c->count[five + 1] <= 5) {
        five++;
    }
    int n = snprintf(text, sizeof text, "%s, %" PRIu64 " sequence%s: error / limit", c->text[k],
                     c->count[five], c->count[five] == 1 ? "" : "s");
    for (int s = 0; s < QUANT_SOURCE_COUNT; s++) {
        const quant_adequacy_point *p = &c->point[k][(size_t)s * c->count_n + five];
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %.3f", s ? "," : "", p->ratio);
        if (!isnan(p->low)) {
            n += snprintf(text + n, sizeof text - (size_t)n, " (%.3f .. %.3f)", p->low, p->high);
        }
        n += snprintf(text + n, sizeof text - (size_t)n, " by %s",
                      quant_source_name((quant_source)s));
    }
    quant_text_wrap(text, QUANT_TABLE_WIDTH, to);
}

/* How far the ratio strays over all counts of prompts. */
static double stray(const quant_adequacy *c, size_t k)
{
    double most = 0;
    for (size_t i = 0; i < c->count_n; i++) {
        most = fmax(most, fabs(c->point[k][i].ratio - 1));
    }
    return most;
}

static void print_steadiest(const quant_adequacy *c, FILE *to)
{
    char text[512];
    size_t best = 0;
    int n = snprintf(text, sizeof text, "farthest from the limit over all counts of prompts:");
    for (size_t k = 0; k < c->options.scheme_count && n < 400; k++) {
        best = stray(c, k) < stray(c, best) ? k : best;
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %s by %.2g %%", k ? "," : "",
                      c->text[k], 100 * stray(c, k));
    }
    if (c->options.scheme_count > 1 && n < 400) {
        snprintf(text + n, sizeof text - (size_t)n, "; steadiest %s", c->text[best]);
    }
    quant_text_wrap(text, QUANT_TABLE_WIDTH, to);
}

quant_status quant_adequacy_report_table(quant_context *ctx, const quant_adequacy_report *report,
                                      FILE *to)
{
    const quant_adequacy *c = report->curve;
    const quant_adequacy_options *o = &c->options;
    char name[512], verdict[QUANT_ADEQUACY_VERDICT];
    quant_text_fit(report->name, 40, name, sizeof name);
    fprintf(to, "%s: %zu inputs; calibrated on sequences %" PRIu64 "..%" PRIu64 ", held out %"
            PRIu64 "..%" PRIu64 ", seed %" PRIu64 "\n", name, c->input_count, o->first_sequence,
            o->first_sequence + o->sequences - 1, o->first_held_out,
            o->first_held_out + o->held_out - 1, o->seed);
    for (size_t k = 0; k < o->scheme_count; k++) {
        QUANT_TRY(print_scheme(ctx, c, k, to));
        QUANT_TRY(o->draws > 1 ? print_draws(ctx, c, k, to) : QUANT_OK);
        QUANT_TRY(o->logits ? print_logits(ctx, c, k, to) : QUANT_OK);
    }
    QUANT_TRY(print_spectra(ctx, c, to));
    fputs("\n", to);
    for (size_t k = 0; k < o->scheme_count; k++) {
        print_five(c, k, to);
    }
    print_steadiest(c, to);
    for (size_t k = 0; k < o->scheme_count; k++) {
        quant_adequacy_verdict(c, k, verdict);
        quant_text_wrap(verdict, QUANT_TABLE_WIDTH, to);
    }
    if (c->units > 1) {
        fprintf(to, "intervals: 95 %%, paired bootstrap over %zu held-out %s\n", c->units,
                c->by_sequence ? "sequences" : "runs of neighbouring positions");
    } else {
        fputs("no intervals, hence never enough: the held-out positions are a single run, and a "
              "bootstrap needs two\n", to);
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "table: writing failed") : QUANT_OK;
}
