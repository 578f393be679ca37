/* SPDX-License-Identifier: Apache-2.0 */
/* quant.h - libquant: quantize numbers and know what that cost.
 *
 * The tour, simple things first. Each header below is short and says shapes, units, aliasing,
 * failures and cost.
 *
 *   quant/status.h    what functions return
 *   quant/context.h   allocator, threads, message; NULL is a context too
 *   quant/shape.h     row-major shapes
 *   quant/scheme.h    "int4:block=32" and its parsed form
 *   quant/encode.h    three calls: layout, encode, decode
 *   quant/fidelity.h  cosine, relative error, SQNR, MSE, max error in one pass
 *   quant/predict.h   the error of a scheme from a tensor's statistics
 *   quant/observer.h  ranges and histograms of activations, and 8-bit grids for them
 *   quant/activation.h  activations as integers, and weights as integers to multiply them with
 *   quant/kmeans1d.h  globally optimal codebooks
 *   quant/gemm.h      products of 8-bit integer matrices, exact in 32 bits
 *   quant/gemv.h      a packed matrix times a vector of floats or of int8
 *   quant/random.h    counter-based random numbers
 *
 * Other people's CUnit suites include <quant/assert.h> as well.
 *
 * Thread safety: every function is safe to call from several threads with different contexts.
 * The library never prints, exits or aborts, and keeps no state but the kernel dispatch table,
 * which is filled once. */
#ifndef QUANT_QUANT_H
#define QUANT_QUANT_H

#include "quant/status.h"
#include "quant/context.h"
#include "quant/shape.h"
#include "quant/scheme.h"
#include "quant/encode.h"
#include "quant/fidelity.h"
#include "quant/predict.h"
#include "quant/observer.h"
#include "quant/activation.h"
#include "quant/kmeans1d.h"
#include "quant/gemm.h"
#include "quant/gemv.h"
#include "quant/random.h"

#define QUANT_VERSION_MAJOR 0
#define QUANT_VERSION_MINOR 1
#define QUANT_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0", of the library that runs. */
const char *quant_version(void);
/* Name of the instruction set level in use: "scalar", "neon", "avx2", "avx512", ... */
const char *quant_isa(void);

#ifdef __cplusplus
}
#endif
#endif
