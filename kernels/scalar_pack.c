/* SPDX-License-Identifier: Apache-2.0 */
/* scalar_pack.c - codes of 1..8 bits as one stream of bits, least significant first. */
#include "kernels/kernels.h"

void qk_pack_codes_scalar(const uint8_t *codes, size_t n, unsigned bits, uint8_t *stream)
{
    const uint32_t mask = (1u << bits) - 1u;
    uint32_t pending = 0; /* at most 7 + 8 bits */
    unsigned held = 0;
    for (size_t i = 0; i < n; i++) {
        pending |= (codes[i] & mask) << held;
        held += bits;
        if (held >= 8) {
            *stream++ = (uint8_t)pending;
            pending >>= 8;
            held -= 8;
        }
    }
    if (held > 0) {
        *stream = (uint8_t)pending;
    }
}

void qk_unpack_unsigned_scalar(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    const uint32_t mask = (1u << bits) - 1u;
    uint32_t pending = 0;
    unsigned held = 0;
    for (size_t i = 0; i < n; i++) {
        if (held < bits) { /* only then is there a further byte to read */
            pending |= (uint32_t)*stream++ << held;
            held += 8;
        }
        codes[i] = (uint8_t)(pending & mask);
        pending >>= bits;
        held -= bits;
    }
}

void qk_unpack_signed_scalar(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    const uint32_t top = 1u << (bits - 1u);
    qk_unpack_unsigned_scalar(stream, n, bits, codes);
    for (size_t i = 0; i < n; i++) {
        codes[i] = (uint8_t)((codes[i] ^ top) - top);
    }
}
