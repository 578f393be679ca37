/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_curve_json.c - JSON and CSV of the curve; figures of points and of inputs are read off
 * one table each. */
#include <math.h>

#include "quant/internal.h"
#include "quant/report/calibrate_report.h"
#include "quant/report/csv.h"
#include "quant/report/json_out.h"

typedef struct place {
    const quant_adequacy *c;
    size_t scheme, point, input;
    size_t points;               /* to go through: of the sources, or of all orders too */
} place;

static const quant_adequacy_point *point_of(const place *p)
{
    return &p->c->point[p->scheme][p->point];
}

static const quant_adequacy_cell *cell_of(const place *p)
{
    return quant_adequacy_at(p->c, p->scheme, (quant_source)(p->point / p->c->count_n),
                          p->point % p->c->count_n, p->input);
}

static const quant_adequacy_spectrum *spectrum_of(const place *p)
{
    return &p->c->spectra[p->point * p->c->input_count + p->input];
}

#define FIELD(name, value) \
    static quant_value name(const place *p) \
    { \
        return value; \
    }
#define REAL(name, value) FIELD(name, quant_value_real(value))
#define COUNT(name, value) FIELD(name, quant_value_count(value))
FIELD(scheme, quant_value_text(p->c->text[p->scheme]))
FIELD(source, quant_value_text(quant_source_name((quant_source)(p->point / p->c->count_n))))
COUNT(sequences, p->c->count[p->point % p->c->count_n])
REAL(scale_median, point_of(p)->scale_median)
REAL(scale_least, point_of(p)->scale_least)
REAL(scale_greatest, point_of(p)->scale_greatest)
REAL(saturated, point_of(p)->saturated)
REAL(flipped, point_of(p)->flipped)
REAL(error, point_of(p)->error)
REAL(ratio, point_of(p)->ratio)
REAL(low, point_of(p)->low)
REAL(high, point_of(p)->high)
COUNT(inputs_short, point_of(p)->unserved)
COUNT(never_reached, point_of(p)->unreached)
REAL(rank_over_width, p->c->spectrum[p->point].rank)
COUNT(singular, p->c->spectrum[p->point].singular)
REAL(smallest_over_largest, p->c->spectrum[p->point].smallest)

FIELD(site, quant_value_text(quant_site_name(p->c->inputs[p->input].site)))
COUNT(layer, p->c->inputs[p->input].layer)
COUNT(expert, p->c->inputs[p->input].expert)
COUNT(rows, spectrum_of(p)->rows)
FIELD(served, quant_value_flag(cell_of(p)->served))
REAL(cell_scale, cell_of(p)->scale)
REAL(cell_saturated, cell_of(p)->saturated)
REAL(cell_flipped, cell_of(p)->flipped)
REAL(cell_error, cell_of(p)->error)
REAL(cell_ratio, cell_of(p)->ratio)
REAL(cell_low, cell_of(p)->low)
REAL(cell_high, cell_of(p)->high)
REAL(effective_rank, spectrum_of(p)->effective_rank)
REAL(smallest, spectrum_of(p)->smallest)
REAL(largest, spectrum_of(p)->largest)

static const quant_adequacy_logits *logits_of(const place *p)
{
    return &p->c->logits[p->scheme][p->point];
}

REAL(kl, logits_of(p)->kl)
REAL(kl_ratio, logits_of(p)->ratio)
REAL(kl_low, logits_of(p)->low)
REAL(kl_high, logits_of(p)->high)
REAL(perplexity, logits_of(p)->perplexity)
REAL(perplexity_low, logits_of(p)->perplexity_low)
REAL(perplexity_high, logits_of(p)->perplexity_high)
REAL(same_top, logits_of(p)->same_top)
/* Lanes behind the sources are orders 1, 2, ... of the prompts. */
COUNT(order, p->point / p->c->count_n < QUANT_SOURCE_COUNT
                 ? 0 : p->point / p->c->count_n - QUANT_SOURCE_COUNT + 1)

typedef struct field {
    const char *key;
    quant_value (*of)(const place *p);
} field;

static const field of_points[] = {
    {"scheme", scheme}, {"source", source}, {"sequences", sequences},
    {"scale_median", scale_median}, {"scale_least", scale_least},
    {"scale_greatest", scale_greatest}, {"saturated", saturated}, {"flipped", flipped},
    {"error", error}, {"error_over_limit", ratio}, {"low", low}, {"high", high},
    {"inputs_short", inputs_short}, {"never_reached", never_reached},
    {"rank_over_width", rank_over_width}, {"singular", singular},
    {"smallest_over_largest", smallest_over_largest},
};
static const field of_inputs[] = {
    {"scheme", scheme}, {"source", source}, {"sequences", sequences}, {"input", site},
    {"layer", layer}, {"expert", expert}, {"rows", rows}, {"served", served},
    {"scale_over_all", cell_scale}, {"saturated", cell_saturated}, {"flipped", cell_flipped},
    {"error", cell_error}, {"error_over_limit", cell_ratio}, {"low", cell_low},
    {"high", cell_high}, {"effective_rank", effective_rank}, {"smallest_eigenvalue", smallest},
    {"largest_eigenvalue", largest},
};
static const field of_logits[] = {
    {"scheme", scheme}, {"source", source}, {"sequences", sequences}, {"kl_mean", kl},
    {"kl_over_limit", kl_ratio}, {"low", kl_low}, {"high", kl_high},
    {"perplexity_ratio", perplexity}, {"perplexity_low", perplexity_low},
    {"perplexity_high", perplexity_high}, {"top1_agreement", same_top},
};
static const field of_orders[] = {
    {"scheme", scheme}, {"order", order}, {"sequences", sequences},
    {"scale_median", scale_median}, {"scale_least", scale_least},
    {"scale_greatest", scale_greatest}, {"saturated", saturated}, {"flipped", flipped},
    {"error", error}, {"error_over_limit", ratio}, {"low", low}, {"high", high},
    {"inputs_short", inputs_short}, {"never_reached", never_reached},
};
enum {
    LOGITS_FIELDS = sizeof of_logits / sizeof *of_logits,
    ORDER_FIELDS = sizeof of_orders / sizeof *of_orders,
    POINT_FIELDS = sizeof of_points / sizeof *of_points,
    INPUT_FIELDS = sizeof of_inputs / sizeof *of_inputs
};

/* Every scheme and point, with `inputs` every input too. */
static bool next(place *p, bool inputs)
{
    const quant_adequacy *c = p->c;
    if (inputs && ++p->input < c->input_count) {
        return true;
    }
    p->input = 0;
    if (++p->point < p->points) {
        return true;
    }
    p->point = 0;
    return ++p->scheme < c->options.scheme_count;
}

static void put_list(quant_json_writer *w, const char *key, const quant_adequacy *c,
                     const field *fields, size_t count)
{
    size_t lanes = fields == of_orders ? c->lanes : QUANT_SOURCE_COUNT;
    place p = {.c = c, .points = lanes * c->count_n};
    quant_json_open(w, key, '[', QUANT_JSON_LINES);
    do {
        size_t lane = p.point / c->count_n;
        if (fields == of_orders && lane != QUANT_SOURCE_PROMPTS && lane < QUANT_SOURCE_COUNT) {
            continue;
        }
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        for (size_t f = 0; f < count; f++) {
            quant_json_put(w, fields[f].key, fields[f].of(&p));
        }
        quant_json_close(w);
    } while (next(&p, fields == of_inputs));
    quant_json_close(w);
}

static void put_schemes(quant_json_writer *w, const quant_adequacy *c)
{
    quant_json_open(w, "schemes", '[', QUANT_JSON_LINES);
    for (size_t k = 0; k < c->options.scheme_count; k++) {
        char verdict[QUANT_ADEQUACY_VERDICT];
        bool enough = c->enough[k] < c->count_n;
        quant_adequacy_verdict(c, k, verdict);
        quant_json_open(w, NULL, '{', QUANT_JSON_LINES);
        quant_json_put(w, "scheme", quant_value_text(c->text[k]));
        quant_json_put(w, "error_at_limit", quant_value_real(c->limit[k]));
        quant_json_put(w, "error_of_weights", quant_value_real(c->weights[k]));
        quant_json_put(w, "enough", quant_value_flag(enough));
        quant_json_put(w, "enough_from", enough ? quant_value_count(c->count[c->enough[k]])
                                                : quant_value_text(NULL));
        if (c->options.logits) {
            const quant_adequacy_logits *l = &c->logits_limit[k];
            enough = c->logits_enough[k] < c->count_n;
            quant_json_put(w, "kl_at_limit", quant_value_real(l->kl));
            quant_json_put(w, "perplexity_ratio_at_limit", quant_value_real(l->perplexity));
            quant_json_put(w, "logits_enough", quant_value_flag(enough));
            quant_json_put(w, "logits_enough_from",
                           enough ? quant_value_count(c->count[c->logits_enough[k]])
                                  : quant_value_text(NULL));
        }
        quant_json_put(w, "verdict", quant_value_text(verdict));
        quant_json_close(w);
    }
    quant_json_close(w);
}

quant_status quant_adequacy_report_json(quant_context *ctx, const quant_adequacy_report *report,
                                     FILE *to)
{
    const quant_adequacy *c = report->curve;
    const quant_adequacy_options *o = &c->options;
    quant_json_writer w;
    quant_json_start(&w, to);
    quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(&w, "schema", quant_value_text("quant.adequacy/1"));
    quant_json_put(&w, "name", quant_value_text(report->name));
    quant_json_put(&w, "first_sequence", quant_value_count(o->first_sequence));
    quant_json_put(&w, "sequences", quant_value_count(o->sequences));
    quant_json_put(&w, "first_held_out", quant_value_count(o->first_held_out));
    quant_json_put(&w, "held_out", quant_value_count(o->held_out));
    quant_json_put(&w, "seed", quant_value_count(o->seed));
    quant_json_put(&w, "limit_of_error", quant_value_real(o->error));
    quant_json_put(&w, "limit_of_saturation", quant_value_real(o->saturation));
    quant_json_put(&w, "orders_of_prompts", quant_value_count(o->draws));
    quant_json_put(&w, "measured_inputs", quant_value_count(c->measured));
    quant_json_put(&w, "bootstrap_units", quant_value_count(c->units));
    quant_json_put(&w, "bootstrap_unit", quant_value_text(c->by_sequence ? "sequence" : "run"));
    put_schemes(&w, c);
    put_list(&w, "curve", c, of_points, POINT_FIELDS);
    put_list(&w, "orders", c, of_orders, ORDER_FIELDS);
    if (o->logits) {
        put_list(&w, "logits", c, of_logits, LOGITS_FIELDS);
    }
    put_list(&w, "inputs", c, of_inputs, INPUT_FIELDS);
    quant_json_close(&w);
    return quant_json_finish(ctx, &w);
}

quant_status quant_adequacy_report_csv(quant_context *ctx, const quant_adequacy_report *report,
                                       FILE *to)
{
    quant_csv_writer w = {to, false};
    place p = {.c = report->curve, .points = QUANT_SOURCE_COUNT * report->curve->count_n};
    for (size_t f = 0; f < INPUT_FIELDS; f++) {
        quant_csv_put(&w, quant_value_text(of_inputs[f].key));
    }
    quant_csv_end_row(&w);
    do {
        for (size_t f = 0; f < INPUT_FIELDS; f++) {
            quant_csv_put(&w, of_inputs[f].of(&p));
        }
        quant_csv_end_row(&w);
    } while (next(&p, true));
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "CSV: writing failed") : QUANT_OK;
}
