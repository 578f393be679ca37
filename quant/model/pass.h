/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pass.h - one run of a model; not installed. */
#ifndef QUANT_MODEL_PASS_H
#define QUANT_MODEL_PASS_H

#include "quant/model/attention.h"
#include "quant/model/gemm.h"

/* The matrices of a tensor as integers, packed for products; scale[matrix][n]. */
typedef struct model_integers {
    size_t matrices, n, k;
    size_t each; /* bytes of a packed matrix, to the next one */
    unsigned char *packed;
    float *scale;
} model_integers;

/* A buffer of the context's allocator. */
typedef struct model_buffer {
    float *at;
    size_t count;
} model_buffer;

/* How a tensor multiplies. */
typedef struct model_part {
    quant_activation activation; /* of its inputs; kind FLOAT: as they are */
    const float *smooth;         /* factors of its inputs; NULL: none */
    model_integers integers;     /* packed NULL: multiplies with floats */
} model_part;

typedef struct model_pass {
    quant_context *ctx;
    const quant_model *model;
    const quant_model_sizes *z;
    const quant_tokens *tokens;
    const quant_forward_variant *variants;
    size_t count;
    quant_forward_options options;
    model_ops ops;
    size_t batch;                           /* sequences that go through a layer together */
    size_t variant;                         /* the one at work */
    uint64_t layer;
    model_buffer stored[QUANT_ROLE_COUNT];  /* weights as in the file */
    model_buffer changed[QUANT_ROLE_COUNT]; /* as decoded for the variant at work */
    const float *w[QUANT_ROLE_COUNT];       /* what the variant at work multiplies with */
    model_part *part[QUANT_ROLE_COUNT];     /* [quant_model_parts] of the variant at work */
    model_buffer stream;                    /* [variants][n * s][width] */
    model_buffer routes;                    /* [variants][n * s][experts], with experts only */
    model_buffer rotary[2];                 /* of global and local layers */
    /* Scratch for a batch. */
    model_buffer x, q, k, v, mix, added, gate, up, both, experts, expert_in, expert_out;
    model_buffer attention, scores;
    size_t *chosen;                         /* rows that chose the expert at work */
} model_pass;

quant_status model_buffer_new(quant_context *ctx, model_buffer *b, uint64_t count, uint64_t size);
void model_buffer_free(quant_context *ctx, model_buffer *b);

/* With ctx, model, z, tokens, variants, count and options given: all but the weights.
 * model_pass_end takes them back too, after a failure as well. */
quant_status model_pass_begin(model_pass *p);
void model_pass_end(model_pass *p);

/* part[] of all roles, multiplying floats; the pass of zeros before. */
quant_status model_parts_new(model_pass *p);
void model_parts_free(model_pass *p);
/* Read the tensors of a role into stored[role], one after the other. */
quant_status model_weights_read(model_pass *p, quant_role role, uint64_t layer);
/* Point w[role] at the weights of the variant at work; stored[role] has been read. */
quant_status model_weights_choose(model_pass *p, quant_role role, uint64_t layer);
/* True when the variants a and b have the same weights by construction. */
bool model_weights_same(const quant_forward_variant *a, const quant_forward_variant *b);

/* Show data[rows][cols] when the stage is wanted. */
quant_status model_show(const model_pass *p, quant_stage stage, const float *data, size_t first_row,
                        size_t rows, size_t cols);

/* The same for an expert's rows. */
quant_status model_show_expert(const model_pass *p, quant_stage stage, const float *data,
                               size_t expert, size_t rows, size_t cols);

/* Attention, feed-forward and experts of the layer at work on rows [row, row + rows) of the stream
 * of the variant at work; rows is a whole number of sequences. */
quant_status model_layer_attention(model_pass *p, size_t row, size_t rows);
quant_status model_layer_ffn(model_pass *p, size_t row, size_t rows);
/* experts[rows][width] from x[rows][width]. */
quant_status model_layer_experts(model_pass *p, size_t row, size_t rows);

/* y[rows][out] = x W^T, rounded. */
void model_multiply(const model_pass *p, const model_product *product);

/* Inputs of a matrix product: what a stage shows. Rows are first_row ... of all, or chosen[i]. */
typedef struct model_input {
    const float *x;
    size_t rows, cols;
    quant_stage stage;
    size_t first_row;
    size_t expert;
    const size_t *chosen; /* NULL: rows follow one another */
} model_input;
/* The same with matrix `expert` of a role (0 where there is one only), as the variant at work
 * quantizes it. */
quant_status model_project(const model_pass *p, quant_role role, const model_input *in, float *y);

/* Integers of a tensor that was encoded; the shape's axes before the last two are matrices. */
quant_status model_integers_make(quant_context *ctx, const quant_scheme *scheme,
                                 const quant_shape *shape, const void *packed, size_t bytes,
                                 model_integers *out);
void model_integers_free(quant_context *ctx, model_integers *integers);

static inline float *model_stream(const model_pass *p, size_t variant, size_t row)
{
    return p->stream.at + (variant * p->tokens->n * p->tokens->s + row) * (size_t)p->z->width;
}

static inline float *model_routes(const model_pass *p, size_t variant, size_t row)
{
    return p->routes.at + (variant * p->tokens->n * p->tokens->s + row) * (size_t)p->z->experts;
}

#endif
