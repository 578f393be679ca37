/* SPDX-License-Identifier: Apache-2.0 */
/* avx512.h - the AVX-512 levels: what their files share. A file is empty where the compiler was not
 * given the features of its level.
 *
 * Tails are masked: a masked load reads, and a masked store writes, the chosen elements only. */
#ifndef QUANT_KERNELS_AVX512_H
#define QUANT_KERNELS_AVX512_H

#include "kernels/kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define QK_HAS_AVX512 1
#include <immintrin.h>

/* A helper whose constants or function arguments are to be seen by the compiler in every call. */
#define QK_INLINE static inline __attribute__((always_inline))

#define QK_OP(op, cls) qk_##cls##_fn qk_##op##_avx512;
#include "kernels/avx512.def"
#undef QK_OP
#if defined(__AVX512VNNI__)
#define QK_HAS_AVX512VNNI 1
#define QK_OP(op, cls) qk_##cls##_fn qk_##op##_avx512vnni;
#include "kernels/avx512vnni.def"
#undef QK_OP
#endif
#if defined(__AVX512VBMI__) && defined(__AVX512VBMI2__)
#define QK_HAS_AVX512VBMI 1
#define QK_OP(op, cls) qk_##cls##_fn qk_##op##_avx512vbmi;
#include "kernels/avx512vbmi.def"
#undef QK_OP
#endif

/* The first min(left, 16) of sixteen elements. */
static inline __mmask16 first_of_16(size_t left)
{
    return (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1u);
}

/* Sixteen floats to y, into the caches or past them; past them y is on a line of 64 bytes. */
static inline void put_16(float *y, __m512 v, bool past)
{
    if (past) {
        _mm512_stream_ps(y, v);
    } else {
        _mm512_storeu_ps(y, v);
    }
}

/* Memory is asked for what a stream reads next, line by line between the stores: asked for in
 * bursts, or left to notice by itself that few bytes are read beside many that are written, it
 * comes late. Near the end it is asked for what nobody reads, which no address forbids. */
QK_INLINE void prefetch_ahead(const void *x, bool past)
{
    enum { AHEAD = 2048 };
    if (past) {
        _mm_prefetch((const char *)((uintptr_t)x + AHEAD), _MM_HINT_T0);
    }
}

/* How many of n elements come before the first line of 64 bytes; none where lines do not matter. */
static inline size_t before_line(const float *y, size_t n, bool past)
{
    size_t lead = past ? (size_t)(-(uintptr_t)y / sizeof *y % 16) : 0;
    return lead < n ? lead : n;
}

/* Masks of four registers as one of 64 bits, the first in the low bits. */
static inline uint64_t join_masks(__mmask16 a, __mmask16 b, __mmask16 c, __mmask16 d)
{
    __mmask32 low = _mm512_kunpackw(b, a), high = _mm512_kunpackw(d, c);
    return (uint64_t)_mm512_kunpackd(high, low);
}
#endif

#endif
