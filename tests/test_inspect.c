/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/kmeans1d.h"
#include "quant/lab/inspect.h"
#include "tests/lab_bank.h"
#include "tests/test.h"

typedef struct visits {
    int count;
    uint64_t last, total;
} visits;

static void note_visit(void *user, const char *name, uint64_t done, uint64_t total)
{
    visits *v = user;
    CU_ASSERT_PTR_NOT_NULL(name);
    CU_ASSERT(v->count == 0 || done > v->last);
    v->count++;
    v->last = done;
    v->total = total;
}

static void figures_are_those_of_the_values(void)
{
    /* rows of RMS 1, 2 and 6; the NaN leaves row 1 at 2 */
    float w[12] = {1, -1, 1, 1, 2, NAN, -2, 2, 6, 6, -6, 6};
    const int32_t label[2] = {1, 2};
    const float one = 3;
    const lab_bank_item items[] = {{"w", QUANT_F32, {2, {3, 4}}, w},
                                   {"label", QUANT_I32, {1, {2}}, label},
                                   {"scalar", QUANT_F32, {0, {0}}, &one},
                                   {"empty", QUANT_F32, {2, {0, 4}}, w}};
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank = lab_bank_make(ctx, "inspect.safetensors", items, 4);
    quant_inspect_row row[4];
    size_t filled = 9;
    visits v = {0, 0, 0};
    CHECK_OK(ctx, quant_inspect(ctx, bank, NULL, note_visit, &v, row, &filled));
    CU_ASSERT_EQUAL(filled, 4);
    CU_ASSERT_EQUAL(v.count, 4);
    CU_ASSERT_EQUAL(v.total, 48 + 8 + 4);
    size_t w_at = 9, label_at = 9, scalar_at = 9, empty_at = 9;
    for (size_t i = 0; i < filled; i++) {
        CU_ASSERT_EQUAL(row[i].tensor, i);
        const char *name = row[i].info->name;
        w_at = strcmp(name, "w") == 0 ? i : w_at;
        label_at = strcmp(name, "label") == 0 ? i : label_at;
        scalar_at = strcmp(name, "scalar") == 0 ? i : scalar_at;
        empty_at = strcmp(name, "empty") == 0 ? i : empty_at;
    }
    CU_ASSERT_TRUE(row[w_at].measured);
    CU_ASSERT_EQUAL(row[w_at].figures.elements, 12);
    CU_ASSERT_EQUAL(row[w_at].figures.nonfinite, 1);
    CU_ASSERT_EQUAL(row[w_at].figures.first_nonfinite, 5);
    CU_ASSERT_EQUAL(row[w_at].figures.absmax, 6);
    CU_ASSERT_DOUBLE_EQUAL(row[w_at].figures.rms, sqrt(160 / 11.0), 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(row[w_at].row_spread, 3, 1e-15);
    CU_ASSERT_FALSE(row[w_at].looks_like_stack);
    CU_ASSERT_FALSE(row[label_at].measured);
    CU_ASSERT_TRUE(row[scalar_at].measured);
    CU_ASSERT(isnan(row[scalar_at].row_spread) && isnan(row[empty_at].row_spread));
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

static void a_glob_selects(void)
{
    const float w[4] = {1, 2, 3, 4};
    const lab_bank_item items[] = {{"a.w", QUANT_F32, {2, {2, 2}}, w},
                                   {"b.w", QUANT_F32, {2, {2, 2}}, w},
                                   {"b.v", QUANT_F32, {2, {2, 2}}, w}};
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank = lab_bank_make(ctx, "glob.safetensors", items, 3);
    quant_inspect_row row[3];
    size_t filled = 9;
    CHECK_OK(ctx, quant_inspect(ctx, bank, "b.*", NULL, NULL, row, &filled));
    CU_ASSERT_EQUAL(filled, 2);
    CU_ASSERT_STRING_EQUAL(row[0].info->name, "b.w");
    CU_ASSERT_EQUAL(row[1].tensor, 2);
    CU_ASSERT_DOUBLE_EQUAL(row[1].row_spread, sqrt(12.5) / ((sqrt(2.5) + sqrt(12.5)) / 2), 1e-15);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

static void stacks_are_told_from_convolutions(void)
{
    static const struct {
        const char *name;
        quant_shape shape;
        bool stack;
    } rows[] = {
        {"mlp.experts.gate_up_proj", {3, {4, 8, 8}}, true},
        {"blk.0.ffn_up_exps.weight", {3, {4, 8, 8}}, true},
        {"w", {3, {8, 64, 32}}, true},
        {"conv1.weight", {3, {16, 64, 32}}, false},
        {"w", {3, {128, 129, 3}}, false},
        {"w", {3, {258, 1, 256}}, false},
        {"w", {3, {128, 64, 64}}, false},
        {"w", {3, {1, 64, 64}}, false},
        {"experts", {2, {64, 64}}, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        quant_tensor t = {rows[i].name, QUANT_F32, "F32", rows[i].shape, 1, 4};
        CU_ASSERT_EQUAL(quant_tensor_looks_like_stack(&t), rows[i].stack);
    }
}

static void real_banks_read_whole(void)
{
    static const char *const banks[] = {"ani-2x/ani-2x-ensemble0.safetensors",
                                        "silero-vad/silero_vad_16k.safetensors",
                                        "stories260k/model.safetensors",
                                        "stories260k/stories260Ktok512.gguf"};
    quant_context *ctx = quant_context_new(NULL);
    for (size_t b = 0; b < sizeof banks / sizeof *banks; b++) {
        const char *path = test_bank_path(banks[b]);
        quant_bank *bank = NULL;
        size_t filled = 0;
        if (!path) {
            continue;
        }
        CHECK_OK(ctx, quant_bank_open(ctx, path, &bank));
        CU_ASSERT_PTR_NOT_NULL_FATAL(bank);
        quant_inspect_row *row = malloc(quant_bank_count(bank) * sizeof *row);
        CHECK_OK(ctx, quant_inspect(ctx, bank, NULL, NULL, NULL, row, &filled));
        CU_ASSERT_EQUAL(filled, quant_bank_count(bank));
        for (size_t i = 0; i < filled; i++) {
            CU_ASSERT_TRUE(row[i].measured);
            CU_ASSERT_EQUAL(row[i].figures.nonfinite, 0);
            CU_ASSERT(row[i].figures.rms >= 0);
            CU_ASSERT(row[i].figures.rms <= 1.0000001 * row[i].figures.absmax);
            CU_ASSERT_FALSE(row[i].looks_like_stack);
            CU_ASSERT(row[i].info->shape.rank < 2 || row[i].row_spread >= 1);
        }
        free(row);
        quant_bank_close(ctx, bank);
    }
    quant_context_free(ctx);
}

/* Entry k - 1 is the optimum of k clusters of the tensor's values. */
static void curves_are_those_of_the_values(void)
{
    float w[300], zero[4] = {0, -0.0f, 0, 0}, bad[4] = {1, NAN, 2, 3};
    const lab_bank_item items[] = {{"w", QUANT_F32, {2, {20, 15}}, w},
                                   {"zero", QUANT_F32, {2, {2, 2}}, zero},
                                   {"bad", QUANT_F32, {2, {2, 2}}, bad}};
    double value[300], weight[300], centroid[256], energy = 0;
    size_t first[256], n = 0;
    for (size_t i = 0; i < 300; i++) {
        w[i] = (float)(i * i % 101) - 30.0f;
        energy += (double)w[i] * (double)w[i];
    }
    quant_context *ctx = quant_context_new(NULL);
    quant_bank *bank = lab_bank_make(ctx, "curve.safetensors", items, 3);
    quant_inspect_row row[3];
    static quant_inspect_curve curve[3];
    size_t filled = 0, curves = 0;
    CHECK_OK(ctx, quant_inspect(ctx, bank, NULL, NULL, NULL, row, &filled));
    CU_ASSERT_PTR_NULL(row[0].curve);
    CHECK_OK(ctx, quant_inspect_curves(ctx, bank, NULL, NULL, row, filled, curve));
    quant_points_collapse(ctx, w, NULL, 300, value, weight, &n);
    quant_points p = {value, weight, n};
    for (size_t i = 0; i < filled; i++) {
        curves += row[i].curve != NULL;
        for (size_t k = 1; row[i].curve && k <= 256; k++) {
            quant_clusters c = {.first = first, .centroid = centroid};
            CHECK_OK(ctx, quant_kmeans1d(ctx, &p, k, &c));
            double db = k < n ? 10 * log10(energy / c.sse) : (double)INFINITY;
            CU_ASSERT(row[i].curve->sqnr_db[k - 1] == db ||
                      fabs(row[i].curve->sqnr_db[k - 1] - db) < 1e-9);
            CU_ASSERT(row[i].curve->distinct == n && row[i].curve->entropy[k - 1] <= 8);
        }
    }
    CU_ASSERT_EQUAL(filled, 3);
    CU_ASSERT_EQUAL(curves, 1);
    quant_bank_close(ctx, bank);
    quant_context_free(ctx);
}

TEST_SUITE(inspect, {"curves are those of the values", curves_are_those_of_the_values},
           {"figures are those of the values", figures_are_those_of_the_values},
           {"a glob selects", a_glob_selects},
           {"stacks are told from convolutions", stacks_are_told_from_convolutions},
           {"real banks read whole", real_banks_read_whole})
