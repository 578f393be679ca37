/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_expert_rows.c - what a visitor sees of the experts' inputs, against routes and input. */
#include <stdlib.h>
#include <string.h>

#include "quant/model/forward.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

enum { MOST = 1 << 16 };

typedef struct seen {
    float routes[MOST], input[MOST];
    size_t experts, width, rows; /* rows: shown to any expert */
    const size_t *chosen;        /* of the last INPUT */
    uint64_t expert;
    int bad;
} seen;

static void check_input(seen *s, const quant_stage_view *v)
{
    for (size_t r = 0; r < v->rows; r++) {
        size_t row = v->chosen[r];
        s->bad += r > 0 && row <= v->chosen[r - 1];
        s->bad += !(s->routes[row * s->experts + v->expert] > 0);
        s->bad += memcmp(v->data + r * v->cols, s->input + row * v->cols,
                         v->cols * sizeof(float)) != 0;
    }
    s->rows += v->rows;
    s->expert = v->expert;
}

static quant_status look(void *user, const quant_stage_view *v)
{
    seen *s = user;
    bool of_expert = v->stage == QUANT_STAGE_EXPERT_INPUT ||
                     v->stage == QUANT_STAGE_EXPERT_ACTIVATION;
    s->bad += of_expert != (v->chosen != NULL) || (v->chosen && v->first_row != v->chosen[0]);
    if (v->stage == QUANT_STAGE_FFN_INPUT || v->stage == QUANT_STAGE_ROUTES) {
        float *to = v->stage == QUANT_STAGE_ROUTES ? s->routes : s->input;
        memcpy(to + v->first_row * v->cols, v->data, v->rows * v->cols * sizeof *to);
    } else if (v->stage == QUANT_STAGE_EXPERT_INPUT) {
        s->bad += v->cols != s->width;
        check_input(s, v);
    } else {
        s->bad += v->expert != s->expert;
    }
    return QUANT_OK;
}

/* Every row once for each expert that it chose; ACTIVATION follows the INPUT of its expert. */
static void experts_are_shown_the_rows_that_chose_them(void)
{
    seen *s = calloc(1, sizeof *s);
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 50) {
        quant_context *ctx = quant_context_new(NULL);
        draw d = draw_begin("expert rows", k);
        tiny_model *tiny = tiny_draw(ctx, &d, true);
        quant_model *model = NULL;
        int64_t ids[3 * 400];
        const quant_tokens tokens = {ids, 3, (size_t)draw_int(&d, 1, 400)}; /* two pieces */
        for (size_t i = 0; i < tokens.n * tokens.s; i++) {
            ids[i] = draw_int(&d, 0, tiny->vocab - 1);
        }
        *s = (seen){.experts = (size_t)tiny->experts, .width = (size_t)tiny->width};
        const quant_forward_variant v = {.scheme = NULL};
        const quant_forward_options o = {
            .visit = look, .user = s,
            .stages = 1u << QUANT_STAGE_FFN_INPUT | 1u << QUANT_STAGE_ROUTES |
                      1u << QUANT_STAGE_EXPERT_INPUT | 1u << QUANT_STAGE_EXPERT_ACTIVATION};
        CHECK_OK(ctx, quant_model_open(ctx, tiny->folder, &model));
        CHECK_OK(ctx, quant_forward_run(ctx, model, &tokens, &v, 1, &o));
        size_t all = tokens.n * tokens.s * (size_t)tiny->used * (size_t)tiny->layers;
        bool good = s->bad == 0 && s->rows == all;
        CU_ASSERT(good);
        if (!good) {
            test_failed_case(k, "%d wrong, %zu of %zu rows", s->bad, s->rows, all);
        }
        quant_model_close(ctx, model);
        tiny_free(tiny);
        quant_context_free(ctx);
    }
    free(s);
}

static quant_status keep_final(void *user, const quant_stage_view *v)
{
    memcpy((float *)user + v->first_row * v->cols, v->data, v->rows * v->cols * sizeof *v->data);
    return QUANT_OK;
}

static void run_some(quant_context *ctx, quant_model *model, const int64_t *ids, size_t n, size_t s,
                     float *out)
{
    const quant_forward_variant v = {.scheme = NULL};
    const quant_forward_options o = {.stages = 1u << QUANT_STAGE_FINAL, .visit = keep_final,
                                     .user = out};
    CHECK_OK(ctx, quant_forward_run(ctx, model, &(quant_tokens){ids, n, s}, &v, 1, &o));
}

/* quant_forward_batch: runs over multiples of it show the bytes of one run. */
static void runs_of_whole_batches_join(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 100) {
        quant_context *ctx = quant_context_new(NULL);
        draw d = draw_begin("batches", k);
        tiny_model *tiny = tiny_draw(ctx, &d, k / 100 % 2);
        quant_model *model = NULL;
        size_t s = (size_t)draw_int(&d, 200, 1100), n = 7, batch = quant_forward_batch(s);
        size_t first = batch < n ? batch : n - 1, width = (size_t)tiny->width;
        int64_t *ids = malloc(n * s * sizeof *ids);
        float *whole = malloc(n * s * width * sizeof *whole);
        float *parts = malloc(n * s * width * sizeof *parts);
        for (size_t i = 0; i < n * s; i++) {
            ids[i] = draw_int(&d, 0, tiny->vocab - 1);
        }
        CHECK_OK(ctx, quant_model_open(ctx, tiny->folder, &model));
        run_some(ctx, model, ids, n, s, whole);
        run_some(ctx, model, ids, first, s, parts);
        run_some(ctx, model, ids + first * s, n - first, s, parts + first * s * width);
        CU_ASSERT_EQUAL(memcmp(whole, parts, n * s * width * sizeof *whole), 0);
        free(ids);
        free(whole);
        free(parts);
        quant_model_close(ctx, model);
        tiny_free(tiny);
        quant_context_free(ctx);
    }
}

TEST_SUITE(expert_rows,
           {"experts are shown the rows that chose them",
            experts_are_shown_the_rows_that_chose_them},
           {"runs of whole batches join to one", runs_of_whole_batches_join})
