/* SPDX-License-Identifier: GPL-3.0-or-later */
/* config.c - hyperparameters, from config.json or from the metadata of a GGUF, by one table. */
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "quant/internal.h"
#include "quant/model/config.h"

/* Who must have a key. */
typedef enum need { ALWAYS, OPTIONAL, WITH_EXPERTS, SLIDING, PATTERNED, CAPPED } need;

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
    INTEGER("moe_intermediate_size", "expert_feed_forward_length", OPTIONAL, expert_inner),
    INTEGER("sliding_window", "attention.sliding_window", SLIDING, window),
    INTEGER("sliding_window_pattern", NULL, PATTERNED, pattern),
    REAL("rms_norm_eps", "attention.layer_norm_rms_epsilon", ALWAYS, eps, 0),
    REAL("rope_theta", "rope.freq_base", OPTIONAL, theta, 10000),
    REAL("rope_local_base_freq", NULL, OPTIONAL, theta_local, 0),
    REAL("final_logit_softcapping", "final_logit_softcapping", OPTIONAL, logit_cap, 0),
    REAL("attn_logit_softcapping", NULL, CAPPED, score_cap, 0),
    REAL("query_pre_attn_scalar", NULL, OPTIONAL, query_scalar, 0),
};
enum { KEYS = sizeof keys / sizeof *keys, MOST = INT_MAX };

/* A key under its other name. */
static const char *const other_names[][2] = {{"num_experts", "num_local_experts"}};

quant_metadata model_json_value(const json_t *j)
{
    quant_metadata v = {.kind = QUANT_METADATA_ABSENT};
    if (json_is_string(j)) {
        v = (quant_metadata){.kind = QUANT_METADATA_TEXT, .text = json_string_value(j)};
    } else if (json_is_integer(j) || json_is_boolean(j)) {
        v.kind = QUANT_METADATA_INTEGER;
        v.integer = json_is_integer(j) ? json_integer_value(j) : json_is_true(j);
        v.real = (double)v.integer;
    } else if (json_is_real(j)) {
        v = (quant_metadata){.kind = QUANT_METADATA_REAL, .real = json_real_value(j)};
    } else if (j && !json_is_null(j) && !(json_is_array(j) && json_array_size(j) == 0)) {
        v.kind = QUANT_METADATA_ARRAY;
    }
    return v;
}

/* What the architecture means by a key that is not there. */
static quant_metadata filled_in(const model_arch *arch, const char *name)
{
    for (const model_default *d = arch->defaults; d && d->key; d++) {
        if (strcmp(d->key, name) == 0) {
            bool whole = d->value >= 1 || d->value == 0;
            return (quant_metadata){.kind = whole ? QUANT_METADATA_INTEGER : QUANT_METADATA_REAL,
                                    .integer = (int64_t)d->value, .real = d->value};
        }
    }
    return (quant_metadata){.kind = QUANT_METADATA_ABSENT};
}

quant_metadata model_setting(const model_settings *s, const char *json, const char *gguf)
{
    quant_metadata v = {.kind = QUANT_METADATA_ABSENT};
    if (!s->json) {
        char name[128];
        snprintf(name, sizeof name, "%s.%s", s->model->arch->name, gguf ? gguf : "");
        return gguf ? quant_bank_metadata_value(s->model->bank, name) : v;
    }
    const json_t *j = json ? json_object_get(s->json, json) : NULL;
    for (size_t i = 0; json && !j && i < sizeof other_names / sizeof *other_names; i++) {
        j = strcmp(json, other_names[i][0]) == 0 ? json_object_get(s->json, other_names[i][1]) : j;
    }
    return j || !json ? model_json_value(j) : filled_in(s->model->arch, json);
}

const char *model_setting_name(const model_settings *s, const char *json, const char *gguf)
{
    return s->json ? json : gguf ? gguf : json;
}

static quant_status check_value(const model_settings *s, const key *k, const quant_metadata *v)
{
    const char *name = model_setting_name(s, k->json, k->gguf);
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

static bool needed(const model_settings *s, need n)
{
    const model_arch *a = s->model->arch;
    switch (n) {
    case WITH_EXPERTS: return a->tensor[QUANT_ROLE_ROUTER] != NULL;
    case SLIDING: return a->slides != MODEL_NOWHERE;
    case PATTERNED:
        return a->slides == MODEL_PATTERN &&
               model_setting(s, "layer_types", NULL).kind == QUANT_METADATA_ABSENT;
    case CAPPED: return a->caps_scores;
    case ALWAYS:
    case OPTIONAL: break;
    }
    return true;
}

/* Whether the forward pass has a meaning for a configuration without the key. */
static bool may_be_absent(const model_settings *s, const key *k)
{
    return k->need == OPTIONAL || k->need == CAPPED ||
           (k->need == SLIDING && s->model->arch->slides != MODEL_PATTERN);
}

static quant_status read_key(const model_settings *s, const key *k)
{
    if (!needed(s, k->need)) {
        return QUANT_OK;
    }
    quant_metadata v = model_setting(s, k->json, k->gguf);
    bool from_tensor = !s->json && !k->gguf; /* read off a shape later */
    if (v.kind == QUANT_METADATA_ABSENT) {
        v = (quant_metadata){.kind = QUANT_METADATA_INTEGER, .real = k->fallback};
        if (!may_be_absent(s, k) && !from_tensor) {
            return quant_fail(s->ctx, QUANT_EFIELD, "%s: expected a value, found none",
                              model_setting_name(s, k->json, k->gguf));
        }
    } else {
        QUANT_TRY(check_value(s, k, &v));
    }
    char *to = (char *)&s->model->sizes + k->offset;
    uint64_t integer = (uint64_t)v.integer;
    memcpy(to, k->real ? (void *)&v.real : (void *)&integer, 8);
    return QUANT_OK;
}

/* Defaults that follow from other sizes, and what sizes must be to each other. */
static quant_status complete(const model_settings *s)
{
    quant_model_sizes *z = &s->model->sizes;
    z->kv_heads = z->kv_heads ? z->kv_heads : z->heads;
    z->expert_inner = z->experts && !z->expert_inner ? z->inner : z->expert_inner;
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
    z->inner = s->model->arch->tensor[QUANT_ROLE_GATE] ? z->inner : 0;
    return QUANT_OK;
}

/* What only a GGUF says: rotation and value width must be those of a whole head. */
static quant_status check_gguf(const model_settings *s)
{
    static const char *const same[] = {"rope.dimension_count", "attention.value_length"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        quant_metadata v = model_setting(s, NULL, same[i]);
        if (v.kind != QUANT_METADATA_ABSENT &&
            (v.kind != QUANT_METADATA_INTEGER || v.integer != (int64_t)s->model->sizes.head_dim)) {
            return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "%s: expected the width of a head, %"
                              PRIu64 ", found %g", same[i], s->model->sizes.head_dim, v.real);
        }
    }
    return QUANT_OK;
}

/* Which layers see a window: the list, or the architecture's rule. */
static quant_status read_kinds(const model_settings *s)
{
    quant_model *m = s->model;
    const quant_model_sizes *z = &m->sizes;
    const json_t *list = s->json ? json_object_get(s->json, "layer_types") : NULL;
    bool listed = list && !json_is_null(list);
    quant_metadata later = model_setting(s, "max_window_layers", NULL);
    if (m->arch->slides == MODEL_LATER && later.kind != QUANT_METADATA_INTEGER) {
        return quant_fail(s->ctx, QUANT_ETYPE, "max_window_layers: expected an integer, found "
                          "another type");
    }
    if (listed && (!json_is_array(list) || json_array_size(list) != z->layers)) {
        return quant_fail(s->ctx, QUANT_ESHAPE, "layer_types: expected a list of %" PRIu64
                          " names, found %zu", z->layers, json_array_size(list));
    }
    for (uint64_t l = 0; l < z->layers; l++) {
        const char *word = listed ? json_string_value(json_array_get(list, (size_t)l)) : NULL;
        bool slides = word && strcmp(word, "sliding_attention") == 0;
        if (listed && !slides && !(word && strcmp(word, "full_attention") == 0)) {
            return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "layer_types: expected full_attention or "
                              "sliding_attention, found \"%.60s\"", word ? word : "(no text)");
        }
        if (slides && z->window == 0) {
            return quant_fail(s->ctx, QUANT_EUNSUPPORTED, "layer_types: expected full_attention "
                              "where sliding_window is not set, found \"%s\"", word);
        }
        bool rule = m->arch->slides == MODEL_EVERYWHERE ||
                    (m->arch->slides == MODEL_PATTERN &&
                     (z->pattern == 0 || (l + 1) % z->pattern != 0)) ||
                    (m->arch->slides == MODEL_LATER && (int64_t)l >= later.integer);
        m->local[l] = z->window > 0 && (listed ? slides : rule);
    }
    return QUANT_OK;
}

/* true, false, or nothing: then *set stays. */
static quant_status read_flag(const model_settings *s, const char *name, bool *set)
{
    quant_metadata v = model_setting(s, name, NULL);
    if (v.kind == QUANT_METADATA_ABSENT) {
        return QUANT_OK;
    }
    *set = v.integer != 0;
    return v.kind == QUANT_METADATA_INTEGER && (v.integer == 0 || v.integer == 1)
               ? QUANT_OK
               : quant_fail(s->ctx, QUANT_ETYPE, "%s: expected true or false, found another value",
                            name);
}

static quant_status read_flags(const model_settings *s)
{
    quant_model_sizes *z = &s->model->sizes;
    bool slides = true, shared = true, whole = json_object_get(s->root, "tie_word_embeddings");
    const model_settings top = {s->ctx, s->model, whole ? s->root : s->json, s->root};
    QUANT_TRY(read_flag(s, "use_sliding_window", &slides));
    QUANT_TRY(read_flag(s, "norm_topk_prob", &shared));
    z->window = slides ? z->window : 0;
    z->shares_kept = !shared;
    z->tied = false;
    return s->json ? read_flag(&top, "tie_word_embeddings", &z->tied) : QUANT_OK;
}

static quant_status read_settings(const model_settings *s)
{
    quant_model *m = s->model;
    quant_model_sizes *z = &m->sizes;
    QUANT_TRY(model_config_understood(s));
    for (size_t i = 0; i < KEYS; i++) {
        QUANT_TRY(read_key(s, &keys[i]));
    }
    QUANT_TRY(read_flags(s));
    QUANT_TRY(model_rope_read(s));
    QUANT_TRY(complete(s));
    if (z->layers > quant_bank_count(m->bank)) {
        return quant_fail(s->ctx, QUANT_EFIELD, "layers: expected at most one a tensor, found %"
                          PRIu64 " with %zu tensors", z->layers, quant_bank_count(m->bank));
    }
    m->local = quant_alloc(s->ctx, (size_t)z->layers, sizeof *m->local);
    if (!m->local) {
        return QUANT_ENOMEM;
    }
    QUANT_TRY(read_kinds(s));
    return s->json ? QUANT_OK : check_gguf(s);
}

static quant_status choose(const model_settings *s, const char *name)
{
    char known[192];
    bool gguf = !s->json;
    const char *what = gguf ? "general.architecture" : "model_type";
    if (!name) {
        return quant_fail(s->ctx, QUANT_EFIELD, "%s: expected a name, found none", what);
    }
    s->model->arch = model_arch_find(name, gguf, 0);
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

/* A model of several parts has the sizes of its decoder in an object of its own. */
static quant_status enter_section(model_settings *s)
{
    const char *section = s->model->arch->section;
    QUANT_TRY(model_config_refused(s));
    if (!section) {
        return QUANT_OK;
    }
    s->json = json_object_get(s->root, section);
    if (!json_is_object(s->json)) {
        return quant_fail(s->ctx, QUANT_EFIELD, "%s: expected an object, found none", section);
    }
    const json_t *type = json_object_get(s->json, "model_type");
    const char *word = type ? json_string_value(type) : NULL, *name = s->model->arch->name;
    size_t n = strlen(name);
    bool fits = !type || (word && strncmp(word, name, n) == 0 && strcmp(word + n, "_text") == 0);
    return fits ? QUANT_OK
                : quant_fail(s->ctx, QUANT_EUNSUPPORTED, "%s: model_type: expected \"%s_text\", "
                             "found \"%.60s\"", section, name, word ? word : "(no text)");
}

static quant_status read_json(quant_context *ctx, quant_model *model, const char *path)
{
    enum { CONFIG_MAX = 1 << 22 };
    char file[PATH_MAX];
    json_t *root = NULL;
    QUANT_TRY(config_path(ctx, path, file));
    QUANT_TRY(quant_json_read(ctx, file, CONFIG_MAX, &root));
    model_settings s = {ctx, model, root, root};
    quant_status status = json_is_object(root)
                              ? choose(&s, json_string_value(json_object_get(root, "model_type")))
                              : quant_fail(ctx, QUANT_ETYPE, "expected an object, found another "
                                           "value");
    if (status == QUANT_OK) {
        status = enter_section(&s);
    }
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
    model_settings s = {ctx, model, NULL, NULL};
    quant_status status = strcmp(format, "gguf") == 0
                              ? choose(&s, quant_bank_metadata(model->bank, "general.architecture"))
                              : quant_fail(ctx, QUANT_EUNSUPPORTED, "expected a model in "
                                           "safetensors or GGUF, found %s", format);
    if (status == QUANT_OK) {
        status = read_settings(&s);
    }
    return status == QUANT_OK ? status : quant_fail_prefix(ctx, status, path);
}
