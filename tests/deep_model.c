/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/deep_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/random.h"
#include "tests/lab_bank.h"
#include "tests/test.h"

enum { MOST = 512, HEAD_DIM = DEEP_WIDTH / DEEP_HEADS };

static const struct {
    const char *name;
    int out, in; /* in = 0: a norm */
} parts[] = {
    {"input_layernorm.weight", DEEP_WIDTH, 0},
    {"self_attn.q_proj.weight", DEEP_WIDTH, DEEP_WIDTH},
    {"self_attn.k_proj.weight", DEEP_KV_HEADS * HEAD_DIM, DEEP_WIDTH},
    {"self_attn.v_proj.weight", DEEP_KV_HEADS * HEAD_DIM, DEEP_WIDTH},
    {"self_attn.o_proj.weight", DEEP_WIDTH, DEEP_WIDTH},
    {"post_attention_layernorm.weight", DEEP_WIDTH, 0},
    {"mlp.gate_proj.weight", DEEP_INNER, DEEP_WIDTH},
    {"mlp.up_proj.weight", DEEP_INNER, DEEP_WIDTH},
    {"mlp.down_proj.weight", DEEP_WIDTH, DEEP_INNER},
};
enum { PARTS = sizeof parts / sizeof *parts };

typedef struct shelf {
    lab_bank_item item[MOST];
    char name[MOST][64];
    float *data[MOST];
    size_t count;
} shelf;

static void put(shelf *s, uint64_t seed, const char *name, int out, int in)
{
    size_t i = s->count++, n = (size_t)out * (size_t)(in > 0 ? in : 1);
    snprintf(s->name[i], sizeof s->name[i], "%s", name);
    s->data[i] = lab_bank_normals(seed, name, n, in > 0 ? 1 / sqrt(in) : 0.1);
    for (size_t j = 0; j < n && in == 0; j++) {
        s->data[i][j] += 1;
    }
    quant_shape shape = {in > 0 ? 2 : 1, {(uint64_t)out, (uint64_t)in}};
    s->item[i] = (lab_bank_item){s->name[i], QUANT_F32, shape, s->data[i]};
}

static void write_config(int layers)
{
    FILE *f = fopen(test_scratch_path("config.json"), "w");
    fprintf(f, "{\"model_type\":\"llama\",\"hidden_size\":%d,\"intermediate_size\":%d,"
            "\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,"
            "\"vocab_size\":%d,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
            "\"rope_theta\":10000.0,\"hidden_act\":\"silu\",\"tie_word_embeddings\":false}",
            DEEP_WIDTH, DEEP_INNER, layers, DEEP_HEADS, DEEP_KV_HEADS, DEEP_VOCAB);
    fclose(f);
}

quant_model *deep_model_make(quant_context *ctx, uint64_t seed, int layers)
{
    shelf *s = calloc(1, sizeof *s);
    quant_model *model = NULL;
    put(s, seed, "model.embed_tokens.weight", DEEP_VOCAB, DEEP_WIDTH);
    for (int l = 0; l < layers; l++) {
        for (int p = 0; p < PARTS; p++) {
            char name[64];
            snprintf(name, sizeof name, "model.layers.%d.%s", l, parts[p].name);
            put(s, seed, name, parts[p].out, parts[p].in);
        }
    }
    put(s, seed, "model.norm.weight", DEEP_WIDTH, 0);
    put(s, seed, "lm_head.weight", DEEP_VOCAB, DEEP_WIDTH);
    write_config(layers);
    remove(test_scratch_path("deep.safetensors"));
    quant_bank_close(ctx, lab_bank_make(ctx, "deep.safetensors", s->item, s->count));
    CHECK_OK(ctx, quant_model_open(ctx, test_scratch_path("deep.safetensors"), &model));
    for (size_t i = 0; i < s->count; i++) {
        free(s->data[i]);
    }
    free(s);
    return model;
}

void deep_model_tokens(uint64_t seed, int64_t *ids, size_t count)
{
    quant_random stream = quant_random_stream(seed, "tokens");
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int64_t)quant_random_below(&stream, i, DEEP_VOCAB);
    }
}

int deep_model_depth(const quant_tensor *t, int layers)
{
    int layer;
    if (sscanf(t->name, "model.layers.%d.", &layer) == 1) {
        return layer + 1;
    }
    return strcmp(t->name, "model.embed_tokens.weight") == 0 ? 0 : layers + 1;
}
