/* SPDX-License-Identifier: Apache-2.0 */
/* Floats to ascending distinct values with weights: ordered keys, counted in a table or sorted. */
#include <math.h>
#include <string.h>

#include "kernels/kernels.h"
#include "quant/internal.h"
#include "quant/kmeans1d_internal.h"

/* Keys of up to 16 bits are counted in a table, longer ones sorted by digits of at most 11 bits:
 * the counts of a digit then stay in a first-level cache. */
enum { TABLE_BITS = 16, DIGIT_BITS = 11, BUCKETS = 1 << DIGIT_BITS, KEY_BITS = 32, PIECE = 256 };

/* Below so many values a sort is done before the table is cleared and read. */
enum { TABLE_PAYS = 4096 };

/* -0 becomes +0. */
static uint32_t bits_of(float x)
{
    uint32_t u;
    x += 0.0f;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* Low bits that are zero in every value: 16 for what came from bf16, 13 from f16. Keys do
 * without them. (A sign bit is far from the low ones, so -0 needs no care.) */
static int spare_bits(const float *x, size_t n)
{
    uint64_t any[4] = {UINT64_C(1) << TABLE_BITS}, four[4];
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        memcpy(four, x + i, sizeof four);
        for (int j = 0; j < 4; j++) {
            any[j] |= four[j];
        }
    }
    any[0] |= any[1] | any[2] | any[3];
    uint32_t bits = (uint32_t)(any[0] | any[0] >> 32);
    for (; i < n; i++) {
        bits |= bits_of(x[i]);
    }
    return __builtin_ctz(bits);
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

static void values_of_bf16(const uint16_t *key, size_t m, double *value)
{
    for (size_t j = 0; j < m; j++) {
        value[j] = value_of(key[j], TABLE_BITS);
    }
}

/* The key of an f16: order of keys = order of values. */
static uint32_t key_of_f16(uint32_t code)
{
    return code ^ (code & 0x8000u ? 0xffffu : 0x8000u);
}

static void values_of_f16(const uint16_t *key, size_t m, double *value)
{
    for (size_t j = 0; j < m; j++) {
        uint32_t code = key[j] ^ (key[j] & 0x8000u ? 0x8000u : 0xffffu);
        uint32_t high = code >> 10 & 31u, low = code & 1023u;
        uint64_t bits = (uint64_t)(high + 1008) << 52 | (uint64_t)low << 42;
        double x;
        memcpy(&x, &bits, sizeof x);
        x = high ? x : (double)low * 0x1p-24;
        value[j] = code & 0x8000u ? -x : x;
    }
}

static int tally_bf16(const float *x, size_t n, uint32_t *table)
{
    for (size_t i = 0; i < n; i++) {
        table[key_of(x[i], TABLE_BITS)]++;
    }
    return 1;
}

/* 0 when one is no f16. */
static int tally_f16(const float *x, size_t n, uint32_t *table)
{
    float part[PIECE], back[PIECE];
    uint16_t code[PIECE];
    for (size_t i = 0; i < n; i += PIECE) {
        size_t m = n - i < PIECE ? n - i : PIECE;
        for (size_t j = 0; j < m; j++) {
            part[j] = x[i + j] + 0.0f;
        }
        qk()->f32_to_f16(part, m, code);
        qk()->f16_to_f32(code, m, back);
        if (memcmp(part, back, m * sizeof *part) != 0) {
            return 0;
        }
        for (size_t j = 0; j < m; j++) {
            table[key_of_f16(code[j])]++;
        }
    }
    return 1;
}

/* What a table of all keys can count. */
static const struct kind {
    int spare; /* low bits that are zero in every value */
    int (*tally)(const float *x, size_t n, uint32_t *table);
    void (*values)(const uint16_t *key, size_t m, double *value);
} kinds[] = {{16, tally_bf16, values_of_bf16}, {13, tally_f16, values_of_f16}};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* The keys that occur, ascending; list has room for seven more. No branch a key: whether one
 * occurs is anyone's guess. */
static size_t list_keys(const uint32_t *table, uint16_t *list)
{
    size_t m = 0;
    for (uint32_t key = 0; key >> TABLE_BITS == 0; key += 8) {
        const uint32_t *t = table + key; /* most of the table is empty */
        if ((t[0] | t[1] | t[2] | t[3] | t[4] | t[5] | t[6] | t[7]) == 0) {
            continue;
        }
        for (uint32_t i = 0; i < 8; i++) {
            list[m] = (uint16_t)(key + i);
            m += t[i] != 0;
        }
    }
    return m;
}

/* Distinct values and how often each occurs, from a table of all keys; 0: they do not fit it. */
static size_t count_by_table(const float *x, size_t n, const struct kind *kind, uint32_t *table,
                             double *value, double *weight)
{
    uint16_t *list = (uint16_t *)(void *)(table + (1 << TABLE_BITS));
    memset(table, 0, sizeof *table << TABLE_BITS);
    if (!kind->tally(x, n, table)) {
        return 0;
    }
    size_t m = list_keys(table, list);
    kind->values(list, m, value);
    for (size_t j = 0; j < m; j++) {
        weight[j] = (double)table[list[j]];
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
    size_t sort, counts = sizeof(uint32_t) * BUCKETS;
    size_t distinct = n < 1u << TABLE_BITS ? n : 1u << TABLE_BITS;
    size_t table = (sizeof(uint32_t) << TABLE_BITS) + sizeof(uint16_t) * (distinct + 8);
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
    size_t m = 0;
    for (size_t i = 0; n >= TABLE_PAYS && m == 0 && i < KINDS; i++) {
        m = r.spare >= kinds[i].spare ? count_by_table(x, n, &kinds[i], work, value, weight) : 0;
    }
    return m ? m : count_by_sort(x, n, r, work, value, weight);
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
