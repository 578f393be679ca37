/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ledger.c - the terms of an error and their shares. */
#include <float.h>
#include <math.h>

#include "quant/lab/propagate_parts.h"

void quant_ledger_add(quant_ledger_terms *sum, const quant_ledger_values *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        lab_ledger_put(sum, v->clean[i], v->both[i], v->injected[i], v->carried[i]);
        if (v->frozen && v->frozen_injected) {
            lab_ledger_put_frozen(sum, v->clean[i], v->frozen[i], v->frozen_injected[i]);
        }
    }
}

void quant_ledger_pool(quant_ledger_terms *sum, const quant_ledger_terms *more)
{
    sum->n += more->n;
    sum->clean2 += more->clean2;
    sum->error2 += more->error2;
    sum->carried2 += more->carried2;
    sum->injected2 += more->injected2;
    sum->cross2 += more->cross2;
    sum->carried_dot += more->carried_dot;
    sum->injected_dot += more->injected_dot;
    sum->cross_dot += more->cross_dot;
    sum->injected_clean += more->injected_clean;
    sum->frozen2 += more->frozen2;
    sum->frozen_injected2 += more->frozen_injected2;
}

double lab_norm_ratio(double energy, double clean2)
{
    return energy == 0 && clean2 == 0 ? (double)NAN : sqrt(energy / clean2);
}

double quant_ledger_error(const quant_ledger_terms *t)
{
    return lab_norm_ratio(t->error2, t->clean2);
}

double quant_ledger_delta(const quant_ledger_terms *t)
{
    return lab_norm_ratio(t->injected2, t->clean2);
}

double quant_ledger_output_cosine(const quant_ledger_terms *t)
{
    double got2 = t->clean2 + 2 * t->injected_clean + t->injected2;
    if (t->clean2 == 0 || !(got2 > 0)) {
        return t->clean2 == 0 && t->injected2 == 0 ? (double)NAN : 0;
    }
    double c = (t->clean2 + t->injected_clean) / sqrt(t->clean2 * got2);
    return c > 1 ? 1 : c;
}

static bool is_output(int place)
{
    return place <= QUANT_PLACE_DOWN ? place != QUANT_PLACE_SCORES : place == QUANT_PLACE_EXPERTS;
}

quant_ledger_outputs quant_ledger_outputs_of(const quant_ledger *l)
{
    quant_ledger_outputs out = {{.n = 0}, .worst_cosine = (double)NAN};
    for (uint64_t d = 1; d + 1 < l->depths; d++) {
        for (int p = 0; p < QUANT_PLACE_STREAM; p++) {
            quant_ledger_terms t = quant_ledger_pooled(l, d, (quant_place)p);
            double cosine = quant_ledger_output_cosine(&t);
            if (!is_output(p) || t.n == 0 || isnan(cosine)) {
                continue;
            }
            quant_ledger_pool(&out.pooled, &t);
            if (!(cosine >= out.worst_cosine)) {
                out.worst_cosine = cosine;
                out.worst_depth = d;
                out.worst_place = (quant_place)p;
            }
        }
    }
    return out;
}

double quant_ledger_frozen_error(const quant_ledger_terms *t)
{
    return lab_norm_ratio(t->frozen2, t->clean2);
}

double quant_ledger_frozen_delta(const quant_ledger_terms *t)
{
    return lab_norm_ratio(t->frozen_injected2, t->clean2);
}

quant_ledger_shares quant_ledger_shares_of(const quant_ledger_terms *t)
{
    if (t->error2 == 0) {
        return (quant_ledger_shares){(double)NAN, (double)NAN, (double)NAN};
    }
    return (quant_ledger_shares){t->carried_dot / t->error2, t->injected_dot / t->error2,
                                 t->cross_dot / t->error2};
}

/* u = 2^-53. An element's terms are differences of at most four values and each loses at most 3 u
 * of what it is made of, so that carried + injected + cross differs from E by at most
 * 8 u (|c| + |i| + |x| + |E|): cross is (E - i) - c with intermediate |E| + |i|. A product and
 * n + 1 additions (pooling included) lose (n + 2) u of sum |term| |E|, which Cauchy and Schwarz
 * bound by |term| |E| in norms. Four such sums and one division: (n + 12) u S / |E|, S the sum of
 * the four norms, doubled for the orders above u. */
double quant_ledger_shares_bound(const quant_ledger_terms *t)
{
    double norms = sqrt(t->carried2) + sqrt(t->injected2) + sqrt(t->cross2) + sqrt(t->error2);
    return t->error2 == 0 ? 0 : ((double)t->n + 12) * DBL_EPSILON * norms / sqrt(t->error2);
}

static const struct {
    const char *name;
    quant_stage stage;
} places[QUANT_PLACE_COUNT] = {
    [QUANT_PLACE_Q] = {"q", QUANT_STAGE_Q},
    [QUANT_PLACE_K] = {"k", QUANT_STAGE_K},
    [QUANT_PLACE_V] = {"v", QUANT_STAGE_V},
    [QUANT_PLACE_SCORES] = {"scores", QUANT_STAGE_COUNT},
    [QUANT_PLACE_O] = {"o", QUANT_STAGE_O},
    [QUANT_PLACE_GATE] = {"gate", QUANT_STAGE_GATE},
    [QUANT_PLACE_UP] = {"up", QUANT_STAGE_UP},
    [QUANT_PLACE_DOWN] = {"down", QUANT_STAGE_DOWN},
    [QUANT_PLACE_ROUTER] = {"router", QUANT_STAGE_ROUTER},
    [QUANT_PLACE_EXPERT_GATE] = {"expert_gate", QUANT_STAGE_EXPERT_GATE},
    [QUANT_PLACE_EXPERT_UP] = {"expert_up", QUANT_STAGE_EXPERT_UP},
    [QUANT_PLACE_EXPERT_DOWN] = {"expert_down", QUANT_STAGE_EXPERT_DOWN},
    [QUANT_PLACE_EXPERTS] = {"experts", QUANT_STAGE_EXPERTS},
    [QUANT_PLACE_STREAM] = {"stream", QUANT_STAGE_RESIDUAL},
    [QUANT_PLACE_LOGITS] = {"logits", QUANT_STAGE_LOGITS},
};

const char *quant_place_name(quant_place place)
{
    return (unsigned)place < QUANT_PLACE_COUNT ? places[place].name : "?";
}

quant_stage quant_place_stage(quant_place place)
{
    return (unsigned)place < QUANT_PLACE_COUNT ? places[place].stage : QUANT_STAGE_COUNT;
}

const quant_ledger_terms *quant_ledger_at(const quant_ledger *l, uint64_t depth, quant_place place,
                                          size_t position)
{
    return lab_ledger_row(l, depth, place) + position;
}

quant_ledger_terms quant_ledger_pooled(const quant_ledger *l, uint64_t depth, quant_place place)
{
    quant_ledger_terms sum = {.n = 0};
    for (size_t j = 0; j < l->positions; j++) {
        quant_ledger_pool(&sum, quant_ledger_at(l, depth, place, j));
    }
    return sum;
}

quant_ledger_terms quant_ledger_kind(const quant_ledger *l, const quant_model *model, bool local,
                                     quant_place place)
{
    quant_ledger_terms sum = {.n = 0};
    for (uint64_t d = 1; d + 1 < l->depths; d++) {
        if (quant_model_is_local(model, d - 1) == local) {
            quant_ledger_terms t = quant_ledger_pooled(l, d, place);
            quant_ledger_pool(&sum, &t);
        }
    }
    return sum;
}
