/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_routing.c - what became of the routes: a table and its JSON. */
#include "quant/internal.h"
#include "quant/report/propagate_parts.h"
#include "quant/report/text.h"

const char *propagate_kind_text(bool local)
{
    return local ? "sliding" : "global";
}

bool propagate_has_kinds(const quant_model *model)
{
    bool seen[2] = {false, false};
    for (uint64_t l = 0; l < quant_model_sizes_of(model)->layers; l++) {
        seen[quant_model_is_local(model, l)] = true;
    }
    return seen[0] && seen[1];
}

static void add_percent(quant_table *t, uint64_t some, uint64_t all)
{
    char text[QUANT_TEXT_NUMBER];
    snprintf(text, sizeof text, "%.2f %%", 100 * (double)some / (double)all);
    quant_table_add(t, text);
}

static void add_layer(quant_table *t, const quant_propagate_report *report,
                      const quant_propagate_column *c, uint64_t layer)
{
    quant_routing_terms x = quant_routing_pooled(&c->routing, layer);
    quant_routing_idle idle = quant_routing_idle_of(&c->routing, layer);
    quant_ledger_terms stream = quant_ledger_pooled(&c->ledger, layer + 1, QUANT_PLACE_STREAM);
    quant_ledger_terms experts = quant_ledger_pooled(&c->ledger, layer + 1, QUANT_PLACE_EXPERTS);
    char text[QUANT_TEXT_NUMBER];
    propagate_add_depth(t, layer + 1, c->ledger.depths);
    quant_table_add(t, propagate_kind_text(quant_model_is_local(report->model, layer)));
    add_percent(t, x.free, x.tokens);
    add_percent(t, x.injected, x.tokens);
    snprintf(text, sizeof text, "%zu", idle.clean);
    quant_table_add(t, text);
    snprintf(text, sizeof text, "%zu", idle.free);
    quant_table_add(t, text);
    snprintf(text, sizeof text, "%zu/%zu", idle.live, c->routing.experts);
    quant_table_add(t, text);
    propagate_add_real(t, quant_ledger_error(&stream));
    propagate_add_real(t, quant_ledger_frozen_error(&stream));
    propagate_add_real(t, quant_ledger_delta(&experts));
    propagate_add_real(t, quant_ledger_frozen_delta(&experts));
}

quant_status propagate_print_routing(quant_context *ctx, const quant_propagate_report *report,
                                     const quant_propagate_column *c, FILE *to)
{
    static const quant_column columns[] = {
        {"layer", true, 0}, {"attention", true, 0}, {"changed\nfree", false, 0},
        {"\nclean input", false, 0}, {"idle\nclean", false, 0}, {"\nquantized", false, 0},
        {"live\nexperts", false, 0}, {"stream\nfree", false, 0}, {"\nfrozen", false, 0},
        {"injected\nfree", false, 0}, {"\nfrozen", false, 0}};
    quant_routing_terms all = {0, 0, 0, 0};
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     (size_t)c->routing.layers);
    fputs("routes: tokens whose set of experts changes; experts without a token; relative errors "
          "of the\nstream, and of the experts' sum on clean input, with routes free and frozen\n",
          to);
    for (uint64_t l = 0; l < c->routing.layers; l++) {
        quant_routing_terms x = quant_routing_pooled(&c->routing, l);
        all.tokens += x.tokens;
        all.free += x.free;
        all.injected += x.injected;
        if (t) {
            add_layer(t, report, c, l);
        }
    }
    QUANT_TRY(propagate_print_table(t, to));
    fprintf(to, "routes of all layers: %.2f %% of the choices change, %.2f %% on clean input; "
            "KL %.3g, frozen %.3g\n", 100 * (double)all.free / (double)all.tokens,
            100 * (double)all.injected / (double)all.tokens, c->logits.kl_mean, c->frozen.kl_mean);
    return QUANT_OK;
}

static void put_expert(quant_json_writer *w, size_t e, const quant_expert_terms *t)
{
    quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
    quant_json_put(w, "expert", quant_value_count(e));
    quant_json_put(w, "clean_tokens", quant_value_count(t->clean_tokens));
    quant_json_put(w, "quantized_tokens", quant_value_count(t->free_tokens));
    quant_json_put(w, "both_tokens", quant_value_count(t->both_tokens));
    quant_json_put(w, "cosine", quant_value_real(quant_expert_cosine(t)));
    quant_json_put(w, "relative_error", quant_value_real(quant_expert_error(t)));
    quant_json_close(w);
}

static void put_layer(quant_json_writer *w, const quant_propagate_report *report,
                      const quant_propagate_column *c, uint64_t layer)
{
    const quant_routing *r = &c->routing;
    quant_routing_terms x = quant_routing_pooled(r, layer);
    quant_routing_idle idle = quant_routing_idle_of(r, layer);
    char text[QUANT_DEPTH_TEXT];
    quant_depth_text(layer + 1, c->ledger.depths, text);
    quant_json_open(w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(w, "layer", quant_value_text(text));
    quant_json_put(w, "attention", quant_value_text(propagate_kind_text(
                                       quant_model_is_local(report->model, layer))));
    quant_json_put(w, "tokens", quant_value_count(x.tokens));
    quant_json_put(w, "changed_free", quant_value_count(x.free));
    quant_json_put(w, "changed_injected", quant_value_count(x.injected));
    quant_json_put(w, "changed_carried", quant_value_count(x.carried));
    quant_json_put(w, "idle_clean", quant_value_count(idle.clean));
    quant_json_put(w, "idle_quantized", quant_value_count(idle.free));
    quant_json_put(w, "live", quant_value_count(idle.live));
    quant_json_open(w, "experts", '[', QUANT_JSON_LINES);
    for (size_t e = 0; e < r->experts; e++) {
        put_expert(w, e, &r->expert[layer * r->experts + e]);
    }
    quant_json_close(w);
    quant_json_close(w);
}

void propagate_put_routing(quant_json_writer *w, const quant_propagate_report *report,
                           const quant_propagate_column *c)
{
    quant_json_open(w, "routing", '{', QUANT_JSON_LINES);
    quant_json_put(w, "experts", quant_value_count(c->routing.experts));
    propagate_put_logits(w, "logits_frozen", &c->frozen, NULL, report->result);
    quant_json_open(w, "layers", '[', QUANT_JSON_LINES);
    for (uint64_t l = 0; l < c->routing.layers; l++) {
        put_layer(w, report, c, l);
    }
    quant_json_close(w);
    quant_json_close(w);
}
