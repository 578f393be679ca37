/* SPDX-License-Identifier: Apache-2.0 */
/* vector_lloyd.c - passes over vectors, Lloyd's iteration, and its seeds.
 *
 * A cell of vectors is searched among those entries only that can be nearest to any of them: entry
 * j cannot when its distance to the nearest point of the cell's box exceeds the distance of some
 * other entry to the farthest point. Entries of a row of cells are sieved first. The comparison
 * leaves room for the roundings of both sides (kernels/nearest.h has the count), so what it drops
 * is not the nearest in the arithmetic of qk_nearest either. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/random.h"
#include "quant/vector_table.h"

enum { MOST_TURNS = 25, CHUNK = 256, PARTS = 16, PARTS_PAY = 65536, FEW = 8 };

/* A turn that gains less than this share is the last. */
static const double worth = 1e-4;

/* What a rounded bound may be off: a share, and times 1 + the sum of w. */
static const float share = 1.0f + 0x1p-18f, least_float = 0x1p-110f;

/* ---- which entries --------------------------------------------------------------------------- */

/* Some entries by component, in ascending order of their numbers. */
typedef struct sieve {
    size_t n;
    bool bounded; /* as quant_vectors */
    float lane[QUANT_VECTOR_DIM][QUANT_CODEBOOK_ENTRIES];
    uint8_t index[QUANT_CODEBOOK_ENTRIES];
} sieve;

static void all_entries(const quant_vector_table *t, sieve *s)
{
    s->n = t->used;
    s->bounded = true;
    for (size_t j = 0; j < t->used; j++) {
        s->index[j] = (uint8_t)j;
        for (size_t d = 0; d < t->dim; d++) {
            s->lane[d][j] = t->entry[j * t->dim + d];
            s->bounded &= fabsf(s->lane[d][j]) <= 0x1p62f;
        }
    }
}

/* Adds, in component d, squared distances of each entry to the nearest and to the farthest point of
 * the box. Written so that compilers use vectors. */
static void bound_distances(const float *restrict lane, size_t n, const quant_vector_box *b,
                            size_t d, float *restrict near, float *restrict far)
{
    const float low = b->low[d], high = b->high[d], light = b->light[d], heavy = b->heavy[d];
#pragma omp simd
    for (size_t j = 0; j < n; j++) {
        const float a = low - lane[j], c = lane[j] - high;
        float gap = a > c ? a : c;
        const float reach = a < c ? a : c;
        gap = gap > 0.0f ? gap : 0.0f;
        near[j] += light * (gap * gap);
        far[j] += heavy * (reach * reach);
    }
}

/* Four chains, so that none waits for the other. */
static float least_of(const float *x, size_t n)
{
    float a = INFINITY, b = a, c = a, d = a;
    size_t i = 0;
    for (; n - i >= 4; i += 4) {
        a = x[i] < a ? x[i] : a;
        b = x[i + 1] < b ? x[i + 1] : b;
        c = x[i + 2] < c ? x[i + 2] : c;
        d = x[i + 3] < d ? x[i + 3] : d;
    }
    for (; i < n; i++) {
        a = x[i] < a ? x[i] : a;
    }
    a = a < b ? a : b;
    c = c < d ? c : d;
    return a < c ? a : c;
}

/* Those of `from` that can be nearest to a vector in the box. */
static void shorten(const sieve *from, const quant_vector_box *b, size_t dim, sieve *to)
{
    float near[QUANT_CODEBOOK_ENTRIES], far[QUANT_CODEBOOK_ENTRIES], least, sum = 1.0f;
    uint8_t keep[QUANT_CODEBOOK_ENTRIES];
    size_t n = 0;
    memset(near, 0, from->n * sizeof *near);
    memset(far, 0, from->n * sizeof *far);
    for (size_t d = 0; d < dim; d++) {
        bound_distances(from->lane[d], from->n, b, d, near, far);
    }
    least = least_of(far, from->n);
    for (size_t d = 0; d < dim; d++) {
        sum += b->heavy[d];
    }
    const float limit = least * share + least_float * sum;
    for (size_t j = 0; j < from->n; j++) { /* no branch */
        keep[n] = (uint8_t)j;
        n += near[j] <= limit;
    }
    for (size_t k = 0; k < n; k++) {
        to->index[k] = from->index[keep[k]];
        for (size_t d = 0; d < dim; d++) {
            to->lane[d][k] = from->lane[d][keep[k]];
        }
    }
    to->n = n;
    to->bounded = true;
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* Vectors i .. i + n - 1, whose entries are index[code], join the sums. */
static void add_up(const quant_vectors *v, size_t i, size_t n, const uint8_t *codes,
                   const uint8_t *index, const double *error, quant_vector_sums *sums)
{
    const size_t dim = v->dim;
    for (size_t k = 0; k < n; k++) {
        const size_t j = index[codes[k]];
        const float *x = v->x + (i + k) * dim, *w = v->w ? v->w + (i + k) * dim : NULL;
        sums->count[j]++;
        for (size_t d = 0; d < dim; d++) {
            if (w) {
                sums->mass[j * dim + d] += (double)w[d];
            }
            sums->sum[j * dim + d] += w ? (double)w[d] * (double)x[d] : (double)x[d];
        }
        sums->error += error[k];
        if (error[k] > sums->worst_error) {
            sums->worst_error = error[k];
            sums->worst = i + k;
        }
    }
}

static void pass_cell(const quant_vectors *v, size_t c, const sieve *s, quant_vector_sums *sums)
{
    float entry[QUANT_VECTOR_PARTS];
    uint8_t codes[CHUNK];
    double error[CHUNK];
    for (size_t j = 0; j < s->n; j++) {
        for (size_t d = 0; d < v->dim; d++) {
            entry[j * v->dim + d] = s->lane[d][j];
        }
    }
    for (size_t i = v->first[c], n; i < v->first[c + 1]; i += n) {
        n = v->first[c + 1] - i < CHUNK ? v->first[c + 1] - i : CHUNK;
        const qk_nearest a = {v->dim, s->n, entry, v->x + i * v->dim,
                              v->w ? v->w + i * v->dim : NULL};
        qk()->nearest_vectors(&a, n, codes, error);
        add_up(v, i, n, codes, s->index, error, sums);
    }
}

static void pass_row(const quant_vectors *v, size_t row, const sieve *all, quant_vector_sums *sums)
{
    const bool pays = all->bounded && v->bounded && all->n > FEW;
    sieve of_row, of_cell;
    if (pays) {
        shorten(all, &v->box[v->cells + row], v->dim, &of_row);
    }
    for (size_t c = row * v->row; c < (row + 1) * v->row; c++) {
        if (v->first[c] == v->first[c + 1]) {
            continue;
        }
        if (pays) {
            shorten(&of_row, &v->box[c], v->dim, &of_cell);
        }
        pass_cell(v, c, pays ? &of_cell : all, sums);
    }
}

size_t quant_vector_parts(size_t n)
{
    return n < PARTS_PAY ? 1 : PARTS;
}

static void clear(const quant_vector_table *t, quant_vector_sums *s)
{
    memset(s->mass, 0, t->used * t->dim * sizeof *s->mass);
    memset(s->sum, 0, t->used * t->dim * sizeof *s->sum);
    memset(s->count, 0, t->used * sizeof *s->count);
    s->error = 0.0;
    s->worst_error = -1.0;
    s->worst = 0;
}

static void join(const quant_vector_table *t, const quant_vector_sums *part, quant_vector_sums *s)
{
    for (size_t k = 0; k < t->used * t->dim; k++) {
        s->mass[k] += part->mass[k];
        s->sum[k] += part->sum[k];
    }
    for (size_t j = 0; j < t->used; j++) {
        s->count[j] += part->count[j];
    }
    s->error += part->error;
    if (part->worst_error > s->worst_error) {
        s->worst_error = part->worst_error;
        s->worst = part->worst;
    }
}

double quant_vector_pass(const quant_vectors *v, const quant_vector_table *t,
                         quant_vector_sums *sums, int threads)
{
    const size_t parts = quant_vector_parts(v->n), rows = v->cells / v->row;
    sieve all;
    all_entries(t, &all);
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (size_t p = 0; p < parts; p++) {
        clear(t, &sums[p]);
        for (size_t row = p * rows / parts; row < (p + 1) * rows / parts; row++) {
            pass_row(v, row, &all, &sums[p]);
        }
    }
    for (size_t p = 1; p < parts; p++) {
        join(t, &sums[p], sums);
    }
    for (size_t k = 0; !v->w && k < t->used * t->dim; k++) {
        sums->mass[k] = (double)sums->count[k / t->dim];
    }
    return sums->error;
}

/* ---- Lloyd ----------------------------------------------------------------------------------- */

/* Entries become the means of what they serve; the first that serves nothing takes the vector of
 * largest error. */
static void update(const quant_vectors *v, const quant_vector_sums *sums, quant_vector_table *t)
{
    bool moved = false;
    for (size_t j = 0; j < t->used; j++) {
        bool take = sums->count[j] == 0 && !moved;
        moved |= take;
        for (size_t d = 0; d < t->dim; d++) {
            size_t k = j * t->dim + d;
            t->entry[k] = take                  ? v->x[sums->worst * v->dim + d]
                          : sums->mass[k] > 0.0 ? (float)(sums->sum[k] / sums->mass[k])
                                                : t->entry[k];
        }
    }
}

double quant_vector_lloyd(const quant_vectors *v, quant_vector_table *t, quant_vector_sums *sums)
{
    double last = INFINITY;
    for (int turn = 0; turn < MOST_TURNS; turn++) {
        double error = quant_vector_pass(v, t, sums, 1);
        if (!(error < last * (1.0 - worth))) {
            return fmin(error, last);
        }
        last = error;
        update(v, sums, t);
    }
    return last;
}

/* ---- k-means++ ------------------------------------------------------------------------------- */

/* What is known of a cell: no distance in it is above `most`; all of them add up to `sum`. */
typedef struct cell_sums {
    double *most, *sum;
} cell_sums;

/* Distances of a cell after entry c came. */
static void draw_cell(const quant_vectors *v, size_t cell, const float *c, float *distance,
                      cell_sums k)
{
    double sum = 0.0;
    float most = 0.0f;
    for (size_t i = v->first[cell]; i < v->first[cell + 1]; i++) {
        double own = 0.0;
        for (size_t d = 0; d < v->dim; d++) {
            double e = (double)v->x[i * v->dim + d] - (double)c[d];
            own += v->w ? (double)v->w[i * v->dim + d] * e * e : e * e;
        }
        distance[i] = own < (double)distance[i] ? (float)own : distance[i];
        most = distance[i] > most ? distance[i] : most;
        sum += (double)distance[i];
    }
    k.most[cell] = (double)most;
    k.sum[cell] = sum;
}

/* Whether entry c may be nearer to a vector of the cell than what is known. In double, whose
 * roundings 2^-20 covers. */
static bool may_matter(const quant_vectors *v, size_t cell, const float *c, double most)
{
    const quant_vector_box *b = &v->box[cell];
    double near = 0.0;
    for (size_t d = 0; d < v->dim; d++) {
        double below = (double)b->low[d] - (double)c[d], above = (double)c[d] - (double)b->high[d];
        double gap = fmax(fmax(below, above), 0.0);
        near += (double)b->light[d] * gap * gap;
    }
    return !(near * (1.0 - 0x1p-20) > most);
}

/* Distances after entry c came; their sum. */
static double draw_near(const quant_vectors *v, const float *c, float *distance, cell_sums k)
{
    double total = 0.0;
    for (size_t cell = 0; cell < v->cells; cell++) {
        if (v->first[cell] < v->first[cell + 1]) {
            if (may_matter(v, cell, c, k.most[cell])) {
                draw_cell(v, cell, c, distance, k);
            }
            total += k.sum[cell];
        }
    }
    return total;
}

/* The vector at which the distances, added up in order, exceed `left`; the last one with a distance
 * when rounding leaves none. */
static size_t choose(const quant_vectors *v, const float *distance, cell_sums k, double left)
{
    size_t last = 0;
    for (size_t cell = 0; cell < v->cells; cell++) {
        if (v->first[cell] == v->first[cell + 1] || !(k.sum[cell] > 0.0)) {
            continue;
        }
        if (left >= k.sum[cell] && cell + 1 < v->cells) {
            left -= k.sum[cell];
            last = v->first[cell + 1] - 1;
            continue;
        }
        for (size_t i = v->first[cell]; i < v->first[cell + 1]; i++) {
            last = distance[i] > 0.0f ? i : last;
            if (left < (double)distance[i]) {
                return i;
            }
            left -= (double)distance[i];
        }
    }
    return last;
}

void quant_vector_seed(const quant_vectors *v, size_t k, float *distance, double *cells,
                       quant_vector_table *t)
{
    quant_random stream = quant_random_stream(0, "vector codebook");
    const cell_sums known = {cells, cells + v->cells};
    size_t chosen = (size_t)quant_random_below(&stream, 0, v->n);
    for (size_t i = 0; i < v->n; i++) {
        distance[i] = INFINITY;
    }
    for (size_t c = 0; c < v->cells; c++) {
        known.most[c] = INFINITY;
        known.sum[c] = 0.0;
    }
    for (t->used = 0;;) {
        float *entry = t->entry + t->used * v->dim;
        memcpy(entry, v->x + chosen * v->dim, v->dim * sizeof *entry);
        t->used++;
        double total = draw_near(v, entry, distance, known);
        if (t->used == k || !(total > 0.0) || !isfinite(total)) {
            break;
        }
        chosen = choose(v, distance, known, quant_random_uniform(&stream, t->used) * total);
    }
}
