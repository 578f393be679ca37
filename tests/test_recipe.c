/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/lab/recipe.h"
#include "quant/random.h"
#include "tests/test.h"

/* ---- globs -------------------------------------------------------------------------------- */

static void globs_match_by_hand(void)
{
    static const struct {
        const char *glob, *name;
        bool match;
    } rows[] = {
        {"*", "", true},          {"", "", true},           {"", "a", false},
        {"?", "", false},         {"a*", "a", true},        {"*a", "bca", true},
        {"a*b*c", "a.b/c.c", true}, {"a*b*c", "acb", false}, {"*.mlp.*", "x.0.mlp.up", true},
        {"*.mlp.*", "x.0.mlp", false}, {"[a-c]x", "bx", true}, {"[a-c]x", "dx", false},
        {"[!a-c]x", "dx", true},  {"[^a-c]x", "ax", false}, {"[]]", "]", true},
        {"[!]]", "]", false},     {"[a-]", "-", true},      {"[", "[", true},
        {"a[b", "a[b", true},     {"[a", "a", false},       {"layers.[0-9].*", "layers.7.w", true},
        {"layers.[0-9].*", "layers.12.w", false},           {"**x", "aax", true},
        {"?", "\xc3\xa9", true},  {"??", "\xc3\xa9", false},
        {"[\xc3\xa0-\xc3\xaf]", "\xc3\xa9", true},
        {"\xc3\xa9", "\xc3\xa9", true}, {"?", "\xff", true}, {"*\xc3", "a\xc3", true},
        {"?*", "\xf0\x9f\x98\x80", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool got = quant_glob_match(rows[i].glob, rows[i].name);
        if (got != rows[i].match) {
            printf("\n    glob \"%s\" on \"%s\": %d\n", rows[i].glob, rows[i].name, got);
        }
        CU_ASSERT_EQUAL(got, rows[i].match);
    }
}

/* Items of a glob over {a, b}: 'a' 'b' '?' '*' and A = [a], N = [!a]. */
static bool item_takes(char item, char c)
{
    return item == '?' || item == c || (item == 'A' && c == 'a') || (item == 'N' && c != 'a');
}

/* reach[j]: the items so far can match the first j characters. */
static bool reference_match(const char *items, const char *name)
{
    bool reach[32] = {true};
    size_t n = strlen(name);
    for (; *items; items++) {
        bool next[32] = {false};
        for (size_t j = 0; j <= n; j++) {
            if (*items == '*') {
                next[j] = reach[j] || (j > 0 && next[j - 1]);
            } else {
                next[j] = j > 0 && reach[j - 1] && item_takes(*items, name[j - 1]);
            }
        }
        memcpy(reach, next, sizeof reach);
    }
    return reach[n];
}

static void globs_agree_with_a_table_of_reaches(void)
{
    unsigned matches = 0, cases = 0;
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        quant_random r = quant_random_stream(test_seed() + k, "glob");
        char items[9] = "", glob[64] = "", name[13] = "";
        size_t n = (size_t)quant_random_below(&r, 0, 9), m = (size_t)quant_random_below(&r, 1, 13);
        for (size_t i = 0; i < n; i++) {
            items[i] = "ab?**AN"[quant_random_below(&r, 10 + i, 7)];
            char one[2] = {items[i], 0};
            strcat(glob, items[i] == 'A' ? "[a]" : items[i] == 'N' ? "[!a]" : one);
        }
        for (size_t i = 0; i < m; i++) {
            name[i] = "ab"[quant_random_below(&r, 100 + i, 2)];
        }
        bool want = reference_match(items, name), got = quant_glob_match(glob, name);
        if (want != got) {
            test_failed_case(k, "glob \"%s\" on \"%s\": expected %d", glob, name, want);
        }
        CU_ASSERT_EQUAL(want, got);
        matches += want;
        cases++;
    }
    CU_ASSERT(cases < 1000 || (matches > cases / 20 && matches < cases - cases / 20));
}

/* ---- recipes ------------------------------------------------------------------------------ */

static const char *write_text(const char *text)
{
    const char *path = test_scratch_path("recipe.json");
    FILE *f = fopen(path, "wb");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(text, f);
    fclose(f);
    return path;
}

static void first_match_wins(void)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_recipe *recipe = NULL;
    const char *path = write_text("{\"z.special\": \"bf16\", \"z.*\": \"keep\","
                                  " \"a*\": \"int8:channel\", \"*.w\": \"lut4:group=32\"}");
    CHECK_OK(ctx, quant_recipe_read(ctx, path, &recipe));
    CU_ASSERT_PTR_NOT_NULL_FATAL(recipe);
    size_t rule;
    const quant_scheme *s = quant_recipe_match(recipe, "z.special", &rule);
    CU_ASSERT(s && s->family == QUANT_FAMILY_FLOAT && rule == 0);
    CU_ASSERT_PTR_NULL(quant_recipe_match(recipe, "z.w", &rule));
    CU_ASSERT_EQUAL(rule, 1);
    s = quant_recipe_match(recipe, "a.w", &rule);
    CU_ASSERT(s && s->granularity == QUANT_PER_CHANNEL && rule == 2);
    s = quant_recipe_match(recipe, "b.w", NULL);
    CU_ASSERT(s && s->granularity == QUANT_PER_GROUP && s->size == 32);
    CU_ASSERT_PTR_NULL(quant_recipe_match(recipe, "b.bias", &rule));
    CU_ASSERT_EQUAL(rule, SIZE_MAX);
    CU_ASSERT_STRING_EQUAL(quant_recipe_glob(recipe, 3), "*.w");
    CU_ASSERT_PTR_NULL(quant_recipe_glob(recipe, 4));
    quant_recipe_free(ctx, recipe);
    quant_context_free(ctx);
}

static void wrong_recipes_are_refused_by_name(void)
{
    static const struct {
        const char *text;
        quant_status status;
        const char *named;
    } rows[] = {
        {"[]", QUANT_ETYPE, "object"},
        {"{\"k\": 4}", QUANT_ETYPE, "\"k\""},
        {"{\"fine\": \"bf16\", \"broken.*\": \"int9:tensor\"}", QUANT_ESCHEME, "broken.*"},
        {"{\"k\": \"bf16\", \"k\": \"f16\"}", QUANT_EDUP, ""},
        {"{\"k\": \"bf16\"", QUANT_ESYNTAX, ""},
    };
    quant_context *ctx = quant_context_new(NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        quant_recipe *recipe = (quant_recipe *)&recipe;
        CU_ASSERT_EQUAL(quant_recipe_read(ctx, write_text(rows[i].text), &recipe),
                        rows[i].status);
        CU_ASSERT_PTR_NULL(recipe);
        const char *message = quant_context_message(ctx);
        CU_ASSERT_PTR_NOT_NULL(strstr(message, rows[i].named));
        CU_ASSERT_PTR_NOT_NULL(strstr(message, "recipe.json"));
    }
    quant_context_free(ctx);
}

static void one_rule_takes_everything(void)
{
    quant_scheme scheme;
    quant_recipe *recipe = NULL;
    CHECK_OK(NULL, quant_scheme_parse(NULL, "int4:block=32", &scheme));
    CHECK_OK(NULL, quant_recipe_single(NULL, &scheme, &recipe));
    const quant_scheme *s = quant_recipe_match(recipe, "any/thing", NULL);
    CU_ASSERT(s && memcmp(s, &scheme, sizeof scheme) == 0);
    quant_recipe_free(NULL, recipe);
}

/* ---- reasons ------------------------------------------------------------------------------ */

static void reasons_name_the_type_or_the_shape(void)
{
    static const struct {
        quant_dtype dtype;
        const char *text;
        quant_shape shape;
        uint64_t elements;
        const char *reason;
    } rows[] = {
        {QUANT_I64, "I64", {2, {4, 4}}, 16, "integer type I64"},
        {QUANT_BOOL, "BOOL", {2, {4, 4}}, 16, "integer type BOOL"},
        {QUANT_U8, "U8", {0, {0}}, 1, "integer type U8"},
        {QUANT_GGML_BLOCK, "Q4_K", {2, {4, 4}}, 16, "type Q4_K is not decoded"},
        {QUANT_F8_E4M3, "F8_E4M3", {2, {4, 4}}, 16, "type F8_E4M3 is not decoded"},
        {QUANT_C64, "C64", {2, {4, 4}}, 16, "type C64 is not decoded"},
        {QUANT_F32, "F32", {0, {0}}, 1, "scalar"},
        {QUANT_F32, "F32", {1, {4}}, 4, "1-D"},
        {QUANT_F32, "F32", {2, {4, 0}}, 0, "empty"},
        {QUANT_BF16, "BF16", {2, {3, 3}}, 9, "fewer than 10 elements"},
        {QUANT_F64, "F64", {2, {2, 5}}, 10, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        quant_tensor t = {"t", rows[i].dtype, rows[i].text, rows[i].shape, rows[i].elements, 0};
        const char *reason = quant_keep_reason(&t, 10);
        CU_ASSERT_EQUAL(!reason, !rows[i].reason);
        if (reason && rows[i].reason) {
            CU_ASSERT_STRING_EQUAL(reason, rows[i].reason);
        }
    }
}

TEST_SUITE(recipe, {"globs match by hand", globs_match_by_hand},
           {"globs agree with a table of reaches", globs_agree_with_a_table_of_reaches},
           {"first match wins", first_match_wins},
           {"wrong recipes are refused by name", wrong_recipes_are_refused_by_name},
           {"one rule takes everything", one_rule_takes_everything},
           {"reasons name the type or the shape", reasons_name_the_type_or_the_shape})
