/* SPDX-License-Identifier: Apache-2.0 */
/* Floats to ascending distinct values with weights: a radix sort of ordered keys. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"

/* Digits of 11, 11 and 10 bits: three counts of 2048 stay in a first-level cache. */
enum { DIGITS = 3, DIGIT_BITS = 11, BUCKETS = 1 << DIGIT_BITS, KEY_BITS = 32 };

/* Order of keys = order of floats; -0 has the key of +0. */
static uint32_t key_of(float x)
{
    uint32_t u;
    x += 0.0f;
    memcpy(&u, &x, sizeof u);
    return u >> 31 ? ~u : u | UINT32_C(0x80000000);
}

static float float_of(uint32_t key)
{
    uint32_t u = key >> 31 ? key & UINT32_C(0x7fffffff) : ~key;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static size_t digit_of(uint64_t item, int digit)
{
    return (size_t)(item >> (KEY_BITS + digit * DIGIT_BITS)) & (BUCKETS - 1);
}

/* item = key << 32 | index. Counts of every digit in the one pass that makes the items. */
static void make_items(const float *x, size_t n, uint64_t *item, uint32_t count[DIGITS][BUCKETS])
{
    memset(count, 0, sizeof(uint32_t) * DIGITS * BUCKETS);
    for (size_t i = 0; i < n; i++) {
        item[i] = (uint64_t)key_of(x[i]) << KEY_BITS | i;
        for (int d = 0; d < DIGITS; d++) {
            count[d][digit_of(item[i], d)]++;
        }
    }
}

/* Sort by ascending digit, stable, from `from` to `to`. */
static void scatter(const uint64_t *from, uint64_t *to, size_t n, int digit, uint32_t *count)
{
    uint32_t sum = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        uint32_t c = count[b];
        count[b] = sum;
        sum += c;
    }
    for (size_t i = 0; i < n; i++) {
        to[count[digit_of(from[i], digit)]++] = from[i];
    }
}

/* Sorted items; where they lie, room or room + n, is returned. A digit that all share is
 * skipped: values that came from bf16 need two passes, not three. */
static uint64_t *sort_items(const float *x, size_t n, uint64_t *room,
                            uint32_t count[DIGITS][BUCKETS])
{
    uint64_t *from = room, *to = room + n;
    make_items(x, n, from, count);
    for (int d = 0; d < DIGITS; d++) {
        if (count[d][digit_of(from[0], d)] < n) {
            scatter(from, to, n, d, count[d]);
            uint64_t *swap = from;
            from = to;
            to = swap;
        }
    }
    return from;
}

/* Values without importance get a weight that orders nothing: all of them together are
 * 2^-40 of the rest, far above what the sums resolve. */
static void lift_zero_weights(double *weight, size_t m, double sum, size_t n)
{
    double least = sum * 0x1p-40 / (double)n;
    for (size_t j = 0; j < m; j++) {
        weight[j] = weight[j] > least ? weight[j] : least;
    }
}

size_t quant_points_work_bytes(size_t n)
{
    size_t bytes;
    if (n > UINT32_MAX || __builtin_mul_overflow(n, 2 * sizeof(uint64_t), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(uint32_t) * DIGITS * BUCKETS, &bytes)) {
        return 0;
    }
    return bytes;
}

static double importance_sum(const float *importance, size_t n)
{
    double sum = 0;
    for (size_t i = 0; importance && i < n; i++) {
        sum += (double)importance[i];
    }
    return sum;
}

size_t quant_points_collapse_run(const float *x, const float *importance, size_t n, void *work,
                                 double *value, double *weight)
{
    if (n == 0) {
        return 0;
    }
    uint32_t(*count)[BUCKETS] = work;
    uint64_t *item = sort_items(x, n, (uint64_t *)(void *)(count + DIGITS), count);
    double sum = importance_sum(importance, n);
    size_t m = 0;
    uint32_t last = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t key = (uint32_t)(item[i] >> KEY_BITS);
        if (i == 0 || key != last) {
            value[m] = (double)float_of(key);
            weight[m++] = 0;
            last = key;
        }
        weight[m - 1] += sum > 0 ? (double)importance[(uint32_t)item[i]] : 1.0;
    }
    if (sum > 0) {
        lift_zero_weights(weight, m, sum, n);
    }
    return m;
}

static quant_status check_floats(quant_context *ctx, const float *x, const float *importance,
                                 size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return quant_fail(ctx, QUANT_EINVAL, "points: value %zu: expected finite, found %g", i,
                              (double)x[i]);
        }
        if (importance && !(importance[i] >= 0 && isfinite(importance[i]))) {
            return quant_fail(ctx, QUANT_EINVAL,
                              "points: importance %zu: expected finite and >= 0, found %g", i,
                              (double)importance[i]);
        }
    }
    return QUANT_OK;
}

quant_status quant_points_collapse(quant_context *ctx, const float *x, const float *importance,
                                   size_t n, double *value, double *weight, size_t *distinct)
{
    if (!distinct || (n > 0 && (!x || !value || !weight))) {
        return quant_fail(ctx, QUANT_EINVAL, "points: expected arrays, found NULL");
    }
    QUANT_TRY(check_floats(ctx, x, importance, n));
    size_t bytes = quant_points_work_bytes(n);
    if (bytes == 0) {
        return quant_fail(ctx, QUANT_EOVERFLOW, "points: expected fewer than 2^32 values, found %zu",
                          n);
    }
    void *work = quant_alloc(ctx, bytes, 1);
    if (!work) {
        return QUANT_ENOMEM;
    }
    *distinct = quant_points_collapse_run(x, importance, n, work, value, weight);
    quant_release(ctx, work, bytes, 1);
    return QUANT_OK;
}
