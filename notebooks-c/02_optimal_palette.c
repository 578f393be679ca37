/* SPDX-License-Identifier: GPL-3.0-or-later */
// %% [markdown]
// # 02 · The optimum palette against Lloyd–Max theory
//
// **Question.** A palette of 2^b values, the best one that exists: how close does it come to
// what theory promises, and what does the usual iteration (Lloyd's) lose against it?
//
// **Method.** `quant_kmeans1d` returns the global optimum of 1-D k-means and a dual lower bound
// that proves it. Theory is worked out here from scratch, from the Gaussian density alone (Max
// 1960, Lloyd 1982): decision points lie midway between levels, levels are the means of their
// cells. Two older landmarks stand beside it: the high-resolution limit of Panter and Dite
// (1951), D = (√3 π/2) 4^−b, and Shannon's bound, D = 4^−b, which no quantizer of any kind
// passes.
// %%
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "notebooks-c/notebook.h"
#include "quant/kmeans1d.h"
#include "quant/random.h"

enum { MOST_BITS = 8, MOST_LEVELS = 1 << MOST_BITS };
static double theory[MOST_BITS + 1]; /* SQNR in dB */

static double density(double x)
{
    return exp(-0.5 * x * x) / sqrt(2.0 * acos(-1.0));
}
static double above(double x) /* P(X > x) */
{
    return 0.5 * erfc(x / sqrt(2.0));
}

/* Half of the symmetric quantizer: k levels above 0, the cell of level j is [edge_j, edge_j+1].
 * Returns the distortion for variance 1, 1 - E level^2, which holds when levels are cell means. */
static double lloyd_max(int k)
{
    double level[MOST_LEVELS], distortion = 1.0, before = 2.0;
    for (int j = 0; j < k; j++) {
        level[j] = quant_normal_quantile(0.5 + (j + 0.5) / (2.0 * k));
    }
    while (before - distortion > 1e-13) {
        before = distortion;
        distortion = 1.0;
        double edge[MOST_LEVELS + 1] = {0.0};
        for (int j = 1; j < k; j++) {
            edge[j] = 0.5 * (level[j - 1] + level[j]);
        }
        for (int j = 0; j < k; j++) {
            double tail = j + 1 < k ? above(edge[j + 1]) : 0.0, p = above(edge[j]) - tail;
            double mean = density(edge[j]) - (j + 1 < k ? density(edge[j + 1]) : 0.0);
            level[j] = mean / p;
            distortion -= 2.0 * p * level[j] * level[j];
        }
    }
    return distortion;
}

// %% [markdown]
// ## Theory against 2^20 Gaussian weights
//
// `gap` is (SSE − lower bound) / SSE, what the certificate leaves open: rounding.
// %%
enum { SAMPLE = 1 << 20 };
static double measured[MOST_BITS + 1];

CELL(optimum)
{
    quant_context *ctx = notebook_context();
    float *w = notebook_room(SAMPLE, sizeof *w);
    double *value = notebook_room(SAMPLE, sizeof *value);
    double *weight = notebook_room(SAMPLE, sizeof *weight), *c = notebook_room(MOST_LEVELS, 8);
    size_t *first = notebook_room(MOST_LEVELS, sizeof *first), distinct;
    quant_random r = quant_random_stream(2, "gaussian");
    double energy = 0.0;
    quant_random_fill_normal(&r, 0, SAMPLE, w);
    for (size_t i = 0; i < SAMPLE; i++) {
        energy += (double)w[i] * (double)w[i];
    }
    notebook_check(quant_points_collapse(ctx, w, NULL, SAMPLE, value, weight, &distinct), "points");
    printf("      SQNR in dB\nbits  Lloyd-Max  measured  Panter-Dite  Shannon      gap\n");
    for (int b = 1; b <= MOST_BITS; b++) {
        quant_clusters clusters = {.first = first, .centroid = c};
        quant_points points = {value, weight, distinct};
        notebook_check(quant_kmeans1d(ctx, &points, (size_t)1 << b, &clusters), "k-means");
        theory[b] = -10.0 * log10(lloyd_max(1 << (b - 1)));
        measured[b] = 10.0 * log10(energy / clusters.sse);
        printf("%4d  %9.3f  %8.3f  %11.3f  %7.2f  %7.0e\n", b, theory[b], measured[b],
               20.0 * b * log10(2.0) - 10.0 * log10(sqrt(3.0) * acos(-1.0) / 2.0),
               20.0 * b * log10(2.0), fabs(clusters.sse - clusters.lower_bound) / clusters.sse);
    }
    free(w);
    free(value);
    free(weight);
    free(c);
    free(first);
}

// %% [markdown]
// ## A palette fits its sample
//
// Levels are chosen after the weights were seen, so a small group looks better than theory
// allows. That is no illusion (these are the weights that will be used), but its table must be
// paid for: 2^b entries of 16 bits for each group.
// %%
static double group_sqnr(size_t group, int bits, double *rate)
{
    char text[32];
    quant_shape shape = {2, {SAMPLE / 4 / group, group}};
    float *w = notebook_room(SAMPLE / 4, sizeof *w), *copy = notebook_room(SAMPLE / 4, sizeof *w);
    quant_random r = quant_random_stream(3, "groups");
    quant_random_fill_normal(&r, 0, SAMPLE / 4, w);
    snprintf(text, sizeof text, "lut%d:group=1", bits);
    quant_fidelity f = notebook_round_trip(text, &shape, w, copy);
    *rate = bits + 16.0 * (double)(1 << bits) / (double)group;
    free(w);
    free(copy);
    return quant_sqnr_db(&f);
}

CELL(groups)
{
    double rate;
    printf("weights that share a table of 16: SQNR, stored bits, and SQNR above Lloyd-Max at those "
           "bits (straight line between 4 and 8 bits)\n");
    for (size_t group = 64; group <= 65536; group *= 4) {
        double got = group_sqnr(group, 4, &rate), slope = (theory[8] - theory[4]) / 4.0;
        printf("%6zu  %6.2f dB  %5.2f bits  %+6.2f dB\n", group, got, rate,
               got - theory[4] - slope * (rate - 4.0));
    }
}

// %% [markdown]
// ## What Lloyd's iteration loses on trained weights
//
// Lloyd's iteration stops at the first partition that it cannot improve by itself, and the start
// decides which one that is. Groups of 32 channels of `data/moe`, 16 levels: SSE over the
// optimum's SSE, from three starts: equally spaced levels, quantiles, and the best of five
// k-means++ draws (Arthur and Vassilvitskii 2007).
// %%
typedef struct group_points {
    double *value, *weight, *sum, *energy; /* the last two are prefix sums: n + 1 entries */
    size_t n;
} group_points;

/* One Lloyd run over sorted points; level[k] is the start. Returns the SSE. */
static double lloyd(const group_points *g, double *level, int k)
{
    double sse = INFINITY, before;
    int steps = 0;
    do {
        before = sse;
        sse = 0.0;
        size_t a = 0;
        for (int j = 0; j < k; j++) {
            size_t b = a;
            double edge = j + 1 < k ? 0.5 * (level[j] + level[j + 1]) : INFINITY, w = 0.0;
            for (; b < g->n && g->value[b] <= edge; b++) {
                w += g->weight[b];
            }
            double s = g->sum[b] - g->sum[a];
            level[j] = w > 0.0 ? s / w : level[j];
            sse += w > 0.0 ? g->energy[b] - g->energy[a] - s * s / w : 0.0;
            a = b;
        }
    } while (before - sse > 1e-10 * sse && ++steps < 300);
    return sse;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* k-means++: each new level is a point drawn with its squared distance to the nearest one. */
static void plus_plus(const group_points *g, quant_random *r, uint64_t *draw, double *level, int k)
{
    for (int j = 0; j < k; j++) {
        double total = 0.0, at = quant_random_uniform(r, (*draw)++);
        for (int pass = 0; pass < 2; pass++) {
            double sum = 0.0;
            for (size_t i = 0; i < g->n; i++) {
                double d = j ? INFINITY : 1.0;
                for (int l = 0; l < j; l++) {
                    d = fmin(d, (g->value[i] - level[l]) * (g->value[i] - level[l]));
                }
                sum += g->weight[i] * d;
                if (pass && sum >= at * total) {
                    level[j] = g->value[i];
                    break;
                }
            }
            total = sum;
        }
    }
    qsort(level, (size_t)k, sizeof *level, ascending);
}

enum { LEVELS = 16, STARTS = 3, MOST_GROUPS = 4096 };
static double excess[STARTS][MOST_GROUPS]; /* SSE over the optimum's, minus 1 */
static size_t groups_seen;

static void start(const group_points *g, int which, double *level)
{
    double mass = g->weight[0];
    for (int j = 0, i = 0; j < LEVELS; j++) {
        double lo = g->value[0], hi = g->value[g->n - 1], share = (j + 0.5) / LEVELS;
        while (mass < share * (double)g->sum[g->n + 1] && i + 1 < (int)g->n) {
            mass += g->weight[++i];
        }
        level[j] = which == 0 ? lo + (hi - lo) * share : g->value[i];
    }
}

static void one_group(group_points *g, const float *w, size_t n, quant_random *r, uint64_t *draw)
{
    quant_context *ctx = notebook_context();
    double c[LEVELS], level[LEVELS];
    size_t first[LEVELS];
    quant_clusters best = {.first = first, .centroid = c};
    notebook_check(quant_points_collapse(ctx, w, NULL, n, g->value, g->weight, &g->n), "points");
    for (size_t i = 0; i < g->n; i++) {
        g->sum[i + 1] = g->sum[i] + g->weight[i] * g->value[i];
        g->energy[i + 1] = g->energy[i] + g->weight[i] * g->value[i] * g->value[i];
    }
    g->sum[g->n + 1] = (double)n;
    quant_points points = {g->value, g->weight, g->n};
    notebook_check(quant_kmeans1d(ctx, &points, LEVELS, &best), "k-means");
    for (int s = 0; s < STARTS; s++) {
        double sse = INFINITY;
        for (int t = 0; t < (s == 2 ? 5 : 1); t++) {
            s == 2 ? plus_plus(g, r, draw, level, LEVELS) : start(g, s, level);
            sse = fmin(sse, lloyd(g, level, LEVELS));
        }
        excess[s][groups_seen] = sse / best.sse - 1.0;
    }
    groups_seen++;
}

static void groups_of(quant_bank *bank, size_t i, const quant_tensor *t, group_points *g,
                      quant_random *r, uint64_t *draw)
{
    size_t inner = t->shape.dim[t->shape.rank - 1], n = 32 * inner;
    float *w = notebook_room(t->elements, sizeof *w);
    notebook_check(quant_bank_read_f32(notebook_context(), bank, i, 0, t->elements, w), t->name);
    for (size_t at = 0; at + n <= t->elements && groups_seen < MOST_GROUPS; at += n) {
        one_group(g, w + at, n, r, draw);
    }
    free(w);
}

CELL(lloyd_loses)
{
    static const char *const names[STARTS] = {"equally spaced", "quantiles", "best of 5 k-means++"};
    enum { ROOM = 32 * 128 + 2 };
    group_points g = {notebook_room(ROOM, 8), notebook_room(ROOM, 8), notebook_room(ROOM, 8),
                      notebook_room(ROOM, 8), 0};
    quant_random r = quant_random_stream(4, "k-means++");
    uint64_t draw = 0;
    quant_bank *bank;
    notebook_check(quant_bank_open(notebook_context(), "../data/moe", &bank), "data/moe");
    for (size_t i = 0; i < quant_bank_count(bank); i += 8) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        if (t->shape.rank >= 2 && t->shape.dim[t->shape.rank - 1] <= 128) {
            groups_of(bank, i, t, &g, &r, &draw);
        }
    }
    quant_bank_close(notebook_context(), bank);
    printf("%zu groups: SSE above the optimum\nstart                   median     90 %%    worst   "
           "within 0.1 %%\n",
           groups_seen);
    for (int s = 0; s < STARTS; s++) {
        size_t n = groups_seen, good = 0;
        qsort(excess[s], n, sizeof(double), ascending);
        while (good < n && excess[s][good] < 1e-3) {
            good++;
        }
        printf("%-20s  %6.2f %%  %6.2f %%  %6.2f %%  %8.1f %%\n", names[s], 100 * excess[s][n / 2],
               100 * excess[s][n * 9 / 10], 100 * excess[s][n - 1],
               100.0 * (double)good / (double)n);
    }
    free(g.value);
    free(g.weight);
    free(g.sum);
    free(g.energy);
}

CELL(figure_lloyd)
{
    FILE *p = notebook_plot("02-lloyd");
    fprintf(p,
            "set xlabel 'SSE above the optimum, %%'\nset ylabel 'share of groups at or below it'\n"
            "set logscale x\nset xrange [0.03:200]\nset yrange [0:1]\nset key top left\n");
    for (int s = 0; s < STARTS; s++) {
        fprintf(p, "$d%d << EOD\n", s);
        for (size_t i = 0; i < groups_seen; i++) {
            fprintf(p, "%g %g\n", fmax(100 * excess[s][i], 0.03),
                    (double)(i + 1) / (double)groups_seen);
        }
        fprintf(p, "EOD\n");
    }
    fprintf(p, "plot $d0 u 1:2 w steps lt 1 t 'equally spaced', $d1 u 1:2 w steps lt 2 dt 2 t "
               "'quantiles', $d2 u 1:2 w steps lt 3 dt 4 t 'best of 5 k-means++'\n");
    notebook_plot_end(
        "What Lloyd's iteration leaves on the table: distribution of the SSE above the "
        "optimum over groups of 32 channels of a trained model, 16 levels.");
}

// %% [markdown]
// ## Palettes and uniform codes at the same size
//
// The same model, all matrices, bits per weight as stored (codes, scales, tables) against SQNR,
// energies pooled.
// %%
typedef struct rate_point {
    const char *scheme;
    double bits, sqnr;
} rate_point;
static rate_point rates[] = {
    {"lut1:group=32", 0, 0}, {"lut2:group=32", 0, 0}, {"lut3:group=32", 0, 0},
    {"lut4:group=32", 0, 0}, {"lut6:group=32", 0, 0}, {"int2:block=32", 0, 0},
    {"int3:block=32", 0, 0}, {"int4:block=32", 0, 0}, {"int8:block=32", 0, 0},
    {"int4:channel", 0, 0},  {"int8:channel", 0, 0}};
enum { RATES = sizeof rates / sizeof *rates };

CELL(rate)
{
    quant_context *ctx = notebook_context();
    quant_bank *bank;
    notebook_check(quant_bank_open(ctx, "../data/moe", &bank), "data/moe");
    for (int s = 0; s < RATES; s++) {
        quant_fidelity sum = notebook_matrices(bank, rates[s].scheme, &rates[s].bits);
        rates[s].sqnr = quant_sqnr_db(&sum);
        printf("%-14s %5.2f bits  %6.2f dB\n", rates[s].scheme, rates[s].bits, rates[s].sqnr);
    }
    quant_bank_close(ctx, bank);
}

CELL(figure_rate)
{
    FILE *p = notebook_plot("02-rate");
    fprintf(p,
            "set xlabel 'stored bits per weight'\nset ylabel 'weight SQNR, dB'\nset key top left\n"
            "set xrange [0.5:9]\n$theory << EOD\n");
    for (int b = 1; b <= MOST_BITS; b++) {
        fprintf(p, "%d %g\n", b, theory[b]);
    }
    fprintf(p, "EOD\n");
    for (int kind = 0; kind < 3; kind++) {
        static const char *const has[] = {"lut", "block", "channel"};
        fprintf(p, "$k%d << EOD\n", kind);
        for (int s = 0; s < RATES; s++) {
            if (strstr(rates[s].scheme, has[kind])) {
                fprintf(p, "%g %g\n", rates[s].bits, rates[s].sqnr);
            }
        }
        fprintf(p, "EOD\n");
    }
    fprintf(
        p, "plot 20*x*log10(2) lt 7 dt 2 lw 1 t 'Shannon, Gaussian', $theory u 1:2 w l lt 7 lw 1 t "
           "'Lloyd-Max, Gaussian', $k0 u 1:2 w lp lt 1 ps 1 t 'lut:group=32', $k1 u 1:2 w lp lt 2 "
           "ps 1 t 'int:block=32', $k2 u 1:2 w lp lt 3 ps 1 t 'int:channel'\n");
    notebook_plot_end(
        "Stored bits against weight SQNR of a trained model, all matrices pooled, beside "
        "what theory says of Gaussian weights.");
}

// %% [markdown]
// ## What this says
//
// The optimum palette of a large Gaussian sample is the Lloyd–Max quantizer to a few hundredths
// of a dB: weight SQNR 20.2 dB, cosine 0.9953 at 4 bits. No other table of 16 values does
// better, so a palette that disappoints at 4 bits does so for want of bits, not of search. The
// matrices of a trained model lie on the same curve. Lloyd's iteration loses percents of squared
// error on every group, tens of percents on some (its levels cannot pass the gaps between sparse
// weights in the tails), and nothing in its output tells which; restarts help and do not settle
// it.
//
// ## What would change the answer
//
// - Heavier tails than Gaussian: palettes gain on uniform codes, which pay for the range.
// - Entropy coding of the labels: Shannon's bound is then 0.25 bits away at high rate instead of
//   0.72.
// - Weighting by importance: the optimum for the weights' squared error is not the optimum for
//   the outputs.
// %%
NOTEBOOK(optimum, groups, lloyd_loses, figure_lloyd, rate, figure_rate)
