/* SPDX-License-Identifier: Apache-2.0 */
/* shape.h - the shape of a dense row-major tensor, slowest axis first. */
#ifndef QUANT_SHAPE_H
#define QUANT_SHAPE_H

#include <stddef.h>
#include <stdint.h>

#include "quant/context.h"

#ifdef __cplusplus
extern "C" {
#endif

#define QUANT_MAX_RANK 8

typedef struct quant_shape {
    int rank;                      /* 0 (a scalar, one element) .. QUANT_MAX_RANK */
    uint64_t dim[QUANT_MAX_RANK];  /* zero is allowed: an empty tensor */
} quant_shape;

/* Element count; QUANT_EOVERFLOW when the product of the nonzero dims is 2^62 or more,
 * QUANT_EINVAL when the rank is out of range. */
quant_status quant_shape_elements(quant_context *ctx, const quant_shape *shape, uint64_t *count);

#ifdef __cplusplus
}
#endif
#endif
