/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_parity.c - tiny random models as Hugging Face transformers saves them, against its logits;
 * tests/golden/make_nets.py made them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/fidelity.h"
#include "quant/model/forward.h"
#include "tests/golden.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"

static quant_context *ctx;

/* Largest relative error of a row. */
static double worst_row(const float *want, const float *got, size_t rows, size_t cols)
{
    double worst = 0;
    for (size_t r = 0; r < rows; r++) {
        quant_fidelity f = quant_fidelity_f32(NULL, want + r * cols, got + r * cols, cols);
        double e = quant_relative_error(&f);
        worst = e > worst || isnan(e) ? e : worst;
    }
    return worst;
}

/* Residual stream of the first sequence after every layer. */
static quant_status keep(void *user, const quant_stage_view *v)
{
    golden *seen = user;
    size_t some = seen->length * v->cols;
    memcpy(seen->hidden + v->layer * some, v->data, some * sizeof(float));
    return QUANT_OK;
}

static void agrees(const char *name)
{
    char folder[64], path[96];
    quant_model *model = NULL;
    snprintf(folder, sizeof folder, "tests/golden/%s", name);
    snprintf(path, sizeof path, "%s/golden.npz", folder);
    ctx = quant_context_new(NULL);
    golden g = golden_read(ctx, path);
    CHECK_OK(ctx, quant_model_open(ctx, folder, &model));
    if (model && g.ids) {
        size_t vocab = (size_t)quant_model_sizes_of(model)->vocab;
        size_t width = (size_t)quant_model_sizes_of(model)->width;
        CU_ASSERT_EQUAL_FATAL(g.logits_count, g.n * g.s * vocab);
        CU_ASSERT_EQUAL_FATAL(g.hidden_count, g.layers * g.s * width);
        golden got = {.hidden = calloc(g.hidden_count, sizeof(float)), .length = g.s};
        for (int plain = 0; plain < 2; plain++) {
            float *logits = calloc(g.logits_count, sizeof *logits);
            quant_forward_variant v = {.logits = logits};
            const quant_forward_options o = {.plain_attention = plain, .visit = keep, .user = &got,
                                             .stages = 1u << QUANT_STAGE_RESIDUAL};
            CHECK_OK(ctx, quant_forward_run(ctx, model, &(quant_tokens){g.ids, g.n, g.s}, &v, 1,
                                            &o));
            double worst = worst_row(g.logits, logits, g.n * g.s, vocab);
            double inside = worst_row(g.hidden, got.hidden, g.layers * g.s, width);
            printf("\n    %s: logits %.2g, residual stream %.2g ", name, worst, inside);
            CU_ASSERT(worst <= 1e-5);
            CU_ASSERT(inside <= 1e-5);
            free(logits);
        }
        free(got.hidden);
    }
    golden_free(&g);
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

/* A recipe sees the experts' matrices as the tensors that they are: encoded and decoded into a file
 * they give the logits that the pass gives when it does so itself. */
static void experts_apart_are_encoded_one_by_one(void)
{
    char folder[256];
    size_t n = 0;
    snprintf(folder, sizeof folder, "%s", scratch_folder("apart"));
    static const char recipe[] = "{\"*experts.1.*\": \"int4:block=8\", \"*q_proj*\": "
                                 "\"int8:channel\"}";
    scratch_put(scratch_join(folder, "recipe.json"), recipe, sizeof recipe - 1);
    run_result r = run_shell(
        "d='%s' net=tests/golden/mixtral; cp $net/config.json \"$d\" && "
        "\"$QUANT\" encode $net -o \"$d/p\" --recipe \"$d/recipe.json\" --quiet && "
        "\"$QUANT\" decode \"$d/p\" -o \"$d/model.safetensors\" --quiet && rm \"$d/p\" && "
        "run() { \"$QUANT\" forward \"$@\" --tokens $net/golden.npz --quiet; } && "
        "run \"$d\" -o \"$d/a\" && run $net -o \"$d/c\" && "
        "run $net --recipe \"$d/recipe.json\" -o \"$d/b\" && "
        "cmp \"$d/a\" \"$d/b\" && ! cmp -s \"$d/a\" \"$d/c\"", folder);
    CU_ASSERT_EQUAL(r.status, 0);
    CU_ASSERT_EQUAL(r.err_bytes, 0);
    run_free(&r);
    free(scratch_get(scratch_join(folder, "a"), &n));
    CU_ASSERT(n > 0);
}

#define NETS(NET) \
    NET(llama) NET(llama3_rope) NET(llama_linear_rope) NET(mistral) NET(gemma2) NET(gemma3_text) \
    NET(gemma3) NET(qwen3) NET(qwen3_window) NET(qwen3_moe) NET(mixtral) NET(mixtral_stacked)

#define NET(name) \
    static void name##_agrees(void) \
    { \
        agrees(#name); \
    }
NETS(NET)
#undef NET
#define NET(name) {#name " agrees at every position", name##_agrees},

const test_case suite_parity[];
const test_case suite_parity[] = {
    NETS(NET){"experts apart are encoded one by one", experts_apart_are_encoded_one_by_one},
    {NULL, NULL}};
