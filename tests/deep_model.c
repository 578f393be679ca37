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

typedef struct part {
    const char *name;
    int out, in; /* in = 0: a norm */
    int stack;   /* matrices; 0: one without an axis for it */
} part;

static const part parts[] = {
    {"input_layernorm.weight", DEEP_WIDTH, 0, 0},
    {"self_attn.q_proj.weight", DEEP_WIDTH, DEEP_WIDTH, 0},
    {"self_attn.k_proj.weight", DEEP_KV_HEADS * HEAD_DIM, DEEP_WIDTH, 0},
    {"self_attn.v_proj.weight", DEEP_KV_HEADS * HEAD_DIM, DEEP_WIDTH, 0},
    {"self_attn.o_proj.weight", DEEP_WIDTH, DEEP_WIDTH, 0},
    {"post_attention_layernorm.weight", DEEP_WIDTH, 0, 0},
    {"mlp.gate_proj.weight", DEEP_INNER, DEEP_WIDTH, 0},
    {"mlp.up_proj.weight", DEEP_INNER, DEEP_WIDTH, 0},
    {"mlp.down_proj.weight", DEEP_WIDTH, DEEP_INNER, 0},
};
/* What a layer with experts has besides. */
static const part more[] = {
    {"self_attn.q_norm.weight", HEAD_DIM, 0, 0},
    {"self_attn.k_norm.weight", HEAD_DIM, 0, 0},
    {"pre_feedforward_layernorm.weight", DEEP_WIDTH, 0, 0},
    {"post_feedforward_layernorm.weight", DEEP_WIDTH, 0, 0},
    {"router.proj.weight", DEEP_EXPERTS, DEEP_WIDTH, 0},
    {"experts.gate_proj", DEEP_EXPERT_INNER, DEEP_WIDTH, DEEP_EXPERTS},
    {"experts.up_proj", DEEP_EXPERT_INNER, DEEP_WIDTH, DEEP_EXPERTS},
    {"experts.down_proj", DEEP_WIDTH, DEEP_EXPERT_INNER, DEEP_EXPERTS},
};
enum { PARTS = sizeof parts / sizeof *parts, MORE = sizeof more / sizeof *more };

typedef struct shelf {
    lab_bank_item item[MOST];
    char name[MOST][64];
    float *data[MOST];
    size_t count;
} shelf;

static void put(shelf *s, uint64_t seed, const char *name, const part *p)
{
    size_t i = s->count++, rows = (size_t)p->out * (size_t)(p->stack > 0 ? p->stack : 1);
    size_t n = rows * (size_t)(p->in > 0 ? p->in : 1);
    snprintf(s->name[i], sizeof s->name[i], "%s", name);
    s->data[i] = lab_bank_normals(seed, name, n, p->in > 0 ? 1 / sqrt(p->in) : 0.1);
    for (size_t j = 0; j < n && p->in == 0; j++) {
        s->data[i][j] += 1;
    }
    quant_shape shape = {p->in > 0 ? 2 : 1, {(uint64_t)p->out, (uint64_t)p->in}};
    if (p->stack > 0) {
        shape = (quant_shape){3, {(uint64_t)p->stack, (uint64_t)p->out, (uint64_t)p->in}};
    }
    s->item[i] = (lab_bank_item){s->name[i], QUANT_F32, shape, s->data[i]};
}

static void put_layer(shelf *s, uint64_t seed, int layer, const part *list, int count)
{
    for (int p = 0; p < count; p++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.%d.%s", layer, list[p].name);
        put(s, seed, name, &list[p]);
    }
}

static void write_config(int layers, bool experts)
{
    FILE *f = fopen(test_scratch_path("config.json"), "w");
    fprintf(f, "{\"model_type\":\"%s\",\"hidden_size\":%d,\"intermediate_size\":%d,"
            "\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,"
            "\"vocab_size\":%d,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,"
            "\"rope_theta\":10000.0,\"hidden_act\":\"%s\",\"tie_word_embeddings\":false",
            experts ? "quant_moe" : "llama", DEEP_WIDTH, DEEP_INNER, layers, DEEP_HEADS,
            DEEP_KV_HEADS, DEEP_VOCAB, experts ? "gelu_pytorch_tanh" : "silu");
    if (experts) {
        fprintf(f, ",\"head_dim\":%d,\"num_experts\":%d,\"num_experts_per_tok\":%d,"
                "\"moe_intermediate_size\":%d,\"sliding_window\":2,\"sliding_window_pattern\":3,"
                "\"rope_local_base_freq\":1000.0", HEAD_DIM, DEEP_EXPERTS, DEEP_EXPERTS_USED,
                DEEP_EXPERT_INNER);
    }
    fputs("}", f);
    fclose(f);
}

static quant_model *make(quant_context *ctx, uint64_t seed, int layers, bool experts)
{
    static const part vocab = {NULL, DEEP_VOCAB, DEEP_WIDTH, 0}, norm = {NULL, DEEP_WIDTH, 0, 0};
    shelf *s = calloc(1, sizeof *s);
    quant_model *model = NULL;
    put(s, seed, "model.embed_tokens.weight", &vocab);
    for (int l = 0; l < layers; l++) {
        put_layer(s, seed, l, parts, PARTS);
        put_layer(s, seed, l, more, experts ? MORE : 0);
    }
    put(s, seed, "model.norm.weight", &norm);
    put(s, seed, "lm_head.weight", &vocab);
    write_config(layers, experts);
    remove(test_scratch_path("deep.safetensors"));
    quant_bank_close(ctx, lab_bank_make(ctx, "deep.safetensors", s->item, s->count));
    CHECK_OK(ctx, quant_model_open(ctx, test_scratch_path("deep.safetensors"), &model));
    for (size_t i = 0; i < s->count; i++) {
        free(s->data[i]);
    }
    free(s);
    return model;
}

quant_model *deep_model_make(quant_context *ctx, uint64_t seed, int layers)
{
    return make(ctx, seed, layers, false);
}

quant_model *deep_model_make_experts(quant_context *ctx, uint64_t seed, int layers)
{
    return make(ctx, seed, layers, true);
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
