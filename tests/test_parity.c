/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_parity.c - tiny random models as Hugging Face transformers saves them, against its logits;
 * tests/golden/make_nets.py made them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/safetensors_write.h"
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

/* ---- the same experts, apart and stacked ---------------------------------------------------- */

/* Values of a layer's router (part 0), gate and up (1), down (2), expert after expert. */
static float *stacked(quant_model *model, uint64_t layer, int part, size_t *count)
{
    static const quant_role roles[3][2] = {{QUANT_ROLE_ROUTER, QUANT_ROLE_COUNT},
                                           {QUANT_ROLE_EXPERT_GATE, QUANT_ROLE_EXPERT_UP},
                                           {QUANT_ROLE_EXPERT_DOWN, QUANT_ROLE_COUNT}};
    const quant_model_sizes *z = quant_model_sizes_of(model);
    float *out = malloc(z->experts * 2 * z->expert_inner * z->width * sizeof *out);
    *count = 0;
    for (uint64_t e = 0; e < z->experts; e++) {
        for (int r = 0; r < 2; r++) {
            size_t i;
            const quant_tensor *t = quant_model_part(model, roles[part][r], layer, e, &i);
            if (t) {
                CHECK_OK(ctx, quant_bank_read_f32(ctx, quant_model_bank(model), i, 0, t->elements,
                                                  out + *count));
                *count += (size_t)t->elements;
            }
        }
    }
    return out;
}

/* Writes the tensors of the bank of experts apart under the names and shapes of stacks. */
static void write_stacked(quant_model *model, const char *path)
{
    enum { MOST = 128 };
    quant_bank *bank = quant_model_bank(model);
    const quant_model_sizes *z = quant_model_sizes_of(model);
    quant_safetensors_item items[MOST];
    char names[MOST][96];
    float *values[MOST];
    size_t n = 0, from[MOST];
    for (size_t i = 0; i < quant_bank_count(bank); i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        if (!strstr(t->name, "block_sparse_moe")) {
            snprintf(names[n], sizeof *names, "%s", t->name);
            items[n] = (quant_safetensors_item){names[n], QUANT_F32, t->shape};
            values[n] = malloc(t->elements * sizeof(float));
            from[n] = (size_t)t->elements;
            CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, i, 0, t->elements, values[n++]));
        }
    }
    for (uint64_t l = 0; l < z->layers; l++) {
        static const char *const tails[] = {"gate.weight", "experts.gate_up_proj",
                                            "experts.down_proj"};
        const quant_shape shapes[] = {{2, {z->experts, z->width}},
                                      {3, {z->experts, 2 * z->expert_inner, z->width}},
                                      {3, {z->experts, z->width, z->expert_inner}}};
        for (int k = 0; k < 3; k++, n++) {
            snprintf(names[n], sizeof *names, "model.layers.%d.mlp.%s", (int)l, tails[k]);
            items[n] = (quant_safetensors_item){names[n], QUANT_F32, shapes[k]};
            values[n] = stacked(model, l, k, &from[n]);
        }
    }
    quant_safetensors_writer *w = NULL;
    CHECK_OK(ctx, quant_safetensors_create(ctx, path, items, n, NULL, 0, &w));
    for (size_t i = 0; i < n; i++) {
        CHECK_OK(ctx, quant_safetensors_put(ctx, w, i, 0, values[i], from[i] * sizeof(float)));
        free(values[i]);
    }
    CHECK_OK(ctx, quant_safetensors_commit(ctx, w));
}

static const quant_scheme *everywhere(void *user, const quant_tensor *t)
{
    (void)t;
    return user;
}

/* Under schemes whose regions stacking leaves alone: rows, pieces of them, eight of them (gate has
 * 56; a palette for 32 would begin elsewhere in up). */
static void stacked_and_apart_agree(void)
{
    static const char *const schemes[] = {NULL, "w8a8", "lut4:group=8,stack=1",
                                          "int4:block=8,stack=1", "int8:channel,stack=1"};
    char folder[256];
    quant_model *model[2] = {NULL, NULL};
    size_t n = 0;
    ctx = quant_context_new(NULL);
    snprintf(folder, sizeof folder, "%s", scratch_folder("stacked"));
    char *config = scratch_get("tests/golden/mixtral/config.json", &n);
    scratch_put(scratch_join(folder, "config.json"), config, n);
    golden g = golden_read(ctx, "tests/golden/mixtral/golden.npz");
    CHECK_OK(ctx, quant_model_open(ctx, "tests/golden/mixtral", &model[0]));
    write_stacked(model[0], scratch_join(folder, "model.safetensors"));
    CHECK_OK(ctx, quant_model_open(ctx, folder, &model[1]));
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        float *logits[2];
        quant_scheme scheme;
        for (int k = 0; k < 2; k++) {
            logits[k] = calloc(g.logits_count, sizeof(float));
            quant_forward_variant v = {.logits = logits[k], .user = &scheme};
            if (schemes[i]) {
                CHECK_OK(ctx, quant_scheme_parse(ctx, schemes[i], &scheme));
                v.scheme = everywhere;
            }
            CHECK_OK(ctx, quant_forward_run(ctx, model[k], &(quant_tokens){g.ids, g.n, g.s}, &v, 1,
                                            NULL));
        }
        double worst = worst_row(logits[0], logits[1], g.n * g.s,
                                 (size_t)quant_model_sizes_of(model[0])->vocab);
        printf("\n    %s: %.2g ", schemes[i] ? schemes[i] : "as stored", worst);
        CU_ASSERT(worst <= 1e-5);
        free(logits[0]);
        free(logits[1]);
    }
    free(config);
    golden_free(&g);
    quant_model_close(ctx, model[0]);
    quant_model_close(ctx, model[1]);
    quant_context_free(ctx);
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
    {"and give what they give in stacks", stacked_and_apart_agree},
    {NULL, NULL}};
