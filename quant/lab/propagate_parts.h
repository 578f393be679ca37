/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate_parts.h - what the files of propagate share; not installed. */
#ifndef QUANT_LAB_PROPAGATE_PARTS_H
#define QUANT_LAB_PROPAGATE_PARTS_H

#include "quant/lab/propagate.h"

/* Variants of one run; those with the same weights stand side by side, and the carried value is
 * the last: number LAB_PLAIN - 1, or with experts LAB_MOST - 1. */
enum { LAB_CLEAN, LAB_BOTH, LAB_INJECTED, LAB_FROZEN, LAB_FROZEN_INJECTED };
enum { LAB_PLAIN = 4, LAB_MOST = 6 };

static inline void lab_ledger_put(quant_ledger_terms *t, double clean, double both, double injected,
                                  double carried)
{
    double c = carried - clean, i = injected - clean, e = both - clean;
    double x = (both - injected) - c;
    t->n++;
    t->clean2 += clean * clean;
    t->error2 += e * e;
    t->carried2 += c * c;
    t->injected2 += i * i;
    t->cross2 += x * x;
    t->carried_dot += c * e;
    t->injected_dot += i * e;
    t->cross_dot += x * e;
    t->injected_clean += i * clean;
}

static inline void lab_ledger_put_frozen(quant_ledger_terms *t, double clean, double frozen,
                                         double injected)
{
    t->frozen2 += (frozen - clean) * (frozen - clean);
    t->frozen_injected2 += (injected - clean) * (injected - clean);
}

/* sqrt(energy / clean2); NaN when both are zero. */
double lab_norm_ratio(double energy, double clean2);

static inline quant_ledger_terms *lab_ledger_row(const quant_ledger *l, uint64_t depth,
                                                 quant_place place)
{
    return l->terms + (depth * QUANT_PLACE_COUNT + place) * l->positions;
}

/* Work is counted in layers that a sequence goes through in one variant. */
typedef struct lab_progress {
    quant_progress_fn *step; /* NULL: nobody listens */
    void *user;
    uint64_t done, total;
} lab_progress;
/* `work` more of `what`, "int8:channel"; layer < 0: none to be named. p NULL: nothing. */
void lab_progress_add(lab_progress *p, const char *what, int64_t layer, uint64_t work);

/* What a run shows of one layer, and where it goes. Buffers are [values][n * s][cols]. */
typedef struct lab_recorder {
    quant_context *ctx;
    const quant_model *model;
    size_t n, s;                    /* of this batch */
    size_t values;                  /* variants: LAB_PLAIN, or with experts LAB_MOST */
    size_t cols[QUANT_PLACE_COUNT]; /* 0: there is no such place */
    float *at[QUANT_PLACE_COUNT];
    float *routes;                  /* weights of the experts; cols of ROUTER */
    float *plain;                   /* [depths][n * s][cols of STREAM] of the f32 run; NULL: none */
    float *plain_logits;
    bool keep_plain;                /* this is that run: fill them */
    const quant_ledger *ledger;
    const quant_routing *routing;   /* with experts only */
    lab_progress *progress;
    const char *what;               /* the column's name */
    quant_arithmetic_terms *arithmetic; /* [depths]; NULL: none */
} lab_recorder;

/* Floats that one sequence of s needs in buffers and, when plain, of the f32 run; false when they
 * are more than can be addressed. */
bool lab_recorder_floats(const quant_model *model, size_t s, bool plain, uint64_t *floats);
quant_status lab_recorder_begin(lab_recorder *r, bool plain);
void lab_recorder_end(lab_recorder *r, bool plain);
uint32_t lab_recorder_stages(const lab_recorder *r);
/* A quant_stage_visitor; when the last piece of the last variant of a depth is in, its terms are
 * added to the ledger. */
quant_status lab_recorder_visit(void *user, const quant_stage_view *view);

/* Add what is recorded of a layer with experts. */
void lab_routing_account(const lab_recorder *r, uint64_t layer);

/* What a variant asks for its schemes: user of lab_pick_scheme. */
typedef struct lab_pick {
    const quant_scheme *scheme;
    const quant_recipe *recipe; /* not NULL: each tensor by its rule, scheme is not read */
    bool (*select)(void *user, const quant_tensor *t); /* NULL: all */
    void *user;
    quant_grid_fn *grid;        /* of static activations */
    quant_smooth_fn *smooth;
    void *grid_user;
} lab_pick;
/* The scheme, when the tensor is selected, has values to encode and fits. */
const quant_scheme *lab_pick_scheme(void *user, const quant_tensor *t);
/* What the columns of a role's weights in a layer are multiplied by under a scheme; NULL: by 1. */
static inline const float *lab_pick_factors(const lab_pick *p, quant_role role, uint64_t layer,
                                            const quant_scheme *scheme)
{
    return p->smooth && scheme->activation.smooth != 0
               ? p->smooth(p->grid_user, role, layer, scheme)
               : NULL;
}
/* copy[elements]: w of a tensor that is picked, its columns multiplied by factors (NULL: as they
 * are), encoded (with store=f32 where scales overflow), decoded and divided by the factors; *bytes:
 * of its codes, scales and tables. */
quant_status lab_pick_copy(quant_context *ctx, const lab_pick *pick, const quant_tensor *t,
                           const float *w, const float *factors, float *copy, uint64_t *bytes);
/* All tensors that the column quantizes; names are the bank's. */
quant_status lab_column_weights(quant_context *ctx, quant_model *model, const lab_pick *pick,
                                quant_propagate_weights *out);

/* Whether a scheme that is picked quantizes activations. */
bool lab_has_activations(const lab_pick *pick, const quant_bank *bank);

typedef struct lab_sides {
    quant_context *ctx;
    quant_model *model;
    const quant_tokens *tokens;
    lab_pick *pick;
    quant_compute compute;
    lab_progress *progress;
    const char *what;
    quant_output_parts *parts; /* [depths]; added to those of layers */
} lab_sides;
/* Four values of every layer on clean input. */
quant_status lab_sides_run(const lab_sides *in);
enum { LAB_SIDES_WORK = 4 };

typedef struct lab_isolate {
    quant_context *ctx;
    quant_model *model;
    const quant_tokens *tokens;
    lab_pick pick;
    quant_isolate mode;
    quant_compute compute;
    uint64_t seed;
    lab_progress *progress;
} lab_isolate;
/* Work that lab_isolate_run does at most. */
uint64_t lab_isolate_work(const quant_model *model, quant_isolate mode, size_t sequences);
/* *rows has room for *room and is the caller's to release, after a failure too. */
quant_status lab_isolate_run(const lab_isolate *in, quant_isolate_row **rows, size_t *count,
                             size_t *room);

/* out[layers], at the streams of at most four sequences. */
quant_status lab_jacobian_layers(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                                 uint64_t seed, lab_progress *progress, quant_jacobian *out);
/* Work of one layer: (probes + steps) products of two runs, for at most four sequences. */
enum { LAB_JACOBIAN_WORK = 4 * 2 * (QUANT_JACOBIAN_PROBES + QUANT_JACOBIAN_STEPS) };

/* rows[layers + 2] */
quant_status lab_whiteness_layers(quant_context *ctx, const quant_model *model,
                                  const lab_pick *pick, uint64_t seed, quant_whiteness_row *rows);

/* The cliffs of a result with its columns; none where a column quantizes nothing. */
quant_status lab_find_cliffs(quant_context *ctx, quant_propagate_result *result);

/* Smallest of x[n] that a share of them does not exceed; x is sorted. NaN when there is one among
 * them: it has no place in an order. */
double lab_order_statistic(double *x, size_t n, double share);

/* rows[n][s] of two sets of logits over the same tokens. */
void lab_logits_rows(quant_context *ctx, const float *ref, const float *got,
                     const quant_tokens *tokens, size_t vocab, quant_logits_row *rows);

#endif
