/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_cli_odd.c - what an impatient user types, and banks that were not meant for it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cli_banks.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/test.h"

/* Status and one line on stderr that holds `says`. */
static void expect(run_result r, int status, const char *says)
{
    const char *end = strchr(r.err, '\n');
    int good = r.status == status && strstr(r.err, says) && end && end[1] == '\0';
    CU_ASSERT(good);
    if (!good) {
        printf("\n    expected %d and \"%s\", found %d and %s", status, says, r.status, r.err);
    }
    run_free(&r);
}

/* Status 0, silence on stderr and `says` on stdout. */
static void expect_out(run_result r, const char *says)
{
    int good = r.status == 0 && r.err_bytes == 0 && strstr(r.out, says);
    CU_ASSERT(good);
    if (!good) {
        printf("\n    expected \"%s\", found %d, %s%s", says, r.status, r.err, r.out);
    }
    run_free(&r);
}

static void short_options_take_an_equals_sign(void)
{
    const char *out = test_scratch_path("equals.safetensors");
    expect_out(run_shell("\"$QUANT\" encode '%s' -o='%s' --scheme bf16", cli_bank_good(), out),
               "equals.safetensors: 2 tensors quantized");
    expect_out(run_shell("\"$QUANT\" inspect '%s'", out), "a.weight");
    expect(run_shell("\"$QUANT\" inspect -q=1 x"), 2, "expected no value, found '1'");
    expect(run_shell("\"$QUANT\" encode x -o= --scheme bf16"), 2, "expected a file to write");
}

static void numbers_say_how_far_they_go(void)
{
    expect(run_shell("\"$QUANT\" compare x --seed 9223372036854775808"), 2,
           "up to 9223372036854775807, found '9223372036854775808'");
    expect(run_shell("\"$QUANT\" compare x --seed 18446744073709551617"), 2, "up to 9223372036");
}

/* A gate just missed never reads "expected >=0.97, found 0.97". */
static void a_gate_just_missed_is_seen_to_be_missed(void)
{
    const char *bank = cli_bank_good();
    run_result r = run_shell("\"$QUANT\" compare '%s' --schemes bf16 --format json | "
                             "sed -n 's/.*\"cosine\": \\([0-9.]*\\).*/\\1/p' | sort | head -n 1",
                             bank);
    double worst = 0;
    CU_ASSERT_EQUAL(sscanf(r.out, "%lf", &worst), 1);
    CU_ASSERT(worst > 0.99999 && worst < 1);
    run_free(&r);
    char demand[64], *end;
    snprintf(demand, sizeof demand, "%.12f", worst + 2e-12);
    r = run_shell("\"$QUANT\" compare '%s' --schemes bf16 --gate 'cosine>=%s'", bank, demand);
    CU_ASSERT_EQUAL(r.status, 1);
    const char *said = strstr(r.err, "found "), *shown = strstr(r.out, "FAILED");
    CU_ASSERT_FATAL(said && shown);
    CU_ASSERT(strtod(said + 6, &end) < strtod(demand, NULL));
    CU_ASSERT(strtod(shown + 6, &end) < strtod(demand, NULL));
    run_free(&r);
    expect(run_shell("\"$QUANT\" compare '%s' --schemes bf16 --gate 'output.cosine>=0'", bank), 1,
           "found no row (1 of 1 failed)");
}

static void packed_banks_are_pointed_out(void)
{
    char packed[4096];
    snprintf(packed, sizeof packed, "%s", test_scratch_path("once.safetensors"));
    run_result r = run_shell("\"$QUANT\" encode '%s' -o '%s' --force --scheme lut4:tensor",
                             cli_bank_good(), packed);
    CU_ASSERT_EQUAL(r.status, 0);
    run_free(&r);
    expect(run_shell("\"$QUANT\" encode '%s' -o '%s' --force --scheme int8:tensor", packed,
                     test_scratch_path("twice.safetensors")), 4, "decode it first");
    run_result turned = run_shell("\"$QUANT\" compare '%s' --against '%s'", packed,
                                  cli_bank_good());
    CU_ASSERT_PTR_NOT_NULL(strstr(turned.err, packed));
    expect(turned, 2, "found a packed one");
    expect_out(run_shell("\"$QUANT\" inspect '%s'", packed), "quant decode writes the tensors");
    expect_out(run_shell("\"$QUANT\" compare '%s' --schemes bf16", packed), "--against it");
}

/* What is wrong with the other bank is said of its file. */
static void a_broken_packed_bank_is_named(void)
{
    char packed[4096];
    snprintf(packed, sizeof packed, "%s", test_scratch_path("broken.safetensors"));
    run_result r = run_shell("\"$QUANT\" encode '%s' -o '%s' --force --scheme int8:tensor -q && "
                             "sed -i 's/int8:tensor|24,40/int8:tensor|24,41/' '%s' && "
                             "\"$QUANT\" compare '%s' --against '%s'", cli_bank_good(), packed,
                             packed, cli_bank_good(), packed);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err, packed));
    expect(r, 3, "tensor ");
}

static void a_bank_with_nothing_in_common_is_no_success(void)
{
    char other[4096];
    snprintf(other, sizeof other, "%s", cli_bank_huge());
    run_result r = run_shell("\"$QUANT\" compare '%s' --against '%s'", cli_bank_good(), other);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "not in the other bank"));
    expect(r, 4, "has too, found none");
    expect_out(run_shell("\"$QUANT\" compare '%s' --against '%s'", other, other), "exact");
}

static void inputs_that_fit_nothing_are_refused(void)
{
    char inputs[4096];
    snprintf(inputs, sizeof inputs, "%s", cli_bank_huge());
    run_result r = run_shell("\"$QUANT\" compare '%s' --inputs '%s' --schemes bf16",
                             cli_bank_good(), inputs);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err, inputs));
    expect(r, 3, "found none that fits");
    r = run_shell("\"$QUANT\" compare '%s' --inputs '%s' --schemes bf16", cli_bank_nan(),
                  cli_bank_nan());
    CU_ASSERT_EQUAL(r.status, 3);
    run_free(&r);
}

/* Nothing that was opened for data stands in for a closed standard stream. */
static void closed_streams_stay_apart_from_files(void)
{
    char out[4096], want[4096];
    snprintf(want, sizeof want, "%s", test_scratch_path("want.safetensors"));
    snprintf(out, sizeof out, "%s", test_scratch_path("closed.safetensors"));
    run_result r = run_shell("\"$QUANT\" encode '%s' -o '%s' --scheme bf16 -q; "
                             "\"$QUANT\" encode '%s' -o '%s' --scheme bf16 >&- 2>&- <&-; "
                             "echo $?; cmp '%s' '%s'", cli_bank_good(), want, cli_bank_good(), out,
                             want, out);
    CU_ASSERT_STRING_EQUAL(r.out, "5\n");
    run_free(&r);
}

/* U+202E turns the reading direction, U+009B begins a terminal command. */
static void messages_do_not_drive_the_terminal(void)
{
    run_result r = run_shell("\"$QUANT\" inspect \"$(printf 'no\\342\\200\\256such\\302\\233')\"");
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err, "no\\u202esuch\\u009b"));
    run_free(&r);
    r = run_shell("\"$QUANT\" encode '%s' -o \"$(printf '%%s\\ny\\033[1m' '%s')\" --scheme bf16",
                  cli_bank_good(), test_scratch_path("x"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "x\\x0ay\\x1b[1m: 2 tensors quantized"));
    run_free(&r);
}

/* Rules and tensors by the thousand: each tensor asks once. */
static void long_recipes_finish(void)
{
    enum { RULES = 4000, ROOM = RULES * 32 };
    static char text[ROOM];
    size_t at = 0;
    for (int i = 0; i < RULES; i++) {
        at += (size_t)snprintf(text + at, ROOM - at, "%s\"none%d*\":\"bf16\"", i ? "," : "{", i);
    }
    at += (size_t)snprintf(text + at, ROOM - at, ",\"a*\":\"bf16\"}");
    char recipe[4096];
    snprintf(recipe, sizeof recipe, "%s", test_scratch_path("long.json"));
    scratch_put(recipe, text, at);
    expect_out(run_shell("\"$QUANT\" compare '%s' --recipe '%s'", cli_bank_good(), recipe),
               "decided no tensor: none0*, none1*");
}

TEST_SUITE(cli_odd,
           {"short options take an equals sign", short_options_take_an_equals_sign},
           {"numbers say how far they go", numbers_say_how_far_they_go},
           {"a gate just missed is seen to be missed", a_gate_just_missed_is_seen_to_be_missed},
           {"packed banks are pointed out", packed_banks_are_pointed_out},
           {"a broken packed bank is named", a_broken_packed_bank_is_named},
           {"a bank with nothing in common is no success",
            a_bank_with_nothing_in_common_is_no_success},
           {"inputs that fit nothing are refused", inputs_that_fit_nothing_are_refused},
           {"closed streams stay apart from files", closed_streams_stay_apart_from_files},
           {"messages do not drive the terminal", messages_do_not_drive_the_terminal},
           {"long recipes finish", long_recipes_finish})
