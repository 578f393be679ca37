/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_forward.c - real models against golden values from independent float64 forward passes. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/fidelity.h"
#include "quant/model/forward.h"
#include "tests/golden.h"
#include "tests/test.h"

static quant_context *ctx;

static void begin(void)
{
    ctx = quant_context_new(NULL);
    quant_context_set_threads(ctx, 2);
}

static void end(quant_model *model, golden *g)
{
    quant_model_close(ctx, model);
    golden_free(g);
    quant_context_free(ctx);
}

/* Every row of n: cosine and relative error. */
static void rows_agree(const float *want, const float *got, size_t rows, size_t cols,
                       const char *what)
{
    double worst_cosine = 1, worst_error = 0;
    for (size_t r = 0; r < rows; r++) {
        quant_fidelity f = quant_fidelity_f32(NULL, want + r * cols, got + r * cols, cols);
        double c = quant_cosine(&f), e = quant_relative_error(&f);
        worst_cosine = c < worst_cosine || isnan(c) ? c : worst_cosine;
        worst_error = e > worst_error || isnan(e) ? e : worst_error;
    }
    printf("\n    %s: relative error %.2g, 1 - cosine %.2g ", what, worst_error, 1 - worst_cosine);
    CU_ASSERT(worst_error <= 1e-5);
    CU_ASSERT(worst_cosine >= 0.9999999);
}

/* Keeps the residual stream of sequence 0 after every layer, positions below `length`. */
typedef struct keeper {
    float *at;
    size_t length, visits;
} keeper;

static quant_status keep(void *user, const quant_stage_view *v)
{
    keeper *k = user;
    if (v->first_row == 0) {
        memcpy(k->at + v->layer * k->length * v->cols, v->data,
               k->length * v->cols * sizeof(float));
        k->visits++;
    }
    return QUANT_OK;
}

static void agrees_with_golden(const char *path, golden *g, const char *what)
{
    quant_model *model = NULL;
    CHECK_OK(ctx, quant_model_open(ctx, path, &model));
    if (model && g->ids) {
        const quant_model_sizes *z = quant_model_sizes_of(model);
        size_t logits = g->n * g->s * z->vocab, hidden = g->layers * g->length * z->width;
        float *got = malloc(logits * sizeof *got);
        keeper k = {malloc(hidden * sizeof(float)), g->length, 0};
        quant_forward_variant v = {.logits = got};
        quant_forward_options o = {.stages = 1u << QUANT_STAGE_RESIDUAL, .visit = keep, .user = &k};
        CHECK_OK(ctx, quant_forward_run(ctx, model, &(quant_tokens){g->ids, g->n, g->s}, &v, 1,
                                        &o));
        CU_ASSERT_EQUAL(k.visits, g->layers);
        CU_ASSERT_EQUAL(z->layers, g->layers);
        CU_ASSERT_EQUAL(g->logits_count, logits);
        CU_ASSERT_EQUAL(g->hidden_count, hidden);
        rows_agree(g->logits, got, g->n * g->s, z->vocab, what);
        rows_agree(g->hidden, k.at, g->layers * g->length, z->width, "  residual stream");
        free(got);
        free(k.at);
    }
    end(model, g);
}

static void stories_safetensors(void)
{
    char folder[512];
    const char *path = test_bank_path("stories260k/golden.npz");
    if (path) {
        begin();
        golden g = golden_read(ctx, path);
        snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
        agrees_with_golden(folder, &g, "safetensors");
    }
}

static void stories_gguf(void)
{
    const char *path = test_bank_path("stories260k/golden.npz");
    if (path) {
        begin();
        golden g = golden_read(ctx, path);
        agrees_with_golden(test_bank_path("stories260k/stories260Ktok512.gguf"), &g, "GGUF");
    }
}

/* The bank of our own making: experts beside a dense path, local and global layers, head norms. */
static void trained_experts(void)
{
    FILE *f = fopen("data/moe/golden.npz", "rb");
    if (!f) {
        test_skip("data/moe is not there");
        return;
    }
    fclose(f);
    begin();
    golden g = golden_read(ctx, "data/moe/golden.npz");
    agrees_with_golden("data/moe", &g, "experts");
}

TEST_SUITE(forward, {"stories260k from safetensors agrees at every position", stories_safetensors},
           {"and from GGUF, whose rotary pairs are neighbours", stories_gguf},
           {"the mixture of experts agrees at every position", trained_experts})
