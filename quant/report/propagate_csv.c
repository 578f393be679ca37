/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_csv.c - the ledger's fields, and CSV of propagate. */
#include <math.h>
#include <stdio.h>

#include "quant/internal.h"
#include "quant/report/csv.h"
#include "quant/report/propagate_parts.h"

#define FIELD(name, value) \
    static double name(const quant_ledger_terms *t) \
    { \
        return value; \
    }
FIELD(share_carried, quant_ledger_shares_of(t).carried)
FIELD(share_injected, quant_ledger_shares_of(t).injected)
FIELD(share_cross, quant_ledger_shares_of(t).cross)
FIELD(norm_clean, sqrt(t->clean2))
FIELD(norm_error, sqrt(t->error2))
FIELD(norm_carried, sqrt(t->carried2))
FIELD(norm_injected, sqrt(t->injected2))
FIELD(norm_cross, sqrt(t->cross2))

const propagate_field propagate_fields[PROPAGATE_FIELDS] = {
    {"relative_error", quant_ledger_error, false},
    {"delta", quant_ledger_delta, false},
    {"share_carried", share_carried, false},
    {"share_injected", share_injected, false},
    {"share_cross", share_cross, false},
    {"norm_clean", norm_clean, false},
    {"norm_error", norm_error, false},
    {"norm_carried", norm_carried, false},
    {"norm_injected", norm_injected, false},
    {"norm_cross", norm_cross, false},
    {"injected_cosine", quant_ledger_output_cosine, false},
    {"relative_error_frozen", quant_ledger_frozen_error, true},
    {"delta_frozen", quant_ledger_frozen_delta, true},
};

/* Shares of tokens, in the lines of the router. */
static void put_changed(quant_csv_writer *w, const quant_propagate_column *c, uint64_t depth,
                        quant_place place, const size_t *position)
{
    double nan = (double)NAN, share[3] = {nan, nan, nan};
    const quant_routing *r = &c->routing;
    if (place == QUANT_PLACE_ROUTER) {
        quant_routing_terms t = position ? r->terms[(depth - 1) * r->positions + *position]
                                         : quant_routing_pooled(r, depth - 1);
        const uint64_t changed[] = {t.free, t.injected, t.carried};
        for (int i = 0; i < 3; i++) {
            share[i] = (double)changed[i] / (double)t.tokens;
        }
    }
    for (int i = 0; i < 3; i++) {
        quant_csv_put(w, quant_value_real(share[i]));
    }
}

static void put_row(quant_csv_writer *w, const quant_propagate_column *c, uint64_t depth,
                    quant_place place, const size_t *position)
{
    char layer[QUANT_DEPTH_TEXT];
    quant_ledger_terms t = position ? *quant_ledger_at(&c->ledger, depth, place, *position)
                                    : quant_ledger_pooled(&c->ledger, depth, place);
    quant_depth_text(depth, c->ledger.depths, layer);
    quant_csv_put(w, quant_value_text(c->text));
    quant_csv_put(w, quant_value_text(layer));
    quant_csv_put(w, quant_value_text(quant_place_name(place)));
    quant_csv_put(w, position ? quant_value_count(*position) : quant_value_text("all"));
    for (size_t f = 0; f < PROPAGATE_FIELDS; f++) {
        bool told = !propagate_fields[f].experts || c->routing.experts > 0;
        quant_csv_put(w, quant_value_real(told ? propagate_fields[f].of(&t) : (double)NAN));
    }
    put_changed(w, c, depth, place, position);
    quant_csv_end_row(w);
}

static void put_rows(quant_csv_writer *w, const quant_propagate_column *c)
{
    for (uint64_t d = 0; d < c->ledger.depths; d++) {
        for (int p = 0; p < QUANT_PLACE_COUNT; p++) {
            if (quant_ledger_at(&c->ledger, d, (quant_place)p, 0)->n == 0) {
                continue;
            }
            put_row(w, c, d, (quant_place)p, NULL);
            for (size_t j = 0; j < c->ledger.positions; j++) {
                put_row(w, c, d, (quant_place)p, &j);
            }
        }
    }
}

quant_status quant_propagate_report_csv(quant_context *ctx, const quant_propagate_report *report,
                                        FILE *to)
{
    static const char *const keys[] = {"scheme", "layer", "place", "position"};
    static const char *const changed[] = {"changed_free", "changed_injected", "changed_carried"};
    quant_csv_writer w = {to, false};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        quant_csv_put(&w, quant_value_text(keys[i]));
    }
    for (size_t f = 0; f < PROPAGATE_FIELDS; f++) {
        quant_csv_put(&w, quant_value_text(propagate_fields[f].key));
    }
    for (size_t i = 0; i < 3; i++) {
        quant_csv_put(&w, quant_value_text(changed[i]));
    }
    quant_csv_end_row(&w);
    for (size_t i = 0; i < report->result->column_count; i++) {
        put_rows(&w, &report->result->columns[i]);
    }
    return ferror(to) ? quant_fail(ctx, QUANT_EIO, "CSV: writing failed") : QUANT_OK;
}
