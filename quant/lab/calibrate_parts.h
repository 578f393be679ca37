/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_parts.h - what the files of the calibration curve share; not installed. */
#ifndef QUANT_LAB_CALIBRATE_PARTS_H
#define QUANT_LAB_CALIBRATE_PARTS_H

#include "quant/lab/calibrate_curve.h"
#include "quant/lab/stats_parts.h"

enum {
    LAB_POINTS = QUANT_ADEQUACY_LANES * QUANT_ADEQUACY_COUNTS,
    LAB_LIMIT = LAB_POINTS, /* the grid of all prompts and those held out */
    LAB_FLOAT,              /* activations as they are */
    LAB_SLOTS,
    LAB_RUN = 16,           /* positions that a bootstrap over few sequences draws together */
    LAB_SEQUENCES = 20,     /* from which on it draws sequences */
    LAB_RESAMPLES = 2000
};

/* What is summed at one input under one scheme. */
typedef struct lab_measure {
    quant_activation_grid grid[LAB_SLOTS];
    bool reached[LAB_SLOTS];
    size_t same[LAB_SLOTS];        /* first slot of the same grid: the one that is measured */
    uint64_t saturated[LAB_SLOTS], flipped[LAB_SLOTS];
    double *error2;                /* [points + 2][units] of the outputs, see lab_error2 */
} lab_measure;

typedef struct lab_curve {
    quant_context *ctx;
    quant_model *model;
    const quant_tokens *tokens;
    const quant_scheme *schemes;
    size_t scheme_count;
    quant_adequacy *c;
    size_t offset[QUANT_SITE_COUNT]; /* of a site's first input */
    size_t s, units, per_sequence;   /* positions; bootstrap units in all, and of a sequence */
    lab_measure *measure;            /* [inputs][schemes] */
    double *output2;                 /* [inputs][units] of W x */
    double *doubles;                 /* where error2 and output2 lie */
    size_t double_count;
    /* While a source is traced. */
    size_t lane;
    size_t *taken;                   /* [inputs]: snapshots so far */
} lab_curve;

static inline lab_measure *lab_measure_at(const lab_curve *w, size_t input, size_t scheme)
{
    return &w->measure[input * w->scheme_count + scheme];
}

static inline size_t lab_point(const lab_curve *w, size_t lane, size_t count)
{
    return lane * w->c->count_n + count;
}

static inline size_t lab_points(const lab_curve *w)
{
    return w->c->lanes * w->c->count_n;
}

/* Where a slot sums: points in use, then the limit and float activations. */
static inline double *lab_error2(const lab_curve *w, const lab_measure *m, size_t slot)
{
    size_t at = slot < LAB_LIMIT ? slot : lab_points(w) + slot - LAB_LIMIT;
    return m->error2 + at * w->units;
}

/* calibrate_sources.c: grids and spectra at every point, and those of the limit. */
quant_status lab_curve_trace(lab_curve *w);
/* calibrate_outputs.c: held-out prompts under every grid. */
quant_status lab_curve_measure(lab_curve *w);
/* calibrate_verdict.c: shares, ratios, intervals, the rule. */
quant_status lab_curve_judge(lab_curve *w);
/* calibrate_logits.c: the model with every point's scales on held-out prompts. */
quant_status lab_curve_logits(lab_curve *w);

/* What the bootstrap draws, times[LAB_RESAMPLES][units]: how often resample b holds unit u. The
 * same for all inputs, points and schemes, so that what is compared is drawn together. */
void lab_curve_draw(const lab_curve *w, uint16_t *times);
double lab_curve_total(const double *x, size_t n);
double lab_curve_weighted(const uint16_t *times, const double *x, size_t n);
/* First count from which on all are good; count_n: none. */
size_t lab_curve_from(const quant_adequacy *c, const bool *good);

#endif
