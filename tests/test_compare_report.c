/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_compare_report.c - a whole report, made up: it fits the terminal, reads back, and says what
 * it was given. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/report/compare_report.h"
#include "quant/report/table.h"
#include "quant/report/text.h"
#include "tests/short_memory.h"
#include "tests/sink.h"
#include "tests/test.h"

enum { TENSORS = 5, SCHEMES = 7 };

static const char *const scheme_texts[SCHEMES] = {
    "bf16", "int8:tensor", "int8:channel,axis=1,scale=percentile:99.9,range=half",
    "int4:block=32,asym,scale=mse", "lut4:group=32", "lut3:group=32,lut=f32", "lut2:group=32"};

static quant_output_fidelity made_up_output(void)
{
    return (quant_output_fidelity){8, 6, 0.97, 0.91, {48, 2.0, 1.9, 1.92, 0.06, 0.1, 3}};
}

typedef struct made_up {
    char names[TENSORS][400];
    quant_compare_row rows[TENSORS * SCHEMES];
    quant_compare_summary sums[SCHEMES];
    quant_compare_triple triple;
    quant_compare_listed kept[40], refused[1];
    quant_compare_result result;
    const char *notes[1];
    quant_report_bank bank;
    quant_report_verdict verdict;
    quant_compare_report report;
} made_up;

static void make_rows(made_up *m)
{
    for (size_t i = 0; i < TENSORS * SCHEMES; i++) {
        quant_compare_row *r = &m->rows[i];
        size_t t = i / SCHEMES;
        snprintf(m->names[t], sizeof m->names[t], "%0*zu.model.layers.%s.weight",
                 t == 3 ? 280 : 3, t, t == 2 ? "\x1b[31m重み" : "experts");
        *r = (quant_compare_row){.tensor = t, .name = m->names[t], .dtype = "F32",
                                 .shape = {3, {8, 16, 4 + t}}, .scheme = i % SCHEMES,
                                 .weight = {512, 10.0, 9.9, 9.94, 0.02, 0.05, 17},
                                 .info = {.elements = 512, .saturated = 2, .zero_codes = 128,
                                          .distinct_codes = 15, .raised_scales = 1},
                                 .stored_bytes = 300, .bits_per_weight = 4.6875, .predicted = NAN,
                                 .foldable = i % 2 == 0, .escalated = i == 9,
                                 .output = made_up_output()};
        strcpy(r->scheme_text, scheme_texts[i % SCHEMES]);
    }
    m->rows[4].weight = (quant_fidelity){512, 10.0, 10.0, 10.0, 0.0, 0.0, 0};
    m->rows[5].weight = (quant_fidelity){512, 0.0, 0.0, 0.0, 0.0, 0.0, 0};
}

static made_up *make_report(void)
{
    made_up *m = calloc(1, sizeof *m);
    make_rows(m);
    for (size_t i = 0; i < SCHEMES; i++) {
        m->sums[i] = (quant_compare_summary){
            .scheme = i, .tensors = TENSORS, .elements = 2560,
            .weight = {2560, 50.0, 49.5, 49.7, 0.1, 0.05, 17}, .cosine_worst = 0.9321,
            .tensor_worst = m->names[3], .output = made_up_output(), .predicted = 0.05,
            .stored_bytes = 1500, .bits_per_weight = 4.6875, .bank_bytes = 2500};
        strcpy(m->sums[i].scheme_text, scheme_texts[i]);
    }
    m->triple = (quant_compare_triple){"layers.0.mlp", 1, made_up_output()};
    for (size_t i = 0; i < 40; i++) {
        m->kept[i] = (quant_compare_listed){
            i, i == 5 ? 3 : SIZE_MAX, m->names[i % TENSORS], i % 3 ? "1-D" : "scalar"};
    }
    m->refused[0] = (quant_compare_listed){7, SIZE_MAX, "bad", "NaN, first at 17, 3 in all"};
    m->result = (quant_compare_result){m->rows, TENSORS * SCHEMES, &m->triple, 1, m->kept, 40,
                                       m->refused, 1, m->sums, SCHEMES};
    m->notes[0] = "leading white space";
    m->bank = (quant_report_bank){"m.safetensors", "safetensors", 46, 2560, 10240, &m->result,
                                  NULL, m->notes, 1};
    m->verdict = (quant_report_verdict){0, {"worst.cosine>=0.97", false, 0.9321, 0.97, m->names[3],
                                            "lut2:group=32", NULL, NULL, false, true, false, 0}};
    m->report = (quant_compare_report){.banks = &m->bank, .bank_count = 1, .overall = m->sums,
                                       .overall_count = SCHEMES, .verdicts = &m->verdict,
                                       .verdict_count = 1, .metric = quant_metric_find("sqnr_db"),
                                       .with_outputs = true, .with_predicted = true};
    return m;
}

static void report_fits_the_page(void)
{
    quant_context *ctx = quant_context_new(NULL);
    made_up *m = make_report();
    for (int metric = 0; metric < 2 * QUANT_METRIC_COUNT; metric++) {
        m->report.metric = quant_metric_row(metric / 2);
        m->report.metric_of_output = metric % 2;
        m->report.verbose = metric % 2;
        sink *s = sink_new();
        int blank_ends = 0;
        CHECK_OK(ctx, quant_compare_report_table(ctx, &m->report, s->to));
        int widest = widest_line(text_of(s), &blank_ends);
        CU_ASSERT(widest <= QUANT_TABLE_WIDTH);
        CU_ASSERT_EQUAL(blank_ends, 0);
        CU_ASSERT_PTR_NULL(strchr(text_of(s), '\x1b'));
        if (widest > QUANT_TABLE_WIDTH || blank_ends) {
            printf("\n    %d columns wide, %d blank ends:\n%s", widest, blank_ends, s->data);
        }
        sink_free(s);
    }
    free(m);
    quant_context_free(ctx);
}

static void report_says_what_it_was_given(void)
{
    static const char *const said[] = {
        "m.safetensors: safetensors, 46 tensors, 2 560 weights, 10.2 kB", "weight\n", "SQNR dB ↑",
        "error ↓", "cosine ↑", "6/8", "0.932100", "exact", "scale=mse", "asym,",
        "gate/up/down", "layers.0.mlp", "kept: 25 tensors, 1-D:",
        "kept: 1 tensor under int4:block=32,asym,scale=mse, 1-D: ", "kept: 14 tensors, scalar:",
        "refused: bad: NaN, first at 17, 3 in all",
        "re-encoded with store=f32 because a scale",
        "not foldable into an integer GEMM", "note: leading white space", "FAILED", "0.9321"};
    quant_context *ctx = quant_context_new(NULL);
    made_up *m = make_report();
    sink *s = sink_new();
    CHECK_OK(ctx, quant_compare_report_table(ctx, &m->report, s->to));
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(text_of(s), said[i]));
        if (!strstr(s->data, said[i])) {
            printf("\n    not said: %s\n", said[i]);
        }
    }
    if (getenv("QUANT_TEST_SHOW")) {
        puts(s->data);
    }
    sink_free(s);
    free(m);
    quant_context_free(ctx);
}

static int has_keys(const json_t *object, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!json_object_get(object, keys[i])) {
            printf("\n    key %s is missing\n", keys[i]);
            return 0;
        }
    }
    return 1;
}

static void json_report_has_its_keys(void)
{
    static const char *const row_keys[] = {
        "tensor", "shape", "dtype", "scheme", "cosine", "relative_error", "sqnr_db", "mse",
        "max_abs_error", "bits_per_weight", "bytes", "saturated_share", "zero_code_share",
        "distinct_codes", "raised_scales", "escalated", "foldable", "predicted_relative_error",
        "output_cosine", "output_cosine_min", "output_live", "output_pairs", "output_sqnr_db",
        "output_relative_error"};
    static const char *const sumemoryeys[] = {"scheme", "cosine", "cosine_worst", "tensor_worst",
                                           "sqnr_db", "relative_error", "bits_per_weight", "bytes",
                                           "bank_bytes"};
    static const char *const bank_keys[] = {"path", "rows", "kept", "refused", "summary", "notes",
                                            "triples"};
    quant_context *ctx = quant_context_new(NULL);
    made_up *m = make_report();
    sink *s = sink_new();
    CHECK_OK(ctx, quant_compare_report_json(ctx, &m->report, s->to));
    json_t *root = json_loads(text_of(s), JSON_REJECT_DUPLICATES, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    json_t *bank = json_array_get(json_object_get(root, "banks"), 0);
    json_t *rows = json_object_get(bank, "rows");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(root, "schema")), "quant.compare/1");
    CU_ASSERT(has_keys(bank, bank_keys, sizeof bank_keys / sizeof *bank_keys));
    CU_ASSERT_EQUAL(json_array_size(rows), TENSORS * SCHEMES);
    CU_ASSERT(has_keys(json_array_get(rows, 0), row_keys, sizeof row_keys / sizeof *row_keys));
    json_t *sum = json_array_get(json_object_get(root, "summary"), 6);
    CU_ASSERT(has_keys(sum, sumemoryeys, sizeof sumemoryeys / sizeof *sumemoryeys));
    CU_ASSERT(json_is_null(json_object_get(json_array_get(rows, 4), "sqnr_db")));  /* no error */
    CU_ASSERT(json_is_null(json_object_get(json_array_get(rows, 5), "cosine")));   /* both zero */
    CU_ASSERT_PTR_NULL(json_object_get(root, "timing"));
    CU_ASSERT_EQUAL(json_real_value(json_object_get(json_array_get(rows, 0), "zero_code_share")),
                    0.25);
    json_decref(root);
    sink_free(s);
    free(m);
    quant_context_free(ctx);
}

static void csv_report_is_rectangular(void)
{
    quant_context *ctx = quant_context_new(NULL);
    made_up *m = make_report();
    sink *s = sink_new();
    CHECK_OK(ctx, quant_compare_report_csv(ctx, &m->report, s->to));
    const char *p = text_of(s);
    int lines = 0, commas = -1;
    while (*p) {
        int own = 0, quoted = 0;
        for (; *p && (quoted || *p != '\r'); p++) {
            quoted ^= *p == '"';
            own += !quoted && *p == ',';
        }
        CU_ASSERT(commas < 0 || own == commas);
        commas = own;
        lines++;
        CU_ASSERT_NSTRING_EQUAL(p, "\r\n", 2);
        p += 2;
    }
    CU_ASSERT_EQUAL(lines, 1 + TENSORS * SCHEMES);
    sink_free(s);
    free(m);
    quant_context_free(ctx);
}

static void report_survives_short_memory(void)
{
    made_up *m = make_report();
    quant_status status = QUANT_ENOMEM;
    for (long k = 1; status != QUANT_OK && k < 2000; k++) {
        short_memory memory = {.fail_at = k, .ever_after = true};
        quant_context *ctx = short_memory_context(&memory);
        FILE *null = fopen("/dev/null", "w");
        status = quant_compare_report_table(ctx, &m->report, null);
        CU_ASSERT(status == QUANT_OK || status == QUANT_ENOMEM);
        quant_context_free(ctx);
        CU_ASSERT_EQUAL(memory.held, 0);
        fclose(null);
    }
    CU_ASSERT_EQUAL(status, QUANT_OK);
    free(m);
}

TEST_SUITE(compare_report,
           {"a report fits the page", report_fits_the_page},
           {"a report says what it was given", report_says_what_it_was_given},
           {"the JSON report has its keys", json_report_has_its_keys},
           {"the CSV report is rectangular", csv_report_is_rectangular},
           {"a report survives short memory", report_survives_short_memory})
