/* SPDX-License-Identifier: Apache-2.0 */
/* panels.h - where the panels of an integer product lie (layout in kernels.h). */
#ifndef QUANT_KERNELS_PANELS_H
#define QUANT_KERNELS_PANELS_H

#include "kernels/kernels.h"

/* Groups of four along the inner dimension. */
static inline size_t qk_gemm_groups(size_t k)
{
    return k / 4 + (k % 4 != 0);
}

/* Stored width of a panel that holds `rows` rows of weights, 1..QK_PANEL. */
static inline size_t qk_width_of(size_t rows)
{
    return (rows + 15) / 16 * 16;
}

/* The panel that begins with row j, a multiple of QK_PANEL below n. */
static inline size_t qk_panel_width(const qk_gemm *g, size_t j)
{
    return qk_width_of(g->n - j < QK_PANEL ? g->n - j : QK_PANEL);
}
static inline const uint8_t *qk_panel(const qk_gemm *g, size_t j)
{
    return g->panels + j * 4 * qk_gemm_groups(g->k);
}

#endif
