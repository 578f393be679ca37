/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/model/arch.h"

#include <stdio.h>
#include <string.h>

#define LAYER "model.layers.%d."

static const model_arch rows[] = {
    {.name = "llama",
     .activation = MODEL_SILU,
     .rotary = MODEL_HALVES,
     .tensor = {[QUANT_ROLE_EMBED] = "model.embed_tokens.weight",
                [QUANT_ROLE_FINAL_NORM] = "model.norm.weight",
                [QUANT_ROLE_HEAD] = "lm_head.weight",
                [QUANT_ROLE_ATTENTION_NORM] = LAYER "input_layernorm.weight",
                [QUANT_ROLE_Q] = LAYER "self_attn.q_proj.weight",
                [QUANT_ROLE_K] = LAYER "self_attn.k_proj.weight",
                [QUANT_ROLE_V] = LAYER "self_attn.v_proj.weight",
                [QUANT_ROLE_O] = LAYER "self_attn.o_proj.weight",
                [QUANT_ROLE_FFN_NORM] = LAYER "post_attention_layernorm.weight",
                [QUANT_ROLE_GATE] = LAYER "mlp.gate_proj.weight",
                [QUANT_ROLE_UP] = LAYER "mlp.up_proj.weight",
                [QUANT_ROLE_DOWN] = LAYER "mlp.down_proj.weight"}},
    {.name = "llama",
     .format = "gguf",
     .activation = MODEL_SILU,
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
    {.name = "quant_moe",
     .activation = MODEL_GELU_TANH,
     .rotary = MODEL_HALVES,
     .embed_scaled = true,
     .slides = true,
     .tensor = {[QUANT_ROLE_EMBED] = "model.embed_tokens.weight",
                [QUANT_ROLE_FINAL_NORM] = "model.norm.weight",
                [QUANT_ROLE_HEAD] = "lm_head.weight",
                [QUANT_ROLE_ATTENTION_NORM] = LAYER "input_layernorm.weight",
                [QUANT_ROLE_Q] = LAYER "self_attn.q_proj.weight",
                [QUANT_ROLE_K] = LAYER "self_attn.k_proj.weight",
                [QUANT_ROLE_V] = LAYER "self_attn.v_proj.weight",
                [QUANT_ROLE_O] = LAYER "self_attn.o_proj.weight",
                [QUANT_ROLE_Q_NORM] = LAYER "self_attn.q_norm.weight",
                [QUANT_ROLE_K_NORM] = LAYER "self_attn.k_norm.weight",
                [QUANT_ROLE_POST_ATTENTION] = LAYER "post_attention_layernorm.weight",
                [QUANT_ROLE_FFN_NORM] = LAYER "pre_feedforward_layernorm.weight",
                [QUANT_ROLE_GATE] = LAYER "mlp.gate_proj.weight",
                [QUANT_ROLE_UP] = LAYER "mlp.up_proj.weight",
                [QUANT_ROLE_DOWN] = LAYER "mlp.down_proj.weight",
                [QUANT_ROLE_ROUTER] = LAYER "router.proj.weight",
                [QUANT_ROLE_EXPERT_GATE] = LAYER "experts.gate_proj",
                [QUANT_ROLE_EXPERT_UP] = LAYER "experts.up_proj",
                [QUANT_ROLE_EXPERT_DOWN] = LAYER "experts.down_proj",
                [QUANT_ROLE_POST_FFN] = LAYER "post_feedforward_layernorm.weight"}},
};
enum { ROWS = sizeof rows / sizeof *rows };

const model_arch *model_arch_find(const char *name, bool gguf)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (gguf == (rows[i].format != NULL) && strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

void model_arch_names(bool gguf, char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < ROWS && used < room; i++) {
        if (gguf == (rows[i].format != NULL)) {
            used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "",
                                     rows[i].name);
        }
    }
}
