/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Encoding against known bytes and against an oracle that knows coordinates only. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/linear_range.h"
#include "quant/store.h"
#include "tests/draw.h"
#include "tests/judge.h"
#include "tests/test.h"

static quant_scheme scheme_of(const char *text)
{
    quant_scheme s;
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
    return s;
}

static const void *part(const uint8_t *packed, quant_segment s)
{
    return packed + s.offset;
}

/* Golden: asymmetric int4 of one block, codes [-1,-8,7,-2] in two's complement nibbles. */
static void golden_asymmetric_block(void)
{
    quant_scheme s = scheme_of("int4:block=4,asym,store=f32");
    quant_shape shape = {2, {1, 4}};
    const float w[] = {-2, -10, 6, -3};
    quant_layout l;
    uint8_t *p = encode_new(NULL, &s, &shape, w, &l, NULL);
    const uint8_t codes[] = {0x8f, 0xe7}, zero[] = {1};
    float scale;
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    memcpy(&scale, part(p, l.scale), 4);
    CU_ASSERT_EQUAL(memcmp(part(p, l.codes), codes, 2), 0);
    CU_ASSERT_EQUAL(memcmp(part(p, l.zero), zero, 1), 0);
    CU_ASSERT_EQUAL(scale, (float)(16.0 / 15.0));
    CU_ASSERT_EQUAL(l.stored_bytes, 2 + 4 + 1);
    free(p);
}

/* Golden: 0..15 in 4 x 4, exact 3-bit tables for groups of two rows and of two columns. */
static void golden_unique_tables(void)
{
    static const struct {
        const char *scheme;
        float table[16];
        uint8_t code[16];
    } golden[] = {
        {"lut3:group=2,mode=unique", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
         {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7}},
        {"lut3:group=2,mode=unique,axis=1", {0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15},
         {0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7}},
    };
    float w[16];
    for (int i = 0; i < 16; i++) {
        w[i] = (float)i;
    }
    for (int g = 0; g < 2; g++) {
        quant_scheme s = scheme_of(golden[g].scheme);
        quant_shape shape = {2, {4, 4}};
        quant_layout l;
        uint8_t *p = encode_new(NULL, &s, &shape, w, &l, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(p);
        for (uint64_t i = 0; i < 16; i++) {
            const uint8_t *c = part(p, l.codes);
            unsigned high = 3 * i / 8 + 1 < 6 ? c[3 * i / 8 + 1] : 0;
            unsigned word = c[3 * i / 8] | high << 8;
            CU_ASSERT_EQUAL(word >> (3 * i % 8) & 7, golden[g].code[i]);
            CU_ASSERT_EQUAL(quant_store_get(s.table_store, part(p, l.table), i),
                            golden[g].table[i]);
        }
        free(p);
    }
}

/* Golden: grouped table decode, (6,2) indices with two tables of four entries. */
static void golden_grouped_table_decode(void)
{
    quant_scheme s = scheme_of("lut2:group=3,lut=f32");
    quant_shape shape = {2, {6, 2}};
    const uint8_t index[] = {2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3};
    const float table[] = {1, 5, 9, 13, 2, 10, 18, 26};
    const float want[] = {9, 13, 13, 1, 5, 1, 26, 2, 18, 10, 2, 26};
    quant_layout l;
    float got[12];
    uint8_t packed[64] = {0};
    CU_ASSERT_EQUAL_FATAL(quant_encode_layout(NULL, &s, &shape, &l), QUANT_OK);
    for (int i = 0; i < 12; i++) {
        packed[i / 4] |= (uint8_t)(index[i] << i % 4 * 2);
    }
    memcpy(packed + l.table.offset, table, sizeof table);
    CU_ASSERT_EQUAL(quant_decode(NULL, &s, &shape, packed, l.bytes, got), QUANT_OK);
    CU_ASSERT_EQUAL(memcmp(got, want, sizeof want), 0);
}

/* Golden: shift and scale along the last axis (scale repeated over its block) and along axis 1. */
static void golden_shift_scale(void)
{
    static const struct {
        const char *scheme;
        int channels;
        int8_t data[8], zero[4];
        float scale[4], want[8];
    } golden[] = {
        {"int8:channel,axis=2,asym", 4, {4, 8, 10, 13, 24, 5, 6, 9}, {4, 4, 0, 0}, {4, 4, 8, 8},
         {0, 16, 80, 104, 80, 4, 48, 72}},
        {"int4:channel,axis=2,asym,store=f32", 4, {4, 0, -8, 0, -6, 0, -3, 0}, {4, 4, 0, 0},
         {4, 4, 8, 8}, {0, -16, -64, 0, -40, -16, -24, 0}},
        {"int4:channel,axis=1,asym,store=f32", 2, {4, 0, -8, 0, -6, 0, -3, 0}, {4, 0}, {4, 8},
         {0, -16, -48, -16, -48, 0, -24, 0}},
    };
    for (size_t g = 0; g < sizeof golden / sizeof *golden; g++) {
        quant_scheme s = scheme_of(golden[g].scheme);
        quant_shape shape = {3, {1, 2, 4}};
        quant_layout l;
        uint8_t packed[128] = {0};
        float got[8];
        CU_ASSERT_EQUAL_FATAL(quant_encode_layout(NULL, &s, &shape, &l), QUANT_OK);
        CU_ASSERT_EQUAL(l.scale.count, (size_t)golden[g].channels);
        for (int i = 0; i < 8; i++) {
            int at = i * s.bits;
            packed[at / 8] |= (uint8_t)((golden[g].data[i] & ((1 << s.bits) - 1)) << at % 8);
        }
        memcpy(packed + l.scale.offset, golden[g].scale, (size_t)golden[g].channels * 4);
        for (int c = 0; c < golden[g].channels; c++) {
            int at = c * s.bits;
            packed[l.zero.offset + (size_t)(at / 8)] |=
                (uint8_t)((golden[g].zero[c] & ((1 << s.bits) - 1)) << at % 8);
        }
        CU_ASSERT_EQUAL(quant_decode(NULL, &s, &shape, packed, l.bytes, got), QUANT_OK);
        CU_ASSERT_EQUAL(memcmp(got, golden[g].want, sizeof got), 0);
    }
}

/* Golden: fewer distinct values than entries: ascending, then zeros. */
static void golden_table_padding(void)
{
    quant_scheme s = scheme_of("lut4:tensor");
    quant_shape shape = {1, {26}};
    float w[26];
    for (int i = 0; i < 26; i++) {
        w[i] = (float)(i % 13) * 0.25f - 4.0f;
    }
    quant_layout l;
    quant_encode_info info;
    uint8_t *p = encode_new(NULL, &s, &shape, w, &l, &info);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    for (uint64_t i = 0; i < 16; i++) {
        float entry = quant_store_get(QUANT_STORE_F16, part(p, l.table), i);
        CU_ASSERT_EQUAL(entry, i < 13 ? (float)i * 0.25f - 4.0f : 0.0f);
    }
    CU_ASSERT_EQUAL(info.distinct_codes, 13);
    CU_ASSERT_EQUAL(info.zero_codes, 0);
    CU_ASSERT_EQUAL(info.optimal_sse, 0.0);
    free(p);
}

/* A weight half way between two entries goes to the lower one, the next float to the upper. No
 * float holds the midpoints of the last two cases; the nearest one lies below, then above. */
static void ties_go_to_the_lower_entry(void)
{
    const float odd = 1.0f + 0x1p-23f, even = 1.0f + 0x1p-22f;
    const struct {
        const char *scheme;
        float w[4], want[4];
    } cases[] = {
        {"lut1:tensor,mode=uniform", {-1, 3, 1, odd}, {-1, 3, -1, 3}},
        {"lut1:tensor,mode=uniform,lut=f32", {1, odd, 1, odd}, {1, odd, 1, odd}},
        {"lut1:tensor,mode=uniform,lut=f32", {even, odd, even, odd}, {even, odd, even, odd}},
    };
    for (int i = 0; i < 3; i++) {
        quant_scheme s = scheme_of(cases[i].scheme);
        quant_shape shape = {1, {4}};
        quant_layout l;
        float got[4];
        uint8_t *p = encode_new(NULL, &s, &shape, cases[i].w, &l, NULL);
        CU_ASSERT_PTR_NOT_NULL_FATAL(p);
        CU_ASSERT_EQUAL(quant_decode(NULL, &s, &shape, p, l.bytes, got), QUANT_OK);
        CU_ASSERT_EQUAL(memcmp(got, cases[i].want, sizeof got), 0);
        free(p);
    }
}

/* ---- the oracle: every element knows its coordinates, regions are lists of equal keys ---- */

static uint64_t key_of(const quant_scheme *s, const quant_shape *shape, uint64_t e)
{
    uint64_t at[QUANT_MAX_RANK], matrix = 0, flat = 0;
    for (int i = shape->rank; i-- > 0; e /= shape->dim[i]) {
        at[i] = e % shape->dim[i];
    }
    int axis = s->stack + (s->axis < 0 ? s->axis + shape->rank - s->stack : s->axis);
    for (int i = 0; i < shape->rank; i++) {
        if (i < s->stack) {
            matrix = matrix * shape->dim[i] + at[i];
        } else if (i != axis) {
            flat = flat * shape->dim[i] + at[i];
        }
    }
    uint64_t channel = s->granularity == QUANT_PER_TENSOR  ? 0
                       : s->granularity == QUANT_PER_GROUP ? at[axis] / s->size
                                                           : at[axis];
    uint64_t block = s->granularity == QUANT_PER_BLOCK ? flat / s->size : 0;
    return matrix << 40 | channel << 20 | block;
}

/* A region's scale by the definition, absmax only. */
static float oracle_scale(const quant_scheme *s, float lo, float hi)
{
    float half = (float)(1 << (s->bits - 1)), raw;
    float most = hi > -lo ? hi : -lo;
    if (s->asymmetric) {
        raw = (float)(((double)(hi > 0 ? hi : 0) - (lo < 0 ? lo : 0)) / (2 * half - 1));
    } else {
        raw = most / (half - (s->range == QUANT_RANGE_NARROW ? 1.0f
                              : s->range == QUANT_RANGE_HALF ? 0.5f
                                                             : 0.0f));
    }
    if (s->store == QUANT_STORE_F16 && raw < 0x1p-14f) {
        return ceilf(raw * 0x1p24f) * 0x1p-24f; /* subnormal half: up to the next multiple */
    }
    return quant_store_round(s->store, raw);
}

static float oracle_value(const quant_scheme *s, float w, float lo, float hi)
{
    float scale = oracle_scale(s, lo, hi);
    double half = 1 << (s->bits - 1), bottom = -half, top = half - 1, zero = 0;
    lo = lo < 0 ? lo : 0;
    hi = hi > 0 ? hi : 0;
    if (scale == 0.0f) {
        return 0.0f;
    }
    if (s->asymmetric) {
        zero = rint((bottom * hi - top * lo) / ((double)hi - lo));
        zero = fmin(fmax(zero, bottom), top);
    } else if (s->range == QUANT_RANGE_NARROW) {
        bottom = -top;
    }
    double code = fmin(fmax((double)rintf(w / scale) + zero, bottom), top);
    return scale * (float)(code - zero);
}

static int oracle_agrees(const quant_scheme *s, const drawn_tensor *t, const float *got)
{
    uint64_t *key = malloc(t->n * sizeof *key);
    int wrong = 0;
    for (size_t i = 0; i < t->n; i++) {
        key[i] = key_of(s, &t->shape, i);
    }
    for (size_t i = 0; i < t->n && !wrong; i++) {
        if (i && key[i] == key[i - 1] && i % 7) {
            continue; /* a sample of each region is enough: the search below is quadratic */
        }
        float lo = t->w[i], hi = t->w[i];
        for (size_t j = 0; j < t->n; j++) {
            if (key[j] == key[i]) {
                lo = t->w[j] < lo ? t->w[j] : lo;
                hi = t->w[j] > hi ? t->w[j] : hi;
            }
        }
        float want = oracle_value(s, t->w[i], lo, hi);
        wrong = want != got[i];
    }
    free(key);
    return !wrong;
}

static void linear_agrees_with_the_oracle(void)
{
    for (uint64_t k = test_first_case(); k < test_last_case(); k++) {
        draw d = draw_begin("oracle", k);
        drawn_tensor t = draw_tensor(&d);
        quant_scheme s = draw_linear(&d, &t.shape);
        s.rule = QUANT_SCALE_ABSMAX;
        quant_layout l;
        uint8_t *p = encode_new(NULL, &s, &t.shape, t.w, &l, NULL);
        float *y = malloc(t.n * sizeof *y);
        int ok = p && quant_decode(NULL, &s, &t.shape, p, l.bytes, y) == QUANT_OK &&
                 oracle_agrees(&s, &t, y);
        free(p);
        free(y);
        free(t.w);
        if (!ok) {
            char text[QUANT_SCHEME_TEXT];
            quant_scheme_print(&s, text);
            test_failed_case(k, "%s rank %d", text, t.shape.rank);
            CU_FAIL("encode differs from the definition");
            return;
        }
    }
}

/* Code number i of a stream, by its definition. */
static unsigned code_at(const uint8_t *stream, uint64_t i, unsigned bits)
{
    unsigned code = 0;
    for (unsigned b = 0; b < bits; b++) {
        uint64_t at = i * bits + b;
        code |= (unsigned)(stream[at / 8] >> at % 8 & 1) << b;
    }
    return code;
}

/* Of n <= 256 weights, some of them zero. */
static void check_counts(quant_scheme *s, const quant_shape *shape, uint64_t n)
{
    float w[256], y[256];
    bool seen[256] = {false};
    uint64_t zeros = 0, distinct = 0;
    quant_layout l;
    quant_encode_info info;
    judge_fill(w, n, JUDGE_GAUSS, test_seed() + n);
    for (uint64_t i = 0; i < n; i += 5) {
        w[i] = 0.0f;
    }
    uint8_t *p = encode_new(NULL, s, shape, w, &l, &info);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p);
    CU_ASSERT_EQUAL(quant_decode(NULL, s, shape, p, l.bytes, y), QUANT_OK);
    for (uint64_t i = 0; i < n; i++) {
        bool *mine = &seen[code_at(part(p, l.codes), i, (unsigned)s->bits)];
        distinct += !*mine;
        *mine = true;
        zeros += y[i] == 0.0f;
    }
    CU_ASSERT_EQUAL(info.distinct_codes, distinct);
    CU_ASSERT_EQUAL(info.zero_codes, zeros);
    free(p);
}

static void info_counts_the_codes_and_those_of_zero(void)
{
    static const char *const texts[] = {"int8:channel", "int8:tensor,range=full", "int4:block=32",
                                        "int4:block=5,asym", "int2:channel", "lut3:tensor",
                                        "lut8:group=2,mode=uniform"};
    for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
        for (uint64_t cols = 1; cols <= 67; cols++) {
            quant_scheme s = scheme_of(texts[k]);
            quant_shape shape = {2, {1 + cols % 3, cols}};
            check_counts(&s, &shape, shape.dim[0] * shape.dim[1]);
        }
    }
}

TEST_SUITE(encode,
           {"info counts the codes and those of zero", info_counts_the_codes_and_those_of_zero},
           {"golden: asymmetric block", golden_asymmetric_block},
           {"golden: unique tables by rows and columns", golden_unique_tables},
           {"golden: grouped table decode", golden_grouped_table_decode},
           {"golden: shift and scale", golden_shift_scale},
           {"golden: table padding", golden_table_padding},
           {"ties go to the lower entry", ties_go_to_the_lower_entry},
           {"linear schemes agree with the coordinate oracle", linear_agrees_with_the_oracle})
