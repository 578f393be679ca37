/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_calibrate.c - the same bytes however it was run or interrupted; what is refused. */
#include "quant/lab/calibrate.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/short_memory.h"
#include "tests/stats_rig.h"
#include "tests/test.h"

static void bytes_do_not_depend_on_threads_or_pieces(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 100) {
        stats_rig *r = rig_open("pieces", k, k / 100 % 2, 12, 200 + k % 100);
        quant_calibrate_options o = {.moments = k % 200 == 0};
        size_t want_bytes, got_bytes;
        char *want = rig_bytes(r, &o, 1, &want_bytes);
        for (int i = 1; i < 3; i++) {
            o.piece = i == 1 ? 1 : 7;
            char *got = rig_bytes(r, &o, 1 + i, &got_bytes);
            CU_ASSERT(want && got && want_bytes == got_bytes &&
                      memcmp(want, got, want_bytes) == 0);
            free(got);
        }
        free(want);
        rig_close(r);
    }
}

/* ---- interruptions --------------------------------------------------------------------------- */

/* A run whose allocation fail_at fails; QUANT_OK when there was no such allocation. */
static quant_status run_rationed(stats_rig *r, const quant_calibrate_options *o, long fail_at)
{
    short_memory ration = {.fail_at = fail_at};
    quant_context *ctx = short_memory_context(&ration);
    quant_model *model = NULL;
    quant_stats *stats = NULL;
    if (!ctx) {
        return QUANT_ENOMEM;
    }
    quant_status s = quant_model_open(ctx, r->tiny->folder, &model);
    if (s == QUANT_OK) {
        s = quant_calibrate(ctx, model, &r->tokens, o, r->path, &stats);
    }
    CU_ASSERT_EQUAL(s == QUANT_OK, stats != NULL);
    quant_stats_close(ctx, stats);
    quant_model_close(ctx, model);
    quant_context_free(ctx);
    CU_ASSERT_EQUAL(ration.held, 0);
    return s;
}

/* Stop at every allocation in turn; what stands on disk is finished by the same call. */
static void interrupted_runs_go_on_to_the_same_bytes(void)
{
    for (int moe = 0; moe < 2; moe++) {
        stats_rig *r = rig_open("interrupted", (uint64_t)moe, moe, 9, 260); /* pieces of 3 */
        const quant_calibrate_options o = {.moments = true, .piece = 1};
        size_t want_bytes, got_bytes;
        int resumed = 0;
        quant_status s = QUANT_ENOMEM;
        char *want = rig_bytes(r, &o, 1, &want_bytes);
        for (long k = 0; s != QUANT_OK && k < 100000; k += 1 + k / 11) {
            unlink(r->path);
            s = run_rationed(r, &o, k);
            CU_ASSERT(s == QUANT_OK || s == QUANT_ENOMEM);
            resumed += s != QUANT_OK && access(r->path, F_OK) == 0;
            CU_ASSERT(s == QUANT_OK || run_rationed(r, &o, -1) == QUANT_OK);
            char *got = scratch_get(r->path, &got_bytes);
            CU_ASSERT(got && got_bytes == want_bytes && memcmp(want, got, want_bytes) == 0);
            free(got);
        }
        CU_ASSERT_EQUAL(s, QUANT_OK);
        CU_ASSERT(resumed >= 5);
        *strrchr(r->path, '/') = '\0';
        CU_ASSERT_EQUAL(scratch_entries(r->path), 1);
        free(want);
        rig_close(r);
    }
}

static void an_interrupted_file_serves_nobody(void)
{
    stats_rig *r = rig_open("half", 0, false, 6, 500); /* pieces of 2 */
    const quant_calibrate_options o = {.piece = 1};
    quant_stats *stats = NULL;
    quant_status s = QUANT_ENOMEM;
    for (long k = 40; s == QUANT_ENOMEM && access(r->path, F_OK) != 0; k += 5) {
        s = run_rationed(r, &o, k);
    }
    CHECK_OK(r->ctx, quant_stats_open(r->ctx, r->path, &stats));
    CU_ASSERT(stats && quant_stats_info_of(stats)->done < 6);
    CU_ASSERT_EQUAL(quant_stats_match(r->ctx, stats, quant_model_bank(r->model)), QUANT_ESIZE);
    quant_stats_close(r->ctx, stats);
    rig_close(r);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static quant_status calibrate(stats_rig *r, const quant_calibrate_options *o)
{
    quant_stats *stats = NULL;
    quant_status s = quant_calibrate(r->ctx, r->model, &r->tokens, o, r->path, &stats);
    CU_ASSERT_EQUAL(s == QUANT_OK, stats != NULL);
    quant_stats_close(r->ctx, stats);
    return s;
}

static bool says(const stats_rig *r, const char *words)
{
    bool found = strstr(quant_context_message(r->ctx), words) != NULL;
    if (!found) {
        printf("\n    %s\n", quant_context_message(r->ctx));
    }
    return found;
}

static void what_is_in_the_way_is_not_overwritten(void)
{
    stats_rig *r = rig_open("in the way", 1, false, 4, 6);
    size_t bytes;
    quant_calibrate_options o = {.piece = 0};
    char *first = rig_bytes(r, &o, 1, &bytes);
    CU_ASSERT_EQUAL(calibrate(r, &o), QUANT_EIO);
    CU_ASSERT(says(r, "is complete"));
    o.positions = 3;
    CU_ASSERT_EQUAL(calibrate(r, &o), QUANT_EIO);
    CU_ASSERT(says(r, "something else"));
    o.positions = 0;
    r->ids[0] = (r->ids[0] + 1) % r->tiny->vocab;
    CU_ASSERT_EQUAL(calibrate(r, &o), QUANT_EIO);
    CU_ASSERT(says(r, "something else"));
    CU_ASSERT(scratch_holds(r->path, first, bytes));
    o.replace = true;
    CHECK_OK(r->ctx, calibrate(r, &o));
    CU_ASSERT(!scratch_holds(r->path, first, bytes));
    scratch_put(r->path, "text", 4);
    o.replace = false;
    CU_ASSERT_EQUAL(calibrate(r, &o), QUANT_EIO);
    CU_ASSERT(says(r, "holds no statistics") && scratch_holds(r->path, "text", 4));
    free(first);
    rig_close(r);
}

static void ranges_and_tokens_are_checked(void)
{
    stats_rig *r = rig_open("ranges", 1, false, 4, 6);
    static const struct {
        quant_calibrate_options o;
        const char *says;
    } list[] = {
        {{.first_sequence = 4}, "sequences: expected some of 0..3"},
        {{.first_sequence = 3, .sequences = 2}, "sequences: expected some of 0..3"},
        {{.first_position = 6}, "positions: expected some of 0..5"},
        {{.positions = UINT64_MAX}, "positions: expected some of 0..5"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        CU_ASSERT_EQUAL(calibrate(r, &list[i].o), QUANT_ERANGE);
        CU_ASSERT(says(r, list[i].says));
    }
    r->ids[8] = r->tiny->vocab;
    CU_ASSERT_EQUAL(calibrate(r, NULL), QUANT_ERANGE);
    CU_ASSERT(says(r, "sequence 1, position 2"));
    r->tokens.n = 0;
    CU_ASSERT_EQUAL(calibrate(r, NULL), QUANT_ERANGE);
    CU_ASSERT(access(r->path, F_OK) != 0);
    rig_close(r);
}

/* An embedding with NaN for token 1: the first to see it is layer 0. One in the output projection
 * of the last layer: what comes after. */
static void nan_in_traces_is_refused_where_it_appears(void)
{
    for (int late = 0; late < 2; late++) {
        stats_rig *r = rig_open("nan", (uint64_t)late, false, 4, 6);
        char name[96], want[160];
        snprintf(name, sizeof name, late ? "model.layers.%d.self_attn.o_proj.weight"
                                         : "model.embed_tokens.weight", r->tiny->layers - 1);
        for (size_t i = 0; i < r->tokens.n * r->tokens.s; i++) {
            r->ids[i] = i == 13 ? 1 : 0;
        }
        for (size_t t = 0; t < r->tiny->count; t++) {
            if (strcmp(r->tiny->t[t].name, name) == 0) {
                r->tiny->t[t].w[late ? 0 : r->tiny->width] = NAN;
            }
        }
        quant_model_close(r->ctx, r->model);
        tiny_weights(r->ctx, r->tiny, SIZE_MAX);
        CHECK_OK(r->ctx, quant_model_open(r->ctx, r->tiny->folder, &r->model));
        snprintf(want, sizeof want, "layer %d, %s: sequence %d, position %d, channel 0: expected "
                 "finite values, found", late ? r->tiny->layers - 1 : 0,
                 late ? "ffn_input" : "attention_input", late ? 0 : 2, late ? 0 : 1);
        CU_ASSERT_EQUAL(calibrate(r, NULL), QUANT_ENONFINITE);
        CU_ASSERT(says(r, want));
        rig_close(r);
    }
}

static void statistics_of_another_model_are_refused(void)
{
    stats_rig *r = rig_open("another", 1, false, 4, 6);
    quant_stats *stats = NULL;
    size_t bytes;
    free(rig_bytes(r, NULL, 1, &bytes));
    CHECK_OK(r->ctx, quant_stats_open(r->ctx, r->path, &stats));
    CHECK_OK(r->ctx, quant_stats_match(r->ctx, stats, quant_model_bank(r->model)));
    r->tiny->t[0].w[0] += 1;
    quant_model_close(r->ctx, r->model);
    tiny_weights(r->ctx, r->tiny, SIZE_MAX);
    CHECK_OK(r->ctx, quant_model_open(r->ctx, r->tiny->folder, &r->model));
    CU_ASSERT_EQUAL(quant_stats_match(r->ctx, stats, quant_model_bank(r->model)),
                    QUANT_ECHECKSUM);
    CU_ASSERT(says(r, "statistics of another model: expected SHA-256"));
    CU_ASSERT_EQUAL(calibrate(r, NULL), QUANT_EIO);
    quant_stats_close(r->ctx, stats);
    rig_close(r);
}

/* A channel 1e4 times the rest, one that is constant, one that is zero: nothing special. */
static void odd_channels_are_recorded(void)
{
    stats_rig *r = rig_open("odd channels", 1, false, 4, 6);
    quant_stats *stats = NULL;
    quant_stats_row row;
    double over = 0;
    rig_odd_channels(r);
    const quant_calibrate_options o = {.moments = true};
    CHECK_OK(r->ctx, quant_calibrate(r->ctx, r->model, &r->tokens, &o, r->path, &stats));
    CU_ASSERT(quant_stats_at(stats, QUANT_SITE_ATTENTION_INPUT, 0, 0, &row));
    CU_ASSERT_EQUAL(quant_stats_worst_channel(&row, &over), 0);
    CU_ASSERT(over > 500 && row.square[1] == 0 && row.observer->highest[1] == 0);
    CU_ASSERT(row.observer->lowest[2] == row.observer->highest[2] && row.observer->lowest[2] != 0);
    quant_stats_close(r->ctx, stats);
    CHECK_OK(r->ctx, quant_stats_open(r->ctx, r->path, &stats));
    quant_stats_close(r->ctx, stats);
    rig_close(r);
}

TEST_SUITE(calibrate,
           {"bytes do not depend on threads or pieces", bytes_do_not_depend_on_threads_or_pieces},
           {"interrupted runs go on to the same bytes", interrupted_runs_go_on_to_the_same_bytes},
           {"an interrupted file serves nobody", an_interrupted_file_serves_nobody},
           {"what is in the way is not overwritten", what_is_in_the_way_is_not_overwritten},
           {"ranges and tokens are checked", ranges_and_tokens_are_checked},
           {"NaN in traces is refused where it appears", nan_in_traces_is_refused_where_it_appears},
           {"statistics of another model are refused", statistics_of_another_model_are_refused},
           {"odd channels are recorded", odd_channels_are_recorded})
