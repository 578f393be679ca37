/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench_parts.h - what the files that time kernels share. */
#ifndef QUANT_BENCH_PARTS_H
#define QUANT_BENCH_PARTS_H

#include <stdint.h>

#include "kernels/kernels.h"
#include "tests/bench/bench.h"

enum { IN_CACHE = 1 << 14, IN_MEMORY = 1 << 24, CALLS_IN_CACHE = 64 };

/* Operands that all operations share; codes8 has all bytes, codes4 values below 16. */
extern struct bench_data {
    float *x, *y;
    uint8_t *codes8, *codes4, *bytes;
    float *scales; /* 0.4, one for 32 elements */
    float table[256], thresholds[255];
} data;
extern volatile double sink; /* keeps results alive */

/* One operation with its parameter; `op` is cast back to its class by the runner. */
typedef void any_fn(void);
typedef struct work {
    any_fn *op;
    size_t n;
    unsigned parameter;
} work;

/* A task over the elements of this list: the name of an operation, with its parameter. */
extern size_t elements_now;
void add(const char *name, any_fn *op, void (*run)(const void *), unsigned parameter,
         double bytes_an_element);
void add_variant(const char *name, any_fn *op, void (*run)(const void *), unsigned parameter,
                 double bytes_an_element);

/* bench_vectors.c */
void add_nearest(const char *name, any_fn *op);

/* bench_products.c */
void add_gemm_s8(const char *name, any_fn *op);
void add_dot_single(const char *name, any_fn *op);
void add_dot_s8(const char *name, any_fn *op);
void add_gemv4_f32(const char *name, any_fn *op);
void add_gemv4_s8(const char *name, any_fn *op);

#endif
