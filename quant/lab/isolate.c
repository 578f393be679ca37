/* SPDX-License-Identifier: GPL-3.0-or-later */
/* isolate.c - one part quantized at a time: which of them hurts most. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"

enum { TOGETHER = 8, ALL = -1, ISOLATE_FLOATS = 1 << 26 };

/* Where a tensor belongs, in the numbering of the mode. */
typedef struct home {
    const quant_tensor *tensor;
    int unit;
} home;

typedef struct study {
    const lab_isolate *in;
    const quant_model *model;
    home *homes;
    size_t home_count;
    int units;                      /* numbers in use are below */
    quant_isolate_row *rows;        /* as they come, the last is everything */
    size_t row_count;
} study;

/* Selects the tensors of one unit among those that the options select. */
typedef struct unit_pick {
    const study *study;
    int unit;
    lab_pick pick;
} unit_pick;

static const char *role_name(int role)
{
    static const char *const names[QUANT_ROLE_COUNT] = {
        [QUANT_ROLE_EMBED] = "embed", [QUANT_ROLE_HEAD] = "head", [QUANT_ROLE_Q] = "q",
        [QUANT_ROLE_K] = "k", [QUANT_ROLE_V] = "v", [QUANT_ROLE_O] = "o",
        [QUANT_ROLE_GATE] = "gate", [QUANT_ROLE_UP] = "up", [QUANT_ROLE_DOWN] = "down",
        [QUANT_ROLE_ROUTER] = "router", [QUANT_ROLE_EXPERT_GATE_UP] = "expert_gate_up",
        [QUANT_ROLE_EXPERT_GATE] = "expert_gate",
        [QUANT_ROLE_EXPERT_UP] = "expert_up", [QUANT_ROLE_EXPERT_DOWN] = "expert_down"};
    return names[role] ? names[role] : "norm";
}

/* By layer: 0 embedding, l + 1 layer l, layers + 1 head. By projection: the role. */
static int unit_of(const study *s, int role, uint64_t layer)
{
    if (s->in->mode == QUANT_ISOLATE_PROJECTION) {
        return role;
    }
    uint64_t layers = quant_model_sizes_of(s->model)->layers;
    return role == QUANT_ROLE_EMBED ? 0 : role < QUANT_ROLE_LAYER ? (int)layers + 1
                                                                  : (int)layer + 1;
}

static void name_of(const study *s, int unit, char name[QUANT_ISOLATE_TEXT])
{
    uint64_t layers = quant_model_sizes_of(s->model)->layers;
    if (s->in->mode == QUANT_ISOLATE_PROJECTION || unit == ALL) {
        snprintf(name, QUANT_ISOLATE_TEXT, "%s", unit == ALL ? "all" : role_name(unit));
    } else if (unit == 0 || unit == (int)layers + 1) {
        snprintf(name, QUANT_ISOLATE_TEXT, "%s", unit == 0 ? "embed" : "head");
    } else {
        snprintf(name, QUANT_ISOLATE_TEXT, "%d", unit - 1);
    }
}

static void add_homes(study *s, int role, uint64_t layer)
{
    bool again = role == QUANT_ROLE_HEAD && quant_model_sizes_of(s->model)->tied;
    const quant_tensor *t;
    for (uint64_t k = 0;
         !again && (t = quant_model_part(s->model, (quant_role)role, layer, k, NULL)) != NULL;
         k++) {
        s->homes[s->home_count++] = (home){t, unit_of(s, role, layer)};
    }
}

/* At most: every tensor has one home. */
static size_t homes_room(const quant_model *model)
{
    return quant_bank_count(quant_model_bank(model));
}

static quant_status find_homes(study *s)
{
    const quant_model_sizes *z = quant_model_sizes_of(s->model);
    s->homes = quant_alloc(s->in->ctx, homes_room(s->model), sizeof *s->homes);
    if (!s->homes) {
        return QUANT_ENOMEM;
    }
    for (int role = 0; role < QUANT_ROLE_COUNT; role++) {
        for (uint64_t l = 0; l < (role < QUANT_ROLE_LAYER ? 1 : z->layers); l++) {
            add_homes(s, role, l);
        }
    }
    s->units = s->in->mode == QUANT_ISOLATE_PROJECTION ? QUANT_ROLE_COUNT : (int)z->layers + 2;
    return QUANT_OK;
}

static const quant_scheme *pick_unit(void *user, const quant_tensor *t)
{
    unit_pick *p = user;
    const study *s = p->study;
    for (size_t i = 0; i < s->home_count; i++) {
        if (s->homes[i].tensor == t) {
            bool here = p->unit == ALL || p->unit == s->homes[i].unit;
            return here ? lab_pick_scheme(&p->pick, t) : NULL;
        }
    }
    return NULL;
}

/* Rows for the units that quantize something, and one for everything. */
static quant_status list_units(study *s)
{
    s->rows = quant_alloc(s->in->ctx, (size_t)s->units + 1, sizeof *s->rows);
    if (!s->rows) {
        return QUANT_ENOMEM;
    }
    for (int u = 0; u <= s->units; u++) {
        unit_pick p = {s, u < s->units ? u : ALL, s->in->pick};
        quant_isolate_row row = {.unit = p.unit};
        for (size_t i = 0; i < s->home_count; i++) {
            const quant_tensor *t = s->homes[i].tensor;
            bool quantized = pick_unit(&p, t) != NULL;
            row.tensors += quantized;
            row.elements += quantized ? t->elements : 0;
        }
        name_of(s, p.unit, row.name);
        if (row.tensors > 0 || u == s->units) {
            s->rows[s->row_count++] = row;
        }
    }
    return QUANT_OK;
}

static quant_status count_work(void *user, const quant_stage_view *v)
{
    const lab_isolate *in = user;
    lab_progress_add(in->progress, "one part at a time", (int64_t)v->layer,
                     v->rows / in->tokens->s);
    return QUANT_OK;
}

/* Variants 1 .. count are the units of rows[0 .. count), over a batch of sequences; got is
 * [TOGETHER + 1][rows of a batch][vocab]. */
static quant_status run_batch(const study *s, const quant_isolate_row *rows, size_t count,
                              const quant_tokens *tokens, float *got, size_t first,
                              quant_logits_row *out)
{
    const lab_isolate *in = s->in;
    size_t vocab = (size_t)quant_model_sizes_of(s->model)->vocab, some = tokens->n * tokens->s;
    size_t all = in->tokens->n * in->tokens->s;
    unit_pick pick[TOGETHER];
    quant_forward_variant v[TOGETHER + 1] = {{.logits = got}};
    for (size_t i = 0; i < count; i++) {
        pick[i] = (unit_pick){s, rows[i].unit, in->pick};
        v[i + 1] = (quant_forward_variant){.scheme = pick_unit, .user = &pick[i],
                                           .grid = in->pick.grid, .smooth = in->pick.smooth,
                                           .grid_user = in->pick.grid_user,
                                           .logits = got + (i + 1) * some * vocab};
    }
    lab_isolate mine = *in;
    const quant_forward_options o = {.compute = in->compute, .stages = 1u << QUANT_STAGE_RESIDUAL,
                                     .visit = count_work, .user = &mine};
    QUANT_TRY(quant_forward_run(in->ctx, in->model, tokens, v, count + 1, &o));
    for (size_t i = 0; i < count; i++) {
        lab_logits_rows(in->ctx, got, v[i + 1].logits, tokens, vocab, out + i * all + first);
    }
    return QUANT_OK;
}

static quant_status run_together(const study *s, quant_isolate_row *rows, size_t count,
                                 size_t batch, float *got, quant_logits_row *out)
{
    const lab_isolate *in = s->in;
    size_t n = in->tokens->n, length = in->tokens->s;
    for (size_t i = 0; i < n; i += batch) {
        const quant_tokens tokens = {in->tokens->id + i * length, n - i < batch ? n - i : batch,
                                     length};
        QUANT_TRY(run_batch(s, rows, count, &tokens, got, i * length, out));
    }
    for (size_t i = 0; i < count; i++) {
        QUANT_TRY(quant_logits_summarize(in->ctx, out + i * n * length, n, length, in->seed,
                                         &rows[i].logits));
    }
    return QUANT_OK;
}

static quant_status run_units(study *s)
{
    const lab_isolate *in = s->in;
    size_t n = in->tokens->n, length = in->tokens->s;
    size_t sequence = (TOGETHER + 1) * length * (size_t)quant_model_sizes_of(s->model)->vocab;
    size_t batch = ISOLATE_FLOATS / sequence;
    batch = batch < 1 ? 1 : batch > n ? n : batch;
    float *got = quant_alloc(in->ctx, batch * sequence, sizeof *got);
    quant_logits_row *out = quant_alloc(in->ctx, TOGETHER * n * length, sizeof *out);
    quant_status status = got && out ? QUANT_OK : QUANT_ENOMEM;
    for (size_t i = 0; i < s->row_count && status == QUANT_OK; i += TOGETHER) {
        size_t left = s->row_count - i;
        status = run_together(s, s->rows + i, left < TOGETHER ? left : TOGETHER, batch, got, out);
    }
    quant_release(in->ctx, got, batch * sequence, sizeof *got);
    quant_release(in->ctx, out, TOGETHER * n * length, sizeof *out);
    return status;
}

/* Larger divergence first, what is not a number before everything; then by unit. */
static int worse_first(const void *a, const void *b)
{
    const quant_isolate_row *x = a, *y = b;
    double p = isnan(x->logits.kl_mean) ? (double)INFINITY : x->logits.kl_mean;
    double q = isnan(y->logits.kl_mean) ? (double)INFINITY : y->logits.kl_mean;
    return p != q ? (p < q) - (p > q) : (x->unit > y->unit) - (x->unit < y->unit);
}

quant_status lab_isolate_run(const lab_isolate *in, quant_isolate_row **rows, size_t *count,
                             size_t *room)
{
    study s = {.in = in, .model = in->model};
    quant_status status = find_homes(&s);
    if (status == QUANT_OK) {
        status = list_units(&s);
    }
    if (status == QUANT_OK) {
        status = run_units(&s);
    }
    quant_release(in->ctx, s.homes, homes_room(in->model), sizeof *s.homes);
    *rows = s.rows;
    *count = s.row_count;
    *room = (size_t)s.units + 1;
    if (status == QUANT_OK) {
        qsort(s.rows, s.row_count - 1, sizeof *s.rows, worse_first);
    }
    return status;
}

uint64_t lab_isolate_work(const quant_model *model, quant_isolate mode, size_t sequences)
{
    uint64_t layers = quant_model_sizes_of(model)->layers, units = layers + 3;
    if (mode == QUANT_ISOLATE_NONE) {
        return 0;
    }
    if (mode == QUANT_ISOLATE_PROJECTION) {
        units = 1;
        for (int role = 0; role < QUANT_ROLE_COUNT; role++) {
            const quant_tensor *t = quant_model_tensor(model, (quant_role)role, 0, NULL);
            units += t && t->shape.rank >= 2;
        }
    }
    return (units + (units + TOGETHER - 1) / TOGETHER) * layers * sequences;
}
