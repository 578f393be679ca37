/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_trained.c - real weight banks, where they are at hand. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/bank.h"
#include "tests/bytes.h"
#include "tests/test.h"

static quant_context *ctx;

static size_t index_of(const quant_bank *bank, const char *name)
{
    size_t i = SIZE_MAX;
    CHECK_OK(ctx, quant_bank_find(ctx, bank, name, &i));
    return i;
}

static void begin(void)
{
    ctx = quant_context_new(NULL);
}

static void end(quant_bank *bank)
{
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

/* The two files name the same weights differently; query and key rows are permuted between them. */
static const char *const same[][2] = {
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"blk.%d.attn_norm.weight", "model.layers.%d.input_layernorm.weight"},
    {"blk.%d.attn_v.weight", "model.layers.%d.self_attn.v_proj.weight"},
    {"blk.%d.attn_output.weight", "model.layers.%d.self_attn.o_proj.weight"},
    {"blk.%d.ffn_norm.weight", "model.layers.%d.post_attention_layernorm.weight"},
    {"blk.%d.ffn_gate.weight", "model.layers.%d.mlp.gate_proj.weight"},
    {"blk.%d.ffn_up.weight", "model.layers.%d.mlp.up_proj.weight"},
    {"blk.%d.ffn_down.weight", "model.layers.%d.mlp.down_proj.weight"},
};

static void same_tensor(quant_bank *a, quant_bank *b, size_t row, int layer)
{
    char name[2][128];
    size_t i[2];
    for (int side = 0; side < 2; side++) {
        const char *pattern = same[row][side], *hole = strstr(pattern, "%d");
        int before = hole ? (int)(hole - pattern) : (int)strlen(pattern);
        snprintf(name[side], sizeof name[side], "%.*s", before, pattern);
        if (hole) {
            size_t used = strlen(name[side]);
            snprintf(name[side] + used, sizeof name[side] - used, "%d%s", layer, hole + 2);
        }
        i[side] = index_of(side ? b : a, name[side]);
    }
    const quant_tensor *s = quant_bank_tensor(a, i[0]), *t = quant_bank_tensor(b, i[1]);
    CU_ASSERT_PTR_NOT_NULL_FATAL(s);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    CU_ASSERT_EQUAL(s->shape.rank, t->shape.rank);
    CU_ASSERT_EQUAL(memcmp(s->shape.dim, t->shape.dim, sizeof(uint64_t) * (size_t)s->shape.rank),
                    0);
    CU_ASSERT_EQUAL_FATAL(s->elements, t->elements);
    size_t n = (size_t)s->elements;
    float *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    CHECK_OK(ctx, quant_bank_read_f32(ctx, a, i[0], 0, n, x));
    CHECK_OK(ctx, quant_bank_read_f32(ctx, b, i[1], 0, n, y));
    CU_ASSERT_EQUAL(memcmp(x, y, n * sizeof *x), 0);
    free(x);
    free(y);
}

static void stories_agree_across_formats(void)
{
    const char *path = test_bank_path("stories260k/stories260Ktok512.gguf");
    if (!path) {
        return;
    }
    begin();
    quant_bank *gguf = bytes_open_path(ctx, path);
    quant_bank *st = bytes_open_path(ctx, test_bank_path("stories260k")); /* a folder */
    CU_ASSERT_STRING_EQUAL(quant_bank_format(gguf), "gguf");
    CU_ASSERT_STRING_EQUAL(quant_bank_format(st), "safetensors");
    CU_ASSERT_EQUAL(quant_bank_count(st), 47);
    CU_ASSERT_STRING_EQUAL(quant_bank_metadata(gguf, "general.architecture"), "llama");
    CU_ASSERT_PTR_NULL(quant_bank_metadata(gguf, "general.no such key"));
    for (size_t row = 0; row < sizeof same / sizeof *same; row++) {
        for (int layer = 0; layer < (row < 2 ? 1 : 5); layer++) {
            same_tensor(gguf, st, row, layer);
        }
    }
    CHECK_OK(ctx, quant_bank_unchanged(ctx, gguf));
    quant_bank_close(ctx, gguf);
    end(st);
}

static void other_trained_banks_read_whole(void)
{
    static const char *const paths[] = {"ani-2x/ani-2x-ensemble0.safetensors",
                                        "silero-vad/silero_vad_16k.safetensors"};
    for (size_t k = 0; k < 2; k++) {
        const char *path = test_bank_path(paths[k]);
        if (!path) {
            continue;
        }
        begin();
        quant_bank *bank = bytes_open_path(ctx, path);
        uint64_t whole = 0;
        for (size_t i = 0; i < quant_bank_count(bank); i++) {
            const quant_tensor *t = quant_bank_tensor(bank, i);
            float *x = malloc((size_t)t->bytes + 1);
            CHECK_OK(ctx, quant_bank_read_f32(ctx, bank, i, 0, t->elements, x));
            for (size_t e = 0; e < t->elements; e++) {
                whole += !isfinite(x[e]) || fabsf(x[e]) > 1e4f;
            }
            free(x);
        }
        CU_ASSERT_EQUAL(whole, 0);
        CU_ASSERT(quant_bank_count(bank) == (k ? 15 : 56));
        end(bank);
    }
}

TEST_SUITE(trained,
           {"stories260k: safetensors and GGUF agree", stories_agree_across_formats},
           {"other trained banks read whole", other_trained_banks_read_whole})
