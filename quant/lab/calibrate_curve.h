/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_curve.h - is the calibration enough?
 *
 *     quant_adequacy *c;
 *     quant_adequacy_options o = {.schemes = s, .scheme_count = 2, .error = 0.05,
 *                                 .saturation = 1e-4};
 *     quant_adequacy_run(ctx, model, &tokens, &o, &c);
 *     quant_adequacy_verdict(c, 0, text, sizeof text);
 *
 * Static scales are fitted on the first 1, 2, 5, 8, ... sequences of three sources: real prompts,
 * as many sequences of random tokens, and Gaussian inputs with the RMS and the number of rows that
 * prompts have. Each scale is then used on prompts that were held out. At every input x of linear
 * layers, with W its matrices, W' their decoded copies and Q_k the grid of k sequences,
 *     error(k) = |W' Q_k(x) - W x| / |W x|
 * stands beside its limit: the error of the grid of the same observer once it has seen all prompts
 * and the held-out ones too. Where more prompts still changed something, that grid differs from
 * those before it. ratio = error(k) / limit comes with a 95 % percentile interval of a paired
 * bootstrap over the held-out sequences (over runs of 16 positions when there are fewer than 20).
 * It may well be below 1: the extremes of few prompts cut off outliers, which often pays.
 *
 * The first k prompts are one choice among many. With options.draws D > 1 the prompts are taken in
 * D orders, the one given and D - 1 drawn at random: k sequences of each, on the same held-out ones
 * and against the same limit, say how much is due to which prompts they were.
 *
 * The rule. An input is well served by k sequences when it was reached at all, the upper end of its
 * ratio's interval is at most 1 + options.error, and its held-out share of saturated values exceeds
 * that of the limit by at most options.saturation. k is enough when every measured input is well
 * served by it and by all larger k. A router is not quantized, and experts that no held-out
 * position chose are not measured. The head's input counts too, though the forward pass leaves it
 * in float.
 *
 * Layers need not tell how the model fares. With options.logits it is run, scheme and scales of
 * each point, over the held-out prompts: mean KL divergence of the logits from those of the
 * unquantized model, over the KL that the limit's scales give, with the same bootstrap. KL is
 * quadratic in small errors: k is enough for the logits when the upper end of that ratio's interval
 * is at most (1 + options.error)^2, and every expert is reached, for it and all larger k. (One that
 * is not has no static scale: the model goes by the ranges of its tokens, which flatters the KL of
 * such a point.) */
#ifndef QUANT_LAB_CALIBRATE_CURVE_H
#define QUANT_LAB_CALIBRATE_CURVE_H

#include "quant/bank/packed.h"
#include "quant/lab/stats.h"

typedef enum quant_source {
    QUANT_SOURCE_PROMPTS,
    QUANT_SOURCE_TOKENS, /* uniform over the vocabulary */
    QUANT_SOURCE_NORMAL, /* Gaussian inputs */
    QUANT_SOURCE_COUNT
} quant_source;

const char *quant_source_name(quant_source source); /* "prompts", "random tokens", ... */

enum {
    QUANT_ADEQUACY_COUNTS = 8, /* 1, 2, 5, 8, 16, 32, 64, and all */
    QUANT_ADEQUACY_SCHEMES = 8,
    QUANT_ADEQUACY_DRAWS = 16,
    QUANT_ADEQUACY_LANES = QUANT_SOURCE_COUNT + QUANT_ADEQUACY_DRAWS - 1,
    QUANT_ADEQUACY_MOMENTS = 1024 /* wider inputs get no spectrum: X^T X is kept of each */
};

typedef struct quant_adequacy_options {
    uint64_t first_sequence, sequences; /* to calibrate on; 0: all that are not held out */
    uint64_t first_held_out, held_out;  /* 0: the last fifth of the tokens, rounded up */
    const quant_scheme *schemes;        /* with static activations */
    size_t scheme_count;                /* 1 .. QUANT_ADEQUACY_SCHEMES */
    double error, saturation;           /* the rule's limits */
    uint64_t draws;                     /* orders of the prompts, 1 .. QUANT_ADEQUACY_DRAWS; 0: 1 */
    bool logits;                        /* run the model with the scales of every point */
    uint64_t seed;                      /* of random tokens, inputs, orders and the bootstrap */
    quant_progress_fn *progress;        /* NULL allowed */
    void *user;
} quant_adequacy_options;

/* One input with one grid. Shares are of the held-out values; NaN: nothing to measure. */
typedef struct quant_adequacy_cell {
    bool reached;               /* the source sent it a row */
    bool served;                /* by the rule */
    double scale;               /* over that of all prompts */
    double saturated, flipped;  /* values beyond the codes; other codes than by all prompts */
    double error, ratio, low, high;
} quant_adequacy_cell;

/* Eigenvalues of sum x x^T. effective_rank = exp(entropy of the eigenvalues as shares), Roy and
 * Vetterli 2007 ("The effective rank"), 1 .. cols. smallest is resolved when above cols u largest,
 * u = 2^-52; below that it may as well be 0 or negative. */
typedef struct quant_adequacy_spectrum {
    uint64_t rows;
    double effective_rank, smallest, largest; /* NaN: not computed */
    bool resolved;
} quant_adequacy_spectrum;

typedef struct quant_adequacy_input {
    quant_site site;
    uint64_t layer, expert;
    size_t cols;
    uint64_t elements; /* held out */
} quant_adequacy_input;

/* All inputs at one point. error is the root of the mean of squared relative errors, every input
 * weighing the same; ratio compares the same inputs on both sides. */
typedef struct quant_adequacy_point {
    double scale_median, scale_least, scale_greatest;
    double saturated, flipped;
    double error, ratio, low, high;
    size_t unserved;  /* of the measured inputs */
    size_t unreached; /* experts without a row */
} quant_adequacy_point;

/* The model with the scales of one point. kl: mean over positions, in nats; ratio: over the limit's
 * (1 where both are 0), with its interval; perplexity: over that of the unquantized model. NaN: no
 * interval, or no following token. */
typedef struct quant_adequacy_logits {
    double kl, ratio, low, high;
    double perplexity, perplexity_low, perplexity_high;
    double same_top;             /* share of positions with the same first choice */
    bool served;                 /* by the interval alone */
} quant_adequacy_logits;

/* Over the orders of the prompts at one count. Medians: over inputs, then over orders (the lower of
 * two in the middle). */
typedef struct quant_adequacy_spread {
    double scale_least, scale_median, scale_greatest; /* of the points' scale_median */
    double saturated_least, saturated_greatest;
    double ratio_least, ratio_median, ratio_greatest;
    size_t unserved_least, unserved_most;
    size_t enough;               /* orders in which every input is served and reached */
} quant_adequacy_spread;

typedef struct quant_adequacy_spectra {
    double rank;      /* mean of effective rank / cols */
    double smallest;  /* least of smallest / largest over those that are resolved */
    size_t singular;  /* inputs whose smallest eigenvalue is not resolved */
} quant_adequacy_spectra;

typedef struct quant_adequacy {
    quant_adequacy_options options; /* with what 0 stood for; schemes and user are not kept */
    char text[QUANT_ADEQUACY_SCHEMES][QUANT_SCHEME_TEXT];
    size_t count_n;
    uint64_t count[QUANT_ADEQUACY_COUNTS];
    size_t input_count;
    quant_adequacy_input *inputs;
    size_t lanes; /* sources, then further orders of the prompts */
    /* Of point p = lane * count_n + i: cells[scheme][point][input], spectra [point][input] (of the
     * sources only). */
    quant_adequacy_cell *cells;
    quant_adequacy_spectrum *spectra;
    quant_adequacy_point point[QUANT_ADEQUACY_SCHEMES]
                              [QUANT_ADEQUACY_LANES * QUANT_ADEQUACY_COUNTS];
    /* With options.logits, else zeros: of the sources, and of the limit. */
    quant_adequacy_logits logits[QUANT_ADEQUACY_SCHEMES]
                                [QUANT_SOURCE_COUNT * QUANT_ADEQUACY_COUNTS];
    quant_adequacy_logits logits_limit[QUANT_ADEQUACY_SCHEMES];
    size_t logits_enough[QUANT_ADEQUACY_SCHEMES]; /* as enough */
    quant_adequacy_spectra spectrum[QUANT_SOURCE_COUNT * QUANT_ADEQUACY_COUNTS];
    double limit[QUANT_ADEQUACY_SCHEMES];   /* error of the limit, pooled as error */
    double weights[QUANT_ADEQUACY_SCHEMES]; /* with activations left in float */
    size_t measured;                     /* inputs */
    size_t enough[QUANT_ADEQUACY_SCHEMES];  /* index of the first count that is; count_n: none */
    size_t units;                        /* drawn from by the bootstrap */
    bool by_sequence;
} quant_adequacy;

/* QUANT_ERANGE: no such sequences, or calibration and held-out ones overlap; QUANT_ESCHEME: a
 * scheme without static activations, or with smooth=; else as quant_calibrate. Held-out prompts are
 * run twice, prompts once for every order, random tokens once; with logits the held-out ones once
 * more for every scheme and point. Same bytes for any number of threads. */
quant_status quant_adequacy_run(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                             const quant_adequacy_options *options, quant_adequacy **curve);
void quant_adequacy_free(quant_context *ctx, quant_adequacy *curve); /* NULL allowed */

const quant_adequacy_cell *quant_adequacy_at(const quant_adequacy *c, size_t scheme,
                                             quant_source source, size_t count, size_t input);
/* Point of order `order` (0: as given) after count number `count`; orders at one count. */
const quant_adequacy_point *quant_adequacy_draw(const quant_adequacy *c, size_t scheme,
                                                size_t order, size_t count);
quant_adequacy_spread quant_adequacy_spread_of(const quant_adequacy *c, size_t scheme,
                                               size_t count);
/* "w8a8,act=static: enough from 16 of 64 sequences on: ..." or which inputs need more; then what
 * the logits say, and in how many orders of the prompts it holds, or when it takes all prompts (the
 * same ones in every order), the largest count below them. */
#define QUANT_ADEQUACY_VERDICT 2048
void quant_adequacy_verdict(const quant_adequacy *c, size_t scheme,
                            char text[QUANT_ADEQUACY_VERDICT]);

#endif
