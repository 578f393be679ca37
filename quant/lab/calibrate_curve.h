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
 * The rule. An input is well served by k sequences when it was reached at all, the upper end of its
 * ratio's interval is at most 1 + options.error, and its held-out share of saturated values exceeds
 * that of the limit by at most options.saturation. k is enough when every measured input is well
 * served by it and by all larger k. A router is not quantized, and experts that no held-out
 * position chose are not measured. */
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
    QUANT_ADEQUACY_MOMENTS = 1024 /* wider inputs get no spectrum: X^T X is kept of each */
};

typedef struct quant_adequacy_options {
    uint64_t first_sequence, sequences; /* to calibrate on; 0: all that are not held out */
    uint64_t first_held_out, held_out;  /* 0: the last fifth of the tokens, rounded up */
    const quant_scheme *schemes;        /* with static activations */
    size_t scheme_count;                /* 1 .. QUANT_ADEQUACY_SCHEMES */
    double error, saturation;           /* the rule's limits */
    uint64_t seed;                      /* of random tokens, inputs and the bootstrap */
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
    /* Of point p = source * count_n + i: cells[scheme][point][input], spectra [point][input]. */
    quant_adequacy_cell *cells;
    quant_adequacy_spectrum *spectra;
    quant_adequacy_point point[QUANT_ADEQUACY_SCHEMES][QUANT_SOURCE_COUNT * QUANT_ADEQUACY_COUNTS];
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
 * run twice, all others once. Same bytes for any number of threads. */
quant_status quant_adequacy_run(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                             const quant_adequacy_options *options, quant_adequacy **curve);
void quant_adequacy_free(quant_context *ctx, quant_adequacy *curve); /* NULL allowed */

const quant_adequacy_cell *quant_adequacy_at(const quant_adequacy *c, size_t scheme,
                                             quant_source source, size_t count, size_t input);
/* "w8a8,act=static: enough from 16 of 64 sequences on: ..." or which inputs need more. */
#define QUANT_ADEQUACY_VERDICT 1024
void quant_adequacy_verdict(const quant_adequacy *c, size_t scheme,
                            char text[QUANT_ADEQUACY_VERDICT]);

#endif
