/* SPDX-License-Identifier: Apache-2.0 */
/* Floats to ascending distinct values by a radix sort of ordered keys. */
#include <string.h>

#include "quant/points_sort.h"

/* Digits of at most 11 bits: their counts stay in a first-level cache. */
enum { DIGIT_BITS = 11, BUCKETS = QUANT_SORT_BUCKETS, KEY_BITS = 32 };

/* -0 becomes +0. */
static uint32_t bits_of(float x)
{
    uint32_t u;
    x += 0.0f;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* (A sign bit is far from the low ones, so -0 needs no care.) */
int quant_points_spare_bits(const float *x, size_t n)
{
    uint64_t any[4] = {UINT64_C(1) << 16}, four[4];
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

static float float_of(uint32_t key, int spare)
{
    uint32_t u = key << spare, negative = (u >> 31) - 1u;
    float x;
    u ^= negative | UINT32_C(0x80000000);
    u &= ~((UINT32_C(1) << spare) - 1);
    memcpy(&x, &u, sizeof x);
    return x;
}

static double value_of(uint32_t key, int spare)
{
    return (double)float_of(key, spare);
}

/* How the key is cut into digits of equal width. */
typedef struct radix {
    int spare, digits, width;
} radix;

static radix radix_of(int spare)
{
    int bits = KEY_BITS - spare, digits = (bits + DIGIT_BITS - 1) / DIGIT_BITS;
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

/* Keys of x, sorted, in one half of what lies behind the buckets of work. */
static uint32_t *sorted_keys(const float *x, size_t n, radix r, uint32_t *work)
{
    uint32_t *key = work + BUCKETS;
    for (size_t i = 0; i < n; i++) {
        key[i] = key_of(x[i], r.spare);
    }
    return sort_keys(key, n, r, work);
}

size_t quant_points_sort_counts(const float *x, size_t n, int spare, uint32_t *work,
                                double *value, double *weight)
{
    const uint32_t *key = sorted_keys(x, n, radix_of(spare), work);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) { /* no branch: whether a run ends here is anyone's guess */
        value[m] = value_of(key[i], spare);
        weight[m] = (double)(i + 1);
        m += i + 1 == n || key[i] != key[i + 1];
    }
    for (size_t j = m - 1; j > 0; j--) {
        weight[j] -= weight[j - 1];
    }
    return m;
}

size_t quant_points_sort_narrow(const float *x, size_t n, int spare, uint32_t *work,
                                const float **value, const uint32_t **count)
{
    uint32_t *key = sorted_keys(x, n, radix_of(spare), work), *first = work + BUCKETS;
    uint32_t *end = key == first ? first + n : first;
    size_t m = 0;
    for (size_t i = 0; i < n; i++) { /* a value never overtakes the keys that are still wanted */
        uint32_t own = key[i], last = i + 1 == n || own != key[i + 1];
        float x_i = float_of(own, spare);
        memcpy(key + m, &x_i, sizeof x_i);
        end[m] = (uint32_t)(i + 1);
        m += last;
    }
    for (size_t j = m - 1; j > 0; j--) {
        end[j] -= end[j - 1];
    }
    *value = (const float *)(const void *)key;
    *count = end;
    return m;
}

size_t quant_points_sort_sums(const float *x, const float *importance, size_t n, uint32_t *work,
                              double *value, double *weight)
{
    radix r = radix_of(quant_points_spare_bits(x, n));
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
