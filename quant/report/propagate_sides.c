/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_sides.c - what each layer injects, by weights and by activations. */
#include <math.h>

#include "quant/internal.h"
#include "quant/report/propagate_parts.h"

static double norm(const quant_output_parts *p, double energy)
{
    return p->clean2 > 0 ? sqrt(energy / p->clean2) : (double)NAN;
}

quant_status propagate_print_sides(quant_context *ctx, const quant_propagate_column *c, FILE *to)
{
    static const quant_column columns[] = {
        {"layer", true, 0}, {"injected", false, 0}, {"share\nweights", false, 0},
        {"share\nactivations", false, 0}, {"share\ncross", false, 0}, {"norm\nweights", false, 0},
        {"norm\nactivations", false, 0}, {"norm\ncross", false, 0}};
    uint64_t depths = c->ledger.depths;
    quant_table *t = quant_table_new(ctx, columns, sizeof columns / sizeof *columns,
                                     (size_t)depths);
    fputs("what a layer injects on clean input x: by weights f(W^,x), by activations f(W,x^)\n",
          to);
    for (uint64_t d = 0; t && d < depths; d++) {
        const quant_output_parts *p = &c->sides[d];
        quant_output_shares s = quant_output_shares_of(p);
        if (p->n == 0) {
            continue;
        }
        propagate_add_depth(t, d, depths);
        propagate_add_real(t, norm(p, p->error2));
        propagate_add_share(t, s.weights);
        propagate_add_share(t, s.activations);
        propagate_add_share(t, s.cross);
        propagate_add_real(t, norm(p, p->weights2));
        propagate_add_real(t, norm(p, p->activations2));
        propagate_add_real(t, norm(p, p->cross2));
    }
    return propagate_print_table(t, to);
}

void propagate_put_sides(quant_json_writer *w, const quant_propagate_column *c)
{
    if (!c->sides) {
        return;
    }
    quant_json_open(w, "sides", '[', QUANT_JSON_LINES);
    for (uint64_t d = 0; d < c->ledger.depths; d++) {
        const quant_output_parts *p = &c->sides[d];
        quant_output_shares s = quant_output_shares_of(p);
        if (p->n == 0) {
            continue;
        }
        quant_json_open(w, NULL, '{', QUANT_JSON_INLINE);
        quant_json_put(w, "layer", quant_value_count(d - 1));
        quant_json_put(w, "injected_error", quant_value_real(norm(p, p->error2)));
        quant_json_put(w, "weights_error", quant_value_real(norm(p, p->weights2)));
        quant_json_put(w, "activations_error", quant_value_real(norm(p, p->activations2)));
        quant_json_put(w, "cross_error", quant_value_real(norm(p, p->cross2)));
        quant_json_put(w, "weights_share", quant_value_real(s.weights));
        quant_json_put(w, "activations_share", quant_value_real(s.activations));
        quant_json_put(w, "cross_share", quant_value_real(s.cross));
        quant_json_close(w);
    }
    quant_json_close(w);
}
