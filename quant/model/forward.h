/* SPDX-License-Identifier: GPL-3.0-or-later */
/* forward.h - run a model layer by layer, in several variants side by side.
 *
 *     quant_forward_variant v[2] = {{.logits = clean}, {.scheme = pick, .user = me, .logits = q}};
 *     quant_forward_run(ctx, model, &(quant_tokens){ids, n, s}, v, 2, NULL);
 *
 * The file is walked once: the weights of one layer are in memory, as stored and as one variant
 * has them, and every variant's activations go through that layer before the next one is read.
 * What happens inside is shown to a visitor, stage by stage.
 *
 * A variant gives exactly the bytes that it gives alone, for any number of threads: work is split
 * by index, matrix products go to OpenBLAS with one thread each. Other machines agree to about
 * 1e-5 of the norm of the logits. */
#ifndef QUANT_MODEL_FORWARD_H
#define QUANT_MODEL_FORWARD_H

#include "quant/activation.h"
#include "quant/model/model.h"

/* n sequences of s ids each, one after the other. */
typedef struct quant_tokens {
    const int64_t *id;
    size_t n, s;
} quant_tokens;

/* What is rounded after each operation (matrix product, norm, addition, activation, softmax
 * weight, rotation). Sums inside an operation are float or double in any case, and weights are what
 * the variant says: for 16-bit weights choose the scheme f16 or bf16. */
typedef enum quant_compute {
    QUANT_COMPUTE_F32,
    QUANT_COMPUTE_F16,
    QUANT_COMPUTE_BF16
} quant_compute;

/* In the order in which a layer goes through them. */
typedef enum quant_stage {
    QUANT_STAGE_EMBED,           /* residual stream before layer 0; layer = 0 */
    QUANT_STAGE_ATTENTION_INPUT, /* normed: what q, k and v multiply */
    QUANT_STAGE_Q,               /* after norm and rotation; rows ordered as in the file */
    QUANT_STAGE_K,
    QUANT_STAGE_V,
    QUANT_STAGE_SCORES,          /* softmax weights [heads * s, s] of a sequence; 0 where masked */
    QUANT_STAGE_MIX,             /* weighted sum of values: what o multiplies */
    QUANT_STAGE_O,
    QUANT_STAGE_ATTENTION_ADDED, /* O, or its norm: what is added to the residual stream */
    QUANT_STAGE_MIDDLE,          /* residual stream after attention */
    QUANT_STAGE_FFN_INPUT,       /* normed: what gate, up and router multiply */
    QUANT_STAGE_GATE,
    QUANT_STAGE_UP,
    QUANT_STAGE_ACTIVATION,      /* act(gate) * up: what down multiplies */
    QUANT_STAGE_DOWN,
    QUANT_STAGE_ROUTER,          /* softmax over all experts */
    QUANT_STAGE_ROUTES,          /* weight of each expert; 0 where it was not chosen */
    QUANT_STAGE_EXPERT_INPUT,    /* rows that chose one expert: what its gate and up multiply */
    QUANT_STAGE_EXPERT_GATE,
    QUANT_STAGE_EXPERT_UP,
    QUANT_STAGE_EXPERT_ACTIVATION, /* act(gate) * up of them: what its down multiplies */
    QUANT_STAGE_EXPERT_DOWN,     /* before the expert's weight */
    QUANT_STAGE_EXPERTS,         /* weighted sum over the chosen experts */
    QUANT_STAGE_FFN_ADDED,       /* what is added to the residual stream */
    QUANT_STAGE_RESIDUAL,        /* residual stream after the layer */
    QUANT_STAGE_FINAL,           /* after the last norm; layer = layers */
    QUANT_STAGE_LOGITS,          /* layer = layers */
    QUANT_STAGE_COUNT
} quant_stage;

/* "q", "scores", ...; "?" out of range. */
const char *quant_stage_name(quant_stage stage);

/* data[rows][cols], valid during the call. Rows first_row .. first_row + rows - 1 of the n * s (row
 * i * s + j is position j of sequence i; with last_only row i is the last position of sequence i
 * in FINAL and LOGITS). SCORES come one sequence at a time, first_row = i * s, rows = heads * s.
 * The EXPERT_* stages come expert by expert, with the rows that chose it: row r of data is row
 * chosen[r] of the n * s, ascending, first_row = chosen[0]; an expert that no row of the piece
 * chose is not shown. */
typedef struct quant_stage_view {
    quant_stage stage;
    uint64_t layer;
    size_t variant;
    size_t first_row, rows, cols;
    const float *data;
    uint64_t expert;      /* EXPERT stages only */
    const size_t *chosen; /* [rows]; NULL for all other stages */
} quant_stage_view;

/* Called from the calling thread; layer by layer, in a layer variant by variant, in a variant piece
 * of rows by piece of rows, in a piece stage by stage. Anything but QUANT_OK ends the run. */
typedef quant_status quant_stage_visitor(void *user, const quant_stage_view *view);

/* The grid of static activations for what a stage (ATTENTION_INPUT, MIX, FFN_INPUT, ACTIVATION,
 * EXPERT_INPUT, EXPERT_ACTIVATION) of a layer shows, of one expert where it has experts; of what
 * is left when each channel is divided by its factor (factors NULL: as it is). False: nothing is
 * known of it, and each token has its own range (an expert that calibration never reached). The
 * same answer for all matrices that multiply the input. */
typedef bool quant_grid_fn(void *user, quant_stage stage, uint64_t layer, size_t expert,
                           const quant_activation *how, const float *factors,
                           quant_activation_grid *grid);

/* SmoothQuant: factors[cols] of the input channels of a role's matrices in a layer, by
 * scheme->activation.smooth; the scheme is the one that the variant named for the tensor. Inputs
 * are divided by them and columns of weights multiplied, before either is quantized. NULL: none, as
 * for o and down, whose inputs come out of no norm that could take them in. Matrices that multiply
 * the same input have the same factors under the same scheme. */
typedef const float *quant_smooth_fn(void *user, quant_role role, uint64_t layer,
                                     const quant_scheme *scheme);

typedef struct quant_forward_variant {
    /* Scheme of a tensor with two axes or more, NULL: as stored. A scheme whose scales overflow is
     * widened (quant_scheme_widen), one that does not fit the shape fails the run. scheme = NULL:
     * everything as stored. It may be asked about a tensor more than once and must not change its
     * mind. */
    const quant_scheme *(*scheme)(void *user, const quant_tensor *t);
    void *user;
    /* A scheme with activations (w8a8, w4a8) quantizes the inputs of q, k, v, o, gate, up and down,
     * of experts too: products are int8 x int8 -> int32, exact, with a scale for each output
     * channel of each matrix (axes before the last two are a stack, whatever stack= says). Router
     * and head multiply float inputs with decoded weights, as deployed recipes do; norms, rotation,
     * softmax and the products of attention are float. An input that is NaN or infinite is refused
     * (QUANT_ENONFINITE) with layer, stage, sequence and position. */
    quant_grid_fn *grid;    /* NULL: a static scheme is QUANT_EINVAL */
    quant_smooth_fn *smooth; /* NULL: a scheme with smooth= is QUANT_EINVAL */
    void *grid_user;         /* of both */
    bool float_activations; /* weights only: f(W', x) */
    bool float_weights;     /* activations only: f(W, x') */
    /* Every layer, and the final norm with the head, begins with the residual stream of variant
     * `leader` (an earlier one that follows nobody) instead of its own: with weights W and W' and
     * streams x and x', four variants give f(W,x), f(W',x'), f(W',x) and f(W,x'). */
    bool follows;
    size_t leader;
    /* Experts and their weights are those of variant `router` (an earlier one). */
    bool routed;
    size_t router;
    float *logits; /* [n][s][vocab], or [n][vocab] with last_only; NULL: not wanted */
} quant_forward_variant;

typedef struct quant_forward_options {
    quant_compute compute;
    bool plain_attention; /* all scores of a row at once: the specification of the online form */
    bool last_only;       /* logits of the last position only */
    uint32_t stages;      /* bit 1 << stage: visit it */
    quant_stage_visitor *visit;
    void *user;
} quant_forward_options;

/* Sequences of s positions that go through a layer together. Products are cut by rows of such a
 * piece, so a run over a multiple of them and a run over the sequences that follow show the bytes
 * of one run over both, in every stage but LOGITS (where rows are cut from the first on). */
size_t quant_forward_batch(size_t s);

/* options NULL: all zero. QUANT_ERANGE names the first token out of range. Memory: one layer's
 * weights twice, the largest tensor once more packed when a variant quantizes, the residual stream
 * n * s * width of every variant, and scratch for at most max(s, 1024) rows; attention needs no
 * more for longer sequences (SCORES, when visited, heads * s * s). */
quant_status quant_forward_run(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                               const quant_forward_variant *variants, size_t count,
                               const quant_forward_options *options);

/* `steps` greedy tokens for each sequence (ties: the lower id): out[n][s + steps] begins with the
 * tokens given. One full run a step. Of the variant what says how to quantize is used, of the
 * options compute and plain_attention. QUANT_ENONFINITE when a logit is NaN. */
quant_status quant_forward_greedy(quant_context *ctx, quant_model *model,
                                  const quant_tokens *tokens, const quant_forward_variant *variant,
                                  const quant_forward_options *options, size_t steps,
                                  int64_t *out);

#endif
