/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_propagate_summary.c - weights against compare, outputs against runs that quantize one layer
 * at a time, cliffs against a search over all pairs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/compare.h"
#include "quant/lab/propagate.h"
#include "tests/deep_model.h"
#include "tests/draw.h"
#include "tests/run.h"
#include "tests/test.h"

enum { LAYERS = 3, N = 2, S = 5, ROWS = N * S, COLUMNS = 3, MOST = ROWS * DEEP_INNER };

static quant_context *ctx;
static quant_scheme schemes[COLUMNS];

static void begin(void)
{
    static const char *const texts[COLUMNS] = {"int8:channel", "int3:tensor", "lut2:group=4"};
    ctx = quant_context_new(NULL);
    for (int i = 0; i < COLUMNS; i++) {
        CHECK_OK(ctx, quant_scheme_parse(ctx, texts[i], &schemes[i]));
    }
}

static quant_propagate_result *run(quant_model *model, int64_t ids[ROWS])
{
    quant_propagate_result *r = NULL;
    deep_model_tokens(3, ids, ROWS);
    CHECK_OK(ctx, quant_propagate(ctx, model, &(quant_tokens){ids, N, S},
                                  &(quant_propagate_options){.schemes = schemes,
                                                             .scheme_count = COLUMNS}, &r));
    return r;
}

static void weights_are_those_of_compare(void)
{
    int64_t ids[ROWS];
    begin();
    quant_model *model = deep_model_make(ctx, 21, LAYERS);
    quant_propagate_result *r = run(model, ids);
    quant_compare_result *c = NULL;
    CHECK_OK(ctx, quant_compare(ctx, quant_model_bank(model),
                                &(quant_compare_options){.schemes = schemes,
                                                         .scheme_count = COLUMNS}, &c));
    for (int i = 0; i < COLUMNS; i++) {
        const quant_propagate_weights *w = &r->columns[i].weights;
        const quant_compare_summary *s = &c->summary[i];
        CU_ASSERT(w->pooled.n == s->elements && w->bytes == s->stored_bytes);
        CU_ASSERT_DOUBLE_EQUAL(quant_cosine(&w->pooled), quant_cosine(&s->weight), 1e-14);
        CU_ASSERT_DOUBLE_EQUAL(quant_relative_error(&w->pooled), quant_relative_error(&s->weight),
                               1e-14);
        CU_ASSERT_DOUBLE_EQUAL(w->worst_cosine, s->cosine_worst, 1e-14);
        CU_ASSERT_STRING_EQUAL(w->worst, s->tensor_worst);
        CU_ASSERT_DOUBLE_EQUAL(quant_propagate_bits(&r->columns[i]), s->bits_per_weight, 1e-12);
    }
    quant_compare_free(ctx, c);
    quant_propagate_free(ctx, r);
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

/* ---- outputs -------------------------------------------------------------------------------- */

static const quant_stage stages[] = {QUANT_STAGE_Q,    QUANT_STAGE_K,  QUANT_STAGE_V,
                                     QUANT_STAGE_O,    QUANT_STAGE_GATE, QUANT_STAGE_UP,
                                     QUANT_STAGE_DOWN};
enum { STAGES = sizeof stages / sizeof *stages };

/* What one layer puts out: clean, and when it alone is quantized. */
typedef struct seen {
    int layer;
    float at[2][STAGES][MOST];
    size_t count[STAGES];
    const quant_scheme *scheme;
} seen;

static const quant_scheme *pick(void *user, const quant_tensor *t)
{
    const seen *s = user;
    return deep_model_depth(t, LAYERS) == s->layer + 1 ? s->scheme : NULL;
}

static quant_status keep(void *user, const quant_stage_view *v)
{
    seen *s = user;
    for (int i = 0; i < STAGES && (int)v->layer == s->layer; i++) {
        if (stages[i] == v->stage) {
            memcpy(s->at[v->variant][i], v->data, v->rows * v->cols * sizeof(float));
            s->count[i] = v->rows * v->cols;
        }
    }
    return QUANT_OK;
}

static void add(const float *a, const float *b, size_t n, double sum[3])
{
    for (size_t i = 0; i < n; i++) {
        sum[0] += (double)a[i] * (double)a[i];
        sum[1] += (double)b[i] * (double)b[i];
        sum[2] += (double)a[i] * (double)b[i];
    }
}

static double cosine(const double sum[3])
{
    return sum[2] / sqrt(sum[0] * sum[1]);
}

static void outputs_are_those_of_one_quantized_layer(void)
{
    int64_t ids[ROWS];
    seen *s = calloc(1, sizeof *s);
    begin();
    quant_model *model = deep_model_make(ctx, 22, LAYERS);
    quant_propagate_result *r = run(model, ids);
    for (int i = 0; i < COLUMNS; i++) {
        double pooled[3] = {0, 0, 0}, worst = 2;
        for (s->layer = 0; s->layer < LAYERS; s->layer++) {
            s->scheme = &schemes[i];
            const quant_forward_variant v[2] = {{.scheme = NULL}, {.scheme = pick, .user = s}};
            const quant_forward_options o = {.stages = UINT32_MAX, .visit = keep, .user = s};
            CHECK_OK(ctx, quant_forward_run(ctx, model, &(quant_tokens){ids, N, S}, v, 2, &o));
            for (int k = 0; k < STAGES; k++) {
                double own[3] = {0, 0, 0};
                add(s->at[0][k], s->at[1][k], s->count[k], own);
                add(s->at[0][k], s->at[1][k], s->count[k], pooled);
                worst = fmin(worst, cosine(own));
            }
        }
        const quant_ledger_outputs *out = &r->columns[i].outputs;
        CU_ASSERT_DOUBLE_EQUAL(quant_ledger_output_cosine(&out->pooled), cosine(pooled), 1e-12);
        CU_ASSERT_DOUBLE_EQUAL(out->worst_cosine, worst, 1e-12);
        CU_ASSERT(out->worst_depth >= 1 && out->worst_depth <= LAYERS);
    }
    CU_ASSERT(r->columns[2].outputs.worst_cosine < r->columns[0].outputs.worst_cosine);
    free(s);
    quant_propagate_free(ctx, r);
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

static void zeros_have_no_cosine(void)
{
    quant_ledger_terms none = {.n = 4}, one = {.n = 4, .injected2 = 3}, gone = {
        .n = 4, .clean2 = 2, .injected2 = 2, .injected_clean = -2}, same = {.n = 4, .clean2 = 2};
    CU_ASSERT(isnan(quant_ledger_output_cosine(&none)));
    CU_ASSERT_EQUAL(quant_ledger_output_cosine(&one), 0);
    CU_ASSERT_EQUAL(quant_ledger_output_cosine(&gone), 0);
    CU_ASSERT_EQUAL(quant_ledger_output_cosine(&same), 1);
}

/* ---- cliffs --------------------------------------------------------------------------------- */

enum { SCHEMES_MOST = 7 };

/* Ranks without sorting: how many stand before i. */
static size_t rank_of(const double *bits, size_t n, size_t i)
{
    size_t before = 0;
    for (size_t j = 0; j < n; j++) {
        before += bits[j] > bits[i] || (bits[j] == bits[i] && j < i);
    }
    return before;
}

static size_t at_rank(const double *bits, size_t n, size_t rank)
{
    size_t i = 0;
    while (i < n && rank_of(bits, n, i) != rank) {
        i++;
    }
    return i < n ? i : SIZE_MAX;
}

static int cliff_agrees(const double *bits, const double *loss, size_t n, double limit,
                        const quant_cliff *c)
{
    size_t first = n; /* least rank beyond the limit */
    double steepest = 0;
    for (size_t i = 0; i < n; i++) {
        first = !(loss[i] <= limit) && rank_of(bits, n, i) < first ? rank_of(bits, n, i) : first;
    }
    for (size_t k = 1; k < n; k++) {
        size_t a = at_rank(bits, n, k - 1), b = at_rank(bits, n, k);
        double slope = bits[a] > bits[b] ? (loss[b] - loss[a]) / (bits[a] - bits[b]) : 0;
        steepest = slope > steepest ? slope : steepest;
    }
    int ok = c->lost == at_rank(bits, n, first) &&
             c->held == (first == 0 ? SIZE_MAX : at_rank(bits, n, first - 1));
    if (c->from == SIZE_MAX || c->to == SIZE_MAX) {
        return ok && c->from == c->to && steepest == 0;
    }
    return ok && rank_of(bits, n, c->from) + 1 == rank_of(bits, n, c->to) &&
           (loss[c->to] - loss[c->from]) / (bits[c->from] - bits[c->to]) == steepest;
}

static void cliffs_are_found(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("cliff", k);
        double bits[SCHEMES_MOST], loss[SCHEMES_MOST];
        size_t n = (size_t)draw_int(&d, 1, SCHEMES_MOST);
        for (size_t i = 0; i < n; i++) {
            bits[i] = (double)draw_int(&d, 1, 8);
            loss[i] = draw_int(&d, 0, 9) ? (double)draw_int(&d, 0, 10) : (double)NAN;
        }
        quant_cliff c;
        double limit = (double)draw_int(&d, 0, 10);
        CHECK_OK(NULL, quant_cliff_find(NULL, bits, loss, n, limit, &c));
        int ok = cliff_agrees(bits, loss, n, limit, &c);
        CU_ASSERT(ok);
        if (!ok) {
            test_failed_case(k, "%zu schemes", n);
        }
    }
    quant_cliff c;
    CU_ASSERT_EQUAL(quant_cliff_find(NULL, &(double){NAN}, &(double){1}, 1, 1, &c), QUANT_EINVAL);
}

static void the_table_tells_of_cliffs(void)
{
    static const char *const words[] = {
        "where they fall, in order of bits a weight:\n",
        "\n  weights: cosine 0.97 falls between int8:channel and int2:tensor; steepest into",
        "\n  perplexity: ratio 1.1 falls between int8:channel and int2:tensor"};
    const char *path = test_bank_path("stories260k/golden.npz");
    if (!path) {
        return;
    }
    run_result r = run_shell("\"$QUANT\" propagate \"$(dirname '%s')\" --tokens '%s' --schemes "
                             "'int2:tensor;int8:channel'", path, path);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(r.out, words[i]));
    }
    run_free(&r);
}

/* What all schemes end with is said once, whole options only; one scheme keeps its name. */
static void common_options_are_said_once(void)
{
    static const struct {
        const char *schemes, *line, *row;
    } rows[] = {
        {"int8:channel,axis=1,scale=mse;int2:channel,axis=1,scale=mse",
         "\neach scheme below with axis=1,scale=mse\n", "\nint2:channel "},
        {"int8:channel,scale=mse;int2:channel,axis=1,scale=mse",
         "\neach scheme below with scale=mse\n", "l,axis=1  "},
        {"int8:channel;int2:tensor,asym", NULL, "\nint2:ten"},
        {"int2:tensor,asym", NULL, "\nint2:ten"},
    };
    const char *path = test_bank_path("stories260k/golden.npz");
    for (size_t i = 0; path && i < sizeof rows / sizeof *rows; i++) {
        run_result r = run_shell("\"$QUANT\" propagate \"$(dirname '%s')\" --tokens '%s' "
                                 "--schemes '%s'", path, path, rows[i].schemes);
        const char *said = strstr(r.out, "\neach scheme below with ");
        CU_ASSERT(rows[i].line ? said && strncmp(said, rows[i].line, strlen(rows[i].line)) == 0
                               : !said);
        CU_ASSERT_PTR_NOT_NULL(strstr(r.out, rows[i].row));
        run_free(&r);
    }
}

TEST_SUITE(propagate_summary, {"weights are those of compare", weights_are_those_of_compare},
           {"outputs are those of one quantized layer", outputs_are_those_of_one_quantized_layer},
           {"zeros have no cosine", zeros_have_no_cosine},
           {"cliffs are found", cliffs_are_found},
           {"the table tells of cliffs", the_table_tells_of_cliffs},
           {"common options are said once", common_options_are_said_once})
