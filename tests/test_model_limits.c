/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_model_limits.c - what models and tokens are refused for; short memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/model/forward.h"
#include "tests/scratch.h"
#include "tests/short_memory.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

/* ---- refusals ------------------------------------------------------------------------------- */

static quant_status open_says(quant_context *ctx, const char *path, const char *what)
{
    quant_model *model = NULL;
    quant_status s = quant_model_open(ctx, path, &model);
    CU_ASSERT((s == QUANT_OK) == (model != NULL));
    if (s != QUANT_OK && !strstr(quant_context_message(ctx), what)) {
        printf("\n    expected \"%s\" in: %s", what, quant_context_message(ctx));
        CU_FAIL("message");
    }
    quant_model_close(ctx, model);
    return s;
}

static void configurations_are_refused(void)
{
    static const struct {
        const char *line, *says;
        quant_status expected;
    } rows[] = {
        {"", "", QUANT_OK},
        {"\"unknown_key\": 7, ", "", QUANT_OK},
        {"\"hidden_act\": \"silu\", \"rope_scaling\": null, \"attention_bias\": false, ", "",
         QUANT_OK},
        {"\"hidden_act\": \"relu\", ", "hidden_act", QUANT_EUNSUPPORTED},
        {"\"rope_scaling\": {\"type\": \"yarn\"}, ", "rope_scaling", QUANT_EUNSUPPORTED},
        {"\"attention_bias\": true, ", "attention_bias", QUANT_EUNSUPPORTED},
        {"\"quantization_config\": {}, ", "quantization_config", QUANT_EUNSUPPORTED},
        {"\"model_type\": \"llama\", ", "uplicate", QUANT_EDUP},
    };
    quant_context *ctx = quant_context_new(NULL);
    draw d = draw_begin("refused", 0);
    tiny_model *m = tiny_draw(ctx, &d, false);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tiny_config(m, rows[i].line);
        quant_status s = open_says(ctx, m->folder, rows[i].says);
        CU_ASSERT_EQUAL(s, rows[i].expected);
    }
    tiny_free(m);
    quant_context_free(ctx);
}

static void other_files_are_refused(void)
{
    quant_context *ctx = quant_context_new(NULL);
    draw d = draw_begin("refused", 1);
    tiny_model *m = tiny_draw(ctx, &d, false);
    static const struct {
        const char *text, *says;
        quant_status expected;
    } whole[] = {{"[]", "object", QUANT_ETYPE},
                 {"{}", "model_type", QUANT_EFIELD},
                 {"{\"model_type\": \"bert\"}", "llama", QUANT_EUNSUPPORTED},
                 {"{\"model_type\": \"llama\"}", "num_hidden_layers", QUANT_EFIELD},
                 {"{\"model_type\": \"llama\", \"num_hidden_layers\": \"5\"}", "num_hidden_layers",
                  QUANT_ETYPE},
                 {"{\"model_type\": \"llama\", \"num_hidden_layers\": -5}", "num_hidden_layers",
                  QUANT_ERANGE},
                 {"{", "config.json", QUANT_ESYNTAX}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        scratch_put(scratch_join(m->folder, "config.json"), whole[i].text, strlen(whole[i].text));
        CU_ASSERT_EQUAL(open_says(ctx, m->folder, whole[i].says), whole[i].expected);
    }
    remove(scratch_join(m->folder, "config.json"));
    CU_ASSERT_EQUAL(open_says(ctx, m->folder, "config.json"), QUANT_EIO);
    tiny_free(m);
    quant_context_free(ctx);
}

/* Without any one tensor, with any one size changed, with a tensor too many. */
static void tensors_must_fit(void)
{
    quant_context *ctx = quant_context_new(NULL);
    for (uint64_t moe = 0; moe < 2; moe++) {
        draw d = draw_begin("fit", moe);
        tiny_model *m = tiny_draw(ctx, &d, moe);
        for (size_t i = 0; i < m->count; i++) {
            tiny_weights(ctx, m, i);
            bool head = strcmp(m->t[i].name, "lm_head.weight") == 0 && m->tied;
            CU_ASSERT_EQUAL(open_says(ctx, m->folder, m->t[i].name),
                            head ? QUANT_OK : QUANT_EFIELD);
        }
        tiny_weights(ctx, m, SIZE_MAX);
        int *sizes[] = {&m->vocab, &m->heads, &m->inner, &m->width, &m->head_dim};
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            *sizes[i] *= 2;
            tiny_config(m, "");
            *sizes[i] /= 2;
            CU_ASSERT_EQUAL(open_says(ctx, m->folder, "expected"), QUANT_ESHAPE);
        }
        m->layers--;
        tiny_config(m, "");
        m->layers++;
        CU_ASSERT_EQUAL(open_says(ctx, m->folder, m->layers > 1 ? "model.layers." : "layers"),
                        m->layers > 1 ? QUANT_EUNSUPPORTED : QUANT_ERANGE);
        tiny_free(m);
    }
    quant_context_free(ctx);
}

/* A bias that the forward pass would leave out is refused; a table of angles is not. */
static void unknown_tensors_are_refused(void)
{
    static const struct {
        const char *name;
        quant_status expected;
    } rows[] = {{"model.layers.0.self_attn.q_proj.bias", QUANT_EUNSUPPORTED},
                {"model.layers.9.mlp.up_proj.weight", QUANT_EUNSUPPORTED},
                {"model.layers.0.self_attn.rotary_emb.inv_freq", QUANT_OK}};
    quant_context *ctx = quant_context_new(NULL);
    draw d = draw_begin("unknown", 0);
    tiny_model *m = tiny_draw(ctx, &d, false);
    tiny_tensor *t = &m->t[m->count++];
    *t = (tiny_tensor){.shape = {1, {2}}, .count = 2, .w = calloc(2, sizeof(float))};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(t->name, sizeof t->name, "%s", rows[i].name);
        tiny_weights(ctx, m, SIZE_MAX);
        CU_ASSERT_EQUAL(open_says(ctx, m->folder, t->name), rows[i].expected);
    }
    tiny_free(m);
    quant_context_free(ctx);
}

/* Another case of its first letter hides a key. */
static void hide(const tiny_model *m, const char *key)
{
    const char *path = scratch_join(m->folder, "config.json");
    size_t count;
    char *text = scratch_get(path, &count), *at = text ? strstr(text, key) : NULL;
    CU_ASSERT_PTR_NOT_NULL(at);
    if (at) {
        *at = 'X';
        scratch_put(path, text, count);
    }
    free(text);
}

static void absent_keys_have_defaults(void)
{
    quant_context *ctx = quant_context_new(NULL);
    tiny_model *m = NULL;
    for (uint64_t k = 0; !m; k++) {
        draw d = draw_begin("defaults", k);
        m = tiny_draw(ctx, &d, false);
        if (m->heads == 1 || m->heads != m->kv_heads || m->theta > 10000) {
            tiny_free(m);
            m = NULL;
        }
    }
    hide(m, "num_key_value_heads");
    hide(m, "head_dim");
    hide(m, "rope_theta");
    quant_model *model = NULL;
    CHECK_OK(ctx, quant_model_open(ctx, m->folder, &model));
    if (model) {
        const quant_model_sizes *z = quant_model_sizes_of(model);
        CU_ASSERT_EQUAL(z->kv_heads, (uint64_t)m->heads);
        CU_ASSERT_EQUAL(z->head_dim, (uint64_t)m->head_dim);
        CU_ASSERT_EQUAL(z->theta, 10000);
    }
    quant_model_close(ctx, model);
    hide(m, "rms_norm_eps");
    CU_ASSERT_EQUAL(open_says(ctx, m->folder, "rms_norm_eps"), QUANT_EFIELD);
    tiny_free(m);
    quant_context_free(ctx);
}

static void tokens_must_fit(void)
{
    quant_context *ctx = quant_context_new(NULL);
    draw d = draw_begin("tokens", 0);
    tiny_model *m = tiny_draw(ctx, &d, false);
    quant_model *model = NULL;
    CHECK_OK(ctx, quant_model_open(ctx, m->folder, &model));
    int64_t ids[4] = {0, 0, 0, 0};
    const int64_t wrong[] = {-1, m->vocab, INT64_MAX, INT64_MIN};
    const quant_forward_variant v = {.scheme = NULL};
    for (size_t i = 0; i < 4; i++) {
        ids[i] = wrong[i];
        CU_ASSERT_EQUAL(quant_forward_run(ctx, model, &(quant_tokens){ids, 2, 2}, &v, 1, NULL),
                        QUANT_ERANGE);
        char where[64];
        snprintf(where, sizeof where, "sequence %zu, position %zu", i / 2, i % 2);
        CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), where));
        ids[i] = 0;
    }
    CU_ASSERT_EQUAL(quant_forward_run(ctx, model, &(quant_tokens){ids, 0, 2}, &v, 1, NULL),
                    QUANT_ERANGE);
    CU_ASSERT_EQUAL(quant_forward_run(ctx, model, &(quant_tokens){ids, 2, 2}, &v, 0, NULL),
                    QUANT_EINVAL);
    quant_model_close(ctx, model);
    tiny_free(m);
    quant_context_free(ctx);
}

/* ---- short memory --------------------------------------------------------------------------- */

static const quant_scheme *four_bits(void *user, const quant_tensor *t)
{
    (void)t;
    return user;
}

static quant_status open_and_run(quant_context *ctx, const char *folder, quant_scheme *scheme)
{
    quant_model *model = NULL;
    int64_t ids[6] = {0}, out[8];
    quant_forward_variant v[2] = {{.scheme = NULL}, {.scheme = four_bits, .user = scheme}};
    quant_status s = quant_model_open(ctx, folder, &model);
    if (s == QUANT_OK) {
        s = quant_forward_run(ctx, model, &(quant_tokens){ids, 2, 3}, v, 2, NULL);
    }
    if (s == QUANT_OK) {
        s = quant_forward_greedy(ctx, model, &(quant_tokens){ids, 2, 3}, &v[1], NULL, 1, out);
    }
    quant_model_close(ctx, model);
    return s;
}

static void fail_each(const char *folder)
{
    quant_scheme scheme;
    quant_status s = QUANT_ENOMEM;
    CHECK_OK(NULL, quant_scheme_parse(NULL, "int4:block=32", &scheme));
    for (long k = 1; s != QUANT_OK && k < 5000; k++) {
        short_memory c = {.fail_at = k};
        quant_context *ctx = short_memory_context(&c);
        s = open_and_run(ctx, folder, &scheme);
        CU_ASSERT_EQUAL(s, c.fired ? QUANT_ENOMEM : QUANT_OK);
        quant_context_free(ctx);
        CU_ASSERT_EQUAL(c.held, 0);
    }
    CU_ASSERT_EQUAL(s, QUANT_OK);
}

static void allocations_may_fail(void)
{
    for (uint64_t moe = 0; moe < 2; moe++) {
        draw d = draw_begin("short", moe);
        tiny_model *m = tiny_draw(NULL, &d, moe);
        fail_each(m->folder);
        tiny_free(m);
    }
    fail_each("tests/golden/mixtral");
    fail_each("tests/golden/gemma2");
}

TEST_SUITE(model_limits,
           {"configurations that are not understood are refused", configurations_are_refused},
           {"so are other files in their place", other_files_are_refused},
           {"tensors that are missing, misshapen or unknown are named", tensors_must_fit},
           {"so are tensors that the pass would leave out", unknown_tensors_are_refused},
           {"absent keys have defaults, or are asked for", absent_keys_have_defaults},
           {"tokens out of range are named", tokens_must_fit},
           {"any allocation may fail", allocations_may_fail})
