/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_twin.c - the rescaled model computes the same bytes, and is harder to quantize. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/twin.h"
#include "quant/fidelity.h"
#include "quant/model/forward.h"
#include "tests/golden.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

#define MAKE_TWIN "\"$(dirname \"$QUANT\")/make_twin\" "

static quant_context *ctx;

/* The twin of m, opened; its folder keeps the files of the second model. */
static quant_model *twin_of(tiny_model *m, quant_model *model, const twin_options *options,
                            twin_result *result, char folder[256])
{
    quant_model *twin = NULL;
    char own[256];
    snprintf(folder, 256, "%s", scratch_folder("twin"));
    snprintf(own, sizeof own, "%s", m->folder);
    CHECK_OK(ctx, twin_write(ctx, model, options, scratch_join(folder, "model.safetensors"),
                             result));
    snprintf(m->folder, sizeof m->folder, "%s", folder);
    tiny_config(m, "");
    snprintf(m->folder, sizeof m->folder, "%s", own);
    CHECK_OK(ctx, quant_model_open(ctx, folder, &twin));
    return twin;
}

static void one_case(uint64_t k)
{
    enum { LENGTH = 12 };
    draw d = draw_begin("twin", k);
    tiny_model *m = tiny_draw(ctx, &d, draw_int(&d, 0, 1));
    quant_model *model = NULL;
    twin_result result = {0, 0, 0, 0};
    char folder[256];
    int64_t ids[LENGTH];
    size_t n = LENGTH * (size_t)m->vocab;
    float *want = calloc(2 * n, sizeof *want), *got = want + n;
    const twin_options options = {draw_uniform(&d) * 3, (uint64_t)k,
                                  (unsigned)draw_int(&d, 1, TWIN_ALL)};
    for (int i = 0; i < LENGTH; i++) {
        ids[i] = draw_int(&d, 0, m->vocab - 1);
    }
    CHECK_OK(ctx, quant_model_open(ctx, m->folder, &model));
    quant_model *twin = twin_of(m, model, &options, &result, folder);
    const quant_forward_variant v[2] = {{.logits = want}, {.logits = got}};
    const quant_tokens tokens = {ids, 1, LENGTH};
    CHECK_OK(ctx, quant_forward_run(ctx, model, &tokens, &v[0], 1, NULL));
    CHECK_OK(ctx, quant_forward_run(ctx, twin, &tokens, &v[1], 1, NULL));
    if (memcmp(want, got, n * sizeof *want) != 0) {
        test_failed_case(k, "moves %u, spread %g: other logits", options.moves, options.spread);
    }
    free(want);
    quant_model_close(ctx, model);
    quant_model_close(ctx, twin);
    tiny_free(m);
}

/* Every combination of moves, tied and not, with experts and without. */
static void twins_compute_the_same_bytes(void)
{
    ctx = quant_context_new(NULL);
    uint64_t last = test_last_case() < test_first_case() + 200 ? test_last_case()
                                                               : test_first_case() + 200;
    for (uint64_t k = test_first_case(); k < last; k++) {
        one_case(k);
    }
    quant_context_free(ctx);
}

/* Is the twin of a net under tests/golden the same function? */
static bool net_is_the_same(const char *net, unsigned moves)
{
    char from[128], folder[256];
    quant_model *m[2] = {NULL, NULL};
    float *logits[2];
    size_t n = 0;
    twin_result result;
    snprintf(from, sizeof from, "tests/golden/%s", net);
    snprintf(folder, sizeof folder, "%s", scratch_folder(net));
    char *config = scratch_get(scratch_join(from, "config.json"), &n);
    scratch_put(scratch_join(folder, "config.json"), config, n);
    golden g = golden_read(ctx, scratch_join(from, "golden.npz"));
    CHECK_OK(ctx, quant_model_open(ctx, from, &m[0]));
    CHECK_OK(ctx, twin_write(ctx, m[0], &(twin_options){1.5, 1, moves},
                             scratch_join(folder, "model.safetensors"), &result));
    CHECK_OK(ctx, quant_model_open(ctx, folder, &m[1]));
    for (int i = 0; i < 2; i++) {
        logits[i] = calloc(g.logits_count, sizeof(float));
        const quant_forward_variant v = {.logits = logits[i]};
        CHECK_OK(ctx, quant_forward_run(ctx, m[i], &(quant_tokens){g.ids, g.n, g.s}, &v, 1, NULL));
        quant_model_close(ctx, m[i]);
    }
    bool same = memcmp(logits[0], logits[1], g.logits_count * sizeof(float)) == 0;
    free(config);
    free(logits[0]);
    free(logits[1]);
    golden_free(&g);
    return same && result.moved > 0;
}

/* The same for what transformers saves: experts apart and in one stack, head norms or none. */
static void other_architectures_compute_the_same_bytes(void)
{
    static const char *const nets[] = {"llama", "llama3_rope", "qwen3", "qwen3_moe", "mixtral",
                                       "mixtral_stacked", "gemma2", "gemma3"};
    ctx = quant_context_new(NULL);
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        bool one_plus = strncmp(nets[i], "gemma", 5) == 0;
        for (unsigned move = 1; move <= TWIN_ALL; move = move == TWIN_KEYS ? TWIN_ALL : 2 * move) {
            if (!one_plus || move == TWIN_VALUES || move == TWIN_INNER) {
                CU_ASSERT(net_is_the_same(nets[i], move));
            }
            if (move == TWIN_ALL) {
                break;
            }
        }
    }
    quant_context_free(ctx);
}

/* ---- the trained model ---------------------------------------------------------------------- */

typedef struct trained {
    golden g;
    quant_model *model, *twin;
} trained;

/* The bundled model and its twin by the command line; NULL models after a noted failure. */
static trained trained_new(const char *options)
{
    trained t = {.model = NULL};
    char folder[256];
    ctx = quant_context_new(NULL);
    quant_context_set_threads(ctx, 2);
    snprintf(folder, sizeof folder, "%s", scratch_folder("moe_twin"));
    run_result r = run_shell(MAKE_TWIN "data/moe -o '%s' %s", folder, options);
    CU_ASSERT_EQUAL(r.status, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "of 410 tensors rescaled by 2^-"));
    run_free(&r);
    t.g = golden_read(ctx, "data/moe/golden.npz");
    CHECK_OK(ctx, quant_model_open(ctx, "data/moe", &t.model));
    CHECK_OK(ctx, quant_model_open(ctx, folder, &t.twin));
    CU_ASSERT_FATAL(t.model && t.twin && t.g.ids);
    return t;
}

static void trained_free(trained *t)
{
    golden_free(&t->g);
    quant_model_close(ctx, t->model);
    quant_model_close(ctx, t->twin);
    quant_context_free(ctx);
}

typedef struct choice {
    quant_scheme scheme;
    const char *part; /* of the names of tensors that are quantized; NULL: all */
} choice;

static const quant_scheme *choose(void *user, const quant_tensor *t)
{
    const choice *c = user;
    return !c->part || strstr(t->name, c->part) ? &c->scheme : NULL;
}

/* Logits of the first `sequences` golden sequences. */
static float *logits_of(quant_model *model, const trained *t, size_t sequences, const char *scheme,
                        const char *part)
{
    choice c = {.part = part};
    size_t vocab = (size_t)quant_model_sizes_of(model)->vocab;
    float *out = calloc(sequences * t->g.s * vocab, sizeof *out);
    quant_forward_variant v = {.logits = out, .user = &c};
    if (scheme) {
        CHECK_OK(ctx, quant_scheme_parse(ctx, scheme, &c.scheme));
        v.scheme = choose;
    }
    CHECK_OK(ctx, quant_forward_run(ctx, model, &(quant_tokens){t->g.ids, sequences, t->g.s}, &v,
                                    1, NULL));
    return out;
}

static void trained_twin_is_the_same_function(void)
{
    trained t = trained_new("--spread 1.5");
    size_t vocab = 256, rows = t.g.n * t.g.s;
    float *own = logits_of(t.model, &t, t.g.n, NULL, NULL);
    float *got = logits_of(t.twin, &t, t.g.n, NULL, NULL);
    double worst = 0;
    for (size_t r = 0; r < rows; r++) {
        quant_fidelity f = quant_fidelity_f32(NULL, t.g.logits + r * vocab, got + r * vocab, vocab);
        double e = quant_relative_error(&f);
        worst = e > worst || isnan(e) ? e : worst;
    }
    printf("\n    twin against the float64 logits: relative error %.2g ", worst);
    CU_ASSERT(worst <= 1e-5);
    CU_ASSERT_EQUAL(memcmp(own, got, rows * vocab * sizeof *own), 0);
    free(own);
    free(got);
    trained_free(&t);
}

/* Relative error of all logits of one sequence. */
static double loss(quant_model *model, const trained *t, const char *scheme, const char *part)
{
    size_t n = t->g.s * 256;
    float *clean = logits_of(model, t, 1, NULL, NULL), *got = logits_of(model, t, 1, scheme, part);
    quant_fidelity f = quant_fidelity_f32(NULL, clean, got, n);
    free(clean);
    free(got);
    return quant_relative_error(&f);
}

/* A scale for each row does not see that rows were rescaled by powers of two, one for each column
 * not that columns were; the other way round both do, and one scale for a matrix sees everything.
 * v has rescaled rows, o rescaled columns when only values move. */
static void scales_see_what_they_share(void)
{
    static const struct {
        const char *scheme, *part;
        bool blind;
    } rows[] = {
        {"int8:channel", "v_proj", true},         {"int8:channel", "o_proj", false},
        {"int8:channel,axis=1", "v_proj", false}, {"int8:channel,axis=1", "o_proj", true},
        {"int8:tensor", "v_proj", false},         {"int8:tensor", "o_proj", false},
        {"int4:block=32", "v_proj", true},        {"int4:block=32", "o_proj", false},
        {"bf16", "_proj", true},
    };
    trained t = trained_new("--spread 1.5 --moves values");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double before = loss(t.model, &t, rows[i].scheme, rows[i].part);
        double after = loss(t.twin, &t, rows[i].scheme, rows[i].part);
        printf("\n    %s of %s: %.2g, twin %.2g ", rows[i].scheme, rows[i].part, before, after);
        CU_ASSERT(rows[i].blind ? before == after : after > 2 * before);
    }
    trained_free(&t);
}

/* All moves: one scale for a matrix loses the model, one for each row does not yet; the pooled
 * weight error would not have told. */
static void one_scale_collapses(void)
{
    trained t = trained_new("");
    double before = loss(t.model, &t, "int8:tensor,stack=1", NULL);
    double tensor = loss(t.twin, &t, "int8:tensor,stack=1", NULL);
    double channel = loss(t.twin, &t, "int8:channel,stack=1", NULL);
    printf("\n    logits, int8:tensor %.2g; of the twin %.2g, int8:channel %.2g ", before, tensor,
           channel);
    CU_ASSERT(before < 0.03 && tensor > 10 * before && tensor > 0.25);
    CU_ASSERT(channel < tensor / 2 && channel > before);
    trained_free(&t);
}

/* ---- the command ---------------------------------------------------------------------------- */

static void expect_refused(int status, const char *err, const char *line)
{
    run_result r = run_shell(MAKE_TWIN "%s", line);
    CU_ASSERT_EQUAL(r.status, status);
    CU_ASSERT_EQUAL(r.out_bytes, 0);
    if (!strstr(r.err, err) || strchr(r.err, '\n') != r.err + r.err_bytes - 1) {
        CU_FAIL("message");
        fprintf(stderr, "    %s: %s", line, r.err);
    }
    run_free(&r);
}

static void command_refuses(void)
{
    expect_refused(2, "-o FOLDER", "data/moe");
    expect_refused(2, "--moves: expected some of norms,values,inner,keys, found \"norms,\"",
                   "data/moe -o x --moves norms,");
    expect_refused(2, "--spread: expected 0..8, found \"nan\"", "data/moe -o x --spread nan");
    expect_refused(2, "--seed: expected 0..2^64-1, found \"-1\"", "data/moe -o x --seed -1");
    expect_refused(2, "--sead: expected an option", "data/moe -o x --sead 1");
    expect_refused(5, "config.json", "data -o x");
    expect_refused(4, "only values and inner move", "tests/golden/gemma2 -o /dev/null");
    expect_refused(5, "/dev/null", "data/moe -o /dev/null");
}

/* With spread 0 nothing moves: zero error passes any gate in decibels. */
static void seed_and_spread_decide_the_bytes(void)
{
    static const char *const options[] = {"", "--seed 1 --spread 1.5", "--seed 2", "--spread 0"};
    char *bytes[4], folder[256];
    size_t n[4];
    for (int i = 0; i < 4; i++) {
        snprintf(folder, sizeof folder, "%s", scratch_folder("bytes"));
        run_result r = run_shell(MAKE_TWIN "data/moe -o '%s' %s", folder, options[i]);
        CU_ASSERT_EQUAL(r.status, 0);
        run_free(&r);
        bytes[i] = scratch_get(scratch_join(folder, "model.safetensors"), &n[i]);
        CU_ASSERT_PTR_NOT_NULL_FATAL(bytes[i]);
    }
    CU_ASSERT(n[0] == n[1] && memcmp(bytes[0], bytes[1], n[0]) == 0);
    CU_ASSERT(n[0] != n[2] || memcmp(bytes[0], bytes[2], n[0]) != 0);
    run_result r = run_shell("\"$QUANT\" compare data/moe --against '%s' --gate 'sqnr_db>=900' "
                             "--quiet", folder);
    CU_ASSERT_EQUAL(r.status, 0);
    run_free(&r);
    for (int i = 0; i < 4; i++) {
        free(bytes[i]);
    }
}

/* An element at the edge of the normal numbers of its type cannot be halved. */
static void inexact_results_are_refused(void)
{
    ctx = quant_context_new(NULL);
    draw d = draw_begin("inexact", 0);
    tiny_model *m = tiny_draw(ctx, &d, false);
    quant_model *model = NULL;
    twin_result result;
    m->t[1].w[0] = 1e-38f; /* f32 itself: 2^-1 of it is below the normal numbers */
    tiny_weights(ctx, m, SIZE_MAX);
    CHECK_OK(ctx, quant_model_open(ctx, m->folder, &model));
    const char *path = test_scratch_path("inexact.safetensors");
    quant_status s = QUANT_OK;
    for (uint64_t seed = 1; s == QUANT_OK && seed < 20; seed++) {
        s = twin_write(ctx, model, &(twin_options){8, seed, TWIN_NORMS}, path, &result);
    }
    CU_ASSERT_EQUAL(s, QUANT_ERANGE);
    CU_ASSERT_PTR_NOT_NULL(strstr(quant_context_message(ctx), "exact in F32, element 0"));
    quant_model_close(ctx, model);
    tiny_free(m);
    quant_context_free(ctx);
}

TEST_SUITE(twin, {"a twin computes the same bytes", twins_compute_the_same_bytes},
           {"so do those of other architectures", other_architectures_compute_the_same_bytes},
           {"the trained model's too, at every position", trained_twin_is_the_same_function},
           {"rows, columns, tensors: scales see what they share", scales_see_what_they_share},
           {"one scale for a matrix loses the twin", one_scale_collapses},
           {"the command refuses by name", command_refuses},
           {"seed and spread decide the bytes", seed_and_spread_decide_the_bytes},
           {"what is not exact is refused", inexact_results_are_refused})
