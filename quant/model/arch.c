/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/model/arch.h"

#include <stdio.h>
#include <string.h>

#define LAYER "model.layers.%d."

/* What all rows with a config.json share. */
#define COMMON \
    [QUANT_ROLE_EMBED] = "model.embed_tokens.weight", \
    [QUANT_ROLE_FINAL_NORM] = "model.norm.weight", \
    [QUANT_ROLE_HEAD] = "lm_head.weight", \
    [QUANT_ROLE_ATTENTION_NORM] = LAYER "input_layernorm.weight", \
    [QUANT_ROLE_Q] = LAYER "self_attn.q_proj.weight", \
    [QUANT_ROLE_K] = LAYER "self_attn.k_proj.weight", \
    [QUANT_ROLE_V] = LAYER "self_attn.v_proj.weight", \
    [QUANT_ROLE_O] = LAYER "self_attn.o_proj.weight"
#define HEAD_NORMS \
    [QUANT_ROLE_Q_NORM] = LAYER "self_attn.q_norm.weight", \
    [QUANT_ROLE_K_NORM] = LAYER "self_attn.k_norm.weight"
#define DENSE \
    [QUANT_ROLE_GATE] = LAYER "mlp.gate_proj.weight", \
    [QUANT_ROLE_UP] = LAYER "mlp.up_proj.weight", \
    [QUANT_ROLE_DOWN] = LAYER "mlp.down_proj.weight"
#define NORM_BEFORE [QUANT_ROLE_FFN_NORM] = LAYER "post_attention_layernorm.weight"
#define NORMS_AROUND \
    [QUANT_ROLE_POST_ATTENTION] = LAYER "post_attention_layernorm.weight", \
    [QUANT_ROLE_FFN_NORM] = LAYER "pre_feedforward_layernorm.weight", \
    [QUANT_ROLE_POST_FFN] = LAYER "post_feedforward_layernorm.weight"
/* Experts as transformers 5 has them in memory. */
#define STACKED \
    [QUANT_ROLE_ROUTER] = LAYER "mlp.gate.weight", \
    [QUANT_ROLE_EXPERT_GATE_UP] = LAYER "mlp.experts.gate_up_proj", \
    [QUANT_ROLE_EXPERT_DOWN] = LAYER "mlp.experts.down_proj"

/* What transformers fills in: older folders leave out what equals it. */
static const model_default mistral_defaults[] = {
    {"num_key_value_heads", 8}, {"sliding_window", 4096}, {"rms_norm_eps", 1e-6}, {NULL, 0}};
static const model_default mixtral_defaults[] = {
    {"num_key_value_heads", 8}, {"num_experts", 8}, {"num_experts_per_tok", 2},
    {"rms_norm_eps", 1e-5}, {"rope_theta", 1e6}, {"norm_topk_prob", 1}, {NULL, 0}};
static const model_default qwen3_defaults[] = {
    {"head_dim", 128}, {"num_key_value_heads", 32}, {"sliding_window", 4096},
    {"max_window_layers", 28}, {"use_sliding_window", 0}, {"rms_norm_eps", 1e-6}, {NULL, 0}};
static const model_default qwen3_moe_defaults[] = {
    {"num_key_value_heads", 4}, {"sliding_window", 4096}, {"use_sliding_window", 0},
    {"num_experts", 128}, {"num_experts_per_tok", 8}, {"moe_intermediate_size", 768},
    {"norm_topk_prob", 0}, {"rms_norm_eps", 1e-6}, {NULL, 0}};
static const model_default gemma2_defaults[] = {
    {"vocab_size", 256000}, {"hidden_size", 2304}, {"intermediate_size", 9216},
    {"num_hidden_layers", 26}, {"num_attention_heads", 8}, {"num_key_value_heads", 4},
    {"head_dim", 256}, {"rms_norm_eps", 1e-6}, {"query_pre_attn_scalar", 256},
    {"sliding_window", 4096}, {"sliding_window_pattern", 2}, {"final_logit_softcapping", 30},
    {"attn_logit_softcapping", 50}, {"tie_word_embeddings", 1}, {NULL, 0}};
static const model_default gemma3_defaults[] = {
    {"vocab_size", 262208}, {"hidden_size", 2304}, {"intermediate_size", 9216},
    {"num_hidden_layers", 26}, {"num_attention_heads", 8}, {"num_key_value_heads", 4},
    {"head_dim", 256}, {"rms_norm_eps", 1e-6}, {"query_pre_attn_scalar", 256},
    {"sliding_window", 4096}, {"sliding_window_pattern", 6}, {"rope_theta", 1e6},
    {"rope_local_base_freq", 1e4}, {"tie_word_embeddings", 1}, {NULL, 0}};

static const char *const seeing[] = {"vision_tower.", "multi_modal_projector.",
                                     "model.vision_tower.", "model.multi_modal_projector.", NULL};

static const model_arch rows[] = {
    {.name = "llama", .tensor = {COMMON, NORM_BEFORE, DENSE}},
    {.name = "llama",
     .format = "gguf",
     .rotary = MODEL_NEIGHBOURS,
     .tensor = {[QUANT_ROLE_EMBED] = "token_embd.weight",
                [QUANT_ROLE_FINAL_NORM] = "output_norm.weight",
                [QUANT_ROLE_HEAD] = "output.weight",
                [QUANT_ROLE_ATTENTION_NORM] = "blk.%d.attn_norm.weight",
                [QUANT_ROLE_Q] = "blk.%d.attn_q.weight",
                [QUANT_ROLE_K] = "blk.%d.attn_k.weight",
                [QUANT_ROLE_V] = "blk.%d.attn_v.weight",
                [QUANT_ROLE_O] = "blk.%d.attn_output.weight",
                [QUANT_ROLE_FFN_NORM] = "blk.%d.ffn_norm.weight",
                [QUANT_ROLE_GATE] = "blk.%d.ffn_gate.weight",
                [QUANT_ROLE_UP] = "blk.%d.ffn_up.weight",
                [QUANT_ROLE_DOWN] = "blk.%d.ffn_down.weight"}},
    {.name = "mistral",
     .slides = MODEL_EVERYWHERE,
     .defaults = mistral_defaults,
     .tensor = {COMMON, NORM_BEFORE, DENSE}},
    {.name = "mixtral",
     .slides = MODEL_EVERYWHERE,
     .defaults = mixtral_defaults,
     .tensor = {COMMON, NORM_BEFORE,
                [QUANT_ROLE_ROUTER] = LAYER "block_sparse_moe.gate.weight",
                [QUANT_ROLE_EXPERT_GATE] = LAYER "block_sparse_moe.experts.%d.w1.weight",
                [QUANT_ROLE_EXPERT_UP] = LAYER "block_sparse_moe.experts.%d.w3.weight",
                [QUANT_ROLE_EXPERT_DOWN] = LAYER "block_sparse_moe.experts.%d.w2.weight"}},
    {.name = "mixtral",
     .slides = MODEL_EVERYWHERE,
     .defaults = mixtral_defaults,
     .tensor = {COMMON, NORM_BEFORE, STACKED}},
    {.name = "qwen3",
     .slides = MODEL_LATER,
     .defaults = qwen3_defaults,
     .tensor = {COMMON, HEAD_NORMS, NORM_BEFORE, DENSE}},
    {.name = "qwen3_moe",
     .slides = MODEL_EVERYWHERE,
     .defaults = qwen3_moe_defaults,
     .tensor = {COMMON, HEAD_NORMS, NORM_BEFORE,
                [QUANT_ROLE_ROUTER] = LAYER "mlp.gate.weight",
                [QUANT_ROLE_EXPERT_GATE] = LAYER "mlp.experts.%d.gate_proj.weight",
                [QUANT_ROLE_EXPERT_UP] = LAYER "mlp.experts.%d.up_proj.weight",
                [QUANT_ROLE_EXPERT_DOWN] = LAYER "mlp.experts.%d.down_proj.weight"}},
    {.name = "qwen3_moe",
     .slides = MODEL_EVERYWHERE,
     .defaults = qwen3_moe_defaults,
     .tensor = {COMMON, HEAD_NORMS, NORM_BEFORE, STACKED}},
    {.name = "gemma2",
     .activation = MODEL_GELU_TANH,
     .slides = MODEL_PATTERN,
     .embed_scaled = true,
     .one_plus = true,
     .caps_scores = true,
     .defaults = gemma2_defaults,
     .tensor = {COMMON, NORMS_AROUND, DENSE}},
    {.name = "gemma3_text",
     .activation = MODEL_GELU_TANH,
     .slides = MODEL_PATTERN,
     .embed_scaled = true,
     .one_plus = true,
     .defaults = gemma3_defaults,
     .tensor = {COMMON, HEAD_NORMS, NORMS_AROUND, DENSE}},
    {.name = "gemma3", /* which also sees: what it says to text alone */
     .section = "text_config",
     .activation = MODEL_GELU_TANH,
     .slides = MODEL_PATTERN,
     .embed_scaled = true,
     .one_plus = true,
     .defaults = gemma3_defaults,
     .elsewhere = seeing,
     .tensor = {COMMON, HEAD_NORMS, NORMS_AROUND, DENSE}},
    {.name = "quant_moe",
     .activation = MODEL_GELU_TANH,
     .slides = MODEL_PATTERN,
     .embed_scaled = true,
     .tensor = {COMMON, HEAD_NORMS, NORMS_AROUND, DENSE,
                [QUANT_ROLE_ROUTER] = LAYER "router.proj.weight",
                [QUANT_ROLE_EXPERT_GATE] = LAYER "experts.gate_proj",
                [QUANT_ROLE_EXPERT_UP] = LAYER "experts.up_proj",
                [QUANT_ROLE_EXPERT_DOWN] = LAYER "experts.down_proj"}},
};
enum { ROWS = sizeof rows / sizeof *rows };

static bool is_kind(const model_arch *row, bool gguf)
{
    return gguf == (row->format != NULL);
}

const model_arch *model_arch_find(const char *name, bool gguf, size_t k)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (is_kind(&rows[i], gguf) && strcmp(rows[i].name, name) == 0 && k-- == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

bool model_arch_apart(const model_arch *arch, quant_role role)
{
    const char *name = arch->tensor[role], *mark = name ? strstr(name, "%d") : NULL;
    return mark && strstr(mark + 2, "%d");
}

void model_arch_names(bool gguf, char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < ROWS && used < room; i++) {
        bool again = i > 0 && strcmp(rows[i].name, rows[i - 1].name) == 0;
        if (is_kind(&rows[i], gguf) && (gguf || !again)) {
            used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "",
                                     rows[i].name);
        }
    }
}
