/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gate_parse.c - expressions, read off a table of metrics. */
#include "quant/lab/gate_expression.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"

typedef quant_gate_subject subject;
typedef quant_gate_expression expression;

/* ---- metrics ------------------------------------------------------------------------------ */

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

static double argmax_agreement(const subject *s)
{
    return s->argmax_agreement;
}

static const quant_gate_extra extras[] = {
    {"bits_per_weight", bits_per_weight, false},
    {"bytes", bytes, false},
    {"saturated_share", saturated_share, false},
    {"argmax_agreement", argmax_agreement, true},
};
enum { EXTRAS = sizeof extras / sizeof *extras };

static void list_metrics(bool of_arrays, char *text, size_t room)
{
    size_t at = 0;
    for (int i = 0; i < QUANT_METRIC_COUNT + EXTRAS && at < room; i++) {
        int more = i - QUANT_METRIC_COUNT;
        const quant_gate_extra *extra = more < 0 ? NULL : &extras[more];
        if (!extra || extra->of_arrays == of_arrays) {
            at += (size_t)snprintf(text + at, room - at, "%s%s", i ? ", " : "",
                                   extra ? extra->name : quant_metric_row(i)->name);
        }
    }
}

/* ---- parsing ------------------------------------------------------------------------------ */

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
        if (strcmp(extras[i].name, name) == 0 && extras[i].of_arrays == e->of_arrays) {
            e->extra = &extras[i];
        }
    }
    if (e->metric || (e->extra && !e->output)) {
        return QUANT_OK;
    }
    char known[256];
    list_metrics(e->of_arrays, known, sizeof known);
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
    char name[QUANT_GATE_TEXT];
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
static bool copy_expression(const char **text, char out[QUANT_GATE_TEXT])
{
    size_t n = 0;
    bool fits = true;
    for (; **text && **text != ','; ++*text) {
        if (is_blank(**text) && separates(out, n, *text)) {
            continue;
        }
        fits = n + 1 < QUANT_GATE_TEXT;
        if (!fits) {
            break;
        }
        out[n++] = **text;
    }
    out[n] = '\0';
    *text += **text == ',';
    return fits;
}

static quant_status parse_list(quant_context *ctx, const char *text, bool of_arrays,
                               quant_gate **gate)
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
        e->of_arrays = of_arrays;
        status = copy_expression(&text, e->text)
                     ? parse_expression(ctx, e)
                     : quant_fail(ctx, QUANT_EINVAL, "gate \"%s\": an expression is longer than "
                                  "%d characters", e->text, QUANT_GATE_TEXT - 1);
    }
    if (status != QUANT_OK) {
        quant_gate_free(ctx, g);
        return status;
    }
    *gate = g;
    return QUANT_OK;
}

quant_status quant_gate_parse(quant_context *ctx, const char *text, quant_gate **gate)
{
    return parse_list(ctx, text, false, gate);
}

quant_status quant_gate_parse_arrays(quant_context *ctx, const char *text, quant_gate **gate)
{
    return parse_list(ctx, text, true, gate);
}

void quant_gate_free(quant_context *ctx, quant_gate *gate)
{
    if (gate) {
        quant_release(ctx, gate, sizeof *gate + gate->room * sizeof(expression), 1);
    }
}
