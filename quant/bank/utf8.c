/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "quant/bank/utf8.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the sequence at p (left >= 1 of them), 0 when it is not one. The second byte's range
 * depends on the first: that is where overlong forms, surrogates and too large points differ. */
static size_t sequence(const unsigned char *p, size_t left)
{
    unsigned a = p[0];
    if (a < 0x80) {
        return 1;
    }
    size_t n = a >= 0xc2 && a <= 0xdf ? 2 : (a & 0xf0) == 0xe0 ? 3 : a >= 0xf0 && a <= 0xf4 ? 4 : 0;
    if (n == 0 || left < n) {
        return 0;
    }
    unsigned low = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80;
    unsigned high = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return n;
}

size_t quant_utf8_valid(const char *text, size_t bytes)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t at = 0;
    while (at < bytes) {
        uint64_t eight;
        if (bytes - at >= 8 && (memcpy(&eight, p + at, 8), !(eight & 0x8080808080808080U))) {
            at += 8;
            continue;
        }
        size_t n = sequence(p + at, bytes - at);
        if (n == 0) {
            break;
        }
        at += n;
    }
    return at;
}

size_t quant_utf8_put(char *out, unsigned point)
{
    unsigned char *p = (unsigned char *)out;
    if (point < 0x80) {
        p[0] = (unsigned char)point;
        return 1;
    }
    size_t n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const unsigned char first[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; point >>= 6) {
        p[i] = (unsigned char)(0x80 | (point & 0x3f));
    }
    p[0] = (unsigned char)(first[n] | point);
    return n;
}
