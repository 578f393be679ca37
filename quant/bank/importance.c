/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/importance.h"

#include <float.h>
#include <inttypes.h>
#include <string.h>

#include "quant/bank/packed_parts.h"
#include "quant/internal.h"

enum { SPAN = 1 << 16 };

/* A vector as long as the tensor's last axis. */
static bool is_shared(const quant_shape *own, const quant_shape *tensor)
{
    return own->rank == 1 && tensor->rank > 1 && own->dim[0] == tensor->dim[tensor->rank - 1];
}

static quant_status check_values(quant_context *ctx, quant_bank *importance, size_t i)
{
    const quant_tensor *own = quant_bank_tensor(importance, i);
    float *span = quant_alloc(ctx, SPAN, sizeof *span);
    quant_status s = span ? QUANT_OK : QUANT_ENOMEM;
    for (uint64_t first = 0; s == QUANT_OK && first < own->elements; first += SPAN) {
        uint64_t left = own->elements - first, n = left < SPAN ? left : SPAN;
        s = quant_bank_read_f32(ctx, importance, i, first, n, span);
        for (uint64_t k = 0; s == QUANT_OK && k < n; k++) {
            if (!(span[k] >= 0.0f && span[k] <= FLT_MAX)) {
                s = quant_fail(ctx, QUANT_ERANGE, "importance: expected finite and >= 0, found %g "
                               "at index %" PRIu64, (double)span[k], first + k);
            }
        }
    }
    quant_release(ctx, span, SPAN, sizeof *span);
    return s;
}

static quant_status check_tensor(quant_context *ctx, quant_bank *importance, size_t i,
                                 const quant_bank *bank)
{
    const quant_tensor *own = quant_bank_tensor(importance, i);
    size_t k;
    if (quant_bank_find(ctx, bank, own->name, &k) != QUANT_OK) {
        return quant_fail(ctx, QUANT_EFIELD, "importance: expected a tensor of the bank, found a "
                          "name that it lacks");
    }
    const quant_tensor *t = quant_bank_tensor(bank, k);
    if (!quant_dtype_is_float(own->dtype) || !quant_dtype_is_decoded(own->dtype)) {
        return quant_fail(ctx, QUANT_EDTYPE, "importance: expected F64, F32, F16 or BF16, found %s",
                          own->dtype_text);
    }
    if (!quant_shape_same(&own->shape, &t->shape) && !is_shared(&own->shape, &t->shape)) {
        return quant_fail(ctx, QUANT_ESHAPE, "importance: expected the tensor's shape, or its last "
                          "axis alone, found rank %d and %" PRIu64 " values for rank %d and %"
                          PRIu64, own->shape.rank, own->elements, t->shape.rank, t->elements);
    }
    return check_values(ctx, importance, i);
}

quant_status quant_importance_check(quant_context *ctx, quant_bank *importance,
                                    const quant_bank *bank)
{
    if (!importance || !bank) {
        return quant_fail(ctx, QUANT_EINVAL, "importance: an argument is NULL");
    }
    if (quant_bank_count(importance) == 0) {
        return quant_fail(ctx, QUANT_EUNSUPPORTED, "importance: expected tensors, found none");
    }
    for (size_t i = 0; i < quant_bank_count(importance); i++) {
        quant_status s = check_tensor(ctx, importance, i, bank);
        if (s != QUANT_OK) {
            const char *name = quant_bank_tensor(importance, i)->name;
            return s == QUANT_ENOMEM ? s : quant_packed_blame(ctx, s, name);
        }
    }
    return QUANT_OK;
}

quant_status quant_importance_read(quant_context *ctx, quant_bank *importance,
                                   const quant_tensor *t, float *out, bool *found)
{
    size_t i;
    *found = quant_bank_find(NULL, importance, t->name, &i) == QUANT_OK;
    if (!*found || t->elements == 0) {
        return QUANT_OK;
    }
    uint64_t n = quant_bank_tensor(importance, i)->elements;
    QUANT_TRY(quant_bank_read_f32(ctx, importance, i, 0, n, out));
    for (uint64_t k = n; k < t->elements; k += n) { /* the row that all share */
        memcpy(out + k, out, (size_t)n * sizeof *out);
    }
    return QUANT_OK;
}
