/* SPDX-License-Identifier: GPL-3.0-or-later */
/* smoothing.h - factors of SmoothQuant for the layers of a model; not installed. */
#ifndef QUANT_LAB_SMOOTHING_H
#define QUANT_LAB_SMOOTHING_H

#include "quant/lab/grids.h"

/* Inputs that come out of a norm, which takes the factors in: of q, k and v; of gate and up, of
 * experts too. */
enum { LAB_SMOOTH_ATTENTION, LAB_SMOOTH_FFN, LAB_SMOOTH_GROUPS };

/* Factors of one alpha for every scheme, or of one scheme for which alpha is searched. */
typedef struct lab_smoothing lab_smoothing;
struct lab_smoothing {
    double alpha;                  /* QUANT_SMOOTH_SEARCH: choice has them */
    char scheme[QUANT_SCHEME_TEXT]; /* of a search */
    size_t layers, width;
    bool *seen;                    /* [layers][groups] */
    float *factor;                 /* [layers][groups][width] */
    quant_smooth_choice *choice;   /* [layers][groups] */
    lab_smoothing *next;
};

/* What is known of the inputs of a model; stats NULL: nothing but what observers saw. */
typedef struct lab_smoothing_source {
    const quant_model *model;
    quant_observer_fn *of;
    void *user;
    const quant_stats *stats;
} lab_smoothing_source;

/* Group of a role; -1: none. The stage at which its input is shown, and role i of those that
 * multiply it; false past the end. */
int lab_smoothing_group(quant_role role);
quant_stage lab_smoothing_stage(int group);
bool lab_smoothing_role(int group, int i, quant_role *role);

/* Factors; NULL: that scheme was not added, or nothing was seen there. */
const float *lab_smoothing_find(const lab_smoothing *list, const quant_scheme *scheme,
                                uint64_t layer, int group);
/* Put the factors that a scheme wants at the end of the list, unless they are there. */
quant_status lab_smoothing_add(quant_context *ctx, const lab_smoothing_source *from,
                               const quant_scheme *scheme, lab_smoothing **list);
bool lab_smoothing_choice(const lab_smoothing *list, size_t i, quant_smooth_choice *choice);
void lab_smoothing_free(quant_context *ctx, lab_smoothing *list);

/* smooth_search.c: alpha for one input, by quant_grids_smooth's rule. x_most, w_most [width]: what
 * factors are made of. choice->scheme is not touched. */
typedef struct lab_smooth_search {
    const lab_smoothing_source *from;
    const quant_scheme *scheme;
    uint64_t layer;
    int group;
    size_t width;
    const float *x_most, *w_most;
} lab_smooth_search;
quant_status lab_smooth_search_run(quant_context *ctx, const lab_smooth_search *s,
                                   quant_smooth_choice *choice);
/* Mean square of the step of one grid for each token, codes `levels` steps either side of 0: from
 * E max_j z_j^2 of independent Gaussian z_j with mean squares square[n], none beyond `most`. */
double lab_token_step2(const double *square, size_t n, double most, double levels);

#endif
