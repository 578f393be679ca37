/* SPDX-License-Identifier: Apache-2.0 */
/* avx2_pack.c - bit streams of any width, by doubling: bytes to 16, 32 and 64-bit words.
 *
 * Eight codes of b bits fill exactly b bytes. In a 64-bit word of eight bytes, three steps join
 * neighbours: (low half) | (high half moved down to touch it); then the b bytes of the words are
 * pushed together by a shuffle. Unpacking runs the steps backwards. Vectors are loaded and stored
 * 16 bytes at a time, so the last few codes, where that would pass the end, go to scalar. */
#include "kernels/avx2.h"

#if defined(QK_HAS_AVX2)
#include <stdbool.h>
#include <string.h>

/* What the three steps need for one width: how far the high half moves, and where the low and
 * the joined high half lie. */
typedef struct steps {
    __m128i shift[3];
    __m256i low[3], high[3];
    __m256i shuffle;
} steps;

static uint64_t repeated(uint64_t word, unsigned width)
{
    for (; width < 64; width *= 2) {
        word |= word << width;
    }
    return word;
}

/* Byte j of the packed half register comes from byte j % bits of word j / bits; 0x80 gives 0. */
static __m256i push_together(unsigned bits)
{
    uint8_t from[16];
    for (unsigned j = 0; j < 16; j++) {
        from[j] = (uint8_t)(j < 2 * bits ? 8 * (j / bits) + j % bits : 0x80u);
    }
    return _mm256_broadcastsi128_si256(load_half(from));
}

static __m256i pull_apart(unsigned bits)
{
    uint8_t from[16];
    for (unsigned j = 0; j < 16; j++) {
        from[j] = (uint8_t)(j % 8 < bits ? (j / 8) * bits + j % 8 : 0x80u);
    }
    return _mm256_broadcastsi128_si256(load_half(from));
}

static steps steps_of(unsigned bits, bool pack)
{
    steps s;
    for (unsigned k = 0; k < 3; k++) {
        unsigned width = 16u << k, held = bits << k; /* bits held by each half */
        uint64_t low = (UINT64_C(1) << held) - 1u;
        s.shift[k] = _mm_cvtsi32_si128((int)(width / 2 - held));
        s.low[k] = _mm256_set1_epi64x((long long)repeated(low, width));
        s.high[k] = _mm256_set1_epi64x(
            (long long)repeated(pack ? low << held : low << width / 2, width));
    }
    s.shuffle = pack ? push_together(bits) : pull_apart(bits);
    return s;
}

/* Only the low bits of each byte are looked at. */
static inline __m256i join(__m256i v, const steps *s)
{
    v = _mm256_or_si256(_mm256_and_si256(v, s->low[0]),
                        _mm256_and_si256(_mm256_srl_epi16(v, s->shift[0]), s->high[0]));
    v = _mm256_or_si256(_mm256_and_si256(v, s->low[1]),
                        _mm256_and_si256(_mm256_srl_epi32(v, s->shift[1]), s->high[1]));
    v = _mm256_or_si256(_mm256_and_si256(v, s->low[2]),
                        _mm256_and_si256(_mm256_srl_epi64(v, s->shift[2]), s->high[2]));
    return _mm256_shuffle_epi8(v, s->shuffle);
}

static inline __m256i separate(__m256i v, const steps *s)
{
    v = _mm256_shuffle_epi8(v, s->shuffle);
    v = _mm256_or_si256(_mm256_and_si256(v, s->low[2]),
                        _mm256_and_si256(_mm256_sll_epi64(v, s->shift[2]), s->high[2]));
    v = _mm256_or_si256(_mm256_and_si256(v, s->low[1]),
                        _mm256_and_si256(_mm256_sll_epi32(v, s->shift[1]), s->high[1]));
    return _mm256_or_si256(_mm256_and_si256(v, s->low[0]),
                           _mm256_and_si256(_mm256_sll_epi16(v, s->shift[0]), s->high[0]));
}

/* How many codes of a row can go 32 at a time: the second half register of the last 32 begins
 * 2 * bits bytes into their 4 * bits and is 16 bytes long. */
static size_t whole(size_t n, unsigned bits)
{
    size_t full = n / 32 * 32, spare = 16u - 2u * bits; /* bytes past the last 32 codes */
    size_t beyond = (n - full) * bits / 8;              /* whole bytes that follow them */
    while (full > 0 && beyond < spare) {
        full -= 32;
        beyond += 4u * (size_t)bits;
    }
    return full;
}

void qk_pack_codes_avx2(const uint8_t *codes, size_t n, unsigned bits, uint8_t *stream)
{
    const size_t full = whole(n, bits);
    if (bits == 8) {
        if (n > 0) {
            memcpy(stream, codes, n);
        }
        return;
    }
    if (full > 0) {
        const steps s = steps_of(bits, true);
        for (size_t i = 0; i < full; i += 32) {
            __m256i v = join(load_bytes(codes + i), &s);
            uint8_t *to = stream + i / 8 * bits;
            store_half(to, _mm256_castsi256_si128(v));
            store_half(to + 2 * bits, _mm256_extracti128_si256(v, 1));
        }
    }
    qk_pack_codes_scalar(codes + full, n - full, bits, stream + full / 8 * bits);
}

/* `flip` is the top bit of a code when it carries a sign, 0 otherwise: (c ^ flip) - flip. */
static inline void unpack_whole(const uint8_t *stream, size_t full, unsigned bits, uint8_t flip,
                                uint8_t *codes)
{
    const steps s = steps_of(bits, false);
    const __m256i top = _mm256_set1_epi8((char)flip);
    for (size_t i = 0; i < full; i += 32) {
        const uint8_t *from = stream + i / 8 * bits;
        __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(load_half(from)),
                                            load_half(from + 2 * bits), 1);
        v = separate(v, &s);
        store_bytes(codes + i, _mm256_sub_epi8(_mm256_xor_si256(v, top), top));
    }
}

void qk_unpack_unsigned_avx2(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    const size_t full = whole(n, bits);
    if (full > 0) {
        unpack_whole(stream, full, bits, 0, codes);
    }
    qk_unpack_unsigned_scalar(stream + full / 8 * bits, n - full, bits, codes + full);
}

void qk_unpack_signed_avx2(const uint8_t *stream, size_t n, unsigned bits, uint8_t *codes)
{
    const size_t full = whole(n, bits);
    if (full > 0) {
        unpack_whole(stream, full, bits, (uint8_t)(1u << (bits - 1u)), codes);
    }
    qk_unpack_signed_scalar(stream + full / 8 * bits, n - full, bits, codes + full);
}

#endif
