/* SPDX-License-Identifier: GPL-3.0-or-later */
// %% [markdown]
// # 01 · Why per-tensor INT8 fails on expert banks
//
// **Question.** A bank of experts is stored as one tensor, and INT8 gives it one scale. Sampled
// layers then show output cosines between 0.9555 and 0.9999. What decides where in that range a
// layer lands, and can it be known before anything is encoded?
//
// **Method.** With one scale s = A/127, A = max|w|, rounding errors are spread over ±s/2, so
// that ‖e‖² ≈ n s²/12. Divided by ‖w‖² = n·RMS² everything but one number cancels:
//
//     relative error  δ = (A/RMS) / (127 √12)          SQNR = 52.9 dB − 20 log10(A/RMS)
//
// A/RMS of *the whole tensor* is all that matters: 4.9 for a million Gaussian weights, more as
// soon as one weight of one expert sticks out. We plant outliers to test the line, then put the
// tensors of a trained model on it.
// %%
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "notebooks-c/notebook.h"
#include "quant/predict.h"
#include "quant/random.h"

enum { EXPERTS = 8, ROWS = 704, COLUMNS = 256, WEIGHTS = EXPERTS * ROWS * COLUMNS };
static const double ratios[] = {5, 10, 20, 40, 70, 100, 135, 200};
enum { RATIOS = sizeof ratios / sizeof *ratios };
static const char *const schemes[] = {"int8:tensor", "int8:channel", "lut4:group=32"};
enum { SCHEMES = sizeof schemes / sizeof *schemes };
static const quant_shape flat = {2, {EXPERTS * ROWS, COLUMNS}};

static double rms_of(const float *w, size_t n)
{
    quant_summary s;
    notebook_check(quant_summarize(notebook_context(), w, n, &s), "summary");
    return s.rms;
}

/* Gaussian weights below `ratio` times their RMS, and one weight of that size in a row of its own
 * for every expert, or (in_columns) in every row of one column of every expert. With a share p of
 * the weights planted the others must have v^2 (1/ratio^2 - p) of energy each. */
static void plant(float *w, double ratio, bool in_columns)
{
    quant_random body = quant_random_stream(1, "body"), at = quant_random_stream(1, "places");
    quant_random_fill_normal(&body, 0, WEIGHTS, w);
    double r = rms_of(w, WEIGHTS);
    double p = (in_columns ? ROWS : 1.0) / ((double)ROWS * COLUMNS);
    double v = ratio * r / sqrt(1.0 - p * ratio * ratio);
    for (size_t i = 0; i < WEIGHTS; i++) { /* the Gaussian's own tail stays below the plant */
        w[i] = fabsf(w[i]) > (float)(ratio * r) ? copysignf((float)(ratio * r), w[i]) : w[i];
    }
    for (uint64_t e = 0; e < EXPERTS; e++) {
        uint64_t row = quant_random_below(&at, 2 * e, ROWS);
        uint64_t column = quant_random_below(&at, 2 * e + 1, COLUMNS);
        for (uint64_t i = 0; i < ROWS; i++) {
            if (in_columns || i == row) {
                w[(e * ROWS + i) * COLUMNS + column] = (float)(i % 2 ? -v : v);
            }
        }
    }
}

// %% [markdown]
// ## One outlier an expert
//
// Eight experts of 704 × 256, Gaussian; each gets one outlier of a chosen size. The prediction
// (`quant_predict_gaussian`) reads A/RMS and nothing else.
// %%
static double planted[RATIOS][SCHEMES], predicted[RATIOS];

CELL(sweep)
{
    float *w = notebook_room(WEIGHTS, sizeof *w), *copy = notebook_room(WEIGHTS, sizeof *copy);
    double off = 0.0;
    printf("         SQNR in dB                                   weight cosine\n"
           "max/RMS  predicted  int8:tensor  int8:channel  lut4   int8:tensor\n");
    for (int i = 0; i < RATIOS; i++) {
        plant(w, ratios[i], false);
        double cosine = 0.0;
        for (int s = 0; s < SCHEMES; s++) {
            quant_fidelity f = notebook_round_trip(schemes[s], &flat, w, copy);
            planted[i][s] = quant_sqnr_db(&f);
            cosine = s ? cosine : quant_cosine(&f);
        }
        predicted[i] = -20.0 * log10(quant_predict_gaussian(8, ratios[i]));
        off = fmax(off, fabs(predicted[i] - planted[i][0]));
        printf("%7.0f  %9.2f  %11.2f  %12.2f  %4.1f   %11.4f\n", ratios[i], predicted[i],
               planted[i][0], planted[i][1], planted[i][2], cosine);
    }
    notebook_say(
        "Largest difference between prediction and measurement: %.2f dB, for a model that has "
        "seen one number of the tensor.",
        off);
    free(w);
    free(copy);
}

// %% [markdown]
// ## The tensors of a trained model on the same line
//
// `data/moe` is a trained 24-layer mixture of experts. Nothing was planted there. For every
// tensor with two axes or more: A/RMS as it is, and the SQNR of `int8:tensor`, `int8:channel`
// and of one scale an expert (`int8:tensor,stack=1`).
// %%
enum { MOST = 512 };
static struct {
    double ratio, tensor, expert, channel;
    bool stack;
    char name[64];
} real[MOST];
static int reals;

static void measure(quant_bank *bank, size_t i, const quant_tensor *t)
{
    quant_context *ctx = notebook_context();
    float *w = notebook_room(t->elements, sizeof *w), *copy = notebook_room(t->elements, sizeof *w);
    quant_summary s;
    notebook_check(quant_bank_read_f32(ctx, bank, i, 0, t->elements, w), t->name);
    notebook_check(quant_summarize(ctx, w, t->elements, &s), t->name);
    quant_fidelity one = notebook_round_trip("int8:tensor", &t->shape, w, copy), expert = one;
    real[reals].stack = t->shape.rank == 3;
    if (real[reals].stack) {
        expert = notebook_round_trip("int8:tensor,stack=1", &t->shape, w, copy);
    }
    quant_fidelity channel = notebook_round_trip(
        real[reals].stack ? "int8:channel,stack=1" : "int8:channel", &t->shape, w, copy);
    real[reals].ratio = (double)s.absmax / s.rms;
    real[reals].tensor = quant_sqnr_db(&one);
    real[reals].expert = quant_sqnr_db(&expert);
    real[reals].channel = quant_sqnr_db(&channel);
    snprintf(real[reals].name, sizeof real[reals].name, "%s", t->name);
    reals++;
    free(w);
    free(copy);
}

CELL(trained)
{
    quant_bank *bank;
    notebook_check(quant_bank_open(notebook_context(), "../data/moe", &bank), "data/moe");
    for (size_t i = 0; i < quant_bank_count(bank) && reals < MOST; i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        if (t->shape.rank >= 2) {
            measure(bank, i, t);
        }
    }
    quant_bank_close(notebook_context(), bank);
    int worst = 0;
    double off = 0.0, gain = 0.0;
    for (int i = 0; i < reals; i++) {
        worst = real[i].tensor < real[worst].tensor ? i : worst;
        off = fmax(off,
                   fabs(real[i].tensor + 20.0 * log10(quant_predict_gaussian(8, real[i].ratio))));
        gain = fmax(gain, real[i].expert - real[i].tensor);
    }
    printf("%d tensors; worst under int8:tensor: %s\n"
           "max/RMS %.1f, SQNR %.2f dB with one scale, %.2f dB with one an expert, "
           "%.2f dB with one a channel\n",
           reals, real[worst].name, real[worst].ratio, real[worst].tensor, real[worst].expert,
           real[worst].channel);
    notebook_say("From A/RMS alone the SQNR of every tensor is known to %.1f dB, although trained "
                 "weights are not Gaussian. A scale for each expert gains at most %.1f dB here.",
                 off, gain);
}

CELL(figure_line)
{
    FILE *p = notebook_plot("01-line");
    fprintf(p, "set logscale x\nset xrange [3:400]\nset xlabel 'max|w| / RMS of the tensor'\n"
               "set ylabel 'weight SQNR of int8, dB'\nset key bottom left\n"
               "$planted << EOD\n");
    for (int i = 0; i < RATIOS; i++) {
        fprintf(p, "%g %g %g\n", ratios[i], planted[i][0], planted[i][1]);
    }
    fprintf(p, "EOD\n$real << EOD\n");
    for (int i = 0; i < reals; i++) {
        fprintf(p, "%g %g %g\n", real[i].ratio, real[i].tensor, real[i].channel);
    }
    fprintf(p,
            "EOD\nplot 20*log10(127*sqrt(12)) - 20*log10(x) lt 7 lw 1 t "
            "'52.9 dB - 20 log10(max/RMS)', $planted u 1:2 w p lt 1 ps 1 t 'planted, one scale', "
            "$planted u 1:3 w p lt 3 ps 1 t 'planted, scale per channel', $real u 1:2 w p lt 2 "
            "ps 0.5 t 'trained model, one scale', $real u 1:3 w p lt 4 ps 0.5 t "
            "'trained model, scale per channel'\n");
    notebook_plot_end("Weight SQNR of INT8 against max/RMS: planted banks and the tensors of a "
                      "trained model lie on one line when there is one scale, whatever their "
                      "distribution.");
}

// %% [markdown]
// ## Rows and columns
//
// A scale for each channel cures what sits in a *row*: the other rows keep their own scale. An
// outlier *column*, one input that every output weighs heavily, is in every channel, and there
// the finer scales buy nothing. Palettes bend: a table can spend an entry on the outliers, as
// long as they are few values.
// %%
static const double columns[] = {6, 8, 10, 12, 14};

CELL(rows_and_columns)
{
    float *w = notebook_room(WEIGHTS, sizeof *w), *copy = notebook_room(WEIGHTS, sizeof *copy);
    double gain_row = 0.0, gain_column = 0.0;
    printf("SQNR in dB\noutliers  max/RMS  int8:tensor  int8:channel  lut4:group=32\n");
    for (int i = 0; i < 2 * (int)(sizeof columns / sizeof *columns); i++) {
        double got[SCHEMES];
        plant(w, columns[i / 2], i % 2);
        for (int s = 0; s < SCHEMES; s++) {
            quant_fidelity f = notebook_round_trip(schemes[s], &flat, w, copy);
            got[s] = quant_sqnr_db(&f);
        }
        printf("%-8s  %7.0f  %11.2f  %12.2f  %13.2f\n", i % 2 ? "column" : "row", columns[i / 2],
               got[0], got[1], got[2]);
        *(i % 2 ? &gain_column : &gain_row) = got[1] - got[0];
    }
    notebook_say(
        "At max/RMS %.0f a scale for each channel gains %.1f dB over one scale when the outliers "
        "sit in rows, and %.1f dB when they sit in a column.",
        columns[sizeof columns / sizeof *columns - 1], gain_row, gain_column);
    free(w);
    free(copy);
}

// %% [markdown]
// ## What this says
//
// One scale fails when max/RMS *of what shares the scale* is large, and for no other reason. A
// bank of experts is the largest thing that can share one, so it collects the outlier of every
// expert. `quant inspect` prints max/RMS of each tensor; a weight cosine of 0.9555 needs about
// 135. The remedy follows from where the outliers sit: rows, a scale for each channel; columns,
// a palette, or a rescaling of that input.
//
// ## What would change the answer
//
// - `range=full` or `half` moves the line by 0.03 dB; `scale=mse` or a percentile clip the
//   outlier and trade its own error for everybody else's: then max/RMS no longer decides alone.
// - Weights that already sit on a coarse grid (quantized before, or bf16 with few distinct
//   values) do not round like noise.
// - Weight SQNR is not output error. Inputs that are large exactly where an outlier sits weigh
//   its error more than the others'.
// %%
NOTEBOOK(sweep, trained, figure_line, rows_and_columns)
