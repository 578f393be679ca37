/* SPDX-License-Identifier: GPL-3.0-or-later */
/* --importance: a bank that says what each weight counts; what fits, what is refused, what for. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/importance.h"
#include "quant/bank/packed.h"
#include "tests/draw.h"
#include "tests/given.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"

enum { ROWS = 24, COLUMNS = 32, N = ROWS * COLUMNS };

static float weights[N], shared[COLUMNS], own[N];

/* Matrices a, b, c of the same values, larger in four columns; importance of a as a vector [in], of
 * b element by element. What counts has another distribution than the rest. */
static void make_banks(const char *bank, const char *importance)
{
    draw d = draw_begin("importance file", 0);
    for (int i = 0; i < N; i++) {
        weights[i] = (float)(draw_normal(&d) * (i % COLUMNS < 4 ? 3.0 : 1.0));
        own[i] = fabsf(weights[i]) > 1.5f ? 50.0f : 0.5f;
    }
    for (int i = 0; i < COLUMNS; i++) {
        shared[i] = (float)(i < 4 ? 100.0 : 1.0);
    }
    given w[] = {{{"a", QUANT_F32, {2, {ROWS, COLUMNS}}}, weights, sizeof weights},
                 {{"b", QUANT_F32, {3, {2, ROWS / 2, COLUMNS}}}, weights, sizeof weights},
                 {{"c", QUANT_F32, {2, {ROWS, COLUMNS}}}, weights, sizeof weights}};
    given v[] = {{{"a", QUANT_F32, {1, {COLUMNS}}}, shared, sizeof shared},
                 {{"b", QUANT_F32, {3, {2, ROWS / 2, COLUMNS}}}, own, sizeof own}};
    given_bank(bank, w, 3, NULL, 0);
    given_bank(importance, v, 2, NULL, 0);
}

static void vectors_are_shared_by_rows(void)
{
    const char *folder = scratch_folder("importance");
    const char *w = scratch_join(folder, "w"), *v = scratch_join(folder, "v");
    quant_bank *bank = NULL, *importance = NULL;
    float out[N];
    bool found = false;
    make_banks(w, v);
    CHECK_OK(NULL, quant_bank_open(NULL, w, &bank));
    CHECK_OK(NULL, quant_bank_open(NULL, v, &importance));
    CHECK_OK(NULL, quant_importance_check(NULL, importance, bank));
    for (size_t i = 0; i < 3; i++) {
        const quant_tensor *t = quant_bank_tensor(bank, i);
        CHECK_OK(NULL, quant_importance_read(NULL, importance, t, out, &found));
        CU_ASSERT_EQUAL(found, t->name[0] != 'c');
        for (int k = 0; found && k < N; k++) {
            CU_ASSERT_EQUAL(out[k], t->name[0] == 'a' ? shared[k % COLUMNS] : own[k]);
        }
    }
    quant_bank_close(NULL, importance);
    quant_bank_close(NULL, bank);
}

static void what_does_not_fit_is_refused(void)
{
    static const float good[N], bad[4] = {1, 2, -1e-30f, 3}, none[4] = {1, NAN, 1, 1};
    static const float huge[4] = {1, 2, 3, INFINITY};
    static const unsigned char bytes[N];
    static const struct {
        given g;
        quant_status want;
        const char *says;
    } rows[] = {
        {{{"z", QUANT_F32, {1, {4}}}, good, 16}, QUANT_EFIELD, "tensor z: importance: expected a"},
        {{{"w", QUANT_F32, {2, {4, 3}}}, good, 48}, QUANT_ESHAPE, "tensor w"},
        {{{"w", QUANT_F32, {1, {3}}}, good, 12}, QUANT_ESHAPE, "last axis"},
        {{{"w", QUANT_F32, {2, {1, 4}}}, good, 16}, QUANT_ESHAPE, "rank 2"},
        {{{"v", QUANT_F32, {1, {1}}}, good, 4}, QUANT_ESHAPE, "tensor v"},
        {{{"w", QUANT_U8, {1, {4}}}, bytes, 4}, QUANT_EDTYPE, "found U8"},
        {{{"w", QUANT_F32, {1, {4}}}, bad, 16}, QUANT_ERANGE, "index 2"},
        {{{"w", QUANT_F32, {1, {4}}}, none, 16}, QUANT_ERANGE, "index 1"},
        {{{"w", QUANT_F32, {1, {4}}}, huge, 16}, QUANT_ERANGE, "index 3"},
        {{{"w", QUANT_F32, {1, {4}}}, good, 16}, QUANT_OK, ""},
        {{{"w", QUANT_F16, {2, {3, 4}}}, bytes, 24}, QUANT_OK, ""}};
    const char *folder = scratch_folder("misfits");
    const char *w = scratch_join(folder, "w"), *v = scratch_join(folder, "v");
    given g[] = {{{"w", QUANT_F32, {2, {3, 4}}}, good, 48}, {{"v", QUANT_F32, {1, {4}}}, good, 16}};
    given_bank(w, g, 2, NULL, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        quant_context *ctx = quant_context_new(NULL);
        quant_bank *bank = NULL, *importance = NULL;
        given_bank(v, &rows[i].g, 1, NULL, 0);
        CHECK_OK(ctx, quant_bank_open(ctx, w, &bank));
        CHECK_OK(ctx, quant_bank_open(ctx, v, &importance));
        CU_ASSERT_EQUAL(quant_importance_check(ctx, importance, bank), rows[i].want);
        if (!strstr(quant_context_message(ctx), rows[i].says)) {
            test_failed_case(i, "%s", quant_context_message(ctx));
            CU_FAIL("the message does not say what is wrong");
        }
        quant_bank_close(ctx, importance);
        quant_bank_close(ctx, bank);
        quant_context_free(ctx);
    }
}

/* Weighted squared error of tensor `name` of a packed bank. */
static double weighted_error(const char *packed_path, const char *name, const float *importance)
{
    quant_bank *bank = NULL;
    quant_packed *packed = NULL;
    float y[N];
    double sum = -1;
    CHECK_OK(NULL, quant_bank_open(NULL, packed_path, &bank));
    CHECK_OK(NULL, quant_packed_open(NULL, bank, &packed));
    for (size_t i = 0; i < quant_packed_count(packed); i++) {
        const quant_packed_tensor *t = quant_packed_tensor_at(packed, i);
        if (strcmp(t->name, name) == 0) {
            void *buffer = malloc(t->layout.bytes);
            CHECK_OK(NULL, quant_packed_read(NULL, packed, i, buffer));
            CHECK_OK(NULL, quant_decode(NULL, &t->scheme, &t->shape, buffer, t->layout.bytes, y));
            sum = 0;
            for (int k = 0; k < N; k++) {
                double e = (double)weights[k] - (double)y[k];
                sum += (double)importance[name[0] == 'a' ? k % COLUMNS : k] * e * e;
            }
            free(buffer);
        }
    }
    quant_packed_close(NULL, packed);
    quant_bank_close(NULL, bank);
    return sum;
}

static void encode_spends_entries_where_they_count(void)
{
    static const char *const schemes[] = {"lut3:group=8", "lut3:group=8,lut=int8",
                                          "lut4:group=8,dim=2", "lut3:tensor,pcs"};
    const char *folder = scratch_folder("spend");
    const char *w = scratch_join(folder, "w"), *v = scratch_join(folder, "v");
    const char *plain = scratch_join(folder, "p"), *weighed = scratch_join(folder, "q");
    make_banks(w, v);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        run_result r = run_shell("\"$QUANT\" encode '%s' -o '%s' --scheme %s --force && \"$QUANT\" "
                                 "encode '%s' -o '%s' --scheme %s --force --importance '%s'", w,
                                 plain, schemes[i], w, weighed, schemes[i], v);
        CU_ASSERT_EQUAL_FATAL(r.status, 0);
        run_free(&r);
        CU_ASSERT(weighted_error(weighed, "a", shared) < 0.9 * weighted_error(plain, "a", shared));
        CU_ASSERT(weighted_error(weighed, "b", own) < 0.9 * weighted_error(plain, "b", own));
        static const float ones[N] = {1.0f}; /* c is not named: nothing changes */
        CU_ASSERT_EQUAL(weighted_error(weighed, "c", ones), weighted_error(plain, "c", ones));
    }
}

/* Weighted squared error of w under a scheme that may or may not be told the importance. */
static double linear_error(const char *text, const float *w, const float *importance, bool told)
{
    quant_scheme s;
    quant_shape shape = {2, {ROWS, COLUMNS}};
    quant_layout l;
    quant_encode_options options = {.importance = told ? importance : NULL};
    float y[N];
    double sum = 0;
    CHECK_OK(NULL, quant_scheme_parse(NULL, text, &s));
    CHECK_OK(NULL, quant_encode_layout(NULL, &s, &shape, &l));
    uint8_t *p = malloc(l.bytes);
    CHECK_OK(NULL, quant_encode_with(NULL, &s, &shape, w, p, l.bytes, &options));
    CHECK_OK(NULL, quant_decode(NULL, &s, &shape, p, l.bytes, y));
    for (int i = 0; i < N; i++) {
        double e = (double)w[i] - (double)y[i];
        sum += (double)importance[i] * e * e;
    }
    free(p);
    return sum;
}

/* scale=mse: never worse by importance than absmax, and a good deal better than not being told. */
static void the_search_of_scales_weighs(void)
{
    static const char *const forms[] = {"int3:channel%s", "int4:block=7%s", "int3:channel,axis=1%s",
                                        "int4:tensor,asym%s"};
    double told = 0, untold = 0;
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 5) {
        draw d = draw_begin("weighted mse", k);
        float w[N], importance[N];
        char mse[64], absmax[64];
        const char *form = forms[draw_int(&d, 0, 3)];
        snprintf(mse, sizeof mse, form, ",store=f32,scale=mse");
        snprintf(absmax, sizeof absmax, form, ",store=f32");
        for (int i = 0; i < N; i++) {
            w[i] = (float)draw_normal(&d);
            importance[i] = fabsf(w[i]) < 1.0f ? 20.0f : draw_int(&d, 0, 2) ? 1.0f : 0.0f;
        }
        double ours = linear_error(mse, w, importance, true);
        if (!(ours <= linear_error(absmax, w, importance, false) * (1 + 1e-12))) {
            test_failed_case(k, "%s", mse);
            CU_FAIL("worse by importance than absmax");
            return;
        }
        told += ours;
        untold += linear_error(mse, w, importance, false);
    }
    CU_ASSERT(told < 0.8 * untold);
}

static void compare_measures_by_importance(void)
{
    const char *folder = scratch_folder("weigh");
    const char *w = scratch_join(folder, "w"), *v = scratch_join(folder, "v");
    make_banks(w, v);
    run_result r = run_shell("\"$QUANT\" compare '%s' --importance '%s' --format csv --schemes "
                             "'int4:channel;lut4:group=8'", w, v);
    CU_ASSERT_EQUAL(r.status, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "weighted_relative_error"));
    run_free(&r);
    r = run_shell("\"$QUANT\" compare '%s' --importance '%s' --schemes 'lut4:group=8'", w, v);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "weighted"));
    run_free(&r);
    r = run_shell("\"$QUANT\" compare '%s' --format csv --schemes 'lut4:group=8'", w);
    CU_ASSERT_PTR_NULL(strstr(r.out, "weighted"));
    run_free(&r);
}

static void misuse_is_told(void)
{
    static const struct {
        const char *line; /* %s: bank, importance */
        int status;
        const char *says;
    } rows[] = {
        {"encode %s -o /dev/null/x --scheme int8:channel --importance %s", 2, "mode=kmeans"},
        {"encode %s -o /dev/null/x --scheme lut4:tensor,mode=uniform --importance %s", 2, "kmeans"},
        {"compare %s --predict --importance %s", 2, "--predict"},
        {"compare %s --importance %s/missing", 5, "missing"}};
    const char *folder = scratch_folder("misuse");
    const char *w = scratch_join(folder, "w"), *v = scratch_join(folder, "v");
    make_banks(w, v);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char line[1024];
        snprintf(line, sizeof line, rows[i].line, w, v);
        run_result r = run_shell("\"$QUANT\" %s", line);
        CU_ASSERT_EQUAL(r.status, rows[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(r.err, rows[i].says));
        run_free(&r);
    }
    run_result r = run_shell("\"$QUANT\" compare '%s' '%s' --importance '%s'", w, w, v);
    CU_ASSERT_EQUAL(r.status, 2);
    run_free(&r);
    r = run_shell("\"$QUANT\" compare '%s' --importance '%s'", v, w); /* names and shapes misfit */
    CU_ASSERT_EQUAL(r.status, 3);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err, "tensor "));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err, w));
    run_free(&r);
}

TEST_SUITE(importance_file,
           {"vectors are shared by rows", vectors_are_shared_by_rows},
           {"what does not fit is refused", what_does_not_fit_is_refused},
           {"encode spends entries where they count", encode_spends_entries_where_they_count},
           {"the search of scales weighs", the_search_of_scales_weighs},
           {"compare measures by importance", compare_measures_by_importance},
           {"misuse is told", misuse_is_told})
