/* SPDX-License-Identifier: GPL-3.0-or-later */
/* array_measure.c - one pair of arrays, a position at a time, through a window of both.
 *
 * A long position is measured in pieces of QUANT_FIDELITY_CHUNK elements, whose records add up to
 * the very record of one call (fidelity.h): results do not depend on the window. */
#include "quant/lab/array_measure.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "quant/internal.h"

enum { PIECE = QUANT_FIDELITY_CHUNK, WINDOW = 4 * PIECE };

typedef struct window {
    const quant_array_pair *pair;
    bool wide;              /* double on both sides, because one side is stored so */
    void *ref, *got;        /* [WINDOW] */
    uint64_t first, count;  /* elements held */
    uint64_t elements;      /* of the array */
} window;

/* The largest element of each side so far. */
typedef struct peaks {
    double ref, got;
    uint64_t ref_at, got_at;
} peaks;

static size_t width(const window *w)
{
    return w->wide ? sizeof(double) : sizeof(float);
}

/* Have elements [at, at+n) in the window; n <= WINDOW. */
static quant_status ensure(quant_context *ctx, window *w, uint64_t at, uint64_t n)
{
    if (at >= w->first && at + n <= w->first + w->count) {
        return QUANT_OK;
    }
    const quant_array_pair *p = w->pair;
    uint64_t left = w->elements - at;
    w->first = at;
    w->count = left < WINDOW ? left : WINDOW;
    if (w->wide) {
        QUANT_TRY(quant_bank_read_f64(ctx, p->ref, p->ref_at, at, w->count, w->ref));
        return quant_bank_read_f64(ctx, p->got, p->got_at, at, w->count, w->got);
    }
    QUANT_TRY(quant_bank_read_f32(ctx, p->ref, p->ref_at, at, w->count, w->ref));
    return quant_bank_read_f32(ctx, p->got, p->got_at, at, w->count, w->got);
}

static double value(const window *w, const void *side, uint64_t i)
{
    return w->wide ? ((const double *)side)[i] : (double)((const float *)side)[i];
}

/* Take in n elements whose first is element `from` of the position; ties keep the lower index. */
static void find_peaks(const window *w, uint64_t at, uint64_t n, uint64_t from, peaks *p)
{
    for (uint64_t i = 0; i < n; i++) {
        double r = value(w, w->ref, at - w->first + i), g = value(w, w->got, at - w->first + i);
        if (from + i == 0 || r > p->ref) {
            p->ref = r;
            p->ref_at = from + i;
        }
        if (from + i == 0 || g > p->got) {
            p->got = g;
            p->got_at = from + i;
        }
    }
}

static quant_fidelity measure_piece(quant_context *ctx, const window *w, uint64_t at, uint64_t n)
{
    size_t offset = (size_t)(at - w->first);
    if (w->wide) {
        return quant_fidelity_f64(ctx, (const double *)w->ref + offset,
                                  (const double *)w->got + offset, (size_t)n);
    }
    return quant_fidelity_f32(ctx, (const float *)w->ref + offset, (const float *)w->got + offset,
                              (size_t)n);
}

/* ---- figures --------------------------------------------------------------------------------- */

static void take_value(quant_array_span *s, double v, uint64_t position, bool is_sqnr)
{
    bool first = s->count++ == 0;
    if (!first && isnan(s->least)) {
        return;
    }
    if (first || isnan(v) || v < s->least) {
        s->least = v;
        s->least_at = position;
    }
    /* Zero error has the SQNR +infinity and passes a gate from either side. */
    double rank = is_sqnr && v == INFINITY ? -INFINITY : v;
    double than = is_sqnr && s->greatest == INFINITY ? -INFINITY : s->greatest;
    if (first || isnan(v) || rank > than) {
        s->greatest = v;
        s->greatest_at = position;
    }
}

static bool is_broken(const quant_fidelity *f)
{
    return !isfinite(f->ref2) || !isfinite(f->got2) || !isfinite(f->err2) || !isfinite(f->dot);
}

static void take_position(quant_array_row *row, uint64_t position, const quant_fidelity *f,
                          const peaks *p)
{
    bool live = quant_fidelity_live(f), broken = is_broken(f);
    for (int m = 0; m < QUANT_METRIC_COUNT; m++) {
        bool sqnr = m == QUANT_SQNR_DB;
        if (live || (m != QUANT_COSINE && m != QUANT_RELATIVE_ERROR)) {
            double v = sqnr && f->err2 == 0 ? INFINITY : quant_metric_row(m)->value(f);
            take_value(&row->span[m], v, position, sqnr);
        }
    }
    row->broken_at = broken && row->broken == 0 ? position : row->broken_at;
    row->broken += broken;
    row->live += live;
    row->cosine_mean += live ? quant_cosine(f) : 0;
    row->agree += live && !broken && p->ref_at == p->got_at;
    /* With a = <r,g>/<r,r> the error g - r is (g - a r) + (a - 1) r, and the two are orthogonal. */
    double gap = f->dot - f->ref2;
    row->scale_err2 += f->ref2 > 0 ? gap * gap / f->ref2 : 0;
    quant_fidelity_add(&row->pooled, f);
}

static quant_status measure_position(quant_context *ctx, window *w, quant_array_row *row,
                                     uint64_t position, uint64_t last)
{
    quant_fidelity f = {0};
    peaks p = {0};
    for (uint64_t from = 0; from < last; from += PIECE) {
        uint64_t left = last - from, n = left < PIECE ? left : PIECE, at = position * last + from;
        QUANT_TRY(ensure(ctx, w, at, n));
        quant_fidelity piece = measure_piece(ctx, w, at, n);
        quant_fidelity_add(&f, &piece);
        find_peaks(w, at, n, from, &p);
    }
    take_position(row, position, &f, &p);
    return QUANT_OK;
}

quant_status quant_array_measure(quant_context *ctx, const quant_array_pair *pair,
                                 quant_array_row *row)
{
    const quant_tensor *a = quant_bank_tensor(pair->ref, pair->ref_at);
    const quant_tensor *b = quant_bank_tensor(pair->got, pair->got_at);
    uint64_t last = a->shape.rank > 0 ? a->shape.dim[a->shape.rank - 1] : 1;
    window w = {.pair = pair, .wide = a->dtype == QUANT_F64 || b->dtype == QUANT_F64,
                .elements = a->elements};
    *row = (quant_array_row){.name = row->name, .shape = row->shape,
                             .positions = a->elements > 0 ? a->elements / last : 0};
    w.ref = quant_alloc(ctx, WINDOW, width(&w));
    w.got = quant_alloc(ctx, WINDOW, width(&w));
    quant_status s = w.ref && w.got ? QUANT_OK : QUANT_ENOMEM;
    for (uint64_t i = 0; s == QUANT_OK && i < row->positions; i++) {
        s = measure_position(ctx, &w, row, i, last);
    }
    row->cosine_mean = row->live > 0 ? row->cosine_mean / (double)row->live : (double)NAN;
    quant_release(ctx, w.ref, WINDOW, width(&w));
    quant_release(ctx, w.got, WINDOW, width(&w));
    return s;
}

double quant_array_argmax(const quant_array_row *row)
{
    return row->live > 0 ? (double)row->agree / (double)row->live : (double)NAN;
}

double quant_array_factor(const quant_array_row *row)
{
    return row->pooled.ref2 > 0 ? row->pooled.dot / row->pooled.ref2 : (double)NAN;
}

double quant_array_scale_share(const quant_array_row *row)
{
    const quant_fidelity *f = &row->pooled;
    double gap = f->dot - f->ref2;
    return f->err2 > 0 && f->ref2 > 0 ? fmin(gap * gap / f->ref2 / f->err2, 1) : 0;
}

double quant_array_scale_share_each(const quant_array_row *row)
{
    /* Factors remove the share 1/last of random errors: a sixteenth at most is far from all. */
    enum { LONG_ENOUGH = 16 };
    const quant_fidelity *f = &row->pooled;
    bool tells = row->positions > 0 && f->n / row->positions >= LONG_ENOUGH;
    return tells && f->err2 > 0 ? fmin(row->scale_err2 / f->err2, 1) : 0;
}

bool quant_array_is_scaled(const quant_array_row *row)
{
    double one = quant_array_scale_share(row), each = quant_array_scale_share_each(row);
    double share = one >= QUANT_ARRAY_SCALED ? one : each >= QUANT_ARRAY_SCALED_EACH ? each : 0;
    return row->pooled.n > 1 && share > 0 &&
           share * row->pooled.err2 >= 1e-6 * row->pooled.ref2;
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* 8 axes of at most 20 digits, ", " between them and brackets: 176 bytes. */
static void write_tuple(const uint64_t *index, int count, char text[QUANT_ARRAY_INDEX_TEXT])
{
    int at = snprintf(text, QUANT_ARRAY_INDEX_TEXT, "[");
    for (int a = 0; a < count; a++) {
        at += snprintf(text + at, (size_t)(QUANT_ARRAY_INDEX_TEXT - at), "%s%" PRIu64,
                       a ? ", " : "", index[a]);
    }
    snprintf(text + at, (size_t)(QUANT_ARRAY_INDEX_TEXT - at), "]");
}

/* Index of `position` among the first `axes` axes. */
static void index_of(const quant_shape *shape, int axes, uint64_t position,
                     char text[QUANT_ARRAY_INDEX_TEXT])
{
    uint64_t index[QUANT_MAX_RANK];
    text[0] = '\0';
    if (axes <= 0) {
        return;
    }
    for (int a = axes - 1; a >= 0; a--) {
        index[a] = shape->dim[a] ? position % shape->dim[a] : 0;
        position = shape->dim[a] ? position / shape->dim[a] : 0;
    }
    write_tuple(index, axes, text);
}

void quant_array_index_text(const quant_shape *shape, uint64_t position,
                            char text[QUANT_ARRAY_INDEX_TEXT])
{
    index_of(shape, shape->rank - 1, position, text);
}

void quant_array_element_text(const quant_shape *shape, uint64_t element,
                              char text[QUANT_ARRAY_INDEX_TEXT])
{
    index_of(shape, shape->rank, element, text);
}

void quant_array_shape_text(const quant_shape *shape, char text[QUANT_ARRAY_INDEX_TEXT])
{
    write_tuple(shape->dim, shape->rank, text);
}
