/* SPDX-License-Identifier: Apache-2.0 */
/* avx512vbmi_codebook.c - tables of 256 floats as four planes of bytes: a plane is four registers,
 * two permutations look 64 codes up in its halves, and the top bit of a code chooses. The bytes of
 * the planes are then joined to floats, two steps inside lanes of 16 bytes; the codes are put
 * beforehand where that brings them back into order. Smaller tables need fewer looks: avx512. */
#include "kernels/avx512.h"

#if defined(QK_HAS_AVX512VBMI)

enum { ENTRIES = 256 };

/* The quarters of a plane. */
typedef struct plane {
    __m512i a, b, c, d;
} plane;

/* Byte `which` of 64 entries. Kept out of memory: a load that gathers several stores would wait for
 * all stores before it, also those past the caches. */
static inline __m512i quarter_of(const float *table, int which)
{
    const __m128i shift = _mm_cvtsi32_si128(8 * which);
    __m512i a = _mm512_srl_epi32(_mm512_loadu_si512(table), shift);
    __m512i b = _mm512_srl_epi32(_mm512_loadu_si512(table + 16), shift);
    __m512i c = _mm512_srl_epi32(_mm512_loadu_si512(table + 32), shift);
    __m512i d = _mm512_srl_epi32(_mm512_loadu_si512(table + 48), shift);
    __m512i v = _mm512_castsi128_si512(_mm512_cvtepi32_epi8(a));
    v = _mm512_inserti32x4(v, _mm512_cvtepi32_epi8(b), 1);
    v = _mm512_inserti32x4(v, _mm512_cvtepi32_epi8(c), 2);
    return _mm512_inserti32x4(v, _mm512_cvtepi32_epi8(d), 3);
}

static inline plane plane_of(const float *table, int which)
{
    plane p = {quarter_of(table, which), quarter_of(table + 64, which),
               quarter_of(table + 128, which), quarter_of(table + 192, which)};
    return p;
}

static inline __m512i look(const plane *p, __m512i k, __mmask64 upper)
{
    return _mm512_mask_blend_epi8(upper, _mm512_permutex2var_epi8(p->a, k, p->b),
                                  _mm512_permutex2var_epi8(p->c, k, p->d));
}

/* Of lane l and word r of it come the values 4l .. 4l + 3 of the r-th register: byte i is code
 * 16 (i / 4 % 4) + 4 (i / 16) + i % 4. */
static inline __m512i places(void)
{
    const __m512i first = _mm512_set_epi32(60, 44, 28, 12, 56, 40, 24, 8, 52, 36, 20, 4, 48, 32, 16,
                                           0);
    const __m512i four = _mm512_mullo_epi32(first, _mm512_set1_epi32(0x01010101));
    return _mm512_add_epi8(four, _mm512_set1_epi32(0x03020100));
}

/* Whole registers of codes from a line of 64 bytes of y on; returns where they end. The lines of
 * codes that follow are asked for one by one. */
QK_INLINE size_t decode(const uint8_t *codes, size_t i, size_t n, const float *table, float *y,
                        bool past)
{
    const __m512i order = places();
    const plane p = plane_of(table, 0), q = plane_of(table, 1);
    const plane r = plane_of(table, 2), s = plane_of(table, 3);
    for (; n - i >= 64; i += 64) {
        prefetch_ahead(codes + i, true);
        const __m512i k = _mm512_permutexvar_epi8(order, _mm512_loadu_si512(codes + i));
        const __mmask64 upper = _mm512_movepi8_mask(k);
        const __m512i a = look(&p, k, upper), b = look(&q, k, upper);
        const __m512i c = look(&r, k, upper), d = look(&s, k, upper);
        const __m512i ab = _mm512_unpacklo_epi8(a, b), cd = _mm512_unpacklo_epi8(c, d);
        const __m512i ef = _mm512_unpackhi_epi8(a, b), gh = _mm512_unpackhi_epi8(c, d);
        put_16(y + i, _mm512_castsi512_ps(_mm512_unpacklo_epi16(ab, cd)), past);
        put_16(y + i + 16, _mm512_castsi512_ps(_mm512_unpackhi_epi16(ab, cd)), past);
        put_16(y + i + 32, _mm512_castsi512_ps(_mm512_unpacklo_epi16(ef, gh)), past);
        put_16(y + i + 48, _mm512_castsi512_ps(_mm512_unpackhi_epi16(ef, gh)), past);
    }
    return i;
}

QK_INLINE void decode_any(const uint8_t *codes, size_t n, const float *table, size_t entries,
                          float *y, bool past)
{
    qk_decode_codebook_fn *small = past ? qk_stream_codebook_avx512 : qk_decode_codebook_avx512;
    const size_t lead = before_line(y, n, past);
    if (entries != ENTRIES || n - lead < ENTRIES) { /* the planes would cost more */
        small(codes, n, table, entries, y);
        return;
    }
    qk_decode_codebook_avx512(codes, lead, table, entries, y);
    const size_t end = decode(codes, lead, n, table, y, past);
    qk_decode_codebook_avx512(codes + end, n - end, table, entries, y + end);
}

void qk_decode_codebook_avx512vbmi(const uint8_t *codes, size_t n, const float *table,
                                   size_t entries, float *y)
{
    decode_any(codes, n, table, entries, y, false);
}

void qk_stream_codebook_avx512vbmi(const uint8_t *codes, size_t n, const float *table,
                                   size_t entries, float *y)
{
    decode_any(codes, n, table, entries, y, true);
}

#endif
