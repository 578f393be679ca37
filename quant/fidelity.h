/* SPDX-License-Identifier: Apache-2.0 */
/* fidelity.h - how far a copy is from its reference, in one pass over both arrays.
 *
 * The pass gathers energies (quant_fidelity); every figure is read off them by quant_metric.
 * Energies of several arrays are pooled with quant_fidelity_add, which adds energies and never
 * averages ratios or decibels.
 *
 * With w the reference, y the copy, e = y - w:
 *     cosine          <w,y> / (|w| |y|)      higher is better; blind to a wrong scale
 *     relative_error  |e| / |w|              lower is better
 *     sqnr_db         20 log10(|w| / |e|)    higher is better
 *     mse             |e|^2 / n              lower is better
 *     max_abs_error   max |e|                lower is better, with its index
 * Both arrays zero: no cosine and no relative error (NaN; not "live"). Only one zero: cosine 0.
 * e = 0 with w nonzero: sqnr is +infinity; w = 0 with y nonzero: relative error is +infinity.
 * A cosine alone only bounds the relative error from below, relative_error >= sqrt(1 - cosine^2);
 * 1 - cosine is not a relative error. */
#ifndef QUANT_FIDELITY_H
#define QUANT_FIDELITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quant/context.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quant_fidelity {
    uint64_t n;          /* elements compared */
    double ref2;         /* sum of w^2 */
    double got2;         /* sum of y^2 */
    double dot;          /* sum of w*y */
    double err2;         /* sum of (y - w)^2 */
    double max_abs;      /* max |y - w|; NaN when any difference is NaN */
    uint64_t max_index;  /* first index where it is reached */
} quant_fidelity;

/* Measure n pairs. Energies in double over fixed virtual lanes: same bytes for any ISA level and
 * thread count. NaN or infinite inputs make the energies they enter NaN or infinite; every metric
 * of such a record is then NaN, and NaN never passes a gate. Cannot fail. */
quant_fidelity quant_fidelity_f32(quant_context *ctx, const float *ref, const float *got, size_t n);
quant_fidelity quant_fidelity_f64(quant_context *ctx, const double *ref, const double *got,
                                  size_t n);
/* A reference in double against a copy in float: a bank stored as F64. */
quant_fidelity quant_fidelity_f64_f32(quant_context *ctx, const double *ref, const float *got,
                                      size_t n);

/* Append `more`, whose elements follow those of `sum` (indices shift by sum->n); start from a
 * record of zeros. Records of consecutive pieces of QUANT_FIDELITY_CHUNK elements (the last may be
 * shorter) give the very record of one call over all of them. */
#define QUANT_FIDELITY_CHUNK 65536
void quant_fidelity_add(quant_fidelity *sum, const quant_fidelity *more);

/* Largest relative error of ref2, got2 and err2 by rounding, and of dot relative to |w| |y|, for n
 * elements (f64: as long as no square over- or underflows). About 1.2e-13 for millions. */
double quant_fidelity_bound(uint64_t n);

/* True when at least one side has a nonzero element: such a pair has a cosine. */
bool quant_fidelity_live(const quant_fidelity *f);

/* Rows of the metric table, in report order. */
typedef enum quant_metric_id {
    QUANT_COSINE, QUANT_RELATIVE_ERROR, QUANT_SQNR_DB, QUANT_MSE, QUANT_MAX_ABS_ERROR,
    QUANT_METRIC_COUNT
} quant_metric_id;

typedef struct quant_metric {
    const char *name;        /* "cosine": the key in JSON, gates and CSV */
    const char *heading;     /* short table heading */
    bool higher_is_better;
    double (*value)(const quant_fidelity *f);
} quant_metric;

/* Row id of the table; NULL when id is out of range. By name: NULL when unknown. */
const quant_metric *quant_metric_row(int id);
const quant_metric *quant_metric_find(const char *name);

double quant_cosine(const quant_fidelity *f);
double quant_relative_error(const quant_fidelity *f);
double quant_sqnr_db(const quant_fidelity *f);
double quant_mse(const quant_fidelity *f);
double quant_max_abs_error(const quant_fidelity *f);

/* Does the metric of n pairs hold against its limit (>= when higher is better, else <=)? The
 * message, one line cut at `bytes`, tells metric, value, limit, and the index of the largest
 * difference with both values; it is written in either case. False as well when the value is NaN,
 * n = 0, the limit is NaN or both arrays are zero: nothing was shown then. What
 * <quant/assert.h> asserts. */
#define QUANT_CHECK_MESSAGE 256
bool quant_fidelity_check(quant_metric_id metric, double limit, const float *ref, const float *got,
                          size_t n, char *message, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
