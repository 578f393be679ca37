/* SPDX-License-Identifier: GPL-3.0-or-later */
/* spans.h - which bytes of a file have been written, when pieces arrive in any order. */
#ifndef QUANT_BANK_SPANS_H
#define QUANT_BANK_SPANS_H

#include <stddef.h>
#include <stdint.h>

#include "quant/context.h"

typedef struct quant_span {
    uint64_t begin, end;
} quant_span;

/* Disjoint spans, ascending, never touching. {0} is the empty set. */
typedef struct quant_spans {
    quant_span *list;
    size_t count, capacity;
} quant_spans;

/* Add [begin, end); QUANT_EINVAL when a byte of it is in the set already. Writers that go forward
 * in k places at a time keep k spans, so each call costs O(log k) then. */
quant_status quant_spans_add(quant_context *ctx, quant_spans *set, uint64_t begin, uint64_t end);
/* The smallest number that is not in the set. */
uint64_t quant_spans_first_hole(const quant_spans *set);
void quant_spans_free(quant_context *ctx, quant_spans *set);

#endif
