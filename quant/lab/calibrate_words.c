/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_words.c - figures of the curve read off, and the verdict in words. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "quant/lab/calibrate_parts.h"
#include "quant/lab/propagate_parts.h"

enum { ROOM = QUANT_ADEQUACY_VERDICT };

const quant_adequacy_cell *quant_adequacy_at(const quant_adequacy *c, size_t scheme,
                                             quant_source source, size_t count, size_t input)
{
    size_t points = c->lanes * c->count_n, point = source * c->count_n + count;
    return &c->cells[(scheme * points + point) * c->input_count + input];
}

const quant_adequacy_point *quant_adequacy_draw(const quant_adequacy *c, size_t scheme,
                                                size_t order, size_t count)
{
    size_t lane = order == 0 ? QUANT_SOURCE_PROMPTS : QUANT_SOURCE_COUNT + order - 1;
    return &c->point[scheme][lane * c->count_n + count];
}

quant_adequacy_spread quant_adequacy_spread_of(const quant_adequacy *c, size_t scheme,
                                               size_t count)
{
    size_t draws = (size_t)c->options.draws;
    double scale[QUANT_ADEQUACY_DRAWS], ratio[QUANT_ADEQUACY_DRAWS];
    const quant_adequacy_point *p = quant_adequacy_draw(c, scheme, 0, count);
    quant_adequacy_spread s = {.saturated_least = p->saturated, .saturated_greatest = p->saturated,
                               .unserved_least = p->unserved, .unserved_most = p->unserved};
    for (size_t k = 0; k < draws; k++) {
        p = quant_adequacy_draw(c, scheme, k, count);
        scale[k] = p->scale_median;
        ratio[k] = p->ratio;
        s.saturated_least = fmin(s.saturated_least, p->saturated);
        s.saturated_greatest = fmax(s.saturated_greatest, p->saturated);
        s.unserved_least = p->unserved < s.unserved_least ? p->unserved : s.unserved_least;
        s.unserved_most = p->unserved > s.unserved_most ? p->unserved : s.unserved_most;
        s.enough += p->unserved == 0 && p->unreached == 0;
    }
    s.scale_median = lab_order_statistic(scale, draws, 0.5);
    s.ratio_median = lab_order_statistic(ratio, draws, 0.5);
    s.scale_least = scale[0]; /* sorted by now */
    s.scale_greatest = scale[draws - 1];
    s.ratio_least = ratio[0];
    s.ratio_greatest = ratio[draws - 1];
    return s;
}

static bool is_short(const quant_adequacy *c, const quant_adequacy_cell *cell, size_t input)
{
    return !cell->reached || (c->inputs[input].elements > 0 && !cell->served);
}

/* Upper end; infinite where there is none. */
static double shortness(const quant_adequacy_cell *cell)
{
    return cell->reached && !isnan(cell->high) ? cell->high : INFINITY;
}

/* The input that is short by most, farther than `below` but not it; input_count: none. */
static size_t next_short(const quant_adequacy *c, size_t scheme, size_t below)
{
    size_t best = c->input_count, last = c->count_n - 1;
    const quant_adequacy_cell *cells = quant_adequacy_at(c, scheme, QUANT_SOURCE_PROMPTS, last, 0);
    for (size_t i = 0; i < c->input_count; i++) {
        double high = shortness(&cells[i]);
        double limit = below == c->input_count ? INFINITY : shortness(&cells[below]);
        bool later = below == c->input_count || high < limit || (high == limit && i > below);
        double most = best == c->input_count ? -INFINITY : shortness(&cells[best]);
        best = is_short(c, &cells[i], i) && later && high > most ? i : best;
    }
    return best;
}

static void name_input(const quant_adequacy *c, size_t scheme, size_t i, char *text, size_t room)
{
    const quant_adequacy_input *in = &c->inputs[i];
    const quant_adequacy_cell *cell = quant_adequacy_at(c, scheme, QUANT_SOURCE_PROMPTS,
                                                        c->count_n - 1, i);
    char expert[32] = "", layer[32] = "head";
    if (quant_site_is_expert(in->site)) {
        snprintf(expert, sizeof expert, " of expert %" PRIu64, in->expert);
    }
    if (in->site != QUANT_SITE_FINAL) {
        snprintf(layer, sizeof layer, "layer %" PRIu64, in->layer);
    }
    if (!cell->reached) {
        snprintf(text, room, "%s %s%s never reached", layer, quant_site_name(in->site), expert);
    } else if (isnan(cell->high)) {
        snprintf(text, room, "%s %s%s x %.3f, no interval", layer, quant_site_name(in->site),
                 expert, cell->ratio);
    } else {
        snprintf(text, room, "%s %s%s x %.3f (%.3f .. %.3f)", layer, quant_site_name(in->site),
                 expert, cell->ratio, cell->low, cell->high);
    }
}

static int tell_short(const quant_adequacy *c, size_t scheme, char *text, int n)
{
    size_t i = next_short(c, scheme, c->input_count);
    for (int k = 0; k < 6 && i < c->input_count; k++) {
        char one[128];
        name_input(c, scheme, i, one, sizeof one);
        n += snprintf(text + n, (size_t)(ROOM - n), "%s%s", k > 0 ? "; " : "", one);
        i = next_short(c, scheme, i);
    }
    return i < c->input_count ? n + snprintf(text + n, (size_t)(ROOM - n), "; and others") : n;
}

/* What the layers say. */
static int tell_layers(const quant_adequacy *c, size_t scheme, char *text)
{
    uint64_t all = c->count[c->count_n - 1];
    const quant_adequacy_point *p = &c->point[scheme][c->count_n - 1];
    double percent = 100 * c->options.error;
    if (c->enough[scheme] < c->count_n) {
        return snprintf(text, ROOM, "%s: enough from %" PRIu64 " of %" PRIu64 " sequences "
                        "on: the output error of all %zu inputs is within %g %% of the limit "
                        "(95 %% interval), and no share of saturated values above the limit's by "
                        "more than %g", c->text[scheme], c->count[c->enough[scheme]], all,
                        c->measured, percent, c->options.saturation);
    }
    int n = snprintf(text, ROOM, "%s: not enough: %" PRIu64 " sequence%s %zu "
                     "of %zu inputs short (%g %%, %g) and %zu unreached: ", c->text[scheme], all,
                     all == 1 ? " leaves" : "s leave", p->unserved, c->measured, percent,
                     c->options.saturation, p->unreached);
    return tell_short(c, scheme, text, n);
}

/* "x 1.020 (1.010 .. 1.030)" */
static int tell_ratio(double ratio, double low, double high, int places, char *text, int n)
{
    n += snprintf(text + n, (size_t)(ROOM - n), "x %.*f", places, ratio);
    return n + (isnan(low) || isnan(high)
                    ? snprintf(text + n, (size_t)(ROOM - n), " (no interval)")
                    : snprintf(text + n, (size_t)(ROOM - n), " (%.*f .. %.*f)", places, low,
                               places, high));
}

/* What the logits say at count number i. */
static int tell_logits(const quant_adequacy *c, size_t scheme, size_t i, char *text, int n)
{
    const quant_adequacy_logits *l = &c->logits[scheme][i];
    double most = (1 + c->options.error) * (1 + c->options.error);
    size_t from = c->logits_enough[scheme], last = c->count_n - 1;
    n += snprintf(text + n, (size_t)(ROOM - n), ". Logits with %" PRIu64 ": KL ", c->count[i]);
    n = tell_ratio(l->ratio, l->low, l->high, 3, text, n);
    n += snprintf(text + n, (size_t)(ROOM - n), " of the limit's, ");
    if (!isnan(l->perplexity)) {
        n += snprintf(text + n, (size_t)(ROOM - n), "perplexity ");
        n = tell_ratio(l->perplexity, l->perplexity_low, l->perplexity_high, 4, text, n);
        n += snprintf(text + n, (size_t)(ROOM - n), " of the unquantized model's, ");
    }
    return n + snprintf(text + n, (size_t)(ROOM - n), "KL %s %" PRIu64 "%s (x %g)",
                        from <= last ? "enough from" : "not enough by",
                        c->count[from <= last ? from : last], from <= last ? " on" : "", most);
}

/* In how many orders of the prompts count number i leaves nothing to be desired. All prompts are
 * the same ones in every order: the count below is asked instead. */
static void tell_orders(const quant_adequacy *c, size_t scheme, size_t i, char *text, int n)
{
    size_t last = c->count_n - 1, at = i < last || last == 0 ? i : last - 1;
    bool one = c->count[at] == 1;
    if (last == 0) {
        snprintf(text + n, (size_t)(ROOM - n), ". One prompt has one order");
        return;
    }
    snprintf(text + n, (size_t)(ROOM - n), ". %" PRIu64 " sequence%s no input short in %zu of %"
             PRIu64 " orders of the prompts", c->count[at], one ? " leaves" : "s leave",
             quant_adequacy_spread_of(c, scheme, at).enough, c->options.draws);
}

void quant_adequacy_verdict(const quant_adequacy *c, size_t scheme,
                            char text[QUANT_ADEQUACY_VERDICT])
{
    size_t last = c->count_n - 1, i = c->enough[scheme] < last ? c->enough[scheme] : last;
    int n = tell_layers(c, scheme, text);
    if (c->options.logits) {
        n = tell_logits(c, scheme, i, text, n);
    }
    if (c->options.draws > 1) {
        tell_orders(c, scheme, i, text, n);
    }
}
