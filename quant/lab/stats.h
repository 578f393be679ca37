/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stats.h - what calibration recorded of every input of a linear layer.
 *
 *     quant_stats *stats;
 *     quant_stats_open(ctx, "stats.safetensors", &stats);
 *     quant_stats_match(ctx, stats, bank)                      same SHA-256, or refused
 *     quant_stats_of_tensor(ctx, stats, "model.layers.3.mlp.down_proj.weight", 0, &row)
 *     quant_observer_fit(ctx, row.observer, 0, &scheme.activation, &grid)     a static scale
 *
 * A matrix product y = W x has one input x; the places in a model where such inputs arise are the
 * rows of the table of sites. A row of statistics belongs to a site in a layer (to one expert of
 * it), and pools all rows x that came by: sequence after sequence, position after position.
 *
 * The file is safetensors, schema quant.stats/1 (README): arrays SITE.FIELD, all layers stacked.
 * It is untrusted: opening validates every number against every other that it must agree with. */
#ifndef QUANT_LAB_STATS_H
#define QUANT_LAB_STATS_H

#include "quant/bank/sha256.h"
#include "quant/model/forward.h"
#include "quant/observer.h"

#define QUANT_STATS_SCHEMA "quant.stats/1"

typedef enum quant_site {
    QUANT_SITE_ATTENTION_INPUT,   /* multiplied by q, k, v */
    QUANT_SITE_MIX,               /* by o */
    QUANT_SITE_FFN_INPUT,         /* by gate, up, router */
    QUANT_SITE_ACTIVATION,        /* by down */
    QUANT_SITE_EXPERT_INPUT,      /* by gate and up of one expert */
    QUANT_SITE_EXPERT_ACTIVATION, /* by its down */
    QUANT_SITE_FINAL,             /* by the head; layer 0 */
    QUANT_SITE_COUNT
} quant_site;

const char *quant_site_name(quant_site site);   /* "attention_input": as the stage of the pass */
const char *quant_site_feeds(quant_site site);  /* "q k v": for reports */
quant_stage quant_site_stage(quant_site site);
bool quant_site_of_stage(quant_stage stage, quant_site *site);
bool quant_site_is_expert(quant_site site);
/* Role i of the matrices that multiply the site's input; false past the end. */
bool quant_site_role(quant_site site, int i, quant_role *role);

/* ---- what a file says of itself -------------------------------------------------------------- */

typedef struct quant_stats_info {
    char model_sha256[QUANT_SHA256_TEXT];  /* of the files of the bank, as quant_bank_sha256 */
    char tokens_sha256[QUANT_SHA256_TEXT]; /* of all ids as little-endian 64-bit integers */
    const char *model;         /* architecture and sizes as one line */
    const char *scheme;        /* of the weights while tracing; "" for those stored */
    uint64_t first_sequence, sequences; /* asked for; positions likewise */
    uint64_t first_position, positions;
    uint64_t done;             /* sequences that are in; fewer than asked: interrupted */
    uint64_t vocab;
    uint64_t layers, experts;  /* experts 0: none */
    bool moments;              /* X^T X is there */
} quant_stats_info;

/* One input. Pointers are into the statistics, valid until they are closed. */
typedef struct quant_stats_row {
    quant_site site;
    uint64_t layer, expert;
    uint64_t rows;          /* x that came by; 0: an expert that was never reached */
    size_t cols;
    /* One histogram for the tensor, extremes of every channel; its batches are the sequences, as
     * numbered from the first that was asked for. */
    const quant_observer *observer;
    const double *sum, *square; /* [cols]: sums of x and x^2 in double, row after row */
    double fourth;              /* sum of x^4 over all elements */
} quant_stats_row;

typedef struct quant_stats quant_stats;

/* ---- reading -------------------------------------------------------------------------------- */

/* QUANT_EVERSION: not this schema; QUANT_EFIELD, QUANT_ETYPE, QUANT_ESHAPE, QUANT_ERANGE,
 * QUANT_ENONFINITE: name the array and what disagrees. Second moments stay in the file. */
quant_status quant_stats_open(quant_context *ctx, const char *path, quant_stats **stats);
void quant_stats_close(quant_context *ctx, quant_stats *stats); /* NULL allowed */

/* QUANT_ECHECKSUM unless the bank's files are those that were traced; QUANT_ESIZE when the
 * calibration was interrupted. Reads the whole bank. */
quant_status quant_stats_match(quant_context *ctx, const quant_stats *stats,
                               const quant_bank *bank);

const quant_stats_info *quant_stats_info_of(const quant_stats *stats);
/* How often each id was traced, [vocab]. */
const uint64_t *quant_stats_tokens(const quant_stats *stats);

/* False when there is no such row. expert is 0 where the site has none. */
bool quant_stats_at(const quant_stats *stats, quant_site site, uint64_t layer, uint64_t expert,
                    quant_stats_row *row);
/* Row i in the order of sites, layers, experts; false past the end. */
bool quant_stats_each(const quant_stats *stats, size_t i, quant_stats_row *row);
/* The input of a tensor, by its name in the bank (expert: which matrix of a stack, else 0).
 * QUANT_EFIELD: it multiplies no input that was recorded (an embedding, a norm). */
quant_status quant_stats_of_tensor(quant_context *ctx, const quant_stats *stats, const char *name,
                                   uint64_t expert, quant_stats_row *row);
/* sum of x x^T over the rows: out[cols][cols], symmetric to the last bit. QUANT_EFIELD: not
 * recorded; else as opening. */
quant_status quant_stats_moments(quant_context *ctx, const quant_stats *stats,
                                 const quant_stats_row *row, double *out);

/* ---- figures -------------------------------------------------------------------------------- */

/* Largest |x|; 0 without rows. */
float quant_stats_absmax(const quant_stats_row *row);
/* sqrt of the mean of x^2 over all elements; NaN without rows. */
double quant_stats_rms(const quant_stats_row *row);
/* n sum x^4 / (sum x^2)^2: the kurtosis about zero, 3 for Gaussian inputs; NaN when all are 0. */
double quant_stats_kurtosis(const quant_stats_row *row);
/* The channel with the largest |x| (ties: the lower), and its |x| over the median of the channels'
 * (the lower of two in the middle); infinite when that is 0. */
size_t quant_stats_worst_channel(const quant_stats_row *row, double *over_median);

#endif
