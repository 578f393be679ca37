/* SPDX-License-Identifier: GPL-3.0-or-later */
/* cliff.h - where a row of schemes falls off, read from figures and not from a plot.
 *
 * Schemes are put in order of their bits a weight, most first. A loss is a figure that grows as
 * things get worse, and a limit says how much of it is still borne. Two answers: between which
 * neighbours the limit is crossed for the first time, and between which the loss grows most per bit
 * saved. The first depends on the limit, the second on how the loss is measured. */
#ifndef QUANT_LAB_CLIFF_H
#define QUANT_LAB_CLIFF_H

#include <stddef.h>
#include <stdint.h>

#include "quant/context.h"

/* Indices of the schemes given; SIZE_MAX: there is none. */
typedef struct quant_cliff {
    size_t held;     /* fewest bits such that this scheme and all with more bits stay within the
                      * limit; none: the first is beyond it */
    size_t lost;     /* the next one, beyond the limit; none: all stay within */
    size_t from, to; /* neighbours with the steepest step; none: no two differ in bits */
} quant_cliff;

/* bits[n], loss[n]; a loss that is not a number is beyond any limit and in no steepest step.
 * Schemes of equal bits stay in the order given. */
quant_status quant_cliff_find(quant_context *ctx, const double *bits, const double *loss, size_t n,
                              double limit, quant_cliff *cliff);

#endif
