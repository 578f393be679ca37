/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Batches of regions against the plain path. A matrix with its channels along the rows is encoded
 * in batches, its transpose with its channels along the columns region by region: parameters,
 * codes and counts must be the same, for sizes that cross every batch, piece and strip. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/quant.h"
#include "tests/judge.h"
#include "tests/test.h"

typedef struct encoded {
    quant_scheme scheme;
    quant_shape shape;
    quant_layout layout;
    quant_encode_info info;
    quant_status status;
    uint8_t *packed;
} encoded;

static encoded encode(const char *text, int axis, quant_shape shape, const float *w)
{
    encoded e = {.shape = shape};
    char full[64];
    snprintf(full, sizeof full, axis ? "%s,axis=1" : "%s", text);
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, full, &e.scheme), QUANT_OK);
    CU_ASSERT_EQUAL_FATAL(quant_encode_layout(NULL, &e.scheme, &shape, &e.layout), QUANT_OK);
    e.packed = malloc(e.layout.bytes + 1);
    CU_ASSERT_PTR_NOT_NULL_FATAL(e.packed);
    e.status = quant_encode(NULL, &e.scheme, &shape, w, e.packed, e.layout.bytes, &e.info);
    return e;
}

static float *decode(const encoded *e)
{
    float *y = malloc((e->info.elements + 1) * sizeof *y);
    CU_ASSERT_PTR_NOT_NULL_FATAL(y);
    CU_ASSERT_EQUAL(quant_decode(NULL, &e->scheme, &e->shape, e->packed, e->layout.bytes, y),
                    QUANT_OK);
    return y;
}

/* Gauss with zero regions, regions next to the largest float, and subnormal ones. */
static float *weights(size_t rows, size_t cols, bool extreme)
{
    float *w = malloc(rows * cols * sizeof *w);
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    judge_fill(w, rows * cols, JUDGE_OUTLIERS, test_seed());
    for (size_t i = 0; extreme && i < rows * cols; i++) {
        static const float factors[] = {1.0f, 0.0f, 1e-42f, 1e33f, 1e-6f, 1.0f, 3e-8f};
        w[i] *= factors[i / 50 % 7]; /* 1e33 times the largest outlier is finite */
    }
    return w;
}

static float *transposed(const float *w, size_t rows, size_t cols)
{
    float *t = malloc(rows * cols * sizeof *t);
    CU_ASSERT_PTR_NOT_NULL_FATAL(t);
    for (size_t r = 0; r < rows; r++) {
        for (size_t c = 0; c < cols; c++) {
            t[c * rows + r] = w[r * cols + c];
        }
    }
    return t;
}

static void compare_values(const encoded *a, const encoded *b, size_t rows, size_t cols)
{
    float *y = decode(a), *plain = decode(b), *back = transposed(plain, cols, rows);
    CU_ASSERT_EQUAL(memcmp(y, back, rows * cols * sizeof *y), 0);
    free(y), free(plain), free(back);
}

static void compare_paths(const char *text, size_t rows, size_t cols, bool extreme)
{
    float *w = weights(rows, cols, extreme), *t = transposed(w, rows, cols);
    encoded a = encode(text, 0, (quant_shape){2, {rows, cols}}, w);
    encoded b = encode(text, 1, (quant_shape){2, {cols, rows}}, t);
    CU_ASSERT_EQUAL(a.status, b.status);
    if (a.status == QUANT_OK && b.status == QUANT_OK) {
        const quant_segment s = a.layout.scale, z = a.layout.zero;
        CU_ASSERT_EQUAL(memcmp(a.packed + s.offset, b.packed + b.layout.scale.offset, s.bytes), 0);
        CU_ASSERT_EQUAL(memcmp(a.packed + z.offset, b.packed + b.layout.zero.offset, z.bytes), 0);
        CU_ASSERT_EQUAL(memcmp(&a.info, &b.info, sizeof a.info), 0);
        compare_values(&a, &b, rows, cols);
    }
    free(w), free(t), free(a.packed), free(b.packed);
}

static void batches_are_the_bytes_of_single_regions(void)
{
    static const char *const texts[] = {
        "int8:channel", "int4:channel,asym", "int8:block=1", "int4:block=3", "int4:block=8,asym",
        "int3:block=32", "int4:block=32", "int4:block=32,asym", "int8:block=32,store=bf16",
        "int4:block=33,range=half", "int2:block=100,range=full", "int4:block=4096",
        "int4:block=5000", "int8:block=17001", "int3:block=17001,asym", "int4:block=17008",
    };
    static const size_t sizes[][2] = {{37, 96}, {5, 8192}, {300, 33}, {9, 20001}, {3, 40000}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            compare_paths(texts[i], sizes[k][0], sizes[k][1], false);
            compare_paths(texts[i], sizes[k][0], sizes[k][1], true);
        }
    }
}

/* Scales that overflow f16, and NaN or infinity anywhere: the same refusals. */
static void failures_are_those_of_single_regions(void)
{
    static const float wrong[] = {1e9f, INFINITY, -INFINITY, NAN};
    static const size_t places[] = {0, 31, 32, 4095, 4096, 5000, 19999};
    float w[20000];
    for (size_t i = 0; i < 4 * sizeof places / sizeof *places; i++) {
        judge_fill(w, 20000, JUDGE_GAUSS, test_seed());
        w[places[i / 4]] = wrong[i % 4];
        for (int asymmetric = 0; asymmetric < 2; asymmetric++) {
            encoded e = encode(asymmetric ? "int4:block=32,asym" : "int4:block=32", 0,
                               (quant_shape){2, {10, 2000}}, w);
            CU_ASSERT_EQUAL(e.status, i % 4 ? QUANT_ENONFINITE : QUANT_ESCALE);
            free(e.packed);
        }
    }
}

/* Values of e at y and, on no line of cache, four floats behind it, against spans decoded alone. */
static size_t wrong_spans(const encoded *e, float *y, float *part, size_t span)
{
    const size_t n = e->info.elements;
    size_t wrong = 0;
    for (int shift = 0; shift < 8; shift += 4) {
        CU_ASSERT_EQUAL(quant_decode(NULL, &e->scheme, &e->shape, e->packed, e->layout.bytes,
                                     y + shift), QUANT_OK);
        for (size_t at = 0; at < n; at += span) {
            size_t m = n - at < span ? n - at : span;
            CU_ASSERT_EQUAL(quant_decode_span(NULL, &e->scheme, &e->shape, e->packed,
                                              e->layout.bytes, at, m, part), QUANT_OK);
            wrong += memcmp(part, y + shift + at, m * sizeof *y) != 0;
        }
    }
    return wrong;
}

/* Beyond a size results are written past the caches: the same values as in spans. */
static void large_results_are_those_of_spans(void)
{
    static const struct {
        const char *text;
        size_t cols; /* 4128: whole blocks, also of 96, which do not meet at pieces */
    } cases[] = {{"int8:channel", 4099},       {"int4:block=32,asym", 4099}, {"f16", 4099},
                 {"bf16", 4099},               {"lut4:group=64,mode=uniform", 4099},
                 {"int4:block=32,asym", 4128}, {"int3:block=96", 4128},
                 {"int2:channel", 4128},       {"lut8:group=32,mode=uniform", 4128},
                 {"lut6:group=7,mode=uniform", 4128}};
    const size_t rows = 2048, most = rows * 4128, span = 100003;
    float *w = weights(rows, 4128, false), *part = malloc(span * sizeof *part);
    float *y = aligned_alloc(64, (most + 16) * sizeof *y);
    CU_ASSERT_FATAL(part != NULL && y != NULL);
    for (size_t i = 0; i < most; i++) {
        w[i] = fminf(fmaxf(w[i], -1000.0f), 1000.0f);
    }
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        encoded e = encode(cases[k].text, 0, (quant_shape){2, {rows, cases[k].cols}}, w);
        CU_ASSERT_EQUAL(wrong_spans(&e, y, part, span), 0);
        free(e.packed);
    }
    free(w), free(part), free(y);
}

TEST_SUITE(encode_batches,
           {"batches are the bytes of single regions", batches_are_the_bytes_of_single_regions},
           {"failures are those of single regions", failures_are_those_of_single_regions},
           {"large results are those of spans", large_results_are_those_of_spans})
