/* SPDX-License-Identifier: Apache-2.0 */
/* float16.c - f16 and bf16: every weight by itself, no regions. */
#include <float.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/codec.h"

/* The smallest magnitude that rounds to infinity: the largest number and half a step. */
static float overflow_of(quant_store s)
{
    return s == QUANT_STORE_F16 ? 65520.0f : 0x1.ffp127f;
}

static uint64_t count_zeros(const uint16_t *half, size_t n)
{
    uint64_t zeros = 0;
    for (size_t i = 0; i < n; i++) {
        zeros += (half[i] & 0x7fff) == 0;
    }
    return zeros;
}

static void code_step(const quant_job *job, const float *x, size_t n, uint8_t *stream,
                      quant_worker *worker)
{
    uint16_t buffer[QUANT_STEP];
    const bool straight = (uintptr_t)stream % sizeof *buffer == 0;
    uint16_t *half = straight ? (uint16_t *)(void *)stream : buffer;
    (job->scheme.store == QUANT_STORE_F16 ? qk()->f32_to_f16 : qk()->f32_to_bf16)(x, n, half);
    if (worker->count) {
        worker->zero_codes += count_zeros(half, n);
    }
    if (!straight) {
        memcpy(stream, half, 2 * n);
    }
}

void quant_float16_code(const quant_job *job, const float *x, uint64_t n, uint8_t *stream,
                        quant_worker *worker)
{
    for (uint64_t i = 0; i < n; i += QUANT_STEP) {
        const size_t m = n - i < QUANT_STEP ? (size_t)(n - i) : QUANT_STEP;
        float most;
        qk()->absmax_blocks(x + i, m, m, &most);
        if (!(most < overflow_of(job->scheme.store))) {
            quant_worker_fail(worker, most <= FLT_MAX ? QUANT_ESCALE : QUANT_ENONFINITE, 0);
        }
        code_step(job, x + i, m, stream + 2 * i, worker);
    }
}

void quant_float16_value(const quant_job *job, const uint8_t *stream, uint64_t n, float *y)
{
    uint16_t half[QUANT_STEP];
    const bool f16 = job->scheme.store == QUANT_STORE_F16;
    qk_widen16_fn *widen = job->straight ? f16 ? qk()->stream_f16 : qk()->stream_bf16
                           : f16         ? qk()->f16_to_f32
                                         : qk()->bf16_to_f32;
    if ((uintptr_t)stream % sizeof *half == 0) {
        widen((const uint16_t *)(const void *)stream, n, y);
        return;
    }
    for (uint64_t i = 0; i < n; i += QUANT_STEP) {
        const size_t m = n - i < QUANT_STEP ? (size_t)(n - i) : QUANT_STEP;
        memcpy(half, stream + 2 * i, 2 * m);
        widen(half, m, y + i);
    }
}
