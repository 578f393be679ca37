/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_isolate.c - one part at a time against runs that select the same tensors by themselves. */
#include <stdio.h>
#include <string.h>

#include "quant/lab/propagate.h"
#include "tests/deep_model.h"
#include "tests/draw.h"
#include "tests/run.h"
#include "tests/test.h"

enum { N = 3, S = 9, LAYERS = 5 };

static quant_context *ctx;

/* What a row of the table stands for, told by tensor names. */
typedef struct part {
    const char *name;
    bool by_layer;
    uint64_t seen;
} part;

static bool holds(const part *p, const quant_tensor *t)
{
    static const char *const projections[][2] = {
        {"embed", "embed_tokens"}, {"head", "lm_head"}, {"q", "q_proj"}, {"k", "k_proj"},
        {"v", "v_proj"}, {"o", "o_proj"}, {"gate", "mlp.gate_proj"}, {"up", "mlp.up_proj"},
        {"down", "mlp.down_proj"}, {"router", "router.proj"}, {"expert_gate", "experts.gate_proj"},
        {"expert_up", "experts.up_proj"}, {"expert_down", "experts.down_proj"}};
    char prefix[64];
    if (strcmp(p->name, "all") == 0) {
        return true;
    }
    for (size_t i = 0; i < sizeof projections / sizeof *projections; i++) {
        if (strcmp(p->name, projections[i][0]) == 0) {
            return strstr(t->name, projections[i][1]) != NULL;
        }
    }
    snprintf(prefix, sizeof prefix, "model.layers.%s.", p->name);
    return p->by_layer && strncmp(t->name, prefix, strlen(prefix)) == 0;
}

static bool select_part(void *user, const quant_tensor *t)
{
    return holds(user, t);
}

static quant_propagate_result *run(quant_model *model, const char *scheme, quant_isolate isolate,
                                   quant_compute compute, part *only)
{
    int64_t ids[N * S];
    quant_scheme parsed;
    quant_propagate_result *r = NULL;
    deep_model_tokens(5, ids, N * S);
    CHECK_OK(ctx, quant_scheme_parse(ctx, scheme, &parsed));
    const quant_propagate_options options = {
        .schemes = &parsed, .scheme_count = 1, .isolate = isolate, .compute = compute,
        .select = only ? select_part : NULL, .user = only, .seed = 9};
    CHECK_OK(ctx, quant_propagate(ctx, model, &(quant_tokens){ids, N, S}, &options, &r));
    return r;
}

static int same(const quant_logits_summary *a, const quant_logits_summary *b)
{
    return a->kl_mean == b->kl_mean && a->kl_99 == b->kl_99 && a->ratio == b->ratio &&
           a->low == b->low && a->high == b->high && a->cosine_least == b->cosine_least &&
           a->relative_error == b->relative_error && a->same_top == b->same_top;
}

static int rows_are_runs(quant_model *model, const char *scheme, quant_isolate mode,
                         quant_compute compute)
{
    quant_propagate_result *r = run(model, scheme, mode, compute, NULL);
    const quant_propagate_column *c = &r->columns[0];
    size_t count = c->isolated_count;
    size_t kinds = quant_model_sizes_of(model)->experts > 0 ? 13 : 9;
    int ok = count == (mode == QUANT_ISOLATE_LAYER ? LAYERS + 2 : kinds) + 1;
    uint64_t tensors = 0, elements = 0;
    for (size_t i = 0; i < count && ok; i++) {
        const quant_isolate_row *row = &c->isolated[i];
        part p = {row->name, mode == QUANT_ISOLATE_LAYER, 0};
        quant_propagate_result *own = run(model, scheme, QUANT_ISOLATE_NONE, compute, &p);
        /* bfloat16 arithmetic rounds an embedding to what the scheme bf16 stores: no change */
        bool may_vanish = compute == QUANT_COMPUTE_BF16 && strcmp(scheme, "bf16") == 0;
        ok = ok && same(&row->logits, &own->columns[0].logits) &&
             (row->logits.kl_mean > 0 || (may_vanish && row->logits.kl_mean == 0)) &&
             row->tensors == own->columns[0].quantized && !own->columns[0].isolated;
        ok = ok && (i == 0 || i + 1 == count ||
                    c->isolated[i - 1].logits.kl_mean >= row->logits.kl_mean);
        tensors += i + 1 < count ? row->tensors : 0;
        elements += i + 1 < count ? row->elements : 0;
        quant_propagate_free(ctx, own);
    }
    const quant_isolate_row *all = &c->isolated[count - 1];
    ok = ok && strcmp(all->name, "all") == 0 && same(&all->logits, &c->logits) &&
         all->tensors == c->quantized && tensors == all->tensors && elements == all->elements;
    quant_propagate_free(ctx, r);
    return ok;
}

/* A case is some 20 propagations, one in three of a model with experts; 1000 of them in the longer
 * tier. */
static void one_part_is_its_own_run(void)
{
    static const char *const schemes[] = {"int4:block=4", "lut2:group=4", "int2:channel", "bf16"};
    uint64_t first = test_first_case(), last = test_last_case();
    ctx = quant_context_new(NULL);
    last = !test_is_long() && last - first > 12 ? first + 12 : last;
    for (uint64_t k = first; k < last; k++) {
        draw d = draw_begin("isolate", k);
        quant_model *model = k % 3 == 2 ? deep_model_make_experts(ctx, k + test_seed(), LAYERS)
                                        : deep_model_make(ctx, k + test_seed(), LAYERS);
        quant_isolate mode = k % 2 ? QUANT_ISOLATE_LAYER : QUANT_ISOLATE_PROJECTION;
        int ok = rows_are_runs(model, schemes[draw_int(&d, 0, 3)], mode,
                               (quant_compute)draw_int(&d, 0, 2));
        CU_ASSERT(ok);
        if (!ok) {
            test_failed_case(k, "parts of a model");
        }
        quant_model_close(ctx, model);
    }
    quant_context_free(ctx);
}

/* A tied embedding is one part; here it is the head too. */
static void tied_embeddings_are_one_part(void)
{
    const char *path = test_bank_path("stories260k/golden.npz");
    if (path) {
        run_result r = run_shell("\"$QUANT\" propagate \"$(dirname '%s')\" --tokens '%s' --schemes "
                                 "int8:channel --isolate layer", path, path);
        CU_ASSERT_EQUAL(r.status, 0);
        const char *table = strstr(r.out, "one part at a time");
        CU_ASSERT_PTR_NOT_NULL(table);
        CU_ASSERT(table && strstr(table, "\nall    259 328"));
        CU_ASSERT(table && strstr(table, "\nembed   32 768") && !strstr(table, "\nhead   "));
        run_free(&r);
    }
}

TEST_SUITE(isolate, {"one part is its own run, all parts the full run", one_part_is_its_own_run},
           {"a tied embedding is one part", tied_embeddings_are_one_part})
