/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/schemes.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/test.h"

const char *const scheme_variants[] = {
    "axis=1", "axis=-1", "asym", "scale=mse", "scale=percentile:99", "scale=entropy",
    "scale=absmax", "range=half", "range=full", "store=bf16", "store=f32", "lut=bf16", "lut=f32",
    "lut=int8", "lut=int8,store=f16", "mode=uniform,lut=int8", "pcs", "pcs,lut=int8",
    "pcs,store=f32", "dim=2", "dim=4", "dim=2,lut=int8", "dim=4,pcs,axis=1",
    "pcs,mode=uniform", "pcs,axis=1", "mode=uniform", "mode=kmeans",
    "mode=unique" /* refused with many distinct values, see test_predict.c */, "stack=0",
    "act=token", "act=static", "act=static,obs=mse", "asym,act=static,obs=percentile:99.9",
    "act=static,obs=entropy", "act=static,obs=ema",
    "smooth=0.5", "smooth=search", "obs=minmax" /* others need act=static, see test_scheme.c */};
const int scheme_variant_count = sizeof scheme_variants / sizeof *scheme_variants;

char schemes[MAX_SCHEMES][QUANT_SCHEME_TEXT];
int scheme_count;

static void take_scheme(const char *text)
{
    quant_scheme s;
    char canonical[QUANT_SCHEME_TEXT];
    if (quant_scheme_parse(NULL, text, &s) != QUANT_OK || s.mode == QUANT_MODE_UNIQUE) {
        return;
    }
    quant_scheme_print(&s, canonical);
    for (int i = 0; i < scheme_count; i++) {
        if (strcmp(schemes[i], canonical) == 0) {
            return;
        }
    }
    if (scheme_count < MAX_SCHEMES) {
        strcpy(schemes[scheme_count++], canonical);
    }
}

/* "intB:block=N" with every digit of `values` for B; "=N" is left to its default. */
static void take_row(const char *pattern, const char *values)
{
    char text[QUANT_SCHEME_TEXT];
    for (const char *v = values; *v; v++) {
        snprintf(text, sizeof text, "%s", pattern);
        char *bits = strchr(text, 'B'), *size = strstr(text, "=N");
        if (*v >= '1' && *v <= '9' && bits) {
            *bits = *v;
            if (size) {
                *size = '\0';
            }
            take_scheme(text);
        }
    }
}

void list_schemes(void)
{
    const char *pattern, *meaning, *values;
    for (int i = 0; scheme_count == 0 || i > 0; i++) {
        if (!quant_scheme_grammar(0, i, &pattern, &meaning, &values)) {
            break;
        }
        take_scheme(quant_scheme_example(i));
        take_row(pattern, values);
        for (int v = 0; v < scheme_variant_count; v++) {
            char text[2 * QUANT_SCHEME_TEXT];
            snprintf(text, sizeof text, "%s,%s", quant_scheme_example(i), scheme_variants[v]);
            take_scheme(text);
        }
    }
}

double distribution_value(int distribution, const quant_random *r, uint64_t i)
{
    double z = quant_random_normal(r, 8 * i), u = quant_random_uniform(r, 8 * i + 1);
    switch (distribution) {
    case 1:
        return z < 0 ? log(u) : -log(u);
    case 2: {
        double chi = -2 * log(u) - 2 * log(quant_random_uniform(r, 8 * i + 2));
        return z / sqrt(chi / 4);
    }
    case 3:
        return 2 * u - 1;
    case 4:
        return u < 1e-3 ? 20 * z : z;
    default:
        return z;
    }
}

int measure(const char *text, const quant_shape *shape, const float *w, float *decoded,
                   double result[2])
{
    quant_context *ctx = quant_context_new(NULL);
    quant_scheme s;
    quant_layout layout;
    quant_statistics *statistics = NULL;
    uint64_t n = 0;
    void *packed = NULL;
    quant_status status = quant_scheme_parse(ctx, text, &s);
    status = status ? status : quant_shape_elements(ctx, shape, &n);
    status = status ? status : quant_encode_layout(ctx, &s, shape, &layout);
    if (!status) {
        packed = malloc(layout.bytes + 1);
        status = quant_encode(ctx, &s, shape, w, packed, layout.bytes, NULL);
        status = status ? status : quant_decode(ctx, &s, shape, packed, layout.bytes, decoded);
        status = status ? status : quant_statistics_new(ctx, &s, shape, w, &statistics);
    }
    if (!status) {
        quant_fidelity f = quant_fidelity_f32(ctx, w, decoded, (size_t)n);
        result[0] = quant_relative_error(&f);
        result[1] = quant_predict(statistics);
    } else {
        test_failed_case(0, "%s: %s", text, quant_context_message(ctx));
    }
    quant_statistics_free(ctx, statistics);
    free(packed);
    quant_context_free(ctx);
    return status != QUANT_OK;
}

double off_db(const double result[2])
{
    return fabs(20 * log10(result[1] / result[0]));
}
