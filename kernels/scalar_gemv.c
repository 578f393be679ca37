/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_gemv.c - rows of 4-bit codes times a vector, and one row times another. */
#include <string.h>

#include "kernels/kernels.h"
#include "kernels/lanes.h"

static unsigned code_at(const uint8_t *row, size_t i)
{
    return (unsigned)row[i / 2] >> (i % 2 * 4) & 15u;
}

/* Scale number i of a binary16 array that may lie at any address. */
static float scale_at(const void *scale, size_t i)
{
    uint16_t half;
    float s;
    memcpy(&half, (const uint8_t *)scale + 2 * i, sizeof half);
    qk_f16_to_f32_scalar(&half, 1, &s);
    return s;
}

void qk_gemv4_f32_scalar(const qk_gemv4_f32 *g)
{
    const size_t blocks = qk_blocks_of(g->k, g->block);
    for (size_t r = 0; r < g->n; r++) {
        const uint8_t *row = g->codes + r * (g->k / 2);
        float lane[QK_LANES] = {0};
        for (size_t i = 0; i < g->k; i++) {
            float w = g->table[code_at(row, i)];
            if (g->scale) {
                w = scale_at(g->scale, r * blocks + i / g->block) * w;
            }
            lane[i % QK_LANES] += w * g->x[i];
        }
        g->y[r] = qk_fold_floats(lane);
    }
}

void qk_gemv4_s8_scalar(const qk_gemv4_s8 *g)
{
    const size_t blocks = qk_blocks_of(g->k, g->block);
    for (size_t r = 0; r < g->n; r++) {
        const uint8_t *row = g->codes + r * (g->k / 2);
        double lane[QK_LANES] = {0};
        for (size_t b = 0; b < blocks; b++) {
            int32_t sum = 0;
            for (size_t i = b * g->block; i < g->k && i < (b + 1) * g->block; i++) {
                sum += (int32_t)g->table[code_at(row, i)] * g->x[i];
            }
            float s = g->scale ? scale_at(g->scale, r * blocks + b) : g->one_scale;
            double both = (double)s * (double)g->x_scale[b * g->x_step];
            lane[b % QK_LANES] += both * (double)sum;
        }
        g->y[r] = (float)qk_fold_lanes(lane);
    }
}

float qk_dot_single_scalar(const float *x, const float *y, size_t n)
{
    float lane[QK_LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        lane[i % QK_LANES] += x[i] * y[i];
    }
    return qk_fold_floats(lane);
}

int32_t qk_dot_s8_scalar(const int8_t *x, const int8_t *y, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}
