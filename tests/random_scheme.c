/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "tests/random_scheme.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

dice dice_of(uint64_t seed, uint64_t k)
{
    char name[32];
    snprintf(name, sizeof name, "case %llu", (unsigned long long)k);
    return (dice){quant_random_stream(seed, name), 0};
}

unsigned dice_roll(dice *d, unsigned below)
{
    return (unsigned)quant_random_below(&d->stream, d->next++, below);
}

quant_shape dice_shape(dice *d)
{
    static const uint64_t lengths[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 33};
    quant_shape shape = {(int)dice_roll(d, 5), {0}};
    uint64_t product = 1;
    for (int i = 0; i < shape.rank; i++) {
        uint64_t n = lengths[dice_roll(d, 10)];
        shape.dim[i] = product * n <= 2000 ? n : 1;
        product *= shape.dim[i];
    }
    if (shape.rank && dice_roll(d, 40) == 0) {
        shape.dim[dice_roll(d, (unsigned)shape.rank)] = 0;
    }
    return shape;
}

static void append(char text[QUANT_SCHEME_TEXT], const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, QUANT_SCHEME_TEXT - used, format, args);
    va_end(args);
}

static void dice_axes(dice *d, unsigned kind, int rank, int stack, char text[QUANT_SCHEME_TEXT])
{
    int axes = rank - stack;
    if (stack) {
        append(text, ",stack=%d", stack);
    }
    if (kind != 0 && dice_roll(d, 2)) {
        append(text, ",axis=%d", (int)dice_roll(d, 2 * (unsigned)axes) - axes);
    }
}

/* A per-channel scale gives a table per tensor a channel axis too. */
static void dice_codebook(dice *d, unsigned kind, int rank, int stack,
                          char text[QUANT_SCHEME_TEXT])
{
    static const char *const stores[] = {"f32", "f16", "bf16"};
    bool axes = rank - stack >= 2, pcs = axes && dice_roll(d, 3) == 0, int8 = dice_roll(d, 3) == 0;
    bool vectors = axes && dice_roll(d, 3) == 0;
    dice_axes(d, kind + pcs + vectors, rank, stack, text);
    append(text, "%s", !vectors ? "" : dice_roll(d, 2) ? ",dim=2" : ",dim=4");
    append(text, ",lut=%s", int8 ? "int8" : stores[dice_roll(d, 3)]);
    append(text, "%s", pcs ? ",pcs" : "");
    if (pcs || int8) {
        append(text, ",store=%s", stores[dice_roll(d, 3)]);
    }
}

void dice_scheme(dice *d, const quant_shape *shape, char text[QUANT_SCHEME_TEXT])
{
    static const char *const stores[] = {"f32", "f16", "bf16"}, *const ranges[] = {"half", "full"};
    int stack = shape->rank ? (int)dice_roll(d, (unsigned)shape->rank) * (int)dice_roll(d, 2) : 0;
    unsigned kinds = shape->rank - stack < 2 ? 1 : 3, kind = dice_roll(d, kinds);
    unsigned size = 1 + dice_roll(d, dice_roll(d, 2) ? 4 : 40);
    text[0] = '\0';
    if (dice_roll(d, 10) == 0) {
        append(text, "%s", dice_roll(d, 2) ? "f16" : "bf16");
        return;
    }
    if (dice_roll(d, 2)) {
        append(text, "int%c:", "2348"[dice_roll(d, 4)]);
        append(text, kind == 0 ? "tensor" : kind == 1 ? "channel" : "block=%u", size);
        dice_axes(d, kind, shape->rank, stack, text);
        if (dice_roll(d, 2)) {
            append(text, ",asym");
        } else if (dice_roll(d, 2)) {
            append(text, ",range=%s", ranges[dice_roll(d, 2)]);
        }
        append(text, ",store=%s", stores[dice_roll(d, 3)]);
        return;
    }
    append(text, "lut%c:", "123468"[dice_roll(d, 6)]);
    append(text, kind == 0 ? "tensor" : "group=%u", size);
    dice_codebook(d, kind, shape->rank, stack, text);
}

void dice_fill(dice *d, size_t n, float *w)
{
    unsigned kind = dice_roll(d, 8);
    for (size_t i = 0; i < n; i++) {
        float x = (float)quant_random_normal(&d->stream, 1000000 + d->next++);
        w[i] = kind == 0 ? 0.0f : kind == 1 ? 0.5f * (float)(int)(4.0f * x) : x;
        if (kind == 2 && dice_roll(d, 64) == 0) {
            w[i] *= 1000.0f;
        }
    }
}
