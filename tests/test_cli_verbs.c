/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_cli_verbs.c - what the verbs do: reports, packed banks, files that are there already. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/report/table.h"
#include "tests/cli_banks.h"
#include "tests/run.h"
#include "tests/scratch.h"
#include "tests/sink.h"
#include "tests/test.h"

static json_t *parse(const run_result *r)
{
    json_t *root = json_loads(r->out, JSON_REJECT_DUPLICATES, NULL);
    CU_ASSERT_PTR_NOT_NULL(root);
    return root;
}

/* banks[0].KEY[i] of a report. */
static json_t *at(const json_t *root, const char *key, size_t i)
{
    json_t *bank = json_array_get(json_object_get(root, "banks"), 0);
    return json_array_get(json_object_get(bank, key), i);
}

static const char *text_at(const json_t *root, const char *key, size_t i, const char *member)
{
    const char *text = json_string_value(json_object_get(at(root, key, i), member));
    return text ? text : "";
}

static void threads_do_not_change_a_byte(void)
{
    const char *bank = cli_bank_good();
    char *first = NULL;
    for (int threads = 1; threads <= 7; threads += 3) {
        run_result r = run_shell("\"$QUANT\" compare '%s' --probe 3 --predict --format json "
                                 "--schemes 'int8:channel;int4:block=32;lut3:group=8' --threads %d",
                                 bank, threads);
        CU_ASSERT_EQUAL(r.status, 0);
        if (!first) {
            first = strdup(r.out);
        }
        CU_ASSERT_STRING_EQUAL(r.out, first);
        run_free(&r);
    }
    CU_ASSERT_PTR_NULL(strstr(first, "/tmp"));
    free(first);
}

static void compare_reports_rows_and_lists(void)
{
    run_result r = run_shell("\"$QUANT\" compare '%s' --schemes 'int8:tensor;lut2:tensor' "
                             "--format json", cli_bank_good());
    json_t *root = parse(&r);
    CU_ASSERT_STRING_EQUAL(text_at(root, "rows", 0, "tensor"), "a.weight");
    CU_ASSERT_STRING_EQUAL(text_at(root, "rows", 1, "scheme"), "lut2:tensor");
    CU_ASSERT_STRING_EQUAL(text_at(root, "kept", 0, "tensor"), "a.bias");
    CU_ASSERT_STRING_EQUAL(text_at(root, "kept", 0, "reason"), "1-D");
    CU_ASSERT_PTR_NULL(at(root, "rows", 4));
    CU_ASSERT_EQUAL(json_array_size(json_object_get(root, "summary")), 2);
    double better = json_real_value(json_object_get(at(root, "summary", 0), "cosine"));
    double worse = json_real_value(json_object_get(at(root, "summary", 1), "cosine"));
    CU_ASSERT(better > 0.999 && worse < better && worse > 0.5);
    json_decref(root);
    run_free(&r);
}

static void refused_tensors_are_listed_and_the_rest_measured(void)
{
    run_result r = run_shell("\"$QUANT\" compare '%s' --schemes int8:tensor --format json",
                             cli_bank_nan());
    CU_ASSERT_EQUAL(r.status, 3);
    json_t *root = parse(&r);
    CU_ASSERT_STRING_EQUAL(text_at(root, "rows", 0, "tensor"), "fine");
    CU_ASSERT_STRING_EQUAL(text_at(root, "refused", 0, "tensor"), "bad");
    CU_ASSERT_PTR_NOT_NULL(strstr(text_at(root, "refused", 0, "reason"), "17"));
    json_decref(root);
    run_free(&r);
}

static void several_banks_are_pooled(void)
{
    char other[4096];
    snprintf(other, sizeof other, "%s", cli_bank_huge());
    run_result r = run_shell("\"$QUANT\" compare '%s' '%s' no/such/bank --schemes int4:block=8 "
                             "--format json", cli_bank_good(), other);
    CU_ASSERT_EQUAL(r.status, 5);
    json_t *root = parse(&r);
    json_t *all = json_array_get(json_object_get(root, "summary"), 0);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(all, "tensors")), 3);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(all, "elements")), 3 * 960);
    json_t *absent = json_array_get(json_object_get(root, "banks"), 2);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(absent, "error")), "E_IO");
    json_decref(root);
    run_free(&r);
    r = run_shell("\"$QUANT\" compare '%s' '%s' --schemes int4:block=8", cli_bank_good(), other);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "All banks together"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "store=f32"));
    run_free(&r);
}

/* Every report of every verb stays within the page. */
static void tables_fit_the_page(void)
{
    static const char *const commands[] = {
        ("compare '%s' --probe 2 --predict --timing --verbose --gate 'worst.cosine>=0.5' --schemes "
         "'bf16;int8:tensor;int8:channel;int4:block=32;lut4:group=32;lut3:group=32;lut2:group=32'"),
        "compare '%s' --schemes 'int8:channel,scale=percentile:99.9,range=half;int4:block=8,asym'",
        "inspect '%s'", "schemes", "help compare", "help encode", "--help"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        char line[8192];
        const char *hole = strstr(commands[i], "%s");
        size_t before = hole ? (size_t)(hole - commands[i]) : strlen(commands[i]);
        snprintf(line, sizeof line, "%.*s%s%s", (int)before, commands[i],
                 hole ? cli_bank_good() : "", hole ? hole + 2 : "");
        run_result r = run_shell("\"$QUANT\" %s", line);
        int blank_ends = 0, widest = widest_line(r.out, &blank_ends);
        CU_ASSERT_EQUAL(r.status, 0);
        CU_ASSERT(widest <= QUANT_TABLE_WIDTH);
        CU_ASSERT_EQUAL(blank_ends, 0);
        if (widest > QUANT_TABLE_WIDTH || blank_ends > 0) {
            printf("\n    quant %s\n%s", line, r.out);
        }
        run_free(&r);
    }
}

static void the_two_spellings_are_one(void)
{
    const char *bank = cli_bank_good();
    run_result a = run_shell("\"$QUANT\" compare --schemes=bf16 --format=csv -- '%s'", bank);
    run_result b = run_shell("\"$QUANT\" compare '%s' --format csv --schemes bf16 -q", bank);
    CU_ASSERT_EQUAL(a.status, 0);
    CU_ASSERT_STRING_EQUAL(a.out, b.out);
    CU_ASSERT_NSTRING_EQUAL(a.out, "path,tensor,shape,dtype,scheme,cosine,", 38);
    run_free(&a);
    run_free(&b);
}

/* JSON has every k up to the distinct values, CSV and table the sizes of codebook schemes. */
static void inspect_shows_curves(void)
{
    run_result r = run_shell("\"$QUANT\" inspect '%s' --curve --format json", cli_bank_nan());
    json_t *root = parse(&r), *good = at(root, "tensors", 0), *bad = at(root, "tensors", 1);
    json_t *curve = json_object_get(good, "curve");
    size_t n = (size_t)json_integer_value(json_object_get(good, "distinct"));
    double before = -1;
    CU_ASSERT(r.status == 0 && n > 1 && json_array_size(curve) == (n < 256 ? n : 256));
    for (size_t k = 0; k + 1 < json_array_size(curve); k++) {
        double db = json_real_value(json_object_get(json_array_get(curve, k), "sqnr_db"));
        CU_ASSERT(db > before);
        before = db;
    }
    CU_ASSERT_PTR_NULL(json_object_get(bad, "curve"));
    json_decref(root);
    run_free(&r);
    r = run_shell("\"$QUANT\" inspect '%s' --curve --format csv", cli_bank_nan());
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, ",sqnr_db_k2,entropy_bits_k2,sqnr_db_k4"));
    run_free(&r);
    r = run_shell("\"$QUANT\" inspect '%s' --curve", cli_bank_nan());
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "The best table of k values"));
    run_free(&r);
}

static void inspect_reports_what_is_there(void)
{
    run_result r = run_shell("\"$QUANT\" inspect '%s' --format json", cli_bank_nan());
    json_t *root = parse(&r);
    json_t *bad = at(root, "tensors", 1);
    CU_ASSERT_EQUAL(r.status, 0);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(bad, "nonfinite")), 2);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(bad, "first_nonfinite")), 17);
    CU_ASSERT(json_real_value(json_object_get(bad, "rms")) > 1.0);
    CU_ASSERT(json_is_null(json_object_get(at(root, "tensors", 0), "first_nonfinite")));
    json_decref(root);
    run_free(&r);
    r = run_shell("\"$QUANT\" inspect '%s'", cli_bank_nan());
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "non-finite: 2 values in 1 tensor\n"));
    run_free(&r);
    r = run_shell("\"$QUANT\" inspect '%s'", cli_bank_unsupported());
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "not decoded: F8_E4M3, 1 tensor\n"));
    run_free(&r);
    r = run_shell("\"$QUANT\" inspect '%s'", cli_bank_empty());
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "0 tensors"));
    run_free(&r);
}

/* Scheme by scheme, what compare says is what the packed and the decoded file have. */
static void packed_banks_hold_what_compare_said(void)
{
    static const char *const schemes[] = {"int8:channel", "int4:block=32,asym", "lut3:group=8",
                                          "bf16"};
    char bank[4096], packed[4096], plain[4096];
    snprintf(bank, sizeof bank, "%s", cli_bank_good());
    snprintf(packed, sizeof packed, "%s", test_scratch_path("packed.safetensors"));
    snprintf(plain, sizeof plain, "%s", test_scratch_path("plain.safetensors"));
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        run_result r = run_shell("\"$QUANT\" encode '%s' -o '%s' --force -q --scheme %s && "
                                 "\"$QUANT\" decode '%s' --output='%s' --force -q", bank, packed,
                                 schemes[i], packed, plain);
        CU_ASSERT_EQUAL(r.status, 0);
        CU_ASSERT_EQUAL(r.out_bytes + r.err_bytes, 0);
        run_free(&r);
        run_result said = run_shell("\"$QUANT\" compare '%s' --schemes %s --format json", bank,
                                    schemes[i]);
        json_t *want = parse(&said);
        for (int k = 0; k < 2; k++) {
            run_result held = run_shell("\"$QUANT\" compare '%s' --against '%s' --format json",
                                        bank, k ? plain : packed);
            json_t *got = parse(&held);
            for (size_t row = 0; row < 2; row++) {
                double a = json_real_value(json_object_get(at(want, "rows", row), "mse"));
                double b = json_real_value(json_object_get(at(got, "rows", row), "mse"));
                CU_ASSERT(a == b && a > 0);
            }
            json_decref(got);
            run_free(&held);
        }
        json_decref(want);
        run_free(&said);
    }
}

static void existing_files_are_safe(void)
{
    char out[4096];
    snprintf(out, sizeof out, "%s", test_scratch_path("there.safetensors"));
    scratch_put(out, "precious", 8);
    run_result r = run_shell("\"$QUANT\" encode '%s' -o '%s' --scheme bf16", cli_bank_good(), out);
    CU_ASSERT_EQUAL(r.status, 5);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.err, "--force"));
    CU_ASSERT(scratch_holds(out, "precious", 8));
    run_free(&r);
    r = run_shell("\"$QUANT\" encode '%s' -o '%s' --force --scheme int8:tensor", cli_bank_nan(),
                  out);
    CU_ASSERT_EQUAL(r.status, 3);
    CU_ASSERT(scratch_holds(out, "precious", 8));
    run_free(&r);
    r = run_shell("\"$QUANT\" encode '%s' -o '%s' --force --scheme int8:tensor --nonfinite keep",
                  cli_bank_nan(), out);
    CU_ASSERT_EQUAL(r.status, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "1 tensor quantized, 1 kept, of them 1 with NaN"));
    run_free(&r);
    r = run_shell("\"$QUANT\" encode '%s' -o '%s' --force --scheme int4:block=8", cli_bank_huge(),
                  out);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "1 with f32 scales"));
    run_free(&r);
}

static void recipes_choose_by_name(void)
{
    static const char rules[] = "{\"*.bias\": \"keep\", \"model.*\": \"lut4:tensor\", "
                                "\"z*\": \"bf16\", \"*\": \"int8:channel\"}";
    char recipe[4096];
    snprintf(recipe, sizeof recipe, "%s", test_scratch_path("recipe.json"));
    scratch_put(recipe, rules, sizeof rules - 1);
    run_result r = run_shell("\"$QUANT\" compare '%s' --recipe '%s' --format json", cli_bank_good(),
                             recipe);
    CU_ASSERT_EQUAL(r.status, 0);
    json_t *root = parse(&r);
    CU_ASSERT_STRING_EQUAL(text_at(root, "rows", 0, "scheme"), "int8:channel");
    CU_ASSERT_STRING_EQUAL(text_at(root, "rows", 1, "scheme"), "lut4:tensor");
    const char *note = json_string_value(at(root, "notes", 0));
    CU_ASSERT(note && strstr(note, "decided no tensor: z*"));
    json_decref(root);
    run_free(&r);
}

static void a_real_bank_is_compared(void)
{
    const char *bank = test_bank_path("stories260k/model.safetensors");
    if (!bank) {
        return;
    }
    run_result r = run_shell("\"$QUANT\" compare '%s' --schemes 'int8:tensor;int8:channel'", bank);
    CU_ASSERT_EQUAL(r.status, 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "model.safetensors: safetensors, 47 tensors, 260 032"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "model.layers.4.mlp.up_proj.weight"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "kept: 11 tensors, 1-D:"));
    run_free(&r);
}

/* One output row: the cosine of a number with a number is +1 or -1, and the report says so. */
static void outputs_of_one_number_are_pointed_out(void)
{
    const char *bank = test_scratch_path("row.safetensors");
    run_result r = run_shell(
        "\"$(dirname \"$QUANT\")/make_bank\" -o '%s' --tensor head=1x64 >/dev/null && "
        "\"$QUANT\" compare '%s' --probe 4 --schemes int8:channel", bank, bank);
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "cosine is only a sign"));
    CU_ASSERT_PTR_NOT_NULL(strstr(r.out, "int8:channel 4"));
    run_free(&r);
}

TEST_SUITE(cli_verbs,
           {"threads do not change a byte of JSON", threads_do_not_change_a_byte},
           {"compare reports rows and lists", compare_reports_rows_and_lists},
           {"refused tensors are listed, the rest measured",
            refused_tensors_are_listed_and_the_rest_measured},
           {"several banks are pooled", several_banks_are_pooled},
           {"tables fit the page", tables_fit_the_page},
           {"--opt=value is --opt value", the_two_spellings_are_one},
           {"inspect reports what is there", inspect_reports_what_is_there},
           {"inspect shows curves", inspect_shows_curves},
           {"packed banks hold what compare said", packed_banks_hold_what_compare_said},
           {"existing files are safe", existing_files_are_safe},
           {"recipes choose by name", recipes_choose_by_name},
           {"a real bank is compared", a_real_bank_is_compared},
           {"outputs of one number are pointed out", outputs_of_one_number_are_pointed_out})
