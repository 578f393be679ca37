/* SPDX-License-Identifier: GPL-3.0-or-later */
/* kmeans.c - exact k-means beside the C++ core of kmeans1d (Steinberg 2019), taken by dlopen from
 * the extension module that coremltools ships, which knows weights. Both get the same distinct
 * values with counts, and both allocate what they need in every call. */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quant/quant.h"
#include "tests/peers/peers.h"

enum { ROWS = 32, COLS = 704, GROUP = ROWS * COLS, GROUPS = 4, K = 16 };

typedef void kmeans1d_fn(const double *value, const double *weight, unsigned long n,
                         unsigned long k, unsigned long *label, double *centroid);

static struct {
    void *library;
    kmeans1d_fn *cluster;
    float *w;
    double value[GROUPS][GROUP], weight[GROUPS][GROUP];
    size_t n[GROUPS];
    unsigned long label[GROUP];
} data;

static double our_sse(size_t g)
{
    size_t first[K];
    double centroid[K];
    quant_clusters c = {.first = first, .centroid = centroid};
    quant_points p = {data.value[g], data.weight[g], data.n[g]};
    return quant_kmeans1d(NULL, &p, K, &c) == QUANT_OK ? c.sse : NAN;
}

static void cluster_theirs(size_t g)
{
    double centroid[K];
    data.cluster(data.value[g], data.weight[g], data.n[g], K, data.label, centroid);
}

/* From labels alone: means and squares about them in long double. */
static double their_sse(size_t g)
{
    long double w[K] = {0}, s[K] = {0}, sse = 0;
    cluster_theirs(g);
    for (size_t i = 0; i < data.n[g]; i++) {
        w[data.label[i]] += data.weight[g][i];
        s[data.label[i]] += (long double)data.weight[g][i] * data.value[g][i];
    }
    for (size_t i = 0; i < data.n[g]; i++) {
        long double d = data.value[g][i] - s[data.label[i]] / w[data.label[i]];
        sse += data.weight[g][i] * d * d;
    }
    return (double)sse;
}

static peers_state begin(const peers_row *row)
{
    const char *path = getenv("PEERS_KMEANS1D");
    data.library = path && *path ? dlopen(path, RTLD_LAZY | RTLD_LOCAL) : NULL;
    void *symbol = data.library ? dlsym(data.library, "cluster_with_weights") : NULL;
    if (!symbol) {
        peers_say("no kmeans1d core with weights");
        return PEERS_SKIP;
    }
    *(void **)&data.cluster = symbol;
    data.w = peers_weights((size_t)GROUPS * GROUP, row->variant);
    double worst = 0;
    size_t distinct = 0;
    for (size_t g = 0; g < GROUPS; g++) {
        if (quant_points_collapse(NULL, data.w + g * GROUP, NULL, GROUP, data.value[g],
                                  data.weight[g], &data.n[g]) != QUANT_OK) {
            return PEERS_WRONG;
        }
        double ours = our_sse(g), theirs = their_sse(g), apart = fabs(ours - theirs) / theirs;
        worst = apart > worst || isnan(apart) ? apart : worst;
        distinct += data.n[g];
    }
    peers_say("%zu distinct, SSE within %.1e", distinct / GROUPS, worst);
    return worst <= 1e-9 ? PEERS_READY : PEERS_WRONG;
}

static void run_ours(void)
{
    for (size_t g = 0; g < GROUPS; g++) {
        our_sse(g);
    }
}

static void run_theirs(void)
{
    for (size_t g = 0; g < GROUPS; g++) {
        cluster_theirs(g);
    }
}

static double ours(void) { return peers_cpu_seconds(run_ours); }
static double theirs(void) { return peers_cpu_seconds(run_theirs); }

static void end(void)
{
    free(data.w);
    data.w = NULL;
    if (data.library) {
        dlclose(data.library);
    }
    data.library = NULL;
}

#define KMEANS_ROW(type, target, kind)                                                            \
    {"exact k-means, k=16, 32x704, " type, "kmeans1d's core, counts", "Mw/s",                     \
     1e-6 * GROUPS * GROUP, target, 100, kind, begin, ours, theirs, end}
const peers_row peers_kmeans[] = {KMEANS_ROW("bf16", 80, PEERS_BF16),
                                  KMEANS_ROW("f16", 65, PEERS_F16),
                                  KMEANS_ROW("f32", 55, PEERS_F32),
                                  {0}};
