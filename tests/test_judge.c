/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_judge.c - the judge on trial: every single wrong byte must be found.
 *
 * Each saboteur calls the scalar function of its operation and spoils one byte of the result, or
 * one byte beside it. */
#include <string.h>

#include "tests/judge.h"
#include "tests/test.h"

static struct {
    const qk_table *real; /* scalar */
    long at;              /* byte of the output to spoil; negative: before its begin */
} plan;

static void spoil(void *output)
{
    ((uint8_t *)output)[plan.at] ^= 1u;
}

/* A number as a result: which of its bytes is spoiled wraps around. */
static void spoil_value(void *value, size_t bytes)
{
    ((uint8_t *)value)[(size_t)(plan.at + 64) % bytes] ^= 1u;
}

static float bad_absmax_f32(const float *x, size_t n)
{
    float v = plan.real->absmax_f32(x, n);
    spoil_value(&v, sizeof v);
    return v;
}
static void bad_minmax_f32(const float *x, size_t n, float *lowest, float *highest)
{
    plan.real->minmax_f32(x, n, lowest, highest);
    spoil_value(plan.at % 2 ? lowest : highest, sizeof *lowest);
}
static size_t bad_nonfinite_f32(const float *x, size_t n, size_t *first)
{
    size_t count = plan.real->nonfinite_f32(x, n, first);
    spoil_value(plan.at % 2 ? first : &count, sizeof count);
    return count;
}
static size_t bad_encode_linear(const float *x, size_t n, qk_linear p, uint8_t *codes)
{
    size_t outside = plan.real->encode_linear(x, n, p, codes);
    spoil(codes);
    return outside;
}
static void bad_decode_linear(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    plan.real->decode_linear(codes, n, p, y);
    spoil(y);
}
static double bad_sse_linear(const float *x, size_t n, qk_linear p)
{
    double v = plan.real->sse_linear(x, n, p);
    spoil_value(&v, sizeof v);
    return v;
}
static void bad_absmax_blocks(const float *x, size_t n, size_t block, float *most)
{
    plan.real->absmax_blocks(x, n, block, most);
    spoil(most);
}
static void bad_minmax_blocks(const float *x, size_t n, size_t block, float *low, float *high)
{
    plan.real->minmax_blocks(x, n, block, low, high);
    spoil(low);
}
static size_t bad_encode_blocks(const float *x, size_t n, qk_blocks b, uint8_t *codes)
{
    size_t outside = plan.real->encode_blocks(x, n, b, codes);
    spoil(codes);
    return outside;
}
static size_t bad_encode_int4(const float *x, size_t n, qk_int4 g, uint16_t *scale,
                              uint8_t *stream, size_t *outside)
{
    size_t done = plan.real->encode_int4(x, n, g, scale, stream, outside);
    spoil(scale);
    return done;
}
static void bad_decode_blocks(const uint8_t *codes, size_t n, qk_blocks b, float *y)
{
    plan.real->decode_blocks(codes, n, b, y);
    spoil(y);
}
static void bad_assign_codebook(const float *x, size_t n, const float *t, size_t m, uint8_t *codes)
{
    plan.real->assign_codebook(x, n, t, m, codes);
    spoil(codes);
}
static void bad_decode_codebook(const uint8_t *codes, size_t n, const float *t, size_t m, float *y)
{
    plan.real->decode_codebook(codes, n, t, m, y);
    spoil(y);
}
static void bad_nearest_vectors(const qk_nearest *a, size_t n, uint8_t *codes, double *error)
{
    plan.real->nearest_vectors(a, n, codes, error);
    spoil(plan.at % 2 && plan.at > 0 && error ? (void *)error : (void *)codes);
}
static void bad_pack_codes(const uint8_t *codes, size_t n, unsigned bits, uint8_t *stream)
{
    plan.real->pack_codes(codes, n, bits, stream);
    spoil(stream);
}
static void bad_unpack_unsigned(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    plan.real->unpack_unsigned(stream, n, bits, codes);
    spoil(codes);
}
static void bad_unpack_signed(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    plan.real->unpack_signed(stream, n, bits, codes);
    spoil(codes);
}
static void bad_f32_to_f16(const float *x, size_t n, uint16_t *y)
{
    plan.real->f32_to_f16(x, n, y);
    spoil(y);
}
static void bad_f32_to_bf16(const float *x, size_t n, uint16_t *y)
{
    plan.real->f32_to_bf16(x, n, y);
    spoil(y);
}
static void bad_f16_to_f32(const uint16_t *x, size_t n, float *y)
{
    plan.real->f16_to_f32(x, n, y);
    spoil(y);
}
static void bad_bf16_to_f32(const uint16_t *x, size_t n, float *y)
{
    plan.real->bf16_to_f32(x, n, y);
    spoil(y);
}
static size_t bad_count_f16(const float *x, size_t n, qk_keys k)
{
    size_t counted = plan.real->count_f16(x, n, k);
    spoil(k.count);
    return counted;
}
static size_t bad_count_bf16(const float *x, size_t n, qk_keys k)
{
    size_t counted = plan.real->count_bf16(x, n, k);
    spoil_value(&counted, sizeof counted);
    return counted;
}
static void bad_stream_linear(const uint8_t *codes, size_t n, qk_linear p, float *y)
{
    plan.real->stream_linear(codes, n, p, y);
    spoil(y);
}
static void bad_stream_blocks(const uint8_t *codes, size_t n, qk_blocks b, float *y)
{
    plan.real->stream_blocks(codes, n, b, y);
    spoil(y);
}
static void bad_stream_codebook(const uint8_t *codes, size_t n, const float *t, size_t m, float *y)
{
    plan.real->stream_codebook(codes, n, t, m, y);
    spoil(y);
}
static void bad_stream_packed(const uint8_t *s, size_t n, unsigned bits, qk_blocks b, float *y)
{
    plan.real->stream_packed(s, n, bits, b, y);
    spoil(y);
}
static void bad_stream_looked_up(const uint8_t *s, size_t n, unsigned bits, const float *t,
                                 float *y)
{
    plan.real->stream_looked_up(s, n, bits, t, y);
    spoil(y);
}
static void bad_stream_f16(const uint16_t *x, size_t n, float *y)
{
    plan.real->stream_f16(x, n, y);
    spoil(y);
}
static void bad_stream_bf16(const uint16_t *x, size_t n, float *y)
{
    plan.real->stream_bf16(x, n, y);
    spoil(y);
}
static void bad_stream_f32(const float *x, size_t n, float *y)
{
    plan.real->stream_f32(x, n, y);
    spoil(y);
}
static void bad_fidelity_f32(const float *ref, const float *got, size_t n, qk_fidelity *out)
{
    plan.real->fidelity_f32(ref, got, n, out);
    spoil_value(out, sizeof *out);
}
static double bad_dot_f32(const float *x, const float *y, size_t n)
{
    double v = plan.real->dot_f32(x, y, n);
    spoil_value(&v, sizeof v);
    return v;
}
static void bad_gemm_s8(const qk_gemm *g)
{
    plan.real->gemm_s8(g);
    spoil(g->c);
}
static void bad_cheapest_links(const qk_links *a, size_t rows, double *best, uint32_t *from)
{
    plan.real->cheapest_links(a, rows, best, from);
    spoil(plan.at % 2 && plan.at > 0 && plan.at < (long)rows * 4 ? (void *)from : (void *)best);
}
static float bad_dot_single(const float *x, const float *y, size_t n)
{
    float v = plan.real->dot_single(x, y, n);
    spoil_value(&v, sizeof v);
    return v;
}
static int32_t bad_dot_s8(const int8_t *x, const int8_t *y, size_t n)
{
    int32_t v = plan.real->dot_s8(x, y, n);
    spoil_value(&v, sizeof v);
    return v;
}
static void bad_gemv4_f32(const qk_gemv4_f32 *g)
{
    plan.real->gemv4_f32(g);
    spoil(g->y);
}
static void bad_gemv4_s8(const qk_gemv4_s8 *g)
{
    plan.real->gemv4_s8(g);
    spoil(g->y);
}

/* Faults that the judge finds when exactly operation number `which` is bad; its name if wanted. */
static size_t faults_with(int which, size_t n, const char **name)
{
    qk_table bad = *plan.real;
    judge_case c = {.n = n, .fill = JUDGE_GAUSS, .seed = test_seed(), .quiet = true};
    int k = 0;
#define QK_OP(op, cls)           \
    if (k++ == which) {          \
        bad.op = bad_##op;       \
        *name = #op;             \
    }
#include "kernels/kernels.def"
#undef QK_OP
    judge_kernels(plan.real, &bad, &c);
    return c.faults;
}

enum { OPERATIONS = 0
#define QK_OP(op, cls) + 1
#include "kernels/kernels.def"
#undef QK_OP
};

static void every_operation_with_one_wrong_byte_is_convicted(void)
{
    plan.real = qk_table_for(QK_SCALAR);
    for (int which = 0; which < OPERATIONS; which++) {
        size_t missed = 0;
        const char *name = "";
        for (size_t n = 8; n <= 40; n += 16) {
            for (plan.at = -64; plan.at < (long)n / 8; plan.at++) { /* shortest output: 1 bit */
                missed += faults_with(which, n, &name) == 0;
            }
            plan.at = (long)n - 1; /* guard or output, by class */
            missed += faults_with(which, n, &name) == 0;
        }
        if (missed) {
            test_note_failure(__FILE__, __LINE__, name, (int)missed, "wrong bytes went unseen");
        }
        CU_ASSERT_EQUAL(missed, 0);
    }
}

static void an_honest_table_is_acquitted(void)
{
    const char *name = "";
    plan.real = qk_table_for(QK_SCALAR);
    CU_ASSERT_EQUAL(faults_with(-1, 40, &name), 0);
}

static void any_single_wrong_byte_is_located(void)
{
    uint8_t want[300], got[300];
    judge_fill_bytes(want, sizeof want, test_seed());
    memcpy(got, want, sizeof want);
    CU_ASSERT_EQUAL(judge_first_mismatch(want, got, sizeof want), sizeof want);
    for (size_t i = 0; i < sizeof want; i++) {
        got[i] ^= (uint8_t)(1u << i % 8);
        CU_ASSERT_EQUAL(judge_first_mismatch(want, got, sizeof want), i);
        got[i] = want[i];
    }
}

static void any_touched_guard_byte_is_seen(void)
{
    static judge_room room;
    for (size_t shift = 0; shift < 3; shift++) {
        uint8_t *at = judge_room_open(&room, 10, shift);
        memset(at, 0, 10);
        CU_ASSERT_TRUE(judge_room_intact(&room));
        for (long i = -JUDGE_GUARD; i < 10 + JUDGE_GUARD; i++) {
            at[i] ^= 0x80u;
            CU_ASSERT_EQUAL(judge_room_intact(&room), i >= 0 && i < 10);
            at[i] ^= 0x80u;
        }
    }
}

TEST_SUITE(judge,
           {"any single wrong byte is located", any_single_wrong_byte_is_located},
           {"any touched guard byte is seen", any_touched_guard_byte_is_seen},
           {"an honest table is acquitted", an_honest_table_is_acquitted},
           {"every operation with one wrong byte is convicted",
            every_operation_with_one_wrong_byte_is_convicted})
