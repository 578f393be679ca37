/* SPDX-License-Identifier: Apache-2.0 */
/* codec.h - what a scheme family does with one region; not installed.
 *
 * encode.c and decode.c walk tensors; a family (linear.c, codebook.c, float16.c) is one row of
 * functions that fit a region's parameters, turn runs into codes and codes into values. */
#ifndef QUANT_CODEC_H
#define QUANT_CODEC_H

#include <stdint.h>

#include "quant/codebook_table.h"
#include "quant/encode.h"
#include "quant/region.h"

/* Elements handled at once: a multiple of 8, so that packed pieces meet at bytes; 16 KiB of codes
 * and 64 KiB of floats stay in a second-level cache. */
enum { QUANT_PIECE = 16384 };

/* Elements that are passed from one kernel to the next: 16 KiB of floats, half of a first-level
 * cache. */
enum { QUANT_STEP = 4096 };

/* From this many elements (32 MiB of floats) on, a decoded tensor is larger than what last-level
 * caches keep for one thread, and is written past them. */
enum { QUANT_STREAM = 1 << 23 };

/* Below this many elements waking a team of threads costs more than it saves. */
enum { QUANT_SMALL = 8 * QUANT_PIECE };

/* A tensor being encoded or decoded. */
typedef struct quant_job {
    quant_context *ctx;
    quant_scheme scheme;
    quant_regions regions;
    quant_layout layout;
    uint64_t codes;        /* of one matrix: its elements, or its vectors */
    const float *w;        /* encode */
    const float *importance; /* encode; NULL: every weight counts once */
    uint8_t *packed;       /* encode */
    const uint8_t *source; /* decode; equals packed while encoding */
    int8_t *zeros;         /* encode, asym: zero point of each region, packed at the end */
    uint16_t *used_entries; /* encode, codebooks: entries of each table before its padding */
    bool stream;           /* decode: the result is large, see QUANT_STREAM */
    bool straight;         /* and on lines of 64 bytes, so that kernels write it themselves */
    int fit_threads;       /* threads that fit may use inside one region */
} quant_job;

/* What one thread owns while encoding. Counters are summed over workers at the end. */
typedef struct quant_worker {
    float *region;         /* gathered values of a strided region; NULL when contiguous */
    float *importance;     /* room for the same of the importance */
    void *work;            /* the family's scratch */
    double *sse;           /* per region optimal SSE (codebooks), shared by all; NULL: not wanted */
    uint64_t saturated, zero_codes, raised_scales;
    uint8_t seen[256];     /* 1: this code byte occurs */
    bool count;            /* fill zero_codes and seen */
    quant_status status;   /* failure with the smallest region of this worker */
    uint64_t where;        /* that region; UINT64_MAX when none */
} quant_worker;

typedef struct quant_codec {
    /* Scratch bytes of one worker. */
    size_t (*work_bytes)(const quant_job *job);
    /* Choose and store the parameters of region r from its n values. */
    quant_status (*fit)(const quant_job *job, uint64_t r, const float *x, uint64_t n,
                        quant_worker *worker);
    /* Codes of a run; its region and channel are numbered through all matrices. */
    void (*code)(const quant_job *job, quant_run run, const float *x, uint8_t *codes,
                 quant_worker *worker);
    /* Values of the codes of a run. */
    void (*value)(const quant_job *job, quant_run run, const uint8_t *codes, float *y);
    /* Check, fit and code elements [p, p + n) of matrix m at once, whole rows of contiguous regions
     * that begin and end at a byte: the bytes of fit and code. NULL or false: nothing was done. */
    bool (*strip)(const quant_job *job, uint64_t m, uint64_t p, uint64_t n, quant_worker *worker);
    /* Values of the next up to n codes, which begin at element p of matrix m, many regions at once;
     * returns how many. NULL or 0: run by run. */
    uint64_t (*values)(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                       const uint8_t *codes, float *y);
    /* The same from the packed codes, past the caches, p a multiple of 8 and y on a line of 64
     * bytes; returns a multiple of 16 or n. NULL or 0: unpack first. */
    uint64_t (*packed)(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                       const uint8_t *stream, float *y);
    bool signed_codes;     /* sign-extend when unpacking */
} quant_codec;

extern const quant_codec quant_linear_codec, quant_codebook_codec;
extern const quant_codec quant_vector_codec; /* dim > 1; two functions below code and decode */

/* The linear family's, in linear_strip.c. */
bool quant_linear_strip(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                        quant_worker *worker);
uint64_t quant_linear_values(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                             const uint8_t *codes, float *y);
uint64_t quant_linear_packed(const quant_job *job, uint64_t m, uint64_t p, uint64_t n,
                             const uint8_t *stream, float *y);

/* The job's codec; NULL for the float family, which has no regions. */
const quant_codec *quant_job_codec(const quant_job *job);

/* Codes q .. q + n - 1 of matrix m, q a multiple of 8, packed to their place; elements p ..
 * p + n - 1 of matrix m. Vector codebooks. */
void quant_vector_code(const quant_job *job, uint64_t m, uint64_t q, uint64_t n,
                       quant_worker *worker);
void quant_vector_decode(const quant_job *job, uint64_t m, uint64_t p, uint64_t n, float *y);

/* Table r of a codebook: store all its numbers, dense ones or with lut=int8 codes and scale; load
 * the first n as f32. A table has 2^bits times dim numbers. */
void quant_job_put_table(const quant_job *job, uint64_t r, const float *entry, const int8_t *code,
                         float scale);
void quant_job_load_table(const quant_job *job, uint64_t r, size_t n, float *table);

/* pcs: store the scales of region r; the scale of a channel, 1 without pcs; multiply a run that
 * was decoded by its channel's scale. */
void quant_job_put_scales(const quant_job *job, uint64_t r, const quant_group *group);
float quant_job_channel_scale(const quant_job *job, uint64_t channel);
void quant_job_apply_scale(const quant_job *job, quant_run run, float *y);

/* Validate arguments and fill the job's geometry. */
quant_status quant_job_make(quant_context *ctx, const quant_scheme *scheme,
                            const quant_shape *shape, quant_job *job);

/* Keep the failure of the smallest region. */
void quant_worker_fail(quant_worker *worker, quant_status s, uint64_t region);

/* Mark code bytes as seen and count those equal to `zero`. */
void quant_worker_note(quant_worker *worker, const uint8_t *codes, uint64_t n, uint8_t zero);

/* The float family: n values as 16-bit floats; an element that overflows fails the worker. */
void quant_float16_code(const quant_job *job, const float *x, uint64_t n, uint8_t *stream,
                        quant_worker *worker);
void quant_float16_value(const quant_job *job, const uint8_t *stream, uint64_t n, float *y);

/* Decode n elements beginning at element p of matrix m into y. */
void quant_job_decode(const quant_job *job, uint64_t m, uint64_t p, uint64_t n, float *y);

/* The run at element p of matrix m, at most `limit` elements, as a codec wants it. */
quant_run quant_job_run(const quant_job *job, uint64_t m, uint64_t p, uint64_t limit);

/* Bytes of the codes of one matrix. */
uint64_t quant_job_matrix_bytes(const quant_job *job);

/* b-bit two's complement zero point of region r in its stream. */
int32_t quant_zero_get(const uint8_t *stream, uint64_t r, int bits);

#endif
