/* SPDX-License-Identifier: GPL-3.0-or-later */
/* read.c - a loop that reads and does nothing else: four words at a time. */
#include "tests/bench/bench.h"

uint64_t bench_read(const float *x, size_t n)
{
    const uint64_t *v = (const uint64_t *)(const void *)x;
    uint64_t a = 0, b = 0, c = 0, d = 0;
    for (size_t i = 0; i < n / 2; i += 4) {
        a ^= v[i];
        b ^= v[i + 1];
        c ^= v[i + 2];
        d ^= v[i + 3];
    }
    return a ^ b ^ c ^ d;
}
