/* SPDX-License-Identifier: Apache-2.0 */
/* Running sums over points. */
#include <math.h>

#include "quant/kmeans1d_sums.h"

quant_points quant_points_part(const quant_point_list *l, size_t from, size_t end, double *room)
{
    const quant_points *p = &l->wide;
    if (p->value) {
        return (quant_points){p->value + from, p->weight ? p->weight + from : NULL, end - from};
    }
    size_t n = end - from < QUANT_PART ? end - from : QUANT_PART;
    for (size_t i = 0; i < n; i++) {
        room[i] = (double)l->value[from + i];
        room[QUANT_PART + i] = (double)l->count[from + i];
    }
    return (quant_points){room, room + QUANT_PART, n};
}

/* 2^-exponent as two factors, since one alone overflows for subnormal data. */
static void split_power(int exponent, double factor[2])
{
    factor[0] = ldexp(1.0, -(exponent / 2));
    factor[1] = ldexp(1.0, -(exponent - exponent / 2));
}

static double larger(double x, double y)
{
    return x > y ? x : y;
}

/* Sum of the weights, or the heaviest where that overflows; whether all are counts, whose sums are
 * exact. */
static double mass_of(const quant_point_list *l, int *counts)
{
    const double big = 0x1p52;
    double room[2 * QUANT_PART];
    quant_lanes sum = {0}, uneven = {0};
    quant_points p;
    for (size_t from = 0; from < l->n; from += p.n) {
        p = quant_points_part(l, from, l->n, room);
        for (size_t i = 0; i + QUANT_LANES <= p.n; i += QUANT_LANES) {
            quant_lanes w = *(const quant_lanes_at *)(p.weight + i), whole = w + big, d;
            d = (whole - big) - w;
            uneven += d * d;
            sum += w;
        }
    }
    double all = quant_lanes_fold(sum), apart = quant_lanes_fold(uneven);
    if (l->n % QUANT_LANES) {
        double w = quant_points_part(l, l->n - 1, l->n, room).weight[0];
        double whole = w + big, d = (whole - big) - w;
        apart += d * d;
        all += w;
    }
    *counts = apart == 0 && 2 * all < big;
    for (size_t i = 0; !isfinite(all) && i < l->n; i++) { /* not of counts */
        all = larger(isfinite(all) ? all : 0, l->wide.weight[i]);
    }
    return all;
}

/* The mean only has to be near: it moves the origin to where the squares are small. */
static double rough_mean(const quant_kmeans1d_sums *a, const quant_point_list *l)
{
    double room[2 * QUANT_PART];
    quant_lanes w = {0}, s = {0};
    quant_points p;
    for (size_t from = 0; from < l->n; from += p.n) {
        p = quant_points_part(l, from, l->n, room);
        size_t i = 0;
        for (; i + QUANT_LANES <= p.n; i += QUANT_LANES) {
            quant_lanes weight = quant_scaled_weights(a, &p, i);
            w += weight;
            s += weight * quant_scaled_lanes(p.value + i, a->value_scale);
        }
        for (; i < p.n; i++) {
            double weight = quant_scaled_weight(a, &p, i);
            w[0] += weight;
            s[0] += weight * quant_scaled(a, p.value[i]);
        }
    }
    return quant_lanes_fold(s) / quant_lanes_fold(w);
}

void quant_kmeans1d_sums_scale(quant_kmeans1d_sums *a, const quant_point_list *l)
{
    double low = fabs(quant_point_value(l, 0)), high = fabs(quant_point_value(l, l->n - 1));
    frexp(low > high ? low : high, &a->value_exponent);
    a->weight_exponent = 0;
    a->counts = 1;
    if (!l->wide.value || l->wide.weight) {
        frexp(mass_of(l, &a->counts), &a->weight_exponent);
    }
    split_power(a->value_exponent, a->value_scale);
    split_power(a->weight_exponent, a->weight_scale);
    a->mean = rough_mean(a, l);
}

static void put(quant_dd_array a, size_t i, quant_dd x)
{
    a.hi[i] = x.hi;
    a.lo[i] = x.lo;
}

/* The sums before node 0 are zero. */
static void begin(quant_kmeans1d_sums *a, size_t n)
{
    a->n = n;
    put(a->w, 0, quant_dd_of(0));
    put(a->s, 0, quant_dd_of(0));
    put(a->q, 0, quant_dd_of(0));
}

void quant_kmeans1d_sums_fill_at(quant_kmeans1d_sums *a, const quant_point_list *l,
                                 const uint32_t *id, size_t m)
{
    double room[2 * QUANT_PART];
    quant_dd w = {0, 0}, s = {0, 0}, q = {0, 0};
    quant_points p;
    size_t t = 1;
    begin(a, m - 1);
    for (size_t from = 0; from < l->n; from += p.n) {
        p = quant_points_part(l, from, l->n, room);
        for (size_t i = 0; i < p.n; i++) {
            quant_dd x = quant_dd_two_sum(quant_scaled(a, p.value[i]), -a->mean);
            quant_dd weight = quant_dd_of(quant_scaled_weight(a, &p, i));
            quant_dd wx = quant_dd_mul(x, weight);
            w = quant_dd_add(w, weight);
            s = quant_dd_add(s, wx);
            q = quant_dd_add(q, quant_dd_mul(wx, x));
            if (!id || id[t] == from + i + 1) {
                put(a->w, t, w);
                put(a->s, t, s);
                put(a->q, t++, q);
            }
        }
    }
    a->square = q.hi;
    a->total = quant_kmeans1d_cost_of(a, 0, m - 1, l->n).hi;
}

void quant_kmeans1d_sums_fill(quant_kmeans1d_sums *a, const quant_point_list *l)
{
    quant_kmeans1d_sums_scale(a, l);
    quant_kmeans1d_sums_fill_at(a, l, NULL, l->n + 1);
}

/* Prefixes of two terms behind a sum, which moves on behind them. */
static inline quant_lanes behind(quant_dd *sum, quant_lanes term)
{
    quant_lanes p = {term[0], term[0] + term[1]};
    quant_lanes all = sum->hi + (sum->lo + p);
    quant_dd_gather(sum, p[1]);
    return all;
}

/* Weights that vanish beside their sum raise it all the same: dw is never 0. How many did. */
static double raise_sums(double *w, size_t n)
{
    double raised = 0;
    for (size_t i = 0; i < n; i++) {
        double least = w[i] * (1 + 0x1p-52);
        raised += w[i + 1] < least;
        w[i + 1] = w[i + 1] < least ? least : w[i + 1];
    }
    return raised;
}

typedef struct running {
    quant_dd w, s, q;
    double peak; /* largest |s| */
} running;

/* Two points at node i: sums of w and s to nodes i + 1 and i + 2. */
static inline void fill_two(running *r, quant_lanes value, quant_lanes weight, double *w,
                             double *s)
{
    quant_lanes wx = weight * value;
    *(quant_lanes_at *)w = behind(&r->w, weight);
    *(quant_lanes_at *)s = behind(&r->s, wx);
    behind(&r->q, wx * value);
    r->peak = larger(r->peak, fabs(r->s.hi));
}

/* Sums to the nodes behind each of the points. */
static void fill_part(const quant_kmeans1d_sums *a, const quant_points *p, running *so_far,
                      double *w, double *s)
{
    running r = *so_far;
    double last_w[QUANT_LANES], last_s[QUANT_LANES];
    size_t i = 0;
    for (; i + QUANT_LANES <= p->n; i += QUANT_LANES) {
        fill_two(&r, quant_scaled_lanes(p->value + i, a->value_scale) - a->mean,
                 quant_scaled_weights(a, p, i), w + i, s + i);
    }
    if (i < p->n) { /* nothing lies behind the last */
        quant_lanes x = {quant_scaled(a, p->value[i]) - a->mean, 0};
        quant_lanes m = {quant_scaled_weight(a, p, i), 0};
        fill_two(&r, x, m, last_w, last_s);
        w[i] = last_w[0];
        s[i] = last_s[0];
    }
    *so_far = r;
}

/* The bound, with u = 2^-53, X = max |x|, S = max |s|, for the links of a whole path together:
 * a sum is stored with an error of u of itself and 2 u of the terms of its two points, by
 * magnitude. Sums of squares are taken at both ends of all points only, and cost 4 u q[n]. The
 * error of s enters with the factor 2 m, m the mean of the link, so that neighbours leave
 * 2 (m - m'), over the path 2 u S 2 X, for the means ascend, and 16 u S X for the few terms, of
 * which at most two nodes a pair and twice S can be concerned; that of w likewise with m^2, 10 u
 * w[n] X^2, and not at all when weights are counts. Terms w x and w x^2 are off by 2 u and 4 u of
 * themselves, over the path by 8 u q[n]; the four operations of a link by 4 u dq, over the path
 * 4 u q[n]. */
static double bound_of(quant_kmeans1d_sums *a, const quant_point_list *l, const running *r,
                       double raised)
{
    double far = larger(fabs(quant_scaled(a, quant_point_value(l, 0)) - a->mean),
                        fabs(quant_scaled(a, quant_point_value(l, l->n - 1)) - a->mean));
    a->square = r->q.hi + r->q.lo;
    a->total = a->square - a->s.hi[a->n] * a->s.hi[a->n] / a->w.hi[a->n];
    double uneven = a->counts ? 0 : (10 + 4 * raised) * far * far * a->w.hi[a->n];
    return 0x1p-53 * (16 * a->square + 20 * far * r->peak + uneven);
}

double quant_kmeans1d_sums_rough(quant_kmeans1d_sums *a, const quant_point_list *l)
{
    double room[2 * QUANT_PART];
    running r = {{0, 0}, {0, 0}, {0, 0}, 0};
    quant_points p;
    quant_kmeans1d_sums_scale(a, l);
    begin(a, l->n);
    for (size_t from = 0; from < l->n; from += p.n) {
        p = quant_points_part(l, from, l->n, room);
        fill_part(a, &p, &r, a->w.hi + from + 1, a->s.hi + from + 1);
    }
    return bound_of(a, l, &r, a->counts ? 0 : raise_sums(a->w.hi, l->n));
}

double quant_kmeans1d_sums_rough_at(quant_kmeans1d_sums *a, const quant_point_list *l,
                                    const uint32_t *id, size_t m)
{
    double room[2 * QUANT_PART], w[QUANT_PART + 1] = {0}, s[QUANT_PART + 1] = {0}, raised = 0;
    running r = {{0, 0}, {0, 0}, {0, 0}, 0};
    begin(a, m - 1);
    for (size_t from = 0, t = 1; from < l->n;) {
        size_t end = l->n - from < QUANT_PART ? l->n : from + QUANT_PART;
        quant_points p = quant_points_part(l, from, end, room);
        fill_part(a, &p, &r, w + 1, s + 1);
        raised += a->counts ? 0 : raise_sums(w, p.n);
        for (; t < m && id[t] <= end; t++) {
            a->w.hi[t] = w[id[t] - from];
            a->s.hi[t] = s[id[t] - from];
        }
        w[0] = w[p.n];
        s[0] = s[p.n];
        from = end;
    }
    return bound_of(a, l, &r, raised);
}
