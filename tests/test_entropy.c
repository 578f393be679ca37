/* SPDX-License-Identifier: GPL-3.0-or-later */
/* scale=entropy of weights against the textbook's loop. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/entropy.h"
#include "quant/store.h"
#include "tests/draw.h"
#include "tests/test.h"
#include "tests/textbook_entropy.h"

enum { N = 20000 };

/* Rare large values, which clipping gives up for a finer step. */
static void fill(draw *d, float *w)
{
    for (int i = 0; i < N; i++) {
        w[i] = (float)(draw_normal(d) * (draw_int(d, 0, 999) ? 1.0 : 8.0));
    }
}

/* The stored scale is that of the limit with the least divergence, and it clips. */
static void the_limit_is_the_textbooks(void)
{
    static const struct {
        const char *text;
        int bits;
    } rows[] = {{"int8:tensor,scale=entropy", 8},
                {"int4:tensor,scale=entropy,store=f32", 4},
                {"int3:tensor,scale=entropy,store=f32", 3}};
    static float w[N];
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        draw d = draw_begin("weights entropy", k);
        double bin[QUANT_ENTROPY_BINS], least = INFINITY;
        quant_scheme s;
        quant_shape shape = {1, {N}};
        quant_layout l;
        quant_encode_info info;
        fill(&d, w);
        int levels = 1 << (rows[k].bits - 1);
        double most = textbook_bins(w, N, bin);
        for (int m = levels; m <= QUANT_ENTROPY_BINS; m++) {
            least = fmin(least, textbook_divergence(bin, m, levels));
        }
        CHECK_OK(NULL, quant_scheme_parse(NULL, rows[k].text, &s));
        uint8_t *p = encode_new(NULL, &s, &shape, w, &l, &info);
        double scale = (double)quant_store_get(QUANT_STORE_F32, p + l.scale.offset, 0);
        double limit = scale * (levels - 1);
        int m = (int)rint(limit / most * QUANT_ENTROPY_BINS);
        CU_ASSERT_DOUBLE_EQUAL(m, limit / most * QUANT_ENTROPY_BINS, 1e-3);
        CU_ASSERT(textbook_divergence(bin, m, levels) <= least * (1 + 1e-9));
        CU_ASSERT(m < QUANT_ENTROPY_BINS / 2);
        CU_ASSERT(info.saturated > 0);
        free(p);
    }
}

/* Few values have nothing to gain, and nothing is ever cut to zero. */
static void few_values_keep_their_range(void)
{
    const float one[1] = {-3.0f}, two[4] = {1.0f, -1.0f, 1.0f, 1.0f};
    CU_ASSERT_EQUAL(quant_magnitude_entropy(one, 1, 3.0f, 8), 3.0f);
    CU_ASSERT_EQUAL(quant_magnitude_entropy(two, 4, 1.0f, 4), 1.0f);
    for (uint64_t k = test_first_case(); k < test_last_case(); k += 20) { /* dear */
        draw d = draw_begin("entropy few", k);
        float w[200], most = 0;
        size_t n = (size_t)draw_int(&d, 1, 200);
        int bits = (int)draw_int(&d, 2, 8);
        draw_weights(&d, w, 1, n);
        for (size_t i = 0; i < n; i++) {
            most = fmaxf(most, fabsf(w[i]));
        }
        float limit = most > 0 ? quant_magnitude_entropy(w, n, most, bits) : 0;
        CU_ASSERT(most == 0 || (limit > 0 && limit <= most));
    }
}

TEST_SUITE(entropy,
           {"the limit is the textbook's", the_limit_is_the_textbooks},
           {"few values keep their range", few_values_keep_their_range})
