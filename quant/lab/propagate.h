/* SPDX-License-Identifier: GPL-3.0-or-later */
/* propagate.h - what becomes of an error on its way through a model.
 *
 *     quant_propagate_result *r;
 *     quant_propagate(ctx, model, &tokens, &(quant_propagate_options){schemes, 2}, &r);
 *     quant_ledger_pooled(&r->columns[0].ledger, 3, QUANT_PLACE_STREAM)      after layer 2
 *     r->columns[0].logits.ratio                                             of perplexities
 *
 * The ledger. For a part of the network f with weights W, their decoded copy W', clean input x and
 * erroneous input x':
 *     carried  = f(W,x')  - f(W,x)                    what came in
 *     injected = f(W',x)  - f(W,x)                    what this part adds on clean input
 *     cross    = f(W',x') - f(W',x) - f(W,x') + f(W,x)
 *     E        = f(W',x') - f(W,x) = carried + injected + cross
 * Shares <term, E> / |E|^2 sum to 1 and may be negative: a term can undo what the others did. Raw
 * norms stand beside them. Nothing is assumed of f: the four values are run, not estimated.
 *
 * Experts. The router of a quantized model sends tokens elsewhere. How often is counted apart
 * (quant/lab/routing.h), and two more values are run in which every token meets the experts of
 * the clean run with their clean weights, routes frozen: frozen = f(W',x'') - f(W,x) with x'' the
 * stream of the quantized model whose routes are frozen in all layers, and frozen_injected the same
 * on clean input. What lies between them and E, and injected, is due to other routes. */
#ifndef QUANT_LAB_PROPAGATE_H
#define QUANT_LAB_PROPAGATE_H

#include "quant/bank/packed.h"
#include "quant/fidelity.h"
#include "quant/lab/cliff.h"
#include "quant/lab/compare.h"
#include "quant/lab/jacobian.h"
#include "quant/lab/recipe.h"
#include "quant/lab/routing.h"
#include "quant/lab/whiteness.h"
#include "quant/model/forward.h"

/* ---- terms ---------------------------------------------------------------------------------- */

/* Energies of n elements, added in double in the order of the elements. */
typedef struct quant_ledger_terms {
    uint64_t n;
    double clean2, error2;                       /* |f(W,x)|^2, |E|^2 */
    double carried2, injected2, cross2;
    double carried_dot, injected_dot, cross_dot; /* with E */
    double injected_clean;                       /* <injected, f(W,x)> */
    double frozen2, frozen_injected2;            /* 0 when the model has no experts */
} quant_ledger_terms;

/* The same n elements of the four values, and with experts of the two whose routes are frozen (NULL
 * both: nothing is added to frozen2 and frozen_injected2). */
typedef struct quant_ledger_values {
    const double *clean;    /* f(W, x)  */
    const double *both;     /* f(W',x') */
    const double *injected; /* f(W',x)  */
    const double *carried;  /* f(W, x') */
    const double *frozen;          /* f(W',x''), routes of the clean run */
    const double *frozen_injected; /* f(W',x), routes of the clean run */
} quant_ledger_values;

void quant_ledger_add(quant_ledger_terms *sum, const quant_ledger_values *v, size_t n);
void quant_ledger_pool(quant_ledger_terms *sum, const quant_ledger_terms *more);

/* |E| / |f(W,x)|: NaN when both are zero, infinite when only the latter is. */
double quant_ledger_error(const quant_ledger_terms *t);
/* |injected| / |f(W,x)|, the delta of the growth models. */
double quant_ledger_delta(const quant_ledger_terms *t);
/* Of f(W',x) and f(W,x), both on clean input: the output fidelity of this part alone. NaN when both
 * are zero, 0 when one is. */
double quant_ledger_output_cosine(const quant_ledger_terms *t);
/* Error and delta with the routes of the clean run. */
double quant_ledger_frozen_error(const quant_ledger_terms *t);
double quant_ledger_frozen_delta(const quant_ledger_terms *t);

/* NaN when E = 0. */
typedef struct quant_ledger_shares {
    double carried, injected, cross;
} quant_ledger_shares;
quant_ledger_shares quant_ledger_shares_of(const quant_ledger_terms *t);
/* Largest |sum of shares - 1| that rounding explains. */
double quant_ledger_shares_bound(const quant_ledger_terms *t);

/* ---- where ---------------------------------------------------------------------------------- */

/* Rows of a table: name and stage of the forward pass. Those inside a layer count from the layer's
 * input. */
typedef enum quant_place {
    QUANT_PLACE_Q,
    QUANT_PLACE_K,
    QUANT_PLACE_V,
    QUANT_PLACE_SCORES, /* q k^T / sqrt(head_dim) before the softmax, where not masked */
    QUANT_PLACE_O,
    QUANT_PLACE_GATE,
    QUANT_PLACE_UP,
    QUANT_PLACE_DOWN,
    QUANT_PLACE_ROUTER,      /* softmax over all experts */
    QUANT_PLACE_EXPERT_GATE, /* of every expert, 0 where a token did not choose it */
    QUANT_PLACE_EXPERT_UP,
    QUANT_PLACE_EXPERT_DOWN, /* before the expert's weight */
    QUANT_PLACE_EXPERTS,     /* weighted sum */
    QUANT_PLACE_STREAM, /* residual stream: after the embedding, after each layer */
    QUANT_PLACE_LOGITS,
    QUANT_PLACE_COUNT
} quant_place;

const char *quant_place_name(quant_place place);
quant_stage quant_place_stage(quant_place place); /* SCORES: QUANT_STAGE_COUNT, made of q and k */

/* Depth 0 is the embedding, depth l + 1 layer l, the last (layers + 1) the final norm and the
 * head. Terms with n = 0: there is no such place at that depth. */
typedef struct quant_ledger {
    uint64_t depths;
    size_t positions;
    quant_ledger_terms *terms; /* [depths][QUANT_PLACE_COUNT][positions], sequences pooled */
} quant_ledger;

const quant_ledger_terms *quant_ledger_at(const quant_ledger *l, uint64_t depth, quant_place place,
                                          size_t position);
/* All positions. */
quant_ledger_terms quant_ledger_pooled(const quant_ledger *l, uint64_t depth, quant_place place);
/* All positions of all layers of one kind: those that see a window (local), or everything. n = 0:
 * the model has no such layer. */
quant_ledger_terms quant_ledger_kind(const quant_ledger *l, const quant_model *model, bool local,
                                     quant_place place);

/* What the matrices of all layers put out (q, k, v, o, gate, up, down, and the experts' sum) when
 * their layer's input is clean: energies pooled, and the worst place of a layer. */
typedef struct quant_ledger_outputs {
    quant_ledger_terms pooled;
    double worst_cosine;      /* NaN: none has one */
    uint64_t worst_depth;
    quant_place worst_place;
} quant_ledger_outputs;
quant_ledger_outputs quant_ledger_outputs_of(const quant_ledger *l);

/* Arithmetic as a term of its own: with `clean` run in float and everything else rounded to the
 * compute type, error = (quantized - unquantized, rounded) + (unquantized, rounded - float). */
typedef struct quant_arithmetic_terms {
    uint64_t n;
    double clean2, error2;
    double quantization2, arithmetic2;
    double quantization_dot, arithmetic_dot; /* with the error */
} quant_arithmetic_terms;

/* ---- logits --------------------------------------------------------------------------------- */

/* One position of one sequence. KL(reference || copy) in nats; surprise is -log p of the token that
 * follows, 0 where none does. */
typedef struct quant_logits_row {
    double ref2, got2, dot, error2;
    double kl;
    double ref_surprise, got_surprise;
    bool predicts;        /* a token follows: the surprises count */
    bool same_top;        /* the largest logit is the same token (ties: the lower id) */
} quant_logits_row;

/* ref, got [vocab]; next < 0: none. Softmax and sums in double. */
quant_logits_row quant_logits_compare(const float *ref, const float *got, size_t vocab,
                                      int64_t next);

/* NaN when both are zero, 0 when one is. */
double quant_logits_cosine(const quant_logits_row *row);

/* Pair by pair; a pair that is zero on both sides has no cosine. The interval of the perplexity
 * ratio is a paired percentile bootstrap: whole sequences are drawn when there are at least
 * QUANT_LOGITS_SEQUENCES of them, else runs of QUANT_LOGITS_RUN positions, because neighbours are
 * not independent. */
enum { QUANT_LOGITS_SEQUENCES = 20, QUANT_LOGITS_RUN = 16, QUANT_LOGITS_RESAMPLES = 2000 };

typedef struct quant_logits_summary {
    size_t rows, live;             /* positions, and those with a cosine */
    double cosine_mean, cosine_least;
    size_t least_row;              /* sequence * positions + position */
    double relative_error;         /* pooled */
    double kl_mean, kl_99;         /* smallest value that 99 % of the rows do not exceed */
    double same_top;               /* share of rows */
    size_t predicted;              /* rows with a following token */
    double ref_perplexity, got_perplexity;
    double ratio, low, high;       /* got / ref, its 95 % interval; NaN below 2 units */
    size_t units;                  /* that were drawn from */
    bool by_sequence;
    bool distinguishable;          /* the interval is there and does not hold 1 */
} quant_logits_summary;

/* rows [n][s], as they come in sequences. */
quant_status quant_logits_summarize(quant_context *ctx, const quant_logits_row *rows, size_t n,
                                    size_t s, uint64_t seed, quant_logits_summary *summary);
/* "perplexity x 1.0021 (0.9990 .. 1.0052): not distinguishable from the reference" */
#define QUANT_LOGITS_VERDICT 160
void quant_logits_verdict(const quant_logits_summary *summary, char text[QUANT_LOGITS_VERDICT]);

/* ---- models of growth ----------------------------------------------------------------------- */

/* What the injected errors delta_k alone say of the stream's error after layer k, the embedding's
 * included. PRODUCT: prod(1 + delta_k) - 1, errors in line with one another and carried with the
 * gain of the signal. ROOT: sqrt(sum delta_k^2), independent directions. */
typedef enum quant_growth {
    QUANT_GROWTH_PRODUCT,
    QUANT_GROWTH_ROOT,
    QUANT_GROWTH_COUNT
} quant_growth;

const char *quant_growth_name(quant_growth model);
/* The model one layer further. */
double quant_growth_step(quant_growth model, double before, double delta);

/* Measured error over the model's, on the layers that no fit has seen; 1 is right. */
typedef struct quant_growth_score {
    double bias;  /* geometric mean */
    double rms;   /* exp of the root mean square logarithm; >= 1 */
    double worst; /* farthest from 1 */
} quant_growth_score;

/* log error = log scale + power * log model by least squares over the first half of the layers
 * (rounded up), from 3 layers on; judged on the rest. NaN: could not be said. */
typedef struct quant_growth_fit {
    size_t fitted, judged;        /* layers */
    quant_growth_score plain;     /* scale = power = 1 */
    double scale, power;
    double covariance[3];         /* of log scale; of both; of power */
    quant_growth_score after;
    double measured;              /* error after the last layer */
    double predicted, low, high;  /* by the fit, with the 95 % interval of one new value */
} quant_growth_fit;

quant_status quant_growth_judge(quant_context *ctx, const quant_ledger *l, quant_growth model,
                                quant_growth_fit *fit);

/* What the layers' Jacobians say, with x the clean stream before a layer and y after it, errors e
 * relative: by gains, e' = sqrt((gain |x| / |y| e)^2 + delta^2), errors without direction; by
 * norms, e' = norm |x| / |y| e + delta, errors that align. Small errors only; `norm` is a lower
 * bound of the Jacobian's norm, so that the latter is no upper bound. */
typedef struct quant_jacobian_growth {
    double by_gain, by_norm;
} quant_jacobian_growth;
/* At the stream of `depth`, from that of depth - 1 (0: before is not read); j[layers]. */
quant_jacobian_growth quant_jacobian_step(const quant_ledger *l, const quant_jacobian *j,
                                          uint64_t depth, quant_jacobian_growth before);

/* ---- one part at a time --------------------------------------------------------------------- */

typedef enum quant_isolate {
    QUANT_ISOLATE_NONE,
    QUANT_ISOLATE_LAYER,     /* embedding, each layer, head (with the embedding, where tied) */
    QUANT_ISOLATE_PROJECTION /* q of all layers, k of all layers, ... */
} quant_isolate;

#define QUANT_ISOLATE_TEXT 24
/* The logits when that part alone is quantized. */
typedef struct quant_isolate_row {
    char name[QUANT_ISOLATE_TEXT]; /* "embed", "0", ..., "head"; "q", "down", ...; "all" */
    int unit;                      /* order of the parts in the model; -1: all */
    uint64_t tensors, elements;    /* that are quantized */
    quant_logits_summary logits;
} quant_isolate_row;

/* ---- whiteness of the weights' error --------------------------------------------------------- */

/* Of all quantized tensors of a depth together; a bank's error that is not white meets inputs that
 * are not white either, and the models of independent errors do not hold. */
typedef struct quant_whiteness_row {
    uint64_t tensors;    /* that have an error */
    double p;            /* NaN: none has */
    double neighbour;    /* largest correlation of neighbours by magnitude, and whose */
    const char *tensor;  /* owned by the model's bank */
} quant_whiteness_row;

/* ---- the run -------------------------------------------------------------------------------- */

typedef struct quant_propagate_options {
    const quant_scheme *schemes;   /* used when recipe is NULL: a column each */
    size_t scheme_count;
    const quant_recipe *recipe;    /* one column, "recipe": each tensor by its rule */
    /* Tensors that are quantized, NULL: all. Those with one axis, and those that a scheme does not
     * fit, are kept in any case. It must not change its mind. */
    bool (*select)(void *user, const quant_tensor *t);
    void *user;
    quant_compute compute;
    uint64_t seed;                 /* of the bootstrap */
    quant_isolate isolate;
    bool whiteness;                /* test the weights' error */
    bool jacobians;                /* of every layer at the clean stream */
    quant_grid_fn *grid;           /* of static activations, see quant_forward_variant */
    quant_smooth_fn *smooth;
    void *grid_user;
    quant_progress_fn *progress;   /* NULL: none; done and total count layers of sequences */
    void *progress_user;
} quant_propagate_options;

/* The tensors that a column quantizes, against their decoded copies. */
typedef struct quant_propagate_weights {
    quant_fidelity pooled;    /* energies added */
    uint64_t bytes;           /* codes, scales, tables */
    double worst_cosine;      /* NaN: nothing is quantized */
    const char *worst;        /* its tensor, owned by the model's bank */
} quant_propagate_weights;

/* With quantized activations the injected error of a layer, f(W',x') - f(W,x) on clean input x, has
 * two sides and a cross term: weights f(W',x) - f(W,x), activations f(W,x') - f(W,x), where x' are
 * the inputs of the layer's matrices as they are quantized. */
typedef struct quant_propagate_column {
    quant_scheme scheme;           /* all zero for a recipe */
    char text[QUANT_SCHEME_TEXT];
    uint64_t quantized, kept;      /* tensors */
    quant_propagate_weights weights;
    quant_ledger ledger;
    quant_ledger_outputs outputs;
    quant_arithmetic_terms *arithmetic; /* [depths], at STREAM and, last, LOGITS; NULL with f32 */
    quant_output_parts *sides;     /* [depths] of the stream, n = 0 where there is no layer; NULL:
                                      the scheme leaves activations in float */
    quant_logits_row *rows;        /* [n][s]: unquantized against quantized, same arithmetic */
    quant_logits_summary logits;
    quant_routing routing;         /* without experts: all zero */
    quant_logits_row *frozen_rows; /* [n][s]: routes frozen; NULL without experts */
    quant_logits_summary frozen;
    quant_growth_fit growth[QUANT_GROWTH_COUNT];
    quant_whiteness_row *whiteness; /* [depths]; NULL when not asked */
    /* Parts in descending order of kl_mean, then all of them at once; NULL when not asked. */
    quant_isolate_row *isolated;
    size_t isolated_count, isolated_room;
} quant_propagate_column;

/* What falls off: cosine of the weights, pooled cosine of the outputs on clean input, mean cosine
 * of the logits, ratio of perplexities. The loss is 1 - cosine or log ratio. */
typedef enum quant_fall {
    QUANT_FALL_WEIGHTS,
    QUANT_FALL_OUTPUTS,
    QUANT_FALL_LOGITS,
    QUANT_FALL_PERPLEXITY,
    QUANT_FALL_COUNT
} quant_fall;
/* Limits: a cosine that people gate on, and a tenth more perplexity. */
#define QUANT_FALL_COSINE 0.97
#define QUANT_FALL_RATIO 1.1

typedef struct quant_propagate_result {
    size_t n, s;
    uint64_t depths;
    quant_compute compute;
    quant_jacobian *jacobians;          /* [layers]; NULL when not asked */
    quant_propagate_column *columns;    /* one per scheme */
    size_t column_count;
    quant_cliff cliffs[QUANT_FALL_COUNT]; /* indices are of columns */
    quant_logits_row *arithmetic_rows;  /* [n][s]: unquantized, f32 against compute; NULL: f32 */
    quant_logits_summary arithmetic;
} quant_propagate_result;

/* Four variants of the model (with experts six) side by side for each scheme, so many sequences at
 * a time that what is kept of a layer (or of the logits) stays near 256 MiB, at least one. Same
 * bytes for any number of threads. Free with quant_propagate_free. */
quant_status quant_propagate(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                             const quant_propagate_options *options,
                             quant_propagate_result **result);
/* Bits a weight of what the column quantizes; NaN when that is nothing. */
double quant_propagate_bits(const quant_propagate_column *column);
/* The figure that falls, not its loss. */
double quant_propagate_figure(const quant_propagate_column *column, quant_fall fall);
void quant_propagate_free(quant_context *ctx, quant_propagate_result *result);

#endif
