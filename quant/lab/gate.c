/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gate.c - do expressions hold? */
#include "quant/lab/gate_expression.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef quant_gate_subject subject;
typedef quant_gate_expression expression;

/* Both sides zero: no cosine and no relative error, so such a pair can neither hold nor fail. */
static bool needs_live(const expression *e)
{
    return e->metric && (e->metric->value == quant_cosine ||
                         e->metric->value == quant_relative_error);
}

static double value_of(const expression *e, const subject *s)
{
    if (e->extra) {
        return e->extra->value(s);
    }
    if (e->metric->value == quant_sqnr_db && s->energies->err2 == 0) {
        return INFINITY; /* also where there is no signal */
    }
    bool smallest = s->output && !e->pooled && e->metric->value == quant_cosine;
    return smallest ? s->output->cosine_min : e->metric->value(s->energies);
}

/* Zero error passes any SQNR gate: under an upper limit it counts as the smallest value. */
static double rank_of(const expression *e, double value)
{
    bool exempt = !e->at_least && e->metric && e->metric->value == quant_sqnr_db;
    return exempt && value == INFINITY ? -INFINITY : value;
}

static bool holds(const expression *e, double value)
{
    return e->at_least ? value >= e->threshold : rank_of(e, value) <= e->threshold;
}

static bool is_worse(const expression *e, double value, double than)
{
    return isnan(value) || (e->at_least ? value < than : rank_of(e, value) > rank_of(e, than));
}

/* Begins as "nothing matched", which fails. */
static quant_gate_verdict verdict_begin(const expression *e)
{
    quant_gate_verdict v = {0};
    v.text = e->text;
    v.value = NAN;
    v.threshold = e->threshold;
    v.where = e->pooled ? "pooled" : "";
    v.why = "no row";
    v.metric = e->metric;
    v.pooled = e->pooled;
    v.at_least = e->at_least;
    return v;
}

static bool saw_number(const quant_gate_verdict *v)
{
    return !v->why || strcmp(v->why, "NaN") == 0;
}

/* One more value; the verdict shows the worst one, and NaN is worse than any number. False when
 * the verdict stays. */
static bool judge_value(const expression *e, double value, const char *where,
                        quant_gate_verdict *v)
{
    if (saw_number(v) && (isnan(v->value) || !is_worse(e, value, v->value))) {
        return false;
    }
    v->value = value;
    v->where = where;
    v->why = isnan(value) ? "NaN" : NULL;
    v->held = !isnan(value) && holds(e, value);
    return true;
}

/* Judge one more subject. */
static void judge(const expression *e, const subject *s, const char *where,
                  quant_gate_verdict *v, const char *scheme_text)
{
    if (s->output && s->output->pairs == 0) {
        return;
    }
    if ((s->output && s->output->live == 0) ||
        (needs_live(e) && !quant_fidelity_live(s->energies))) {
        v->why = saw_number(v) ? v->why : "no live pair";
        return;
    }
    if (judge_value(e, value_of(e, s), where, v)) {
        snprintf(v->scheme_text, sizeof v->scheme_text, "%s", scheme_text);
    }
}

static void judge_row(const expression *e, const quant_compare_row *row, quant_gate_verdict *v)
{
    subject s = {e->output ? &row->output.pooled : &row->weight, e->output ? &row->output : NULL,
                 row->stored_bytes, row->info.saturated, row->info.elements,
                 row->bits_per_weight, 0};
    judge(e, &s, row->name, v, row->scheme_text);
}

static void judge_summary(const expression *e, const quant_compare_summary *sum,
                          quant_gate_verdict *v)
{
    if (sum->tensors == 0) {
        return;
    }
    subject s = {e->output ? &sum->output.pooled : &sum->weight, e->output ? &sum->output : NULL,
                 sum->stored_bytes, sum->saturated, sum->elements, sum->bits_per_weight, 0};
    judge(e, &s, "pooled", v, sum->scheme_text);
}

static void judge_rows(const expression *e, const quant_compare_result *r, size_t scheme,
                       const char *column_text, quant_gate_verdict *v)
{
    for (size_t i = 0; i < r->row_count; i++) {
        if (r->rows[i].scheme == scheme) {
            judge_row(e, &r->rows[i], v);
        }
    }
    for (size_t i = 0; e->output && i < r->triple_count; i++) {
        if (r->triples[i].scheme == scheme) {
            const quant_output_fidelity *output = &r->triples[i].output;
            subject s = {.energies = &output->pooled, .output = output};
            judge(e, &s, r->triples[i].name, v, column_text);
        }
    }
}

bool quant_gate_judge(const quant_gate *gate, size_t i, const quant_compare_result *result,
                      size_t scheme, quant_gate_verdict *verdict)
{
    if (i >= gate->count) {
        return false;
    }
    const expression *e = &gate->list[i];
    quant_gate_verdict v = verdict_begin(e);
    for (size_t j = 0; j < result->summary_count; j++) {
        const quant_compare_summary *sum = &result->summary[j];
        if (sum->scheme != scheme) {
            continue;
        }
        snprintf(v.scheme_text, sizeof v.scheme_text, "%s", sum->scheme_text);
        if (e->pooled) {
            judge_summary(e, sum, &v);
        } else {
            judge_rows(e, result, scheme, sum->scheme_text, &v);
        }
    }
    *verdict = v;
    return true;
}

/* ---- arrays --------------------------------------------------------------------------------- */

/* Over all positions at once: pooled energies, or the share of equal argmax. */
static void judge_whole(const expression *e, const quant_array_row *row, quant_gate_verdict *v)
{
    subject s = {.energies = &row->pooled, .argmax_agreement = quant_array_argmax(row)};
    if (row->live == 0 && (e->extra || needs_live(e))) {
        v->why = saw_number(v) ? v->why : "no live pair";
    } else if (judge_value(e, value_of(e, &s), row->name, v)) {
        v->has_position = false;
    }
}

static void judge_positions(const expression *e, const quant_array_row *row, quant_gate_verdict *v)
{
    const quant_array_span *span = &row->span[e->metric - quant_metric_row(0)];
    if (span->count == 0) {
        v->why = saw_number(v) ? v->why : "no live pair";
    } else if (judge_value(e, e->at_least ? span->least : span->greatest, row->name, v)) {
        v->has_position = true;
        v->position = e->at_least ? span->least_at : span->greatest_at;
    }
}

bool quant_gate_judge_arrays(const quant_gate *gate, size_t i, const quant_array_row *rows,
                             size_t count, quant_gate_verdict *verdict)
{
    if (i >= gate->count) {
        return false;
    }
    const expression *e = &gate->list[i];
    quant_gate_verdict v = verdict_begin(e);
    v.where = "";
    for (size_t r = 0; r < count; r++) {
        if (rows[r].positions == 0) {
            continue;
        }
        if (e->extra || e->pooled) {
            judge_whole(e, &rows[r], &v);
        } else {
            judge_positions(e, &rows[r], &v);
        }
    }
    *verdict = v;
    return true;
}
