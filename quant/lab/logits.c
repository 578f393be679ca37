/* SPDX-License-Identifier: GPL-3.0-or-later */
/* logits.c - two sets of logits: cosine, divergence, first choice, perplexity with its interval. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "quant/internal.h"
#include "quant/lab/propagate_parts.h"
#include "quant/random.h"

/* log sum exp with the maximum taken out: every exponent is at most 0 and one of them is 0. */
static double log_sum(const float *x, size_t n, size_t *top)
{
    double sum = 0;
    *top = 0;
    for (size_t i = 1; i < n; i++) {
        *top = x[i] > x[*top] ? i : *top;
    }
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)x[i] - (double)x[*top]);
    }
    return (double)x[*top] + log(sum);
}

/* KL = sum p (log p - log q). Rounding can leave -1e-16; equal logits give exactly 0. */
quant_logits_row quant_logits_compare(const float *ref, const float *got, size_t vocab,
                                      int64_t next)
{
    quant_logits_row r = {.predicts = next >= 0};
    size_t ref_top, got_top;
    double a = log_sum(ref, vocab, &ref_top), b = log_sum(got, vocab, &got_top);
    for (size_t i = 0; i < vocab; i++) {
        double x = (double)ref[i], y = (double)got[i], p = exp(x - a);
        r.ref2 += x * x;
        r.got2 += y * y;
        r.dot += x * y;
        r.error2 += (y - x) * (y - x);
        r.kl += p > 0 ? p * ((x - a) - (y - b)) : 0;
    }
    r.kl = r.kl < 0 ? 0 : r.kl;
    r.same_top = ref_top == got_top;
    if (r.predicts) {
        r.ref_surprise = a - (double)ref[next];
        r.got_surprise = b - (double)got[next];
    }
    return r;
}

void lab_logits_rows(quant_context *ctx, const float *ref, const float *got,
                     const quant_tokens *tokens, size_t vocab, quant_logits_row *rows)
{
    size_t count = tokens->n * tokens->s;
    int threads = quant_context_threads(ctx);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t i = 0; i < count; i++) {
        bool ends = (i + 1) % tokens->s == 0;
        rows[i] = quant_logits_compare(ref + i * vocab, got + i * vocab, vocab,
                                       ends ? -1 : tokens->id[i + 1]);
    }
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double lab_order_statistic(double *x, size_t n, double share)
{
    size_t k = (size_t)ceil(share * (double)n);
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i])) {
            return (double)NAN;
        }
    }
    qsort(x, n, sizeof *x, ascending);
    return x[k < 1 ? 0 : k - 1];
}

double quant_logits_cosine(const quant_logits_row *r)
{
    if (r->ref2 == 0 || r->got2 == 0) {
        return r->ref2 == r->got2 ? (double)NAN : 0;
    }
    double c = r->dot / sqrt(r->ref2 * r->got2);
    return c > 1 ? 1 : c;
}

static void add_cosines(const quant_logits_row *rows, size_t count, quant_logits_summary *s)
{
    double ref2 = 0, error2 = 0, sum = 0;
    s->cosine_least = (double)NAN;
    for (size_t i = 0; i < count; i++) {
        const quant_logits_row *r = &rows[i];
        ref2 += r->ref2;
        error2 += r->error2;
        if (r->ref2 == 0 && r->got2 == 0) {
            continue;
        }
        double c = quant_logits_cosine(r);
        sum += c;
        if (s->live == 0 || c < s->cosine_least || isnan(c)) {
            s->cosine_least = c;
            s->least_row = i;
        }
        s->live++;
    }
    s->cosine_mean = s->live > 0 ? sum / (double)s->live : (double)NAN;
    s->relative_error = ref2 == 0 && error2 == 0 ? (double)NAN : sqrt(error2 / ref2);
}

static quant_status add_divergence(quant_context *ctx, const quant_logits_row *rows, size_t count,
                                   quant_logits_summary *s)
{
    double sum = 0, *kl = quant_alloc(ctx, count, sizeof *kl);
    size_t same = 0;
    if (!kl) {
        return QUANT_ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        kl[i] = rows[i].kl;
        sum += rows[i].kl;
        same += rows[i].same_top;
    }
    s->kl_mean = sum / (double)count;
    s->kl_99 = lab_order_statistic(kl, count, 0.99);
    s->same_top = (double)same / (double)count;
    quant_release(ctx, kl, count, sizeof *kl);
    return QUANT_OK;
}

/* What a bootstrap draws: differences of surprise that stay together. */
typedef struct unit {
    double difference;
    size_t count;
} unit;

static size_t gather_units(const quant_logits_row *rows, size_t n, size_t s, bool by_sequence,
                           unit *units)
{
    size_t used = 0, run = by_sequence ? s : QUANT_LOGITS_RUN;
    for (size_t i = 0; i < n; i++) {
        for (size_t from = 0; from < s; from += run) {
            unit u = {0, 0};
            for (size_t j = from; j < s && j < from + run; j++) {
                const quant_logits_row *r = &rows[i * s + j];
                u.difference += r->got_surprise - r->ref_surprise;
                u.count += r->predicts;
            }
            if (u.count > 0) {
                units[used++] = u;
            }
        }
    }
    return used;
}

static void resample(const unit *units, size_t count, uint64_t seed, double *mean)
{
    quant_random stream = quant_random_stream(seed, "propagate.bootstrap");
    for (uint64_t b = 0; b < QUANT_LOGITS_RESAMPLES; b++) {
        unit sum = {0, 0};
        for (size_t i = 0; i < count; i++) {
            const unit *u = &units[quant_random_below(&stream, b * count + i, count)];
            sum.difference += u->difference;
            sum.count += u->count;
        }
        mean[b] = sum.difference / (double)sum.count;
    }
}

static quant_status add_interval(quant_context *ctx, const quant_logits_row *rows, size_t n,
                                 size_t s, uint64_t seed, quant_logits_summary *summary)
{
    size_t room = n * ((s + QUANT_LOGITS_RUN - 1) / QUANT_LOGITS_RUN);
    unit *units = quant_alloc(ctx, room, sizeof *units);
    double *mean = quant_alloc(ctx, QUANT_LOGITS_RESAMPLES, sizeof *mean);
    if (units && mean) {
        summary->by_sequence = n >= QUANT_LOGITS_SEQUENCES;
        summary->units = gather_units(rows, n, s, summary->by_sequence, units);
        if (summary->units >= 2) {
            resample(units, summary->units, seed, mean);
            summary->low = exp(lab_order_statistic(mean, QUANT_LOGITS_RESAMPLES, 0.025));
            summary->high = exp(lab_order_statistic(mean, QUANT_LOGITS_RESAMPLES, 0.975));
        }
    }
    quant_status status = units && mean ? QUANT_OK : QUANT_ENOMEM;
    quant_release(ctx, units, room, sizeof *units);
    quant_release(ctx, mean, QUANT_LOGITS_RESAMPLES, sizeof *mean);
    return status;
}

static quant_status add_perplexity(quant_context *ctx, const quant_logits_row *rows, size_t n,
                                   size_t s, uint64_t seed, quant_logits_summary *summary)
{
    double ref = 0, got = 0;
    for (size_t i = 0; i < n * s; i++) {
        ref += rows[i].ref_surprise;
        got += rows[i].got_surprise;
        summary->predicted += rows[i].predicts;
    }
    summary->ref_perplexity = exp(ref / (double)summary->predicted);
    summary->got_perplexity = exp(got / (double)summary->predicted);
    summary->ratio = exp((got - ref) / (double)summary->predicted);
    summary->low = summary->high = (double)NAN;
    QUANT_TRY(add_interval(ctx, rows, n, s, seed, summary));
    summary->distinguishable = summary->low > 1 || summary->high < 1;
    return QUANT_OK;
}

quant_status quant_logits_summarize(quant_context *ctx, const quant_logits_row *rows, size_t n,
                                    size_t s, uint64_t seed, quant_logits_summary *summary)
{
    size_t count;
    *summary = (quant_logits_summary){.rows = 0};
    if (__builtin_mul_overflow(n, s, &count) || count == 0 || !rows) {
        return quant_fail(ctx, QUANT_EINVAL, "logits: expected rows, found %zu times %zu", n, s);
    }
    summary->rows = count;
    add_cosines(rows, count, summary);
    QUANT_TRY(add_divergence(ctx, rows, count, summary));
    return add_perplexity(ctx, rows, n, s, seed, summary);
}

void quant_logits_verdict(const quant_logits_summary *s, char text[QUANT_LOGITS_VERDICT])
{
    if (isnan(s->ratio)) {
        snprintf(text, QUANT_LOGITS_VERDICT, "no perplexity: %s",
                 s->predicted > 0 ? "logits are not finite" : "no token follows another");
    } else if (isnan(s->low) || isnan(s->high)) {
        snprintf(text, QUANT_LOGITS_VERDICT, "perplexity x %.4f, no interval: %zu unit%s to draw "
                 "from", s->ratio, s->units, s->units == 1 ? "" : "s");
    } else {
        snprintf(text, QUANT_LOGITS_VERDICT, "perplexity x %.4f (%.4f .. %.4f): %s the reference",
                 s->ratio, s->low, s->high,
                 !s->distinguishable ? "not distinguishable from"
                 : s->low > 1        ? "worse than"
                                     : "better than");
    }
}
