/* SPDX-License-Identifier: Apache-2.0 */
/* codebook_int8.c - tables of int8 codes with one scale.
 *
 * With u = x / scale the levels are the integers c in -127..127, and the border between two
 * chosen levels is a multiple of 1/2. So the half-open cells (m/2, (m+1)/2] are all that a choice
 * of levels sees of the points: sums of w, w u and w u^2 over them give the error of any choice.
 * The cost of choosing b next after a, cost(a, b), satisfies the quadrangle inequality (min of two
 * distances is supermodular), so the best predecessor moves to the right with b, and a layer of the
 * dynamic program costs O(L log L) by divide and conquer, L = 255. */
#include <math.h>
#include <string.h>

#include "quant/codebook_table.h"
#include "quant/store.h"

enum {
    LAST = QUANT_INT8_LEVEL,
    LEVELS = 2 * LAST + 1,    /* level l stands for the code l - LAST */
    CELLS = 4 * LAST,         /* borders at -126.5, -126 ... 126.5 */
    MOST_TURNS = 8            /* of the alternation, from one starting scale */
};

/* A turn that gains less than this share is the last: 0.0004 dB. */
static const double worth = 1e-4;

typedef struct cell_sums {
    double w, s, q; /* sums of w, w u, w u^2 over the cells before one */
} cell_sums;

/* Scratch of one search. */
typedef struct search {
    cell_sums before[CELLS + 1];
    double cost[2][LEVELS];                     /* of the last two layers */
    uint8_t from[QUANT_CODEBOOK_ENTRIES][LEVELS];
    quant_codebook best, trial;
} search;

size_t quant_int8_work_bytes(void)
{
    return (sizeof(search) + 63) / 64 * 64;
}

/* ---- one table ------------------------------------------------------------------------------- */

/* Entries from codes and scale. */
static void expand(quant_codebook *t)
{
    for (size_t j = 0; j < t->used; j++) {
        t->entry[j] = t->scale * (float)t->code[j] + 0.0f;
    }
}

static void drop_unused(const quant_points *points, quant_codebook *t)
{
    const quant_point_list list = quant_point_list_of(points);
    quant_codebook_drop_unused(&list, t);
}

quant_linear_fit quant_int8_scale(quant_store store, double magnitude)
{
    const quant_scheme s = {.family = QUANT_FAMILY_LINEAR, .bits = 8, .store = store};
    float a = (float)magnitude;
    return quant_linear_from_interval(&s, (quant_interval){-a, a});
}

quant_status quant_int8_plain(quant_store store, const quant_points *points, const double *entry,
                              size_t n, quant_codebook *t)
{
    double least = fabs(entry[0]), most = fabs(entry[n - 1]);
    quant_linear_fit f = quant_int8_scale(store, least > most ? least : most);
    if (f.overflow) {
        return QUANT_ESCALE;
    }
    t->scale = f.p.scale;
    t->raised = f.raised;
    t->used = 0;
    for (size_t j = 0; j < n; j++) {
        double c = t->scale > 0.0f ? rint(entry[j] / (double)t->scale) : 0.0;
        c = c > LAST ? LAST : c < -LAST ? -LAST : c;
        if (t->used == 0 || (double)t->code[t->used - 1] != c) {
            t->code[t->used++] = (int8_t)c;
        }
    }
    expand(t);
    drop_unused(points, t);
    return QUANT_OK;
}

/* ---- the best levels for a scale ------------------------------------------------------------- */

/* Cell (m/2, (m+1)/2] has index m + 254; what lies beyond the last levels is in the outer cells. */
static void fill_cells(search *z, const quant_points *points, double scale)
{
    memset(z->before, 0, sizeof z->before);
    for (size_t i = 0; i < points->n; i++) {
        double u = points->value[i] / scale, w = points->weight[i], m = ceil(2.0 * u) - 1.0;
        size_t cell = m < -2.0 * LAST    ? 0
                      : m > 2.0 * LAST - 1 ? CELLS - 1
                                           : (size_t)(m + 2.0 * LAST);
        z->before[cell + 1].w += w;
        z->before[cell + 1].s += w * u;
        z->before[cell + 1].q += w * u * u;
    }
    for (size_t k = 0; k < CELLS; k++) {
        z->before[k + 1].w += z->before[k].w;
        z->before[k + 1].s += z->before[k].s;
        z->before[k + 1].q += z->before[k].q;
    }
}

/* Error of the cells [from, to) at a level. */
static double at_level(const search *z, size_t from, size_t to, size_t level)
{
    const cell_sums *a = &z->before[from], *b = &z->before[to];
    double c = (double)level - LAST;
    return (b->q - a->q) - 2.0 * c * (b->s - a->s) + c * c * (b->w - a->w);
}

/* Error of the points between two chosen levels: the border, level a + level b in half steps, is
 * cell a + b. */
static double between(const search *z, size_t a, size_t b)
{
    return at_level(z, 2 * a, a + b, a) + at_level(z, a + b, 2 * b, b);
}

/* One layer, levels [low, high], whose predecessors lie in [from, to]: the middle first. */
static void fill_layer(search *z, size_t layer, size_t low, size_t high, size_t from, size_t to)
{
    const double *before = z->cost[(layer + 1) % 2];
    size_t middle = low + (high - low) / 2, found = from;
    double least = INFINITY;
    for (size_t a = from; a <= to && a < middle; a++) {
        double c = before[a] + between(z, a, middle);
        if (c < least) {
            least = c;
            found = a;
        }
    }
    z->cost[layer % 2][middle] = least;
    z->from[layer][middle] = (uint8_t)found;
    if (low < middle) {
        fill_layer(z, layer, low, middle - 1, from, found);
    }
    if (middle < high) {
        fill_layer(z, layer, middle + 1, high, found, to);
    }
}

/* The k levels of least error, k < LEVELS, as codes. */
static void best_levels(search *z, size_t k, quant_codebook *t)
{
    for (size_t b = 0; b < LEVELS; b++) {
        z->cost[0][b] = at_level(z, 0, 2 * b, b);
    }
    for (size_t layer = 1; layer < k; layer++) {
        for (size_t b = 0; b < layer; b++) {
            z->cost[layer % 2][b] = INFINITY;
        }
        fill_layer(z, layer, layer, LEVELS - 1, layer - 1, LEVELS - 2);
    }
    size_t last = 0;
    double least = INFINITY;
    for (size_t b = k - 1; b < LEVELS; b++) {
        double c = z->cost[(k - 1) % 2][b] + at_level(z, 2 * b, CELLS, b);
        if (c < least) {
            least = c;
            last = b;
        }
    }
    for (size_t layer = k; layer-- > 0; last = z->from[layer][last]) {
        t->code[layer] = (int8_t)((int)last - LAST);
    }
    t->used = k;
}

static void table_for_scale(search *z, const quant_points *points, size_t k, quant_codebook *t)
{
    if (k < LEVELS) {
        fill_cells(z, points, (double)t->scale);
        best_levels(z, k, t);
    } else {
        for (t->used = 0; t->used < LEVELS; t->used++) {
            t->code[t->used] = (int8_t)((int)t->used - LAST);
        }
    }
    expand(t);
    drop_unused(points, t);
}

/* ---- the best scale for an assignment -------------------------------------------------------- */

/* Least squares; INFINITY, which no scale is, when every code in use is 0. */
static double scale_for_table(const quant_points *points, const quant_codebook *t)
{
    float threshold[QUANT_CODEBOOK_ENTRIES];
    double numerator = 0.0, denominator = 0.0;
    size_t j = 0;
    quant_codebook_thresholds(t->entry, t->used, threshold);
    for (size_t i = 0; i < points->n; i++) {
        while (j + 1 < t->used && points->value[i] > (double)threshold[j]) {
            j++;
        }
        double c = (double)t->code[j], wc = points->weight[i] * c;
        numerator += wc * points->value[i];
        denominator += wc * c;
    }
    return denominator > 0.0 ? numerator / denominator : INFINITY;
}

/* From the scale of the trial until it hardly improves; the best so far is kept. */
static void alternate(search *z, quant_store store, const quant_points *points, size_t k,
                      double *least)
{
    double last = INFINITY;
    for (int turn = 0; turn < MOST_TURNS; turn++) {
        table_for_scale(z, points, k, &z->trial);
        double error = quant_codebook_error(points, &z->trial);
        if (error < *least) {
            *least = error;
            z->best = z->trial;
        }
        if (!(error < last * (1.0 - worth))) {
            return;
        }
        last = error;
        quant_linear_fit f = quant_int8_scale(store, LAST * scale_for_table(points, &z->trial));
        if (f.overflow || !(f.p.scale > 0.0f) || f.p.scale == z->trial.scale) {
            return;
        }
        z->trial.scale = f.p.scale;
        z->trial.raised = f.raised;
    }
}

void quant_int8_tune(quant_store store, const quant_points *points, size_t k, void *work,
                     quant_codebook *t)
{
    search *z = work;
    double least = quant_codebook_error(points, t), whole = (double)t->scale * LAST;
    if (!(least > 0.0) || !(whole > 0.0)) {
        return;
    }
    z->best = *t;
    /* Clipping pays only where no level is left out, in a table of 8 bits: the grid gets finer. */
    for (int ratio = 10; ratio >= (k < LEVELS ? 10 : 2); ratio--) {
        quant_linear_fit f = quant_int8_scale(store, whole * (0.1 * ratio));
        z->trial = *t;
        z->trial.scale = ratio == 10 ? t->scale : f.p.scale;
        z->trial.raised = ratio == 10 ? t->raised : f.raised;
        if (z->trial.scale > 0.0f) {
            alternate(z, store, points, k, &least);
        }
    }
    *t = z->best;
}
