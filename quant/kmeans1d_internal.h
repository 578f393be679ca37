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

/* Bytes of scratch for up to max_points distinct values and up to k clusters; 0 when the size
 * does not fit. The block must be aligned to 64 bytes, as quant_alloc gives. */
size_t quant_kmeans1d_work_bytes(size_t max_points, size_t k);

/* quant_kmeans1d on input that is known to be valid: 1 <= k <= 256, n >= 1, values finite and
 * strictly ascending, weights positive. Nothing in work is read before it is written, so the
 * result depends on points and k alone. */
void quant_kmeans1d_run(const quant_points *points, size_t k, void *work,
                        quant_clusters *clusters);

/* Bytes of scratch for quant_points_collapse_run with n floats; 0 when the size does not fit. */
size_t quant_points_work_bytes(size_t n);

/* quant_points_collapse on finite x and finite importance >= 0 (or NULL); returns the number of
 * distinct values. value[] and weight[] have room for n and overlap nothing. */
size_t quant_points_collapse_run(const float *x, const float *importance, size_t n, void *work,
                                 double *value, double *weight);

/* ---- shared by the reference and the fast version -------------------------------------------
 *
 * Node i stands before point i, node n behind the last; the cluster of points i .. j-1 is the
 * link i -> j. Values are scaled by 2^-value_exponent into [-1, 1], weights by
 * 2^-weight_exponent into (0, 1], and centred about the rounded weighted mean, in scaled units;
 * x - mean is exact in double-double. w, s, q are the running sums of w, w x and w x^2 before
 * each node, so that the sum of squares of a link is dq - ds^2 / dw.
 *
 * Bound: each sum carries a relative error <= (n + 12) 2^-104 of q[n], so a link's cost is
 * within 2^-98 (n + 12) q[n] of the truth. */
typedef struct quant_kmeans1d_sums {
    size_t n;
    quant_dd *w, *s, *q; /* n + 1 each */
    double mean, total;  /* total: the cost of one cluster, scaled */
    double value_scale[2], weight_scale[2]; /* two factors whose product is the power of two */
    int value_exponent, weight_exponent;
} quant_kmeans1d_sums;

/* Two partitions whose sums of squares differ by no more than this share of the total count as
 * tied, and the leftmost is taken. Ties that are exact in real arithmetic (equal spacing,
 * integers) come out within the bound above, 2^20 below this share for n <= 10^5; distinct
 * sums so close that rounding could confuse them do not occur by chance. */
#define QUANT_KMEANS1D_TIE 0x1p-84

/* Fill sums over points; w, s and q point at room for n + 1. */
void quant_kmeans1d_sums_fill(quant_kmeans1d_sums *sums, const quant_points *points);

/* Cost of the link i -> j in scaled units; never negative. */
static inline quant_dd quant_kmeans1d_cost(const quant_kmeans1d_sums *a, size_t i, size_t j)
{
    quant_dd w = quant_dd_sub(a->w[j], a->w[i]), s = quant_dd_sub(a->s[j], a->s[i]);
    quant_dd q = quant_dd_sub(a->q[j], a->q[i]);
    if (j - i < 2 || !(w.hi > 0)) {
        return quant_dd_of(0.0);
    }
    quant_dd c = quant_dd_sub(q, quant_dd_div(quant_dd_mul(s, s), w));
    return c.hi > 0 ? c : quant_dd_of(0.0);
}

/* clusters->first and ->k are set: fill centroids and SSE by two compensated passes over each
 * cluster (about the mean before its last rounding), and the lower bound from `bound` in scaled
 * units. */
void quant_kmeans1d_finish(const quant_kmeans1d_sums *sums, const quant_points *points,
                           double bound, quant_clusters *clusters);

/* QUANT_EINVAL with a message unless the arguments keep the contract of quant_kmeans1d. */
quant_status quant_kmeans1d_check(quant_context *ctx, const quant_points *points, size_t k,
                                  const quant_clusters *clusters);

#endif
