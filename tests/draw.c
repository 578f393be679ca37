/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/draw.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/store.h"
#include "tests/test.h"

draw draw_begin(const char *word, uint64_t k)
{
    char name[96];
    snprintf(name, sizeof name, "%s/%" PRIu64, word, k);
    return (draw){quant_random_stream(test_seed(), name), 0};
}

int64_t draw_int(draw *d, int64_t low, int64_t high)
{
    return low + (int64_t)quant_random_below(&d->stream, d->next++, (uint64_t)(high - low + 1));
}

double draw_uniform(draw *d)
{
    return quant_random_uniform(&d->stream, d->next++);
}

double draw_normal(draw *d)
{
    return quant_random_normal(&d->stream, d->next++);
}

/* One weight of a kind of distribution. */
static double draw_one(draw *d, int kind)
{
    double u;
    switch (kind) {
    case 0: return draw_normal(d);
    case 1: return draw_normal(d) / sqrt(draw_uniform(d));            /* heavy tails */
    case 2: return draw_normal(d) * (draw_int(d, 0, 63) ? 1.0 : 80.0); /* outliers */
    case 3: return 0.5 * (double)draw_int(d, -255, 255);              /* ties at half steps */
    case 4: return (double)draw_int(d, -3, 3);                        /* few distinct values */
    case 5: return draw_int(d, 0, 3) ? 0.0 : draw_normal(d);          /* mostly zero */
    case 6: return fabs(draw_normal(d)) + 0.5;                        /* one sign */
    case 7: u = draw_uniform(d); return u * u * u;                    /* skew */
    default: return 1.25;                                             /* constant */
    }
}

void draw_weights(draw *d, float *w, size_t rows, size_t cols)
{
    int kind = (int)draw_int(d, 0, 8);
    double spread = (double)draw_int(d, 0, 2);
    double scale = ldexp(1.0, (int)draw_int(d, -8, 8));
    for (size_t r = 0; r < rows; r++) {
        double row = scale * ldexp(1.0, (int)rint(spread * draw_normal(d)));
        row = draw_int(d, 0, 40) ? row : 0.0; /* a dead row now and then */
        for (size_t c = 0; c < cols; c++) {
            w[r * cols + c] = (float)(row * draw_one(d, kind));
        }
    }
}

drawn_tensor draw_tensor(draw *d)
{
    drawn_tensor t = {{0, {0}}, 1, NULL};
    t.shape.rank = (int)draw_int(d, 2, 3);
    for (int i = 0; i < t.shape.rank; i++) {
        int most = t.shape.rank == 2 ? 70 : 17;
        t.shape.dim[i] = (uint64_t)draw_int(d, 1, most);
        t.n *= (size_t)t.shape.dim[i];
    }
    t.w = malloc(t.n * sizeof *t.w);
    size_t cols = (size_t)t.shape.dim[t.shape.rank - 1];
    draw_weights(d, t.w, t.n / cols, cols);
    return t;
}

static int draw_axis(draw *d, const quant_shape *shape, int stack)
{
    int rank = shape->rank - stack;
    return draw_int(d, 0, 1) ? 0 : (int)draw_int(d, -rank, rank - 1);
}

quant_scheme draw_linear(draw *d, const quant_shape *shape)
{
    static const int bits[] = {2, 3, 4, 8};
    static const char *const stores[] = {"f32", "f16", "bf16"};
    static const char *const shares[] = {"absmax", "mse", "percentile:97.5", "entropy"};
    static const char *const ranges[] = {"range=narrow", "range=half", "range=full", "asym"};
    char text[QUANT_SCHEME_TEXT * 2], head[40], axis[16] = "";
    int stack = shape->rank == 3 ? (int)draw_int(d, 0, 1) : 0;
    int b = bits[draw_int(d, 0, 3)], kind = (int)draw_int(d, 0, 2);
    snprintf(head, sizeof head, "int%d:%s", b, kind == 0 ? "tensor" : "channel");
    if (kind == 2) {
        snprintf(head, sizeof head, "int%d:block=%d", b, (int)draw_int(d, 1, 40));
    }
    if (kind != 0) {
        snprintf(axis, sizeof axis, ",axis=%d", draw_axis(d, shape, stack));
    }
    snprintf(text, sizeof text, "%s,stack=%d%s,store=%s,scale=%s,%s", head, stack, axis,
             stores[draw_int(d, 0, 2)], shares[draw_int(d, 0, 19) ? draw_int(d, 0, 2) : 3],
             ranges[draw_int(d, 0, 3)]);
    quant_scheme s;
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
    return s;
}

quant_scheme draw_codebook(draw *d, const quant_shape *shape)
{
    static const int bits[] = {1, 2, 3, 4, 6, 8};
    static const char *const stores[] = {"f32", "f16", "bf16", "int8"};
    char text[QUANT_SCHEME_TEXT * 2], share[24] = "tensor", axis[16] = "", store[16] = "";
    int stack = shape->rank == 3 ? (int)draw_int(d, 0, 1) : 0;
    int b = bits[draw_int(d, 0, 5)], lut = (int)draw_int(d, 0, 3);
    int dim = 1 << draw_int(d, 0, 2) * draw_int(d, 0, 1);
    bool pcs = draw_int(d, 0, 3) == 0, groups = draw_int(d, 0, 2) != 0;
    if (groups) {
        snprintf(share, sizeof share, "group=%d", (int)draw_int(d, 1, 9));
    }
    if (groups || pcs || dim > 1) {
        snprintf(axis, sizeof axis, ",axis=%d", draw_axis(d, shape, stack));
    }
    if (pcs || lut == 3) {
        snprintf(store, sizeof store, ",store=%s", stores[draw_int(d, 0, 2)]);
    }
    snprintf(text, sizeof text, "lut%d:%s%s,stack=%d,lut=%s%s%s,dim=%d", b, share, axis, stack,
             stores[lut], pcs ? ",pcs" : "", store, dim);
    quant_scheme s;
    CU_ASSERT_EQUAL_FATAL(quant_scheme_parse(NULL, text, &s), QUANT_OK);
    return s;
}

uint8_t *encode_new(quant_context *ctx, quant_scheme *s, const quant_shape *shape,
                    const float *w, quant_layout *layout, quant_encode_info *info)
{
    if (quant_encode_layout(ctx, s, shape, layout) != QUANT_OK) {
        return NULL;
    }
    uint8_t *packed = malloc(layout->bytes + 1);
    memset(packed, 0xa5, layout->bytes + 1);
    quant_status status = quant_encode(ctx, s, shape, w, packed, layout->bytes, info);
    CU_ASSERT_EQUAL(packed[layout->bytes], 0xa5);
    if (status == QUANT_OK) {
        return packed;
    }
    free(packed);
    return status == QUANT_ESCALE && quant_scheme_widen(s)
               ? encode_new(ctx, s, shape, w, layout, info)
               : NULL;
}

void table_load(const quant_scheme *s, const uint8_t *packed, const quant_layout *l, uint64_t r,
                float *table)
{
    size_t entries = (size_t)1 << s->bits;
    const uint8_t *segment = packed + l->table.offset;
    if (s->table_store != QUANT_STORE_I8) {
        quant_store_load(s->table_store, segment, r * entries, entries, table);
        return;
    }
    float scale = quant_store_get(s->store, packed + l->table_scale.offset, r);
    for (size_t i = 0; i < entries; i++) {
        table[i] = scale * (float)((const int8_t *)segment)[r * entries + i];
    }
}
