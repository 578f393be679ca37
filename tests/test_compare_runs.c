/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whole runs of compare: thread counts, short memory, real banks, another bank as the copy. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/compare.h"
#include "tests/lab_bank.h"
#include "tests/short_memory.h"
#include "tests/test.h"

enum { SCHEMES = 7 };

static void default_schemes(quant_scheme list[SCHEMES])
{
    char text[256];
    size_t count = 0;
    snprintf(text, sizeof text, "%s", quant_scheme_default_list());
    for (char *p = strtok(text, ";"); p && count < SCHEMES; p = strtok(NULL, ";")) {
        CHECK_OK(NULL, quant_scheme_parse(NULL, p, &list[count++]));
    }
    CU_ASSERT_EQUAL(count, SCHEMES);
}

static bool same_output(const quant_output_fidelity *a, const quant_output_fidelity *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void expect_same(const quant_compare_result *a, const quant_compare_result *b)
{
    CU_ASSERT_EQUAL_FATAL(a->row_count, b->row_count);
    CU_ASSERT_EQUAL_FATAL(a->triple_count, b->triple_count);
    for (size_t i = 0; i < a->row_count; i++) {
        const quant_compare_row *x = &a->rows[i], *y = &b->rows[i];
        CU_ASSERT_EQUAL(memcmp(&x->weight, &y->weight, sizeof x->weight), 0);
        CU_ASSERT_TRUE(same_output(&x->output, &y->output));
        CU_ASSERT_EQUAL(x->info.zero_codes, y->info.zero_codes);
        CU_ASSERT_EQUAL(memcmp(&x->predicted, &y->predicted, sizeof x->predicted), 0);
        CU_ASSERT_STRING_EQUAL(x->name, y->name);
    }
    for (size_t i = 0; i < a->triple_count; i++) {
        CU_ASSERT_TRUE(same_output(&a->triples[i].output, &b->triples[i].output));
    }
    for (size_t i = 0; i < a->summary_count; i++) {
        CU_ASSERT_EQUAL(memcmp(&a->summary[i].weight, &b->summary[i].weight,
                               sizeof a->summary[i].weight), 0);
        CU_ASSERT_TRUE(same_output(&a->summary[i].output, &b->summary[i].output));
    }
}

static void threads_do_not_matter(void)
{
    enum { ROWS = 300, COLS = 1100 }; /* six chunks of 65536 and a rest */
    quant_scheme schemes[SCHEMES];
    default_schemes(schemes);
    float *w = lab_bank_normals(1, "w", ROWS * COLS, 0.02);
    const lab_bank_item items[] = {{"x.down", QUANT_F32, {2, {50, 40}}, w},
                                   {"x.up", QUANT_F32, {2, {40, 30}}, w},
                                   {"big", QUANT_F32, {2, {ROWS, COLS}}, w},
                                   {"x.gate", QUANT_F32, {2, {40, 30}}, w + 5000}};
    quant_compare_result *r[3];
    for (int threads = 1; threads <= 3; threads++) {
        quant_context *ctx = quant_context_new(NULL);
        quant_context_set_threads(ctx, threads);
        quant_bank *bank = lab_bank_make(ctx, "threads.safetensors", items, 4);
        quant_compare_options options = {.schemes = schemes, .scheme_count = SCHEMES, .probe = 5,
                                         .predict = true};
        CHECK_OK(ctx, quant_compare(ctx, bank, &options, &r[threads - 1]));
        quant_bank_close(ctx, bank);
        CU_ASSERT_EQUAL_FATAL(r[threads - 1]->row_count, 4 * SCHEMES);
        CU_ASSERT_EQUAL_FATAL(r[threads - 1]->triple_count, SCHEMES);
        expect_same(r[0], r[threads - 1]);
        if (threads > 1) {
            quant_compare_free(ctx, r[threads - 1]);
        }
        quant_context_free(ctx);
    }
    quant_compare_free(NULL, r[0]); /* both allocate with malloc */
    free(w);
}

/* ---- columns and banks beside each other --------------------------------------------------- */

/* One scheme, three inputs a matrix. */
static quant_compare_result *compare_one(quant_context *ctx, quant_bank *bank, const char *scheme)
{
    quant_scheme s;
    quant_compare_result *r = NULL;
    CHECK_OK(ctx, quant_scheme_parse(ctx, scheme, &s));
    quant_compare_options options = {.schemes = &s, .scheme_count = 1, .probe = 3};
    CHECK_OK(ctx, quant_compare(ctx, bank, &options, &r));
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    return r;
}

static void several_banks_pool(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(4, "pool", 96, 1);
    const lab_bank_item all[] = {{"p", QUANT_F32, {2, {4, 8}}, w},
                                  {"q", QUANT_F32, {2, {4, 8}}, w + 32},
                                  {"r", QUANT_F32, {2, {4, 8}}, w + 64}};
    quant_compare_summary sum, whole;
    quant_compare_result *r[3];
    quant_bank *bank[3];
    for (size_t i = 0; i < 3; i++) {
        bank[i] = lab_bank_make(ctx, "pool.safetensors", i == 1 ? &all[1] : all,
                                i == 0 ? 1 : i == 1 ? 2 : 3);
        r[i] = compare_one(ctx, bank[i], "lut2:group=4");
    }
    sum = r[0]->summary[0];
    whole = r[2]->summary[0];
    quant_compare_summary_add(&sum, &r[1]->summary[0]);
    CU_ASSERT_DOUBLE_EQUAL(sum.weight.err2, whole.weight.err2, 1e-15 * whole.weight.err2);
    CU_ASSERT_EQUAL(sum.weight.n, 96);
    CU_ASSERT_EQUAL(sum.stored_bytes, whole.stored_bytes);
    CU_ASSERT_EQUAL(sum.bank_bytes, whole.bank_bytes);
    CU_ASSERT_EQUAL(sum.tensors, 3);
    CU_ASSERT_EQUAL(sum.cosine_worst, whole.cosine_worst);
    CU_ASSERT_STRING_EQUAL(sum.tensor_worst, whole.tensor_worst);
    CU_ASSERT_EQUAL(sum.bits_per_weight, whole.bits_per_weight);
    CU_ASSERT_EQUAL(sum.output.pairs, 9);
    CU_ASSERT_EQUAL(sum.output.cosine_min, whole.output.cosine_min);
    CU_ASSERT_DOUBLE_EQUAL(sum.output.cosine_mean, whole.output.cosine_mean, 1e-15);
    for (size_t i = 0; i < 3; i++) {
        quant_compare_free(ctx, r[i]);
        quant_bank_close(ctx, bank[i]);
    }
    free(w);
    quant_context_free(ctx);
}

static void columns_may_disagree_on_the_stack(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(1, "w", 4 * 48, 1);
    const lab_bank_item item = {"w", QUANT_F32, {3, {4, 6, 8}}, w};
    quant_bank *bank = lab_bank_make(ctx, "stacks.safetensors", &item, 1);
    static const char *const text[3] = {"int4:tensor", "int4:tensor,stack=1", "int8:tensor"};
    quant_scheme s[3];
    quant_compare_result *r = NULL;
    for (size_t i = 0; i < 3; i++) {
        CHECK_OK(ctx, quant_scheme_parse(ctx, text[i], &s[i]));
    }
    quant_compare_options options = {.schemes = s, .scheme_count = 3, .probe = 3};
    CHECK_OK(ctx, quant_compare(ctx, bank, &options, &r));
    CU_ASSERT_FATAL(r && r->row_count == 3);
    for (size_t i = 0; i < 3; i++) {
        quant_compare_result *one = compare_one(ctx, bank, text[i]);
        CU_ASSERT_EQUAL(r->rows[i].output.pairs, i == 1 ? 12 : 3);
        CU_ASSERT_EQUAL(memcmp(&r->rows[i].output, &one->rows[0].output,
                               sizeof one->rows[0].output), 0);
        quant_compare_free(ctx, one);
    }
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, bank);
    free(w);
    quant_context_free(ctx);
}

/* ---- short memory ------------------------------------------------------------------------- */

static quant_status run_rationed(const char *path, short_memory *memory, bool against)
{
    quant_context *ctx = short_memory_context(memory);
    quant_scheme scheme;
    quant_bank *bank = NULL, *other = NULL;
    quant_compare_result *r = NULL;
    if (!ctx) {
        return QUANT_ENOMEM;
    }
    CHECK_OK(NULL, quant_scheme_parse(NULL, "lut2:group=4", &scheme));
    quant_status s = quant_bank_open(ctx, path, &bank);
    if (s == QUANT_OK && against) {
        s = quant_bank_open(ctx, path, &other);
    }
    if (s == QUANT_OK) {
        quant_compare_options o = {.schemes = &scheme, .scheme_count = 1, .probe = 2,
                                   .predict = true};
        s = against ? quant_compare_against(ctx, bank, other, &o, &r)
                    : quant_compare(ctx, bank, &o, &r);
        CU_ASSERT_EQUAL(s == QUANT_OK, r != NULL);
        CU_ASSERT(s != QUANT_OK || (r->triple_count == 1 && r->refused_count == 1));
    }
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, other);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
    return s;
}

static void short_memory_is_told_and_leaks_nothing(void)
{
    float w[64] = {1, 2, 3, -4, 5}, bad[4] = {1, INFINITY, 0, 0};
    const lab_bank_item items[] = {{"gate", QUANT_F32, {2, {8, 8}}, w},
                                   {"up", QUANT_F32, {2, {8, 8}}, w},
                                   {"bias", QUANT_F32, {1, {8}}, w},
                                   {"down", QUANT_F32, {2, {8, 8}}, w},
                                   {"bad", QUANT_F32, {2, {2, 2}}, bad}};
    quant_bank_close(NULL, lab_bank_make(NULL, "short.safetensors", items, 5));
    char path[4096];
    snprintf(path, sizeof path, "%s", test_scratch_path("short.safetensors"));
    for (int against = 0; against < 2; against++) {
        quant_status s = QUANT_ENOMEM;
        for (long k = 0; s == QUANT_ENOMEM && k < 2000; k++) {
            short_memory memory = {.fail_at = k};
            s = run_rationed(path, &memory, against);
            CU_ASSERT(s == QUANT_OK || s == QUANT_ENOMEM);
            CU_ASSERT_EQUAL(memory.held, 0);
        }
        CU_ASSERT_EQUAL(s, QUANT_OK);
    }
}

/* ---- another bank ------------------------------------------------------------------------- */

/* What stands on one side only is kept, what cannot be compared is refused. */
static void check_what_does_not_match(const quant_compare_result *r)
{
    CU_ASSERT_EQUAL_FATAL(r->kept_count, 2);
    CU_ASSERT_STRING_EQUAL(r->kept[0].name, "mine");
    CU_ASSERT_STRING_EQUAL(r->kept[0].reason, "not in the other bank");
    CU_ASSERT_STRING_EQUAL(r->kept[1].name, "yours");
    CU_ASSERT_STRING_EQUAL(r->kept[1].reason, "only in the other bank");
    CU_ASSERT_EQUAL(r->kept[1].tensor, SIZE_MAX);
    CU_ASSERT_EQUAL_FATAL(r->refused_count, 2);
    CU_ASSERT_STRING_EQUAL(r->refused[0].reason, "shape [3,4] here, [4,3] in the other bank");
    CU_ASSERT_STRING_EQUAL(r->refused[1].name, "hole");
    CU_ASSERT_STRING_EQUAL(r->refused[1].reason, "the copy is not finite");
}

static void another_bank_is_measured_by_name(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(1, "w", 96, 1), *v = lab_bank_normals(2, "w", 96, 1);
    double wide[12];
    for (int i = 0; i < 12; i++) {
        wide[i] = (double)w[i] + 1e-9;
    }
    float hole[4] = {1, 2, NAN, 3};
    const lab_bank_item here[] = {
        {"w", QUANT_F32, {2, {8, 8}}, w}, {"vector", QUANT_F32, {1, {5}}, w},
        {"turned", QUANT_F32, {2, {3, 4}}, w}, {"wide", QUANT_F32, {2, {3, 4}}, w},
        {"mine", QUANT_F32, {2, {2, 2}}, w}, {"hole", QUANT_F32, {2, {2, 2}}, w}};
    const lab_bank_item there[] = {
        {"wide", QUANT_F64, {2, {3, 4}}, wide}, {"turned", QUANT_F32, {2, {4, 3}}, w},
        {"w", QUANT_F32, {2, {8, 8}}, v}, {"vector", QUANT_F32, {1, {5}}, w},
        {"yours", QUANT_F32, {2, {2, 2}}, w}, {"hole", QUANT_F32, {2, {2, 2}}, hole}};
    quant_bank *bank = lab_bank_make(ctx, "here.safetensors", here, 6);
    quant_bank *other = lab_bank_make(ctx, "there.safetensors", there, 6);
    quant_compare_result *r = NULL;
    quant_compare_options options = {.probe = 2};
    CHECK_OK(ctx, quant_compare_against(ctx, bank, other, &options, &r));
    CU_ASSERT_PTR_NOT_NULL_FATAL(r);
    CU_ASSERT_EQUAL_FATAL(r->row_count, 3);
    quant_fidelity f = quant_fidelity_f32(NULL, w, v, 64);
    CU_ASSERT_EQUAL(memcmp(&f, &r->rows[0].weight, sizeof f), 0);
    CU_ASSERT_STRING_EQUAL(r->rows[0].scheme_text, "against");
    CU_ASSERT_EQUAL(r->rows[0].stored_bytes, 256);
    CU_ASSERT_EQUAL(r->rows[0].output.pairs, 2);
    CU_ASSERT_EQUAL(r->rows[1].weight.err2, 0);
    CU_ASSERT_DOUBLE_EQUAL(r->rows[2].weight.max_abs, 1e-9, 1e-15); /* lost in f32 */
    CU_ASSERT_EQUAL(r->rows[2].bits_per_weight, 64);
    check_what_does_not_match(r);
    quant_compare_free(ctx, r);
    quant_bank_close(ctx, other);
    quant_bank_close(ctx, bank);
    free(w);
    free(v);
    quant_context_free(ctx);
}

static void a_packed_bank_scores_as_its_scheme(void)
{
    quant_context *ctx = quant_context_new(NULL);
    float *w = lab_bank_normals(1, "w", 5000, 1);
    const lab_bank_item items[] = {{"a", QUANT_F32, {2, {50, 100}}, w},
                                   {"b", QUANT_F32, {3, {5, 10, 20}}, w},
                                   {"bias", QUANT_F32, {1, {9}}, w}};
    quant_scheme scheme;
    CHECK_OK(ctx, quant_scheme_parse(ctx, "int4:block=32", &scheme));
    quant_bank *bank = lab_bank_make(ctx, "plain.safetensors", items, 3), *packed = NULL;
    quant_pack_item pack[3] = {{.tensor = 0, .scheme = scheme}, {.tensor = 1, .scheme = scheme},
                               {.tensor = 2, .keep = true}};
    const char *path = test_scratch_path("packed.safetensors");
    CHECK_OK(ctx, quant_pack_write(ctx, bank, pack, 3, path, NULL, NULL));
    CHECK_OK(ctx, quant_bank_open(ctx, path, &packed));
    quant_compare_result *direct = NULL, *against = NULL;
    quant_compare_options options = {.schemes = &scheme, .scheme_count = 1, .probe = 3};
    CHECK_OK(ctx, quant_compare(ctx, bank, &options, &direct));
    CHECK_OK(ctx, quant_compare_against(ctx, bank, packed, &options, &against));
    CU_ASSERT_FATAL(direct && against);
    CU_ASSERT_EQUAL_FATAL(direct->row_count, 2);
    CU_ASSERT_EQUAL_FATAL(against->row_count, 3);
    for (size_t i = 0; i < 2; i++) {
        const quant_compare_row *x = &direct->rows[i], *y = &against->rows[i];
        CU_ASSERT_STRING_EQUAL(x->name, y->name);
        CU_ASSERT_EQUAL(memcmp(&x->weight, &y->weight, sizeof x->weight), 0);
        CU_ASSERT_TRUE(same_output(&x->output, &y->output));
        CU_ASSERT_EQUAL(x->stored_bytes, y->stored_bytes);
        CU_ASSERT_EQUAL(x->foldable, y->foldable);
    }
    CU_ASSERT_EQUAL(against->rows[2].weight.err2, 0);
    CU_ASSERT_EQUAL(against->kept_count, 0);
    quant_compare_free(ctx, direct);
    quant_compare_free(ctx, against);
    CU_ASSERT_EQUAL(quant_compare_against(ctx, packed, bank, &options, &against), QUANT_EINVAL);
    quant_bank_close(ctx, packed);
    quant_bank_close(ctx, bank);
    free(w);
    quant_context_free(ctx);
}

/* ---- real banks --------------------------------------------------------------------------- */

/* How many rows and gate/up/down triples each bank has. */
static void real_banks_lose_less_with_more_bits(void)
{
    static const struct {
        const char *path;
        size_t tensors, triples;
    } banks[] = {{"stories260k/model.safetensors", 36, 5},
                 {"silero-vad/silero_vad_16k.safetensors", 8, 0},
                 {"ani-2x/ani-2x-ensemble0.safetensors", 28, 0}};
    quant_scheme schemes[SCHEMES];
    default_schemes(schemes);
    quant_context *ctx = quant_context_new(NULL);
    for (size_t b = 0; b < sizeof banks / sizeof *banks; b++) {
        const char *path = test_bank_path(banks[b].path);
        quant_bank *bank = NULL;
        quant_compare_result *r = NULL;
        if (!path) {
            continue;
        }
        CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
        quant_compare_options options = {.schemes = schemes, .scheme_count = SCHEMES, .probe = 2};
        CHECK_OK(ctx, quant_compare(ctx, bank, &options, &r));
        CU_ASSERT_PTR_NOT_NULL_FATAL(r);
        CU_ASSERT_EQUAL(r->row_count, banks[b].tensors * SCHEMES);
        CU_ASSERT_EQUAL(r->triple_count, banks[b].triples * SCHEMES);
        CU_ASSERT_EQUAL(r->refused_count, 0);
        CU_ASSERT_EQUAL(r->row_count / SCHEMES + r->kept_count, quant_bank_count(bank));
        for (size_t i = 0; i + 1 < SCHEMES; i++) {
            const quant_compare_summary *s = r->summary;
            CU_ASSERT(s[i].bits_per_weight > 0 && s[i].bank_bytes > s[i].stored_bytes);
            CU_ASSERT(i < 4 || s[i].weight.err2 < s[i + 1].weight.err2); /* lut4, 3, 2 */
            CU_ASSERT(s[i].cosine_worst <= quant_cosine(&s[i].weight) + 1e-12);
        }
        CU_ASSERT(r->summary[2].weight.err2 < r->summary[1].weight.err2); /* channel, tensor */
        quant_compare_free(ctx, r);
        quant_bank_close(ctx, bank);
    }
    quant_context_free(ctx);
}

TEST_SUITE(compare_runs, {"threads do not matter", threads_do_not_matter},
           {"several banks pool", several_banks_pool},
           {"columns may disagree on the stack", columns_may_disagree_on_the_stack},
           {"short memory is told and leaks nothing", short_memory_is_told_and_leaks_nothing},
           {"another bank is measured by name", another_bank_is_measured_by_name},
           {"a packed bank scores as its scheme", a_packed_bank_scores_as_its_scheme},
           {"real banks lose less with more bits", real_banks_lose_less_with_more_bits})
