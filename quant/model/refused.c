/* SPDX-License-Identifier: GPL-3.0-or-later */
/* refused.c - what a configuration may not say, because the forward pass would leave it out. */
#include <string.h>

#include "quant/internal.h"
#include "quant/model/config.h"

/* Refused unless it says this. */
static const struct {
    const char *json, *gguf;
    const char *text; /* harmless, when it is text */
    double number;    /* harmless, when it is a number (false is 0); null and [] always are */
} refused[] = {
    {NULL, "rope.scaling.factor", NULL, 0},
    {NULL, "rope.scaling.type", "none", 0},
    {"partial_rotary_factor", NULL, NULL, 1},
    {"attention_bias", NULL, NULL, 0},
    {"mlp_bias", NULL, NULL, 0},
    {NULL, "attn_logit_softcapping", NULL, 0},
    {"quantization_config", NULL, NULL, 0},
    {"use_bidirectional_attention", NULL, NULL, 0},
    {"decoder_sparse_step", NULL, NULL, 1},
    {"mlp_only_layers", NULL, NULL, 0},
};

quant_status model_config_refused(const model_settings *s)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        quant_metadata v = model_setting(s, refused[i].json, refused[i].gguf);
        bool number = v.kind == QUANT_METADATA_INTEGER || v.kind == QUANT_METADATA_REAL;
        bool none = v.kind == QUANT_METADATA_ABSENT ||
                    (number && v.real == refused[i].number);
        bool word = refused[i].text && v.kind == QUANT_METADATA_TEXT &&
                    strcmp(v.text, refused[i].text) == 0;
        if (!none && !word) {
            return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "%s: expected it to be absent, found a "
                              "value: the forward pass does not know it",
                              model_setting_name(s, refused[i].json, refused[i].gguf));
        }
    }
    return QUANT_OK;
}

/* A cap of the scores in a configuration whose model has none would be left out. */
static quant_status check_cap(const model_settings *s)
{
    quant_metadata v = model_setting(s, "attn_logit_softcapping", NULL);
    return s->model->arch->caps_scores || v.kind == QUANT_METADATA_ABSENT
               ? QUANT_OK
               : quant_fail(s->ctx, QUANT_EUNSUPPORTED, "attn_logit_softcapping: expected it to be "
                            "absent, found a value: %s does not read it", s->model->arch->name);
}

static quant_status check_activation(const model_settings *s)
{
    static const char *const words[] = {[MODEL_SILU] = "silu", [MODEL_GELU_TANH] =
                                        "gelu_pytorch_tanh"};
    static const char *const names[] = {"hidden_act", "hidden_activation"};
    const char *word = words[s->model->arch->activation];
    for (int i = 0; i < 2; i++) {
        quant_metadata v = model_setting(s, names[i], NULL);
        if (v.kind != QUANT_METADATA_ABSENT &&
            (v.kind != QUANT_METADATA_TEXT || strcmp(v.text, word) != 0)) {
            return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "%s: expected \"%s\", found \"%.60s\"",
                              names[i], word, v.text ? v.text : "(no text)");
        }
    }
    return QUANT_OK;
}

quant_status model_config_understood(const model_settings *s)
{
    QUANT_TRY(model_config_refused(s));
    QUANT_TRY(check_cap(s));
    return check_activation(s);
}
