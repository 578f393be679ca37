/* SPDX-License-Identifier: Apache-2.0 */
/* dd.h - double-double arithmetic: an unevaluated sum hi + lo with |lo| <= ulp(hi) / 2, about 106
 * bits (Dekker 1971, Knuth TAOCP 4.2.2). Internal; not installed API.
 *
 * Correct only without contraction and reassociation (-ffp-contract=off, no fast-math) and for
 * operands whose squares neither overflow nor vanish: callers scale by a power of two first. No
 * fma: a software fma on older processors would cost far more than the split.
 * Relative error of one operation: add, sub <= 3u^2, mul <= 7u^2, div <= 15u^2, u = 2^-53 (Joldes,
 * Muller, Popescu 2017, "Tight and rigorous error bounds for basic building blocks of
 * double-word arithmetic"). */
#ifndef QUANT_DD_H
#define QUANT_DD_H

typedef struct quant_dd {
    double hi, lo;
} quant_dd;

static inline quant_dd quant_dd_of(double x)
{
    return (quant_dd){x, 0.0};
}

/* hi + lo renormalized; |hi| >= |lo| or hi = 0. */
static inline quant_dd quant_dd_quick(double hi, double lo)
{
    double s = hi + lo;
    return (quant_dd){s, lo - (s - hi)};
}

/* a + b without error. */
static inline quant_dd quant_dd_two_sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (quant_dd){s, (a - (s - t)) + (b - t)};
}

/* a * b without error, by Dekker's split into 26-bit halves. */
static inline quant_dd quant_dd_two_mul(double a, double b)
{
    double p = a * b, ca = 134217729.0 * a, cb = 134217729.0 * b;
    double ah = ca - (ca - a), al = a - ah, bh = cb - (cb - b), bl = b - bh;
    return (quant_dd){p, ((ah * bh - p) + ah * bl + al * bh) + al * bl};
}

static inline quant_dd quant_dd_add(quant_dd a, quant_dd b)
{
    quant_dd s = quant_dd_two_sum(a.hi, b.hi), t = quant_dd_two_sum(a.lo, b.lo);
    s = quant_dd_quick(s.hi, s.lo + t.hi);
    return quant_dd_quick(s.hi, s.lo + t.lo);
}

static inline quant_dd quant_dd_sub(quant_dd a, quant_dd b)
{
    return quant_dd_add(a, (quant_dd){-b.hi, -b.lo});
}

static inline quant_dd quant_dd_mul(quant_dd a, quant_dd b)
{
    quant_dd p = quant_dd_two_mul(a.hi, b.hi);
    return quant_dd_quick(p.hi, p.lo + (a.hi * b.lo + a.lo * b.hi));
}

static inline quant_dd quant_dd_div(quant_dd a, quant_dd b)
{
    double q = a.hi / b.hi;
    quant_dd r = quant_dd_sub(a, quant_dd_mul(b, quant_dd_of(q)));
    double q2 = r.hi / b.hi;
    r = quant_dd_sub(r, quant_dd_mul(b, quant_dd_of(q2)));
    return quant_dd_add(quant_dd_quick(q, q2), quant_dd_of(r.hi / b.hi));
}

static inline int quant_dd_less(quant_dd a, quant_dd b)
{
    return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo);
}

#endif
