/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bank_spec.h - what a tensor of a made bank is asked to be, and the values that follow from it.
 *
 * A tensor is seen as matrices of rows x columns: the last axis is the columns, the one before it
 * the rows, all axes before those count matrices. Element i is
 *     mean + rms * f(row) * z(i)
 * z has variance 1 (student-t with one or two degrees of freedom has none and is not scaled);
 * f(row) = exp(s n - s^2) for a standard normal n, so that E f^2 = 1 for every spread s. Numbers
 * come from Philox streams keyed by (seed, tensor name), and from plain IEEE double arithmetic: the
 * same bytes from every compiler, for any number of threads and in whatever order. */
#ifndef QUANT_DATA_BANK_SPEC_H
#define QUANT_DATA_BANK_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/bank/bank.h"
#include "quant/random.h"

typedef enum bank_dist { BANK_GAUSSIAN, BANK_LAPLACE, BANK_STUDENT_T, BANK_UNIFORM } bank_dist;
enum { BANK_MAX_DOF = 64, BANK_MAX_OUTLIERS = 65536 };

typedef struct bank_spec {
    const char *name;
    quant_shape shape;
    quant_dtype dtype;    /* F32, F16 or BF16 */
    bank_dist dist;
    unsigned dof;         /* of student-t, 1 .. BANK_MAX_DOF */
    double mean, rms;
    double row_spread;    /* s above: standard deviation of the logarithm of a row's scale */
    bool in_columns;      /* outliers sit in columns, not in rows */
    uint64_t outliers;    /* lines (rows or columns of one matrix) that get one outlier each */
    double ratio;         /* max|w| / RMS of such a line, the outlier included */
} bank_spec;

typedef struct bank_plant {
    uint64_t index;
    float value;
} bank_plant;

/* A spec with its streams; rows counts those of all matrices together. */
typedef struct bank_source {
    bank_spec spec;
    quant_random values, scales, places;
    uint64_t rows, columns, rows_of_one;
    int threads;        /* those of the context */
    bank_plant *plants; /* spec.outliers of them */
} bank_source;

/* Checks the spec and places the outliers. Release with bank_source_close. */
quant_status bank_source_open(quant_context *ctx, const bank_spec *spec, uint64_t seed,
                              bank_source *source);
void bank_source_close(quant_context *ctx, bank_source *source);
/* Whole rows [first, first + count) as floats; cannot fail. In parallel over rows. */
void bank_source_fill(const bank_source *source, uint64_t first, uint64_t count, float *out);

/* exp(x) for |x| <= 700 in operations that IEEE 754 fixes to the last bit; error below 4 ulp. */
double bank_exp(double x);

/* Options that make a preset, NULL-terminated, or NULL when there is none of that name; the i-th
 * name, NULL past the end. */
const char *const *bank_preset(const char *name);
const char *bank_preset_name(size_t i);

#endif
