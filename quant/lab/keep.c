/* SPDX-License-Identifier: GPL-3.0-or-later */
/* keep.c - why a tensor is not quantized whatever the scheme. */
#include <inttypes.h>
#include <stdio.h>

#include "quant/lab/recipe.h"

static _Thread_local char reason[96];

/* Integers are the types that are neither floating point nor complex. */
static bool is_integer(quant_dtype d)
{
    return !quant_dtype_is_float(d) && d != QUANT_C64;
}

const char *quant_keep_reason(const quant_tensor *t, uint64_t min_elements)
{
    const char *type = t->dtype_text ? t->dtype_text : quant_dtype_name(t->dtype);
    if (is_integer(t->dtype)) {
        snprintf(reason, sizeof reason, "integer type %.48s", type);
        return reason;
    }
    if (!quant_dtype_is_decoded(t->dtype)) {
        snprintf(reason, sizeof reason, "type %.48s is not decoded", type);
        return reason;
    }
    if (t->shape.rank == 0) {
        return "scalar";
    }
    if (t->elements == 0) {
        return "empty";
    }
    if (t->shape.rank == 1) {
        return "1-D";
    }
    if (t->elements < min_elements) {
        snprintf(reason, sizeof reason, "fewer than %" PRIu64 " elements", min_elements);
        return reason;
    }
    return NULL;
}
