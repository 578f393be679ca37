/* SPDX-License-Identifier: Apache-2.0 */
/* metric.c - the figures of a fidelity record, and the verdict on one of them. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "quant/elementary.h"
#include "quant/fidelity.h"
#include "quant/internal.h"

static const quant_metric rows[QUANT_METRIC_COUNT] = {
    [QUANT_COSINE] = {"cosine", "cosine", true, quant_cosine},
    [QUANT_RELATIVE_ERROR] = {"relative_error", "rel.error", false, quant_relative_error},
    [QUANT_SQNR_DB] = {"sqnr_db", "SQNR dB", true, quant_sqnr_db},
    [QUANT_MSE] = {"mse", "MSE", false, quant_mse},
    [QUANT_MAX_ABS_ERROR] = {"max_abs_error", "max |e|", false, quant_max_abs_error},
};

const quant_metric *quant_metric_row(int id)
{
    return id >= 0 && id < QUANT_METRIC_COUNT ? &rows[id] : NULL;
}

const quant_metric *quant_metric_find(const char *name)
{
    for (int i = 0; i < QUANT_METRIC_COUNT; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

bool quant_fidelity_live(const quant_fidelity *f)
{
    return f->ref2 != 0 || f->got2 != 0;
}

/* False when nothing was compared or something was NaN or infinite: no figure is told then. */
static bool sound(const quant_fidelity *f)
{
    return f->n > 0 && isfinite(f->ref2) && isfinite(f->got2) && isfinite(f->dot) &&
           isfinite(f->err2);
}

/* Away from 1 the cosine is dot / (|w| |y|), wrong by at most 2 quant_fidelity_bound(n) + 4u.
 * Near 1 that error would swamp 1 - c, so there
 *     1 - c = (|e|^2 - (|w| - |y|)^2) / (2 |w| |y|),    |w| - |y| = (w^2 - y^2) / (|w| + |y|),
 * which follows from |e|^2 = w^2 + y^2 - 2 <w,y>. With B the bound and d = |e|/|w| <= 1/2 the
 * numerator is wrong by B d^2 w^2 from |e|^2 and, because ||w| - |y|| <= |e|, by
 * 2 d |w| * B (|w| + |y|) from the gap: 1 - c is off by at most B (6 d + 2 d^2), and identical
 * arrays give exactly 1. */
double quant_cosine(const quant_fidelity *f)
{
    if (!sound(f) || !quant_fidelity_live(f)) {
        return NAN;
    }
    if (f->ref2 == 0 || f->got2 == 0) {
        return 0;
    }
    double w = sqrt(f->ref2), y = sqrt(f->got2);
    double c;
    if (f->err2 <= 0.25 * fmin(f->ref2, f->got2)) {
        double gap = (f->ref2 - f->got2) / (w + y);
        c = 1 - (f->err2 - gap * gap) / (2 * w * y);
    } else {
        c = f->dot / w / y;
    }
    return fmin(fmax(c, -1), 1);
}

double quant_relative_error(const quant_fidelity *f)
{
    return sound(f) && quant_fidelity_live(f) ? sqrt(f->err2) / sqrt(f->ref2) : NAN;
}

double quant_sqnr_db(const quant_fidelity *f)
{
    double delta = quant_relative_error(f);
    return -20 * quant_log10(delta);
}

double quant_mse(const quant_fidelity *f)
{
    return sound(f) ? f->err2 / (double)f->n : NAN;
}

double quant_max_abs_error(const quant_fidelity *f)
{
    return sound(f) ? f->max_abs : NAN;
}

/* ---- verdict ----------------------------------------------------------------------------- */

static bool say(char *message, size_t bytes, bool verdict, const char *format, ...)
    QUANT_PRINTF(4, 5);
static bool say(char *message, size_t bytes, bool verdict, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(message, bytes, format, args);
    va_end(args);
    return verdict;
}

/* First pair with a NaN or an infinity on either side; n when there is none. */
static size_t first_nonfinite(const float *ref, const float *got, size_t n)
{
    size_t i = 0;
    while (i < n && isfinite(ref[i]) && isfinite(got[i])) {
        i++;
    }
    return i;
}

bool quant_fidelity_check(quant_metric_id metric, double limit, const float *ref, const float *got,
                          size_t n, char *message, size_t bytes)
{
    const quant_metric *row = quant_metric_row((int)metric);
    if (!row || isnan(limit)) {
        return say(message, bytes, false, "metric %d against limit %g: not a check", (int)metric,
                   limit);
    }
    if (n == 0 || !ref || !got) {
        return say(message, bytes, false, "%s: nothing to compare (n = %zu)", row->name, n);
    }
    quant_fidelity f = quant_fidelity_f32(NULL, ref, got, n);
    double value = row->value(&f);
    if (!quant_fidelity_live(&f)) {
        return say(message, bytes, false, "%s: both arrays are zero in all %zu elements", row->name,
                   n);
    }
    if (isnan(value)) {
        size_t i = first_nonfinite(ref, got, n);
        i = i < n ? i : n - 1;
        return say(message, bytes, false,
                   "%s is not a number: first non-finite pair at index %zu: "
                   "expected %.9g, got %.9g",
                   row->name, i, (double)ref[i], (double)got[i]);
    }
    bool held = row->higher_is_better ? value >= limit : value <= limit;
    size_t i = (size_t)f.max_index;
    return say(message, bytes, held,
               "%s %.9g %s %.9g over %zu elements; worst at index %zu: expected %.9g, got %.9g",
               row->name, value, row->higher_is_better ? (held ? ">=" : "<") : (held ? "<=" : ">"),
               limit, n, i, (double)ref[i], (double)got[i]);
}
