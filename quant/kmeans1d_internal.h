/* SPDX-License-Identifier: Apache-2.0 */
/* kmeans1d_internal.h - the inner tier of kmeans1d.h: no allocation, no failure, re-entrant.
 * For loops over many groups: one work block a thread, allocated before the parallel region. */
#ifndef QUANT_KMEANS1D_INTERNAL_H
#define QUANT_KMEANS1D_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "quant/dd.h"
#include "quant/kmeans1d.h"

enum { QUANT_KMEANS1D_MAX_K = 256 };

/* Two neighbouring points or nodes at once, as wide as the registers of any 64-bit processor; plain
 * lanes of the same arithmetic. */
enum { QUANT_LANES = 2 };
typedef double quant_lanes __attribute__((vector_size(QUANT_LANES * sizeof(double))));
typedef int64_t quant_lanes_mask __attribute__((vector_size(QUANT_LANES * sizeof(int64_t))));
/* As they lie in an array of double. */
typedef double quant_lanes_at
    __attribute__((vector_size(QUANT_LANES * sizeof(double)), aligned(8), may_alias));

/* Points as quant_points, or (wide.value NULL) with values and whole weights of four bytes each:
 * floats and how often each occurs. */
typedef struct quant_point_list {
    quant_points wide;
    const float *value;
    const uint32_t *count;
    size_t n;
} quant_point_list;

static inline quant_point_list quant_point_list_of(const quant_points *p)
{
    return (quant_point_list){.wide = *p, .n = p->n};
}

static inline double quant_point_value(const quant_point_list *l, size_t i)
{
    return l->wide.value ? l->wide.value[i] : (double)l->value[i];
}

/* Points from, from + 1, ... before end as plain arrays: all of them where they lie in such, else
 * the first QUANT_PART at most, copied to room[2 QUANT_PART]. */
enum { QUANT_PART = 512 };
quant_points quant_points_part(const quant_point_list *l, size_t from, size_t end, double *room);

/* Bytes of scratch for up to max_points distinct values and up to k clusters (at most 104 a
 * point, whatever k); 0 when the size does not fit or max_points >= 2^32 - 1. The block must be
 * aligned to 64 bytes, as quant_alloc gives. */
size_t quant_kmeans1d_work_bytes(size_t max_points, size_t k);

/* quant_kmeans1d on input that is known to be valid: 1 <= k <= 256, n >= 1, values finite and
 * strictly ascending, weights positive. Nothing in work is read before it is written, so the
 * result depends on points and k alone. */
void quant_kmeans1d_run(const quant_points *points, size_t k, void *work,
                        quant_clusters *clusters);

/* The same, by all nodes at once however many there are. */
void quant_kmeans1d_run_whole(const quant_points *points, size_t k, void *work,
                              quant_clusters *clusters);

/* Bytes of scratch for quant_points_collapse_run with n floats; 0 when the size does not fit. */
size_t quant_points_work_bytes(size_t n);

/* quant_points_collapse on finite x and finite importance >= 0 (or NULL); returns the number of
 * distinct values. value[] and weight[] have room for n and overlap nothing. */
size_t quant_points_collapse_run(const float *x, const float *importance, size_t n, void *work,
                                 double *value, double *weight);

/* Counts of n >= 1 finite floats in little room: a list whose wide part, with room for `most`
 * points, is filled when there are no more than that, else values and counts in work. */
size_t quant_points_narrow_bytes(size_t n);
quant_point_list quant_points_narrow_run(const float *x, size_t n, void *work, size_t most,
                                         double *value, double *weight);

/* ---- shared by the reference and the fast version -------------------------------------------
 *
 * Node i stands before point i, node n behind the last; the cluster of points i .. j-1 is the
 * link i -> j, a partition into k clusters a path of k links from node 0 to node n. Values are
 * scaled by 2^-value_exponent into [-1, 1], weights by 2^-weight_exponent into (0, 1], and
 * centred about the rounded weighted mean; x - mean is exact in double-double. w, s, q are the
 * running sums of w, w x and w x^2 before each node: a link costs dq - ds^2 / dw.
 *
 * Bound, X = max |x - mean|: the sums carry errors of (n + 12) 2^-104 times w[n], X w[n] and
 * q[n] at most, so a cost is within (n + 12) 2^-100 X^2 w[n] of the truth. w is exact, and the
 * bound falls to (n + 12) 2^-100 X max |s|, when the weights span fewer than 2^40 / n. */
typedef struct quant_dd_array {
    double *hi, *lo;
} quant_dd_array;

typedef struct quant_kmeans1d_sums {
    size_t n;             /* cells: nodes that have sums, less one */
    quant_dd_array w, s, q; /* n + 1 each; q and all lo parts: double-double only */
    double mean;            /* scaled */
    double square;          /* q[n] */
    double total;           /* the cost of one cluster, scaled */
    double value_scale[2], weight_scale[2]; /* two factors whose product is the power of two */
    int value_exponent, weight_exponent;
    int counts; /* weights are whole numbers whose sums are exact */
} quant_kmeans1d_sums;

/* Two partitions whose sums of squares differ by no more than this share of the total count as
 * tied, and the leftmost is taken. Ties that are exact in real arithmetic (equal spacing,
 * integers) come out far below it by the bound above; distinct sums so close that rounding could
 * confuse the two do not occur by chance. The optimum is therefore exact up to this share. */
#define QUANT_KMEANS1D_TIE 0x1p-92

/* Choose the scales and the mean. */
void quant_kmeans1d_sums_scale(quant_kmeans1d_sums *sums, const quant_point_list *points);

/* Scale, and fill the sums at all nodes; the six arrays point at room for n + 1. */
void quant_kmeans1d_sums_fill(quant_kmeans1d_sums *sums, const quant_point_list *points);

/* Fill them, once scaled, at nodes id[0] = 0 < ... < id[m - 1] = n only: entry t of the arrays is
 * node id[t]. The same numbers. */
void quant_kmeans1d_sums_fill_at(quant_kmeans1d_sums *sums, const quant_point_list *points,
                                 const uint32_t *id, size_t m);

/* The hi parts of w and s only, in a fraction of the time, after scaling at all nodes or, once
 * scaled, at some; returns a bound on the error of the costs of all links of a path together when
 * they are taken from these in plain double. */
double quant_kmeans1d_sums_rough(quant_kmeans1d_sums *sums, const quant_point_list *points);
double quant_kmeans1d_sums_rough_at(quant_kmeans1d_sums *sums, const quant_point_list *points,
                                    const uint32_t *id, size_t m);

static inline quant_dd quant_dd_difference(quant_dd_array a, size_t i, size_t j)
{
    return quant_dd_sub((quant_dd){a.hi[j], a.lo[j]}, (quant_dd){a.hi[i], a.lo[i]});
}

/* Cost of a link between the entries i and j of the sums, with so many points between them, in
 * scaled units; never negative. */
static inline quant_dd quant_kmeans1d_cost_of(const quant_kmeans1d_sums *a, size_t i, size_t j,
                                              size_t points)
{
    quant_dd w = quant_dd_difference(a->w, i, j), s = quant_dd_difference(a->s, i, j);
    if (points < 2 || !(w.hi > 0)) {
        return quant_dd_of(0.0);
    }
    quant_dd c = quant_dd_sub(quant_dd_difference(a->q, i, j), quant_dd_div(quant_dd_mul(s, s), w));
    return c.hi > 0 ? c : quant_dd_of(0.0);
}

static inline quant_dd quant_kmeans1d_cost(const quant_kmeans1d_sums *a, size_t i, size_t j)
{
    return quant_kmeans1d_cost_of(a, i, j, j - i);
}

/* clusters->first and ->k are set: fill centroids and SSE by two compensated passes over each
 * cluster (about the mean before its last rounding). */
void quant_kmeans1d_finish(const quant_kmeans1d_sums *sums, const quant_point_list *points,
                           quant_clusters *clusters);

/* A sum of squares in scaled units, in the units of the points. */
double quant_kmeans1d_unscaled(const quant_kmeans1d_sums *sums, double sse);

/* QUANT_EINVAL with a message unless the arguments keep the contract of quant_kmeans1d. */
quant_status quant_kmeans1d_check(quant_context *ctx, const quant_points *points, size_t k,
                                  const quant_clusters *clusters);

/* ---- parts of the fast version -------------------------------------------------------------- */

/* Cheapest paths in plain double when every link costs `penalty` more; arrays of n + 1. A path to
 * node j costs g[j] + (q[j] - q[0]), penalties included: all paths to j share what q gives. */
typedef struct quant_kmeans1d_path {
    size_t n;
    const double *w, *s; /* running sums, w strictly ascending */
    double *g;
    uint32_t *from;      /* last link of the cheapest path: from[j] -> j */
} quant_kmeans1d_path;

/* Fill g and from for this penalty; returns the number of links of the path to node n. */
size_t quant_kmeans1d_path_run(quant_kmeans1d_path *path, double penalty);

/* True when every other path from 0 to n, of any number of links, costs more than slack above
 * the one that path_run found. */
int quant_kmeans1d_path_alone(const quant_kmeans1d_path *path, double penalty, double slack);

/* A penalty at which the cheapest path has about k links; a guess, 0 when there is none. */
double quant_kmeans1d_penalty_guess(const quant_kmeans1d_sums *sums, const quant_points *points,
                                    size_t k, uint32_t *bounds);

/* What a work block holds while one set of points is clustered. */
typedef struct quant_kmeans1d_scratch {
    quant_kmeans1d_sums sums;
    double rough;  /* what quant_kmeans1d_sums_rough returned */
    double finest; /* cost of the path that visits every node */
    const quant_kmeans1d_sums *exact; /* the same sums in double-double, where they are kept */
    quant_kmeans1d_path path;
    quant_dd_array f; /* of the corridor */
    double *behind;   /* costs from the far end */
    uint32_t *start, *id, *fewest, *most;
} quant_kmeans1d_scratch;

/* Point into a work block for stride - 1 points. */
void quant_kmeans1d_divide(quant_kmeans1d_scratch *t, size_t stride, void *work);

/* Fill the rough sums at all nodes; no exact ones are kept. */
void quant_kmeans1d_begin(quant_kmeans1d_scratch *t, const quant_point_list *points);

/* How much dearer every other path must be for path_run's to be the optimum of its k clusters:
 * rounding makes a path that is no better seem to lead by twice the error of a path's cost; a
 * choice between predecessors that rounding got wrong costs as much again. */
double quant_kmeans1d_margin(const quant_kmeans1d_scratch *t, size_t k);

/* The k links of the cheapest path as first[0 .. k-1]. */
void quant_kmeans1d_take_path(const quant_kmeans1d_path *path, size_t k, size_t *first);

/* Move the penalty until t's cheapest path has k links, 1 < k < cells; 0 when none is found. Either
 * way the best path of k links costs, penalties included, at most slack more than t's. */
int quant_kmeans1d_search(quant_kmeans1d_scratch *t, size_t k, double *penalty, double *slack);

/* Fill behind, and mirror the sums: the cheapest path through node i costs g[i] + q[i] ahead of it
 * and behind[n - i] + q[n] - q[i] after it. */
void quant_kmeans1d_behind(quant_kmeans1d_scratch *t, double penalty);

/* Whether a path through node i can be as cheap as limit; the ends always. */
static inline int quant_kmeans1d_near(const quant_kmeans1d_scratch *t, size_t i, double limit)
{
    size_t n = t->sums.n;
    return i == 0 || i == n || t->path.g[i] + t->behind[n - i] <= limit;
}

/* The leftmost of the optimal paths of k links among nodes id[0 .. m-1] of t, in double-double. */
void quant_kmeans1d_settle(quant_kmeans1d_scratch *t, const quant_point_list *points, size_t m,
                           size_t k, double penalty, size_t *first);

/* clusters->first and ->k are set: everything else. t has the rough sums at all nodes (id: NULL) or
 * at id[0 .. k], 0, first[1], ..., n; they are refilled unless exact ones are kept. */
void quant_kmeans1d_complete(quant_kmeans1d_scratch *t, const quant_point_list *points,
                             quant_clusters *clusters, const uint32_t *id);

/* What quant_kmeans1d_run gives, byte for byte, with a work block for nodes - 1 points however many
 * there are; 0, and nothing decided, when more than `nodes` of theirs lie on paths that are too
 * close to the best to be told apart in plain double, or nodes are too few to begin with. */
int quant_kmeans1d_levels(const quant_point_list *points, size_t k, size_t nodes, void *work,
                          quant_clusters *clusters);

/* From how many points on that is for k clusters, and how many nodes it should be given for n
 * points then; 0 below. */
size_t quant_kmeans1d_level_least(size_t k);
size_t quant_kmeans1d_level_nodes(size_t n, size_t k);

/* The nodes id[0] = 0 < ... < id[m - 1] = n that a near-optimal path can visit. */
typedef struct quant_kmeans1d_corridor {
    const quant_kmeans1d_sums *sums; /* at these nodes */
    uint32_t *id;
    size_t m;
    quant_dd_array f;         /* m each from here on */
    uint32_t *fewest, *most;  /* links of the cheapest paths to each node */
    uint32_t *candidate, *start;
    double tie;
} quant_kmeans1d_corridor;

/* The leftmost of the optimal paths of exactly k links through the corridor, 2 <= k < m, decided
 * in double-double; first[0 .. k-1]. The penalty is where the search begins. */
void quant_kmeans1d_corridor_run(quant_kmeans1d_corridor *corridor, size_t k, double penalty,
                                 size_t *first);

#endif
