/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate_parts.h - what the files of the calibration curve share; not installed. */
#ifndef QUANT_LAB_CALIBRATE_PARTS_H
#define QUANT_LAB_CALIBRATE_PARTS_H

#include "quant/lab/calibrate_curve.h"
#include "quant/lab/stats_parts.h"

enum {
    LAB_POINTS = QUANT_SOURCE_COUNT * QUANT_ADEQUACY_COUNTS,
    LAB_LIMIT = LAB_POINTS, /* the grid of all prompts and those held out */
    LAB_FLOAT,              /* activations as they are */
    LAB_SLOTS,
    LAB_RUN = 16,           /* positions that a bootstrap over few sequences draws together */
    LAB_SEQUENCES = 20      /* from which on it draws sequences */
};

/* What is summed at one input under one scheme. */
typedef struct lab_measure {
    quant_activation_grid grid[LAB_SLOTS];
    bool reached[LAB_SLOTS];
    size_t same[LAB_SLOTS];        /* first slot of the same grid: the one that is measured */
    uint64_t saturated[LAB_SLOTS], flipped[LAB_SLOTS];
    double *error2;                /* [LAB_SLOTS][units] of the outputs */
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
    quant_source source;
    size_t *taken;                   /* [inputs]: snapshots so far */
} lab_curve;

static inline lab_measure *lab_measure_at(const lab_curve *w, size_t input, size_t scheme)
{
    return &w->measure[input * w->scheme_count + scheme];
}

static inline size_t lab_point(const lab_curve *w, quant_source source, size_t count)
{
    return source * w->c->count_n + count;
}

/* calibrate_sources.c: grids and spectra at every point, and those of the limit. */
quant_status lab_curve_trace(lab_curve *w);
/* calibrate_outputs.c: held-out prompts under every grid. */
quant_status lab_curve_measure(lab_curve *w);
/* calibrate_verdict.c: shares, ratios, intervals, the rule. */
quant_status lab_curve_judge(lab_curve *w);

#endif
