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
typedef enum axis { NONE, WIDTH, VOCAB, QUERY, KEY, HEAD, INNER, EXPERTS, EXPERT_INNER,
               GATE_AND_UP } axis;

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
    [QUANT_ROLE_EXPERT_GATE_UP] = {EXPERTS, GATE_AND_UP, WIDTH},
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
    case GATE_AND_UP: return 2 * z->expert_inner;
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
    for (int i = model_arch_apart(m->arch, role); i < 3 && shapes[role][i] != NONE; i++) {
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

/* ---- names ---------------------------------------------------------------------------------- */

/* Where a decoder stands inside a model of several parts. */
static const struct {
    const char *root, *head;
} roots[] = {{"model.", "lm_head.weight"},
             {"language_model.model.", "language_model.lm_head.weight"},
             {"model.language_model.", "lm_head.weight"}};

/* The root whose embedding the bank has; the first when none has. */
static void find_root(quant_model *m)
{
    size_t at, k = 0;
    for (size_t i = sizeof roots / sizeof *roots; i-- > 0;) {
        char name[MODEL_NAME];
        snprintf(name, sizeof name, "%sembed_tokens.weight", roots[i].root);
        k = quant_bank_find(NULL, m->bank, name, &at) == QUANT_OK ? i : k;
    }
    m->root = roots[k].root;
    m->head = roots[k].head;
}

/* First "%d" of a pattern: the layer; second: the expert. */
static void name_of(const quant_model *m, quant_role role, uint64_t layer, uint64_t expert,
                    char name[MODEL_NAME])
{
    static const char own_root[] = "model.";
    const char *from = m->arch->tensor[role], *mark;
    size_t used = 0;
    const uint64_t numbers[2] = {layer, expert};
    if (role == QUANT_ROLE_HEAD && !m->arch->format) {
        from = m->head;
    } else if (strncmp(from, own_root, sizeof own_root - 1) == 0) {
        used = (size_t)snprintf(name, MODEL_NAME, "%s", m->root);
        from += sizeof own_root - 1;
    }
    for (int k = 0; k < 2 && (mark = strstr(from, "%d")) != NULL; k++, from = mark + 2) {
        used += (size_t)snprintf(name + used, MODEL_NAME - used, "%.*s%" PRIu64,
                                 (int)(mark - from), from, numbers[k]);
    }
    snprintf(name + used, MODEL_NAME - used, "%s", from);
}

/* The bank has the last experts' tensor that this row names. */
static bool row_fits(quant_model *m, const model_arch *row)
{
    char name[MODEL_NAME];
    size_t at;
    const model_arch *own = m->arch;
    m->arch = row;
    name_of(m, QUANT_ROLE_EXPERT_DOWN, 0, 0, name);
    m->arch = own;
    return quant_bank_find(NULL, m->bank, name, &at) == QUANT_OK;
}

/* Of the rows of one name, the one whose experts are stored as here. */
static void choose_row(quant_model *m)
{
    const model_arch *row;
    bool gguf = m->arch->format != NULL;
    for (size_t k = 1; (row = model_arch_find(m->arch->name, gguf, k)) != NULL; k++) {
        if (!row_fits(m, m->arch) && row_fits(m, row)) {
            m->arch = row;
            return;
        }
    }
}

/* ---- finding -------------------------------------------------------------------------------- */

static size_t *slot_of(const quant_model *m, quant_role role, uint64_t layer, uint64_t part)
{
    if (!model_arch_apart(m->arch, role)) {
        return &m->index[layer * QUANT_ROLE_COUNT + role];
    }
    uint64_t row = layer * MODEL_APART + (uint64_t)(role - QUANT_ROLE_EXPERT_GATE);
    return &m->apart[row * m->sizes.experts + part];
}

/* used[i]: tensor i has a role. */
static quant_status resolve(quant_context *ctx, quant_model *m, quant_role role, uint64_t layer,
                            uint64_t part, bool *used)
{
    size_t *slot = slot_of(m, role, layer, part);
    char name[MODEL_NAME];
    name_of(m, role, layer, part, name);
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

static quant_status resolve_role(quant_context *ctx, quant_model *m, quant_role role,
                                 uint64_t layer, bool *used)
{
    m->index[layer * QUANT_ROLE_COUNT + role] = SIZE_MAX;
    for (uint64_t k = 0; k < quant_model_parts(m, role); k++) {
        QUANT_TRY(resolve(ctx, m, role, layer, k, used));
    }
    return QUANT_OK;
}

/* Rotary tables that older exports carry along repeat what theta says. */
static bool harmless(const char *name)
{
    static const char tail[] = ".rotary_emb.inv_freq";
    size_t n = strlen(name), k = sizeof tail - 1;
    return n > k && strcmp(name + n - k, tail) == 0;
}

static bool elsewhere(const model_arch *arch, const char *name)
{
    for (const char *const *at = arch->elsewhere; at && *at; at++) {
        if (strncmp(name, *at, strlen(*at)) == 0) {
            return true;
        }
    }
    return false;
}

static quant_status resolve_all(quant_context *ctx, quant_model *m, bool *used)
{
    for (int r = 0; r < QUANT_ROLE_LAYER; r++) {
        QUANT_TRY(resolve_role(ctx, m, (quant_role)r, 0, used));
    }
    for (uint64_t l = 0; l < m->sizes.layers; l++) {
        for (int r = QUANT_ROLE_LAYER; r < QUANT_ROLE_COUNT; r++) {
            QUANT_TRY(resolve_role(ctx, m, (quant_role)r, l, used));
        }
    }
    for (size_t i = 0; i < quant_bank_count(m->bank); i++) {
        const char *name = quant_bank_tensor(m->bank, i)->name;
        if (!used[i] && !harmless(name) && !elsewhere(m->arch, name)) {
            return quant_fail(ctx, QUANT_EUNSUPPORTED, "tensor \"%s\": expected only tensors that "
                              "%s with %" PRIu64 " layers has, found this one", name,
                              m->arch->name, m->sizes.layers);
        }
    }
    return QUANT_OK;
}

static bool has_apart(const model_arch *arch)
{
    return model_arch_apart(arch, QUANT_ROLE_EXPERT_DOWN);
}

static uint64_t apart_of_layer(const quant_model *m)
{
    return has_apart(m->arch) ? MODEL_APART * m->sizes.experts : 0;
}

static quant_status fill(quant_context *ctx, quant_model *m, const char *path)
{
    QUANT_TRY(quant_bank_open(ctx, path, &m->bank));
    QUANT_TRY(model_config_read(ctx, m, path));
    find_root(m);
    choose_row(m);
    size_t count = quant_bank_count(m->bank), layers = (size_t)m->sizes.layers;
    if (apart_of_layer(m) > count / layers) {
        return quant_fail(ctx, QUANT_EFIELD, "%s: experts: expected %" PRIu64 " tensors of theirs, "
                          "found %zu tensors in all", path, apart_of_layer(m) * layers, count);
    }
    m->index = quant_alloc(ctx, layers, QUANT_ROLE_COUNT * sizeof *m->index);
    m->apart = quant_alloc(ctx, layers, (size_t)apart_of_layer(m) * sizeof *m->apart);
    bool *used = quant_alloc(ctx, count, sizeof *used);
    quant_status s = m->index && m->apart && used ? QUANT_OK : QUANT_ENOMEM;
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
        size_t layers = (size_t)m->sizes.layers;
        quant_bank_close(ctx, m->bank);
        quant_release(ctx, m->index, layers, QUANT_ROLE_COUNT * sizeof *m->index);
        quant_release(ctx, m->apart, layers,
                      m->apart ? (size_t)apart_of_layer(m) * sizeof *m->apart : 0);
        quant_release(ctx, m->local, layers, sizeof *m->local);
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

uint64_t quant_model_parts(const quant_model *model, quant_role role)
{
    bool some = (unsigned)role < QUANT_ROLE_COUNT && model->arch->tensor[role];
    return !some ? 0 : model_arch_apart(model->arch, role) ? model->sizes.experts : 1;
}

const quant_tensor *quant_model_part(const quant_model *model, quant_role role, uint64_t layer,
                                     uint64_t k, size_t *index)
{
    if (layer >= model->sizes.layers || k >= quant_model_parts(model, role)) {
        return NULL;
    }
    size_t i = *slot_of(model, role, role < QUANT_ROLE_LAYER ? 0 : layer, k);
    if (index) {
        *index = i;
    }
    return quant_bank_tensor(model->bank, i);
}

const quant_tensor *quant_model_tensor(const quant_model *model, quant_role role, uint64_t layer,
                                       size_t *index)
{
    return quant_model_part(model, role, layer, 0, index);
}

bool quant_model_is_local(const quant_model *model, uint64_t layer)
{
    return layer < model->sizes.layers && model->local[layer];
}
