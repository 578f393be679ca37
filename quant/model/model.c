/* SPDX-License-Identifier: GPL-3.0-or-later */
/* model.c - every tensor that the forward pass needs is found and measured before it starts. */
#include "quant/model/model.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/model/arch.h"

/* What an axis of a tensor is as long as. */
typedef enum axis { NONE, WIDTH, VOCAB, QUERY, KEY, HEAD, INNER, EXPERTS, EXPERT_INNER } axis;

static const axis shapes[QUANT_ROLE_COUNT][3] = {
    [QUANT_ROLE_EMBED] = {VOCAB, WIDTH},
    [QUANT_ROLE_FINAL_NORM] = {WIDTH},
    [QUANT_ROLE_HEAD] = {VOCAB, WIDTH},
    [QUANT_ROLE_ATTENTION_NORM] = {WIDTH},
    [QUANT_ROLE_Q] = {QUERY, WIDTH},
    [QUANT_ROLE_K] = {KEY, WIDTH},
    [QUANT_ROLE_V] = {KEY, WIDTH},
    [QUANT_ROLE_O] = {WIDTH, QUERY},
    [QUANT_ROLE_Q_NORM] = {HEAD},
    [QUANT_ROLE_K_NORM] = {HEAD},
    [QUANT_ROLE_POST_ATTENTION] = {WIDTH},
    [QUANT_ROLE_FFN_NORM] = {WIDTH},
    [QUANT_ROLE_GATE] = {INNER, WIDTH},
    [QUANT_ROLE_UP] = {INNER, WIDTH},
    [QUANT_ROLE_DOWN] = {WIDTH, INNER},
    [QUANT_ROLE_ROUTER] = {EXPERTS, WIDTH},
    [QUANT_ROLE_EXPERT_GATE] = {EXPERTS, EXPERT_INNER, WIDTH},
    [QUANT_ROLE_EXPERT_UP] = {EXPERTS, EXPERT_INNER, WIDTH},
    [QUANT_ROLE_EXPERT_DOWN] = {EXPERTS, WIDTH, EXPERT_INNER},
    [QUANT_ROLE_POST_FFN] = {WIDTH},
};

static uint64_t length_of(const quant_model_sizes *z, axis a)
{
    switch (a) {
    case WIDTH: return z->width;
    case VOCAB: return z->vocab;
    case QUERY: return z->heads * z->head_dim;
    case KEY: return z->kv_heads * z->head_dim;
    case HEAD: return z->head_dim;
    case INNER: return z->inner;
    case EXPERTS: return z->experts;
    case EXPERT_INNER: return z->expert_inner;
    case NONE: break;
    }
    return 0;
}

static void print_shape(const quant_shape *s, char text[160])
{
    size_t used = 0;
    text[used++] = '[';
    for (int i = 0; i < s->rank; i++) {
        used += (size_t)snprintf(text + used, 160 - used, "%s%" PRIu64, i ? ", " : "", s->dim[i]);
    }
    snprintf(text + used, 160 - used, "]");
}

static quant_status check_shape(quant_context *ctx, const quant_model *m, quant_role role,
                                const quant_tensor *t)
{
    quant_shape want = {.rank = 0};
    for (int i = 0; i < 3 && shapes[role][i] != NONE; i++) {
        want.dim[want.rank++] = length_of(&m->sizes, shapes[role][i]);
    }
    bool same = want.rank == t->shape.rank;
    for (int i = 0; same && i < want.rank; i++) {
        same = want.dim[i] == t->shape.dim[i];
        if (want.dim[i] > INT_MAX) {
            return quant_fail(ctx, QUANT_ELIMIT, "tensor \"%s\": expected axes below 2^31, found %"
                              PRIu64, t->name, want.dim[i]);
        }
    }
    if (!same) {
        char expected[160], found[160];
        print_shape(&want, expected);
        print_shape(&t->shape, found);
        return quant_fail(ctx, QUANT_ESHAPE, "tensor \"%s\": expected shape %s by the "
                          "configuration, found %s", t->name, expected, found);
    }
    return quant_dtype_is_decoded(t->dtype)
               ? QUANT_OK
               : quant_fail(ctx, QUANT_EUNSUPPORTED, "tensor \"%s\": values of %s are not decoded",
                            t->name, t->dtype_text);
}

static void name_of(const quant_model *m, quant_role role, uint64_t layer, char name[MODEL_NAME])
{
    const char *pattern = m->arch->tensor[role], *mark = strstr(pattern, "%d");
    if (mark) {
        snprintf(name, MODEL_NAME, "%.*s%" PRIu64 "%s", (int)(mark - pattern), pattern, layer,
                 mark + 2);
    } else {
        snprintf(name, MODEL_NAME, "%s", pattern);
    }
}

/* used[i]: tensor i has a role. */
static quant_status resolve(quant_context *ctx, quant_model *m, quant_role role, uint64_t layer,
                            bool *used)
{
    size_t *slot = &m->index[layer * QUANT_ROLE_COUNT + role];
    char name[MODEL_NAME];
    *slot = SIZE_MAX;
    if (!m->arch->tensor[role]) {
        return QUANT_OK;
    }
    name_of(m, role, layer, name);
    quant_status s = quant_bank_find(ctx, m->bank, name, slot);
    if (s != QUANT_OK && role == QUANT_ROLE_HEAD && (m->sizes.tied || m->arch->format)) {
        m->sizes.tied = true;
        *slot = m->index[QUANT_ROLE_EMBED];
        return QUANT_OK;
    }
    QUANT_TRY(s);
    used[*slot] = true;
    if (role == QUANT_ROLE_HEAD && m->sizes.tied) {
        *slot = m->index[QUANT_ROLE_EMBED]; /* stored again; the configuration decides */
    }
    const quant_tensor *t = quant_bank_tensor(m->bank, *slot);
    if (role == QUANT_ROLE_EMBED && m->sizes.vocab == 0 && t->shape.rank > 0) {
        m->sizes.vocab = t->shape.dim[0]; /* a GGUF does not say it otherwise */
    }
    return check_shape(ctx, m, role, t);
}

/* Rotary tables that older exports carry along repeat what theta says. */
static bool harmless(const char *name)
{
    static const char tail[] = ".rotary_emb.inv_freq";
    size_t n = strlen(name), k = sizeof tail - 1;
    return n > k && strcmp(name + n - k, tail) == 0;
}

static quant_status resolve_all(quant_context *ctx, quant_model *m, bool *used)
{
    for (int r = 0; r < QUANT_ROLE_LAYER; r++) {
        QUANT_TRY(resolve(ctx, m, (quant_role)r, 0, used));
    }
    for (uint64_t l = 0; l < m->sizes.layers; l++) {
        for (int r = QUANT_ROLE_LAYER; r < QUANT_ROLE_COUNT; r++) {
            QUANT_TRY(resolve(ctx, m, (quant_role)r, l, used));
        }
    }
    for (size_t i = 0; i < quant_bank_count(m->bank); i++) {
        const char *name = quant_bank_tensor(m->bank, i)->name;
        if (!used[i] && !harmless(name)) {
            return quant_fail(ctx, QUANT_EUNSUPPORTED, "tensor \"%s\": expected only tensors that "
                              "%s with %" PRIu64 " layers has, found this one", name,
                              m->arch->name, m->sizes.layers);
        }
    }
    return QUANT_OK;
}

static quant_status fill(quant_context *ctx, quant_model *m, const char *path)
{
    QUANT_TRY(quant_bank_open(ctx, path, &m->bank));
    QUANT_TRY(model_config_read(ctx, m, path));
    size_t count = quant_bank_count(m->bank);
    if (m->sizes.layers > count) {
        return quant_fail(ctx, QUANT_EFIELD, "%s: layers: expected at most one a tensor, found %"
                          PRIu64 " with %zu tensors", path, m->sizes.layers, count);
    }
    m->index = quant_alloc(ctx, (size_t)m->sizes.layers, QUANT_ROLE_COUNT * sizeof *m->index);
    bool *used = quant_alloc(ctx, count, sizeof *used);
    quant_status s = m->index && used ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK) {
        memset(used, 0, count * sizeof *used);
        s = resolve_all(ctx, m, used);
    }
    quant_release(ctx, used, count, sizeof *used);
    bool named = s == QUANT_OK || s == QUANT_ENOMEM || s == QUANT_EFIELD;
    return named ? s : quant_fail_prefix(ctx, s, path);
}

quant_status quant_model_open(quant_context *ctx, const char *path, quant_model **model)
{
    if (!path || !model) {
        return quant_fail(ctx, QUANT_EINVAL, "model: expected a path and a place for the result");
    }
    *model = NULL;
    quant_model *m = quant_alloc(ctx, 1, sizeof *m);
    if (!m) {
        return QUANT_ENOMEM;
    }
    *m = (quant_model){.bank = NULL};
    quant_status s = fill(ctx, m, path);
    if (s != QUANT_OK) {
        quant_model_close(ctx, m);
        return s;
    }
    *model = m;
    return QUANT_OK;
}

void quant_model_close(quant_context *ctx, quant_model *m)
{
    if (m) {
        quant_bank_close(ctx, m->bank);
        quant_release(ctx, m->index, (size_t)m->sizes.layers, QUANT_ROLE_COUNT * sizeof *m->index);
        quant_release(ctx, m, 1, sizeof *m);
    }
}

const char *quant_model_architecture(const quant_model *model)
{
    return model->arch->name;
}

const quant_model_sizes *quant_model_sizes_of(const quant_model *model)
{
    return &model->sizes;
}

quant_bank *quant_model_bank(const quant_model *model)
{
    return model->bank;
}

const quant_tensor *quant_model_tensor(const quant_model *model, quant_role role, uint64_t layer,
                                       size_t *index)
{
    if (layer >= model->sizes.layers || (unsigned)role >= QUANT_ROLE_COUNT) {
        return NULL;
    }
    size_t row = role < QUANT_ROLE_LAYER ? 0 : (size_t)layer;
    size_t i = model->index[row * QUANT_ROLE_COUNT + role];
    if (i == SIZE_MAX) {
        return NULL;
    }
    if (index) {
        *index = i;
    }
    return quant_bank_tensor(model->bank, i);
}

bool quant_model_is_local(const quant_model *model, uint64_t layer)
{
    const quant_model_sizes *z = &model->sizes;
    return z->window > 0 && (z->pattern == 0 || (layer + 1) % z->pattern != 0);
}
