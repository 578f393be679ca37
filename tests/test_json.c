/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h>
#include <string.h>

#include "quant/bank/json.h"
#include "tests/bytes.h"
#include "tests/test.h"

static quant_context *ctx;

static void begin(void)
{
    ctx = quant_context_new(NULL);
}

static quant_status parse(const char *text)
{
    json_t *v = NULL;
    quant_status s = quant_json_parse(ctx, text, strlen(text), NULL, &v);
    CU_ASSERT((s == QUANT_OK) == (v != NULL));
    json_decref(v);
    return s;
}

static void json_trees_are_strict(void)
{
    static const struct {
        const char *text;
        quant_status expected;
    } rows[] = {
        {"{\"a\":[1,-2,3.5,1e3,true,false,null,\"x\"]}", QUANT_OK}, {" 7 ", QUANT_OK},
        {"9223372036854775807", QUANT_OK}, {"-9223372036854775808", QUANT_OK},
        {"9223372036854775808", QUANT_ERANGE}, {"-9223372036854775809", QUANT_ERANGE},
        {"-0", QUANT_ERANGE}, {"-0.0", QUANT_OK}, {"1e999", QUANT_ERANGE}, {"", QUANT_ESYNTAX},
        {"{\"a\":1,\"a\":2}", QUANT_EDUP}, {"{\"x\":{\"a\":1,\"\\u0061\":2}}", QUANT_EDUP},
        {"\"\\u0000\"", QUANT_ESYNTAX}, {"[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]", QUANT_OK},
        {"[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", QUANT_EDEPTH}, {"[1,]", QUANT_ESYNTAX},
        {"\"\xff\"", QUANT_EUTF8}, {"1 2", QUANT_ESYNTAX}, {"\"\\ud83d\\ude00\"", QUANT_OK},
        {"\xef\xbb\xbf{}", QUANT_ESYNTAX},
    };
    begin();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        quant_status s = parse(rows[i].text);
        if (s != rows[i].expected) {
            printf("\n    %s: %s", rows[i].text, quant_status_word(s));
        }
        CU_ASSERT_EQUAL(s, rows[i].expected);
    }
    int leading = -1;
    json_t *v;
    CHECK_OK(ctx, quant_json_parse(ctx, "\n1", 2, &leading, &v));
    json_decref(v);
    CU_ASSERT_EQUAL(leading, 1);
    CHECK_OK(ctx, quant_json_parse(ctx, "1", 1, &leading, &v));
    json_decref(v);
    CU_ASSERT_EQUAL(leading, 0);
    CHECK_OK(ctx, quant_json_read(ctx, bytes_save_text("j.json", "{\"k\":[]}"), 8, &v));
    CU_ASSERT(json_is_array(json_object_get(v, "k")));
    json_decref(v);
    CU_ASSERT_EQUAL(quant_json_read(ctx, test_scratch_path("j.json"), 7, &v), QUANT_ELIMIT);
    CU_ASSERT_EQUAL(quant_json_read(ctx, test_scratch_path("no.json"), 7, &v), QUANT_EIO);
    quant_context_free(ctx);
}

static quant_status parse_many(const char *item)
{
    bytes b = {NULL, 0, 0};
    bytes_add(&b, "[0", 2);
    for (int i = 0; i < 20000; i++) {
        bytes_add(&b, item, strlen(item));
    }
    bytes_add(&b, "]", 2);
    quant_status s = parse((char *)b.at);
    bytes_free(&b);
    return s;
}

/* A tree costs far more than its text when the text is all brackets or all digits. */
static void json_trees_are_paid_for_by_text(void)
{
    begin();
    CU_ASSERT_EQUAL(parse_many(",[]"), QUANT_ELIMIT);
    CU_ASSERT_EQUAL(parse_many(",[ 1234567 ]"), QUANT_ELIMIT);
    CU_ASSERT_EQUAL(parse_many(",1"), QUANT_ELIMIT);
    CU_ASSERT_EQUAL(parse_many(",12345"), QUANT_OK);
    quant_context_free(ctx);
}

TEST_SUITE(json,
           {"trees are strict", json_trees_are_strict},
           {"trees are paid for by text", json_trees_are_paid_for_by_text})
