/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_banks_agree.c - compare on real banks: nothing is left out, and the same weights score the
 * same whatever file they come from. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/lab/compare.h"
#include "tests/test.h"

enum { MOST = 32 };

/* Parse a list separated by ';' into schemes[MOST]. */
static size_t parse_list(const char *list, quant_scheme *schemes)
{
    size_t count = 0;
    for (const char *at = list; *at && count < MOST; count++) {
        char text[QUANT_SCHEME_TEXT];
        size_t n = strcspn(at, ";");
        snprintf(text, sizeof text, "%.*s", (int)n, at);
        CHECK_OK(NULL, quant_scheme_parse(NULL, text, &schemes[count]));
        at += n + (at[n] == ';');
    }
    return count;
}

/* One bank under a list of schemes. */
typedef struct study {
    quant_context *ctx;
    quant_bank *bank;
    quant_compare_result *r;
} study;

static void study_end(study *s)
{
    quant_compare_free(s->ctx, s->r);
    quant_bank_close(s->ctx, s->bank);
    quant_context_free(s->ctx);
}

static study study_of(const char *path, const char *tensors, const quant_scheme *schemes, size_t n)
{
    study s = {quant_context_new(NULL), NULL, NULL};
    quant_compare_options o = {.schemes = schemes, .scheme_count = n, .tensors = tensors};
    CHECK_OK(s.ctx, quant_bank_open(s.ctx, path, &s.bank));
    CHECK_OK(s.ctx, quant_compare(s.ctx, s.bank, &o, &s.r));
    CU_ASSERT_PTR_NOT_NULL_FATAL(s.r);
    return s;
}

static const quant_compare_row *row_of(const quant_compare_result *r, const char *name, size_t c)
{
    for (size_t i = 0; i < r->row_count; i++) {
        if (r->rows[i].scheme == c && strcmp(r->rows[i].name, name) == 0) {
            return &r->rows[i];
        }
    }
    return NULL;
}

/* ---- nothing is left out -------------------------------------------------------------------- */

static void every_matrix_is_measured(const char *path, const char *list)
{
    quant_scheme schemes[MOST];
    size_t n = parse_list(list, schemes), matrices = 0;
    study s = study_of(path, NULL, schemes, n);
    for (size_t t = 0; t < quant_bank_count(s.bank); t++) {
        const quant_tensor *tensor = quant_bank_tensor(s.bank, t);
        bool matrix = tensor->shape.rank >= 2 && tensor->elements > 0 &&
                      quant_dtype_is_float(tensor->dtype);
        matrices += matrix;
        for (size_t c = 0; c < n; c++) {
            const quant_compare_row *row = row_of(s.r, tensor->name, c);
            CU_ASSERT_EQUAL(row != NULL, matrix);
            CU_ASSERT(!row || (row->weight.n == tensor->elements && isfinite(row->weight.err2) &&
                               quant_cosine(&row->weight) > 0));
        }
    }
    CU_ASSERT(matrices > 0);
    CU_ASSERT_EQUAL(s.r->row_count, matrices * n);
    CU_ASSERT_EQUAL(s.r->kept_count, quant_bank_count(s.bank) - matrices);
    CU_ASSERT_EQUAL(s.r->refused_count, 0);
    study_end(&s);
}

/* Channel counts that no group divides, rows shorter than a block, rank 3: all have rows. */
static void no_matrix_is_skipped(void)
{
    static const char *const banks[] = {
        "stories260k", "stories260k/stories260Ktok512.gguf",
        "silero-vad/silero_vad_16k.safetensors", "ani-2x/ani-2x-ensemble0.safetensors"};
    static const char more[] = "f16;int2:channel;int3:block=32;int4:channel,asym;int8:channel,asym;"
                               "int2:tensor,range=full;int8:block=100,axis=-1;lut1:group=32;"
                               "lut6:group=7;lut8:group=32;lut8:tensor;lut4:tensor,mode=uniform";
    for (size_t b = 0; b < sizeof banks / sizeof *banks; b++) {
        const char *path = test_bank_path(banks[b]);
        if (path) {
            every_matrix_is_measured(path, quant_scheme_default_list());
            every_matrix_is_measured(path, more);
        }
    }
}

/* ---- two files, the same weights ------------------------------------------------------------ */

/* The two formats order the rows of queries and keys differently: within a head, so that every
 * group of whole heads (8 rows) holds the same weights. */
static const struct {
    const char *gguf, *safetensors;
    bool permuted;
} parts[] = {
    {"attn_q", "self_attn.q_proj", true},  {"attn_k", "self_attn.k_proj", true},
    {"attn_v", "self_attn.v_proj", false}, {"attn_output", "self_attn.o_proj", false},
    {"ffn_gate", "mlp.gate_proj", false},  {"ffn_up", "mlp.up_proj", false},
    {"ffn_down", "mlp.down_proj", false},
};
enum { PARTS = sizeof parts / sizeof *parts, LAYERS = 5 };

static bool near(double a, double b, double bound)
{
    return fabs(a - b) <= bound * fmax(fabs(a), fabs(b));
}

/* All that counts is equal; sums are equal to the bit in the same order, else to their rounding. */
static void expect_same(const quant_compare_row *a, const quant_compare_row *b, bool permuted)
{
    const quant_fidelity *f = &a->weight, *g = &b->weight;
    double bound = permuted ? 2 * quant_fidelity_bound(f->n) : 0;
    CU_ASSERT_EQUAL(f->n, g->n);
    CU_ASSERT(near(f->ref2, g->ref2, bound) && near(f->got2, g->got2, bound));
    CU_ASSERT(near(f->dot, g->dot, bound) && near(f->err2, g->err2, bound));
    CU_ASSERT_EQUAL(f->max_abs, g->max_abs);
    CU_ASSERT(permuted || f->max_index == g->max_index);
    CU_ASSERT_EQUAL(a->stored_bytes, b->stored_bytes);
    CU_ASSERT_EQUAL(a->info.saturated, b->info.saturated);
    CU_ASSERT_EQUAL(a->info.zero_codes, b->info.zero_codes);
    CU_ASSERT_EQUAL(a->info.distinct_codes, b->info.distinct_codes);
    CU_ASSERT_EQUAL(a->info.raised_scales, b->info.raised_scales);
}

/* Tensors differ in their order in the two files, hence pools in the order of their sums. */
static void expect_same_pool(const quant_compare_summary *a, const quant_compare_summary *b)
{
    double bound = 2 * quant_fidelity_bound(a->weight.n) + PARTS * LAYERS * 0x1p-52;
    CU_ASSERT(a->tensors == PARTS * LAYERS && b->tensors == a->tensors);
    CU_ASSERT_EQUAL(a->elements, b->elements);
    CU_ASSERT_EQUAL(a->stored_bytes, b->stored_bytes);
    CU_ASSERT_EQUAL(a->bank_bytes, b->bank_bytes);
    CU_ASSERT(near(a->weight.ref2, b->weight.ref2, bound));
    CU_ASSERT(near(a->weight.err2, b->weight.err2, bound));
    CU_ASSERT(near(a->cosine_worst, b->cosine_worst, 4 * 0x1p-53));
    CU_ASSERT(a->saturated == b->saturated && a->zero_codes == b->zero_codes);
}

static void gguf_and_safetensors_score_the_same(void)
{
    static const char list[] = "f16;bf16;int8:tensor;int8:channel;int4:block=32;int3:block=8,asym;"
                               "int2:channel;int4:channel,scale=mse;lut4:group=32;lut3:group=8;"
                               "lut2:tensor;lut6:tensor,mode=uniform";
    quant_scheme schemes[MOST];
    size_t n = parse_list(list, schemes);
    const char *path = test_bank_path("stories260k/stories260Ktok512.gguf");
    if (!path) {
        return;
    }
    study g = study_of(path, "blk.*", schemes, n);
    study s = study_of(test_bank_path("stories260k"), "model.layers.*", schemes, n);
    CU_ASSERT(g.r->row_count == PARTS * LAYERS * n && s.r->row_count == g.r->row_count);
    for (size_t i = 0; i < PARTS * LAYERS * n; i++) {
        size_t part = i / n / LAYERS, layer = i / n % LAYERS;
        char name[2][96];
        snprintf(name[0], sizeof name[0], "blk.%zu.%s.weight", layer, parts[part].gguf);
        snprintf(name[1], sizeof name[1], "model.layers.%zu.%s.weight", layer,
                 parts[part].safetensors);
        const quant_compare_row *a = row_of(g.r, name[0], i % n), *b = row_of(s.r, name[1], i % n);
        CU_ASSERT_FATAL(a && b);
        expect_same(a, b, parts[part].permuted);
    }
    for (size_t c = 0; c < n; c++) {
        expect_same_pool(&g.r->summary[c], &s.r->summary[c]);
    }
    study_end(&g);
    study_end(&s);
}

TEST_SUITE(banks_agree, {"no matrix is skipped", no_matrix_is_skipped},
           {"GGUF and safetensors score the same", gguf_and_safetensors_score_the_same})
