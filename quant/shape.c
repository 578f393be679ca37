/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/shape.h"

#include "quant/internal.h"

quant_status quant_shape_elements(quant_context *ctx, const quant_shape *shape, uint64_t *count)
{
    if (!shape || !count || shape->rank < 0 || shape->rank > QUANT_MAX_RANK) {
        return quant_fail(ctx, QUANT_EINVAL, "shape: expected rank 0..%d, found %d", QUANT_MAX_RANK,
                          shape ? shape->rank : -1);
    }
    uint64_t product = 1;
    int empty = 0;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] == 0) {
            empty = 1;
        } else if (__builtin_mul_overflow(product, shape->dim[i], &product) || product >> 62) {
            return quant_fail(ctx, QUANT_EOVERFLOW, "shape: more than 2^62 elements at axis %d", i);
        }
    }
    *count = empty ? 0 : product;
    return QUANT_OK;
}
