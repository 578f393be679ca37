/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gate_notes.c - where the figures of `quant gate` disagree. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/report/gate_report.h"
#include "quant/report/text.h"

typedef struct speaker {
    void (*say)(void *user, const char *text);
    void *user;
} speaker;

static void tell(const speaker *s, const char *format, ...) QUANT_PRINTF(2, 3);
static void tell(const speaker *s, const char *format, ...)
{
    char text[1536];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->say(s->user, text);
}

static const char *brief(const char *name, char out[512])
{
    quant_text_fit(name, 60, out, 512);
    return out;
}

/* Mostly the scale is wrong: what undoing it would remove, and which metrics see it. */
static void tell_scale(const speaker *s, const quant_array_row *row)
{
    char name[512], factor[64], cosine[QUANT_TEXT_NUMBER], sqnr[QUANT_TEXT_NUMBER];
    if (!quant_array_is_scaled(row)) {
        return;
    }
    double share = quant_array_scale_share(row);
    bool one = share >= QUANT_ARRAY_SCALED;
    snprintf(factor, sizeof factor, "about %.6g x the reference", quant_array_factor(row));
    quant_text_cosine(quant_cosine(&row->pooled), cosine);
    quant_text_decibel(quant_sqnr_db(&row->pooled), sqnr);
    tell(s, "%s: a scale error: the candidate is %s; undoing that would remove %.1f %% of the "
         "error energy. The cosine (%s pooled) sees no positive factor of a position, the SQNR "
         "(%s dB) and the relative error (%.3g) do", brief(row->name, name),
         one ? factor : "the reference times a factor of each position",
         100 * (one ? share : quant_array_scale_share_each(row)), cosine, sqnr,
         quant_relative_error(&row->pooled));
}

static void tell_about_row(const speaker *s, const quant_array_row *row)
{
    char name[512], at[QUANT_ARRAY_INDEX_TEXT];
    brief(row->name, name);
    if (row->broken > 0) {
        quant_array_index_text(&row->shape, row->broken_at, at);
        tell(s, "%s: NaN or infinity at %" PRIu64 " of %" PRIu64 " positions%s%s: gates fail there",
             name, row->broken, row->positions, at[0] ? ", the first " : "", at);
    }
    if (row->positions > 1 && row->pooled.n == row->positions) {
        tell(s, "%s: the last axis has one element, so that a cosine is only a sign: look at "
             "relative_error", name);
    }
    if (row->positions == 0) {
        tell(s, "%s: no elements: it enters no gate", name);
    }
    tell_scale(s, row);
}

static const quant_array_row *row_of(const quant_gate_report *report, const char *name)
{
    for (size_t i = 0; i < report->result->row_count; i++) {
        if (strcmp(report->result->rows[i].name, name) == 0) {
            return &report->result->rows[i];
        }
    }
    return NULL;
}

static bool passes(const quant_gate_verdict *v, double value)
{
    return v->at_least ? value >= v->threshold : value <= v->threshold;
}

/* A position fails what the mean or the pooled figure of its array holds. */
static void tell_worst(const speaker *s, const quant_gate_report *report,
                       const quant_gate_verdict *v)
{
    const quant_array_row *row = row_of(report, v->where);
    if (v->held || !v->has_position || !v->metric || !row || isnan(v->value)) {
        return;
    }
    char name[512], at[QUANT_ARRAY_INDEX_TEXT], worst[QUANT_TEXT_NUMBER], other[QUANT_TEXT_NUMBER];
    bool cosine = v->metric == quant_metric_row(QUANT_COSINE);
    double value = cosine ? row->cosine_mean : v->metric->value(&row->pooled);
    if (row->positions > 1 && passes(v, value)) {
        quant_array_index_text(&row->shape, v->position, at);
        quant_text_metric(v->metric, v->value, worst);
        quant_text_metric(v->metric, value, other);
        tell(s, "%s: %s %s of %s passes, its worst position %s (%s) does not", v->text,
             cosine ? "the mean cosine" : "the pooled figure", other, brief(row->name, name), at,
             worst);
    }
}

/* A cosine gate holds where a gate on the size of the error fails. */
static void tell_disagreement(const speaker *s, const quant_gate_report *report)
{
    const quant_gate_verdict *held = NULL, *failed = NULL;
    for (size_t i = 0; i < report->line_count; i++) {
        const quant_gate_verdict *v = &report->lines[i].verdict;
        bool size = v->metric == quant_metric_row(QUANT_SQNR_DB) ||
                    v->metric == quant_metric_row(QUANT_RELATIVE_ERROR);
        if (v->metric == quant_metric_row(QUANT_COSINE) && v->held && !held) {
            held = v;
        }
        if (size && !v->held && !isnan(v->value) && !failed) {
            failed = v;
        }
    }
    if (held && failed) {
        char name[512];
        tell(s, "metrics disagree: %s holds and %s fails (%.6g in %s): a cosine sees directions "
             "only", held->text, failed->text, failed->value, brief(failed->where, name));
    }
}

void quant_gate_notes(const quant_gate_report *report, void (*say)(void *user, const char *text),
                      void *user)
{
    const speaker s = {say, user};
    char name[512];
    for (size_t i = 0; i < report->result->row_count; i++) {
        const quant_array_row *row = &report->result->rows[i];
        tell_about_row(&s, row);
        if (report->pins && !quant_pins_know(report->pins, row->name)) {
            tell(&s, "%s: in both files, but no gate of the pins is about it",
                 brief(row->name, name));
        }
    }
    for (size_t i = 0; i < report->line_count; i++) {
        tell_worst(&s, report, &report->lines[i].verdict);
    }
    tell_disagreement(&s, report);
}
