/* SPDX-License-Identifier: GPL-3.0-or-later */
/* schemes.h - every scheme of the grammar, and one of them measured and predicted.
 *
 * The schemes are read from the grammar: each row with each number of bits, and the example of each
 * row with each option. A new row or bit width is covered by itself; a new option makes
 * "every option has a variant" fail until a variant of it stands in schemes.c. */
#ifndef QUANT_TESTS_SCHEMES_H
#define QUANT_TESTS_SCHEMES_H

#include "quant/quant.h"

enum { MAX_SCHEMES = 160, DISTRIBUTIONS = 5 };

/* Canonical texts, filled by list_schemes (any number of calls). */
extern char schemes[MAX_SCHEMES][QUANT_SCHEME_TEXT];
extern int scheme_count;
extern const char *const scheme_variants[];
extern const int scheme_variant_count;
void list_schemes(void);

/* Element i of distribution 0..4: Gaussian; Laplace; Student's t with 4 degrees of freedom;
 * uniform; Gaussian with one weight in a thousand 20 times as large. */
double distribution_value(int distribution, const quant_random *r, uint64_t i);

/* Relative error of a scheme on w[shape]: result[0] by encoding, result[1] predicted. Nonzero
 * when a call failed, which is printed. */
int measure(const char *text, const quant_shape *shape, const float *w, float *decoded,
            double result[2]);

/* Distance of the two in dB. */
double off_db(const double result[2]);

#endif
