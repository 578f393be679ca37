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
 * Lloyd's iteration (Lloyd 1982) from such a product and from a k-means++ seeding (Arthur and
 * Vassilvitskii 2007, random numbers by counter, the same for every group) looks at 32768 vectors
 * at most, evenly spaced, at 128 for each entry; the better of the two goes on over all of them.
 *
 * The promise costs little where it is kept with room to spare. With r the components rounded to
 * bfloat16, few distinct values, the optimum for r is exact and cheap, and by the triangle
 * inequality no table of a component does better on x than
 *     (sqrt(optimum(r)) - sqrt(sum w (x - r)^2))^2.
 * A table whose error is not above the sum of these over the components is not worse than any
 * product of tables, as stored or not. Only else are the exact products made and compared. */
#ifndef QUANT_VECTOR_TABLE_H
#define QUANT_VECTOR_TABLE_H

#include "quant/codebook_table.h"

enum { QUANT_VECTOR_DIM = 4, QUANT_VECTOR_PARTS = QUANT_CODEBOOK_ENTRIES * QUANT_VECTOR_DIM };

/* ---- vectors --------------------------------------------------------------------------------- */

/* What the vectors of a cell lie between, and what their components count, component by component.
 * Vectors whose w are all 0 have w = 1 here. */
typedef struct quant_vector_box {
    float low[QUANT_VECTOR_DIM], high[QUANT_VECTOR_DIM];
    float light[QUANT_VECTOR_DIM], heavy[QUANT_VECTOR_DIM];
} quant_vector_box;

/* Vectors to be represented, cell by cell of a grid, `row` cells a row of it. */
typedef struct quant_vectors {
    size_t dim, n;
    const float *x;               /* [n][dim] */
    const float *w;               /* what each component counts, >= 0; NULL: 1 */
    size_t cells, row;
    const uint32_t *first;        /* [cells + 1]: the first vector of each */
    const quant_vector_box *box;  /* [cells], then of the rows; nothing is said of empty ones */
    bool bounded;                 /* no coordinate is beyond 2^62: squares do not overflow */
} quant_vectors;

/* A grid of side^dim cells, cut at edge[d][0 .. side - 2] in component d. */
enum { QUANT_VECTOR_SIDE = 64 };
typedef struct quant_vector_grid {
    size_t side;
    float edge[QUANT_VECTOR_DIM][QUANT_VECTOR_SIDE];
} quant_vector_grid;

/* Cells that pay for n vectors. */
size_t quant_vector_side(size_t n, size_t dim);
/* Cut component d of the grid where equal shares of the points lie between edges. */
void quant_vector_cut(const quant_points *p, size_t d, quant_vector_grid *grid);

/* Room for m vectors in order; scratch aside, of which nothing is read later. */
typedef struct quant_vector_place {
    float *x, *w;          /* [m][dim] */
    uint16_t *cell;        /* [m]; scratch */
    uint32_t *first;       /* [cells + 1] */
    quant_vector_box *box; /* [cells + rows] */
} quant_vector_place;

/* Every step-th of the vectors, by cells of the grid, in their order inside a cell. */
quant_vectors quant_vector_order(const quant_vectors *v, size_t step,
                                 const quant_vector_grid *grid, const quant_vector_place *to);

/* ---- tables ---------------------------------------------------------------------------------- */

/* Entries, as stored in lexicographic order. With lut=int8 entry = scale * code. */
typedef struct quant_vector_table {
    size_t dim, used;
    float scale;
    bool raised;
    double error; /* weighted squared error of the vectors that it was made for, as stored */
    float entry[QUANT_VECTOR_PARTS];
    int8_t code[QUANT_VECTOR_PARTS];
} quant_vector_table;

/* Sums over the vectors that an entry serves. */
typedef struct quant_vector_sums {
    double mass[QUANT_VECTOR_PARTS], sum[QUANT_VECTOR_PARTS];
    size_t count[QUANT_CODEBOOK_ENTRIES];
    double error;       /* of all vectors */
    double worst_error; /* the largest of one, */
    size_t worst;       /* and which that is */
} quant_vector_sums;

/* What a pass over n vectors adds up apart from each other: 1 or 16, whatever the threads. */
size_t quant_vector_parts(size_t n);

/* One pass: every vector to its nearest entry (qk_nearest); sums[quant_vector_parts(n)] is scratch
 * but for the first, which is of all. Returns the error. */
double quant_vector_pass(const quant_vectors *v, const quant_vector_table *t,
                         quant_vector_sums *sums, int threads);

/* Sort the entries, codes along. */
void quant_vector_sort(quant_vector_table *t);
/* Round entries to the storage type, with lut=int8 to codes times `scale`; sorted, repetitions
 * dropped. False when one overflows. */
bool quant_vector_store(const quant_scheme *s, quant_vector_table *t);
/* The scale of a table of int8 codes whose largest magnitude is 127 scale; false: overflow. */
bool quant_vector_set_scale(const quant_scheme *s, quant_vector_table *t, double magnitude);
/* The largest magnitude of a component of an entry. */
double quant_vector_magnitude(const quant_vector_table *t);

/* Lloyd's iteration until a turn gains less than 0.01 %, 25 turns at most, entries rounded to
 * floats; v has one part. Returns the last error that was seen. */
double quant_vector_lloyd(const quant_vectors *v, quant_vector_table *t, quant_vector_sums *sums);

/* At most k distinct vectors by k-means++; distance[n] and cells[2 v->cells] are scratch. */
void quant_vector_seed(const quant_vectors *v, size_t k, float *distance, double *cells,
                       quant_vector_table *t);

/* ---- products of scalar tables (vector_product.c) -------------------------------------------- */

/* Room for as many components as there are, and for k-means of them. */
typedef struct quant_vector_scratch {
    float *x, *w;
    double *value, *weight;
    void *work;
} quant_vector_scratch;

/* The product of the optimal tables of the rounded components, not rounded itself. Both grids, of
 * which the sides are set, are cut into equal shares. Returns a bound: no product of tables has a
 * smaller error. */
double quant_vector_rough_product(const quant_scheme *s, const quant_vectors *v,
                                  const quant_vector_scratch *z, quant_vector_grid grid[2],
                                  quant_vector_table *t);
/* The product of the components' optimal tables. */
void quant_vector_product(const quant_scheme *s, const quant_vectors *v,
                          const quant_vector_scratch *z, quant_vector_table *t);
/* The table of the scalar scheme of b/dim bits, as stored, for each component; dim divides b.
 * False when it overflows its storage type. */
bool quant_vector_square(const quant_scheme *s, const quant_vectors *v,
                         const quant_vector_scratch *z, quant_vector_table *t);

/* ---- fit ------------------------------------------------------------------------------------- */

/* Scratch of quant_vector_fit for any region of g, to be aligned to 64; 0 when it does not fit. */
size_t quant_vector_work_bytes(const quant_scheme *s, const quant_regions *g);

/* A region, x[] and importance[] (NULL: all 1) in channel order. */
typedef struct quant_vector_region {
    const quant_scheme *scheme;
    const quant_regions *regions;
    uint64_t r;
    const float *x, *importance;
    int threads; /* that may work on it */
} quant_vector_region;

/* Choose its table; the group tells the scales (pcs) and the unit of the error. Failures as
 * quant_codebook_fit; QUANT_ESCALE also when one of the products of the promise, where it has to be
 * made, overflows the storage type. */
quant_status quant_vector_fit(const quant_vector_region *q, void *work, quant_group *group,
                              quant_vector_table *t);

#endif
