/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/made.h"

#include <stdlib.h>

#include "tests/test.h"

bank_spec made_spec(uint64_t rows, uint64_t columns)
{
    return (bank_spec){.name = "t", .shape = {2, {rows, columns}}, .dtype = QUANT_F32, .rms = 1};
}

float *made_values(const bank_spec *spec, uint64_t seed)
{
    quant_context *ctx = quant_context_new(NULL);
    bank_source s;
    float *w = NULL;
    CHECK_OK(ctx, bank_source_open(ctx, spec, seed, &s));
    w = malloc((size_t)(s.rows * s.columns) * sizeof *w + 1);
    if (w) {
        bank_source_fill(&s, 0, s.rows, w);
    }
    bank_source_close(ctx, &s);
    quant_context_free(ctx);
    return w;
}
