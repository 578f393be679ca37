/* SPDX-License-Identifier: Apache-2.0 */
/* scheme.h - a scheme string and its parsed form.
 *
 * A scheme is one line of text that says everything about an encoding:
 *
 *     f16  bf16
 *     int8:tensor              one scale for the tensor
 *     int8:channel             one scale per channel: per index of axis 0, or of axis=
 *     int4:block=32            one scale per 32 consecutive weights of a channel (int2, 3, 4, 8)
 *     lut4:group=32            one table of 2^4 entries per 32 channels (lut1, 2, 3, 4, 6, 8)
 *     lut4:tensor              one table for the tensor
 *     lut4:group=32,lut=int8   entries are int8 codes times one scale per table
 *     lut4:group=32,pcs        channels are divided by their max|w| first
 *     lut8:tensor,dim=2        a code names a vector of 2 weights of a channel: 4 bits a weight
 *     w8a8                     weights int8:channel, activations 8 bit
 *     w4a8                     weights lut4:group=32,lut=int8, activations 8 bit
 *
 * followed by options, comma separated: axis=, stack=, asym, scale=, range=, store=, lut=, mode=,
 * dim=, pcs, and for the activations of w8a8 and w4a8 act=, obs=, smooth= (asym there is theirs).
 * `quant schemes` prints the grammar table that this parser reads. Parsing and printing are
 * inverse: quant_scheme_print gives the canonical text (defaults left out, fixed option order) and
 * parsing it gives the same structure. */
#ifndef QUANT_SCHEME_H
#define QUANT_SCHEME_H

#include <stdbool.h>
#include <stdint.h>

#include "quant/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum quant_family {
    QUANT_FAMILY_FLOAT,   /* f16, bf16 */
    QUANT_FAMILY_LINEAR,  /* integer codes times a scale */
    QUANT_FAMILY_CODEBOOK /* codes that name table entries */
} quant_family;

/* What shares one scale or one table. */
typedef enum quant_granularity {
    QUANT_PER_TENSOR,  /* all weights of a matrix */
    QUANT_PER_CHANNEL, /* one index of the axis */
    QUANT_PER_BLOCK,   /* `size` consecutive weights of a channel */
    QUANT_PER_GROUP    /* `size` consecutive channels */
} quant_granularity;

/* Integer range of a symmetric linear code (A = largest |w| that must be represented):
 * narrow: s = A/(2^(b-1)-1),   codes in +-(2^(b-1)-1)
 * half:   s = A/(2^(b-1)-1/2), codes in [-2^(b-1), 2^(b-1)-1]
 * full:   s = A/2^(b-1),       codes in [-2^(b-1), 2^(b-1)-1] */
typedef enum quant_range { QUANT_RANGE_NARROW, QUANT_RANGE_HALF, QUANT_RANGE_FULL } quant_range;

typedef enum quant_scale_rule {
    QUANT_SCALE_ABSMAX,    /* the largest |w| */
    QUANT_SCALE_MSE,       /* least squared error over 0.2 .. 1 of it, by search */
    QUANT_SCALE_PERCENTILE, /* an order statistic of |w| */
    QUANT_SCALE_ENTROPY    /* least Kullback-Leibler divergence over 2048 bins of |w| */
} quant_scale_rule;

/* Element type of stored scales and tables. */
typedef enum quant_store {
    QUANT_STORE_F32,
    QUANT_STORE_F16,
    QUANT_STORE_BF16,
    QUANT_STORE_I8 /* tables only: entries in -127..127 times one scale per table */
} quant_store;

/* How a codebook's table is found. */
typedef enum quant_codebook_mode {
    QUANT_MODE_KMEANS,  /* global optimum of 1-D k-means */
    QUANT_MODE_UNIFORM, /* 2^b equally spaced entries, from the smallest to the largest weight */
    QUANT_MODE_UNIQUE   /* the distinct values themselves; refused when there are more than 2^b */
} quant_codebook_mode;

/* Whether the inputs of a matrix product are quantized, and what shares a scale: a number fixed
 * beforehand for the tensor, or each token's own range (that row of inputs). */
typedef enum quant_activation_kind {
    QUANT_ACTIVATION_FLOAT, /* weights only */
    QUANT_ACTIVATION_TOKEN,
    QUANT_ACTIVATION_STATIC
} quant_activation_kind;

/* How a static range is chosen; quant/observer.h defines each. */
typedef enum quant_observer_rule {
    QUANT_OBSERVER_MINMAX,
    QUANT_OBSERVER_EMA,
    QUANT_OBSERVER_PERCENTILE,
    QUANT_OBSERVER_MSE,
    QUANT_OBSERVER_ENTROPY
} quant_observer_rule;

typedef struct quant_activation {
    quant_activation_kind kind;
    quant_observer_rule rule; /* MINMAX unless kind is STATIC */
    bool asymmetric;
    double percentile;        /* of |x|, (0, 100]; 100 unless rule is PERCENTILE */
    /* SmoothQuant (Xiao et al. 2023, eq. 4): channel j of the inputs is divided, column j of the
     * weights multiplied by max|x_j|^smooth / max|w_j|^(1 - smooth). In (0, 1]; 0: not at all. */
    double smooth;
} quant_activation;

#define QUANT_SMOOTH_SEARCH (-1.0) /* smooth that is chosen by the output error */

/* Filled by quant_scheme_parse; read only for callers. Fields that a family does not use hold
 * their defaults, so that two schemes are equal when their canonical texts are. */
typedef struct quant_scheme {
    quant_family family;
    int bits;                        /* of one code; 16 for f16 and bf16 */
    quant_granularity granularity;
    uint32_t size;                   /* block length or channels per group; 0 otherwise */
    int axis;                        /* channel axis of one matrix; negative: from the end */
    int stack;                       /* leading axes that index independent matrices, default 0 */
    bool asymmetric;
    quant_range range;
    quant_scale_rule rule;
    double percentile;               /* of |w|, (0, 100]; 100 unless rule is PERCENTILE */
    quant_store store;               /* scales; for f16 and bf16 the element type; F32 if none */
    quant_store table_store;         /* codebook entries */
    quant_codebook_mode mode;
    int dim;                         /* weights that share a code: 1, 2 or 4 */
    bool channel_scale;              /* pcs: each channel is divided by its scale first */
    quant_activation activation;     /* everything above is of the weights */
} quant_scheme;

#define QUANT_SCHEME_AXES 8  /* largest stack, and bound of |axis| */
#define QUANT_SCHEME_TEXT 192 /* bytes that hold any canonical text with its terminator */

/* Parse a whole string; QUANT_ESCHEME with a message that names the offending part and what is
 * accepted there. scheme is written only on success. */
quant_status quant_scheme_parse(quant_context *ctx, const char *text, quant_scheme *scheme);

/* Canonical text into text[QUANT_SCHEME_TEXT]; always terminated. */
void quant_scheme_print(const quant_scheme *scheme, char text[QUANT_SCHEME_TEXT]);

/* Read the table behind the grammar: row i as pattern ("int4:block=B"), meaning, and default
 * or accepted values; false when i is past the end. kind 0 lists schemes, 1 options. */
bool quant_scheme_grammar(int kind, int i, const char **pattern, const char **meaning,
                          const char **values);

/* A canonical scheme of grammar row i (kind 0), NULL past the end: what tests and help drive every
 * row with. */
const char *quant_scheme_example(int i);

/* The scheme of the weights alone: what encoding, files and weight figures go by. */
quant_scheme quant_scheme_weights(const quant_scheme *scheme);

/* Store scales (linear) or table entries (codebook) as f32: the answer to QUANT_ESCALE. False, and
 * nothing changed, when there is nothing to widen. */
bool quant_scheme_widen(quant_scheme *scheme);

/* Whether quant_encode_with can use importance: codebooks of mode=kmeans, and
 * linear schemes of scale=mse. */
bool quant_scheme_takes_importance(const quant_scheme *scheme);

/* The schemes that `quant compare` tries by default, separated by ';'. */
const char *quant_scheme_default_list(void);

#ifdef __cplusplus
}
#endif
#endif
