/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_propagate_memory.c - propagate and the chain analysis when an allocation fails: told as
 * such, nothing is left behind. */
#include <stdlib.h>
#include <string.h>

#include "quant/lab/chain.h"
#include "tests/deep_model.h"
#include "tests/short_memory.h"
#include "tests/test.h"

/* The status with the allocation number fail_at missing; < 0: none. */
static quant_status run(quant_model *model, bool chain, long fail_at, short_memory *m)
{
    *m = (short_memory){.fail_at = fail_at};
    quant_context *ctx = short_memory_context(m);
    quant_scheme scheme;
    quant_status s = QUANT_ENOMEM;
    if (ctx && quant_scheme_parse(ctx, "lut2:tensor", &scheme) == QUANT_OK) {
        int64_t ids[6];
        quant_propagate_result *result = NULL;
        quant_chain_result *chains = NULL;
        deep_model_tokens(1, ids, 6);
        const quant_propagate_options o = {
            .schemes = &scheme, .scheme_count = 1, .compute = QUANT_COMPUTE_BF16,
            .isolate = QUANT_ISOLATE_PROJECTION, .whiteness = true, .jacobians = true};
        const quant_chain_options c = {.schemes = &scheme, .scheme_count = 1};
        s = chain ? quant_chain_run(ctx, quant_model_bank(model), &c, &chains)
                  : quant_propagate(ctx, model, &(quant_tokens){ids, 2, 3}, &o, &result);
        CU_ASSERT((s == QUANT_OK) == (result != NULL || chains != NULL));
        quant_propagate_free(ctx, result);
        quant_chain_free(ctx, chains);
    }
    quant_context_free(ctx);
    return s;
}

static void short_memory_is_told(void)
{
    quant_context *ctx = quant_context_new(NULL);
    quant_model *model = deep_model_make_experts(ctx, 5, 2);
    for (int chain = 0; chain < 2; chain++) {
        short_memory all, r;
        run(model, chain, -1, &r); /* the bank keeps what its first reading needs */
        CU_ASSERT_EQUAL(run(model, chain, -1, &all), QUANT_OK);
        CU_ASSERT(all.held == 0 && all.calls > 10);
        long step = test_is_long() || all.calls < 200 ? 1 : all.calls / 200;
        for (long k = 1; k < all.calls; k += step) {
            quant_status s = run(model, chain, k, &r);
            bool good = s == QUANT_ENOMEM && r.held == 0;
            CU_ASSERT(good);
            if (!good) {
                test_failed_case((uint64_t)k, "chain %d, allocation %ld of %ld: %s, %zu held",
                                 chain, k, all.calls, quant_status_word(s), r.held);
            }
        }
    }
    quant_model_close(ctx, model);
    quant_context_free(ctx);
}

TEST_SUITE(propagate_memory, {"short memory is told and leaks nothing", short_memory_is_told})
