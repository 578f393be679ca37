/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare_parts.h - what the files of compare share; not installed.
 *
 * A study is a grid of cells, tensors by columns (schemes). Tensors are visited one at a time, in
 * file order but for gate/up/down, which are visited together; each cell ends as a row, kept or
 * refused, and the grid is then read off in file order. */
#ifndef QUANT_LAB_COMPARE_PARTS_H
#define QUANT_LAB_COMPARE_PARTS_H

#include "quant/lab/compare.h"
#include "quant/lab/probe.h"

/* Elements that are decoded and measured at a time. A row of outputs is summed span by span, so
 * this number is part of its last bits; threads are not. */
enum { LAB_SPAN = 16 * QUANT_FIDELITY_CHUNK };

typedef enum lab_fate { LAB_UNSEEN, LAB_ROW, LAB_KEPT, LAB_REFUSED } lab_fate;

typedef struct lab_cell {
    lab_fate fate;
    const char *reason;      /* kept, refused; cells that share it share the pointer */
    quant_compare_row row;
} lab_cell;

/* Where one span lies while it is measured. */
typedef struct lab_span {
    float *narrow;           /* the copy */
    double *reference, *copy;
    bool use_doubles;        /* the copy is wanted in double too */
} lab_span;

typedef struct lab_text lab_text; /* a string that the result will own */

typedef struct lab_study {
    quant_context *ctx;
    quant_bank *bank;
    const quant_compare_options *options;
    quant_bank *other;       /* --against; NULL otherwise */
    quant_packed *packed;    /* its directory when it is packed */
    size_t packed_next;      /* where the next tensor is expected in it */
    size_t tensors, columns;
    lab_cell *cells;         /* [tensors][columns] */
    lab_span span;
    quant_compare_triple *triples; /* [triple_room][columns] */
    size_t triple_count, triple_room;
    quant_compare_listed *extra;   /* tensors of the other bank alone */
    size_t extra_count, extra_room;
    lab_text *texts;
    uint64_t done, total;    /* source bytes, for progress */
} lab_study;

/* Copy a string into the result's texts; NULL when memory is short. */
const char *lab_text_copy(lab_study *s, const char *text);
void lab_texts_free(quant_context *ctx, lab_text *texts);
/* The line of the last failure, as a reason. */
const char *lab_text_failure(lab_study *s, quant_status status);
/* Give every column of a tensor the same end. */
quant_status lab_cells_end(lab_study *s, size_t tensor, lab_fate fate, const char *reason);

/* A tensor whose values are in memory. */
typedef struct lab_tensor {
    size_t index;
    const quant_tensor *info;
    float *w;
    float *importance;       /* NULL: none */
} lab_tensor;

/* A copy that can be read span by span: a packed buffer with its scheme, a tensor of another
 * bank, or (both NULL) the reference itself. */
typedef struct lab_copy {
    quant_scheme scheme;
    void *packed;
    size_t bytes;
    float *smooth;           /* [smooth_cols]: packed holds w times these; NULL: w */
    size_t smooth_cols;
    quant_bank *other;
    size_t index;
    bool wide;               /* other is F64 */
} lab_copy;

/* compare_stream.c: pass over the copy once, weight fidelity into f, outputs into the sinks (NULL:
 * none). An exact copy has no fidelity to measure. */
quant_status lab_stream(lab_study *s, const lab_tensor *t, const lab_copy *copy, quant_fidelity *f,
                        lab_outputs *const sinks[2]);
/* compare_importance.c: the importance of a tensor, freed by the second; sums of a copy. */
quant_status lab_importance_load(lab_study *s, lab_tensor *t);
void lab_importance_free(lab_study *s, lab_tensor *t);
quant_status lab_importance_measure(lab_study *s, const lab_tensor *t, const lab_copy *copy,
                                    quant_compare_row *row);

bool lab_is_wide(const lab_tensor *t); /* stored as F64: measured against that */

/* Reference outputs of one tensor by itself, kept while columns agree on the stack. */
typedef struct lab_own {
    bool ready;
    int stack;
    lab_inputs inputs;
    lab_outputs reference;
} lab_own;
quant_status lab_own_prepare(lab_study *s, const lab_tensor *t, int stack, lab_own *own);
void lab_own_free(lab_study *s, lab_own *own);

/* compare_activations.c: inputs through the codes of a scheme and back; `matrices` counts those
 * that have inputs of their own. */
/* Recorded ranges are of real inputs; seeded ones of unit norm lie far inside them. */
static inline const quant_stats *lab_recorded(const lab_study *s)
{
    return s->options->inputs ? s->options->stats : NULL;
}
typedef struct lab_ranges {
    const quant_activation *how;
    const quant_stats *stats; /* NULL: none */
    const char *name;         /* of the tensor */
    bool *own;                /* NULL, or set: static, and by these very inputs */
    const float *smooth;      /* [cols]: what x is divided by before it is coded; NULL: nothing */
} lab_ranges;
quant_status lab_inputs_quantize(quant_context *ctx, const lab_ranges *from,
                                 const lab_inputs *inputs, uint64_t matrices, lab_inputs *x_hat);
void lab_inputs_quantize_free(quant_context *ctx, uint64_t matrices, lab_inputs *x_hat);
/* Integer outputs of a copy: row->output and row->parts. weights_only: W^ x. */
quant_status lab_activations_measure(lab_study *s, const lab_tensor *t, const lab_copy *copy,
                                     const lab_own *own, const lab_outputs *weights_only,
                                     quant_compare_row *row);
/* y: W x, W^ x, W x^, W^ x^. */
void lab_output_parts_add(quant_output_parts *parts, const double y[4]);
/* compare_estimate.c: fill row->estimate, where statistics with moments know the tensor. */
quant_status lab_estimate(lab_study *s, const lab_tensor *t, const lab_copy *copy,
                          quant_compare_row *row);
/* v m v^T of v[cols], m[cols][cols], with room for one row; not below 0, where only rounding
 * leads. */
double lab_quadratic_form(const double *v, const double *m, size_t cols, double *product);
void lab_estimate_pool(quant_output_estimate *sum, const quant_output_estimate *more);
void lab_output_parts_pool(quant_output_parts *sum, const quant_output_parts *more);

/* What a tensor does inside a triple, beside its own row: the outputs of its reference, then those
 * of every column's copy, are handed to `take`. */
typedef struct lab_member lab_member;
struct lab_member {
    lab_view view;
    const lab_inputs *inputs; /* [columns + 1]; the last are the reference's */
    void *triple;
    /* The reference comes first, as column `columns`. outputs may be taken over (then y = NULL);
     * NULL when the column refused the tensor. quantized: the copy is not the tensor itself. */
    void (*take)(lab_study *s, lab_member *m, size_t column, bool quantized,
                 lab_outputs *outputs);
    bool refused;             /* set when the whole tensor has no values to offer */
};

bool lab_is_foldable(const quant_scheme *scheme, const quant_shape *shape);
void lab_copy_free(lab_study *s, lab_copy *copy); /* its packed buffer and factors */
void lab_packed_free(lab_study *s, lab_copy *copy);
/* packed of t->w under copy->scheme, as it is */
quant_status lab_encode_once(lab_study *s, const lab_tensor *t, lab_copy *copy,
                             quant_compare_row *row);

/* compare_smooth.c: s_j = x_most^alpha / w_most^(1 - alpha); 1 where either is 0. */
void lab_smooth_factors(double alpha, const float *x_most, const float *w_most, size_t n,
                        float *factor);
/* What smooth=search tries: alpha = 0.05, 0.1, ... 1; ties go to the first. */
enum { LAB_SMOOTH_ALPHAS = 20 };
static inline double lab_smooth_alpha(int i)
{
    return (i + 1) / 20.0;
}
/* The grid of the extremes of channels, each divided by its factor. */
quant_activation_grid lab_smoothed_grid(const quant_observer *o, bool asymmetric,
                                        const float *smooth);
/* packed and smooth of a copy by its scheme and the inputs in `own`, at least one; row->smooth. */
quant_status lab_smooth_encode(lab_study *s, const lab_tensor *t, const lab_own *own,
                               lab_copy *copy, quant_compare_row *row);

/* compare_tensor.c: measure one tensor under every column; member NULL when it is in no triple. */
quant_status lab_tensor_measure(lab_study *s, size_t tensor, lab_member *member);

/* compare_against.c: open the copy of a tensor, or end the cell. */
quant_status lab_against_copy(lab_study *s, const lab_tensor *t, lab_copy *copy, lab_cell *cell);
const char *lab_against_reason(const quant_tensor *t, uint64_t min_elements);

/* triples.c: find the triple that tensor i belongs to, gate first. */
typedef struct lab_triple {
    size_t member[3];        /* gate, up, down */
    const char *name;
} lab_triple;
quant_status lab_triple_find(lab_study *s, size_t i, bool *found, lab_triple *triple);
/* Measure its three tensors and what they do together. */
quant_status lab_triple_measure(lab_study *s, const lab_triple *triple);

/* compare_summary.c: read the grid off. Takes over what the result owns. */
quant_status lab_study_collect(lab_study *s, quant_compare_result **result);
/* compare.c */
quant_status lab_study_run(lab_study *s, quant_compare_result **result);

#endif
