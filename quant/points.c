/* SPDX-License-Identifier: Apache-2.0 */
/* Floats to ascending distinct values with weights: a radix sort of ordered keys. */
#include <math.h>
#include <string.h>

#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"

/* Keys of up to 16 bits are counted in a table, longer ones sorted by digits of at most 11 bits:
 * the counts of a digit then stay in a first-level cache. */
enum { TABLE_BITS = 16, DIGIT_BITS = 11, BUCKETS = 1 << DIGIT_BITS, KEY_BITS = 32 };

/* -0 becomes +0. */
static uint32_t bits_of(float x)
{
    uint32_t u;
    x += 0.0f;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* Low bits that are zero in every value: 16 for what came from bf16, 13 from f16. Keys do
 * without them. */
static int spare_bits(const float *x, size_t n)
{
    uint32_t any = 1u << TABLE_BITS;
    for (size_t i = 0; i < n; i++) {
        any |= bits_of(x[i]);
    }
    return __builtin_ctz(any);
}

/* Order of keys = order of floats. */
static uint32_t key_of(float x, int spare)
{
    uint32_t u = bits_of(x), negative = 0u - (u >> 31);
    return ((u ^ (negative | UINT32_C(0x80000000))) >> spare);
}

static double value_of(uint32_t key, int spare)
{
    uint32_t u = key << spare, negative = (u >> 31) - 1u;
    float x;
    u ^= negative | UINT32_C(0x80000000);
    u &= ~((UINT32_C(1) << spare) - 1);
    memcpy(&x, &u, sizeof x);
    return (double)x;
}

/* How the key is cut into digits of equal width. */
typedef struct radix {
    int spare, digits, width;
} radix;

static radix radix_of(const float *x, size_t n)
{
    int spare = spare_bits(x, n), bits = KEY_BITS - spare;
    int digits = (bits + DIGIT_BITS - 1) / DIGIT_BITS;
    return (radix){spare, digits, (bits + digits - 1) / digits};
}

/* Turn counts into places; false when all share one digit and there is nothing to move. */
static int places(uint32_t *count, size_t n)
{
    uint32_t sum = 0;
    for (size_t b = 0; b < BUCKETS; b++) {
        uint32_t c = count[b];
        if (c == n) {
            return 0;
        }
        count[b] = sum;
        sum += c;
    }
    return 1;
}

/* Stable sort of items whose keys start at bit `low`; where they end up, room or room + n, is
 * returned. One function a width, for the keys alone move half the bytes. */
static uint64_t *sort_pairs(uint64_t *room, size_t n, radix r, uint32_t *count)
{
    uint64_t *from = room, *to = room + n;
    for (int d = 0; d < r.digits; d++) {
        int shift = KEY_BITS + d * r.width;
        uint64_t mask = (UINT64_C(1) << r.width) - 1;
        memset(count, 0, sizeof *count * BUCKETS);
        for (size_t i = 0; i < n; i++) {
            count[from[i] >> shift & mask]++;
        }
        if (places(count, n)) {
            for (size_t i = 0; i < n; i++) {
                to[count[from[i] >> shift & mask]++] = from[i];
            }
            uint64_t *swap = from;
            from = to;
            to = swap;
        }
    }
    return from;
}

static uint32_t *sort_keys(uint32_t *room, size_t n, radix r, uint32_t *count)
{
    uint32_t *from = room, *to = room + n, mask = (UINT32_C(1) << r.width) - 1;
    for (int d = 0; d < r.digits; d++) {
        int shift = d * r.width;
        memset(count, 0, sizeof *count * BUCKETS);
        for (size_t i = 0; i < n; i++) {
            count[from[i] >> shift & mask]++;
        }
        if (places(count, n)) {
            for (size_t i = 0; i < n; i++) {
                to[count[from[i] >> shift & mask]++] = from[i];
            }
            uint32_t *swap = from;
            from = to;
            to = swap;
        }
    }
    return from;
}

/* Distinct values and how often each occurs, from a table of all keys. */
static size_t count_by_table(const float *x, size_t n, uint32_t *table, double *value,
                             double *weight)
{
    size_t m = 0;
    memset(table, 0, sizeof *table << TABLE_BITS);
    for (size_t i = 0; i < n; i++) {
        table[key_of(x[i], TABLE_BITS)]++;
    }
    for (uint32_t key = 0; key >> TABLE_BITS == 0; key += 8) {
        uint64_t four[4]; /* most of the table is empty */
        memcpy(four, table + key, sizeof four);
        for (uint32_t i = 0; (four[0] | four[1] | four[2] | four[3]) != 0 && i < 8; i++) {
            if (table[key + i]) {
                value[m] = value_of(key + i, TABLE_BITS);
                weight[m++] = (double)table[key + i];
            }
        }
    }
    return m;
}

static size_t count_by_sort(const float *x, size_t n, radix r, uint32_t *work, double *value,
                            double *weight)
{
    uint32_t *key = work + BUCKETS;
    for (size_t i = 0; i < n; i++) {
        key[i] = key_of(x[i], r.spare);
    }
    key = sort_keys(key, n, r, work);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) { /* no branch: whether a run ends here is anyone's guess */
        value[m] = value_of(key[i], r.spare);
        weight[m] = (double)(i + 1);
        m += i + 1 == n || key[i] != key[i + 1];
    }
    for (size_t j = m - 1; j > 0; j--) {
        weight[j] -= weight[j - 1];
    }
    return m;
}

static size_t sum_by_sort(const float *x, const float *importance, size_t n, uint32_t *work,
                          double *value, double *weight)
{
    radix r = radix_of(x, n);
    uint64_t *item = (uint64_t *)(void *)(work + BUCKETS);
    for (size_t i = 0; i < n; i++) {
        item[i] = (uint64_t)key_of(x[i], r.spare) << KEY_BITS | i;
    }
    item = sort_pairs(item, n, r, work);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || item[i] >> KEY_BITS != item[i - 1] >> KEY_BITS) {
            value[m] = value_of((uint32_t)(item[i] >> KEY_BITS), r.spare);
            weight[m++] = 0;
        }
        weight[m - 1] += (double)importance[(uint32_t)item[i]];
    }
    return m;
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
    size_t bytes, counts = sizeof(uint32_t) * BUCKETS, table = sizeof(uint32_t) << TABLE_BITS;
    if (n > UINT32_MAX || __builtin_mul_overflow(n, 2 * sizeof(uint64_t), &bytes) ||
        __builtin_add_overflow(bytes, counts, &bytes)) {
        return 0;
    }
    return bytes > table ? bytes : table;
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
    double sum = importance_sum(importance, n);
    if (n == 0) {
        return 0;
    }
    if (sum > 0) {
        size_t m = sum_by_sort(x, importance, n, work, value, weight);
        lift_zero_weights(weight, m, sum, n);
        return m;
    }
    radix r = radix_of(x, n);
    return r.spare == TABLE_BITS ? count_by_table(x, n, work, value, weight)
                                 : count_by_sort(x, n, r, work, value, weight);
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
        return quant_fail(ctx, QUANT_EOVERFLOW, "points: expected fewer than 2^32, found %zu", n);
    }
    void *work = quant_alloc(ctx, bytes, 1);
    if (!work) {
        return QUANT_ENOMEM;
    }
    *distinct = quant_points_collapse_run(x, importance, n, work, value, weight);
    quant_release(ctx, work, bytes, 1);
    return QUANT_OK;
}
