/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_cli_forward.c - quant forward as a user runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/model/forward.h"
#include "tests/bytes.h"
#include "tests/golden.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

enum { N = 2, S = 5 };

/* A model with [2, 5] tokens as an .npy beside it. */
typedef struct rig {
    quant_context *ctx;
    tiny_model *tiny;
    int64_t ids[N * S];
    char tokens[512], out[512];
} rig;

static void put_tokens(rig *r, const char *shape, const char *type, int width)
{
    bytes b = {NULL, 0, 0};
    char literal[128];
    snprintf(literal, sizeof literal, "{'descr': '%s', 'fortran_order': False, 'shape': %s, }",
             type, shape);
    bytes_npy(&b, 1, 0, literal, strlen(literal), 0);
    for (size_t i = 0; i < N * S; i++) {
        bytes_number(&b, (uint64_t)r->ids[i], width);
    }
    snprintf(r->tokens, sizeof r->tokens, "%s", bytes_save(&b, "ids.npy"));
    bytes_free(&b);
}

static rig rig_new(void)
{
    rig r = {.ctx = quant_context_new(NULL)};
    draw d = draw_begin("forward", 0);
    r.tiny = tiny_draw(r.ctx, &d, false);
    for (size_t i = 0; i < N * S; i++) {
        r.ids[i] = draw_int(&d, 0, r.tiny->vocab - 1);
    }
    put_tokens(&r, "(2, 5)", "<i4", 4);
    snprintf(r.out, sizeof r.out, "%s", test_scratch_path("forward.npz"));
    remove(r.out);
    return r;
}

static void rig_free(rig *r)
{
    tiny_free(r->tiny);
    quant_context_free(r->ctx);
}

/* The command's arrays are those of the library, bit for bit. */
static void writes_what_the_library_says(void)
{
    rig r = rig_new();
    quant_bank *bank = NULL;
    quant_model *model = NULL;
    size_t n = 0, vocab = (size_t)r.tiny->vocab;
    float *want = malloc(N * S * vocab * sizeof *want);
    quant_forward_variant v = {.logits = want};
    run_result p = run_shell("\"$QUANT\" forward %s --tokens %s -o %s --hidden", r.tiny->folder,
                             r.tokens, r.out);
    CU_ASSERT_EQUAL(p.status, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(p.out, "2 sequences of 5 tokens"));
    CHECK_OK(r.ctx, quant_model_open(r.ctx, r.tiny->folder, &model));
    CHECK_OK(r.ctx, quant_forward_run(r.ctx, model, &(quant_tokens){r.ids, N, S}, &v, 1, NULL));
    CHECK_OK(r.ctx, quant_bank_open(r.ctx, r.out, &bank));
    if (bank) {
        int64_t *ids = golden_integers(r.ctx, bank, "tokens", &n);
        CU_ASSERT(n == N * S && memcmp(ids, r.ids, sizeof r.ids) == 0);
        float *got = golden_floats(r.ctx, bank, "logits_full", &n);
        CU_ASSERT(n == N * S * vocab && memcmp(got, want, n * sizeof *got) == 0);
        float *hidden = golden_floats(r.ctx, bank, "hidden", &n);
        CU_ASSERT_EQUAL(n, (size_t)(r.tiny->layers + 1) * N * S * (size_t)r.tiny->width);
        const float *row = r.tiny->t[0].w + r.ids[3] * r.tiny->width;
        CU_ASSERT_EQUAL(memcmp(hidden + 3 * r.tiny->width, row,
                               (size_t)r.tiny->width * sizeof *row), 0);
        free(ids);
        free(got);
        free(hidden);
    }
    quant_bank_close(r.ctx, bank);
    quant_model_close(r.ctx, model);
    run_free(&p);
    free(want);
    rig_free(&r);
}

static void options_change_what_they_say(void)
{
    rig r = rig_new();
    static const char *const options[] = {"", "--threads 2", "--scheme int4:block=32",
                                          "--compute bf16", "--compute f16", "--decode 2"};
    size_t counts[6];
    char *files[6];
    for (int i = 0; i < 6; i++) {
        run_result p = run_shell("\"$QUANT\" forward %s --tokens %s -o %s --force -q %s",
                                 r.tiny->folder, r.tokens, r.out, options[i]);
        CU_ASSERT_EQUAL(p.status, 0);
        CU_ASSERT(p.out_bytes == 0 && p.err_bytes == 0);
        run_free(&p);
        files[i] = scratch_get(r.out, &counts[i]);
    }
    for (int i = 1; i < 6; i++) {
        bool same = counts[i] == counts[0] && memcmp(files[i], files[0], counts[0]) == 0;
        CU_ASSERT_EQUAL(same, i == 1);
    }
    for (int i = 0; i < 6; i++) {
        free(files[i]);
    }
    rig_free(&r);
}

static void some_sequences_are_those(void)
{
    rig r = rig_new();
    quant_bank *bank = NULL;
    size_t n = 0, m = 0;
    run_result whole = run_shell("\"$QUANT\" forward %s --tokens %s -o %s -q", r.tiny->folder,
                                 r.tokens, r.out);
    CU_ASSERT_EQUAL(whole.status, 0);
    CHECK_OK(r.ctx, quant_bank_open(r.ctx, r.out, &bank));
    float *all = golden_floats(r.ctx, bank, "logits_full", &n);
    quant_bank_close(r.ctx, bank);
    run_result part = run_shell("\"$QUANT\" forward %s --tokens %s -o %s -q --force "
                                "--sequences 1..1", r.tiny->folder, r.tokens, r.out);
    CU_ASSERT_EQUAL(part.status, 0);
    CHECK_OK(r.ctx, quant_bank_open(r.ctx, r.out, &bank));
    float *second = golden_floats(r.ctx, bank, "logits_full", &m);
    int64_t *ids = golden_integers(r.ctx, bank, "tokens", &m);
    quant_bank_close(r.ctx, bank);
    CU_ASSERT(m == S && memcmp(ids, r.ids + S, S * sizeof *ids) == 0);
    quant_fidelity f = quant_fidelity_f32(r.ctx, all + n / 2, second, n / 2);
    CU_ASSERT(quant_relative_error(&f) < 1e-5);
    free(all);
    free(second);
    free(ids);
    run_free(&whole);
    run_free(&part);
    rig_free(&r);
}

static void lines_are_refused(void)
{
    rig r = rig_new();
    static const struct {
        const char *arguments, *says;
        int status;
    } rows[] = {{"$M --tokens $T", "-o", 2},
                {"$M -o $O", "--tokens", 2},
                {"$M --tokens $T -o $O --scheme int99", "--scheme", 2},
                {"$M --tokens $T -o $O --compute f64", "--compute", 2},
                {"$M --tokens $T -o $O --sequences 1..2", "some of 0..1", 3},
                {"$M --tokens $T -o $O --sequences 2..1", "FIRST..LAST", 2},
                {"$M/no --tokens $T -o $O", "/no", 5},
                {"$M --tokens $T.no -o $O", "ids.npy.no", 5},
                {"$T --tokens $T -o $O", "safetensors or GGUF", 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        run_result p = run_shell("M=%s T=%s O=%s; \"$QUANT\" forward %s", r.tiny->folder,
                                 r.tokens, r.out, rows[i].arguments);
        CU_ASSERT_EQUAL(p.status, rows[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(p.err, rows[i].says));
        run_free(&p);
    }
    rig_free(&r);
}

static void tokens_are_refused(void)
{
    rig r = rig_new();
    const struct {
        int64_t id;
        const char *shape, *type, *says;
        int width, status;
    } bad[] = {{r.tiny->vocab, "(2, 5)", "<i4", "position 2", 4, 3},
               {-1, "(2, 5)", "<i8", "position 2", 8, 3},
               {0, "(2, 5, 1)", "<i4", "[n, s]", 4, 3},
               {0, "(2, 5)", "<f4", "integers", 4, 3},
               {0, "(10,)", "<i4", "", 4, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r.ids[7] = bad[i].id;
        put_tokens(&r, bad[i].shape, bad[i].type, bad[i].width);
        run_result p = run_shell("\"$QUANT\" forward %s --tokens %s -o %s", r.tiny->folder,
                                 r.tokens, r.out);
        size_t count;
        CU_ASSERT_EQUAL(p.status, bad[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(p.err, bad[i].says));
        char *left = scratch_get(r.out, &count);
        CU_ASSERT((left != NULL) == (bad[i].status == 0));
        free(left);
        run_free(&p);
    }
    remove(r.out);
    rig_free(&r);
}

TEST_SUITE(cli_forward, {"arrays of the command are those of the library",
                         writes_what_the_library_says},
           {"options change what they say and nothing else", options_change_what_they_say},
           {"some sequences are those of the tokens", some_sequences_are_those},
           {"what cannot be run is refused", lines_are_refused},
           {"tokens that cannot be are refused, and nothing is left", tokens_are_refused})
