/* SPDX-License-Identifier: GPL-3.0-or-later */
/* growth.c - models of how the error of the residual stream grows, held against the ledger. */
#include <math.h>

#include "quant/internal.h"
#include "quant/lab/adapt_gsl.h"
#include "quant/lab/propagate.h"

static double delta_at(const quant_ledger *l, uint64_t depth)
{
    quant_ledger_terms t = quant_ledger_pooled(l, depth, QUANT_PLACE_STREAM);
    return quant_ledger_delta(&t);
}

const char *quant_growth_name(quant_growth model)
{
    return model == QUANT_GROWTH_PRODUCT ? "product" : model == QUANT_GROWTH_ROOT ? "root" : "?";
}

double quant_growth_step(quant_growth model, double before, double delta)
{
    return model == QUANT_GROWTH_PRODUCT ? before + delta + before * delta : hypot(before, delta);
}

/* Layers that the fit sees, and all of them. */
typedef struct points {
    size_t count, fitted;
    double *x, *y; /* logarithms of model and of measured error */
} points;

/* False when a logarithm is not finite: then nothing can be fitted. */
static bool gather(const quant_ledger *l, quant_growth model, points *p)
{
    double e = delta_at(l, 0);
    bool finite = true;
    for (size_t i = 0; i < p->count; i++) {
        quant_ledger_terms t = quant_ledger_pooled(l, i + 1, QUANT_PLACE_STREAM);
        e = quant_growth_step(model, e, quant_ledger_delta(&t));
        p->x[i] = log(e);
        p->y[i] = log(quant_ledger_error(&t));
        finite = finite && isfinite(p->x[i]) && isfinite(p->y[i]);
    }
    return finite;
}

/* Factors by which scale * model^power is off on the layers that were not fitted. */
static quant_growth_score score(const points *p, double log_scale, double power)
{
    quant_growth_score s = {0, 0, 0};
    size_t n = p->count - p->fitted;
    for (size_t i = p->fitted; i < p->count; i++) {
        double off = p->y[i] - log_scale - power * p->x[i];
        s.bias += off;
        s.rms += off * off;
        s.worst = fabs(off) > fabs(s.worst) ? off : s.worst;
    }
    s.bias = exp(s.bias / (double)n);
    s.rms = exp(sqrt(s.rms / (double)n));
    s.worst = exp(s.worst);
    return s;
}

/* Variance of a new value at x: that of the line there, and the scatter about it. */
static void predict_last(const points *p, const lab_line *line, quant_growth_fit *fit)
{
    double x = p->x[p->count - 1], freedom = (double)p->fitted - 2;
    double variance = line->cov[0] + 2 * x * line->cov[1] + x * x * line->cov[2] +
                      line->residual / freedom;
    double reach = lab_student_quantile(0.975, freedom) * sqrt(variance > 0 ? variance : 0);
    double middle = line->c[0] + line->c[1] * x;
    fit->predicted = exp(middle);
    fit->low = exp(middle - reach);
    fit->high = exp(middle + reach);
}

static void judge(const points *p, quant_growth_fit *fit)
{
    fit->plain = score(p, 0, 1);
    fit->measured = exp(p->y[p->count - 1]);
    if (p->fitted < 3) {
        return;
    }
    lab_line line = lab_fit_line(p->x, p->y, p->fitted);
    if (!isfinite(line.c[0]) || !isfinite(line.c[1])) {
        return;
    }
    fit->fitted = p->fitted;
    fit->scale = exp(line.c[0]);
    fit->power = line.c[1];
    for (int i = 0; i < 3; i++) {
        fit->covariance[i] = line.cov[i];
    }
    fit->after = score(p, line.c[0], line.c[1]);
    predict_last(p, &line, fit);
}

quant_status quant_growth_judge(quant_context *ctx, const quant_ledger *l, quant_growth model,
                                quant_growth_fit *fit)
{
    double nan = (double)NAN;
    size_t layers = (size_t)l->depths - 2;
    points p = {.count = layers, .fitted = (layers + 1) / 2};
    *fit = (quant_growth_fit){
        .scale = nan, .power = nan, .covariance = {nan, nan, nan}, .predicted = nan, .low = nan,
        .high = nan, .measured = nan, .plain = {nan, nan, nan}, .after = {nan, nan, nan}};
    if (layers < 2) {
        return QUANT_OK;
    }
    p.x = quant_alloc(ctx, layers, sizeof *p.x);
    p.y = quant_alloc(ctx, layers, sizeof *p.y);
    quant_status s = p.x && p.y ? QUANT_OK : QUANT_ENOMEM;
    if (s == QUANT_OK && gather(l, model, &p)) {
        fit->judged = layers - p.fitted;
        judge(&p, fit);
    }
    quant_release(ctx, p.x, layers, sizeof *p.x);
    quant_release(ctx, p.y, layers, sizeof *p.y);
    return s;
}
