/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Weights: rows, lists and sums of compare against a plain computation of our own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/compare.h"
#include "quant/random.h"
#include "tests/lab_bank.h"
#include "tests/test.h"

enum { SCHEMES_MAX = 16 };
typedef struct scheme_list {
    quant_scheme list[SCHEMES_MAX];
    size_t count;
} scheme_list;

static scheme_list parse_list(const char *text)
{
    scheme_list s = {.count = 0};
    char copy[512];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *p = strtok(copy, ";"); p; p = strtok(NULL, ";")) {
        CHECK_OK(NULL, quant_scheme_parse(NULL, p, &s.list[s.count++]));
    }
    return s;
}

static quant_compare_result *compare(quant_context *ctx, quant_bank *bank, const char *schemes,
                                     quant_compare_options options)
{
    scheme_list s = parse_list(schemes);
    quant_compare_result *r = NULL;
    options.schemes = s.list;
    options.scheme_count = s.count;
    CHECK_OK(ctx, quant_compare(ctx, bank, &options, &r));
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    return r;
}

static const quant_compare_row *find_row(const quant_compare_result *r, const char *name,
                                         size_t scheme)
{
    for (size_t i = 0; i < r->row_count; i++) {
        if (r->rows[i].scheme == scheme && strcmp(r->rows[i].name, name) == 0) {
            return &r->rows[i];
        }
    }
    return NULL;
}

static const char *find_reason(const quant_compare_listed *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, name) == 0) {
            return list[i].reason;
        }
    }
    return "not listed";
}

/* ---- a plain computation ------------------------------------------------------------------ */

typedef struct plain {
    long double ref2, got2, dot, err2, max_abs;
    uint64_t max_index, bytes;
} plain;

/* Encode and decode the whole tensor and sum in long double, w being what the bank holds. */
static plain plain_figures(const quant_scheme *scheme, const quant_shape *shape, const float *w32,
                           const double *w, size_t n)
{
    plain p = {0};
    quant_layout layout;
    quant_scheme applied = quant_scheme_for_shape(scheme, shape);
    scheme = &applied;
    CHECK_OK(NULL, quant_encode_layout(NULL, scheme, shape, &layout));
    p.bytes = layout.stored_bytes;
    unsigned char *packed = malloc(layout.bytes + 1);
    float *y = malloc((n + 1) * sizeof *y);
    CHECK_OK(NULL, quant_encode(NULL, scheme, shape, w32, packed, layout.bytes, NULL));
    CHECK_OK(NULL, quant_decode(NULL, scheme, shape, packed, layout.bytes, y));
    for (size_t i = 0; i < n; i++) {
        long double a = w ? w[i] : w32[i], b = y[i];
        p.ref2 += a * a;
        p.got2 += b * b;
        p.dot += a * b;
        p.err2 += (a - b) * (a - b);
        if (fabsl(a - b) > p.max_abs) {
            p.max_abs = fabsl(a - b);
            p.max_index = i;
        }
    }
    free(packed);
    free(y);
    return p;
}

static bool is_near(double got, long double want, double relative)
{
    return fabsl((long double)got - want) <= relative * fabsl(want);
}

/* Bound: 2^-53 times the additions of one lane and the tree, far below 1e-12 for these sizes. */
static bool row_agrees(const quant_compare_row *row, const plain *p, size_t n)
{
    const quant_fidelity *f = &row->weight;
    bool energies = is_near(f->ref2, p->ref2, 1e-12) && is_near(f->got2, p->got2, 1e-12) &&
                    is_near(f->err2, p->err2, 1e-12) &&
                    fabsl(f->dot - p->dot) <= 1e-12L * sqrtl(p->ref2 * p->got2);
    return energies && f->n == n && f->max_abs == (double)p->max_abs &&
           f->max_index == p->max_index && row->stored_bytes == p->bytes &&
           is_near(row->bits_per_weight, 8.0L * (long double)p->bytes / (long double)n, 1e-15);
}

/* ---- many small tensors ------------------------------------------------------------------- */

typedef struct sample {
    char name[32];
    quant_shape shape;
    float *w;
    size_t n;
} sample;

static sample sample_make(uint64_t k)
{
    sample s;
    quant_random r = quant_random_stream(test_seed() + k, "compare");
    snprintf(s.name, sizeof s.name, "t%06llu", (unsigned long long)k);
    s.shape.rank = 2 + (int)quant_random_below(&r, 0, 2);
    s.n = 1;
    for (int i = 0; i < s.shape.rank; i++) {
        s.shape.dim[i] = 1 + quant_random_below(&r, 1 + (uint64_t)i, s.shape.rank == 2 ? 40 : 9);
        s.n *= (size_t)s.shape.dim[i];
    }
    s.w = lab_bank_normals(test_seed(), s.name, s.n, quant_random_below(&r, 9, 8) ? 0.05 : 0);
    return s;
}

static void figures_agree_with_a_plain_computation(void)
{
    static const char *const list = "bf16;f16;int8:tensor;int8:channel;int4:block=32;int4:channel,"
                                    "axis=1;lut4:group=32;lut2:tensor;int8:tensor,asym,stack=1";
    uint64_t first = test_first_case(), last = test_last_case();
    size_t count = (size_t)(last - first);
    quant_context *ctx = quant_context_new(NULL);
    sample *samples = malloc((count + 1) * sizeof *samples);
    lab_bank_item *items = malloc((count + 1) * sizeof *items);
    for (size_t i = 0; i < count; i++) {
        samples[i] = sample_make(first + i);
        items[i] = (lab_bank_item){samples[i].name, QUANT_F32, samples[i].shape, samples[i].w};
    }
    quant_bank *bank = lab_bank_make(ctx, "many.safetensors", items, count);
    quant_compare_result *r = compare(ctx, bank, list, (quant_compare_options){0});
    scheme_list s = parse_list(list);
    CU_ASSERT_EQUAL_FATAL(r->row_count, count * s.count);
    for (size_t i = 0; i < r->row_count; i++) {
        const sample *t = &samples[i / s.count];
        const quant_compare_row *row = &r->rows[i];
        plain p = plain_figures(&s.list[i % s.count], &t->shape, t->w, NULL, t->n);
        bool agrees = row_agrees(row, &p, t->n) && strcmp(row->name, t->name) == 0 &&
                      row->scheme == i % s.count && !row->escalated && isnan(row->predicted) &&
                      row->output.pairs == 0;
        if (!agrees) {
            test_failed_case(first + i / s.count, "%s under %s", row->name, row->scheme_text);
        }
        CU_ASSERT_TRUE(agrees);
    }
    for (size_t i = 0; i < count; i++) {
        free(samples[i].w);
    }
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    free(samples);
    free(items);
    quant_context_free(ctx);
}

/* ---- sums --------------------------------------------------------------------------------- */

static void summary_adds_energies_and_names_the_worst(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *a = lab_bank_normals(1, "a", 512, 1), *b = lab_bank_normals(2, "b", 64, 30);
    float *v = lab_bank_normals(3, "v", 7, 1), zero[6] = {0};
    b[5] = 4000; /* an outlier: most of b rounds to zero, its cosine stays near 1 */
    a[7] = 200;  /* here it does not */
    const lab_bank_item items[] = {{"a", QUANT_F32, {2, {16, 32}}, a},
                                   {"b", QUANT_F32, {2, {8, 8}}, b},
                                   {"bias", QUANT_F32, {1, {7}}, v},
                                   {"zero", QUANT_F32, {2, {2, 3}}, zero}};
    quant_bank *bank = lab_bank_make(ctx, "sums.safetensors", items, 4);
    quant_compare_result *r = compare(ctx, bank, "int4:tensor;bf16", (quant_compare_options){0});
    CU_ASSERT_EQUAL(r->summary_count, 2);
    for (size_t c = 0; c < 2; c++) {
        const quant_compare_summary *sum = &r->summary[c];
        const quant_compare_row *ra = find_row(r, "a", c), *rb = find_row(r, "b", c);
        const quant_compare_row *rz = find_row(r, "zero", c);
        CU_ASSERT_FATAL(ra && rb && rz);
        CU_ASSERT(is_near(sum->weight.err2, (long double)ra->weight.err2 + rb->weight.err2, 1e-15));
        CU_ASSERT(is_near(sum->weight.ref2, (long double)ra->weight.ref2 + rb->weight.ref2, 1e-15));
        CU_ASSERT_EQUAL(sum->tensors, 3);
        CU_ASSERT_EQUAL(sum->elements, 582);
        CU_ASSERT_EQUAL(sum->stored_bytes, ra->stored_bytes + rb->stored_bytes + rz->stored_bytes);
        CU_ASSERT_EQUAL(sum->bank_bytes, sum->stored_bytes + 28);
        CU_ASSERT_EQUAL(sum->zero_codes,
                        ra->info.zero_codes + rb->info.zero_codes + rz->info.zero_codes);
        double worst = fmin(quant_cosine(&ra->weight), quant_cosine(&rb->weight));
        CU_ASSERT_EQUAL(sum->cosine_worst, worst);
        CU_ASSERT_STRING_EQUAL(sum->tensor_worst,
                               worst == quant_cosine(&ra->weight) ? "a" : "b");
        CU_ASSERT_DOUBLE_EQUAL(sum->bits_per_weight, 8 * (double)sum->stored_bytes / 582, 1e-12);
    }
    CU_ASSERT_STRING_EQUAL(find_reason(r->kept, r->kept_count, "bias"), "1-D");
    CU_ASSERT_EQUAL(r->kept_count, 1);
    CU_ASSERT_EQUAL(r->kept[0].scheme, SIZE_MAX);
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    free(a);
    free(b);
    free(v);
    quant_context_free(ctx);
}

/* ---- lists -------------------------------------------------------------------------------- */

/* good, broken (NaN at 3, inf at 5), label (integers), cube, row. */
static quant_bank *mixed_bank(quant_context *ctx)
{
    static float good[64], broken[12];
    static const int64_t label[4] = {1, 2, 3, 4};
    for (int i = 0; i < 64; i++) {
        good[i] = sinf((float)i);
        broken[i % 12] = 1;
    }
    broken[3] = NAN;
    broken[5] = INFINITY;
    const lab_bank_item items[] = {{"label", QUANT_I64, {2, {2, 2}}, label},
                                   {"z.good", QUANT_F32, {2, {8, 8}}, good},
                                   {"broken", QUANT_F32, {2, {3, 4}}, broken},
                                   {"a.cube", QUANT_F32, {3, {4, 4, 4}}, good},
                                   {"row", QUANT_F32, {2, {1, 8}}, good}};
    return lab_bank_make(ctx, "mixed.safetensors", items, 5);
}

static void one_broken_tensor_does_not_stop_the_others(void)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank = mixed_bank(ctx);
    quant_compare_result *r = compare(ctx, bank, "int8:tensor;int8:channel,axis=2",
                                      (quant_compare_options){.min_elements = 9});
    CU_ASSERT_EQUAL(r->refused_count, 1);
    CU_ASSERT_STRING_EQUAL(find_reason(r->refused, r->refused_count, "broken"),
                           "not finite: 2 of 12 values, the first at index 3");
    CU_ASSERT_EQUAL(r->row_count, 3);
    CU_ASSERT_STRING_EQUAL(r->rows[0].name, "z.good");
    CU_ASSERT_STRING_EQUAL(r->rows[1].name, "a.cube");
    CU_ASSERT_STRING_EQUAL(r->rows[2].name, "a.cube");
    CU_ASSERT_EQUAL(r->rows[2].scheme, 1);
    CU_ASSERT_TRUE(r->rows[1].foldable);
    CU_ASSERT_FALSE(r->rows[2].foldable);
    CU_ASSERT_EQUAL(r->kept_count, 3);
    CU_ASSERT_STRING_EQUAL(r->kept[0].reason, "integer type I64");
    CU_ASSERT_STRING_EQUAL(r->kept[1].name, "z.good"); /* has no axis 2 */
    CU_ASSERT_EQUAL(r->kept[1].scheme, 1);
    CU_ASSERT_PTR_NOT_NULL(strstr(r->kept[1].reason, "axis"));
    CU_ASSERT_STRING_EQUAL(r->kept[2].reason, "fewer than 9 elements");
    CU_ASSERT_EQUAL(r->summary[0].bank_bytes, r->summary[0].stored_bytes + 32 + 32);
    CU_ASSERT_EQUAL(r->summary[1].bank_bytes, r->summary[1].stored_bytes + 32 + 32 + 256);
    quant_compare_free(ctx, r);
    r = compare(ctx, bank, "bf16", (quant_compare_options){.keep_nonfinite = true,
                                                           .tensors = "*[on]"});
    CU_ASSERT_EQUAL(r->refused_count, 0);
    CU_ASSERT_EQUAL(r->kept_count, 1);
    CU_ASSERT_EQUAL(r->row_count, 0);
    CU_ASSERT_EQUAL(r->summary[0].bank_bytes, 48);
    CU_ASSERT_EQUAL(r->summary[0].tensors, 0);
    CU_ASSERT(isnan(r->summary[0].cosine_worst));
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

static void a_recipe_is_one_column(void)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank = mixed_bank(ctx);
    const char *path = test_scratch_path("columns.json");
    FILE *f = fopen(path, "wb");
    fputs("{\"a.*\": \"keep\", \"z.*\": \"int4:block=32\", \"b*\": \"bf16\"}", f);
    fclose(f);
    quant_recipe *recipe = NULL;
    quant_compare_result *r = NULL;
    CHECK_OK(ctx, quant_recipe_read(ctx, path, &recipe));
    quant_compare_options options = {.recipe = recipe};
    CHECK_OK(ctx, quant_compare(ctx, bank, &options, &r));
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    CU_ASSERT_EQUAL(r->row_count, 1);
    CU_ASSERT_STRING_EQUAL(r->rows[0].scheme_text, "int4:block=32");
    CU_ASSERT_STRING_EQUAL(r->summary[0].scheme_text, "recipe");
    CU_ASSERT_STRING_EQUAL(find_reason(r->kept, r->kept_count, "a.cube"), "kept by rule \"a.*\"");
    CU_ASSERT_STRING_EQUAL(find_reason(r->kept, r->kept_count, "row"),
                           "no rule of the recipe matches");
    CU_ASSERT_EQUAL(r->refused_count, 1);
    quant_compare_free(ctx, r);
    quant_recipe_free(ctx, recipe);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

/* ---- storage types ------------------------------------------------------------------------ */

static void f64_is_measured_against_f64(void)
{
    quant_context *ctx = quant_context_new(NULL);
    double w[48], far[4] = {1, 2, 1e300, 3};
    float w32[48];
    for (int i = 0; i < 48; i++) {
        w[i] = 1.0 / (i + 3);
        w32[i] = (float)w[i];
    }
    const lab_bank_item items[] = {{"w", QUANT_F64, {2, {6, 8}}, w},
                                   {"far", QUANT_F64, {2, {2, 2}}, far}};
    quant_bank *bank = lab_bank_make(ctx, "f64.safetensors", items, 2);
    quant_compare_result *r = compare(ctx, bank, "int8:channel", (quant_compare_options){0});
    scheme_list s = parse_list("int8:channel");
    plain p = plain_figures(&s.list[0], &items[0].shape, w32, w, 48);
    CU_ASSERT_EQUAL_FATAL(r->row_count, 1);
    CU_ASSERT_TRUE(row_agrees(&r->rows[0], &p, 48));
    plain rounded = plain_figures(&s.list[0], &items[0].shape, w32, NULL, 48);
    CU_ASSERT_FALSE(row_agrees(&r->rows[0], &rounded, 48));
    CU_ASSERT_STRING_EQUAL(find_reason(r->refused, r->refused_count, "far"),
                           "not finite in f32: 1 of 4 values, the first at index 2");
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

static void a_scale_that_overflows_is_stored_wider(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float huge[8] = {1e9F, -3e8F, 2e7F, 5, 1e9F, 0, 7e8F, -1}, small[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const lab_bank_item items[] = {{"huge", QUANT_F32, {2, {2, 4}}, huge},
                                   {"small", QUANT_F32, {2, {2, 4}}, small}};
    quant_bank *bank = lab_bank_make(ctx, "huge.safetensors", items, 2);
    quant_compare_result *r = compare(ctx, bank, "int4:block=32;lut2:tensor;f16;"
                                      "lut1:tensor,mode=unique", (quant_compare_options){0});
    const quant_compare_row *row = find_row(r, "huge", 0);
    CU_ASSERT_FATAL(row != NULL);
    CU_ASSERT_TRUE(row->escalated);
    CU_ASSERT_STRING_EQUAL(row->scheme_text, "int4:block=32,store=f32");
    CU_ASSERT_EQUAL(row->stored_bytes, 4 + 2 * 4);
    row = find_row(r, "huge", 1);
    CU_ASSERT_FATAL(row != NULL);
    CU_ASSERT(row->escalated && strstr(row->scheme_text, "lut=f32"));
    row = find_row(r, "small", 0);
    CU_ASSERT_FATAL(row != NULL);
    CU_ASSERT_FALSE(row->escalated);
    CU_ASSERT_EQUAL(row->stored_bytes, 4 + 2 * 2);
    CU_ASSERT_STRING_EQUAL(r->summary[0].scheme_text, "int4:block=32");
    CU_ASSERT_PTR_NULL(find_row(r, "huge", 2));
    CU_ASSERT_PTR_NOT_NULL(strstr(r->refused[0].reason, "overflow"));
    CU_ASSERT_EQUAL(r->refused[0].scheme, 2);
    CU_ASSERT_EQUAL(r->refused_count, 3); /* huge in f16, both with too many values */
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

TEST_SUITE(compare,
           {"figures agree with a plain computation", figures_agree_with_a_plain_computation},
           {"summary adds energies and names the worst", summary_adds_energies_and_names_the_worst},
           {"one broken tensor does not stop the others",
            one_broken_tensor_does_not_stop_the_others},
           {"a recipe is one column", a_recipe_is_one_column},
           {"f64 is measured against f64", f64_is_measured_against_f64},
           {"a scale that overflows is stored wider", a_scale_that_overflows_is_stored_wider})
