/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_config.c - configurations of the models under tests/golden, said otherwise: what means the
 * same gives the same logits, what is not understood is refused by name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/model/forward.h"
#include "tests/golden.h"
#include "tests/scratch.h"
#include "tests/test.h"

static quant_context *ctx;

/* Logits of a net's golden tokens; NULL when it is refused, as the context's message says. */
static float *logits_of(const char *folder, const golden *g)
{
    quant_model *model = NULL;
    if (quant_model_open(ctx, folder, &model) != QUANT_OK) {
        return NULL;
    }
    float *logits = calloc(g->logits_count, sizeof *logits);
    const quant_forward_variant v = {.logits = logits};
    CHECK_OK(ctx, quant_forward_run(ctx, model, &(quant_tokens){g->ids, g->n, g->s}, &v, 1, NULL));
    quant_model_close(ctx, model);
    return logits;
}

/* A copy of a net's weights in a fresh folder with this configuration. */
static const char *with_config(const char *net, const char *config)
{
    char from[128];
    size_t n = 0;
    const char *folder = scratch_folder("config");
    snprintf(from, sizeof from, "tests/golden/%s/model.safetensors", net);
    char *weights = scratch_get(from, &n);
    scratch_put(scratch_join(folder, "model.safetensors"), weights, n);
    scratch_put(scratch_join(folder, "config.json"), config, strlen(config));
    free(weights);
    return folder;
}

static golden golden_of(const char *net)
{
    char path[128];
    snprintf(path, sizeof path, "tests/golden/%s/golden.npz", net);
    return golden_read(ctx, path);
}

#define SIZES \
    "\"hidden_size\": 40, \"intermediate_size\": 56, \"num_attention_heads\": 4, " \
    "\"num_key_value_heads\": 2, \"vocab_size\": 72, "

/* As folders were written before rope_parameters and layer_types, leaving out what is usual. */
static const struct {
    const char *net, *config;
} older[] = {
    {"llama3_rope", "{\"model_type\": \"llama\", " SIZES "\"num_hidden_layers\": 2, "
     "\"head_dim\": 16, \"rms_norm_eps\": 1e-6, \"tie_word_embeddings\": true, \"rope_scaling\":"
     " {\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
     "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 32}}"},
    {"llama_linear_rope", "{\"model_type\": \"llama\", " SIZES "\"num_hidden_layers\": 2, "
     "\"rms_norm_eps\": 1e-6, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4}}"},
    {"gemma2", "{\"model_type\": \"gemma2\", " SIZES "\"num_hidden_layers\": 3, \"head_dim\": 8,"
     "\"hidden_act\": \"gelu_pytorch_tanh\", \"sliding_window\": 7, \"query_pre_attn_scalar\":"
     " 20, \"attn_logit_softcapping\": 2.0, \"final_logit_softcapping\": 3.0}"},
    {"gemma3_text", "{\"model_type\": \"gemma3_text\", " SIZES "\"num_hidden_layers\": 7, "
     "\"head_dim\": 16, \"sliding_window\": 7, \"query_pre_attn_scalar\": 24, "
     "\"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8.0}}"},
    {"gemma3", "{\"model_type\": \"gemma3\", \"text_config\": {\"model_type\": \"gemma3_text\", "
     SIZES "\"num_hidden_layers\": 2, \"head_dim\": 16, \"sliding_window\": 7, "
     "\"query_pre_attn_scalar\": 24, \"sliding_window_pattern\": 2, \"rope_scaling\": "
     "{\"rope_type\": \"linear\", \"factor\": 8.0}}}"},
    {"qwen3_window", "{\"model_type\": \"qwen3\", " SIZES "\"num_hidden_layers\": 3, "
     "\"head_dim\": 8, \"use_sliding_window\": true, \"sliding_window\": 6, "
     "\"max_window_layers\": 1, \"rope_theta\": 10000.0}"},
    {"qwen3_moe", "{\"model_type\": \"qwen3_moe\", " SIZES "\"num_hidden_layers\": 2, "
     "\"head_dim\": 12, \"num_experts\": 5, \"num_experts_per_tok\": 3, "
     "\"moe_intermediate_size\": 24, \"decoder_sparse_step\": 1, \"mlp_only_layers\": []}"},
    {"mixtral", "{\"model_type\": \"mixtral\", " SIZES "\"num_hidden_layers\": 3, "
     "\"num_local_experts\": 4, \"sliding_window\": null}"},
    {"mistral", "{\"model_type\": \"mistral\", " SIZES "\"num_hidden_layers\": 2, "
     "\"sliding_window\": 9, \"rope_theta\": 10000, \"rms_norm_eps\": 1e-06}"},
};

static void older_spellings_mean_the_same(void)
{
    ctx = quant_context_new(NULL);
    for (size_t i = 0; i < sizeof older / sizeof *older; i++) {
        char own[64];
        golden g = golden_of(older[i].net);
        snprintf(own, sizeof own, "tests/golden/%s", older[i].net);
        float *want = logits_of(own, &g);
        float *got = logits_of(with_config(older[i].net, older[i].config), &g);
        if (!want || !got || memcmp(want, got, g.logits_count * sizeof *got) != 0) {
            const char *what = got ? "other logits" : quant_context_message(ctx);
            printf("\n    %s: %s ", older[i].net, what);
            CU_FAIL("another meaning");
        }
        free(want);
        free(got);
        golden_free(&g);
    }
    quant_context_free(ctx);
}

/* "model.language_model." instead of "language_model.model.", which is as long. */
static void decoders_stand_under_several_roots(void)
{
    static const char one[] = "language_model.model.", other[] = "model.language_model.";
    size_t n = 0, moved = 0;
    ctx = quant_context_new(NULL);
    char *config = scratch_get("tests/golden/gemma3/config.json", &n);
    const char *folder = with_config("gemma3", config);
    const char *path = scratch_join(folder, "model.safetensors");
    char *weights = scratch_get(path, &n);
    for (char *at = weights; (at = memmem(at, n - (size_t)(at - weights), one, sizeof one - 1));) {
        memcpy(at, other, sizeof one - 1);
        moved++;
    }
    CU_ASSERT(moved > 20);
    scratch_put(path, weights, n);
    golden g = golden_of("gemma3");
    float *want = logits_of("tests/golden/gemma3", &g), *got = logits_of(folder, &g);
    CU_ASSERT_PTR_NOT_NULL_FATAL(want);
    CU_ASSERT_PTR_NOT_NULL_FATAL(got);
    CU_ASSERT_EQUAL(memcmp(want, got, g.logits_count * sizeof *got), 0);
    free(want);
    free(got);
    free(weights);
    free(config);
    golden_free(&g);
    quant_context_free(ctx);
}

/* The configuration of a net with the first `from` replaced. */
static quant_status opens(const char *net, const char *from, const char *to)
{
    char path[128], config[4096];
    size_t n = 0;
    quant_model *model = NULL;
    snprintf(path, sizeof path, "tests/golden/%s/config.json", net);
    char *text = scratch_get(path, &n), *at = text ? strstr(text, from) : NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(at);
    snprintf(config, sizeof config, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    quant_status s = quant_model_open(ctx, with_config(net, config), &model);
    quant_model_close(ctx, model);
    free(text);
    return s;
}

static const struct {
    const char *net, *from, *to, *says;
    quant_status expected;
} broken[] = {
    {"llama3_rope", "\"llama3\"", "\"yarn\"", "found \"yarn\"", QUANT_EUNSUPPORTED},
    {"llama3_rope", "\"llama3\"", "7", "rope_type", QUANT_EUNSUPPORTED},
    {"llama3_rope", "\"low_freq_factor\": 1.0", "\"low_freq_factor\": 4.0", "high_freq_factor",
     QUANT_ERANGE},
    {"llama3_rope", "\"low_freq_factor\": 1.0,", "", "low_freq_factor", QUANT_ETYPE},
    {"llama3_rope", "\"factor\": 8.0", "\"factor\": 0", "factor", QUANT_ERANGE},
    {"llama", "\"rope_type\": \"default\"", "\"rope_type\": \"default\", \"factor\": 2.0",
     "rope_parameters: factor", QUANT_EUNSUPPORTED},
    {"llama", "\"rope_type\": \"default\"",
     "\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5", "partial_rotary_factor",
     QUANT_EUNSUPPORTED},
    {"llama", "\"rope_type\": \"default\"",
     "\"rope_type\": \"default\", \"partial_rotary_factor\": 1.0", "", QUANT_OK},
    {"llama", "\"rope_parameters\": {", "\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2},"
     " \"rope_parameters\": {", "rope_scaling", QUANT_EUNSUPPORTED},
    {"llama", "\"rope_parameters\": {", "\"rope_parameters\": [], \"other\": {", "rope_parameters",
     QUANT_ETYPE},
    {"llama", "\"attention_bias\": false", "\"attention_bias\": true", "attention_bias",
     QUANT_EUNSUPPORTED},
    {"qwen3_window", "\"sliding_attention\"", "\"chunked_attention\"", "chunked_attention",
     QUANT_EUNSUPPORTED},
    {"qwen3_window", "\"sliding_attention\",", "", "list of 3 names, found 2", QUANT_ESHAPE},
    {"qwen3_window", "\"use_sliding_window\": true", "\"use_sliding_window\": false",
     "layer_types", QUANT_EUNSUPPORTED},
    {"qwen3_window", "\"use_sliding_window\": true", "\"use_sliding_window\": \"yes\"",
     "use_sliding_window", QUANT_ETYPE},
    {"qwen3_window", "\"max_window_layers\": 1", "\"max_window_layers\": \"1\"",
     "max_window_layers", QUANT_ETYPE},
    {"llama", "\"mlp_bias\": false", "\"partial_rotary_factor\": 0", "partial_rotary_factor",
     QUANT_EUNSUPPORTED},
    {"mixtral", "\"num_local_experts\": 4", "\"num_local_experts\": 1000", "experts",
     QUANT_EFIELD},
    {"gemma3_text", "\"attn_logit_softcapping\": null", "\"attn_logit_softcapping\": 50.0",
     "gemma3_text does not read it", QUANT_EUNSUPPORTED},
    {"gemma3_text", "\"use_bidirectional_attention\": false",
     "\"use_bidirectional_attention\": true", "use_bidirectional_attention",
     QUANT_EUNSUPPORTED},
    {"gemma3_text", "\"gelu_pytorch_tanh\"", "\"gelu\"", "hidden_activation",
     QUANT_EUNSUPPORTED},
    {"gemma3_text", "\"rope_type\": \"linear\"", "\"rope_type\": \"dynamic\"",
     "full_attention: rope_type", QUANT_EUNSUPPORTED},
    {"gemma3", "\"text_config\"", "\"texts_config\"", "text_config", QUANT_EFIELD},
    {"gemma3", "\"gemma3_text\"", "\"gemma4_text\"", "expected \"gemma3_text\"",
     QUANT_EUNSUPPORTED},
    {"gemma3", "\"text_config\"", "\"quantization_config\": {\"a\": 1}, \"text_config\"",
     "quantization_config", QUANT_EUNSUPPORTED},
    {"qwen3_moe", "\"decoder_sparse_step\": 1", "\"decoder_sparse_step\": 2",
     "decoder_sparse_step", QUANT_EUNSUPPORTED},
    {"qwen3_moe", "\"mlp_only_layers\": []", "\"mlp_only_layers\": [0]", "mlp_only_layers",
     QUANT_EUNSUPPORTED},
    {"qwen3_moe", "\"num_local_experts\": 5", "\"num_local_experts\": 6",
     "mlp.gate.weight", QUANT_ESHAPE},
    {"qwen3_moe", "\"num_local_experts\": 5", "\"num_local_experts\": 4",
     "mlp.gate.weight", QUANT_ESHAPE},
    {"mixtral_stacked", "\"intermediate_size\": 56", "\"intermediate_size\": 28",
     "mlp.experts.gate_up_proj", QUANT_ESHAPE},
    {"mixtral", "\"model_type\": \"mixtral\"", "\"model_type\": \"qwen2\"", "mixtral, qwen3,",
     QUANT_EUNSUPPORTED},
};

static void what_is_not_understood_is_refused(void)
{
    ctx = quant_context_new(NULL);
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        quant_status s = opens(broken[i].net, broken[i].from, broken[i].to);
        CU_ASSERT_EQUAL(s, broken[i].expected);
        if (s != broken[i].expected ||
            (s != QUANT_OK && !strstr(quant_context_message(ctx), broken[i].says))) {
            printf("\n    %s, %s: %s ", broken[i].net, broken[i].to, quant_context_message(ctx));
            CU_FAIL("message");
        }
    }
    quant_context_free(ctx);
}

TEST_SUITE(config, {"older spellings mean the same", older_spellings_mean_the_same},
           {"decoders stand under several roots", decoders_stand_under_several_roots},
           {"what is not understood is refused by name", what_is_not_understood_is_refused})
