/* SPDX-License-Identifier: Apache-2.0 */
/* neon.h - the NEON level: what its files share. Off little-endian AArch64 they are empty; on it
 * there is nothing to ask the processor, Advanced SIMD being a part of the architecture.
 *
 * Tails go to the scalar functions, which are the specification anyway. */
#ifndef QUANT_KERNELS_NEON_H
#define QUANT_KERNELS_NEON_H

#include "kernels/kernels.h"

#define QK_OP(op, cls) qk_##cls##_fn qk_##op##_neon;
#include "kernels/neon.def"
#undef QK_OP

#if defined(__aarch64__) && defined(__ARM_NEON) && !defined(__AARCH64EB__)
#define QK_HAS_NEON 1
#include <arm_neon.h>

/* Before a loop over an array of a few vectors: at -O2 GCC would keep both as they are written, and
 * the vectors in memory. */
#if defined(__clang__)
#define QK_UNROLLED _Pragma("clang loop unroll(full)")
#else
#define QK_UNROLLED _Pragma("GCC unroll 16")
#endif
#endif

#endif
