/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_propagate_verb.c - quant propagate as a user meets it. */
#include <stdio.h>
#include <string.h>

#include "tests/deep_model.h"
#include "tests/run.h"
#include "tests/test.h"

static quant_context *ctx;

static void the_command_reports(void)
{
    static const char *const formats[] = {"table", "json", "csv"};
    static const char *const words[] = {"not distinguishable from", "\"quant.propagate/1\"",
                                        "int8:channel,4,stream,127,"};
    char folder[512];
    const char *path = test_bank_path("stories260k/golden.npz");
    if (!path) {
        return;
    }
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    for (int i = 0; i < 3; i++) {
        run_result r = run_shell("\"$QUANT\" propagate '%s' --tokens '%s/golden.npz' --schemes "
                                 "int8:channel --format %s", folder, folder, formats[i]);
        CU_ASSERT_EQUAL(r.status, 0);
        CU_ASSERT_STRING_EQUAL(r.err, "");
        CU_ASSERT_PTR_NOT_NULL(strstr(r.out, words[i]));
        run_free(&r);
    }
}

static void the_command_refuses(void)
{
    static const struct {
        const char *arguments, *word;
        int status;
    } rows[] = {
        {"", "--tokens", 2},
        {"--tokens /dev/null/none", "none", 5},
        {"--schemes nope --tokens x", "--schemes", 2},
        {"--compute f8 --tokens x", "f32|f16|bf16", 2},
        {"--schemes 'int8:tensor; int8:tensor,scale=absmax' --tokens x",
         "schemes 1 and 2: expected two that differ, found int8:tensor twice", 2},
        {"--schemes bf16 --recipe x --tokens x", "one of --schemes and --recipe", 2},
        {"--recipe /dev/null/none --tokens x", "none", 5},
        {"--tensors 'nothing*' --tokens x", "a glob that matches a name, found 'nothing*'", 2},
    };
    ctx = quant_context_new(NULL);
    quant_model *model = deep_model_make(ctx, 7, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        run_result r = run_shell("\"$QUANT\" propagate '%s' %s",
                                 test_scratch_path("deep.safetensors"), rows[i].arguments);
        CU_ASSERT_EQUAL(r.status, rows[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(r.err, rows[i].word));
        CU_ASSERT_STRING_EQUAL(r.out, "");
        run_free(&r);
    }
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

TEST_SUITE(propagate_verb, {"the command reports", the_command_reports},
           {"the command refuses", the_command_refuses})
