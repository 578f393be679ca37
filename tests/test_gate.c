/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <locale.h>
#include <math.h>
#include <string.h>

#include "quant/lab/gate.h"
#include "tests/test.h"

/* A result by hand: one column, rows of two elements. */
enum { ROWS_MAX = 5 };
typedef struct fixture {
    quant_compare_row rows[ROWS_MAX];
    quant_compare_triple triples[1];
    quant_compare_summary summary[1];
    quant_compare_result result;
} fixture;

static void fixture_begin(fixture *f)
{
    memset(f, 0, sizeof *f);
    strcpy(f->summary[0].scheme_text, "int8:tensor");
    f->result = (quant_compare_result){.rows = f->rows, .triples = f->triples,
                                       .summary = f->summary, .summary_count = 1};
}

static quant_compare_row *fixture_row(fixture *f, const char *name, const float w[2],
                                      const float y[2])
{
    quant_compare_row *row = &f->rows[f->result.row_count++];
    row->name = name;
    strcpy(row->scheme_text, "int8:tensor");
    row->weight = quant_fidelity_f32(NULL, w, y, 2);
    row->info.elements = 2;
    row->stored_bytes = 10 * f->result.row_count;
    row->bits_per_weight = 40;
    quant_compare_summary *sum = &f->summary[0];
    quant_fidelity_add(&sum->weight, &row->weight);
    sum->tensors++;
    sum->elements += 2;
    sum->stored_bytes += row->stored_bytes;
    sum->bits_per_weight = 44;
    return row;
}

static void output_of(quant_output_fidelity *o, const float w[2], const float y[2], double least)
{
    o->pooled = quant_fidelity_f32(NULL, w, y, 2);
    o->pairs = 3;
    o->live = quant_fidelity_live(&o->pooled) ? 2 : 0;
    o->cosine_min = o->live ? least : NAN;
}

/* good: error (0, 1) on (3, 4), cosine 0.96...; fine: exact; dead: both zero. */
static void fill(fixture *f)
{
    static const float good[2] = {3, 4}, near[2] = {3, 3}, zero[2] = {0, 0};
    fixture_begin(f);
    quant_compare_row *a = fixture_row(f, "a", good, near);
    a->info.saturated = 1;
    output_of(&a->output, good, near, 0.9);
    output_of(&fixture_row(f, "exact", good, good)->output, good, good, 1);
    output_of(&fixture_row(f, "dead", zero, zero)->output, zero, zero, 1);
    output_of(&f->summary[0].output, good, near, 0.9);
    f->summary[0].saturated = 1;
}

static quant_gate_verdict ask(const char *text, const fixture *f)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_gate *gate = NULL;
    static quant_gate_verdict v; /* text points into the gate: tests read it no more */
    memset(&v, 0, sizeof v);
    CHECK_OK(ctx, quant_gate_parse(ctx, text, &gate));
    if (gate) {
        CU_ASSERT_TRUE(quant_gate_judge(gate, 0, &f->result, 0, &v));
        CU_ASSERT_FALSE(quant_gate_judge(gate, 1, &f->result, 0, &(quant_gate_verdict){0}));
        quant_gate_free(ctx, gate);
    }
    quant_context_free(ctx);
    return v;
}

/* On the fixture that fill() makes. */
static const struct {
    const char *text;
    bool held;
    const char *where;
    double value;
} rules[] = {
    {"cosine>=0.98", true, "a", 0.98994949366116653},
    {"cosine>=0.99", false, "a", 0.98994949366116653},
    {"worst.cosine >= 0.99", false, "a", 0.98994949366116653},
    {"relative_error<=0.2", true, "a", 0.2},
    {"relative_error<=0.19", false, "a", 0.2},
    {"sqnr_db>=13.9", true, "a", 13.979400086720377},
    {"sqnr_db>=14", false, "a", 13.979400086720377},
    {"mse<=0.5", true, "a", 0.5},
    {"max_abs_error<=0.99", false, "a", 1},
    {"pooled.relative_error<=0.15", true, "pooled", 0.14142135623730951},
    {"pooled.relative_error<=0.14", false, "pooled", 0.14142135623730951},
    {"output.cosine>=0.9", true, "a", 0.9},
    {"output.cosine>=0.95", false, "a", 0.9},
    {"output.relative_error<=0.2", true, "a", 0.2},
    {"pooled.output.cosine>=0.98", true, "pooled", 0.98994949366116653},
    {"output.pooled.cosine>=0.99", false, "pooled", 0.98994949366116653},
    {"bits_per_weight<=40", true, "a", 40},
    {"pooled.bits_per_weight<=43", false, "pooled", 44},
    {"bytes<=29", false, "dead", 30},
    {"pooled.bytes<=60", true, "pooled", 60},
    {"saturated_share<=0.5", true, "a", 0.5},
    {"pooled.saturated_share<=0.1", false, "pooled", 1 / 6.0},
    {"cosine<=1", true, "exact", 1},
    {"cosine>=-1e-3", true, "a", 0.98994949366116653},
};

static void each_rule_holds_or_fails(void)
{
    fixture f;
    fill(&f);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        quant_gate_verdict v = ask(rules[i].text, &f);
        CU_ASSERT_EQUAL(v.held, rules[i].held);
        CU_ASSERT_STRING_EQUAL(v.where, rules[i].where);
        CU_ASSERT_DOUBLE_EQUAL(v.value, rules[i].value, 1e-15 * rules[i].value);
        CU_ASSERT_PTR_NULL(v.why);
        CU_ASSERT_STRING_EQUAL(v.scheme_text, "int8:tensor");
    }
}

static void zero_error_passes_any_sqnr_gate(void)
{
    static const float w[2] = {3, 4}, y[2] = {3, 3}, zero[2] = {0, 0};
    fixture f;
    fixture_begin(&f);
    fixture_row(&f, "exact", w, w);
    fixture_row(&f, "dead", zero, zero);
    CU_ASSERT_TRUE(ask("sqnr_db>=1e6", &f).held);
    CU_ASSERT_TRUE(ask("sqnr_db<=1", &f).held);
    fixture_row(&f, "lossy", w, y);
    quant_gate_verdict v = ask("sqnr_db<=1", &f);
    CU_ASSERT_FALSE(v.held);
    CU_ASSERT_STRING_EQUAL(v.where, "lossy");
    CU_ASSERT_FALSE(ask("sqnr_db>=1e6", &f).held);
}

static void silence_never_passes(void)
{
    static const float zero[2] = {0, 0}, nan[2] = {NAN, 1}, w[2] = {3, 4};
    fixture f;
    fixture_begin(&f);
    CU_ASSERT_STRING_EQUAL(ask("cosine>=0", &f).why, "no row");
    CU_ASSERT_STRING_EQUAL(ask("pooled.cosine>=0", &f).why, "no row");
    CU_ASSERT_FALSE(ask("pooled.mse<=9", &f).held);
    fixture_row(&f, "dead", zero, zero);
    CU_ASSERT_STRING_EQUAL(ask("cosine>=0", &f).why, "no live pair");
    CU_ASSERT_STRING_EQUAL(ask("pooled.relative_error<=9", &f).why, "no live pair");
    CU_ASSERT_STRING_EQUAL(ask("output.cosine>=0", &f).why, "no row");
    output_of(&f.rows[0].output, zero, zero, 1);
    CU_ASSERT_STRING_EQUAL(ask("output.cosine>=0", &f).why, "no live pair");
    CU_ASSERT_STRING_EQUAL(ask("output.mse<=9", &f).why, "no live pair");
    fixture_row(&f, "exact", w, w);
    CU_ASSERT_TRUE(ask("cosine>=0", &f).held);
    fixture_row(&f, "broken", w, nan);
    fixture_row(&f, "after", w, w);
    fixture_row(&f, "broken too", w, nan);
    quant_gate_verdict v = ask("cosine>=-1", &f);
    CU_ASSERT_FALSE(v.held);
    CU_ASSERT_STRING_EQUAL(v.why, "NaN");
    CU_ASSERT_STRING_EQUAL(v.where, "broken");
    CU_ASSERT_FALSE(ask("mse<=1e300", &f).held);
    CU_ASSERT_FALSE(ask("sqnr_db>=-1e300", &f).held);
    CU_ASSERT_FALSE(ask("max_abs_error<=1e300", &f).held);
}

static void triples_are_rows_of_outputs(void)
{
    static const float w[2] = {3, 4}, y[2] = {3, 3};
    fixture f;
    fill(&f);
    f.triples[0] = (quant_compare_triple){.name = "mlp.*", .scheme = 0};
    output_of(&f.triples[0].output, w, y, 0.8);
    f.result.triple_count = 1;
    quant_gate_verdict v = ask("output.cosine>=0.85", &f);
    CU_ASSERT_FALSE(v.held);
    CU_ASSERT_STRING_EQUAL(v.where, "mlp.*");
    CU_ASSERT_TRUE(ask("cosine>=0.98", &f).held);
    f.triples[0].scheme = 1;
    CU_ASSERT_TRUE(ask("output.cosine>=0.85", &f).held);
}

static void other_columns_have_no_say(void)
{
    fixture f;
    fill(&f);
    f.rows[0].scheme = 1;
    CU_ASSERT_TRUE(ask("cosine>=0.999", &f).held);
}

#define TEN_ZEROS "0000000000"
#define LONG_NUMBER                                                                 \
    "cosine>=0." TEN_ZEROS TEN_ZEROS TEN_ZEROS TEN_ZEROS TEN_ZEROS TEN_ZEROS TEN_ZEROS \
    TEN_ZEROS TEN_ZEROS

static void wrong_expressions_are_refused(void)
{
    static const char *const texts[] = {
        "", "cosine", "cosine>0.9", "cosine=0.9", "cosine>=", "cosine>=nan", "cosine>=inf",
        "cosine>=0x1", "cosine>=0.9x", "angle>=0.9", "pooled.worst.cosine>=1", "output.bytes<=3",
        "cosine>=0.9 0", "cos ine>=0.9", "cosine>=1 e-3", "cosine>=0.9,", ",cosine>=0.9",
        "cosine>=1e999", ">=1", "output.output.cosine>=1",
        LONG_NUMBER,
    };
    quant_context *ctx = quant_context_new(NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        quant_gate *gate = NULL;
        CU_ASSERT_EQUAL(quant_gate_parse(ctx, texts[i], &gate), QUANT_EINVAL);
        CU_ASSERT_PTR_NULL(gate);
        quant_gate_free(ctx, gate);
    }
    quant_gate *gate = NULL;
    CU_ASSERT_EQUAL(quant_gate_parse(ctx, "angle>=0.9", &gate), QUANT_EINVAL);
    for (int i = 0; i < QUANT_METRIC_COUNT; i++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), quant_metric_row(i)->name));
    }
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "saturated_share"));
    quant_context_free(ctx);
}

/* A process may have set a locale with a decimal comma. */
static void the_locale_has_no_say(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8"};
    bool set = false;
    for (size_t i = 0; !set && i < sizeof names / sizeof *names; i++) {
        set = setlocale(LC_NUMERIC, names[i]) != NULL;
    }
    if (!set) {
        test_skip("no locale with a decimal comma is installed");
        return;
    }
    fixture f;
    fill(&f);
    CU_ASSERT_FALSE(ask("cosine>=0.99", &f).held);
    CU_ASSERT_TRUE(ask("\tcosine >= 9.8e-1 ", &f).held);
    setlocale(LC_NUMERIC, "C");
}

static void lists_are_judged_one_by_one(void)
{
    fixture f;
    fill(&f);
    quant_gate *gate = NULL;
    quant_gate_verdict v;
    CHECK_OK(NULL, quant_gate_parse(NULL, "cosine>=0.9, pooled.sqnr_db>=99 ,mse<=1", &gate));
    static const bool held[] = {true, false, true};
    static const char *const text[] = {"cosine>=0.9", "pooled.sqnr_db>=99", "mse<=1"};
    for (size_t i = 0; i < 3; i++) {
        CU_ASSERT_TRUE(quant_gate_judge(gate, i, &f.result, 0, &v));
        CU_ASSERT_EQUAL(v.held, held[i]);
        CU_ASSERT_STRING_EQUAL(v.text, text[i]);
    }
    CU_ASSERT_FALSE(quant_gate_judge(gate, 3, &f.result, 0, &v));
    quant_gate_free(NULL, gate);
}

TEST_SUITE(gate, {"each rule holds or fails", each_rule_holds_or_fails},
           {"zero error passes any SQNR gate", zero_error_passes_any_sqnr_gate},
           {"silence never passes", silence_never_passes},
           {"triples are rows of outputs", triples_are_rows_of_outputs},
           {"other columns have no say", other_columns_have_no_say},
           {"wrong expressions are refused", wrong_expressions_are_refused},
           {"the locale has no say", the_locale_has_no_say},
           {"lists are judged one by one", lists_are_judged_one_by_one})
