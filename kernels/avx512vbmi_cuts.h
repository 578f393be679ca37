/* SPDX-License-Identifier: Apache-2.0 */
/* avx512vbmi_cuts.h - 64 codes out of a bit stream: every 64-bit word is given its b bytes by one
 * permutation, and eight fields are cut out of it by one multishift. */
#ifndef QUANT_KERNELS_AVX512VBMI_CUTS_H
#define QUANT_KERNELS_AVX512VBMI_CUTS_H

#include "kernels/avx512.h"

#if defined(QK_HAS_AVX512VBMI)

/* The first min(left, 64) of 64 bytes. */
static inline __mmask64 first_of_64(size_t left)
{
    return left >= 64 ? ~(__mmask64)0 : (((__mmask64)1 << left) - 1u);
}

static inline size_t stream_bytes(size_t codes, unsigned bits)
{
    return (codes * bits + 7) / 8;
}

/* Up to 64 bytes; behind the `left` ones there are none. */
static inline __m512i load_some(const uint8_t *from, size_t left)
{
    return left >= 64 ? _mm512_loadu_si512(from)
                      : _mm512_maskz_loadu_epi8(first_of_64(left), from);
}

static inline __m512i words(uint64_t word)
{
    return _mm512_set1_epi64((long long)word);
}

typedef struct cuts {
    __m512i apart, where, mask, top;
    unsigned bits;
} cuts;

/* `flip` is the top bit of a code when it carries a sign, 0 otherwise: (c ^ flip) - flip. */
static inline cuts cuts_of(unsigned bits, uint8_t flip)
{
    /* Byte j of word k is byte k bits + j of the stream: those behind the word's own are cut off.
     * Products of bytes that stay bytes. A table that was stored byte by byte would wait for all
     * stores before it to be loaded whole, also for those past the caches. */
    const uint64_t count = UINT64_C(0x0706050403020100);
    const __m512i word = _mm512_set_epi64(0x0707070707070707, 0x0606060606060606,
                                          0x0505050505050505, 0x0404040404040404,
                                          0x0303030303030303, 0x0202020202020202,
                                          0x0101010101010101, 0);
    const __m512i begin = _mm512_mullo_epi16(word, _mm512_set1_epi16((short)bits));
    cuts c = {_mm512_add_epi8(begin, words(count)), words(count * bits),
              _mm512_set1_epi8((char)(uint8_t)((1u << bits) - 1u)), _mm512_set1_epi8((char)flip),
              bits};
    return c;
}

/* The next codes, a byte each; behind the `left` ones the bytes mean nothing. */
static inline __m512i cut_64(const uint8_t *stream, size_t left, const cuts *c)
{
    __m512i v = load_some(stream, stream_bytes(left, c->bits));
    v = _mm512_multishift_epi64_epi8(c->where, _mm512_permutexvar_epi8(c->apart, v));
    v = _mm512_xor_si512(_mm512_and_si512(v, c->mask), c->top);
    return _mm512_sub_epi8(v, c->top);
}

#endif
#endif
