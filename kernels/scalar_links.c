/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_links.c - the cheapest predecessor of each of some nodes, by halving. */
#include "kernels/kernels.h"

/* The first of the cheapest of [low, end) for the row at distance r. */
static void choose(const qk_links *a, size_t low, size_t end, size_t r, double *best,
                   uint32_t *from)
{
    size_t t = a->row + r;
    for (size_t i = low; i < end; i++) {
        double s = a->s[t] - a->s[i], w = a->w[t] - a->w[i], v = a->g[i] - s * s / w;
        if (i == low || v < best[r]) {
            best[r] = v + 0.0; /* no -0 */
            from[r] = (uint32_t)i;
        }
    }
}

void qk_cheapest_links_scalar(const qk_links *a, size_t rows, double *best, uint32_t *from)
{
    if (rows == 0) {
        return;
    }
    choose(a, a->low, a->row, rows - 1, best, from);
    for (size_t half = rows / 2; half >= 4; half /= 2) {
        size_t low = a->low;
        for (size_t r = half - 1; r < rows; r += 2 * half) {
            choose(a, low, from[r + half] + (size_t)1, r, best, from);
            low = from[r + half];
        }
    }
    size_t low = a->low;
    for (size_t r = 0; r + 4 <= rows; r += 4) {
        size_t end = from[r + 3] + (size_t)1;
        for (size_t lane = 0; lane < 4; lane++) {
            choose(a, low, end, r + lane, best, from);
        }
        low = end - 1;
    }
}
