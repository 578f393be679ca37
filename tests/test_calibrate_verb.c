/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_calibrate_verb.c - quant calibrate as a user meets it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/bank/npz_write.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/stats_rig.h"
#include "tests/test.h"

/* tokens.npz in the model's folder. */
static void write_tokens(stats_rig *r)
{
    quant_npz_writer *w = NULL;
    const quant_npz_item item = {"tokens", QUANT_I64, {2, {r->tokens.n, r->tokens.s}}};
    CHECK_OK(r->ctx, quant_npz_create(r->ctx, scratch_join(r->tiny->folder, "tokens.npz"), &item, 1,
                                      &w));
    CHECK_OK(r->ctx, quant_npz_put(r->ctx, w, 0, r->ids,
                                   r->tokens.n * r->tokens.s * sizeof *r->ids));
    CHECK_OK(r->ctx, quant_npz_commit(r->ctx, w));
}

static run_result calibrate(const stats_rig *r, const char *more)
{
    return run_shell("\"$QUANT\" calibrate '%s' --tokens '%s/tokens.npz' %s", r->tiny->folder,
                     r->tiny->folder, more);
}

static void the_command_reports(void)
{
    static const struct {
        const char *arguments, *word;
    } list[] = {
        {"", "sequences 0..5, positions 0..19, weights as stored"},
        {"--sequences 2..3 --positions 4..7 --scheme int8:channel",
         "sequences 2..3, positions 4..7, weights int8:channel"},
        {"--format json", "\"quant.calibrate/1\""},
        {"--enough", "random inputs"},
        {"--enough --seed 3 --schemes w8a8,act=static --format json", "\"quant.adequacy/1\""},
        {"--enough --sequences 0..2 --held-out 4..5 --format csv",
         "\"w4a8,act=static\",random inputs,3,final,0,0,60,"},
        {"--enough --draws 3", "over 3 orders of the prompts, the one above and 2 drawn"},
        {"--enough --draws 3 --seed 3", "in 0 of 3 orders of the prompts"},
        {"--enough --sequences 2..2 --draws 3", "One prompt has one order"},
        {"--enough --seed 7 --format json", " \"seed\": 7,"},
        {"--enough --logits", "logits of the held-out prompts, KL(unquantized || quantized); at"},
        {"--enough --logits --draws 2 --format json", "\"kl_over_limit\": "},
        {"--enough --draws 2 --format json",
         "{\"scheme\": \"w4a8,act=static\", \"order\": 1, \"sequences\": 2, "},
        {"--format csv --sequences 1", "expert_activation,expert down,0,0,"},
    };
    stats_rig *r = rig_open("verb", 2, true, 6, 20);
    write_tokens(r);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        run_result one = calibrate(r, list[i].arguments);
        CU_ASSERT_EQUAL(one.status, 0);
        CU_ASSERT_STRING_EQUAL(one.err, "");
        CU_ASSERT_PTR_NOT_NULL(strstr(one.out, list[i].word));
        run_free(&one);
    }
    rig_close(r);
}

/* At least two, hence more than six inputs. */
static stats_rig *two_layers(const char *word, size_t n, size_t s)
{
    for (uint64_t k = 0;; k++) {
        stats_rig *r = rig_open(word, k, false, n, s);
        if (r->tiny->layers >= 2) {
            return r;
        }
        rig_close(r);
    }
}

/* A single run of held-out positions: nothing to draw from, nothing is enough, no "nan". */
static void one_run_gives_no_interval(void)
{
    static const char *const words[] = {
        "never enough: the held-out positions are a single run", "not enough: 2 sequences leave ",
        "(no interval) of the limit's, ", "KL not enough by 2", "in 0 of 3 orders of the prompts",
        "1 sequence leaves no input short", "; and others. Logits with 2: "};
    stats_rig *r = two_layers("verb run", 3, 8);
    write_tokens(r);
    run_result one = calibrate(r, "--enough --draws 3 --logits | tr '\\n' ' ' | tr -s ' '");
    CU_ASSERT_EQUAL(one.status, 0);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        CU_ASSERT_PTR_NOT_NULL(strstr(one.out, words[i]));
    }
    CU_ASSERT_PTR_NULL(strstr(one.out, "nan"));
    CU_ASSERT_PTR_NULL(strstr(one.out, "...."));
    run_free(&one);
    rig_close(r);
}

static void the_command_refuses(void)
{
    static const struct {
        const char *arguments, *word;
        int status;
    } list[] = {
        {"--sequences 5..4", "--sequences: expected FIRST..LAST", 2},
        {"--sequences 1..", "--sequences: expected FIRST..LAST", 2},
        {"--positions -1", "--positions: expected FIRST..LAST", 2},
        {"--positions 99999999999999999999", "--positions: expected FIRST..LAST", 2},
        {"--scheme nope", "--scheme: ", 2},
        {"--sequences 6..6", "sequences: expected some of 0..5", 3},
        {"--positions 0..20", "positions: expected some of 0..19", 3},
        {"--held-out 1", "--held-out: expected it with --enough", 2},
        {"--enough -o x", "-o: expected it without --enough", 2},
        {"--enough --schemes w8a8", "expected static activations", 2},
        {"--enough --schemes w8a8,act=static,smooth=0.5", "without smooth=", 2},
        {"--draws 2", "--draws: expected it with --enough", 2},
        {"--logits", "--logits: expected it with --enough", 2},
        {"--enough --draws 17", "draws: expected 1..16, found 17", 2},
        {"--enough --draws 0", "draws: expected 1..16, found 0", 2},
        {"--enough --draws 2 --format csv", "expected table or json with --draws", 2},
        {"--enough --logits --format csv", "expected table or json with --logits", 2},
        {"--enough --stats x", "--stats: expected it without --enough", 2},
        {"--scheme w8a8,act=static", "expected calibrated ranges (--stats), found none", 2},
        {"--scheme w8a8,smooth=search", "of the channels (--stats), found none", 2},
        {"--scheme w8a8,act=static --stats x", "x: ", 5},
        {"--enough --sequences 0..3 --held-out 3..4", "expected none that calibrate", 3},
        {"-o /dev/null/x", "/dev/null/x", 5},
    };
    stats_rig *r = rig_open("verb refuses", 2, false, 6, 20);
    write_tokens(r);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        run_result one = calibrate(r, list[i].arguments);
        CU_ASSERT_EQUAL(one.status, list[i].status);
        CU_ASSERT_PTR_NOT_NULL(strstr(one.err, list[i].word));
        CU_ASSERT_STRING_EQUAL(one.out, "");
        run_free(&one);
    }
    rig_close(r);
}

/* Ranges of one run serve the next, and the statistics of that one; alphas are told. */
static void statistics_serve_the_commands(void)
{
    static const struct {
        const char *command, *word;
        int status;
    } list[] = {
        {"calibrate %s -o '%s/a' --moments", "weights as stored", 0},
        {"calibrate %s -o '%s/b' --stats '%s/a' --scheme w8a8,act=static,smooth=search",
         "weights w8a8,act=static,smooth=search ranges ", 0},
        {"calibrate %s -o '%s/b' --stats '%s/a' --scheme w8a8,act=static", "of something else", 5},
        {"calibrate %s --enough --logits --draws 2 --sequences 0 --held-out 1 # %s",
         "One prompt has one order", 0},
        {"forward %s -o '%s/o' --stats '%s/b' --scheme w8a8,act=static,smooth=search",
         "alpha of q k v, layer by layer: ", 0},
        {"forward %s -o '%s/o' --force --stats '%s/a' --scheme w4a8,smooth=search",
         "(by second moments)", 0},
        {"propagate %s --schemes 'w8a8,smooth=search;w4a8,smooth=0.5' --format json --stats '%s/b'",
         "\"layer\": 0, \"input\": \"attention_input\", \"alpha\": 0", 0},
        {"propagate %s --schemes 'w8a8,smooth=search' --stats '%s/b'",
         "(by mean squares of the channels)", 0},
        {"propagate %s --schemes 'w8a8,smooth=search'", "of the channels (--stats), found none", 2},
    };
    stats_rig *r = rig_open("verb statistics", 3, true, 6, 20);
    char to[512], operands[1024];
    write_tokens(r);
    snprintf(to, sizeof to, "%s", scratch_folder("statistics"));
    snprintf(operands, sizeof operands, "'%s' --tokens '%s/tokens.npz'", r->tiny->folder,
             r->tiny->folder);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        char line[4096] = "\"$QUANT\" ";
        size_t n = strlen(line);
        snprintf(line + n, sizeof line - n, list[i].command, operands, to, to);
        run_result one = run_shell("%s", line);
        CU_ASSERT_EQUAL(one.status, list[i].status);
        bool there = strstr(list[i].status ? one.err : one.out, list[i].word) != NULL;
        CU_ASSERT_TRUE(there);
        if (!there || one.status != list[i].status) {
            test_failed_case(i, "%s%s", one.out, one.err);
        }
        run_free(&one);
    }
    rig_close(r);
}

/* Interrupted as soon as there is a file, by a signal that can and one that cannot be caught. The
 * same command goes on; where it was faster than the signal there is nothing to go on with. */
static void signals_leave_what_the_same_command_finishes(void)
{
    const char *model = test_bank_path("stories260k/tokens.npy");
    if (!model) {
        return;
    }
    char folder[512], tokens[512];
    snprintf(tokens, sizeof tokens, "%s", model);
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(tokens, '/') - tokens), tokens);
    char to[512];
    snprintf(to, sizeof to, "%s", scratch_folder("signals"));
    static const char *const signals[] = {"INT", "KILL"};
    run_result whole = run_shell("\"$QUANT\" calibrate '%s' --tokens '%s' -o '%s/whole'", folder,
                                 tokens, to);
    CU_ASSERT_EQUAL(whole.status, 0);
    run_free(&whole);
    for (int i = 0; i < 2; i++) {
        run_result r = run_shell(
            "\"$QUANT\" calibrate '%s' --tokens '%s' -o '%s/part' & p=$!; "
            "while kill -0 $p 2>/dev/null && [ ! -e '%s/part' ]; do :; done; kill -%s $p; wait $p; "
            "\"$QUANT\" calibrate '%s' --tokens '%s' -o '%s/part'; "
            "cmp '%s/part' '%s/whole' && rm '%s/part' && ls -A '%s'", folder, tokens, to, to,
            signals[i], folder, tokens, to, to, to, to, to);
        CU_ASSERT_EQUAL(r.status, 0);
        CU_ASSERT(r.out_bytes >= 6 && strcmp(r.out + r.out_bytes - 6, "whole\n") == 0);
        run_free(&r);
    }
}

/* Layer 0 multiplies zeros by q, k and v: told apart, the error is that of the other layers. */
static void an_input_of_zeros_has_no_alpha(void)
{
    stats_rig *r = two_layers("verb zeros", 3, 20);
    for (size_t t = 0; t < r->tiny->count; t++) {
        if (strcmp(r->tiny->t[t].name, "model.layers.0.input_layernorm.weight") == 0) {
            memset(r->tiny->t[t].w, 0, r->tiny->t[t].count * sizeof(float));
        }
    }
    tiny_weights(r->ctx, r->tiny, SIZE_MAX);
    write_tokens(r);
    const char *folder = r->tiny->folder, *to = scratch_folder("zeros");
    run_result one = run_shell(
        "t='%s/tokens.npz'; \"$QUANT\" calibrate '%s' --tokens $t -o '%s/s' >'%s/log' && "
        "\"$QUANT\" forward '%s' --tokens $t -o '%s/o' --scheme w8a8,smooth=search --stats '%s/s'",
        folder, folder, to, to, folder, to, to);
    CU_ASSERT_EQUAL(one.status, 0);
    const char *found = strstr(one.out, "alpha of q k v, layer by layer: - 0.");
    CU_ASSERT_PTR_NOT_NULL(found);
    CU_ASSERT(found && !strstr(found, "error -") && !strstr(found, "error\n  -"));
    run_free(&one);
    rig_close(r);
}

TEST_SUITE(calibrate_verb, {"the command reports", the_command_reports},
           {"one run gives no interval", one_run_gives_no_interval},
           {"the command refuses", the_command_refuses},
           {"statistics serve the commands", statistics_serve_the_commands},
           {"an input of zeros has no alpha", an_input_of_zeros_has_no_alpha},
           {"signals leave what the same command finishes",
            signals_leave_what_the_same_command_finishes})
