/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_json.c - JSON of propagate. */
#include <math.h>
#include <stdio.h>

#include "quant/internal.h"
#include "quant/report/propagate_parts.h"
#include "quant/report/smooth_report.h"

/* One array over the positions for each field. */
static void put_positions(quant_json_writer *w, const quant_propagate_column *c, uint64_t depth,
                          quant_place place)
{
    const quant_ledger *l = &c->ledger;
    quant_json_open(w, "positions", '{', QUANT_JSON_LINES);
    for (size_t f = 0; f < PROPAGATE_FIELDS; f++) {
        if (propagate_fields[f].experts && c->routing.experts == 0) {
            continue;
        }
        quant_json_open(w, propagate_fields[f].key, '[', QUANT_JSON_INLINE);
        for (size_t j = 0; j < l->positions; j++) {
            double value = propagate_fields[f].of(quant_ledger_at(l, depth, place, j));
            quant_json_put(w, NULL, quant_value_real(value));
        }
        quant_json_close(w);
    }
    quant_json_close(w);
}

static void put_terms(quant_json_writer *w, const quant_propagate_column *c,
                      const quant_ledger_terms *t)
{
    for (size_t f = 0; f < PROPAGATE_FIELDS; f++) {
        if (!propagate_fields[f].experts || c->routing.experts > 0) {
            quant_json_put(w, propagate_fields[f].key, quant_value_real(propagate_fields[f].of(t)));
        }
    }
}

static void put_place(quant_json_writer *w, const quant_propagate_column *c, uint64_t depth,
                      quant_place place)
{
    quant_ledger_terms t = quant_ledger_pooled(&c->ledger, depth, place);
    if (t.n == 0) {
        return;
    }
    quant_json_open(w, quant_place_name(place), '{', QUANT_JSON_LINES);
    put_terms(w, c, &t);
    put_positions(w, c, depth, place);
    quant_json_close(w);
}

/* All layers of one kind together. */
static void put_kinds(quant_json_writer *w, const quant_propagate_report *report,
                      const quant_propagate_column *c)
{
    quant_json_open(w, "kinds", '{', QUANT_JSON_LINES);
    for (int local = 1; local >= 0; local--) {
        quant_json_open(w, propagate_kind_text(local), '{', QUANT_JSON_LINES);
        for (int p = 0; p < QUANT_PLACE_LOGITS; p++) {
            quant_ledger_terms t = quant_ledger_kind(&c->ledger, report->model, local,
                                                     (quant_place)p);
            if (t.n > 0) {
                quant_json_open(w, quant_place_name((quant_place)p), '{', QUANT_JSON_LINES);
                put_terms(w, c, &t);
                quant_json_close(w);
            }
        }
        quant_json_close(w);
    }
    quant_json_close(w);
}

static void put_arithmetic(quant_json_writer *w, const quant_arithmetic_terms *t)
{
    quant_json_open(w, "arithmetic", '{', QUANT_JSON_INLINE);
    quant_json_put(w, "relative_error", quant_value_real(sqrt(t->error2 / t->clean2)));
    quant_json_put(w, "share_quantization", quant_value_real(t->quantization_dot / t->error2));
    quant_json_put(w, "share_arithmetic", quant_value_real(t->arithmetic_dot / t->error2));
    quant_json_put(w, "norm_clean", quant_value_real(sqrt(t->clean2)));
    quant_json_put(w, "norm_quantization", quant_value_real(sqrt(t->quantization2)));
    quant_json_put(w, "norm_arithmetic", quant_value_real(sqrt(t->arithmetic2)));
    quant_json_close(w);
}

static void put_depth(quant_json_writer *w, const quant_propagate_column *c, uint64_t depth)
{
    char text[QUANT_DEPTH_TEXT];
    quant_depth_text(depth, c->ledger.depths, text);
    quant_json_open(w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(w, "layer", quant_value_text(text));
    for (int p = 0; p < QUANT_PLACE_COUNT; p++) {
        put_place(w, c, depth, (quant_place)p);
    }
    if (c->whiteness) {
        const quant_whiteness_row *row = &c->whiteness[depth];
        quant_json_open(w, "whiteness", '{', QUANT_JSON_INLINE);
        quant_json_put(w, "tensors", quant_value_count(row->tensors));
        quant_json_put(w, "p", quant_value_real(row->p));
        quant_json_put(w, "neighbour", quant_value_real(row->neighbour));
        quant_json_put(w, "tensor", quant_value_text(row->tensor));
        quant_json_close(w);
    }
    if (c->arithmetic) {
        put_arithmetic(w, &c->arithmetic[depth]);
    }
    quant_json_close(w);
}

static void put_cosines(quant_json_writer *w, const quant_logits_row *rows,
                        const quant_propagate_result *r)
{
    quant_json_open(w, "cosine_per_position", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < r->n; i++) {
        quant_json_open(w, NULL, '[', QUANT_JSON_INLINE);
        for (size_t j = 0; j < r->s; j++) {
            quant_json_put(w, NULL, quant_value_real(quant_logits_cosine(&rows[i * r->s + j])));
        }
        quant_json_close(w);
    }
    quant_json_close(w);
}

void propagate_put_logits(quant_json_writer *w, const char *key, const quant_logits_summary *s,
                          const quant_logits_row *rows, const quant_propagate_result *r)
{
    char verdict[QUANT_LOGITS_VERDICT];
    quant_logits_verdict(s, verdict);
    quant_json_open(w, key, '{', QUANT_JSON_LINES);
    quant_json_put(w, "rows", quant_value_count(s->rows));
    quant_json_put(w, "live", quant_value_count(s->live));
    quant_json_put(w, "cosine_mean", quant_value_real(s->cosine_mean));
    quant_json_put(w, "cosine_least", quant_value_real(s->cosine_least));
    quant_json_put(w, "least_sequence", quant_value_count(s->least_row / r->s));
    quant_json_put(w, "least_position", quant_value_count(s->least_row % r->s));
    quant_json_put(w, "relative_error", quant_value_real(s->relative_error));
    quant_json_put(w, "kl_mean", quant_value_real(s->kl_mean));
    quant_json_put(w, "kl_99", quant_value_real(s->kl_99));
    quant_json_put(w, "same_top", quant_value_real(s->same_top));
    quant_json_put(w, "predicted", quant_value_count(s->predicted));
    quant_json_put(w, "reference_perplexity", quant_value_real(s->ref_perplexity));
    quant_json_put(w, "perplexity", quant_value_real(s->got_perplexity));
    quant_json_put(w, "perplexity_ratio", quant_value_real(s->ratio));
    quant_json_put(w, "ratio_low", quant_value_real(s->low));
    quant_json_put(w, "ratio_high", quant_value_real(s->high));
    quant_json_put(w, "bootstrap_units", quant_value_count(s->units));
    quant_json_put(w, "bootstrap_unit", quant_value_text(s->by_sequence ? "sequence" : "run"));
    quant_json_put(w, "distinguishable", quant_value_flag(s->distinguishable));
    quant_json_put(w, "verdict", quant_value_text(verdict));
    if (rows) {
        put_cosines(w, rows, r);
    }
    quant_json_close(w);
}

static void put_jacobians(quant_json_writer *w, const quant_propagate_column *c,
                          const quant_jacobian *j)
{
    quant_jacobian_growth e = {0, 0};
    quant_json_open(w, "jacobians", '[', QUANT_JSON_LINES);
    for (uint64_t d = 0; d + 1 < c->ledger.depths; d++) {
        char layer[QUANT_DEPTH_TEXT];
        quant_depth_text(d, c->ledger.depths, layer);
        e = quant_jacobian_step(&c->ledger, j, d, e);
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "layer", quant_value_text(layer));
        quant_json_put(w, "gain", quant_value_real(d > 0 ? j[d - 1].gain : (double)NAN));
        quant_json_put(w, "norm_at_least", quant_value_real(d > 0 ? j[d - 1].norm : (double)NAN));
        quant_json_put(w, "error_by_gains", quant_value_real(e.by_gain));
        quant_json_put(w, "error_by_norms", quant_value_real(e.by_norm));
        quant_json_close(w);
    }
    quant_json_close(w);
}

static void put_isolated(quant_json_writer *w, const quant_propagate_column *c)
{
    quant_json_open(w, "isolated", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < c->isolated_count; i++) {
        const quant_isolate_row *row = &c->isolated[i];
        const quant_logits_summary *s = &row->logits;
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "part", quant_value_text(row->name));
        quant_json_put(w, "tensors", quant_value_count(row->tensors));
        quant_json_put(w, "elements", quant_value_count(row->elements));
        quant_json_put(w, "cosine_mean", quant_value_real(s->cosine_mean));
        quant_json_put(w, "relative_error", quant_value_real(s->relative_error));
        quant_json_put(w, "kl_mean", quant_value_real(s->kl_mean));
        quant_json_put(w, "kl_99", quant_value_real(s->kl_99));
        quant_json_put(w, "same_top", quant_value_real(s->same_top));
        quant_json_put(w, "perplexity_ratio", quant_value_real(s->ratio));
        quant_json_put(w, "ratio_low", quant_value_real(s->low));
        quant_json_put(w, "ratio_high", quant_value_real(s->high));
        quant_json_put(w, "distinguishable", quant_value_flag(s->distinguishable));
        quant_json_close(w);
    }
    quant_json_close(w);
}

static void put_score(quant_json_writer *w, const char *key, const quant_growth_score *s)
{
    quant_json_open(w, key, '{', QUANT_JSON_INLINE);
    quant_json_put(w, "bias", quant_value_real(s->bias));
    quant_json_put(w, "rms", quant_value_real(s->rms));
    quant_json_put(w, "worst", quant_value_real(s->worst));
    quant_json_close(w);
}

static void put_growth(quant_json_writer *w, quant_growth model, const quant_growth_fit *f)
{
    static const char *const keys[] = {"variance_log_scale", "covariance", "variance_power"};
    quant_json_open(w, quant_growth_name(model), '{', QUANT_JSON_LINES);
    quant_json_put(w, "fitted_layers", quant_value_count(f->fitted));
    quant_json_put(w, "judged_layers", quant_value_count(f->judged));
    put_score(w, "as_it_is", &f->plain);
    quant_json_put(w, "scale", quant_value_real(f->scale));
    quant_json_put(w, "power", quant_value_real(f->power));
    for (int i = 0; i < 3; i++) {
        quant_json_put(w, keys[i], quant_value_real(f->covariance[i]));
    }
    put_score(w, "fitted", &f->after);
    quant_json_put(w, "last_measured", quant_value_real(f->measured));
    quant_json_put(w, "last_predicted", quant_value_real(f->predicted));
    quant_json_put(w, "last_low", quant_value_real(f->low));
    quant_json_put(w, "last_high", quant_value_real(f->high));
    quant_json_close(w);
}

static void put_column(quant_json_writer *w, const quant_propagate_report *report,
                       const quant_propagate_column *c)
{
    const quant_propagate_result *r = report->result;
    quant_json_open(w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(w, "scheme", quant_value_text(c->text));
    quant_json_put(w, "quantized", quant_value_count(c->quantized));
    quant_json_put(w, "kept", quant_value_count(c->kept));
    propagate_put_fidelity(w, c);
    propagate_put_logits(w, "logits", &c->logits, c->rows, r);
    if (r->jacobians) {
        put_jacobians(w, c, r->jacobians);
    }
    if (c->isolated) {
        put_isolated(w, c);
    }
    propagate_put_sides(w, c);
    if (c->routing.experts > 0) {
        propagate_put_routing(w, report, c);
    }
    if (propagate_has_kinds(report->model)) {
        put_kinds(w, report, c);
    }
    quant_json_open(w, "growth", '{', QUANT_JSON_LINES);
    for (int g = 0; g < QUANT_GROWTH_COUNT; g++) {
        put_growth(w, (quant_growth)g, &c->growth[g]);
    }
    quant_json_close(w);
    quant_json_open(w, "ledger", '[', QUANT_JSON_LINES);
    for (uint64_t d = 0; d < c->ledger.depths; d++) {
        put_depth(w, c, d);
    }
    quant_json_close(w);
    quant_json_close(w);
}

quant_status quant_propagate_report_json(quant_context *ctx, const quant_propagate_report *report,
                                         FILE *to)
{
    const quant_propagate_result *r = report->result;
    quant_json_writer w;
    quant_json_start(&w, to);
    quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(&w, "schema", quant_value_text("quant.propagate/1"));
    quant_json_put(&w, "path", quant_value_text(report->name));
    quant_json_put(&w, "architecture", quant_value_text(quant_model_architecture(report->model)));
    quant_json_put(&w, "layers", quant_value_count(r->depths - 2));
    quant_json_put(&w, "sequences", quant_value_count(r->n));
    quant_json_put(&w, "positions", quant_value_count(r->s));
    quant_json_put(&w, "compute", quant_value_text(quant_compute_text(r->compute)));
    if (r->arithmetic_rows) {
        propagate_put_logits(&w, "arithmetic_alone", &r->arithmetic, r->arithmetic_rows, r);
    }
    propagate_put_falls(&w, r);
    quant_smooth_report_json(&w, report->grids);
    quant_json_open(&w, "schemes", '[', QUANT_JSON_LINES);
    for (size_t i = 0; i < r->column_count; i++) {
        put_column(&w, report, &r->columns[i]);
    }
    quant_json_close(&w);
    quant_json_close(&w);
    return quant_json_finish(ctx, &w);
}
