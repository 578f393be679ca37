/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bank_presets.c - presets are lists of the same options that a user types. */
#include <string.h>

#include "data/bank_spec.h"

#define LAYER(n) "model.layers." #n "."
#define NORM(name, size) "--tensor", name "=" size, "--dist", "gaussian", "--mean", "1", \
    "--rms", "0.12", "--row-spread", "0"

/* What trained decoders show: projections with tails between normal and Laplace, rows whose scales
 * differ by tens of percent, a few large weights in the rows that write to the residual stream and
 * in the columns that read from it. */
#define ATTENTION(n) \
    NORM(LAYER(n) "input_layernorm.weight", "96"), \
    "--tensor", LAYER(n) "self_attn.q_proj.weight=96x96", "--row-spread", "0.3", \
    "--tensor", LAYER(n) "self_attn.k_proj.weight=48x96", "--row-spread", "0.4", \
    "--outliers", "columns:3:5", \
    "--tensor", LAYER(n) "self_attn.v_proj.weight=48x96", \
    "--tensor", LAYER(n) "self_attn.o_proj.weight=96x96", "--dist", "student-t:5", \
    NORM(LAYER(n) "self_attn.q_norm.weight", "24"), \
    NORM(LAYER(n) "self_attn.k_norm.weight", "24"), \
    NORM(LAYER(n) "post_attention_layernorm.weight", "96")
#define DENSE(n) \
    "--tensor", LAYER(n) "mlp.gate_proj.weight=256x96", \
    "--tensor", LAYER(n) "mlp.up_proj.weight=256x96", \
    "--tensor", LAYER(n) "mlp.down_proj.weight=96x256", "--dist", "student-t:5", \
    "--outliers", "rows:4:12"

static const char *const demo[] = {
    "--dtype", "bf16", "--dist", "gaussian", "--rms", "0.05", "--row-spread", "0.2",
    "--tensor", "model.embed_tokens.weight=256x96", "--rms", "0.1", "--row-spread", "0.4",
    ATTENTION(0), DENSE(0), ATTENTION(1), DENSE(1),
    "--tensor", LAYER(1) "router.proj.weight=4x96", "--dtype", "f32",
    "--tensor", LAYER(1) "experts.gate_proj=4x64x96", "--dist", "laplace", "--row-spread", "0.35",
    "--tensor", LAYER(1) "experts.up_proj=4x64x96", "--dist", "laplace", "--row-spread", "0.35",
    "--tensor", LAYER(1) "experts.down_proj=4x96x64", "--dist", "laplace",
    "--row-spread", "0.35", "--outliers", "rows:8:7",
    NORM("model.norm.weight", "96"), NULL,
};

/* Sixteen experts of hidden width 2816 and inner width 704. Each stack flattens to 45056 x 704:
 * down_proj is [experts, out, in], gate_proj and up_proj are stored [experts, in, out]. */
static const char *const expert_shard[] = {
    "--dtype", "bf16", "--dist", "gaussian", "--rms", "0.02", "--row-spread", "0.2",
    "--tensor", "experts.gate_proj=16x2816x704", "--outliers", "rows:64:12",
    "--tensor", "experts.up_proj=16x2816x704", "--outliers", "rows:64:12",
    "--tensor", "experts.down_proj=16x2816x704", "--outliers", "columns:64:20", NULL,
};

static const struct {
    const char *name;
    const char *const *options;
} presets[] = {
    {"demo", demo},
    {"expert_shard", expert_shard},
};

const char *bank_preset_name(size_t i)
{
    return i < sizeof presets / sizeof *presets ? presets[i].name : NULL;
}

const char *const *bank_preset(const char *name)
{
    for (size_t i = 0; bank_preset_name(i); i++) {
        if (strcmp(name, presets[i].name) == 0) {
            return presets[i].options;
        }
    }
    return NULL;
}
