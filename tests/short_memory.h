/* SPDX-License-Identifier: GPL-3.0-or-later */
/* short_memory.h - an allocator that refuses, and counts the bytes that are not given back. A test
 * lets the k-th allocation fail for every k until none did: a clean status each time, no leak. */
#ifndef QUANT_TESTS_SHORT_MEMORY_H
#define QUANT_TESTS_SHORT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "quant/context.h"

typedef struct short_memory {
    long fail_at;       /* number of the allocation, from 0 on, that is refused; negative: none */
    bool ever_after;    /* and every one that follows */
    bool fired;         /* from here on results: one was refused */
    long calls;
    size_t held, peak;  /* bytes not given back, and the most of them at any time */
} short_memory;

/* A context of its own upon m, which outlives it; NULL when its own allocation (number 0) is the
 * one that fails. For one thread that allocates. */
quant_context *short_memory_context(short_memory *m);

#endif
