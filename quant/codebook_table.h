/* SPDX-License-Identifier: Apache-2.0 */
/* codebook_table.h - from the weights of a group to its table as stored; not installed.
 *
 * Canonical form: entries are rounded to their storage type, weights belong to the nearest stored
 * entry (ties to the lower index), entries that no weight uses are dropped, the rest stands
 * ascending and the table ends with zeros that no code names. */
#ifndef QUANT_CODEBOOK_TABLE_H
#define QUANT_CODEBOOK_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "quant/kmeans1d_internal.h"
#include "quant/linear_range.h"
#include "quant/region.h"
#include "quant/scheme.h"

enum { QUANT_CODEBOOK_ENTRIES = 256, QUANT_INT8_LEVEL = 127 };

typedef struct quant_codebook {
    size_t used;                           /* entries before the padding, at least 1 */
    float entry[QUANT_CODEBOOK_ENTRIES];   /* what a code stands for; strictly ascending */
    int8_t code[QUANT_CODEBOOK_ENTRIES];   /* lut=int8: entry = scale * code, an f32 product */
    float scale;                           /* lut=int8 */
    bool raised;                           /* lut=int8: the scale is subnormal in its type */
    double optimum;                        /* mode=kmeans: SSE of the optimal f64 table, else 0 */
} quant_codebook;

/* The weights of one group, ready to be clustered. */
typedef struct quant_group {
    quant_points points; /* at least one */
    double unit;         /* an error of the points times this is one of the weights */
    const float *scale;  /* pcs: of each channel as stored; 0 when all of it is zero */
    size_t channels;
    size_t raised;       /* pcs: scales that are subnormal in their type */
    void *work;          /* for quant_codebook_choose; overlaps nothing above */
} quant_group;

/* Scratch bytes for groups of up to n weights, to be aligned to 64; 0 when it does not fit. */
size_t quant_codebook_work_bytes(const quant_scheme *s, size_t n);

/* pcs: choose the scales of region r into scale[channels] (QUANT_ESCALE: one overflows), and fill
 * the group but for points and work. Without pcs scale is not touched. */
quant_status quant_codebook_scales(const quant_scheme *s, const quant_regions *g, uint64_t r,
                                   const float *x, float *scale, quant_group *group);

/* Whether any of v[n] is not zero; false for NULL. */
bool quant_codebook_any(const float *v, size_t n);

/* Collect region r of g, x[n] and importance[n] (NULL: all 1) in channel order. With pcs x is
 * divided by its channel's scale, max|w| as stored, and counts by the square of it, so that least
 * error of the points is least error of the weights; channels of zeros are left out.
 * QUANT_ESCALE: a scale overflows its type. */
quant_status quant_codebook_collect(const quant_scheme *s, const quant_regions *g, uint64_t r,
                                    const float *x, const float *importance, void *work,
                                    quant_group *group);

/* Collect a region and choose its table. Failures of both; QUANT_ESCALE also when an entry times
 * the largest scale is not finite. */
quant_status quant_codebook_fit(const quant_scheme *s, const quant_regions *g, uint64_t r,
                                const float *x, const float *importance, void *work,
                                quant_group *group, quant_codebook *table);

/* One table for many weights, each of which counts once, from a third of the scratch: no pcs, no
 * lut=int8. The bytes are those of quant_codebook_fit. */
bool quant_codebook_is_narrow(const quant_scheme *s, size_t n);
size_t quant_codebook_narrow_bytes(const quant_scheme *s, size_t n);

/* QUANT_ENOMEM: so many partitions are about as good that this scratch cannot tell them apart
 * (kmeans1d_levels.c); quant_codebook_fit can. Other failures as there. */
quant_status quant_codebook_fit_narrow(const quant_scheme *s, const float *x, size_t n, void *work,
                                       quant_codebook *table);

/* Choose the table of the points (n >= 1, ascending; for lut=int8 wide ones). QUANT_ERANGE:
 * mode=unique with more than 2^b of them; QUANT_ESCALE: an entry, or with lut=int8 the scale,
 * overflows its storage type; QUANT_ENOMEM as above. */
quant_status quant_codebook_choose(const quant_scheme *s, const quant_point_list *points,
                                   void *work, quant_codebook *table);

/* Weighted squared error of the points under a table as it is stored. */
double quant_codebook_error(const quant_points *points, const quant_codebook *table);

/* threshold[j]: the largest float that is nearer to entry j than to entry j + 1, or as near;
 * j + 1 < used. */
void quant_codebook_thresholds(const float *entry, size_t used, float *threshold);

/* Drop entries that are nearest to no point; no other assignment changes by that. */
void quant_codebook_drop_unused(const quant_point_list *points, quant_codebook *table);

/* ---- lut=int8 ------------------------------------------------------------------------------- */

size_t quant_int8_work_bytes(void);

/* The scale of codes whose largest magnitude is `magnitude`: what a linear scheme of 8 bits, range
 * narrow, stores. */
quant_linear_fit quant_int8_scale(quant_store store, double magnitude);

/* A table of at most k int8 codes in -127..127 and their scale, from n ascending reals.
 *
 * plain  scale = max|entry| / 127 as stored, codes = round half even of entry / scale: what
 *        rounding a finished table gives.
 * tuned  for a given scale the best k of the 255 levels is a least-weight path over the levels and
 *        found exactly (dynamic program, error of half-step cells from prefix sums); for a given
 *        assignment the best scale is sum(w x c) / sum(w c^2). Both in turn, from the scale A/127
 *        of the plain table (at 8 bits also 0.9 A/127 ... 0.2 A/127), while a turn gains 0.01 %.
 *
 * The tuned table is, for its scale, the global optimum over all tables of k codes; over scales it
 * is a search. It is taken only when its error is strictly smaller, so the result is never worse
 * than plain. */
quant_status quant_int8_plain(quant_store store, const quant_points *points, const double *entry,
                              size_t n, quant_codebook *table);
void quant_int8_tune(quant_store store, const quant_points *points, size_t k, void *work,
                     quant_codebook *table);

#endif
