/* SPDX-License-Identifier: GPL-3.0-or-later */
/* value.h - one value of a report, so that JSON and CSV are read off the same table of fields. */
#ifndef QUANT_REPORT_VALUE_H
#define QUANT_REPORT_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "quant/shape.h"

typedef enum quant_value_kind {
    QUANT_VALUE_TEXT,  /* NULL is null, or an empty cell */
    QUANT_VALUE_REAL,  /* non-finite is null, or an empty cell */
    QUANT_VALUE_COUNT,
    QUANT_VALUE_FLAG,
    QUANT_VALUE_SHAPE
} quant_value_kind;

typedef struct quant_value {
    quant_value_kind kind;
    union {
        const char *text;
        double real;
        uint64_t count;
        bool flag;
        const quant_shape *shape;
    } as;
} quant_value;

static inline quant_value quant_value_text(const char *text)
{
    return (quant_value){QUANT_VALUE_TEXT, {.text = text}};
}

static inline quant_value quant_value_real(double real)
{
    return (quant_value){QUANT_VALUE_REAL, {.real = real}};
}

static inline quant_value quant_value_count(uint64_t count)
{
    return (quant_value){QUANT_VALUE_COUNT, {.count = count}};
}

static inline quant_value quant_value_flag(bool flag)
{
    return (quant_value){QUANT_VALUE_FLAG, {.flag = flag}};
}

static inline quant_value quant_value_shape(const quant_shape *shape)
{
    return (quant_value){QUANT_VALUE_SHAPE, {.shape = shape}};
}

#endif
