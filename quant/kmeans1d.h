/* SPDX-License-Identifier: Apache-2.0 */
/* kmeans1d.h - globally optimal weighted k-means of numbers on a line.
 *
 * In one dimension optimal clusters are intervals of the sorted values, so the optimum over all
 * partitions is found exactly (Gronlund et al. 2017, arXiv:1701.07204, sections 2 and 3). */
#ifndef QUANT_KMEANS1D_H
#define QUANT_KMEANS1D_H

#include <stddef.h>
#include <stdint.h>

#include "quant/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Distinct ascending values with a positive weight each. */
typedef struct quant_points {
    const double *value;  /* strictly ascending, finite */
    const double *weight; /* > 0, finite; NULL: all 1 */
    size_t n;
} quant_points;

/* What a clustering is; the caller provides room for k entries in both arrays. */
typedef struct quant_clusters {
    size_t k;            /* clusters in use: min(k asked, n) */
    size_t *first;       /* first[j]: index of the first point of cluster j; first[0] = 0 */
    double *centroid;    /* weighted mean of each cluster, ascending */
    double sse;          /* sum of weight * (value - centroid)^2 */
    double lower_bound;  /* no clustering into at most k has a smaller SSE than this, up to
                            rounding: the certificate. Equal to sse to rounding. */
} quant_clusters;

/* The optimum for k clusters, 1 <= k <= 256, exact up to k 2^-92 of the SSE of one cluster. Ties
 * between optimal partitions resolve to the leftmost boundaries (the smallest first[]
 * lexicographically from the last cluster down), so the result depends on the points alone. Sums
 * are taken about the weighted mean, so values offset by many standard deviations lose nothing
 * but their own rounding. n >= 1.
 * O(n log n). Scratch 104 bytes a point; from 2^18 and 12 k^2.5 points on 9 bytes, unless more than
 * n / 12 boundaries are as good as the best to the last digits of a double.
 * QUANT_EINVAL: k out of range, values not strictly ascending or not finite, a weight <= 0.
 * QUANT_ENOMEM. */
quant_status quant_kmeans1d(quant_context *ctx, const quant_points *points, size_t k,
                            quant_clusters *clusters);

/* Every k from 1 to most at once: the rate-distortion curve of the points. Entry k - 1 of the
 * arrays is for k clusters, as quant_kmeans1d gives them one by one, byte for byte; from k = n on
 * the error is 0. What is NULL is not wanted. The caller provides all arrays. */
typedef struct quant_curve {
    size_t most;         /* 1 .. 256 */
    double *sse;         /* most; convex in k and never rising, to rounding */
    double *lower_bound; /* most: the certificate of each */
    double *entropy;     /* most: bits, of the clusters' shares of the weight: what an ideal coder
                            of the labels needs, at most log2(k) */
    double *centroid;    /* most (most + 1) / 2: those of k clusters from k (k - 1) / 2 on, 0 after
                            the n-th */
} quant_curve;

/* Each cheapest path at the penalty between two known numbers of clusters gives one between them
 * (the least sums of squares are convex in k): about `most` paths of O(n log n), each near a third
 * of what one call of quant_kmeans1d at large k costs. Failures as quant_kmeans1d; scratch about
 * 150 bytes a point. */
quant_status quant_kmeans1d_curve(quant_context *ctx, const quant_points *points,
                                  quant_curve *curve);

/* The specification: dynamic programme over all partitions, O(k n^2) time and O(k n) memory, no
 * shortcut. For tests and small n. Same contract. */
quant_status quant_kmeans1d_reference(quant_context *ctx, const quant_points *points, size_t k,
                                      quant_clusters *clusters);

/* Collapse n finite floats to ascending distinct values with counts (or summed importance, when
 * importance != NULL; entries >= 0, all-zero importance counts as none). -0 counts as +0. value[]
 * and weight[] have room for n; *distinct receives how many are filled. Values whose importance
 * sums to 0 keep a vanishing positive weight so that they still receive a label.
 * QUANT_EINVAL: not finite, or a negative importance. QUANT_EOVERFLOW: n >= 2^32. QUANT_ENOMEM.
 * Scratch n * 16 bytes. O(n) radix passes. */
quant_status quant_points_collapse(quant_context *ctx, const float *x, const float *importance,
                                   size_t n, double *value, double *weight, size_t *distinct);

#ifdef __cplusplus
}
#endif
#endif
