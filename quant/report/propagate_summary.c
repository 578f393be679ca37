/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_summary.c - schemes side by side: weights, outputs, logits, perplexity, and where each
 * falls. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/report/propagate_parts.h"
#include "quant/report/text.h"

static void add_cosine(quant_table *t, double cosine)
{
    char text[QUANT_TEXT_NUMBER];
    quant_text_cosine(cosine, text);
    quant_table_add(t, text);
}

/* column NULL: logits alone. */
static void add_row(quant_table *t, const char *name, const quant_propagate_column *c,
                    const quant_logits_summary *s)
{
    char text[QUANT_TEXT_NUMBER];
    quant_table_add(t, name);
    if (c) {
        quant_text_bits(quant_propagate_bits(c), text);
        quant_table_add(t, text);
        add_cosine(t, quant_propagate_figure(c, QUANT_FALL_WEIGHTS));
        add_cosine(t, quant_propagate_figure(c, QUANT_FALL_OUTPUTS));
    } else {
        for (int i = 0; i < 3; i++) {
            quant_table_add(t, "");
        }
    }
    add_cosine(t, s->cosine_mean);
    add_cosine(t, s->cosine_least);
    propagate_add_real(t, s->kl_mean);
    propagate_add_real(t, s->kl_99);
    snprintf(text, sizeof text, "%.2f", 100 * s->same_top);
    quant_table_add(t, text);
    snprintf(text, sizeof text, "%.4f", s->got_perplexity);
    quant_table_add(t, text);
}

/* Length of the options that all schemes end with: the table has no room to repeat them. */
static size_t common_options(const quant_propagate_result *r)
{
    const char *text = r->columns[0].text;
    for (const char *tail = strchr(text, ','); tail && r->column_count > 1;
         tail = strchr(tail + 1, ',')) {
        size_t n = strlen(tail), i = 1;
        while (i < r->column_count && strlen(r->columns[i].text) >= n &&
               strcmp(r->columns[i].text + strlen(r->columns[i].text) - n, tail) == 0) {
            i++;
        }
        if (i == r->column_count) {
            return n;
        }
    }
    return 0;
}

static quant_status print_rows(quant_context *ctx, const quant_propagate_result *r, FILE *to)
{
    static const quant_column columns[] = {
        {"", true, 13}, {"bits", false, 0}, {"weight\ncosine ↑", false, 0},
        {"output\ncosine ↑", false, 0}, {"logits\nmean ↑", false, 0}, {"\nleast ↑", false, 0},
        {"KL\nmean ↓", false, 0}, {"\n99 % ↓", false, 0}, {"top-1\n% ↑", false, 0},
        {"per-\nplexity ↓", false, 0}};
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     2 * r->column_count + 1);
    const size_t common = common_options(r);
    if (common) {
        const char *text = r->columns[0].text;
        fprintf(to, "each scheme below with %s\n", text + strlen(text) - common + 1);
    }
    for (size_t i = 0; t && i < r->column_count; i++) {
        const quant_propagate_column *c = &r->columns[i];
        char name[QUANT_SCHEME_TEXT];
        snprintf(name, sizeof name, "%.*s", (int)(strlen(c->text) - common), c->text);
        add_row(t, name, c, &c->logits);
        if (c->frozen_rows) {
            add_row(t, "routes frozen", NULL, &c->frozen);
        }
    }
    if (t && r->arithmetic_rows) {
        add_row(t, "arithmetic", NULL, &r->arithmetic);
    }
    return propagate_print_table(t, to);
}

static void print_verdict(const char *name, const quant_logits_summary *s, FILE *to)
{
    char text[QUANT_LOGITS_VERDICT];
    quant_logits_verdict(s, text);
    fprintf(to, "%s: %s\n", name, text);
}

/* ---- where they fall ------------------------------------------------------------------------ */

static const struct {
    const char *key, *limit;
    double value;
} falls[QUANT_FALL_COUNT] = {
    [QUANT_FALL_WEIGHTS] = {"weights", "cosine", QUANT_FALL_COSINE},
    [QUANT_FALL_OUTPUTS] = {"outputs", "cosine", QUANT_FALL_COSINE},
    [QUANT_FALL_LOGITS] = {"logits", "cosine", QUANT_FALL_COSINE},
    [QUANT_FALL_PERPLEXITY] = {"perplexity", "ratio", QUANT_FALL_RATIO},
};

static const char *text_of(const quant_propagate_result *r, size_t i)
{
    return i < r->column_count ? r->columns[i].text : NULL;
}

static void print_fall(const quant_propagate_result *r, int fall, FILE *to)
{
    const quant_cliff *c = &r->cliffs[fall];
    const char *held = text_of(r, c->held), *lost = text_of(r, c->lost), *into = text_of(r, c->to);
    char text[512];
    size_t n = (size_t)snprintf(text, sizeof text, "  %s: %s %g ", falls[fall].key,
                                falls[fall].limit, falls[fall].value);
    if (held && lost) {
        n += (size_t)snprintf(text + n, sizeof text - n, "falls between %s and %s", held, lost);
    } else {
        n += (size_t)snprintf(text + n, sizeof text - n, held ? "is held by all, down to %s"
                                                              : "is missed by all, from %s on",
                              held ? held : lost);
    }
    if (into) {
        snprintf(text + n, sizeof text - n, "; steepest into %s", into);
    }
    fprintf(to, "%s\n", text);
}

static void print_falls(const quant_propagate_result *r, FILE *to)
{
    bool any = false;
    for (int f = 0; f < QUANT_FALL_COUNT && r->column_count > 1; f++) {
        if (text_of(r, r->cliffs[f].held) || text_of(r, r->cliffs[f].lost)) {
            fputs(any ? "" : "where they fall, in order of bits a weight:\n", to);
            print_fall(r, f, to);
            any = true;
        }
    }
}

quant_status propagate_print_summary(quant_context *ctx, const quant_propagate_report *report,
                                     FILE *to)
{
    const quant_propagate_result *r = report->result;
    const quant_logits_summary *l = &r->columns[0].logits;
    fprintf(to, "weights; outputs of the layers' matrices on clean input; logits at %zu positions, "
            "KL(unquantized\n|| quantized) in nats; unquantized perplexity %.4f\n", r->n * r->s,
            l->ref_perplexity);
    QUANT_TRY(print_rows(ctx, r, to));
    print_falls(r, to);
    for (size_t i = 0; i < r->column_count; i++) {
        print_verdict(r->columns[i].text, &r->columns[i].logits, to);
    }
    if (r->arithmetic_rows) {
        print_verdict("arithmetic alone", &r->arithmetic, to);
    }
    fprintf(to, "intervals: 95 %%, paired bootstrap over %zu %s\n", l->units,
            l->by_sequence ? "sequences" : "runs of neighbouring positions");
    return QUANT_OK;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

void propagate_put_falls(quant_json_writer *w, const quant_propagate_result *r)
{
    quant_json_open(w, "cliffs", '{', QUANT_JSON_LINES);
    for (int f = 0; f < QUANT_FALL_COUNT; f++) {
        const quant_cliff *c = &r->cliffs[f];
        quant_json_open(w, falls[f].key, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "limit", quant_value_real(falls[f].value));
        quant_json_put(w, "held", quant_value_text(text_of(r, c->held)));
        quant_json_put(w, "lost", quant_value_text(text_of(r, c->lost)));
        quant_json_put(w, "steepest_from", quant_value_text(text_of(r, c->from)));
        quant_json_put(w, "steepest_to", quant_value_text(text_of(r, c->to)));
        quant_json_close(w);
    }
    quant_json_close(w);
}

void propagate_put_fidelity(quant_json_writer *w, const quant_propagate_column *c)
{
    char layer[QUANT_DEPTH_TEXT];
    const quant_ledger_outputs *o = &c->outputs;
    bool any = !isnan(o->worst_cosine);
    quant_depth_text(o->worst_depth, c->ledger.depths, layer);
    quant_json_put(w, "bits_per_weight", quant_value_real(quant_propagate_bits(c)));
    quant_json_put(w, "bytes", quant_value_count(c->weights.bytes));
    quant_json_put(w, "weight_cosine", quant_value_real(quant_cosine(&c->weights.pooled)));
    quant_json_put(w, "weight_relative_error",
                   quant_value_real(quant_relative_error(&c->weights.pooled)));
    quant_json_put(w, "weight_cosine_worst", quant_value_real(c->weights.worst_cosine));
    quant_json_put(w, "weight_tensor_worst", quant_value_text(c->weights.worst));
    quant_json_put(w, "output_cosine", quant_value_real(quant_ledger_output_cosine(&o->pooled)));
    quant_json_put(w, "output_relative_error", quant_value_real(quant_ledger_delta(&o->pooled)));
    quant_json_put(w, "output_cosine_worst", quant_value_real(o->worst_cosine));
    quant_json_put(w, "output_layer_worst", quant_value_text(any ? layer : NULL));
    quant_json_put(w, "output_place_worst",
                   quant_value_text(any ? quant_place_name(o->worst_place) : NULL));
}
