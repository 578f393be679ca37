/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_propagate_options.c - recipes and progress of propagate. */
#include <stdio.h>
#include <string.h>

#include "quant/lab/propagate.h"
#include "tests/deep_model.h"
#include "tests/test.h"

static quant_context *ctx;

static quant_scheme scheme_of(const char *text)
{
    quant_scheme scheme;
    CHECK_OK(ctx, quant_scheme_parse(ctx, text, &scheme));
    return scheme;
}

typedef struct steps {
    uint64_t calls, done, total;
    bool bad;
} steps;

static void count_step(void *user, const char *name, uint64_t done, uint64_t total)
{
    steps *s = user;
    s->bad = s->bad || done < s->done || done > total || (s->calls > 0 && total != s->total) ||
             !strstr(name, "layer ");
    *s = (steps){s->calls + 1, done, total, s->bad};
}

static bool is_value(void *user, const quant_tensor *t)
{
    (void)user;
    return strstr(t->name, "v_proj") != NULL;
}

static quant_propagate_result *run_recipe(quant_model *model, const char *json,
                                          const quant_scheme *scheme, steps *s)
{
    int64_t ids[3 * 5];
    quant_propagate_result *result = NULL;
    quant_propagate_options o = {.schemes = scheme, .scheme_count = 1, .progress = count_step,
                                 .progress_user = s, .isolate = QUANT_ISOLATE_PROJECTION,
                                 .jacobians = true};
    deep_model_tokens(8, ids, 15);
    quant_recipe *recipe = NULL;
    if (json) {
        FILE *f = fopen(test_scratch_path("recipe.json"), "w");
        fputs(json, f);
        fclose(f);
        CHECK_OK(ctx, quant_recipe_read(ctx, test_scratch_path("recipe.json"), &recipe));
        o.recipe = recipe;
    } else {
        o.select = is_value;
    }
    CHECK_OK(ctx, quant_propagate(ctx, model, &(quant_tokens){ids, 3, 5}, &o, &result));
    quant_recipe_free(ctx, recipe);
    return result;
}

/* A recipe of one rule is that scheme on the tensors that it matches. */
static void a_recipe_is_a_column(void)
{
    ctx = quant_context_new(NULL);
    quant_model *model = deep_model_make(ctx, 9, 3);
    quant_scheme scheme = scheme_of("int3:channel");
    steps s[2] = {{0, 0, 0, false}, {0, 0, 0, false}};
    quant_propagate_result *a = run_recipe(model, "{\"*k_proj*\": \"keep\", \"*v_proj*\": "
                                                  "\"int3:channel\"}", &scheme, &s[0]);
    quant_propagate_result *b = run_recipe(model, NULL, &scheme, &s[1]);
    const quant_propagate_column *x = &a->columns[0], *y = &b->columns[0];
    CU_ASSERT_STRING_EQUAL(x->text, "recipe");
    CU_ASSERT_STRING_EQUAL(y->text, "int3:channel");
    CU_ASSERT(a->column_count == 1 && x->quantized == 3 && y->quantized == 3);
    CU_ASSERT_EQUAL(memcmp(x->ledger.terms, y->ledger.terms,
                           (size_t)a->depths * QUANT_PLACE_COUNT * a->s * sizeof *x->ledger.terms),
                    0);
    CU_ASSERT(x->logits.kl_mean == y->logits.kl_mean && x->logits.kl_mean > 0);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT(!s[i].bad && s[i].calls > 3 * 3 && s[i].done <= s[i].total);
    }
    quant_propagate_free(ctx, a);
    quant_propagate_free(ctx, b);
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

/* With nothing left out, what was announced is what was done. */
static void progress_ends_at_its_total(void)
{
    ctx = quant_context_new(NULL);
    for (int isolate = QUANT_ISOLATE_NONE; isolate <= QUANT_ISOLATE_PROJECTION; isolate++) {
        for (int compute = QUANT_COMPUTE_F32; compute <= QUANT_COMPUTE_F16; compute++) {
            quant_model *model = deep_model_make(ctx, 9, 3);
            quant_scheme scheme = scheme_of("int3:channel");
            quant_propagate_result *result = NULL;
            steps s = {0, 0, 0, false};
            int64_t ids[15];
            const quant_propagate_options o = {
                .schemes = &scheme, .scheme_count = 1, .progress = count_step, .progress_user = &s,
                .isolate = (quant_isolate)isolate, .compute = (quant_compute)compute};
            deep_model_tokens(8, ids, 15);
            CHECK_OK(ctx, quant_propagate(ctx, model, &(quant_tokens){ids, 3, 5}, &o, &result));
            CU_ASSERT(!s.bad && s.done == s.total && s.total > 0);
            quant_propagate_free(ctx, result);
            quant_model_close(ctx, model);
        }
    }
    quant_context_free(ctx);
}

TEST_SUITE(propagate_options, {"a recipe is a column", a_recipe_is_a_column},
           {"progress ends at its total", progress_ends_at_its_total})
