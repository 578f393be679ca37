/* SPDX-License-Identifier: Apache-2.0 */
/* float16.c - f16 and bf16: every weight by itself, no regions. */
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"

/* First element of the all-ones exponent, in the 15 magnitude bits: infinity. */
static uint16_t infinity_bits(quant_store s)
{
    return s == QUANT_STORE_F16 ? 0x7c00 : 0x7f80;
}

void quant_float16_code(const quant_job *job, const float *x, uint64_t n, uint8_t *stream,
                        quant_worker *worker)
{
    uint16_t half[QUANT_PIECE];
    uint16_t limit = infinity_bits(job->scheme.store);
    uint64_t overflows = 0, zeros = 0;
    (job->scheme.store == QUANT_STORE_F16 ? qk()->f32_to_f16 : qk()->f32_to_bf16)(x, n, half);
    for (uint64_t i = 0; i < n; i++) {
        overflows += (half[i] & 0x7fff) >= limit;
        zeros += (half[i] & 0x7fff) == 0;
    }
    worker->zero_codes += zeros;
    if (overflows) {
        quant_worker_fail(worker, QUANT_ESCALE, 0);
    }
    memcpy(stream, half, 2 * n);
}

void quant_float16_value(const quant_job *job, const uint8_t *stream, uint64_t n, float *y)
{
    uint16_t half[QUANT_PIECE];
    memcpy(half, stream, 2 * n);
    (job->scheme.store == QUANT_STORE_F16 ? qk()->f16_to_f32 : qk()->bf16_to_f32)(half, n, y);
}
