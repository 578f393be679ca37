/* SPDX-License-Identifier: GPL-3.0-or-later */
/* judge_nearest.c - judge of the search for nearest vectors. */
#include <stdio.h>
#include <string.h>

#include "tests/judge_parts.h"

enum { LONGEST = 700, ENTRIES = 256, DIM = 4 };

/* Table sizes at the edges; any other remainder of the case picks one. */
static const size_t sizes[] = {1, 2, 5, 16, 61, 256};

/* What each component counts: any sizes, ones, halves of vectors that count for nothing. */
static const float *weights(const judge_case *c, size_t n, size_t dim)
{
    static float w[LONGEST * DIM];
    uint64_t s = c->seed + 23;
    judge_fill(w, n * dim, c->fill, c->seed + 22);
    for (size_t i = 0; i < n * dim; i++) {
        w[i] = w[i] < 0 ? -w[i] : w[i];
        w[i] = judge_between(&s, 0, 3) ? w[i] : judge_between(&s, 0, 1) ? 1.0f : 0.0f;
    }
    for (size_t i = 0; i < n; i += 5) {
        memset(w + i * dim, 0, dim * sizeof *w);
    }
    return judge_edge(1, w, n * dim * sizeof *w);
}

/* Entries of which some repeat, some are vectors themselves, and some lie half way between. */
static qk_nearest table_of(const judge_case *c, size_t n, size_t dim)
{
    static float x[LONGEST * DIM], entry[ENTRIES * DIM];
    const size_t entries = sizes[(c->n + c->shift + (size_t)c->fill) % 6];
    const int fill = c->fill == JUDGE_NONFINITE ? JUDGE_OUTLIERS : c->fill;
    judge_fill(x, n * dim, fill, c->seed + 20);
    judge_fill(entry, entries * dim, fill, c->seed + 21);
    for (size_t j = 3; j < entries; j += 3) {
        memcpy(entry + j * dim, entry + (j - 3) * dim, dim * sizeof *entry);
    }
    for (size_t j = 2; n > 0 && j < entries; j += 4) {
        memcpy(entry + j * dim, x + j % n * dim, dim * sizeof *entry);
    }
    for (size_t i = 7; entries > 1 && i < n; i += 11) {
        const float *a = entry + i % entries * dim, *b = entry + (i + 1) % entries * dim;
        for (size_t d = 0; d < dim; d++) {
            x[i * dim + d] = 0.5f * a[d] + 0.5f * b[d];
        }
    }
    return (qk_nearest){dim, entries, judge_edge(2, entry, entries * dim * sizeof *entry),
                        judge_edge(0, x, n * dim * sizeof *x), NULL};
}

void judge_nearest(qk_nearest_fn *want, qk_nearest_fn *got, judge_case *c)
{
    judge_case own = *c;
    own.fill = c->fill == JUDGE_NONFINITE ? JUDGE_OUTLIERS : c->fill;
    const size_t n = c->n % LONGEST;
    for (size_t k = 0; k < 2; k++) { /* both dimensions, with and without weights in turn */
        const size_t dim = k ? 4 : 2;
        const bool weighted = (c->n + c->seed + k) % 2, errors = c->shift != 1;
        qk_nearest a = table_of(c, n, dim);
        char text[80];
        snprintf(text, sizeof text, "%zu entries of %zu%s", a.entries, dim,
                 weighted ? ", weighted" : "");
        a.w = weighted ? weights(&own, n, dim) : NULL;
        open_rooms(9 * n, c->shift * sizeof(double));
        double *w = (double *)(void *)want_room.at, *g = (double *)(void *)got_room.at;
        want(&a, n, (uint8_t *)(w + n), errors ? w : NULL);
        got(&a, n, (uint8_t *)(g + n), errors ? g : NULL);
        compare_rooms(c, text);
    }
}
