/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/store.h"

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

typedef struct store_row {
    const char *name;
    size_t bytes;
    float smallest;
} store_row;

static const store_row rows[] = {
    [QUANT_STORE_F32] = {"f32", 4, 0x1p-126f},
    [QUANT_STORE_F16] = {"f16", 2, 0x1p-14f},
    [QUANT_STORE_BF16] = {"bf16", 2, 0x1p-126f},
    [QUANT_STORE_I8] = {"int8", 1, 1.0f}, /* size and name only: its values need a scale */
};

size_t quant_store_bytes(quant_store s)
{
    return rows[s].bytes;
}

const char *quant_store_name(quant_store s)
{
    return rows[s].name;
}

float quant_store_smallest(quant_store s)
{
    return rows[s].smallest;
}

static uint16_t narrow(quant_store s, float x)
{
    uint16_t h;
    (s == QUANT_STORE_F16 ? qk()->f32_to_f16 : qk()->f32_to_bf16)(&x, 1, &h);
    return h;
}

static float widen(quant_store s, uint16_t h)
{
    float x;
    (s == QUANT_STORE_F16 ? qk()->f16_to_f32 : qk()->bf16_to_f32)(&h, 1, &x);
    return x;
}

float quant_store_round(quant_store s, float x)
{
    return s == QUANT_STORE_F32 ? x : widen(s, narrow(s, x));
}

float quant_store_round_up(quant_store s, float x)
{
    if (s == QUANT_STORE_F32) {
        return x;
    }
    uint16_t h = narrow(s, x); /* x >= 0: the next code up is the next value up */
    return widen(s, widen(s, h) < x ? (uint16_t)(h + 1) : h);
}

float quant_store_below(quant_store s, float x)
{
    return s == QUANT_STORE_F32 ? nextafterf(x, 0.0f) : widen(s, (uint16_t)(narrow(s, x) - 1));
}

void quant_store_put(quant_store s, uint8_t *segment, uint64_t i, float value)
{
    if (s == QUANT_STORE_F32) {
        memcpy(segment + 4 * i, &value, 4);
    } else {
        uint16_t h = narrow(s, value);
        memcpy(segment + 2 * i, &h, 2);
    }
}

float quant_store_get(quant_store s, const uint8_t *segment, uint64_t i)
{
    if (s == QUANT_STORE_F32) {
        float x;
        memcpy(&x, segment + 4 * i, 4);
        return x;
    }
    uint16_t h;
    memcpy(&h, segment + 2 * i, 2);
    return widen(s, h);
}

void quant_store_load(quant_store s, const uint8_t *segment, uint64_t first, size_t n, float *out)
{
    uint16_t half[256];
    if (s == QUANT_STORE_F32) {
        memcpy(out, segment + 4 * first, 4 * n);
        return;
    }
    memcpy(half, segment + 2 * first, 2 * n);
    (s == QUANT_STORE_F16 ? qk()->f16_to_f32 : qk()->bf16_to_f32)(half, n, out);
}

void quant_store_save(quant_store s, uint8_t *segment, uint64_t first, size_t n, const float *in)
{
    uint16_t half[256];
    if (s == QUANT_STORE_F32) {
        memcpy(segment + 4 * first, in, 4 * n);
        return;
    }
    (s == QUANT_STORE_F16 ? qk()->f32_to_f16 : qk()->f32_to_bf16)(in, n, half);
    memcpy(segment + 2 * first, half, 2 * n);
}

void quant_store_round_many(quant_store s, float *x, size_t n)
{
    uint16_t half[256];
    if (s != QUANT_STORE_F32) {
        (s == QUANT_STORE_F16 ? qk()->f32_to_f16 : qk()->f32_to_bf16)(x, n, half);
        (s == QUANT_STORE_F16 ? qk()->f16_to_f32 : qk()->bf16_to_f32)(half, n, x);
    }
}
