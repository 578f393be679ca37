/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/names.h"

#include <string.h>

static int compare_text(const quant_name *a, const char *text, size_t bytes)
{
    size_t common = a->bytes < bytes ? a->bytes : bytes;
    int c = common ? memcmp(a->text, text, common) : 0;
    return c ? c : (a->bytes > bytes) - (a->bytes < bytes);
}

static int compare(const void *left, const void *right)
{
    const quant_name *a = left, *b = right;
    int c = compare_text(a, b->text, b->bytes);
    return c ? c : (a->index > b->index) - (a->index < b->index);
}

static void sift_down(unsigned char *heap, size_t root, size_t count, size_t size,
                      int (*order)(const void *, const void *))
{
    unsigned char moving[256];
    memcpy(moving, heap + root * size, size);
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && order(heap + child * size, heap + (child + 1) * size) < 0) {
            child++;
        }
        if (order(moving, heap + child * size) >= 0) {
            break;
        }
        memcpy(heap + root * size, heap + child * size, size);
    }
    memcpy(heap + root * size, moving, size);
}

void quant_sort(void *base, size_t count, size_t size,
                int (*order)(const void *a, const void *b))
{
    unsigned char *heap = base, top[256];
    for (size_t i = count / 2; i-- > 0;) {
        sift_down(heap, i, count, size, order);
    }
    for (size_t last = count; last-- > 1;) {
        memcpy(top, heap, size);
        memcpy(heap, heap + last * size, size);
        memcpy(heap + last * size, top, size);
        sift_down(heap, 0, last, size, order);
    }
}

void quant_names_sort(quant_name *names, size_t count)
{
    quant_sort(names, count, sizeof *names, compare);
}

const quant_name *quant_names_duplicate(const quant_name *names, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        if (compare_text(&names[i - 1], names[i].text, names[i].bytes) == 0) {
            return &names[i];
        }
    }
    return NULL;
}

const quant_name *quant_names_find(const quant_name *names, size_t count, const char *text,
                                   size_t bytes)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_text(&names[middle], text, bytes) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < count && compare_text(&names[low], text, bytes) == 0 ? &names[low] : NULL;
}
