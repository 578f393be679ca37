/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "notebooks-c/notebook.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "quant/encode.h"

/* Lines that the weaver takes out again (weave.awk): a cell begins, a line is Markdown. */
enum { MARK_CELL = '\036', MARK_SAY = '\037' };

static quant_context *context;
static FILE *plot;
static char plot_name[64];

quant_context *notebook_context(void)
{
    if (!context) {
        context = quant_context_new(NULL);
        if (!context) {
            fprintf(stderr, "out of memory\n");
            exit(1);
        }
        quant_context_set_threads(context, 0);
    }
    return context;
}

void notebook_check(quant_status status, const char *what)
{
    if (status != QUANT_OK) {
        fprintf(stderr, "%s: %s\n", what, quant_context_message(notebook_context()));
        exit(1);
    }
}

void *notebook_room(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);
    if (!p) {
        fprintf(stderr, "out of memory: %zu x %zu bytes\n", n, size);
        exit(1);
    }
    return p;
}

static bool woven(void)
{
    return getenv("NOTEBOOK_WEAVE") != NULL;
}

void notebook_cell(int line)
{
    if (woven()) {
        printf("%c%d\n", MARK_CELL, line);
    }
}

int notebook_run(void (*const cells[])(void), size_t n)
{
    for (size_t i = 0; i < n; i++) {
        cells[i]();
        fflush(stdout);
    }
    quant_context_free(context);
    return ferror(stdout) ? 1 : 0;
}

void notebook_say(const char *format, ...)
{
    va_list args;
    if (woven()) {
        putchar(MARK_SAY);
    }
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

quant_scheme notebook_scheme(const char *text)
{
    quant_scheme scheme;
    notebook_check(quant_scheme_parse(notebook_context(), text, &scheme), text);
    return scheme;
}

quant_fidelity notebook_round_trip(const char *text, const quant_shape *shape, const float *w,
                                   float *w_hat)
{
    quant_context *ctx = notebook_context();
    quant_scheme scheme = notebook_scheme(text);
    quant_layout layout;
    size_t n = 1;
    for (int d = 0; d < (int)shape->rank; d++) {
        n *= shape->dim[d];
    }
    notebook_check(quant_encode_layout(ctx, &scheme, shape, &layout), text);
    void *packed = notebook_room(layout.bytes, 1);
    notebook_check(quant_encode(ctx, &scheme, shape, w, packed, layout.bytes, NULL), text);
    notebook_check(quant_decode(ctx, &scheme, shape, packed, layout.bytes, w_hat), text);
    free(packed);
    return quant_fidelity_f32(ctx, w, w_hat, n);
}

quant_fidelity notebook_matrices(quant_bank *bank, const char *text, double *bits)
{
    quant_context *ctx = notebook_context();
    quant_scheme scheme = notebook_scheme(text);
    quant_fidelity sum = {0};
    double stored = 0.0;
    for (size_t i = 0; i < quant_bank_count(bank); i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        if (t->shape.rank < 2) {
            continue;
        }
        float *w = notebook_room(t->elements, 4), *copy = notebook_room(t->elements, 4);
        quant_layout layout;
        notebook_check(quant_bank_read_f32(ctx, bank, i, 0, t->elements, w), t->name);
        quant_fidelity one = notebook_round_trip(text, &t->shape, w, copy);
        notebook_check(quant_encode_layout(ctx, &scheme, &t->shape, &layout), t->name);
        quant_fidelity_add(&sum, &one);
        stored += layout.bits_per_weight * (double)t->elements;
        free(w);
        free(copy);
    }
    *bits = stored / (double)sum.n;
    return sum;
}

int64_t *notebook_tokens(const char *path, uint64_t first, uint64_t n, size_t *s)
{
    quant_bank *bank;
    notebook_check(quant_bank_open(notebook_context(), path, &bank), path);
    const quant_tensor *t = quant_bank_tensor(bank, 0);
    if (t->shape.rank != 2 || t->shape.dim[0] < first + n) {
        fprintf(stderr, "%s: expected at least %d rows of tokens\n", path, (int)(first + n));
        exit(1);
    }
    *s = t->shape.dim[1];
    int64_t *id = notebook_room(n * *s, sizeof *id);
    notebook_check(quant_bank_read_i64(notebook_context(), bank, 0, first * *s, n * *s, id), path);
    quant_bank_close(notebook_context(), bank);
    return id;
}

FILE *notebook_plot(const char *name)
{
    static const char *const colours[] = {"0072B2", "D55E00", "009E73", "CC79A7",
                                          "E69F00", "56B4E9", "000000"};
    static const int points[] = {7, 5, 9, 13, 11, 6, 4};
    mkdir("figures", 0777);
    snprintf(plot_name, sizeof plot_name, "%s", name);
    plot = popen("gnuplot", "w");
    if (!plot) {
        perror("gnuplot");
        exit(1);
    }
    fprintf(plot,
            "set terminal svg size 760,460 font 'sans-serif,14' background 'white'\n"
            "set output 'figures/%s.svg'\nset encoding utf8\n"
            "set grid lc rgb '#d8d8d8' lt 1 lw 1\nset border 3\nset tics nomirror\n"
            "set key box lc rgb '#d8d8d8' opaque\n",
            name);
    for (int i = 0; i < (int)(sizeof points / sizeof *points); i++) {
        fprintf(plot, "set linetype %d lc rgb '#%s' pt %d ps 0.7 lw 2\n", i + 1, colours[i],
                points[i]);
    }
    return plot;
}

void notebook_plot_end(const char *caption)
{
    if (pclose(plot) != 0) {
        fprintf(stderr, "gnuplot failed on figure %s\n", plot_name);
        exit(1);
    }
    notebook_say("![%s](figures/%s.svg)", caption, plot_name);
}
