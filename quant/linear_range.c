/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/linear_range.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "quant/entropy.h"
#include "quant/scheme_options.h"
#include "quant/store.h"

enum { PIECE = 65536 };

static int64_t piece_count(uint64_t n)
{
    return (int64_t)((n + PIECE - 1) / PIECE);
}

static size_t piece_length(uint64_t n, int64_t k)
{
    uint64_t left = n - (uint64_t)k * PIECE;
    return left < PIECE ? (size_t)left : PIECE;
}

/* Extremes are order-free, so any split gives the same. */
static quant_interval extremes(const float *x, uint64_t n, int threads)
{
    float lowest = x[0], highest = x[0];
    if (n <= PIECE) { /* a team of one still costs a microsecond: blocks go past it */
        qk()->minmax_f32(x, (size_t)n, &lowest, &highest);
        return (quant_interval){lowest, highest};
    }
#pragma omp parallel for num_threads(threads) reduction(min : lowest) reduction(max : highest) \
    if (threads > 1)
    for (int64_t k = 0; k < piece_count(n); k++) {
        float lo, hi;
        qk()->minmax_f32(x + k * PIECE, piece_length(n, k), &lo, &hi);
        lowest = lo < lowest ? lo : lowest;
        highest = hi > highest ? hi : highest;
    }
    return (quant_interval){lowest, highest};
}

static float absmax_of(const float *x, uint64_t n, int threads)
{
    float most = 0.0f;
    if (n <= PIECE) {
        return qk()->absmax_f32(x, (size_t)n);
    }
#pragma omp parallel for num_threads(threads) reduction(max : most) if (threads > 1)
    for (int64_t k = 0; k < piece_count(n); k++) {
        float a = qk()->absmax_f32(x + k * PIECE, piece_length(n, k));
        most = a > most ? a : most;
    }
    return most;
}

/* Sum of importance times squared error, in order. */
static double weighted_error(const float *x, const float *importance, uint64_t n, qk_linear p)
{
    enum { STRIP = 1024 };
    uint8_t codes[STRIP];
    float y[STRIP];
    double sum = 0.0;
    for (uint64_t i = 0; i < n; i += STRIP) {
        size_t take = n - i < STRIP ? (size_t)(n - i) : STRIP;
        qk()->encode_linear(x + i, take, p, codes);
        qk()->decode_linear(codes, take, p, y);
        for (size_t k = 0; k < take; k++) {
            double e = (double)x[i + k] - (double)y[k];
            sum += (double)importance[i + k] * e * e;
        }
    }
    return sum;
}

/* Squared error of a fit: pieces in parallel, 64 of them at a time, added in order of index. */
static double error_of(const float *x, const float *importance, uint64_t n, qk_linear p,
                       int threads)
{
    enum { BATCH = 64 };
    double part[BATCH], sum = 0.0;
    if (importance) {
        return weighted_error(x, importance, n, p);
    }
    if (n <= PIECE) {
        return qk()->sse_linear(x, (size_t)n, p);
    }
    int64_t pieces = piece_count(n);
    for (int64_t base = 0; base < pieces; base += BATCH) {
        int64_t many = pieces - base < BATCH ? pieces - base : BATCH;
#pragma omp parallel for num_threads(threads) if (threads > 1)
        for (int64_t k = 0; k < many; k++) {
            part[k] = qk()->sse_linear(x + (base + k) * PIECE, piece_length(n, base + k), p);
        }
        for (int64_t k = 0; k < many; k++) {
            sum += part[k];
        }
    }
    return sum;
}

static uint32_t magnitude_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u & 0x7fffffffu;
}

__extension__ typedef unsigned __int128 product; /* 14 digits times a count of 62 bits */

/* ceil(percent n / 100) in integers: 99.9 is no double, and ceil(99.9 / 100.0 * 1000) is 1000. */
uint64_t quant_percentile_rank(uint64_t n, double percent)
{
    uint64_t digits, unit;
    quant_scheme_percent_decimals(percent, &digits, &unit);
    product of_all = (product)digits * n, whole = (product)unit * 100;
    uint64_t rank = (uint64_t)(of_all / whole) + (of_all % whole != 0);
    return rank < 1 ? 1 : rank > n ? n : rank;
}

/* |x| orders like its bit pattern, so the rank is found digit by digit: 11, 10, 10 bits. */
float quant_magnitude_percentile(const float *x, uint64_t n, double percent)
{
    static const int shifts[] = {20, 10, 0}, widths[] = {11, 10, 10};
    uint64_t rank = quant_percentile_rank(n, percent);
    uint32_t prefix = 0;
    for (int d = 0; d < 3; d++) {
        uint64_t histogram[2048] = {0};
        uint32_t mask = (1u << widths[d]) - 1;
        for (uint64_t i = 0; i < n; i++) {
            uint32_t u = magnitude_bits(x[i]);
            bool same = d == 0 || u >> (shifts[d] + widths[d]) == prefix;
            histogram[u >> shifts[d] & mask] += same;
        }
        uint32_t digit = 0;
        while (histogram[digit] < rank) {
            rank -= histogram[digit++];
        }
        prefix = prefix << widths[d] | digit;
    }
    float value;
    memcpy(&value, &prefix, 4);
    return value;
}

void quant_linear_codes(const quant_scheme *s, int32_t *lowest, int32_t *highest)
{
    int32_t half = 1 << (s->bits - 1);
    bool narrow = !s->asymmetric && s->range == QUANT_RANGE_NARROW;
    *lowest = narrow ? 1 - half : -half;
    *highest = half - 1;
}

double quant_linear_bound(const quant_scheme *s)
{
    static const double roundoff[] = {[QUANT_STORE_F32] = 0x1p-24, [QUANT_STORE_F16] = 0x1p-11,
                                      [QUANT_STORE_BF16] = 0x1p-8};
    /* 1/(1-u) of the stored scale against the exact one is covered by the factor 1 + 2u. */
    double u = roundoff[s->store] * (1.0 + 2.0 * roundoff[s->store]);
    double half = 1 << (s->bits - 1), slack = 4.0 * half * 0x1p-24;
    double clamp = s->asymmetric                    ? u * 2.0 * half
                   : s->range == QUANT_RANGE_NARROW ? 0.0
                   : s->range == QUANT_RANGE_HALF   ? u * (half - 0.5)
                                                    : 0.5 + u * half;
    return 0.5 + slack + clamp;
}

/* Steps between the ends of the interval; of its positive half in the symmetric case. */
static float steps_of(const quant_scheme *s)
{
    static const float cut[] = {[QUANT_RANGE_NARROW] = 1.0f, [QUANT_RANGE_HALF] = 0.5f,
                                [QUANT_RANGE_FULL] = 0.0f};
    float half = (float)(1 << (s->bits - 1));
    return s->asymmetric ? 2.0f * half - 1.0f : half - cut[s->range];
}

/* Quotients are single f32 divisions in the symmetric case, double rounded once in the other
 * (highest - lowest may exceed the float range). A quotient that will be raised is not below the
 * exact one: among subnormal floats rounding down would clamp weights. The test is exact there,
 * all three numbers being few bits wide. */
static float raw_scale(const quant_scheme *s, quant_interval v, bool *raised)
{
    float steps = steps_of(s);
    double range = s->asymmetric ? (double)v.highest - v.lowest : (double)v.highest;
    float raw = s->asymmetric ? (float)(range / (double)steps) : v.highest / steps;
    *raised = raw < quant_store_smallest(s->store);
    return *raised && (double)raw * (double)steps < range ? nextafterf(raw, INFINITY) : raw;
}

static int32_t zero_point(quant_interval v, int32_t lowest, int32_t highest)
{
    double lo = v.lowest, hi = v.highest;
    double z = (lowest * hi - highest * lo) / (hi - lo); /* a mean of the code range's ends */
    z = (z + 0x1.8p52) - 0x1.8p52;                       /* rint, which is a call, for |z| < 2^51 */
    return z < lowest ? lowest : z > highest ? highest : (int32_t)z;
}

/* Next to the largest float the product of the scale with the last code may be infinite: then the
 * largest scale whose products are all finite is taken; the values that this clamps are counted as
 * saturated and err by at most one step. */
static float finite_product(quant_store store, qk_linear p)
{
    int32_t above = p.highest - p.zero, below = p.zero - p.lowest;
    float most = (float)(above > below ? above : below);
    if (isfinite(p.scale * most)) {
        return p.scale;
    }
    float scale = quant_store_round(store, FLT_MAX / most);
    while (!isfinite(scale * most)) {
        scale = quant_store_below(store, scale);
    }
    return scale;
}

quant_linear_fit quant_linear_from_interval(const quant_scheme *s, quant_interval v)
{
    quant_linear_fit f = {{0.0f, 0, 0, 0}, false, false};
    quant_linear_codes(s, &f.p.lowest, &f.p.highest);
    if (v.highest == v.lowest) {
        return f; /* asymmetric intervals contain zero, so this is the all-zero region */
    }
    float raw = raw_scale(s, v, &f.raised);
    f.p.scale = f.raised ? quant_store_round_up(s->store, raw) : quant_store_round(s->store, raw);
    f.p.zero = s->asymmetric ? zero_point(v, f.p.lowest, f.p.highest) : 0;
    f.overflow = !isfinite(f.p.scale);
    f.p.scale = f.overflow ? f.p.scale : finite_product(s->store, f.p);
    return f;
}

/* The interval of region k: symmetric, or widened to hold zero. */
static quant_interval interval_at(const quant_scheme *s, const float *lowest, const float *highest,
                                  size_t k)
{
    if (!s->asymmetric) {
        return (quant_interval){-highest[k], highest[k]};
    }
    return (quant_interval){lowest[k] < 0.0f ? lowest[k] : 0.0f,
                            highest[k] > 0.0f ? highest[k] : 0.0f};
}

/* Ranges in between have scales that are normal numbers of their type with finite products: none
 * of the special cases of from_interval. */
typedef struct plain {
    double least, most, steps;
} plain;

static plain plain_of(const quant_scheme *s)
{
    static const double room[] = {[QUANT_STORE_F32] = 0x1p100, [QUANT_STORE_F16] = 0x1p15,
                                  [QUANT_STORE_BF16] = 0x1p100};
    double steps = (double)steps_of(s);
    plain p = {2.0 * (double)quant_store_smallest(s->store) * steps, room[s->store] * steps, steps};
    return p;
}

void quant_linear_plain(const quant_scheme *s, float *steps, float *least, float *most)
{
    const plain p = plain_of(s);
    *steps = (float)p.steps;
    *least = (float)p.least; /* few bits, all three */
    *most = (float)p.most;
}

/* Scales before they are rounded, and zero points, of plain regions; the others are listed. */
static size_t plain_fits(const quant_scheme *s, const float *lowest, const float *highest,
                         size_t n, float *scale, int8_t *zero, uint8_t *odd)
{
    const plain p = plain_of(s);
    const float steps = (float)p.steps;
    int32_t low, high;
    size_t odds = 0;
    quant_linear_codes(s, &low, &high);
    for (size_t k = 0; k < n; k++) {
        quant_interval v = interval_at(s, lowest, highest, k);
        double range = s->asymmetric ? (double)v.highest - (double)v.lowest : (double)v.highest;
        odd[odds] = (uint8_t)k;
        if (!(range >= p.least && range <= p.most)) {
            scale[k] = 0.0f;
            odds++;
        } else if (s->asymmetric) {
            scale[k] = (float)(range / p.steps);
            zero[k] = (int8_t)zero_point(v, low, high);
        } else {
            scale[k] = v.highest / steps;
        }
    }
    return odds;
}

quant_linear_many quant_linear_from_intervals(const quant_scheme *s, const float *lowest,
                                              const float *highest, size_t n, float *scale,
                                              int8_t *zero)
{
    quant_linear_many many = {0, false};
    uint8_t odd[257];
    size_t odds = plain_fits(s, lowest, highest, n, scale, zero, odd);
    quant_store_round_many(s->store, scale, n);
    for (size_t i = 0; i < odds; i++) {
        size_t k = odd[i];
        quant_linear_fit f = quant_linear_from_interval(s, interval_at(s, lowest, highest, k));
        scale[k] = f.p.scale;
        if (s->asymmetric) {
            zero[k] = (int8_t)f.p.zero;
        }
        many.raised += f.raised;
        many.overflow = many.overflow || f.overflow;
    }
    return many;
}

static quant_interval shrunk(quant_interval v, double ratio)
{
    return (quant_interval){(float)(v.lowest * ratio), (float)(v.highest * ratio)};
}

/* A coarse look at 17 ratios of the full interval between 0.2 and 1, then eight halvings of the
 * bracket, which follows the best ratio. The objective is not convex in the ratio, so this is a
 * search, not an optimum; the full interval is the first candidate and only a strictly smaller
 * error replaces the best so far, so the result is never worse than absmax. */
static quant_linear_fit search_mse(const quant_scheme *s, const float *x, const float *importance,
                                   uint64_t n, quant_interval full, int threads)
{
    quant_linear_fit best = quant_linear_from_interval(s, full);
    if (best.overflow || best.p.scale == 0.0f) {
        return best;
    }
    double least = error_of(x, importance, n, best.p, threads);
    double found = 1.0, centre = 1.0, step = 0.05;
    for (int i = 1; i < 17 + 16; i++) {
        bool coarse = i < 17;
        if (!coarse && i % 2 == 1) {
            step *= 0.5;
            centre = found;
        }
        double ratio = coarse ? 1.0 - step * i : i % 2 == 1 ? centre - step : centre + step;
        if (ratio > 1.0 || ratio < 0.2 - 1e-9) {
            continue;
        }
        quant_linear_fit f = quant_linear_from_interval(s, shrunk(full, ratio));
        double e = f.p.scale > 0.0f ? error_of(x, importance, n, f.p, threads) : INFINITY;
        if (e < least) {
            least = e;
            best = f;
            found = ratio;
        }
    }
    return best;
}

quant_linear_fit quant_linear_choose(const quant_scheme *s, const float *x,
                                     const float *importance, uint64_t n, int threads)
{
    quant_interval v;
    if (s->asymmetric) {
        v = extremes(x, n, threads);
        v = interval_at(s, &v.lowest, &v.highest, 0);
    } else {
        v.highest = absmax_of(x, n, threads);
        v.lowest = -v.highest;
    }
    if (s->rule == QUANT_SCALE_PERCENTILE || s->rule == QUANT_SCALE_ENTROPY) {
        float most = v.highest > -v.lowest ? v.highest : -v.lowest;
        float limit = s->rule == QUANT_SCALE_PERCENTILE
                          ? quant_magnitude_percentile(x, n, s->percentile)
                      : most > 0.0f ? quant_magnitude_entropy(x, n, most, s->bits)
                                    : 0.0f;
        if (limit > 0.0f) { /* a limit of zero would delete the region: keep the extremes */
            v.lowest = v.lowest < -limit ? -limit : v.lowest;
            v.highest = v.highest > limit ? limit : v.highest;
        }
    }
    return s->rule == QUANT_SCALE_MSE ? search_mse(s, x, importance, n, v, threads)
                                      : quant_linear_from_interval(s, v);
}
