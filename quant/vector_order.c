/* SPDX-License-Identifier: Apache-2.0 */
/* vector_order.c - vectors by cells of a grid, so that those which are near to each other are
 * searched together, among the few entries that can be nearest to any of them. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/vector_table.h"

enum { CELL = 256, CHUNK = 512, MOST_CELLS = 4096 };

/* Largest coordinate whose squares are surely finite. */
static const float bounded = 0x1p62f;

size_t quant_vector_side(size_t n, size_t dim)
{
    const size_t most = dim == 2 ? QUANT_VECTOR_SIDE : 8;
    size_t side = 1;
    for (size_t next = 2; next <= most; next++) {
        size_t cells = next * next;
        cells = dim == 2 ? cells : cells * cells;
        side = cells * CELL <= n ? next : side;
    }
    return side;
}

void quant_vector_cut(const quant_points *p, size_t d, quant_vector_grid *grid)
{
    double total = 0.0, sum = 0.0;
    for (size_t i = 0; i < p->n; i++) {
        total += p->weight ? p->weight[i] : 1.0;
    }
    for (size_t k = 1, i = 0; k < grid->side; k++) {
        const double share = total * (double)k / (double)grid->side;
        while (i + 1 < p->n && sum < share) {
            sum += p->weight ? p->weight[i] : 1.0;
            i++;
        }
        grid->edge[d][k - 1] = (float)p->value[i];
    }
}

/* The cell of every step-th vector, n of them; adds to count[cell + 1]. */
static void find_cells(const quant_vectors *v, size_t step, const quant_vector_grid *grid, size_t n,
                       const quant_vector_place *to)
{
    float some[CHUNK];
    uint8_t code[CHUNK];
    for (size_t i = 0; i < n; i += CHUNK) {
        const size_t m = n - i < CHUNK ? n - i : CHUNK;
        memset(to->cell + i, 0, m * sizeof *to->cell);
        for (size_t d = 0; d < v->dim; d++) {
            for (size_t k = 0; k < m; k++) {
                some[k] = v->x[(i + k) * step * v->dim + d];
            }
            qk()->assign_codebook(some, m, grid->edge[d], grid->side - 1, code);
            for (size_t k = 0; k < m; k++) {
                to->cell[i + k] = (uint16_t)(to->cell[i + k] * grid->side + code[k]);
            }
        }
        for (size_t k = 0; k < m; k++) {
            to->first[to->cell[i + k] + 1]++;
        }
    }
}

/* Vectors to the places of their cells. */
static void scatter(const quant_vectors *v, size_t step, size_t n, size_t cells,
                    const quant_vector_place *to)
{
    const size_t dim = v->dim;
    uint32_t next[MOST_CELLS];
    memcpy(next, to->first, cells * sizeof *next);
    for (size_t i = 0; i < n; i++) {
        const size_t at = next[to->cell[i]]++;
        memcpy(to->x + at * dim, v->x + i * step * dim, dim * sizeof *to->x);
        if (v->w) {
            memcpy(to->w + at * dim, v->w + i * step * dim, dim * sizeof *to->w);
        }
    }
}

static void widen(const float *x, const float *w, size_t dim, quant_vector_box *b)
{
    bool none = w != NULL;
    for (size_t d = 0; w && d < dim; d++) {
        none &= w[d] == 0.0f;
    }
    for (size_t d = 0; d < dim; d++) {
        const float counts = w && !none ? w[d] : 1.0f;
        b->low[d] = x[d] < b->low[d] ? x[d] : b->low[d];
        b->high[d] = x[d] > b->high[d] ? x[d] : b->high[d];
        b->light[d] = counts < b->light[d] ? counts : b->light[d];
        b->heavy[d] = counts > b->heavy[d] ? counts : b->heavy[d];
    }
}

static quant_vector_box empty_box(void)
{
    quant_vector_box b;
    for (size_t d = 0; d < QUANT_VECTOR_DIM; d++) {
        b.low[d] = b.light[d] = INFINITY;
        b.high[d] = -INFINITY;
        b.heavy[d] = 0.0f;
    }
    return b;
}

static void join(const quant_vector_box *a, size_t dim, quant_vector_box *b)
{
    for (size_t d = 0; d < dim; d++) {
        b->low[d] = a->low[d] < b->low[d] ? a->low[d] : b->low[d];
        b->high[d] = a->high[d] > b->high[d] ? a->high[d] : b->high[d];
        b->light[d] = a->light[d] < b->light[d] ? a->light[d] : b->light[d];
        b->heavy[d] = a->heavy[d] > b->heavy[d] ? a->heavy[d] : b->heavy[d];
    }
}

/* Boxes of cells, then of rows. */
static void find_boxes(const quant_vectors *v, quant_vector_box *box)
{
    for (size_t r = 0; r < v->cells / v->row; r++) {
        quant_vector_box *of_row = &box[v->cells + r];
        *of_row = empty_box();
        for (size_t c = r * v->row; c < (r + 1) * v->row; c++) {
            box[c] = empty_box();
            for (size_t i = v->first[c]; i < v->first[c + 1]; i++) {
                widen(v->x + i * v->dim, v->w ? v->w + i * v->dim : NULL, v->dim, &box[c]);
            }
            join(&box[c], v->dim, of_row);
        }
    }
}

quant_vectors quant_vector_order(const quant_vectors *v, size_t step,
                                 const quant_vector_grid *grid, const quant_vector_place *to)
{
    quant_vectors o = {.dim = v->dim, .n = (v->n + step - 1) / step, .x = to->x,
                       .w = v->w ? to->w : NULL, .first = to->first, .box = to->box};
    o.row = v->dim == 2 ? grid->side : grid->side * grid->side;
    o.cells = o.row * o.row;
    memset(to->first, 0, (o.cells + 1) * sizeof *to->first);
    find_cells(v, step, grid, o.n, to);
    for (size_t c = 0; c < o.cells; c++) {
        to->first[c + 1] += to->first[c];
    }
    scatter(v, step, o.n, o.cells, to);
    find_boxes(&o, to->box);
    o.bounded = qk()->absmax_f32(v->x, v->n * v->dim) <= bounded;
    return o;
}
