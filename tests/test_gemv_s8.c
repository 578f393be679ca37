/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_gemv_s8.c - packed matrices times int8, against the documented sums taken from the packed
 * bytes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"
#include "tests/packed_matrix.h"
#include "tests/schemes.h"
#include "tests/test.h"

enum { OWN = 16 }; /* packed_matrix_own */

static int bits_at(const uint8_t *stream, size_t i, int bits, bool is_signed)
{
    int v = 0;
    for (int j = 0; j < bits; j++) {
        size_t at = i * (size_t)bits + (size_t)j;
        v |= (stream[at / 8] >> (at % 8) & 1) << j;
    }
    return is_signed && v >> (bits - 1) ? v - (1 << bits) : v;
}

static float stored_at(const packed_matrix *m, quant_segment segment, size_t region)
{
    const uint8_t *at = m->packed + segment.offset;
    uint16_t half;
    float s;
    if (m->scheme.store == QUANT_STORE_F32) {
        memcpy(&s, at + 4 * region, 4);
        return s;
    }
    memcpy(&half, at + 2 * region, 2);
    const qk_table *t = qk_table_for(QK_SCALAR);
    (m->scheme.store == QUANT_STORE_F16 ? t->f16_to_f32 : t->bf16_to_f32)(&half, 1, &s);
    return s;
}

static float scale_at(const packed_matrix *m, size_t region, size_t r)
{
    if (m->scheme.family == QUANT_FAMILY_LINEAR) {
        return stored_at(m, m->layout.scale, region);
    }
    float s = stored_at(m, m->layout.table_scale, region);
    return m->scheme.channel_scale ? s * stored_at(m, m->layout.scale, r) : s;
}

/* Region of weight (r, i), for axis 0. */
static size_t region_at(const packed_matrix *m, size_t r, size_t i)
{
    size_t size = m->scheme.size;
    switch (m->scheme.granularity) {
    case QUANT_PER_TENSOR: return 0;
    case QUANT_PER_CHANNEL: return r;
    case QUANT_PER_GROUP: return r / size;
    default: return r * ((m->k + size - 1) / size) + i / size;
    }
}

/* code - zero, or the table's entry. */
static int number_at(const packed_matrix *m, size_t r, size_t i)
{
    const quant_scheme *s = &m->scheme;
    bool linear = s->family == QUANT_FAMILY_LINEAR;
    size_t region = region_at(m, r, i);
    int code = bits_at(m->packed + m->layout.codes.offset, r * m->k + i, s->bits, linear);
    if (!linear) {
        return ((int8_t *)m->packed)[m->layout.table.offset + (region << s->bits) + (size_t)code];
    }
    return code - (s->asymmetric ? bits_at(m->packed + m->layout.zero.offset, region, s->bits, true)
                                 : 0);
}

/* What the header says, from the packed bytes. */
static float row_by_hand(const packed_matrix *m, const quant_gemv_input *x, size_t r)
{
    double lane[MATRIX_LANES] = {0};
    size_t piece = x->block ? x->block : m->k;
    if (m->scheme.granularity == QUANT_PER_BLOCK && m->scheme.size < piece) {
        piece = m->scheme.size;
    }
    for (size_t at = 0, b = 0; at < m->k; at += piece, b++) {
        double sum = 0;
        for (size_t i = at; i < m->k && i < at + piece; i++) {
            sum += (double)number_at(m, r, i) * (double)x->codes[i];
        }
        double s = (double)scale_at(m, region_at(m, r, at), r);
        lane[b % MATRIX_LANES] += s * (double)x->scale[x->block ? at / x->block : 0] * sum;
    }
    return (float)packed_matrix_fold(lane, false);
}

static void check_s8(uint64_t t, quant_context *ctx, packed_matrix *m, size_t block)
{
    const quant_gemv_input x = {m->codes, m->scales, block};
    size_t wrong = 0;
    if (!m->packed) {
        return;
    }
    char text[QUANT_SCHEME_TEXT];
    quant_scheme_print(&m->scheme, text);
    memset(m->y, 0xff, m->n * sizeof *m->y);
    CHECK_OK(ctx, quant_gemv_s8(ctx, &m->scheme, &m->shape, m->packed, m->layout.bytes, &x, m->y));
    for (size_t r = 0; r < m->n; r++) {
        float want = row_by_hand(m, &x, r);
        wrong += memcmp(&want, &m->y[r], sizeof want) != 0;
    }
    if (wrong) {
        test_failed_case(t, "%s %zu x %zu block %zu: %zu wrong", text, m->n, m->k, block, wrong);
    }
    CU_ASSERT_EQUAL(wrong, 0);
}

/* Linear schemes and codebooks of integers, axis 0; the input's cut fits that of the weights. */
static void integers_follow_the_documented_sums(void)
{
    for (uint64_t t = test_first_case(); t < test_last_case(); t++) {
        draw d = draw_begin("gemv-s8", t);
        size_t n = (size_t)draw_int(&d, 0, 40), k = (size_t)draw_int(&d, 0, 150);
        quant_shape shape = {2, {n, k}};
        quant_scheme s = t % 2 ? draw_linear(&d, &shape) : draw_codebook(&d, &shape);
        s.stack = s.axis = 0;
        if (s.family == QUANT_FAMILY_CODEBOOK) {
            s.table_store = QUANT_STORE_I8;
            s.mode = QUANT_MODE_KMEANS;
            s.dim = 1;
        }
        packed_matrix m = packed_matrix_new(&d, s, n, k);
        size_t block = draw_int(&d, 0, 1) ? (size_t)draw_int(&d, 1, 160) : 0;
        check_s8(t, NULL, &m, s.granularity == QUANT_PER_BLOCK && block ? s.size : block);
        packed_matrix_free(&m);
    }
}

static void four_bit_kernels_follow_the_documented_sums(void)
{
    static const size_t lengths[] = {2, 30, 32, 34, 126, 128, 130, 254, 258, 510, 512, 514, 2048,
                                     4094, 4096, 4098, 4640};
    quant_context *ctx = quant_context_new(NULL);
    for (uint64_t t = 0; t < 3 * OWN * sizeof lengths / sizeof *lengths; t++) {
        quant_scheme s = packed_matrix_scheme(packed_matrix_own(t % OWN));
        size_t k = lengths[t / OWN % (sizeof lengths / sizeof *lengths)];
        static const size_t blocks[] = {0, 32, 64};
        size_t block = blocks[t / OWN / (sizeof lengths / sizeof *lengths)];
        draw d = draw_begin("gemv-own-s8", t);
        if (s.family == QUANT_FAMILY_CODEBOOK && s.table_store != QUANT_STORE_I8) {
            continue;
        }
        quant_context_set_threads(ctx, 1 + (int)(t % 3));
        block = block && s.granularity == QUANT_PER_BLOCK ? s.size : block;
        packed_matrix m = packed_matrix_new(&d, s, k > 600 ? 37 : 1 + (size_t)t % 40, k);
        check_s8(t, ctx, &m, block);
        packed_matrix_free(&m);
    }
    quant_context_free(ctx);
}

static void a_row_with_one_piece_is_the_product_of_matrices(void)
{
    draw d = draw_begin("gemv-gemm", 0);
    packed_matrix m = packed_matrix_new(&d, packed_matrix_scheme("int8:channel"), 65, 333);
    const quant_gemv_input x = {m.codes, m.scales, 0};
    const quant_gemm_scales s = {m.scales, NULL, 1,
                                 (const float *)(void *)(m.packed + m.layout.scale.offset), NULL,
                                 65};
    float y[65];
    size_t bytes;
    CHECK_OK(NULL, quant_gemm_s8_layout(NULL, 65, 333, &bytes));
    void *weights = malloc(bytes);
    CHECK_OK(NULL, quant_gemm_s8_pack(NULL, 65, 333, (int8_t *)m.packed, weights, bytes));
    CHECK_OK(NULL, quant_gemm_s8_f32(NULL, 1, m.codes, weights, bytes, &s, y));
    CHECK_OK(NULL, quant_gemv_s8(NULL, &m.scheme, &m.shape, m.packed, m.layout.bytes, &x, m.y));
    CU_ASSERT_EQUAL(memcmp(y, m.y, sizeof y), 0);
    free(weights);
    packed_matrix_free(&m);
}

/* Without integers, by hand: decoded weights times codes in floats over lanes, a piece of the input
 * at a time. */
static float row_by_floats(const packed_matrix *m, size_t block, size_t r)
{
    double lane[MATRIX_LANES] = {0};
    const size_t piece = block && block < m->k ? block : m->k;
    for (size_t at = 0, b = 0; at < m->k; at += piece, b++) {
        double part[MATRIX_LANES] = {0};
        for (size_t i = at; i < m->k && i < at + piece; i++) {
            const float product = m->decoded[r * m->k + i] * (float)m->codes[i];
            double *own = &part[(i - at) % MATRIX_LANES];
            *own = (double)((float)*own + product);
        }
        const double t = (double)m->scales[piece < m->k ? b : 0];
        lane[b % MATRIX_LANES] += t * packed_matrix_fold(part, true);
    }
    return (float)packed_matrix_fold(lane, false);
}

/* Distance from the product in double, within what either arithmetic may be off. */
static bool is_near(const packed_matrix *m, size_t block, size_t r)
{
    double exact = 0, size = 0;
    for (size_t i = 0; i < m->k; i++) {
        const double t = (double)m->scales[block && block < m->k ? i / block : 0];
        const double term = (double)m->decoded[r * m->k + i] * t * (double)m->codes[i];
        exact += term;
        size += fabs(term);
    }
    return fabs((double)m->y[r] - exact) <= ((double)m->k / 64 + 9) * 0x1p-24 * size + 0x1p-140;
}

/* The same codes as floats, times floats: one piece by quant_gemv_f32. */
static size_t wrong_by_floats(packed_matrix *m)
{
    size_t wrong = 0;
    for (size_t i = 0; i < m->k; i++) {
        m->x[i] = (float)m->codes[i];
    }
    CHECK_OK(NULL, quant_gemv_f32(NULL, &m->scheme, &m->shape, m->packed, m->layout.bytes, m->x,
                                  m->y));
    m->scales[0] = 1.0f;
    for (size_t r = 0; r < m->n; r++) {
        wrong += m->y[r] != row_by_floats(m, 0, r);
    }
    return wrong;
}

static void check_row_of_the_grammar(const char *text, size_t k, size_t block)
{
    draw d = draw_begin("gemv-grammar", k);
    const quant_scheme scheme = packed_matrix_scheme(text);
    packed_matrix m = packed_matrix_new(&d, scheme, 37, k);
    const quant_gemv_input x = {m.codes, m.scales, block};
    const char *why = "";
    size_t wrong = 0;
    const bool exact = quant_gemv_s8_is_exact(&m.scheme, &m.shape, block, &why);
    CU_ASSERT_EQUAL(exact, why == NULL);
    if (m.packed) {
        memset(m.y, 0xff, m.n * sizeof *m.y);
        CHECK_OK(NULL,
                 quant_gemv_s8(NULL, &m.scheme, &m.shape, m.packed, m.layout.bytes, &x, m.y));
    }
    for (size_t r = 0; m.packed && r < m.n; r++) {
        const float want = exact ? row_by_hand(&m, &x, r) : row_by_floats(&m, block, r);
        wrong += memcmp(&want, &m.y[r], sizeof want) != 0 || !is_near(&m, block, r);
    }
    wrong += m.packed ? wrong_by_floats(&m) : 0;
    if (wrong) {
        test_note_failure(__FILE__, __LINE__, text, (int)wrong, why ? why : "integers");
    }
    CU_ASSERT_EQUAL(wrong, 0);
    packed_matrix_free(&m);
}

/* Nobody has to know which scheme has which arithmetic: whatever the grammar has, with any number
 * of bits and with each option, is multiplied, or refused in words. */
static void every_row_of_the_grammar_is_multiplied(void)
{
    const quant_shape shape = {2, {4, 4}};
    quant_context *ctx = quant_context_new(NULL);
    int stacks = 0;
    list_schemes();
    for (int i = 0; i < scheme_count; i++) {
        const quant_scheme s = packed_matrix_scheme(schemes[i]);
        if (s.stack > 0) {
            const quant_gemv_input x = {(const int8_t *)"abcd", NULL, 0};
            float y[4];
            CU_ASSERT_NOT_EQUAL(quant_gemv_s8(ctx, &s, &shape, y, 0, &x, y), QUANT_OK);
            CU_ASSERT_NOT_EQUAL(quant_context_message(ctx)[0], '\0');
            stacks++;
            continue;
        }
        check_row_of_the_grammar(schemes[i], 130, 0);
        check_row_of_the_grammar(schemes[i], 133, 32);
    }
    CU_ASSERT(scheme_count > 60 && stacks < scheme_count / 4);
    quant_context_free(ctx);
}

/* What stands against integers is said; k beyond their bound is no bound of floats. */
static void what_is_not_integer_is_named(void)
{
    static const struct {
        const char *scheme, *word;
        size_t block;
    } rows[] = {{"bf16", "codes", 0}, {"lut4:group=32", "lut=int8", 0},
                {"lut4:group=32,lut=int8,dim=2", "dim", 0}, {"int8:channel,axis=1", "axis", 0},
                {"lut4:group=2,axis=1,lut=int8", "axis", 0}, {"int4:block=32", "blocks", 16},
                {"int4:block=32", NULL, 64}, {"int4:block=64", NULL, 16},
                {"int4:block=32", NULL, 0}, {"lut4:tensor,axis=1,pcs,lut=int8", "axis", 0},
                {"lut2:tensor,lut=int8", NULL, 16}};
    const quant_shape shape = {2, {6, 64}}, line = {1, {64}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const quant_scheme s = packed_matrix_scheme(rows[i].scheme);
        const char *why = "";
        CU_ASSERT_EQUAL(quant_gemv_s8_is_exact(&s, &shape, rows[i].block, &why), !rows[i].word);
        CU_ASSERT(rows[i].word ? why && strstr(why, rows[i].word) != NULL : why == NULL);
        CU_ASSERT_FALSE(quant_gemv_s8_is_exact(&s, &line, rows[i].block, NULL));
    }
    CU_ASSERT_FALSE(quant_gemv_s8_is_exact(NULL, &shape, 0, NULL));
}

/* A product that is refused is not exact either. */
static void exact_is_what_is_multiplied(void)
{
    static const int8_t codes[QUANT_GEMM_MAX_K + 1];
    const float scale = 1.0f;
    const quant_gemv_input x = {codes, &scale, 0};
    const quant_scheme s = packed_matrix_scheme("int2:tensor");
    for (size_t k = QUANT_GEMM_MAX_K; k <= QUANT_GEMM_MAX_K + 1; k++) {
        const quant_shape shape = {2, {1, k}};
        const char *why = "";
        quant_layout layout;
        float y;
        CHECK_OK(NULL, quant_encode_layout(NULL, &s, &shape, &layout));
        uint8_t *packed = calloc(1, layout.bytes);
        quant_status status = quant_gemv_s8(NULL, &s, &shape, packed, layout.bytes, &x, &y);
        CU_ASSERT_EQUAL(status, k > QUANT_GEMM_MAX_K ? QUANT_ERANGE : QUANT_OK);
        CU_ASSERT_EQUAL(quant_gemv_s8_is_exact(&s, &shape, 0, &why), status == QUANT_OK);
        CU_ASSERT(status == QUANT_OK ? why == NULL : why && strstr(why, "inner dimension"));
        free(packed);
    }
}

TEST_SUITE(gemv_s8,
           {"integers follow the documented sums", integers_follow_the_documented_sums},
           {"4-bit kernels follow the documented sums",
            four_bit_kernels_follow_the_documented_sums},
           {"a row with one piece is the product of matrices",
            a_row_with_one_piece_is_the_product_of_matrices},
           {"every row of the grammar is multiplied", every_row_of_the_grammar_is_multiplied},
           {"what is not integer is named", what_is_not_integer_is_named},
           {"exact is what is multiplied", exact_is_what_is_multiplied})
