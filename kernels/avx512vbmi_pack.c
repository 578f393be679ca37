/* SPDX-License-Identifier: Apache-2.0 */
/* avx512vbmi_pack.c - bit streams of any width, 64 codes at a time: they are 8b bytes of the
 * stream, b bytes in each of eight 64-bit words.
 *
 * Unpacking is avx512vbmi_cuts.h. Packing joins neighbours three times, (low half) | (high half
 * moved down to touch it), and pushes the b bytes of the words together. Masked moves of bytes cost
 * more than plain ones: they serve where a plain one would leave the array. What a plain store
 * writes behind its own bytes is overwritten by the rows that follow. */
#include "kernels/avx512vbmi_cuts.h"

#if defined(QK_HAS_AVX512VBMI)
#include <string.h>

static inline void store_some(uint8_t *to, size_t left, __m512i v)
{
    if (left >= 64) {
        _mm512_storeu_si512(to, v);
    } else {
        _mm512_mask_storeu_epi8(to, first_of_64(left), v);
    }
}

static uint64_t repeated(uint64_t word, unsigned width)
{
    for (; width < 64; width *= 2) {
        word |= word << width;
    }
    return word;
}

/* How far the high half of a word of 16 << k bits moves, and where the halves lie then. */
typedef struct steps {
    __m128i shift[3];
    __m512i low[3], high[3], together;
} steps;

static steps steps_of(unsigned bits)
{
    steps s;
    uint8_t from[64];
    for (unsigned k = 0; k < 3; k++) {
        unsigned width = 16u << k, held = bits << k; /* bits held by each half */
        uint64_t low = (UINT64_C(1) << held) - 1u;
        s.shift[k] = _mm_cvtsi32_si128((int)(width / 2 - held));
        s.low[k] = words(repeated(low, width));
        s.high[k] = words(repeated(low << held, width));
    }
    for (unsigned j = 0; j < 64; j++) {
        from[j] = (uint8_t)(8 * (j / bits) + j % bits); /* above 8b: wrapped, and not stored */
    }
    s.together = _mm512_loadu_si512(from);
    return s;
}

/* (v & low) | (moved & high); 0xf8 is the truth table of a | (b & c). */
static inline __m512i joined(__m512i v, __m512i moved, __m512i low, __m512i high)
{
    return _mm512_ternarylogic_epi64(_mm512_and_si512(v, low), moved, high, 0xf8);
}

static inline __m512i pack_64(__m512i v, const steps *s)
{
    v = joined(v, _mm512_srl_epi16(v, s->shift[0]), s->low[0], s->high[0]);
    v = joined(v, _mm512_srl_epi32(v, s->shift[1]), s->low[1], s->high[1]);
    v = joined(v, _mm512_srl_epi64(v, s->shift[2]), s->low[2], s->high[2]);
    return _mm512_permutexvar_epi8(s->together, v);
}

/* Whole registers of 4-bit codes: two are one byte, low + 16 high. Returns how many codes. */
static size_t pack_nibbles(const uint8_t *codes, size_t n, uint8_t *stream)
{
    const __m512i mask = _mm512_set1_epi8(15), weights = _mm512_set1_epi16(0x1001);
    size_t i = 0;
    for (; n - i >= 64; i += 64) {
        __m512i v = _mm512_and_si512(_mm512_loadu_si512(codes + i), mask);
        __m256i bytes = _mm512_cvtepi16_epi8(_mm512_maddubs_epi16(v, weights));
        _mm256_storeu_si256((__m256i *)(void *)(stream + i / 2), bytes);
    }
    return i;
}

void qk_pack_codes_avx512vbmi(const uint8_t *codes, size_t n, unsigned bits, uint8_t *stream)
{
    if (bits == 8) {
        if (n > 0) {
            memcpy(stream, codes, n);
        }
        return;
    }
    const steps s = steps_of(bits);
    for (size_t i = bits == 4 ? pack_nibbles(codes, n, stream) : 0; i < n; i += 64) {
        __m512i v = pack_64(load_some(codes + i, n - i), &s);
        store_some(stream + i / 8 * bits, stream_bytes(n - i, bits), v);
    }
}

static inline void unpack(const uint8_t *stream, size_t n, unsigned bits, uint8_t flip,
                          uint8_t *codes)
{
    const cuts c = cuts_of(bits, flip);
    for (size_t i = 0; i < n; i += 64) {
        store_some(codes + i, n - i, cut_64(stream + i / 8 * bits, n - i, &c));
    }
}

void qk_unpack_unsigned_avx512vbmi(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    unpack(stream, n, bits, 0, codes);
}

void qk_unpack_signed_avx512vbmi(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    unpack(stream, n, bits, (uint8_t)(1u << (bits - 1u)), codes);
}

#endif
