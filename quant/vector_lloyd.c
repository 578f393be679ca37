/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "quant/random.h"
#include "quant/vector_table.h"

enum { MOST_TURNS = 25, LANES = 16 };

/* A turn that gains less than this share is the last. */
static const double worth = 1e-4;

void quant_vector_prepare(quant_vector_table *t)
{
    t->lanes = (t->used + LANES - 1) / LANES * LANES;
    for (size_t d = 0; d < t->dim; d++) {
        for (size_t j = 0; j < t->lanes; j++) {
            t->lane[d][j] = j < t->used ? (float)t->entry[j * t->dim + d] : INFINITY;
        }
    }
}

/* Squared distances in float arithmetic, infinite for lanes without an entry. Written out, for so
 * compilers use vectors of them. */
static void rough_distances(const quant_vector_table *t, const float *x, const float *w,
                            float *restrict distance)
{
    const float *a = t->lane[0], *b = t->lane[1], *c = t->lane[2], *d = t->lane[3];
    if (t->dim == 2) {
#pragma omp simd
        for (size_t j = 0; j < t->lanes; j++) {
            float e = x[0] - a[j], f = x[1] - b[j];
            distance[j] = w[0] * (e * e) + w[1] * (f * f);
        }
        return;
    }
#pragma omp simd
    for (size_t j = 0; j < t->lanes; j++) {
        float e = x[0] - a[j], f = x[1] - b[j], g = x[2] - c[j], h = x[3] - d[j];
        distance[j] = (w[0] * (e * e) + w[1] * (f * f)) + (w[2] * (g * g) + w[3] * (h * h));
    }
}

/* The least distance of all, and of every LANES-th from each of the first LANES on. */
static float least_of(const float *distance, size_t lanes, float *column)
{
    float least = INFINITY;
    for (size_t k = 0; k < LANES; k++) {
        column[k] = INFINITY;
    }
    for (size_t b = 0; b < lanes; b += LANES) {
#pragma omp simd
        for (size_t k = 0; k < LANES; k++) {
            column[k] = distance[b + k] < column[k] ? distance[b + k] : column[k];
        }
    }
    for (size_t k = 0; k < LANES; k++) {
        least = column[k] < least ? column[k] : least;
    }
    return least;
}

static double exact_distance(const quant_vector_table *t, size_t j, const float *x, const float *w)
{
    double sum = 0.0;
    for (size_t d = 0; d < t->dim; d++) {
        double e = (double)x[d] - t->entry[j * t->dim + d];
        sum += (double)w[d] * e * e;
    }
    return sum;
}

/* A rough distance is off by 9 roundings of 2^-24 and, near the subnormals, a few 2^-149: no entry
 * beyond this margin of the least can be the nearest. */
static float margin(float least)
{
    return least * (1.0f + 0x1p-19f) + 0x1p-120f;
}

size_t quant_vector_nearest(const quant_vector_table *t, const float *x, const float *w,
                            double *error)
{
    static const float ones[QUANT_VECTOR_DIM] = {1.0f, 1.0f, 1.0f, 1.0f};
    float distance[QUANT_CODEBOOK_ENTRIES], column[LANES], total = 0.0f;
    for (size_t d = 0; d < t->dim; d++) {
        total += w[d];
    }
    const float *weight = total > 0.0f ? w : ones;
    rough_distances(t, x, weight, distance);
    float limit = margin(least_of(distance, t->lanes, column));
    size_t best = SIZE_MAX;
    double least = INFINITY;
    for (size_t k = 0; k < LANES; k++) {
        for (size_t j = k; column[k] <= limit && j < t->used; j += LANES) {
            double e = distance[j] <= limit ? exact_distance(t, j, x, weight) : INFINITY;
            if (e < least || (e == least && j < best)) {
                best = j;
                least = e;
            }
        }
    }
    *error = total > 0.0f ? least : 0.0;
    return best;
}

double quant_vector_pass(const quant_vectors *v, quant_vector_table *t,
                         quant_vector_sums *sums)
{
    double total = 0.0, worst = -1.0;
    quant_vector_prepare(t);
    if (sums) {
        memset(sums, 0, sizeof *sums);
    }
    for (size_t i = 0; i < v->n; i++) {
        const float *x = v->x + i * v->dim, *w = v->w + i * v->dim;
        double e;
        size_t j = quant_vector_nearest(t, x, w, &e);
        total += e;
        if (!sums) {
            continue;
        }
        sums->count[j]++;
        for (size_t d = 0; d < v->dim; d++) {
            sums->mass[j * v->dim + d] += (double)w[d];
            sums->sum[j * v->dim + d] += (double)w[d] * (double)x[d];
        }
        if (e > worst) {
            worst = e;
            sums->worst = i;
        }
    }
    return total;
}

static bool before(const double *a, const double *b, size_t dim)
{
    for (size_t d = 0; d < dim; d++) {
        if (a[d] != b[d]) {
            return a[d] < b[d];
        }
    }
    return false;
}

/* One entry with its codes, as the sort moves it. */
typedef struct row {
    double entry[QUANT_VECTOR_DIM];
    int8_t code[QUANT_VECTOR_DIM];
} row;

static row get_row(const quant_vector_table *t, size_t j)
{
    row r;
    memcpy(r.entry, t->entry + j * t->dim, t->dim * sizeof *t->entry);
    memcpy(r.code, t->code + j * t->dim, t->dim);
    return r;
}

static void put_row(quant_vector_table *t, size_t j, const row *r)
{
    memcpy(t->entry + j * t->dim, r->entry, t->dim * sizeof *t->entry);
    memcpy(t->code + j * t->dim, r->code, t->dim);
}

/* Shell's: in place, and nearly nothing to do when the order is nearly there. */
void quant_vector_sort(quant_vector_table *t)
{
    static const size_t gaps[] = {57, 23, 10, 4, 1};
    for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
        size_t gap = gaps[g];
        for (size_t i = gap; i < t->used; i++) {
            row moving = get_row(t, i);
            size_t j = i;
            for (; j >= gap && before(moving.entry, t->entry + (j - gap) * t->dim, t->dim);
                 j -= gap) {
                row other = get_row(t, j - gap);
                put_row(t, j, &other);
            }
            put_row(t, j, &moving);
        }
    }
}

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
            t->entry[k] = take                  ? (double)v->x[sums->worst * v->dim + d]
                          : sums->mass[k] > 0.0 ? sums->sum[k] / sums->mass[k]
                                                : t->entry[k];
        }
    }
}

void quant_vector_lloyd(const quant_vectors *v, quant_vector_table *t, quant_vector_sums *sums)
{
    double last = INFINITY;
    for (int turn = 0; turn < MOST_TURNS; turn++) {
        double error = quant_vector_pass(v, t, sums);
        if (!(error < last * (1.0 - worth))) {
            return;
        }
        last = error;
        update(v, sums, t);
    }
}

/* Distances after vector `chosen` became an entry; their sum. */
static double draw_near(const quant_vectors *v, size_t chosen, float *distance)
{
    const float *c = v->x + chosen * v->dim;
    double total = 0.0;
    for (size_t i = 0; i < v->n; i++) {
        double sum = 0.0;
        for (size_t d = 0; d < v->dim; d++) {
            double e = (double)v->x[i * v->dim + d] - (double)c[d];
            sum += (double)v->w[i * v->dim + d] * e * e;
        }
        distance[i] = sum < (double)distance[i] ? (float)sum : distance[i];
        total += (double)distance[i];
    }
    return total;
}

void quant_vector_seed(const quant_vectors *v, size_t k, float *distance, quant_vector_table *t)
{
    quant_random stream = quant_random_stream(0, "vector codebook");
    size_t chosen = (size_t)quant_random_below(&stream, 0, v->n);
    t->used = 0;
    for (size_t i = 0; i < v->n; i++) {
        distance[i] = INFINITY;
    }
    while (true) {
        for (size_t d = 0; d < v->dim; d++) {
            t->entry[t->used * v->dim + d] = (double)v->x[chosen * v->dim + d];
        }
        t->used++;
        double total = draw_near(v, chosen, distance);
        if (t->used == k || !(total > 0.0) || !isfinite(total)) {
            break;
        }
        double left = quant_random_uniform(&stream, t->used) * total;
        for (chosen = 0; chosen + 1 < v->n && left >= (double)distance[chosen]; chosen++) {
            left -= (double)distance[chosen];
        }
    }
}
