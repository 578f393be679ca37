/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gate.c - expressions that must hold, read off a table of metrics. */
#include "quant/lab/gate.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"

/* ---- metrics ------------------------------------------------------------------------------ */

/* What a gate looks at: one row, or one triple, or one summary. */
typedef struct subject {
    const quant_fidelity *energies;
    const quant_output_fidelity *output; /* NULL: weights are meant */
    uint64_t bytes, saturated, elements;
    double bits_per_weight;
} subject;

static double bits_per_weight(const subject *s)
{
    return s->bits_per_weight;
}

static double bytes(const subject *s)
{
    return (double)s->bytes;
}

static double saturated_share(const subject *s)
{
    return s->elements ? (double)s->saturated / (double)s->elements : 0;
}

/* Metrics beyond those of fidelity.h; they describe an encoding, so they have no output. */
typedef struct extra_metric {
    const char *name;
    double (*value)(const subject *s);
} extra_metric;

static const extra_metric extras[] = {
    {"bits_per_weight", bits_per_weight},
    {"bytes", bytes},
    {"saturated_share", saturated_share},
};
enum { EXTRAS = sizeof extras / sizeof *extras };

static void list_metrics(char *text, size_t room)
{
    size_t at = 0;
    for (int i = 0; i < QUANT_METRIC_COUNT + EXTRAS && at < room; i++) {
        const char *name = i < QUANT_METRIC_COUNT ? quant_metric_row(i)->name
                                                  : extras[i - QUANT_METRIC_COUNT].name;
        at += (size_t)snprintf(text + at, room - at, "%s%s", i ? ", " : "", name);
    }
}

/* ---- parsing ------------------------------------------------------------------------------ */

enum { EXPRESSION_TEXT = 96 };

typedef struct expression {
    char text[EXPRESSION_TEXT];
    const quant_metric *metric; /* NULL: extra */
    const extra_metric *extra;
    bool pooled, output, at_least;
    double threshold;
} expression;

struct quant_gate {
    size_t count, room;
    expression list[];
};

/* Prefixes in any order, each once. */
static const char *strip_prefixes(const char *name, expression *e)
{
    bool worst = false;
    for (;;) {
        if (!e->pooled && !worst && strncmp(name, "pooled.", 7) == 0) {
            e->pooled = true;
            name += 7;
        } else if (!e->pooled && !worst && strncmp(name, "worst.", 6) == 0) {
            worst = true;
            name += 6;
        } else if (!e->output && strncmp(name, "output.", 7) == 0) {
            e->output = true;
            name += 7;
        } else {
            return name;
        }
    }
}

static quant_status find_metric(quant_context *ctx, const char *name, expression *e)
{
    e->metric = quant_metric_find(name);
    for (int i = 0; i < EXTRAS && !e->metric; i++) {
        if (strcmp(extras[i].name, name) == 0) {
            e->extra = &extras[i];
        }
    }
    if (e->metric || (e->extra && !e->output)) {
        return QUANT_OK;
    }
    char known[256];
    list_metrics(known, sizeof known);
    if (e->extra) {
        return quant_fail(ctx, QUANT_EINVAL, "gate \"%s\": %s is not a figure of outputs", e->text,
                          name);
    }
    return quant_fail(ctx, QUANT_EINVAL, "gate \"%s\": expected one of %s, found \"%s\"", e->text,
                      known, name);
}

/* A finite decimal number and nothing else, with a point whatever the locale of the process. */
static bool parse_threshold(const char *text, double *value)
{
    if (*text == '\0' || strspn(text, "0123456789+-.eE") != strlen(text)) {
        return false;
    }
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!plain) {
        return false;
    }
    char *end;
    *value = strtod_l(text, &end, plain);
    freelocale(plain);
    return *end == '\0' && isfinite(*value);
}

/* e->text holds the expression without white space around its parts. */
static quant_status parse_expression(quant_context *ctx, expression *e)
{
    char name[EXPRESSION_TEXT];
    const char *op = strpbrk(e->text, "<>");
    if (!op || op[1] != '=') {
        return quant_fail(ctx, QUANT_EINVAL,
                          "gate \"%s\": expected METRIC>=NUMBER or METRIC<=NUMBER", e->text);
    }
    memcpy(name, e->text, (size_t)(op - e->text));
    name[op - e->text] = '\0';
    e->at_least = *op == '>';
    QUANT_TRY(find_metric(ctx, strip_prefixes(name, e), e));
    if (!parse_threshold(op + 2, &e->threshold)) {
        return quant_fail(ctx, QUANT_EINVAL, "gate \"%s\": expected a number, found \"%s\"",
                          e->text, op + 2);
    }
    return QUANT_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Blanks around the expression, its name and its number mean nothing; those inside a number or a
 * name stay, so that "0.9 0" is no number. */
static bool separates(const char *out, size_t n, const char *rest)
{
    rest += strspn(rest, " \t");
    return n == 0 || strchr("<>=", out[n - 1]) || strchr("<>=,", *rest);
}

/* Copy up to the comma without blanks that separate; false when it does not fit. */
static bool copy_expression(const char **text, char out[EXPRESSION_TEXT])
{
    size_t n = 0;
    bool fits = true;
    for (; **text && **text != ','; ++*text) {
        if (is_blank(**text) && separates(out, n, *text)) {
            continue;
        }
        fits = n + 1 < EXPRESSION_TEXT;
        if (!fits) {
            break;
        }
        out[n++] = **text;
    }
    out[n] = '\0';
    *text += **text == ',';
    return fits;
}

quant_status quant_gate_parse(quant_context *ctx, const char *text, quant_gate **gate)
{
    size_t room = 1;
    for (const char *p = text; *p; p++) {
        room += *p == ',';
    }
    *gate = NULL;
    size_t size = room <= (SIZE_MAX - sizeof **gate) / sizeof(expression)
                      ? sizeof **gate + room * sizeof(expression) : SIZE_MAX;
    quant_gate *g = quant_alloc(ctx, size, 1);
    if (!g) {
        return QUANT_ENOMEM;
    }
    memset(g, 0, size);
    g->room = room;
    quant_status status = QUANT_OK;
    while (g->count < room && status == QUANT_OK) {
        expression *e = &g->list[g->count++];
        status = copy_expression(&text, e->text)
                     ? parse_expression(ctx, e)
                     : quant_fail(ctx, QUANT_EINVAL, "gate \"%s\": an expression is longer than "
                                  "%d characters", e->text, EXPRESSION_TEXT - 1);
    }
    if (status != QUANT_OK) {
        quant_gate_free(ctx, g);
        return status;
    }
    *gate = g;
    return QUANT_OK;
}

void quant_gate_free(quant_context *ctx, quant_gate *gate)
{
    if (gate) {
        quant_release(ctx, gate, sizeof *gate + gate->room * sizeof(expression), 1);
    }
}

/* ---- judging ------------------------------------------------------------------------------ */

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
    return v;
}

/* Judge one more subject; the verdict shows the worst one, and NaN is worse than any number. */
static void judge(const expression *e, const subject *s, const char *where,
                  quant_gate_verdict *v, const char *scheme_text)
{
    bool first = v->why && strcmp(v->why, "NaN") != 0;
    if (s->output && s->output->pairs == 0) {
        return;
    }
    if ((s->output && s->output->live == 0) ||
        (needs_live(e) && !quant_fidelity_live(s->energies))) {
        v->why = first ? "no live pair" : v->why;
        return;
    }
    double value = value_of(e, s);
    if (!first && (isnan(v->value) || !is_worse(e, value, v->value))) {
        return;
    }
    v->value = value;
    v->where = where;
    v->why = isnan(value) ? "NaN" : NULL;
    v->held = !isnan(value) && holds(e, value);
    snprintf(v->scheme_text, sizeof v->scheme_text, "%s", scheme_text);
}

static void judge_row(const expression *e, const quant_compare_row *row, quant_gate_verdict *v)
{
    subject s = {e->output ? &row->output.pooled : &row->weight, e->output ? &row->output : NULL,
                 row->stored_bytes, row->info.saturated, row->info.elements,
                 row->bits_per_weight};
    judge(e, &s, row->name, v, row->scheme_text);
}

static void judge_summary(const expression *e, const quant_compare_summary *sum,
                          quant_gate_verdict *v)
{
    if (sum->tensors == 0) {
        return;
    }
    subject s = {e->output ? &sum->output.pooled : &sum->weight, e->output ? &sum->output : NULL,
                 sum->stored_bytes, sum->saturated, sum->elements, sum->bits_per_weight};
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
