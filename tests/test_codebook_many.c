/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One table of many weights takes little room, and another way to its bytes: importance that is 1
 * everywhere goes the way of all other tables. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quant/codebook_table.h"
#include "quant/encode.h"
#include "tests/kmeans1d_cases.h"
#include "tests/short_memory.h"
#include "tests/test.h"

enum { EXTRA = 5001, MOST = (1 << 18) + EXTRA };

/* Bytes of scratch, as encode.h has them: for each weight, and at least. */
enum { ROOM_EACH = 17, ROOM_LEAST = 120 << 18 };

static float w[MOST], one[MOST];
static uint8_t packed[MOST], other[MOST];

/* Bits of a float cut down to those of another type, or to fewer steps. */
static float cut(float x, uint32_t mask)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    u &= mask;
    memcpy(&x, &u, sizeof x);
    return x;
}

static float weight_of(int kind, size_t i)
{
    float x = (float)kmeans_normal();
    switch (kind) {
    case 0: return x;                                       /* nearly all distinct */
    case 1: return cut(x, UINT32_C(0xfffffe00));            /* sorted, few distinct */
    case 2: return cut(x, UINT32_C(0xffff0000));            /* bf16 */
    case 3: return cut(x / 64, UINT32_C(0xffffe000));       /* f16 but for the smallest */
    case 4: return (float)i - 1000;                         /* equal spacing */
    case 5: return 1000 + x;
    case 6: return (float)tan(1.57 * (2 * kmeans_uniform() - 1));
    case 7: return (float)(i / 16 * 100 + i % 16);          /* equal clumps */
    case 8: return (float)pow(10, 12 * kmeans_uniform() - 6) * (i % 2 ? 1.0f : -1.0f);
    default: return i == 77 ? 1e8f : x;                    /* all others are as good as alike */
    }
}

enum { KINDS = 10 };

static void fill(int kind)
{
    kmeans_seed_case((uint64_t)kind + 10000019);
    for (size_t i = 0; i < MOST; i++) {
        w[i] = weight_of(kind, i * 7919 % MOST);
        one[i] = 1;
    }
}

static quant_scheme parse(const char *text)
{
    quant_scheme s = {0};
    CHECK_OK(NULL, quant_scheme_parse(NULL, text, &s));
    return s;
}

static void bytes_are_those_of_any_table(void)
{
    static const char *const texts[] = {"lut4:tensor,lut=f32", "lut1:tensor,lut=f32",
                                          "lut3:tensor,lut=bf16", "lut3:tensor,lut=f32",
                                          "lut2:tensor,lut=f32"};
    quant_shape shape = {1, {MOST}};
    for (int kind = 0; kind < KINDS; kind++) {
        fill(kind);
        quant_scheme s = parse(texts[kind % 5]);
        quant_encode_info a, b;
        quant_encode_options plain = {NULL, &a}, weighed = {one, &b};
        CHECK_OK(NULL, quant_encode_with(NULL, &s, &shape, w, packed, sizeof packed, &plain));
        CHECK_OK(NULL, quant_encode_with(NULL, &s, &shape, w, other, sizeof other, &weighed));
        quant_layout l;
        CHECK_OK(NULL, quant_encode_layout(NULL, &s, &shape, &l));
        int same = memcmp(packed, other, l.bytes) == 0 && a.optimal_sse == b.optimal_sse;
        CU_ASSERT(same);
        if (!same) {
            test_failed_case((uint64_t)kind, "SSE %.17g, weighed %.17g", a.optimal_sse,
                             b.optimal_sse);
        }
    }
}

/* The scratch of encode.h, and the status when any part of it is refused: where so many partitions
 * are as good as the best there is one part more. */
static void memory_is_bounded_and_its_lack_reported(void)
{
    quant_shape shape = {1, {MOST}};
    quant_scheme s = parse("lut2:tensor,lut=f32");
    for (int kind = 0; kind < KINDS; kind += KINDS - 1) {
        fill(kind);
        for (long k = 1;; k++) {
            short_memory m = {.fail_at = k};
            quant_context *ctx = short_memory_context(&m);
            quant_status status = quant_encode(ctx, &s, &shape, w, packed, sizeof packed, NULL);
            CU_ASSERT_EQUAL(status, m.fired ? QUANT_ENOMEM : QUANT_OK);
            CU_ASSERT(kind > 0 || m.peak <= ROOM_EACH * (size_t)MOST + ROOM_LEAST);
            quant_context_free(ctx);
            CU_ASSERT_EQUAL(m.held, 0);
            if (!m.fired) {
                CU_ASSERT_EQUAL(k, kind > 0 ? 7 : 6);
                break;
            }
        }
    }
}

/* Sizes depend on scheme and shape alone. */
static void the_stated_bytes_suffice(void)
{
    for (int bits = 1; bits <= 6; bits++) {
        quant_scheme s = parse("lut4:tensor");
        s.bits = bits;
        for (size_t n = (size_t)1 << 22; n <= (size_t)1 << 31; n *= 2) {
            CU_ASSERT(quant_codebook_is_narrow(&s, n));
            size_t bytes = quant_codebook_narrow_bytes(&s, n);
            CU_ASSERT(bytes > 0 && bytes <= ROOM_EACH * n + ROOM_LEAST / 2);
        }
    }
    quant_scheme pcs = parse("lut4:tensor,pcs"), int8 = parse("lut4:tensor,lut=int8");
    CU_ASSERT(!quant_codebook_is_narrow(&pcs, MOST) && !quant_codebook_is_narrow(&int8, MOST));
}

TEST_SUITE(codebook_many, {"bytes are those of any table", bytes_are_those_of_any_table},
           {"the stated bytes suffice", the_stated_bytes_suffice},
           {"memory is bounded and its lack reported", memory_is_bounded_and_its_lack_reported})
