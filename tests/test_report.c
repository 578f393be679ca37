/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_report.c - the pieces of reports: text, tables, JSON, CSV, progress. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/random.h"
#include "quant/report/csv.h"
#include "quant/report/json_out.h"
#include "quant/report/progress.h"
#include "quant/report/table.h"
#include "quant/report/text.h"
#include "tests/sink.h"
#include "tests/test.h"

static void width_counts_columns(void)
{
    CU_ASSERT_EQUAL(quant_text_width("abc"), 3);
    CU_ASSERT_EQUAL(quant_text_width("↑é"), 2);
    CU_ASSERT_EQUAL(quant_text_width("e\xcc\x81"), 1);        /* combining acute */
    CU_ASSERT_EQUAL(quant_text_width("重み"), 4);
    CU_ASSERT_EQUAL(quant_text_width("\x1b[31m"), 8);         /* \x1b and four letters */
    CU_ASSERT_EQUAL(quant_text_width("\xff\xc0\x80"), 12);    /* invalid bytes, one by one */
    CU_ASSERT_EQUAL(quant_text_width("\xe2\x80\xae"), 6);     /* \u202e turns the direction */
}

static void shortened_in_the_middle(void)
{
    char out[64];
    CU_ASSERT_EQUAL(quant_text_fit("model.layers.12.mlp.weight", 11, out, sizeof out), 11);
    CU_ASSERT_STRING_EQUAL(out, "model…eight");
    CU_ASSERT_EQUAL(quant_text_fit("short", 11, out, sizeof out), 5);
    CU_ASSERT_STRING_EQUAL(out, "short");
    CU_ASSERT_EQUAL(quant_text_fit("a\x1b[0m", 20, out, sizeof out), 8);
    CU_ASSERT_STRING_EQUAL(out, "a\\x1b[0m");
}

/* Random bytes, weighted towards controls and multi-byte sequences. */
static void random_text(uint64_t k, char *out, size_t capacity)
{
    static const char *const pieces[] = {"a", ".", "重", "é", "e\xcc\x81", "\x1b", "\xff", "\xe2",
                                         "\xe2\x80\xae", "…", "\xf0\x9f\x98\x80", "layers", "\n"};
    quant_random r = quant_random_stream(test_seed() + k, "text");
    uint64_t n = quant_random_below(&r, 0, 80);
    out[0] = '\0';
    for (uint64_t i = 1; i <= n; i++) {
        const char *piece = pieces[quant_random_below(&r, i, sizeof pieces / sizeof *pieces)];
        if (strlen(out) + strlen(piece) + 1 < capacity) {
            strcat(out, piece);
        }
    }
}

static void fit_never_exceeds_its_columns(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        char in[512], out[512];
        random_text(k, in, sizeof in);
        int columns = 3 + (int)(k % 60), used = quant_text_fit(in, columns, out, sizeof out);
        int whole = quant_text_width(in);
        int good = used <= columns && used == quant_text_width(out);
        good = good && (whole > columns || used == whole);
        for (const char *p = out; *p; p++) {
            good = good && (unsigned char)*p >= 0x20;
        }
        CU_ASSERT(good);
        if (!good) {
            test_failed_case(k, "%d columns gave %d: %s", columns, used, out);
            return;
        }
    }
}

static void numbers_read_well(void)
{
    char out[QUANT_TEXT_NUMBER];
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"}, {999, "999 B"}, {1000, "1.00 kB"}, {12345, "12.3 kB"},
                 {999499, "999 kB"}, {999500, "1.00 MB"}, {1045048, "1.05 MB"},
                 {UINT64_C(26843545600), "26.8 GB"}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        quant_text_bytes(sizes[i].bytes, out);
        CU_ASSERT_STRING_EQUAL(out, sizes[i].text);
    }
    quant_text_count(UINT64_C(1260032), out);
    CU_ASSERT_STRING_EQUAL(out, "1 260 032");
    quant_text_cosine(0.9999999, out);
    CU_ASSERT_STRING_EQUAL(out, "0.999999");
    quant_text_cosine(1.0, out);
    CU_ASSERT_STRING_EQUAL(out, "1.000000");
    quant_text_cosine(NAN, out);
    CU_ASSERT_STRING_EQUAL(out, "-");
    quant_text_percent(0.31449, out);
    CU_ASSERT_STRING_EQUAL(out, "31.4 %");
    quant_text_percent(-0.0004, out);
    CU_ASSERT_STRING_EQUAL(out, "0.0 %");
    quant_text_percent(NAN, out);
    CU_ASSERT_STRING_EQUAL(out, "-");
    quant_text_decibel(INFINITY, out);
    CU_ASSERT_STRING_EQUAL(out, "exact");
    quant_text_decibel(-3.456, out);
    CU_ASSERT_STRING_EQUAL(out, "-3.46");
    quant_text_decibel(-0.001, out);
    CU_ASSERT_STRING_EQUAL(out, "0.00");
    quant_text_cosine(-0.9999999, out);
    CU_ASSERT_STRING_EQUAL(out, "-0.999999");
}

static void a_value_reads_apart_from_its_threshold(void)
{
    static const struct {
        double value, threshold;
        const char *text;
    } rows[] = {{0.9699999999, 0.97, "0.9699999999"}, {0.5, 0.97, "0.5"}, {0.97, 0.97, "0.97"},
                {0.99996179, 0.9999618, "0.99996179"}, {0.1 + 0.2, 0.3, "0.30000000000000004"},
                {-1e-300, 0, "-1e-300"}, {INFINITY, 3, "inf"}, {NAN, 3, "-"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[QUANT_TEXT_NUMBER];
        quant_text_against(rows[i].value, rows[i].threshold, out);
        CU_ASSERT_STRING_EQUAL(out, rows[i].text);
    }
}

static void base_name_hides_folders(void)
{
    static const char *const cases[][2] = {{"/a/b/c.npy", "c.npy"}, {"dir/", "dir"}, {"x", "x"},
                                           {"/", "/"}, {"../m", "m"}, {"a//", "a"}, {".", "."}};
    char out[64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        quant_text_base(cases[i][0], out, sizeof out);
        CU_ASSERT_STRING_EQUAL(out, cases[i][1]);
    }
}

static void table_is_aligned(void)
{
    static const quant_column columns[] = {{"name", true, 8}, {"x\nnumber ↑", false, 0},
                                           {"note", true, 0}};
    quant_context *ctx = quant_context_new(NULL);
    quant_table *t = quant_table_new(ctx, columns, 3, 2);
    static const char *const cells[] = {"a", "1", "yes", "重み", "22.5", ""};
    for (int i = 0; i < 6; i++) {
        quant_table_add(t, cells[i]);
    }
    sink *s = sink_new();
    CHECK_OK(ctx, quant_table_print(t, s->to));
    CU_ASSERT_STRING_EQUAL(text_of(s), "             x\n"
                                       "name  number ↑  note\n"
                                       "────────────────────\n"
                                       "a            1  yes\n"
                                       "重み      22.5\n");
    quant_table_add(t, "one too many");
    CU_ASSERT_EQUAL(quant_table_print(t, s->to), QUANT_ENOMEM);
    quant_table_free(t);
    sink_free(s);
    quant_context_free(ctx);
}

/* Whatever the columns, no line is wider than the page and each block repeats the key. */
static void tables_fit_the_page(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        quant_random r = quant_random_stream(test_seed() + k, "table");
        quant_column columns[12];
        size_t count = 1 + (size_t)quant_random_below(&r, 0, 12);
        char headings[12][512], cell[512];
        for (size_t i = 0; i < count; i++) {
            random_text(k * 31 + i, headings[i], sizeof headings[i]);
            int shrink = (int)quant_random_below(&r, 1 + i, 30);
            columns[i] = (quant_column){headings[i], shrink % 2 == 0, shrink < 3 ? 0 : shrink};
        }
        quant_table *t = quant_table_new(NULL, columns, count, 3);
        for (size_t i = 0; i < 3 * count; i++) {
            random_text(k * 57 + i, cell, sizeof cell);
            quant_table_add(t, cell);
        }
        sink *s = sink_new();
        int blank_ends = 0;
        CU_ASSERT_EQUAL(quant_table_print(t, s->to), QUANT_OK);
        int widest = widest_line(text_of(s), &blank_ends);
        CU_ASSERT(widest <= QUANT_TABLE_WIDTH);
        if (widest > QUANT_TABLE_WIDTH) {
            test_failed_case(k, "a line of %d columns:\n%s", widest, s->data);
            k = test_last_case();
        }
        sink_free(s);
        quant_table_free(t);
    }
}

static void json_reads_back(void)
{
    static const double reals[] = {0.1, 1e-300, -5e-324, 1.7976931348623157e308, 1.0 / 3.0};
    quant_context *ctx = quant_context_new(NULL);
    quant_json_writer w;
    sink *s = sink_new();
    quant_shape shape = {2, {64, 172}};
    quant_json_start(&w, s->to);
    quant_json_open(&w, NULL, '{', QUANT_JSON_LINES);
    quant_json_put(&w, "text", quant_value_text("a\"\\\n\x1b\xff é"));
    quant_json_put(&w, "nan", quant_value_real(NAN));
    quant_json_put(&w, "none", quant_value_text(NULL));
    quant_json_put(&w, "shape", quant_value_shape(&shape));
    quant_json_open(&w, "reals", '[', QUANT_JSON_INLINE);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        quant_json_put(&w, NULL, quant_value_real(reals[i]));
    }
    quant_json_close(&w);
    quant_json_open(&w, "empty", '[', QUANT_JSON_LINES);
    quant_json_close(&w);
    quant_json_close(&w);
    CHECK_OK(ctx, quant_json_finish(ctx, &w));
    json_t *root = json_loads(text_of(s), JSON_REJECT_DUPLICATES, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(root, "text")),
                           "a\"\\\n\x1b\xef\xbf\xbd é");
    CU_ASSERT(json_is_null(json_object_get(root, "nan")));
    CU_ASSERT(json_is_null(json_object_get(root, "none")));
    CU_ASSERT_EQUAL(json_integer_value(json_array_get(json_object_get(root, "shape"), 1)), 172);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        json_t *real = json_array_get(json_object_get(root, "reals"), i);
        CU_ASSERT_EQUAL(json_real_value(real), reals[i]);
    }
    json_decref(root);
    sink_free(s);
    quant_context_free(ctx);
}

static void csv_follows_the_rfc(void)
{
    sink *s = sink_new();
    quant_csv_writer w = {s->to, false};
    quant_shape shape = {3, {2, 3, 4}};
    quant_csv_put(&w, quant_value_text("plain"));
    quant_csv_put(&w, quant_value_text("a,b"));
    quant_csv_put(&w, quant_value_text("say \"hi\"\r\n"));
    quant_csv_put(&w, quant_value_text(NULL));
    quant_csv_put(&w, quant_value_real(0.1));
    quant_csv_put(&w, quant_value_real(INFINITY));
    quant_csv_put(&w, quant_value_flag(true));
    quant_csv_put(&w, quant_value_shape(&shape));
    quant_csv_end_row(&w);
    quant_csv_put(&w, quant_value_count(7));
    quant_csv_end_row(&w);
    CU_ASSERT_STRING_EQUAL(text_of(s), "plain,\"a,b\",\"say \"\"hi\"\"\r\n\",,0.10000000000000001,,"
                                       "true,2x3x4\r\n7\r\n");
    sink_free(s);
}

static void progress_estimates(void)
{
    char line[384];
    quant_progress_line("blk.3", 25, 100, 20.0, line, sizeof line);
    CU_ASSERT_STRING_EQUAL(line, " 25 %  eta 1:00  blk.3");
    quant_progress_line(NULL, 0, 0, 1.0, line, sizeof line);
    CU_ASSERT_STRING_EQUAL(line, "  0 %  eta -:--  ");
    quant_progress p;
    sink *s = sink_new();
    FILE *null = fopen("/dev/null", "w");
    quant_progress_begin(&p, null, false);
    CU_ASSERT_PTR_NULL(p.to); /* no terminal, no progress */
    quant_progress_step(&p, "x", 1, 2);
    quant_progress_end(&p);
    fclose(null);
    sink_free(s);
}

TEST_SUITE(report,
           {"width counts terminal columns", width_counts_columns},
           {"long names lose their middle", shortened_in_the_middle},
           {"fitting never exceeds its columns", fit_never_exceeds_its_columns},
           {"numbers read well", numbers_read_well},
           {"a value reads apart from its threshold", a_value_reads_apart_from_its_threshold},
           {"base names hide folders", base_name_hides_folders},
           {"a table is aligned", table_is_aligned},
           {"tables fit the page", tables_fit_the_page},
           {"JSON reads back as it was", json_reads_back},
           {"CSV follows RFC 4180", csv_follows_the_rfc},
           {"progress estimates and stays silent", progress_estimates})
