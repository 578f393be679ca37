/* SPDX-License-Identifier: GPL-3.0-or-later */
// %% [markdown]
// # 03 · Where the cliff lies between 4, 3 and 2 bits
//
// **Question.** Four bits served, three and two turned to gibberish. Is there a cliff, where
// does it lie, and which of the numbers that one can measure shows it in time: weight cosine,
// output cosine, logits, or perplexity?
//
// **Method.** The trained mixture of experts of `data/moe` (24 layers, bytes) reads 4 of its
// evaluation sequences, once as it is and once for each scheme with every matrix quantized
// (`quant_propagate`). Weight cosine pools all matrices. Output cosine is that of a layer on
// *clean* input, the worst layer. Logits and perplexity are those of the whole quantized model.
// All are put on one scale: the share of the signal's energy that is error.
// %%
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "notebooks-c/notebook.h"
#include "quant/lab/propagate.h"

enum { SEQUENCES = 4, FIRST = 64 };
static const char *const names[] = {
    "lut8:group=32", "lut6:group=32", "lut4:group=32", "lut3:group=32", "lut2:group=32",
    "lut1:group=32", "int8:channel",  "int4:block=32", "int3:block=32", "int2:block=32"};
enum { SCHEMES = sizeof names / sizeof *names, PALETTES = 6 };
typedef struct figures {
    double bits, weight, output, stream; /* bits as stored; cosines */
    quant_logits_summary logits;
} figures;
static figures of[SCHEMES];

/* Cosine that goes with a relative error when the error is orthogonal to the signal. */
static double as_cosine(double delta)
{
    return 1.0 / sqrt(1.0 + delta * delta);
}

static void read_ledger(const quant_propagate_column *c, figures *f)
{
    f->logits = c->logits;
    f->output = 1.0;
    for (uint64_t d = 1; d + 1 < c->ledger.depths; d++) {
        quant_ledger_terms t = quant_ledger_pooled(&c->ledger, d, QUANT_PLACE_STREAM);
        f->output = fmin(f->output, as_cosine(quant_ledger_delta(&t)));
        f->stream = as_cosine(quant_ledger_error(&t));
    }
}

// %% [markdown]
// ## The table
//
// `output` is the worst layer's, on clean input; `stream` is the residual stream after the last
// layer, with all that came in.
// %%
CELL(table)
{
    quant_context *ctx = notebook_context();
    quant_model *model;
    quant_scheme schemes[SCHEMES];
    notebook_check(quant_model_open(ctx, "../data/moe", &model), "data/moe");
    size_t s;
    int64_t *id = notebook_tokens("../data/moe/tokens.npy", FIRST, SEQUENCES, &s);
    for (int i = 0; i < SCHEMES; i++) {
        schemes[i] = notebook_scheme(names[i]);
        quant_fidelity w = notebook_matrices(quant_model_bank(model), names[i], &of[i].bits);
        of[i].weight = quant_cosine(&w);
    }
    quant_propagate_result *r;
    quant_tokens tokens = {id, SEQUENCES, s};
    quant_propagate_options options = {.schemes = schemes, .scheme_count = SCHEMES};
    notebook_check(quant_propagate(ctx, model, &tokens, &options, &r), "propagate");
    printf("                       cosine of                            top-1   perplexity\n"
           "scheme           bits  weights   output   stream   logits   agrees       ratio\n");
    for (int i = 0; i < SCHEMES; i++) {
        read_ledger(&r->columns[i], &of[i]);
        printf("%-14s  %5.2f  %.5f  %.5f  %.5f  %.5f  %5.1f %%  %10.3f\n", names[i], of[i].bits,
               of[i].weight, of[i].output, of[i].stream, of[i].logits.cosine_mean,
               100.0 * of[i].logits.same_top, of[i].logits.ratio);
    }
    printf("\nunquantized perplexity %.3f a byte\n", of[0].logits.ref_perplexity);
    quant_propagate_free(ctx, r);
    quant_model_close(ctx, model);
    free(id);
}

// %% [markdown]
// ## Four measures, one axis
//
// Left axis: error energy over signal energy, 1/c² − 1, of weights, outputs, stream and logits.
// Right axis: what the model lost, as the log₂ of the perplexity ratio, bits per byte. Palettes
// only.
// %%
static double energy(double cosine)
{
    return 1.0 / (cosine * cosine) - 1.0;
}

CELL(figure_cliff)
{
    FILE *p = notebook_plot("03-cliff");
    fprintf(p, "set xlabel 'stored bits per weight'\nset ylabel 'error energy / signal energy'\n"
               "set y2label 'lost bits per byte'\nset y2tics\nset border 11\nset logscale y\n"
               "set xrange [0.8:8.7]\nset format y '10^{%%T}'\nset key top right\n$d << EOD\n");
    for (int i = 0; i < PALETTES; i++) {
        const figures *f = &of[i];
        fprintf(p, "%g %g %g %g %g %g\n", f->bits, energy(f->weight), energy(f->output),
                energy(f->stream), energy(f->logits.cosine_mean), log2(f->logits.ratio));
    }
    fprintf(p, "EOD\nplot $d u 1:2 w lp lt 1 t 'weights', $d u 1:3 w lp lt 2 t 'worst layer, clean "
               "input', $d u 1:4 w lp lt 3 t 'stream, last layer', $d u 1:5 w lp lt 4 t 'logits', "
               "$d u 1:6 axes x1y2 w lp lt 7 dt 2 t 'lost bits per byte (right)'\n");
    notebook_plot_end(
        "Palettes from 8 to 1 bits on the trained mixture of experts: the error of weights, "
        "outputs, stream and logits falls as a straight line on a logarithmic axis; the loss of "
        "the model is flat and then rises at once.");
}

// %% [markdown]
// ## Where it breaks
// %%
CELL(verdict)
{
    int cliff = 0;
    for (int i = 1; i < PALETTES; i++) {
        double step = log2(of[i].logits.ratio) - log2(of[i - 1].logits.ratio);
        notebook_say(
            "- `%s` to `%s`: weight error energy × %.1f, logits' × %.1f, loss %+.3f bits per byte; "
            "top-1 agreement %.1f %% to %.1f %%",
            names[i - 1], names[i], energy(of[i].weight) / energy(of[i - 1].weight),
            energy(of[i].logits.cosine_mean) / energy(of[i - 1].logits.cosine_mean), step,
            100.0 * of[i - 1].logits.same_top, 100.0 * of[i].logits.same_top);
        if (!cliff && log2(of[i].logits.ratio) > 0.5) {
            cliff = i;
        }
    }
    if (cliff) {
        notebook_say("The first palette that costs more than half a bit per byte is `%s`; the one "
                     "before it, `%s`, "
                     "costs %.3f (95 %% interval %.3f to %.3f). Weight cosine fell from %.4f to "
                     "%.4f between them, "
                     "the cosine of the logits from %.4f to %.4f.",
                     names[cliff], names[cliff - 1], log2(of[cliff - 1].logits.ratio),
                     log2(of[cliff - 1].logits.low), log2(of[cliff - 1].logits.high),
                     of[cliff - 1].weight, of[cliff].weight, of[cliff - 1].logits.cosine_mean,
                     of[cliff].logits.cosine_mean);
    }
}

// %% [markdown]
// ## Why the logits' cosine stays high
//
// Softmax does not see what is added to all logits alike, nor does a decision see what is the
// same at every position. How much of the logits' energy is of that kind?
// %%
CELL(common_part)
{
    quant_context *ctx = notebook_context();
    quant_model *model;
    notebook_check(quant_model_open(ctx, "../data/moe", &model), "data/moe");
    size_t s, vocab = quant_model_sizes_of(model)->vocab;
    int64_t *id = notebook_tokens("../data/moe/tokens.npy", FIRST, 1, &s);
    float *logits = notebook_room(s * vocab, sizeof *logits);
    quant_forward_variant clean = {.logits = logits};
    quant_tokens tokens = {id, 1, s};
    notebook_check(quant_forward_run(ctx, model, &tokens, &clean, 1, NULL), "forward");
    double all = 0.0, common = 0.0;
    for (size_t v = 0; v < vocab; v++) {
        double sum = 0.0;
        for (size_t i = 0; i < s; i++) {
            double x = (double)logits[i * vocab + v];
            sum += x;
            all += x * x;
        }
        common += sum * sum / (double)s;
    }
    notebook_say("%.1f %% of the energy of the logits is one vector, the same at every position of "
                 "this sequence. A cosine of %.4f "
                 "between logits therefore leaves an error of %.0f %% of the energy that tells one "
                 "position from another.",
                 100.0 * common / all, of[PALETTES - 2].logits.cosine_mean,
                 100.0 * energy(of[PALETTES - 2].logits.cosine_mean) * all / (all - common));
    quant_model_close(ctx, model);
    free(logits);
    free(id);
}

// %% [markdown]
// ## What this says
//
// Nothing breaks in the weights. Each bit less multiplies the squared error of the weights by
// about four, at 4 → 3 as at 8 → 6, and outputs, stream and logits follow on the same slope.
// What breaks is the decision at the end: as long as the error of the logits is small against
// the distance between the best tokens, nothing is lost, and when it is not, everything is. So
// the cliff cannot be read off a weight cosine. It can be read off the logits' error against the
// margin, that is, off top-1 agreement and KL, on real text.
//
// ## What would change the answer
//
// - A larger model has more redundancy: the same slope, a cliff at fewer bits. A deeper one
//   accumulates more: a cliff at more bits.
// - Text that the model finds easy has wide margins; agreement stays high longer.
// - The sequences here were sampled from the model itself, so its own perplexity on them is as
//   good as it gets; on foreign text ratios are smaller.
// %%
NOTEBOOK(table, figure_cliff, verdict, common_part)
