/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_gemm.c - int8 times packed int8 weights: what every level must give. */
#include "kernels/panels.h"

void qk_gemm_s8_scalar(const qk_gemm *g)
{
    for (size_t j = 0; j < g->n; j++) {
        const size_t width = qk_panel_width(g, j - j % QK_PANEL);
        const uint8_t *w = qk_panel(g, j - j % QK_PANEL) + 4 * (j % QK_PANEL);
        for (size_t i = 0; i < g->m; i++) {
            int32_t sum = 0;
            for (size_t l = 0; l < g->k; l++) {
                sum += g->a[i * g->lda + l] * ((int32_t)w[l / 4 * width * 4 + l % 4] - 128);
            }
            g->c[i * g->ldc + j] = sum;
        }
    }
}
