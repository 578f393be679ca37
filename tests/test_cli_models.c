/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_cli_models.c - models that do not fit together: forward and propagate end with 3 or 4, say
 * in one line what is missing, and print and leave nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/npz_write.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"
#include "tests/tiny_model.h"

static quant_context *ctx;

static const char *tokens_of(int64_t id)
{
    const char *path = test_scratch_path("ids.npz");
    const quant_npz_item item = {"tokens", QUANT_I64, {2, {1, 3}}};
    quant_npz_writer *w = NULL;
    int64_t ids[3] = {0, id, 0};
    remove(path);
    CHECK_OK(ctx, quant_npz_create(ctx, path, &item, 1, &w));
    CHECK_OK(ctx, quant_npz_put(ctx, w, 0, ids, sizeof ids));
    CHECK_OK(ctx, quant_npz_commit(ctx, w));
    return path;
}

/* Both verbs; `says` NULL: they run. */
static void both_say(const tiny_model *m, int64_t id, int status, const char *says)
{
    static const char *const verbs[] = {"forward", "propagate --schemes int8:channel"};
    const char *tokens = tokens_of(id), *out = test_scratch_path("models.npz");
    for (int i = 0; i < 2; i++) {
        size_t left;
        run_result r = run_shell("\"$QUANT\" %s '%s' --tokens '%s' %s %s", verbs[i], m->folder,
                                 tokens, i == 0 ? "-q -o" : "", i == 0 ? out : "");
        CU_ASSERT_EQUAL(r.status, status);
        if (says) {
            bool good = strstr(r.err, says) && strstr(r.err, "\n") == r.err + r.err_bytes - 1;
            CU_ASSERT(good && r.out_bytes == 0);
            if (!good) {
                printf("\n    expected \"%s\" in: %s", says, r.err);
            }
            char *file = scratch_get(out, &left);
            CU_ASSERT_PTR_NULL(file);
            free(file);
        }
        remove(out);
        run_free(&r);
    }
}

static void models_that_do_not_fit_are_refused(void)
{
    ctx = quant_context_new(NULL);
    for (uint64_t moe = 0; moe < 2; moe++) {
        draw d = draw_begin("cli models", moe);
        tiny_model *m = tiny_draw(ctx, &d, moe);
        both_say(m, 1, 0, NULL);
        both_say(m, m->vocab, 3, "position 1: expected 0..");
        both_say(m, -1, 3, "found -1");
        for (size_t i = 1; i < m->count; i += 5) {
            tiny_weights(ctx, m, i);
            both_say(m, 1, 3, m->t[i].name);
        }
        tiny_weights(ctx, m, SIZE_MAX);
        m->inner *= 2;
        tiny_config(m, "");
        m->inner /= 2;
        both_say(m, 1, 3, "mlp.");
        const char *config = scratch_join(m->folder, "config.json");
        static const char bert[] = "{\"model_type\": \"bert\"}", none[] = "{}";
        scratch_put(config, bert, strlen(bert));
        both_say(m, 1, 4, "bert");
        scratch_put(scratch_join(m->folder, "config.json"), none, strlen(none));
        both_say(m, 1, 3, "model_type");
        tiny_free(m);
    }
    quant_context_free(ctx);
}

TEST_SUITE(cli_models, {"models that do not fit together are refused by name",
                        models_that_do_not_fit_are_refused})
