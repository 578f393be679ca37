/* SPDX-License-Identifier: GPL-3.0-or-later */
/* outliers.c - why one scale for an expert bank fails: planted max/RMS against fidelity.
 *
 * A stack of expert_shard (16 experts x 2816 x 704, 31.7 M weights: 45056 x 704 when flattened) of
 * Gaussian weights in bfloat16 gets one outlier per expert, each in a row of its own, so that
 * max/RMS is exactly the planted ratio (ratio 5: the Gaussian itself, clipped there). For every
 * ratio and seed int8:tensor is predicted from statistics and measured; int8:channel and the
 * palettes stand beside it, in weights and in outputs of 5 seeded inputs per expert.
 *     build/tests/figures [--seeds N] [--experts N] */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/probe.h"
#include "quant/quant.h"

enum { ROWS = 2816, COLS = 704, PROBES = 5, SPAN = 1 << 18 };

static const char *const schemes[] = {"int8:tensor", "int8:channel", "lut4:group=32",
                                      "lut3:group=32", "lut2:group=32"};
enum { SCHEMES = sizeof schemes / sizeof *schemes };
static const double ratios[] = {5, 10, 20, 40, 70, 100, 130, 160, 250, 400};
enum { RATIOS = sizeof ratios / sizeof *ratios };

typedef struct point {
    double predicted, sqnr[SCHEMES], weight[SCHEMES], output[SCHEMES];
} point;

typedef struct stack {
    quant_context *ctx;
    uint64_t experts, n;
    float *clean, *w;
    double *wide;
    uint8_t *packed;
    uint64_t seed;
} stack;

static void die(quant_context *ctx, const char *what)
{
    fprintf(stderr, "%s: %s\n", what, quant_context_message(ctx));
    exit(1);
}

static float bfloat(double x)
{
    quant_scheme s;
    quant_shape one = {0, {0}};
    float f = (float)x, y;
    uint8_t packed[8];
    quant_scheme_parse(NULL, "bf16", &s);
    quant_encode(NULL, &s, &one, &f, packed, sizeof packed, NULL);
    quant_decode(NULL, &s, &one, packed, 2, &y);
    return y;
}

/* All of w through bfloat16, as a bank would hold it. */
static void round_all(stack *k, float *w)
{
    quant_scheme s;
    quant_shape shape = {1, {k->n}};
    quant_scheme_parse(NULL, "bf16", &s);
    if (quant_encode(k->ctx, &s, &shape, w, k->packed, 2 * k->n, NULL) != QUANT_OK ||
        quant_decode(k->ctx, &s, &shape, k->packed, 2 * k->n, w) != QUANT_OK) {
        die(k->ctx, "bf16");
    }
}

static double rms_of(const float *w, uint64_t n)
{
    double sum = 0.0;
    for (uint64_t i = 0; i < n; i++) {
        sum += (double)w[i] * (double)w[i];
    }
    return sqrt(sum / (double)n);
}

/* One outlier an expert at a seeded row and column. With m outliers of value v among n weights of
 * energy n r^2, v / RMS = R needs v^2 = R^2 r^2 / (1 - m R^2 / n). */
static void plant_in_rows(stack *k, double ratio)
{
    double m = (double)k->experts, r = rms_of(k->clean, k->n);
    quant_random at = quant_random_stream(k->seed, "outlier");
    memcpy(k->w, k->clean, k->n * sizeof *k->w);
    if (ratio <= 5.0) {
        for (uint64_t i = 0; i < k->n; i++) {
            float limit = bfloat(ratio * r);
            k->w[i] = k->w[i] > limit ? limit : k->w[i] < -limit ? -limit : k->w[i];
        }
        return;
    }
    float limit = bfloat(ratio * r);
    for (uint64_t i = 0; i < k->n; i++) { /* the Gaussian's own tail stays below the plant */
        k->w[i] = fabsf(k->w[i]) > limit ? copysignf(limit, k->w[i]) : k->w[i];
    }
    double v = ratio * r / sqrt(1.0 - m * ratio * ratio / (double)k->n);
    for (uint64_t e = 0; e < k->experts; e++) {
        uint64_t i = quant_random_below(&at, e, (uint64_t)ROWS * COLS);
        k->w[e * ROWS * COLS + i] = bfloat(e % 2 ? -v : v);
    }
}

/* One column an expert holds +-v in every row. */
static void plant_in_columns(stack *k, double ratio)
{
    double m = (double)k->experts * ROWS, r = rms_of(k->clean, k->n);
    double v = ratio * r / sqrt(1.0 - m * ratio * ratio / (double)k->n);
    quant_random at = quant_random_stream(k->seed, "column");
    memcpy(k->w, k->clean, k->n * sizeof *k->w);
    for (uint64_t e = 0; e < k->experts; e++) {
        uint64_t c = quant_random_below(&at, e, COLS);
        for (uint64_t row = 0; row < ROWS; row++) {
            k->w[(e * ROWS + row) * COLS + c] = bfloat(row % 2 ? -v : v);
        }
    }
}

static void add_outputs(stack *k, lab_outputs *o, const float *w, uint64_t first, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        k->wide[i] = w[i];
    }
    lab_outputs_add(k->ctx, o, k->wide, first, count);
}

static void measure(stack *k, int s, const quant_shape *shape, lab_outputs *clean,
                    const lab_inputs *inputs, point *p)
{
    quant_scheme scheme;
    quant_layout l;
    lab_outputs copy;
    static float span[SPAN];
    quant_fidelity f = {0};
    if (quant_scheme_parse(k->ctx, schemes[s], &scheme) != QUANT_OK ||
        quant_encode_layout(k->ctx, &scheme, shape, &l) != QUANT_OK ||
        quant_encode(k->ctx, &scheme, shape, k->w, k->packed, l.bytes, NULL) != QUANT_OK ||
        lab_outputs_new(k->ctx, &clean->view, inputs, &copy) != QUANT_OK) {
        die(k->ctx, schemes[s]);
    }
    for (uint64_t i = 0; i < k->n; i += SPAN) {
        uint64_t n = k->n - i < SPAN ? k->n - i : SPAN;
        quant_decode_span(k->ctx, &scheme, shape, k->packed, l.bytes, i, n, span);
        quant_fidelity more = quant_fidelity_f32(k->ctx, k->w + i, span, n);
        quant_fidelity_add(&f, &more);
        add_outputs(k, &copy, span, i, n);
    }
    quant_output_fidelity out = lab_outputs_compare(clean, &copy);
    p->sqnr[s] = quant_sqnr_db(&f);
    p->weight[s] = quant_cosine(&f);
    p->output[s] = out.cosine_mean;
    lab_outputs_free(k->ctx, &copy);
}

static point measure_all(stack *k)
{
    point p;
    quant_shape flat = {2, {k->experts * ROWS, COLS}}; /* one scale for all experts */
    lab_view view = {k->experts, ROWS, COLS};
    quant_compare_options options = {.probe = PROBES, .seed = k->seed};
    lab_inputs inputs;
    lab_outputs clean;
    quant_scheme scheme;
    quant_statistics *stats;
    quant_scheme_parse(k->ctx, schemes[0], &scheme);
    if (quant_statistics_new(k->ctx, &scheme, &flat, k->w, &stats) != QUANT_OK ||
        lab_inputs_make(k->ctx, &options, "stack", COLS, &inputs) != QUANT_OK ||
        lab_outputs_new(k->ctx, &view, &inputs, &clean) != QUANT_OK) {
        die(k->ctx, "outputs");
    }
    p.predicted = -20.0 * log10(quant_predict(stats));
    quant_statistics_free(k->ctx, stats);
    for (uint64_t i = 0; i < k->n; i += SPAN) {
        add_outputs(k, &clean, k->w + i, i, k->n - i < SPAN ? k->n - i : SPAN);
    }
    for (int s = 0; s < SCHEMES; s++) {
        measure(k, s, &flat, &clean, &inputs, &p);
    }
    lab_outputs_free(k->ctx, &clean);
    lab_inputs_free(k->ctx, &inputs);
    return p;
}

static void fresh(stack *k, uint64_t seed)
{
    quant_random r = quant_random_stream(seed, "expert_shard");
    k->seed = seed;
    quant_random_fill_normal(&r, 0, k->n, k->clean);
    for (uint64_t i = 0; i < k->n; i++) {
        k->clean[i] *= 0.02f;
    }
    round_all(k, k->clean);
}

static void print_head(void)
{
    printf("\n| max/RMS | int8:tensor SQNR dB: Gaussian model | from statistics | measured "
           "(min .. max over seeds) |\n|---:|---:|---:|---:|\n");
}

static double crossing(double mean[RATIOS], double level)
{
    for (int i = 1; i < RATIOS; i++) {
        if (mean[i] < level && mean[i - 1] >= level) {
            double t = (mean[i - 1] - level) / (mean[i - 1] - mean[i]);
            return ratios[i - 1] * pow(ratios[i] / ratios[i - 1], t);
        }
    }
    return NAN;
}

static void print_table(point points[RATIOS][32], int seeds)
{
    double worst = 0.0, weight[RATIOS], output[RATIOS];
    print_head();
    for (int i = 0; i < RATIOS; i++) {
        double low = INFINITY, high = -INFINITY, model = 0.0, sum = 0.0;
        for (int j = 0; j < seeds; j++) {
            double m = points[i][j].sqnr[0];
            low = fmin(low, m);
            high = fmax(high, m);
            sum += m / seeds;
            model += points[i][j].predicted / seeds;
            worst = fmax(worst, fabs(m - points[i][j].predicted));
        }
        printf("| %.0f | %.2f | %.2f | %.2f (%.2f .. %.2f) |\n", ratios[i],
               -20.0 * log10(quant_predict_gaussian(8, ratios[i])), model, sum, low, high);
    }
    printf("\nLargest |predicted - measured| over %d ratios x %d seeds: %.3f dB\n", RATIOS, seeds,
           worst);
    printf("\n| max/RMS |");
    for (int s = 0; s < SCHEMES; s++) {
        printf(" %s weight / output cosine |", schemes[s]);
    }
    printf("\n|---:|---|---|---|---|---|\n");
    for (int i = 0; i < RATIOS; i++) {
        printf("| %.0f |", ratios[i]);
        for (int s = 0; s < SCHEMES; s++) {
            double w = 0.0, o = 0.0;
            for (int j = 0; j < seeds; j++) {
                w += points[i][j].weight[s] / seeds;
                o += points[i][j].output[s] / seeds;
            }
            printf(" %.4f / %.4f |", w, o);
            if (s == 0) {
                weight[i] = w;
                output[i] = o;
            }
        }
        printf("\n");
    }
    printf("\nint8:tensor reaches weight cosine 0.9555 at max/RMS %.0f and output cosine 0.9555 at "
           "max/RMS %.0f\n", crossing(weight, 0.9555), crossing(output, 0.9555));
}

static void print_columns(stack *k)
{
    static const double some[] = {8, 12, 16, 20};
    printf("\nOutlier columns (one column an expert, every row): per-channel scales do not help\n\n"
           "| max/RMS | int8:tensor SQNR dB | int8:channel SQNR dB | lut4:group=32 SQNR dB |\n"
           "|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        plant_in_columns(k, some[i]);
        point p = measure_all(k);
        printf("| %.0f | %.2f | %.2f | %.2f |\n", some[i], p.sqnr[0], p.sqnr[1], p.sqnr[2]);
    }
}

int main(int argc, char **argv)
{
    static point points[RATIOS][32];
    int seeds = 8;
    stack k = {quant_context_new(NULL), 16, 0, NULL, NULL, NULL, NULL, 0};
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--seeds") == 0) {
            seeds = atoi(argv[i + 1]);
        } else if (strcmp(argv[i], "--experts") == 0) {
            k.experts = (uint64_t)atoi(argv[i + 1]);
        }
    }
    seeds = seeds < 1 ? 1 : seeds > 32 ? 32 : seeds;
    k.n = k.experts * ROWS * COLS;
    k.clean = malloc(k.n * sizeof *k.clean);
    k.w = malloc(k.n * sizeof *k.w);
    k.packed = malloc(k.n * 2 + 65536);
    k.wide = malloc(SPAN * sizeof *k.wide);
    if (!k.ctx || !k.clean || !k.w || !k.packed || !k.wide) {
        die(k.ctx, "memory");
    }
    quant_context_set_threads(k.ctx, 0);
    for (int j = 0; j < seeds; j++) {
        fresh(&k, (uint64_t)j + 1);
        for (int i = 0; i < RATIOS; i++) {
            plant_in_rows(&k, ratios[i]);
            points[i][j] = measure_all(&k);
            fprintf(stderr, "seed %d of %d, ratio %.0f\n", j + 1, seeds, ratios[i]);
        }
    }
    printf("%llu experts x %d x %d, Gaussian bfloat16 weights, one outlier row an expert, "
           "%d seeds\n", (unsigned long long)k.experts, ROWS, COLS, seeds);
    print_table(points, seeds);
    print_columns(&k);
    free(k.clean), free(k.w), free(k.packed), free(k.wide);
    quant_context_free(k.ctx);
    return 0;
}
