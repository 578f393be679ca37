/* SPDX-License-Identifier: GPL-3.0-or-later */
/* notebook.h - what a notebook needs beside the public headers.
 *
 * A notebook is one C file in percent format: `// %% [markdown]` opens text, `// %%` opens code. A
 * code cell that does something is a function:
 *
 *     // %% [markdown]
 *     // How much does one outlier cost?
 *     // %%
 *     CELL(outlier)
 *     {
 *         printf("%.2f dB\n", ...);                     shown under the cell
 *         notebook_say("That is %.1f times ...", ...);  a sentence with computed numbers
 *     }
 *     NOTEBOOK(outlier)
 *
 * `make notebooks` compiles and runs each file and writes the Markdown beside it, the output of
 * a cell below its code. The programs also run by themselves. They are for people: whatever fails
 * ends the program with the message of the context. */
#ifndef QUANT_NOTEBOOK_H
#define QUANT_NOTEBOOK_H

#include <stdint.h>
#include <stdio.h>

#include "quant/bank/bank.h"
#include "quant/fidelity.h"
#include "quant/scheme.h"
#include "quant/shape.h"

/* The function of a cell; its output belongs to the cell that holds this line. */
#define CELL(name)                                                                                 \
    static void name##_body(void);                                                                 \
    static void name(void)                                                                         \
    {                                                                                              \
        notebook_cell(__LINE__);                                                                   \
        name##_body();                                                                             \
    }                                                                                              \
    static void name##_body(void)

/* main: the cells in their order. */
#define NOTEBOOK(...)                                                                              \
    int main(void)                                                                                 \
    {                                                                                              \
        void (*const cells[])(void) = {__VA_ARGS__};                                               \
        return notebook_run(cells, sizeof cells / sizeof *cells);                                  \
    }

void notebook_cell(int line);
int notebook_run(void (*const cells[])(void), size_t n);

/* The context of the notebook: all threads. Freed by notebook_run. */
quant_context *notebook_context(void);
/* Ends the program with the context's message unless status is QUANT_OK. */
void notebook_check(quant_status status, const char *what);
/* calloc that ends the program when there is no memory. */
void *notebook_room(size_t n, size_t size);

/* One paragraph or table row of Markdown in the output. */
void notebook_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A scheme by its text; encode and decode w[shape] into w_hat and compare the two. */
quant_scheme notebook_scheme(const char *text);
quant_fidelity notebook_round_trip(const char *scheme, const quant_shape *shape, const float *w,
                                   float *w_hat);

/* All matrices of a bank (tensors with two axes or more) encoded and decoded, energies pooled;
 * *bits a weight as stored. */
quant_fidelity notebook_matrices(quant_bank *bank, const char *scheme, double *bits);

/* Rows [first, first + n) of an array of token ids [rows, *s]; the caller frees them. */
int64_t *notebook_tokens(const char *path, uint64_t first, uint64_t n, size_t *s);

/* Open figures/NAME.svg: a pipe to gnuplot with size, font, grid and line types set (the colours of
 * Okabe and Ito, told apart by most colour-blind people, each with a point shape of its own). Write
 * commands and inline data to it; notebook_plot_end shows the figure with its caption. */
FILE *notebook_plot(const char *name);
void notebook_plot_end(const char *caption);

#endif
