/* SPDX-License-Identifier: GPL-3.0-or-later */
/* routing.h - what quantization does to the choice of experts.
 *
 *     quant_routing_terms t = quant_routing_pooled(&column->routing, layer);
 *     (double)t.free / (double)t.tokens           share of tokens that meet other experts
 *
 * A token's route is the set of its experts; their weights are not part of it. Four runs give four
 * routes (quant/lab/propagate.h): clean f(W,x), free f(W',x'), injected f(W',x), carried f(W,x').
 * All four are run in the same arithmetic. */
#ifndef QUANT_LAB_ROUTING_H
#define QUANT_LAB_ROUTING_H

#include <stddef.h>
#include <stdint.h>

/* Tokens, and those whose set of experts is not the clean one: in the quantized model on its own,
 * for quantized weights on clean input, for clean weights on erroneous input. */
typedef struct quant_routing_terms {
    uint64_t tokens;
    uint64_t free, injected, carried;
} quant_routing_terms;

/* One expert of one layer: tokens that chose it in the clean run, in the quantized one, in both;
 * and its output (before the expert's weight) in these two runs, 0 for a token that did not choose
 * it. */
typedef struct quant_expert_terms {
    uint64_t clean_tokens, free_tokens, both_tokens;
    double clean2, free2, dot, error2;
} quant_expert_terms;

typedef struct quant_routing {
    uint64_t layers;
    size_t positions, experts;   /* experts 0: the model has none, and nothing below is there */
    quant_routing_terms *terms;  /* [layers][positions], sequences pooled */
    quant_expert_terms *expert;  /* [layers][experts], positions pooled too */
} quant_routing;

/* All positions of a layer. */
quant_routing_terms quant_routing_pooled(const quant_routing *r, uint64_t layer);

/* Of the outputs: NaN when both are zero (an expert that idles in both runs has no cosine), 0 when
 * one is. */
double quant_expert_cosine(const quant_expert_terms *t);
/* NaN when both are zero, infinite when only the clean one is. */
double quant_expert_error(const quant_expert_terms *t);

/* Experts of a layer without a token in the clean run, in the quantized run, and experts whose
 * output is not zero in both. */
typedef struct quant_routing_idle {
    size_t clean, free, live;
} quant_routing_idle;
quant_routing_idle quant_routing_idle_of(const quant_routing *r, uint64_t layer);

#endif
