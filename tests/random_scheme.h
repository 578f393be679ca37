/* SPDX-License-Identifier: GPL-3.0-or-later */
/* random_scheme.h - a tensor and a scheme that fits it, from a counter-based stream. */
#ifndef QUANT_TESTS_RANDOM_SCHEME_H
#define QUANT_TESTS_RANDOM_SCHEME_H

#include "quant/random.h"
#include "quant/scheme.h"
#include "quant/shape.h"

typedef struct dice {
    quant_random stream;
    uint64_t next;
} dice;

dice dice_of(uint64_t seed, uint64_t k);
/* An integer in [0, below). */
unsigned dice_roll(dice *d, unsigned below);

/* Rank 0..4, at most some 2000 elements, now and then an axis of length 0. */
quant_shape dice_shape(dice *d);
/* Any family, bits, granularity, axis, stack, asym, range, store, lut that this shape admits;
 * the text is valid and need not be canonical. */
void dice_scheme(dice *d, const quant_shape *shape, char text[QUANT_SCHEME_TEXT]);
/* Normals with ties, zeros and outliers among them. */
void dice_fill(dice *d, size_t n, float *w);

#endif
