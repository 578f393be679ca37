/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_convert.c - binary32 to and from binary16 and bfloat16, in the bits; how often each
 * occurs. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

static uint32_t bits_of(float x)
{
    uint32_t b;
    memcpy(&b, &x, sizeof b);
    return b;
}

static float float_of(uint32_t b)
{
    float x;
    memcpy(&x, &b, sizeof x);
    return x;
}

static uint16_t f16_of(float x)
{
    uint32_t b = bits_of(x), sign = b >> 16 & 0x8000u, magnitude = b & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        return (uint16_t)(sign | 0x7e00u);
    }
    if (magnitude >= 0x477ff000u) { /* 65520, half way from the largest, 65504, to 2^16 */
        return (uint16_t)(sign | 0x7c00u);
    }
    if (magnitude < 0x38800000u) { /* below 2^-14 the step is 2^-24; the product is exact */
        return (uint16_t)(sign | (uint32_t)rintf(float_of(magnitude) * 0x1p24f));
    }
    magnitude += 0xfffu + (magnitude >> 13 & 1u); /* ties to even; a carry enters the exponent */
    return (uint16_t)(sign | (magnitude - 0x38000000u) >> 13); /* bias 127 to 15 */
}

static float f32_of(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    if (magnitude < 0x400u) {
        return float_of(sign | bits_of((float)magnitude * 0x1p-24f));
    }
    if (magnitude < 0x7c00u) {
        return float_of(sign | ((magnitude << 13) + 0x38000000u));
    }
    uint32_t quiet = magnitude > 0x7c00u ? 0x00400000u : 0u;
    return float_of(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13 | quiet);
}

static uint16_t bf16_of(float x)
{
    uint32_t b = bits_of(x);
    if ((b & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)((b >> 16 & 0x8000u) | 0x7fc0u);
    }
    return (uint16_t)((b + 0x7fffu + (b >> 16 & 1u)) >> 16); /* past the largest: infinity */
}

void qk_f32_to_f16_scalar(const float *x, size_t n, uint16_t *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = f16_of(x[i]);
    }
}

void qk_f32_to_bf16_scalar(const float *x, size_t n, uint16_t *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = bf16_of(x[i]);
    }
}

void qk_f16_to_f32_scalar(const uint16_t *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        y[i] = f32_of(x[i]);
    }
}

void qk_bf16_to_f32_scalar(const uint16_t *x, size_t n, float *y)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t b = (uint32_t)x[i] << 16;
        uint32_t quiet = (b & 0x7fffffffu) > 0x7f800000u ? 0x00400000u : 0u;
        b |= quiet;
        memcpy(&y[i], &b, sizeof b); /* a float in between might lose bits of a NaN on x87 */
    }
}

/* Two's complement of sign and magnitude, from 0 on: order of keys = order of values. */
static bool count_code(uint16_t code, qk_keys k)
{
    uint32_t key = code & 0x8000u ? code ^ 0xffffu : code | 0x8000u, place = key - k.first;
    if (place < k.keys) {
        k.count[place]++;
    }
    return place < k.keys;
}

size_t qk_count_f16_scalar(const float *x, size_t n, qk_keys k)
{
    size_t i = 0;
    for (; i < n; i++) {
        float own = x[i] + 0.0f; /* -0 becomes +0 */
        uint16_t code = f16_of(own);
        if (bits_of(f32_of(code)) != bits_of(own) || !count_code(code, k)) {
            break;
        }
    }
    return i;
}

size_t qk_count_bf16_scalar(const float *x, size_t n, qk_keys k)
{
    size_t i = 0;
    for (; i < n; i++) {
        uint32_t own = bits_of(x[i] + 0.0f);
        if ((own & 0xffffu) != 0 || !count_code((uint16_t)(own >> 16), k)) {
            break;
        }
    }
    return i;
}
