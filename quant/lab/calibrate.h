/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calibrate.h - run prompts through a model and record what its linear layers see.
 *
 *     quant_calibrate_options o = {.moments = true};
 *     quant_calibrate(ctx, model, &tokens, &o, "stats.safetensors", &stats);
 *
 * Traces are not kept: what is recorded (quant/lab/stats.h) does not grow with the prompts, but for
 * three numbers a sequence. Sequences are traced some at a time; after each such piece the file is
 * written, whole or not at all. A run that was interrupted is finished by the same call: it begins
 * where the file ends, and the bytes are those of a run that was not. They do not depend on the
 * number of threads; machines agree to about 1e-5, as for the forward pass. */
#ifndef QUANT_LAB_CALIBRATE_H
#define QUANT_LAB_CALIBRATE_H

#include "quant/bank/packed.h"
#include "quant/lab/stats.h"

typedef struct quant_calibrate_options {
    /* Which sequences and positions of the tokens are recorded; a count of 0: all from the first
     * on. Positions before the first one are run, for those after them, and not recorded; those
     * behind the last are not run. */
    uint64_t first_sequence, sequences;
    uint64_t first_position, positions;
    const quant_scheme *scheme;   /* of the model while tracing; NULL: as stored */
    const quant_stats *stats;     /* of an earlier run: ranges of act=static and of channels, which
                                     such a scheme wants; NULL: none */
    bool moments;                 /* X^T X too: 8 cols^2 bytes for every input */
    uint64_t piece;               /* sequences between two writes, rounded up to whole batches of
                                     the pass and down to 256 MiB of residual stream; 0: 32 */
    bool replace;                 /* whatever is at the path */
    quant_progress_fn *progress;  /* NULL allowed */
    void *user;
} quant_calibrate_options;

/* path NULL: nothing is written. An existing file that is not an interrupted run of this very call
 * is QUANT_EIO unless `replace`. QUANT_ERANGE: no such sequences or positions; QUANT_ENONFINITE:
 * names layer, input, sequence and position; QUANT_ECHECKSUM: options->stats of another model. What
 * was written before a failure stays and will be gone on from. *stats is NULL after failure.
 * Memory: 48 KiB an input, and moments. */
quant_status quant_calibrate(quant_context *ctx, quant_model *model, const quant_tokens *tokens,
                             const quant_calibrate_options *options, const char *path,
                             quant_stats **stats);

#endif
