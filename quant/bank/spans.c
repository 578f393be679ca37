/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/spans.h"

#include <inttypes.h>
#include <string.h>

#include "quant/internal.h"

/* Index of the first span that begins at or after `begin`. */
static size_t lower_bound(const quant_spans *set, uint64_t begin)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->list[middle].begin < begin) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static quant_status make_room(quant_context *ctx, quant_spans *set)
{
    if (set->count < set->capacity) {
        return QUANT_OK;
    }
    size_t wider = set->capacity ? 2 * set->capacity : 16;
    quant_span *list = quant_alloc(ctx, wider, sizeof *list);
    if (!list) {
        return QUANT_ENOMEM;
    }
    if (set->count) {
        memcpy(list, set->list, set->count * sizeof *list);
    }
    quant_release(ctx, set->list, set->capacity, sizeof *list);
    set->list = list;
    set->capacity = wider;
    return QUANT_OK;
}

quant_status quant_spans_add(quant_context *ctx, quant_spans *set, uint64_t begin, uint64_t end)
{
    if (begin >= end) {
        return QUANT_OK;
    }
    QUANT_TRY(make_room(ctx, set));
    size_t i = lower_bound(set, begin);
    quant_span *at = set->list + i;
    int after = i < set->count;
    if ((after && at->begin < end) || (i > 0 && at[-1].end > begin)) {
        return quant_fail(ctx, QUANT_EINVAL,
                          "bytes [%" PRIu64 ", %" PRIu64 ") are written a second time", begin, end);
    }
    int joins_left = i > 0 && at[-1].end == begin;
    int joins_right = after && at->begin == end;
    if (joins_left && joins_right) {
        at[-1].end = at->end;
        memmove(at, at + 1, (set->count - i - 1) * sizeof *at);
        set->count--;
    } else if (joins_left) {
        at[-1].end = end;
    } else if (joins_right) {
        at->begin = begin;
    } else {
        memmove(at + 1, at, (set->count - i) * sizeof *at);
        *at = (quant_span){begin, end};
        set->count++;
    }
    return QUANT_OK;
}

uint64_t quant_spans_first_hole(const quant_spans *set)
{
    return set->count && set->list[0].begin == 0 ? set->list[0].end : 0;
}

void quant_spans_free(quant_context *ctx, quant_spans *set)
{
    quant_release(ctx, set->list, set->capacity, sizeof *set->list);
    *set = (quant_spans){NULL, 0, 0};
}
