/* SPDX-License-Identifier: Apache-2.0 */
/* vector_table.h - codebooks of vectors (dim=2, dim=4); not installed.
 *
 * A vector is dim consecutive weights of a channel, its other axes flattened row-major; the last
 * one of a channel may be short, and what it lacks counts for nothing. One code names 2^b vectors,
 * so a weight costs b/dim bits.
 *
 * k-means in more than one dimension has no tractable optimum. What is promised is a start and a
 * direction: the table is never worse, as stored, than
 *   - the rounded product of the optimal scalar tables of its components, b/dim bits each (the
 *     first b mod dim components one more), and
 *   - the product of the stored table of the scalar scheme of b/dim bits with itself, when dim
 *     divides b: that scheme's own error.
 * Lloyd's iteration (Lloyd 1982) from the first and from a k-means++ seeding (Arthur and
 * Vassilvitskii 2007, random numbers by counter, the same for every group) may only improve on it;
 * it looks at 32768 vectors at most, evenly spaced, the comparison at all of them. */
#ifndef QUANT_VECTOR_TABLE_H
#define QUANT_VECTOR_TABLE_H

#include "quant/codebook_table.h"

enum { QUANT_VECTOR_DIM = 4, QUANT_VECTOR_PARTS = QUANT_CODEBOOK_ENTRIES * QUANT_VECTOR_DIM };

/* Vectors to be represented. */
typedef struct quant_vectors {
    size_t dim, n;
    const float *x; /* [n][dim] */
    const float *w; /* what each component counts, >= 0 */
} quant_vectors;

/* Entries, as stored in lexicographic order. With lut=int8 entry = (float)(scale * code). */
typedef struct quant_vector_table {
    size_t dim, used;
    float scale;
    bool raised;
    double error; /* weighted squared error of the vectors that it was made for, as stored */
    double entry[QUANT_VECTOR_PARTS];
    int8_t code[QUANT_VECTOR_PARTS];
    size_t lanes; /* prepared */
    float lane[QUANT_VECTOR_DIM][QUANT_CODEBOOK_ENTRIES];
} quant_vector_table;

/* Entries as the search wants them; after every change of the entries and before a search. */
void quant_vector_prepare(quant_vector_table *t);

/* The nearest entry: least sum of w (x - entry)^2 in double, the lowest index of several; as if w
 * were 1 when all of it is 0. *error is that sum. Float distances to all entries first, then exact
 * ones of those that they leave in doubt; entries that are no floats are taken as the floats next
 * to them in the first step. */
size_t quant_vector_nearest(const quant_vector_table *t, const float *x, const float *w,
                            double *error);

/* Sums over the vectors that an entry serves. */
typedef struct quant_vector_sums {
    double mass[QUANT_VECTOR_PARTS], sum[QUANT_VECTOR_PARTS];
    size_t count[QUANT_CODEBOOK_ENTRIES];
    size_t worst; /* the vector of largest error */
} quant_vector_sums;

/* One pass: the error, and the sums unless NULL. Prepares the table. */
double quant_vector_pass(const quant_vectors *v, quant_vector_table *t,
                         quant_vector_sums *sums);

/* Sort the entries, codes along. */
void quant_vector_sort(quant_vector_table *t);

/* Lloyd's iteration until a turn gains less than 0.01 %, 25 turns at most. */
void quant_vector_lloyd(const quant_vectors *v, quant_vector_table *t, quant_vector_sums *sums);

/* At most k distinct vectors by k-means++; distance[n] is scratch. */
void quant_vector_seed(const quant_vectors *v, size_t k, float *distance, quant_vector_table *t);

/* Scratch of quant_vector_fit for any region of g, to be aligned to 64; 0 when it does not fit. */
size_t quant_vector_work_bytes(const quant_scheme *s, const quant_regions *g);

/* Choose the table of region r, x[] and importance[] (NULL: all 1) in channel order; the group
 * tells the scales (pcs) and the unit of the error. Failures as quant_codebook_fit. */
quant_status quant_vector_fit(const quant_scheme *s, const quant_regions *g, uint64_t r,
                              const float *x, const float *importance, void *work,
                              quant_group *group, quant_vector_table *t);

#endif
