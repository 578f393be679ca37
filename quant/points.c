/* SPDX-License-Identifier: Apache-2.0 */
/* Floats to ascending distinct values with weights: keys of 16 bits counted in a table, longer ones
 * sorted. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"
#include "quant/points_sort.h"

enum { KEYS = 1 << 16, EIGHT = 8 };

/* Below so many values a sort is done before the table is cleared and read. */
enum { TABLE_PAYS = 4096 };

/* The key of a code (kernels.h, qk_keys), and back. */
static uint32_t key_of(uint16_t code)
{
    return code ^ (code & 0x8000u ? 0xffffu : 0x8000u);
}

static uint32_t code_of(uint32_t key)
{
    return key ^ (key & 0x8000u ? 0x8000u : 0xffffu);
}

static void values_of_bf16(const uint16_t *key, size_t m, double *value)
{
    for (size_t j = 0; j < m; j++) {
        uint32_t bits = code_of(key[j]) << 16;
        float x;
        memcpy(&x, &bits, sizeof x);
        value[j] = (double)x;
    }
}

static void values_of_f16(const uint16_t *key, size_t m, double *value)
{
    for (size_t j = 0; j < m; j++) {
        uint32_t code = code_of(key[j]);
        uint32_t high = code >> 10 & 31u, low = code & 1023u;
        uint64_t bits = (uint64_t)(high + 1008) << 52 | (uint64_t)low << 42;
        double x;
        memcpy(&x, &bits, sizeof x);
        x = high ? x : (double)low * 0x1p-24;
        value[j] = code & 0x8000u ? -x : x;
    }
}

static size_t count_bf16(const float *x, size_t n, qk_keys keys)
{
    return qk()->count_bf16(x, n, keys);
}

static size_t count_f16(const float *x, size_t n, qk_keys keys)
{
    return qk()->count_f16(x, n, keys);
}

static uint32_t key_of_bf16(float x)
{
    uint16_t code;
    qk()->f32_to_bf16(&x, 1, &code);
    return key_of(code);
}

static uint32_t key_of_f16(float x)
{
    uint16_t code;
    qk()->f32_to_f16(&x, 1, &code);
    return key_of(code);
}

/* What a table of keys can count. */
static const struct kind {
    int spare; /* low bits that are zero in every value */
    uint32_t (*key)(float x);
    size_t (*count)(const float *x, size_t n, qk_keys keys); /* n, or they are not such */
    void (*values)(const uint16_t *key, size_t m, double *value);
} kinds[] = {{16, key_of_bf16, count_bf16, values_of_bf16},
             {13, key_of_f16, count_f16, values_of_f16}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* The keys that occur, ascending; list has room for seven more. No branch a key: whether one
 * occurs is anyone's guess. */
static size_t list_keys(qk_keys k, uint16_t *list)
{
    size_t m = 0;
    for (uint32_t at = 0; at < k.keys; at += EIGHT) {
        const uint32_t *t = k.count + at; /* most of the table is empty */
        if ((t[0] | t[1] | t[2] | t[3] | t[4] | t[5] | t[6] | t[7]) == 0) {
            continue;
        }
        for (uint32_t i = 0; i < EIGHT; i++) {
            list[m] = (uint16_t)(k.first + at + i);
            m += t[i] != 0;
        }
    }
    return m;
}

/* Distinct values and how often each occurs, from a table of all keys from the least to the
 * greatest, whole eights of them; 0: they are of another kind. */
static size_t count_by_table(const float *x, size_t n, const struct kind *kind, uint32_t *table,
                             double *value, double *weight)
{
    uint16_t *list = (uint16_t *)(void *)(table + KEYS);
    float lowest, highest;
    qk()->minmax_f32(x, n, &lowest, &highest);
    uint32_t first = kind->key(lowest) / EIGHT * EIGHT, last = kind->key(highest);
    qk_keys keys = {first, (last - first) / EIGHT * EIGHT + EIGHT, table};
    memset(table, 0, sizeof *table * keys.keys);
    if (kind->count(x, n, keys) < n) {
        return 0;
    }
    size_t m = list_keys(keys, list);
    kind->values(list, m, value);
    for (size_t j = 0; j < m; j++) {
        weight[j] = (double)table[list[j] - first];
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
    size_t sort, counts = sizeof(uint32_t) * QUANT_SORT_BUCKETS;
    size_t distinct = n < KEYS ? n : KEYS;
    size_t table = sizeof(uint32_t) * KEYS + sizeof(uint16_t) * (distinct + 8);
    if (n > UINT32_MAX || __builtin_mul_overflow(n, 2 * sizeof(uint64_t), &sort) ||
        __builtin_add_overflow(sort, counts, &sort)) {
        return 0;
    }
    return sort > table || n < TABLE_PAYS ? sort : table;
}

static double importance_sum(const float *importance, size_t n)
{
    double sum = 0;
    for (size_t i = 0; importance && i < n; i++) {
        sum += (double)importance[i];
    }
    return sum;
}

/* By the first table that they fit; 0 when there is none or sorting is faster. */
static size_t count_by_tables(const float *x, size_t n, int spare, void *work, double *value,
                              double *weight)
{
    size_t m = 0;
    for (size_t i = 0; n >= TABLE_PAYS && m == 0 && i < KINDS; i++) {
        m = spare >= kinds[i].spare ? count_by_table(x, n, &kinds[i], work, value, weight) : 0;
    }
    return m;
}

size_t quant_points_collapse_run(const float *x, const float *importance, size_t n, void *work,
                                 double *value, double *weight)
{
    double sum = importance_sum(importance, n);
    if (n == 0) {
        return 0;
    }
    if (sum > 0) {
        size_t m = quant_points_sort_sums(x, importance, n, work, value, weight);
        lift_zero_weights(weight, m, sum, n);
        return m;
    }
    int spare = quant_points_spare_bits(x, n);
    size_t m = count_by_tables(x, n, spare, work, value, weight);
    return m ? m : quant_points_sort_counts(x, n, spare, work, value, weight);
}

size_t quant_points_narrow_bytes(size_t n)
{
    size_t bytes, table = sizeof(uint32_t) * KEYS + sizeof(uint16_t) * (KEYS + 8);
    if (n > UINT32_MAX || __builtin_mul_overflow(n, 2 * sizeof(uint32_t), &bytes) ||
        __builtin_add_overflow(bytes, sizeof(uint32_t) * QUANT_SORT_BUCKETS, &bytes)) {
        return 0;
    }
    return bytes > table ? bytes : table;
}

quant_point_list quant_points_narrow_run(const float *x, size_t n, void *work, size_t most,
                                         double *value, double *weight)
{
    int spare = quant_points_spare_bits(x, n);
    quant_point_list l = {{value, weight, 0}, NULL, NULL, 0};
    l.n = most >= KEYS ? count_by_tables(x, n, spare, work, value, weight) : 0;
    if (l.n == 0) {
        l.n = quant_points_sort_narrow(x, n, spare, work, &l.value, &l.count);
        if (l.n > most) {
            l.wide.value = l.wide.weight = NULL;
            return l;
        }
        for (size_t i = 0; i < l.n; i++) {
            value[i] = (double)l.value[i];
            weight[i] = (double)l.count[i];
        }
    }
    l.wide.n = l.n;
    return l;
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
