/* SPDX-License-Identifier: GPL-3.0-or-later */
/* names.h - a set of byte strings: sort once, see duplicates, look up in O(log n). */
#ifndef QUANT_BANK_NAMES_H
#define QUANT_BANK_NAMES_H

#include <stddef.h>

typedef struct quant_name {
    const char *text;
    size_t bytes;
    size_t index; /* whatever the owner counts */
} quant_name;

/* Heap sort: O(n log n) for any input (an attacker may choose it), in place; qsort of the C library
 * may call malloc behind the context's back. compare orders totally. size is at most 256. */
void quant_sort(void *base, size_t count, size_t size,
                int (*compare)(const void *a, const void *b));

/* By bytes, then by index, so that equal names keep their order. */
void quant_names_sort(quant_name *names, size_t count);
/* In a sorted array: the second of two equal names, or NULL. */
const quant_name *quant_names_duplicate(const quant_name *names, size_t count);
/* In a sorted array: the first with that text, or NULL. */
const quant_name *quant_names_find(const quant_name *names, size_t count, const char *text,
                                   size_t bytes);

#endif
