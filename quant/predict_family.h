/* SPDX-License-Identifier: Apache-2.0 */
/* predict_family.h - predicted squared error of the families that need no histogram; not
 * installed. Input is finite; w[regions.elements]. */
#ifndef QUANT_PREDICT_FAMILY_H
#define QUANT_PREDICT_FAMILY_H

#include "quant/region.h"

/* Sum of squared errors of f16 or bf16. QUANT_ESCALE when an element overflows. */
quant_status quant_predict_float(quant_context *ctx, quant_store store, const float *w, uint64_t n,
                                 double *error);

/* Sum of squared errors of a codebook; failures as quant_encode. */
quant_status quant_predict_codebook(quant_context *ctx, const quant_scheme *scheme,
                                    const quant_regions *regions, const float *w, double *error);

#endif
