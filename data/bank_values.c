/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "data/bank_spec.h"
#include "quant/internal.h"

/* x = k ln2 + r, |r| <= 0.3466; the Taylor series to r^14/14! leaves at most
 * r^15/15! / exp(-r) <= 1.4e-19. ln2 is split so that k * (upper part, 21 trailing zero bits) is
 * exact for |k| <= 1010; what rounds is k * lower part (2^-86), the subtraction (u/2 * 0.35) and
 * the last steps of the sum, together below 2u of the result (u = 2^-53), 4 ulp with room. */
double bank_exp(double x)
{
    double k = rint(x * 0x1.71547652b82fep0);
    double r = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33;
    double sum = 1;
    for (int i = 14; i >= 1; i--) {
        sum = 1 + sum * r / i;
    }
    return ldexp(sum, (int)k);
}

/* Chi-squared of `dof`: -2 log of a product of dof/2 uniforms, each pair of degrees being one
 * exponential variable, and a squared normal for an odd one. The product of 32 uniforms is at
 * least 2^-1696 in principle, so it is kept as a sum of logarithms. */
static double chi_squared(const quant_random *r, uint64_t first, unsigned dof)
{
    double sum = 0;
    for (unsigned k = 0; k < dof / 2; k++) {
        sum -= 2 * quant_log(quant_random_uniform(r, first + k));
    }
    if (dof % 2) {
        double z = quant_random_normal(r, first + dof / 2);
        sum += z * z;
    }
    return sum;
}

static double student_t(const quant_random *r, uint64_t i, unsigned dof)
{
    uint64_t first = i * (2 + dof / 2);
    double t = quant_random_normal(r, first) / sqrt(chi_squared(r, first + 1, dof) / dof);
    return dof > 2 ? t * sqrt((dof - 2.0) / dof) : t;
}

static double laplace(double u)
{
    double v = quant_log(2 * (u < 0.5 ? u : 1 - u)) * 0x1.6a09e667f3bcdp-1;
    return u < 0.5 ? v : -v;
}

static double draw(const bank_source *s, uint64_t i)
{
    switch (s->spec.dist) {
    case BANK_LAPLACE:
        return laplace(quant_random_uniform(&s->values, i));
    case BANK_STUDENT_T:
        return student_t(&s->values, i, s->spec.dof);
    case BANK_UNIFORM:
        return (2 * quant_random_uniform(&s->values, i) - 1) * 0x1.bb67ae8584caap0;
    case BANK_GAUSSIAN:
        break;
    }
    return quant_random_normal(&s->values, i);
}

static double row_scale(const bank_source *s, uint64_t row)
{
    double spread = s->spec.row_spread;
    if (spread == 0) {
        return s->spec.rms;
    }
    return s->spec.rms * bank_exp(spread * quant_random_normal(&s->scales, row) - spread * spread);
}

static float value_at(const bank_source *s, double scale, uint64_t i)
{
    return (float)(s->spec.mean + scale * draw(s, i));
}

void bank_source_fill(const bank_source *s, uint64_t first, uint64_t count, float *out)
{
#pragma omp parallel for schedule(static) num_threads(s->threads)
    for (uint64_t r = 0; r < count; r++) {
        double scale = row_scale(s, first + r);
        for (uint64_t c = 0; c < s->columns; c++) {
            out[r * s->columns + c] = value_at(s, scale, (first + r) * s->columns + c);
        }
    }
    uint64_t begin = first * s->columns, end = begin + count * s->columns;
    for (uint64_t k = 0; k < s->spec.outliers; k++) {
        if (s->plants[k].index >= begin && s->plants[k].index < end) {
            out[s->plants[k].index - begin] = s->plants[k].value;
        }
    }
}

/* ---- outliers ------------------------------------------------------------------------------- */

/* A row or a column of one matrix: its elements are first, first + step, ... */
typedef struct line {
    uint64_t first, step, length;
} line;

static uint64_t line_count(const bank_source *s)
{
    return s->spec.in_columns ? s->rows / s->rows_of_one * s->columns : s->rows;
}

static line line_at(const bank_source *s, uint64_t k)
{
    if (!s->spec.in_columns) {
        return (line){k * s->columns, 1, s->columns};
    }
    uint64_t matrix = k / s->columns;
    return (line){matrix * s->rows_of_one * s->columns + k % s->columns, s->columns,
                  s->rows_of_one};
}

/* v with v^2 = R^2 (S + v^2) / n, S being the energy of the other n - 1 elements. */
static bank_plant plant_in(const bank_source *s, line at, uint64_t where, bool negative)
{
    double energy = 0, n = (double)at.length, ratio = s->spec.ratio;
    for (uint64_t k = 0; k < at.length; k++) {
        uint64_t i = at.first + k * at.step;
        double v = k == where ? 0 : (double)value_at(s, row_scale(s, i / s->columns), i);
        energy += v * v;
    }
    double v = ratio * sqrt(energy / (n - ratio * ratio));
    return (bank_plant){at.first + where * at.step, (float)(negative ? -v : v)};
}

/* Draws lines until enough different ones were met. Element 3t of the stream names the line of try
 * t, the two after it the place and the sign. */
static void place_all(const bank_source *s, unsigned char *taken)
{
    uint64_t lines = line_count(s);
    for (uint64_t k = 0, t = 0; k < s->spec.outliers; t++) {
        uint64_t chosen = quant_random_below(&s->places, 3 * t, lines);
        if (taken[chosen]) {
            continue;
        }
        taken[chosen] = 1;
        line at = line_at(s, chosen);
        uint64_t where = quant_random_below(&s->places, 3 * t + 1, at.length);
        bool negative = quant_random_below(&s->places, 3 * t + 2, 2) == 1;
        s->plants[k++] = plant_in(s, at, where, negative);
    }
}

static quant_status check_outliers(quant_context *ctx, const bank_source *s)
{
    const bank_spec *t = &s->spec;
    uint64_t length = t->in_columns ? s->rows_of_one : s->columns;
    const char *lines = t->in_columns ? "columns" : "rows";
    uint64_t most = line_count(s) < BANK_MAX_OUTLIERS ? line_count(s) : BANK_MAX_OUTLIERS;
    if (t->outliers > most) {
        return quant_fail(ctx, QUANT_EINVAL, "outliers: expected at most %llu %s, found %llu",
                          (unsigned long long)most, lines, (unsigned long long)t->outliers);
    }
    if (!(t->ratio >= 1 && t->ratio * t->ratio < (double)length)) {
        return quant_fail(ctx, QUANT_EINVAL, "outliers: expected a ratio in [1, sqrt(%llu)), the "
                          "length of the %s, found %g", (unsigned long long)length, lines,
                          t->ratio);
    }
    return QUANT_OK;
}

static quant_status plant_outliers(quant_context *ctx, bank_source *s)
{
    QUANT_TRY(check_outliers(ctx, s));
    size_t lines = (size_t)line_count(s);
    unsigned char *taken = quant_alloc(ctx, lines, 1);
    s->plants = quant_alloc(ctx, (size_t)s->spec.outliers, sizeof *s->plants);
    if (taken && s->plants) {
        memset(taken, 0, lines);
        place_all(s, taken);
    }
    quant_release(ctx, taken, lines, 1);
    return taken && s->plants ? QUANT_OK : QUANT_ENOMEM;
}

/* ---- opening -------------------------------------------------------------------------------- */

static quant_status check_numbers(quant_context *ctx, const bank_spec *t)
{
    if (t->dist == BANK_STUDENT_T && (t->dof < 1 || t->dof > BANK_MAX_DOF)) {
        return quant_fail(ctx, QUANT_EINVAL, "student-t: expected 1..%d degrees of freedom, "
                          "found %u", BANK_MAX_DOF, t->dof);
    }
    if (!(fabs(t->mean) <= 1e30 && t->rms >= 0 && t->rms <= 1e30)) {
        return quant_fail(ctx, QUANT_EINVAL, "mean and rms: expected |mean| and 0 <= rms up to "
                          "1e30, found %g and %g", t->mean, t->rms);
    }
    if (!(t->row_spread >= 0 && t->row_spread <= 4)) {
        return quant_fail(ctx, QUANT_EINVAL, "row spread: expected 0..4, found %g", t->row_spread);
    }
    return QUANT_OK;
}

/* quant_random_stream(seed, NAME/what). */
static quant_random stream_of(quant_random tensor, const char *what)
{
    return quant_random_stream((uint64_t)tensor.key[1] << 32 | tensor.key[0], what);
}

quant_status bank_source_open(quant_context *ctx, const bank_spec *spec, uint64_t seed,
                              bank_source *s)
{
    uint64_t elements;
    *s = (bank_source){.spec = *spec, .rows_of_one = 1, .columns = 1,
                        .threads = quant_context_threads(ctx)};
    QUANT_TRY(quant_shape_elements(ctx, &spec->shape, &elements));
    QUANT_TRY(check_numbers(ctx, spec));
    const quant_shape *shape = &spec->shape;
    if (shape->rank > 0) {
        s->columns = shape->dim[shape->rank - 1];
    }
    if (shape->rank > 1) {
        s->rows_of_one = shape->dim[shape->rank - 2];
    }
    s->rows = elements ? elements / s->columns : 0;
    quant_random tensor = quant_random_stream(seed, spec->name);
    s->values = stream_of(tensor, "values");
    s->scales = stream_of(tensor, "scales");
    s->places = stream_of(tensor, "outliers");
    return spec->outliers ? plant_outliers(ctx, s) : QUANT_OK;
}

void bank_source_close(quant_context *ctx, bank_source *s)
{
    quant_release(ctx, s->plants, (size_t)s->spec.outliers, sizeof *s->plants);
    s->plants = NULL;
}
