/* SPDX-License-Identifier: GPL-3.0-or-later */
/* config.c - hyperparameters, from config.json or from the metadata of a GGUF, by one table. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "quant/bank/json.h"
#include "quant/internal.h"
#include "quant/model/arch.h"

/* Who must have a key. */
typedef enum need { ALWAYS, OPTIONAL, WITH_EXPERTS, SLIDING } need;

/* One number: its key in config.json, its key behind "ARCH." in a GGUF, where it goes. */
typedef struct key {
    const char *json, *gguf;
    bool real;
    need need;
    size_t offset;
    double fallback; /* of OPTIONAL ones */
} key;

#define INTEGER(json, gguf, need, field) \
    {json, gguf, false, need, offsetof(quant_model_sizes, field), 0}
#define REAL(json, gguf, need, field, fallback) \
    {json, gguf, true, need, offsetof(quant_model_sizes, field), fallback}

static const key keys[] = {
    INTEGER("num_hidden_layers", "block_count", ALWAYS, layers),
    INTEGER("hidden_size", "embedding_length", ALWAYS, width),
    INTEGER("vocab_size", NULL, ALWAYS, vocab),
    INTEGER("num_attention_heads", "attention.head_count", ALWAYS, heads),
    INTEGER("num_key_value_heads", "attention.head_count_kv", OPTIONAL, kv_heads),
    INTEGER("head_dim", "attention.key_length", OPTIONAL, head_dim),
    INTEGER("intermediate_size", "feed_forward_length", ALWAYS, inner),
    INTEGER("num_experts", "expert_count", WITH_EXPERTS, experts),
    INTEGER("num_experts_per_tok", "expert_used_count", WITH_EXPERTS, experts_used),
    INTEGER("moe_intermediate_size", "expert_feed_forward_length", WITH_EXPERTS, expert_inner),
    INTEGER("sliding_window", "attention.sliding_window", SLIDING, window),
    INTEGER("sliding_window_pattern", NULL, SLIDING, pattern),
    REAL("rms_norm_eps", "attention.layer_norm_rms_epsilon", ALWAYS, eps, 0),
    REAL("rope_theta", "rope.freq_base", OPTIONAL, theta, 10000),
    REAL("rope_local_base_freq", NULL, SLIDING, theta_local, 0),
    REAL("final_logit_softcapping", "final_logit_softcapping", OPTIONAL, logit_cap, 0),
};
enum { KEYS = sizeof keys / sizeof *keys, MOST = INT_MAX };

/* What would change the forward pass and is not understood: refused unless it says this. */
static const struct {
    const char *json, *gguf;
    const char *harmless; /* text, or NULL: 0, false, null */
} refused[] = {
    {"rope_scaling", "rope.scaling.factor", NULL},
    {NULL, "rope.scaling.type", "none"},
    {"rope_parameters", NULL, NULL},
    {"partial_rotary_factor", NULL, NULL},
    {"attention_bias", NULL, NULL},
    {"mlp_bias", NULL, NULL},
    {"attn_logit_softcapping", "attn_logit_softcapping", NULL},
    {"quantization_config", NULL, NULL},
    {"layer_types", NULL, NULL},
};

typedef struct settings {
    quant_context *ctx;
    quant_model *model;
    const json_t *json; /* NULL: a GGUF */
} settings;

/* A value of either kind; ABSENT covers null. text belongs to the source. */
static quant_metadata lookup(const settings *s, const char *json, const char *gguf)
{
    quant_metadata v = {.kind = QUANT_METADATA_ABSENT};
    if (!s->json) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", s->model->arch->name, gguf ? gguf : "");
        return gguf ? quant_bank_metadata_value(s->model->bank, name) : v;
    }
    const json_t *j = json ? json_object_get(s->json, json) : NULL;
    if (json_is_string(j)) {
        v = (quant_metadata){.kind = QUANT_METADATA_TEXT, .text = json_string_value(j)};
    } else if (json_is_integer(j) || json_is_boolean(j)) {
        v.kind = QUANT_METADATA_INTEGER;
        v.integer = json_is_integer(j) ? json_integer_value(j) : json_is_true(j);
        v.real = (double)v.integer;
    } else if (json_is_real(j)) {
        v = (quant_metadata){.kind = QUANT_METADATA_REAL, .real = json_real_value(j)};
    } else if (j && !json_is_null(j)) {
        v.kind = QUANT_METADATA_ARRAY;
    }
    return v;
}

/* The key as messages name it. */
static const char *spelt(const settings *s, const char *json, const char *gguf)
{
    return s->json ? json : gguf ? gguf : json;
}

static quant_status check_value(const settings *s, const key *k, const quant_metadata *v)
{
    const char *name = spelt(s, k->json, k->gguf);
    bool number = v->kind == QUANT_METADATA_INTEGER || (k->real && v->kind == QUANT_METADATA_REAL);
    if (!number) {
        return quant_fail(s->ctx, QUANT_ETYPE, "%s: expected %s, found another type", name,
                          k->real ? "a number" : "an integer");
    }
    if (k->real ? !(v->real >= 0 && isfinite(v->real)) : v->integer < 0 || v->integer > MOST) {
        return quant_fail(s->ctx, QUANT_ERANGE, "%s: expected 0..%s, found %g", name,
                          k->real ? "a finite number" : "2^31-1", v->real);
    }
    return QUANT_OK;
}

static bool needed(const settings *s, need n)
{
    const model_arch *a = s->model->arch;
    return n == ALWAYS || (n == WITH_EXPERTS && a->tensor[QUANT_ROLE_ROUTER]) ||
           (n == SLIDING && a->slides);
}

static quant_status read_key(const settings *s, const key *k)
{
    if (!needed(s, k->need) && k->need != OPTIONAL) {
        return QUANT_OK;
    }
    quant_metadata v = lookup(s, k->json, k->gguf);
    bool from_tensor = !s->json && !k->gguf; /* read off a shape later */
    if (v.kind == QUANT_METADATA_ABSENT) {
        v = (quant_metadata){.kind = QUANT_METADATA_INTEGER, .real = k->fallback};
        if (k->need != OPTIONAL && !from_tensor) {
            return quant_fail(s->ctx, QUANT_EFIELD, "%s: expected a value, found none",
                              spelt(s, k->json, k->gguf));
        }
    } else {
        QUANT_TRY(check_value(s, k, &v));
    }
    char *to = (char *)&s->model->sizes + k->offset;
    uint64_t integer = (uint64_t)v.integer;
    memcpy(to, k->real ? (void *)&v.real : (void *)&integer, 8);
    return QUANT_OK;
}

static quant_status check_refused(const settings *s)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        quant_metadata v = lookup(s, refused[i].json, refused[i].gguf);
        bool zero = v.kind == QUANT_METADATA_ABSENT ||
                    ((v.kind == QUANT_METADATA_INTEGER || v.kind == QUANT_METADATA_REAL) &&
                     !(v.real > 0 || v.real < 0));
        bool word = refused[i].harmless && v.kind == QUANT_METADATA_TEXT &&
                    strcmp(v.text, refused[i].harmless) == 0;
        if (!zero && !word) {
            return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "%s: expected it to be absent, found a "
                              "value: the forward pass does not know it",
                              spelt(s, refused[i].json, refused[i].gguf));
        }
    }
    return QUANT_OK;
}

static quant_status check_activation(const settings *s)
{
    static const char *const words[] = {[MODEL_SILU] = "silu", [MODEL_GELU_TANH] =
                                        "gelu_pytorch_tanh"};
    const char *word = words[s->model->arch->activation];
    quant_metadata v = lookup(s, "hidden_act", NULL);
    v = v.kind == QUANT_METADATA_ABSENT ? lookup(s, "hidden_activation", NULL) : v;
    bool fits = v.kind == QUANT_METADATA_ABSENT ||
                (v.kind == QUANT_METADATA_TEXT && strcmp(v.text, word) == 0);
    return fits ? QUANT_OK
                : quant_fail(s->ctx, QUANT_EUNSUPPORTED, "hidden_act: expected \"%s\", found "
                             "\"%.60s\"", word, v.text ? v.text : "(no text)");
}

/* Defaults that follow from other sizes, and what sizes must be to each other. */
static quant_status complete(const settings *s)
{
    quant_model_sizes *z = &s->model->sizes;
    z->kv_heads = z->kv_heads ? z->kv_heads : z->heads;
    if (z->layers == 0 || z->width == 0 || z->heads == 0 || z->inner == 0) {
        return quant_fail(s->ctx, QUANT_ERANGE, "sizes: expected layers, width, heads and inner "
                          "width above 0, found %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                          z->layers, z->width, z->heads, z->inner);
    }
    if (z->heads % z->kv_heads) {
        return quant_fail(s->ctx, QUANT_ESHAPE, "heads: expected a multiple of the %" PRIu64
                          " key/value heads, found %" PRIu64, z->kv_heads, z->heads);
    }
    if (z->head_dim == 0 && z->width % z->heads) {
        return quant_fail(s->ctx, QUANT_ESHAPE, "width: expected a multiple of the %" PRIu64
                          " heads, found %" PRIu64, z->heads, z->width);
    }
    z->head_dim = z->head_dim ? z->head_dim : z->width / z->heads;
    if (z->head_dim % 2) {
        return quant_fail(s->ctx, QUANT_ESHAPE, "head width: expected an even number, found %"
                          PRIu64, z->head_dim);
    }
    if (z->experts > MODEL_EXPERTS || z->experts_used > z->experts ||
        (z->experts && z->experts_used == 0)) {
        return quant_fail(s->ctx, QUANT_ERANGE, "experts: expected at most %d and 1..%" PRIu64
                          " of them per token, found %" PRIu64 " of %" PRIu64, MODEL_EXPERTS,
                          z->experts, z->experts_used, z->experts);
    }
    if (!(z->eps > 0) || !(z->theta > 0)) {
        return quant_fail(s->ctx, QUANT_ERANGE, "eps and rotary base: expected more than 0, found "
                          "%g and %g", z->eps, z->theta);
    }
    return QUANT_OK;
}

/* What only a GGUF says: rotation and value width must be those of a whole head. */
static quant_status check_gguf(const settings *s)
{
    static const char *const same[] = {"rope.dimension_count", "attention.value_length"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        quant_metadata v = lookup(s, NULL, same[i]);
        if (v.kind != QUANT_METADATA_ABSENT &&
            (v.kind != QUANT_METADATA_INTEGER || v.integer != (int64_t)s->model->sizes.head_dim)) {
            return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "%s: expected the width of a head, %"
                              PRIu64 ", found %g", same[i], s->model->sizes.head_dim, v.real);
        }
    }
    return QUANT_OK;
}

static quant_status read_settings(const settings *s)
{
    QUANT_TRY(check_refused(s));
    QUANT_TRY(check_activation(s));
    for (size_t i = 0; i < KEYS; i++) {
        QUANT_TRY(read_key(s, &keys[i]));
    }
    QUANT_TRY(complete(s));
    if (!s->json) {
        return check_gguf(s);
    }
    quant_metadata tied = lookup(s, "tie_word_embeddings", NULL);
    s->model->sizes.tied = tied.kind == QUANT_METADATA_INTEGER && tied.integer != 0;
    return QUANT_OK;
}

static quant_status choose(const settings *s, const char *name)
{
    char known[128];
    bool gguf = !s->json;
    const char *what = gguf ? "general.architecture" : "model_type";
    if (!name) {
        return quant_fail(s->ctx, QUANT_EFIELD, "%s: expected a name, found none", what);
    }
    s->model->arch = model_arch_find(name, gguf);
    if (!s->model->arch) {
        model_arch_names(gguf, known, sizeof known);
        return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "%s: expected one of %s, found \"%.60s\"",
                          what, known, name);
    }
    return QUANT_OK;
}

/* "config.json" in the folder `path`, or beside the file `path`. */
static quant_status config_path(quant_context *ctx, const char *path, char out[PATH_MAX])
{
    struct stat st;
    bool folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    const char *slash = strrchr(path, '/');
    size_t n = folder ? strlen(path) : slash ? (size_t)(slash - path) : 0;
    int written = snprintf(out, PATH_MAX, "%.*s%sconfig.json", (int)n, path,
                           folder || slash ? "/" : "");
    return written > 0 && written < PATH_MAX
               ? QUANT_OK
               : quant_fail(ctx, QUANT_EIO, "%.100s...: path too long", path);
}

static quant_status read_json(quant_context *ctx, quant_model *model, const char *path)
{
    enum { CONFIG_MAX = 1 << 22 };
    char file[PATH_MAX];
    json_t *root = NULL;
    QUANT_TRY(config_path(ctx, path, file));
    QUANT_TRY(quant_json_read(ctx, file, CONFIG_MAX, &root));
    settings s = {ctx, model, root};
    quant_status status = json_is_object(root)
                              ? choose(&s, json_string_value(json_object_get(root, "model_type")))
                              : quant_fail(ctx, QUANT_ETYPE, "expected an object, found another "
                                           "value");
    if (status == QUANT_OK) {
        status = read_settings(&s);
    }
    json_decref(root);
    return status == QUANT_OK ? status : quant_fail_prefix(ctx, status, file);
}

quant_status model_config_read(quant_context *ctx, quant_model *model, const char *path)
{
    const char *format = quant_bank_format(model->bank);
    if (strcmp(format, "safetensors") == 0) {
        return read_json(ctx, model, path);
    }
    settings s = {ctx, model, NULL};
    quant_status status = strcmp(format, "gguf") == 0
                              ? choose(&s, quant_bank_metadata(model->bank, "general.architecture"))
                              : quant_fail(ctx, QUANT_EUNSUPPORTED, "expected a model in "
                                           "safetensors or GGUF, found %s", format);
    if (status == QUANT_OK) {
        status = read_settings(&s);
    }
    return status == QUANT_OK ? status : quant_fail_prefix(ctx, status, path);
}
