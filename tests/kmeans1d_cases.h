/* SPDX-License-Identifier: GPL-3.0-or-later */
/* kmeans1d_cases.h - points that hunt: what the suites of k-means share. */
#ifndef QUANT_TESTS_KMEANS1D_CASES_H
#define QUANT_TESTS_KMEANS1D_CASES_H

#include <stddef.h>
#include <stdint.h>

#include "quant/kmeans1d_internal.h"

enum { KMEANS_ROOM = 4096, KMEANS_MAX_K = QUANT_KMEANS1D_MAX_K };

/* Where kmeans_draw_points puts its points. */
extern double kmeans_value[KMEANS_ROOM], kmeans_weight[KMEANS_ROOM];

typedef struct kmeans_answer {
    size_t first[KMEANS_MAX_K];
    double centroid[KMEANS_MAX_K];
    quant_clusters c;
} kmeans_answer;

/* The clusters of an answer, pointing at its own room. */
quant_clusters *kmeans_room_of(kmeans_answer *a);

/* Begin the random numbers of case k of this run. */
void kmeans_seed_case(uint64_t k);
uint64_t kmeans_word(void);
size_t kmeans_below(size_t n);
double kmeans_uniform(void);
double kmeans_normal(void);

/* Sort the first n values and drop repetitions; how many remain. */
size_t kmeans_sort_distinct(size_t n);

/* Up to `most` points: the case number crosses every shape (ties, equal spacing, far clusters,
 * heavy tails, offsets, ...) with every kind of weight; and a k that favours the corners. */
quant_points kmeans_draw_points(uint64_t k, size_t most);
size_t kmeans_draw_k(size_t n);

/* SSE of one cluster: the yardstick for what is absolute. */
double kmeans_total(const quant_points *p);

/* |a - b| <= relative |b| + absolute */
int kmeans_near(double a, double b, double relative, double absolute);

#endif
