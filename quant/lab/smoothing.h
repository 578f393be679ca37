/* SPDX-License-Identifier: GPL-3.0-or-later */
/* smoothing.h - factors of SmoothQuant for the layers of a model; not installed. */
#ifndef QUANT_LAB_SMOOTHING_H
#define QUANT_LAB_SMOOTHING_H

#include "quant/lab/grids.h"

/* Inputs that come out of a norm, which takes the factors in: of q, k and v; of gate and up, of
 * experts too. */
enum { LAB_SMOOTH_ATTENTION, LAB_SMOOTH_FFN, LAB_SMOOTH_GROUPS };

typedef struct lab_smoothing lab_smoothing;
struct lab_smoothing {
    double alpha;
    size_t layers, width;
    bool *seen;    /* [layers][groups] */
    float *factor; /* [layers][groups][width] */
    lab_smoothing *next;
};

/* Group of a role; -1: none. */
int lab_smoothing_group(quant_role role);
/* Factors; NULL: that alpha was not added, or nothing was seen there. */
const float *lab_smoothing_find(const lab_smoothing *list, double alpha, uint64_t layer, int group);
/* Put the factors of one alpha in front of the list. */
quant_status lab_smoothing_add(quant_context *ctx, const quant_model *model, quant_observer_fn *of,
                               void *user, double alpha, lab_smoothing **list);
void lab_smoothing_free(quant_context *ctx, lab_smoothing *list);

#endif
