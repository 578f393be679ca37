/* SPDX-License-Identifier: GPL-3.0-or-later */
/* digests.c - one line for each thing that libquant promises to be the same bytes everywhere: run
 * it on two machines, at two levels, with two compilers, and compare what it prints.
 * digests [THREADS]       one thread by default
 * digests --isa           the level in use */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"

enum { ROWS = 40, COLS = 193, N = ROWS * COLS, TENSORS = 4, VECTOR = 192 };

static float tensor[N], copy[N], weight[N];
static quant_context *ctx;

/* FNV-1a, 64 bits. */
static uint64_t digest(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return h;
}

static void print_digest(const char *what, const void *data, size_t bytes)
{
    printf(" %s %016llx", what, (unsigned long long)digest(data, bytes));
}

static void must(quant_status status, const char *what)
{
    if (status != QUANT_OK) {
        fprintf(stderr, "digests: %s: %s\n", what, quant_context_message(ctx));
        exit(1);
    }
}

/* Whether an expected kind of failure ended this line. */
static bool ended(quant_status status)
{
    if (status != QUANT_OK) {
        printf(" status %d: %s\n", (int)status, quant_context_message(ctx));
    }
    return status != QUANT_OK;
}

/* Gaussian; rows of very different size with outliers; few distinct values, ties of many grids;
 * far off zero, with rows that are constant or all zero. */
static void make_tensor(int kind)
{
    const quant_random r = quant_random_stream(7, "tensor"), s = quant_random_stream(8, "other");
    quant_random_fill_normal(&r, 0, N, tensor);
    for (size_t i = 0; i < N; i++) {
        const size_t row = i / COLS;
        double v = (double)tensor[i];
        if (kind == 1) {
            v = ldexp(v * (quant_random_below(&s, i, 100) == 0 ? 50 : 1), (int)row - 20);
        } else if (kind == 2) {
            v = (double)quant_random_below(&s, i, 255) / 2 - 63.5;
        } else if (kind == 3) {
            v = row % 8 == 0 ? 0 : row % 8 == 1 ? -0.7 : 1000 + v;
        }
        tensor[i] = (float)v;
        weight[i] = (float)quant_random_uniform(&s, i);
    }
}

static void print_metrics(const quant_fidelity *f)
{
    double value[QUANT_METRIC_COUNT + 6] = {0};
    for (int m = 0; m < QUANT_METRIC_COUNT; m++) {
        value[m] = quant_metric_row(m)->value(f);
    }
    value[QUANT_METRIC_COUNT] = f->ref2;
    value[QUANT_METRIC_COUNT + 1] = f->got2;
    value[QUANT_METRIC_COUNT + 2] = f->dot;
    value[QUANT_METRIC_COUNT + 3] = f->err2;
    value[QUANT_METRIC_COUNT + 4] = f->max_abs;
    value[QUANT_METRIC_COUNT + 5] = (double)f->max_index;
    print_digest("metrics", value, sizeof value);
}

static void print_predicted(const quant_scheme *s, const quant_shape *shape)
{
    quant_statistics *statistics;
    if (quant_statistics_new(ctx, s, shape, tensor, &statistics) == QUANT_OK) {
        double predicted = quant_predict(statistics);
        quant_statistics_free(ctx, statistics);
        print_digest("predicted", &predicted, sizeof predicted);
    }
}

static void print_products(const quant_scheme *s, const quant_shape *shape, const void *packed,
                           size_t bytes)
{
    static float x[COLS], y[ROWS];
    static int8_t codes[COLS];
    const float scale = 0.0123f;
    const quant_gemv_input q = {codes, &scale, 0};
    const quant_random r = quant_random_stream(9, "vector");
    quant_random_fill_normal(&r, 0, COLS, x);
    for (size_t i = 0; i < COLS; i++) {
        codes[i] = (int8_t)((int)quant_random_below(&r, i, 256) - 128);
    }
    if (quant_gemv_f32(ctx, s, shape, packed, bytes, x, y) == QUANT_OK) {
        print_digest("gemv_f32", y, sizeof y);
    }
    if (quant_gemv_s8(ctx, s, shape, packed, bytes, &q, y) == QUANT_OK) {
        print_digest("gemv_s8", y, sizeof y);
    }
}

/* `cols` of every row are taken as one tensor; 192 columns bring kernels for whole blocks in. */
static void print_scheme(const char *text, size_t cols, int kind, bool weighted)
{
    quant_scheme s;
    quant_layout layout;
    const quant_shape shape = {2, {ROWS, cols}};
    const size_t n = ROWS * cols;
    must(quant_scheme_parse(ctx, text, &s), text);
    s = quant_scheme_weights(&s);
    if (weighted && !quant_scheme_takes_importance(&s)) {
        return;
    }
    printf("%s%s, tensor %d of %zu columns:", text, weighted ? ", weighted" : "", kind, cols);
    must(quant_encode_layout(ctx, &s, &shape, &layout), text);
    quant_encode_info info;
    const quant_encode_options options = {weighted ? weight : NULL, &info};
    void *packed = calloc(1, layout.bytes);
    if (!packed) {
        must(QUANT_ENOMEM, text);
    }
    if (!ended(quant_encode_with(ctx, &s, &shape, tensor, packed, layout.bytes, &options))) {
        print_digest("packed", packed, layout.bytes);
        print_digest("optimum", &info.optimal_sse, sizeof info.optimal_sse);
        printf(" saturated %llu", (unsigned long long)info.saturated);
        must(quant_decode(ctx, &s, &shape, packed, layout.bytes, copy), text);
        print_digest("values", copy, n * sizeof *copy);
        const quant_fidelity f = quant_fidelity_f32(ctx, tensor, copy, n);
        print_metrics(&f);
        print_predicted(&s, &shape);
        print_products(&s, &shape, packed, layout.bytes);
        printf("\n");
    }
    free(packed);
}

static void print_schemes(void)
{
    static const char *const more[] = {
        "int8:tensor,asym", "int8:channel,scale=mse", "int8:tensor,scale=entropy",
        "int4:channel,scale=percentile:99.5", "int3:channel,range=half", "int2:channel,range=full",
        "int8:channel,axis=1", "int4:block=32,asym", "int4:block=32,scale=mse",
        "int3:block=32,store=bf16", "int2:block=7", "int8:block=64,store=f32", "lut1:group=8",
        "lut2:group=8", "lut3:group=8", "lut4:tensor", "lut6:tensor", "lut8:tensor",
        "lut4:tensor,mode=uniform", "lut8:tensor,mode=unique", "lut4:group=8,lut=f32",
        "lut3:group=8,lut=bf16", "lut4:group=8,lut=int8", "lut4:group=8,pcs",
        "lut4:group=8,pcs,lut=int8", "lut4:group=8,axis=1", "lut4:tensor,dim=2",
        "lut8:group=16,dim=4", "lut4:group=8,lut=int8,dim=2"};
    for (int kind = 0; kind < TENSORS; kind++) {
        make_tensor(kind);
        for (int i = 0; quant_scheme_example(i); i++) {
            print_scheme(quant_scheme_example(i), COLS, kind, false);
        }
        for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
            print_scheme(more[i], i % 2 ? COLS : VECTOR, kind, false);
            print_scheme(more[i], VECTOR, kind, true);
        }
    }
}

static void print_curve(int kind)
{
    enum { MOST = 64 };
    static double value[N], count[N], sse[MOST], bound[MOST], entropy[MOST];
    static double centroid[MOST * (MOST + 1) / 2];
    quant_curve curve = {MOST, sse, bound, entropy, centroid};
    size_t distinct;
    must(quant_points_collapse(ctx, tensor, NULL, N, value, count, &distinct), "points");
    const quant_points points = {value, count, distinct};
    must(quant_kmeans1d_curve(ctx, &points, &curve), "curve");
    printf("curve, tensor %d:", kind);
    print_digest("sse", sse, sizeof sse);
    print_digest("bound", bound, sizeof bound);
    print_digest("entropy", entropy, sizeof entropy);
    print_digest("centroids", centroid, sizeof centroid);
    printf("\n");
}

static void print_activations(int kind)
{
    static const char *const how[] = {"w8a8", "w8a8,asym", "w8a8,act=static",
        "w8a8,act=static,asym", "w8a8,act=static,obs=ema", "w8a8,act=static,obs=percentile:99.9",
        "w8a8,act=static,obs=mse", "w8a8,act=static,obs=entropy"};
    static int8_t code[N], zero[ROWS];
    static float scale[ROWS];
    quant_observer *seen;
    must(quant_observer_new(ctx, COLS, false, 2, &seen), "observer");
    must(quant_observer_add(ctx, seen, 0, tensor, ROWS / 2), "observer");
    must(quant_observer_add(ctx, seen, 1, tensor + N / 2, ROWS / 2), "observer");
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        quant_scheme s;
        quant_activation_grid grid = {0, 0, 0, 0};
        quant_activation_codes codes = {code, scale, zero, 0};
        must(quant_scheme_parse(ctx, how[i], &s), how[i]);
        const bool fixed = s.activation.kind == QUANT_ACTIVATION_STATIC;
        printf("%s, tensor %d:", how[i], kind);
        if (fixed) {
            must(quant_observer_fit(ctx, seen, 0, &s.activation, &grid), how[i]);
            quant_activation_error e = quant_observer_predict(seen, 0, &grid);
            print_digest("grid", &grid, sizeof grid);
            print_digest("predicted", &e, sizeof e);
        }
        must(quant_activation_encode(ctx, &s.activation, fixed ? &grid : NULL, tensor, ROWS, COLS,
                                     &codes), how[i]);
        quant_activation_decode(&codes, ROWS, COLS, copy);
        print_digest("codes", code, sizeof code);
        print_digest("values", copy, sizeof copy);
        printf("\n");
    }
    quant_observer_free(ctx, seen);
}

static void print_summary(int kind)
{
    static double wide[N];
    quant_summary s;
    must(quant_summarize(ctx, tensor, N, &s), "summary");
    const double figures[] = {(double)s.lowest, (double)s.highest, s.rms, s.mean, s.kurtosis};
    for (size_t i = 0; i < N; i++) {
        wide[i] = (double)tensor[i] * (1 + 0x1p-30 * (double)weight[i]);
    }
    const quant_fidelity f = quant_fidelity_f64_f32(ctx, wide, tensor, N);
    printf("summary, tensor %d:", kind);
    print_digest("figures", figures, sizeof figures);
    print_metrics(&f);
    printf("\n");
}

static void print_random(void)
{
    enum { DRAWS = 4096 };
    static uint32_t words[DRAWS][4];
    static double normal[DRAWS], uniform[DRAWS], gaussian[23][40];
    const quant_random r = quant_random_stream(1, "draws");
    for (uint64_t i = 0; i < DRAWS; i++) {
        quant_random_words(&r, i, words[i]);
        normal[i] = quant_random_normal(&r, i);
        uniform[i] = quant_random_uniform(&r, i);
    }
    for (int bits = 2; bits <= 24; bits++) {
        for (int k = 0; k < 40; k++) {
            gaussian[bits - 2][k] = quant_predict_gaussian(bits, 0.5 + 0.25 * k);
        }
    }
    printf("random:");
    print_digest("words", words, sizeof words);
    print_digest("normals", normal, sizeof normal);
    print_digest("uniforms", uniform, sizeof uniform);
    print_digest("predictions", gaussian, sizeof gaussian);
    printf("\n");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--isa") == 0) {
        printf("%s\n", quant_isa());
        return 0;
    }
    ctx = quant_context_new(NULL);
    quant_context_set_threads(ctx, argc > 1 ? atoi(argv[1]) : 1);
    print_random();
    print_schemes();
    for (int kind = 0; kind < TENSORS; kind++) {
        make_tensor(kind);
        print_curve(kind);
        print_activations(kind);
        print_summary(kind);
    }
    quant_context_free(ctx);
    return 0;
}
