/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_compare_estimate.c - tr(E M E^T) of compare against the outputs on the traced inputs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "quant/encode.h"
#include "quant/lab/compare.h"
#include "tests/stats_rig.h"
#include "tests/test.h"

/* Sums of |E x|^2 and |W x|^2 over the rows of one stage of layer 0; a stack's experts in turn. */
typedef struct outputs {
    quant_stage stage;
    const float *w, *copy;
    size_t out, in;
    double error2, output2;
    uint64_t rows;
} outputs;

static quant_status add_outputs(void *user, const quant_stage_view *v)
{
    outputs *o = user;
    if (v->stage != o->stage || v->layer != 0) {
        return QUANT_OK;
    }
    const float *w = o->w + v->expert * o->out * o->in, *copy = o->copy + (w - o->w);
    for (size_t r = 0; r < v->rows; r++) {
        for (size_t i = 0; i < o->out; i++) {
            double e = 0, y = 0;
            for (size_t c = 0; c < o->in; c++) {
                double x = (double)v->data[r * o->in + c];
                e += ((double)copy[i * o->in + c] - (double)w[i * o->in + c]) * x;
                y += (double)w[i * o->in + c] * x;
            }
            o->error2 += e * e;
            o->output2 += y * y;
        }
    }
    o->rows += v->rows;
    return QUANT_OK;
}

static bool row_agrees(stats_rig *r, const quant_compare_row *row, const tiny_tensor *t,
                       quant_stage stage)
{
    quant_scheme scheme;
    quant_layout layout;
    CHECK_OK(NULL, quant_scheme_parse(NULL, row->scheme_text, &scheme));
    float *copy = malloc(t->count * sizeof *copy);
    uint8_t *packed = encode_new(NULL, &scheme, &t->shape, t->w, &layout, NULL);
    CHECK_OK(NULL, quant_decode(NULL, &scheme, &t->shape, packed, layout.bytes, copy));
    outputs o = {.stage = stage, .w = t->w, .copy = copy,
                 .out = (size_t)t->shape.dim[t->shape.rank - 2],
                 .in = (size_t)t->shape.dim[t->shape.rank - 1]};
    const quant_forward_variant v = {.scheme = NULL};
    const quant_forward_options f = {.stages = 1u << stage, .visit = add_outputs, .user = &o};
    CHECK_OK(r->ctx, quant_forward_run(r->ctx, r->model, &r->tokens, &v, 1, &f));
    free(copy);
    free(packed);
    double want = sqrt(o.error2 / o.output2), got = quant_estimate_error(&row->estimate);
    return row->estimate.inputs == o.rows &&
           (fabs(got - want) <= 1e-7 * want || (isnan(want) && isnan(got)));
}

static const struct {
    const char *name;
    quant_stage stage;
} list[] = {
    {"model.layers.0.self_attn.k_proj.weight", QUANT_STAGE_ATTENTION_INPUT},
    {"model.layers.0.mlp.down_proj.weight", QUANT_STAGE_ACTIVATION},
    {"model.layers.0.experts.up_proj", QUANT_STAGE_EXPERT_INPUT},
    {"model.layers.0.experts.down_proj", QUANT_STAGE_EXPERT_ACTIVATION},
};

/* Judge a row of the list; how many that were, 0 or 1. */
static size_t check_row(stats_rig *r, uint64_t k, const quant_compare_row *row)
{
    size_t t = 0, n = 0;
    while (t < sizeof list / sizeof *list && strcmp(list[t].name, row->name) != 0) {
        t++;
    }
    if (t == sizeof list / sizeof *list) {
        return 0;
    }
    while (strcmp(r->tiny->t[n].name, row->name) != 0) {
        n++;
    }
    bool good = row_agrees(r, row, &r->tiny->t[n], list[t].stage);
    CU_ASSERT(good);
    if (!good) {
        test_failed_case(k, "%s by %s", row->name, row->scheme_text);
    }
    return 1;
}

static void the_estimate_is_the_error_on_what_was_recorded(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 100) {
        stats_rig *r = rig_open("estimate", k, true, 3, 20);
        quant_stats *stats = NULL;
        quant_compare_result *result = NULL;
        quant_scheme schemes[2];
        size_t seen = 0;
        CHECK_OK(NULL, quant_scheme_parse(NULL, "int3:channel,stack=1", &schemes[0]));
        CHECK_OK(NULL, quant_scheme_parse(NULL, "lut2:group=4,stack=1", &schemes[1]));
        free(rig_bytes(r, &(quant_calibrate_options){.moments = true}, 1, &(size_t){0}));
        CHECK_OK(r->ctx, quant_stats_open(r->ctx, r->path, &stats));
        const quant_compare_options o = {.schemes = schemes, .scheme_count = 2, .stats = stats};
        quant_context_set_threads(r->ctx, 1 + (int)(k / 100 % 3));
        CHECK_OK(r->ctx, quant_compare(r->ctx, quant_model_bank(r->model), &o, &result));
        double error2[2] = {0}, output2[2] = {0};
        for (size_t i = 0; result && i < result->row_count; i++) {
            const quant_compare_row *row = &result->rows[i];
            error2[row->scheme] += row->estimate.error2;
            output2[row->scheme] += row->estimate.output2;
            seen += check_row(r, k, row);
        }
        CU_ASSERT_EQUAL(seen, 8);
        for (int c = 0; result && c < 2; c++) {
            const quant_output_estimate *sum = &result->summary[c].estimate;
            CU_ASSERT(sum->error2 == error2[c] && sum->output2 == output2[c]);
        }
        quant_compare_free(r->ctx, result);
        quant_stats_close(r->ctx, stats);
        rig_close(r);
    }
}

/* Without moments, and for tensors that multiply nothing, there is no estimate. */
static void nothing_recorded_estimates_nothing(void)
{
    stats_rig *r = rig_open("no estimate", 1, false, 2, 9);
    quant_stats *stats = NULL;
    quant_compare_result *result = NULL;
    quant_scheme scheme;
    CHECK_OK(NULL, quant_scheme_parse(NULL, "int4:channel", &scheme));
    for (int moments = 0; moments < 2; moments++) {
        free(rig_bytes(r, &(quant_calibrate_options){.moments = moments}, 1, &(size_t){0}));
        CHECK_OK(r->ctx, quant_stats_open(r->ctx, r->path, &stats));
        const quant_compare_options o = {.schemes = &scheme, .scheme_count = 1, .stats = stats};
        CHECK_OK(r->ctx, quant_compare(r->ctx, quant_model_bank(r->model), &o, &result));
        for (size_t i = 0; result && i < result->row_count; i++) {
            bool embed = strstr(result->rows[i].name, "embed") && !r->tiny->tied;
            bool none = result->rows[i].estimate.inputs == 0;
            CU_ASSERT_EQUAL(none, !moments || embed);
            CU_ASSERT_EQUAL(none, isnan(quant_estimate_error(&result->rows[i].estimate)));
        }
        quant_compare_free(r->ctx, result);
        quant_stats_close(r->ctx, stats);
    }
    rig_close(r);
}

TEST_SUITE(compare_estimate,
           {"the estimate is the error on what was recorded",
            the_estimate_is_the_error_on_what_was_recorded},
           {"nothing recorded estimates nothing", nothing_recorded_estimates_nothing})
