/* SPDX-License-Identifier: GPL-3.0-or-later */
/* made.h - tensors of data/bank_spec.h in memory. */
#ifndef QUANT_TESTS_MADE_H
#define QUANT_TESTS_MADE_H

#include "data/bank_spec.h"

/* Gaussian, mean 0, RMS 1, f32, named "t". */
bank_spec made_spec(uint64_t rows, uint64_t columns);
/* The whole tensor, or NULL; free() it. */
float *made_values(const bank_spec *spec, uint64_t seed);

#endif
