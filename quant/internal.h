/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - what the sources of libquant and libquantlab share; not installed. */
#ifndef QUANT_INTERNAL_H
#define QUANT_INTERNAL_H

#include <stddef.h>

#include "quant/context.h"

#if defined(__GNUC__)
#define QUANT_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define QUANT_NODISCARD __attribute__((warn_unused_result))
#else
#define QUANT_PRINTF(f, a)
#define QUANT_NODISCARD
#endif

/* Record a formatted line in ctx (NULL: drop it) and return s, so that a failing function reads
 *     return quant_fail(ctx, QUANT_ERANGE, "axis: expected 0..%d, found %d", rank - 1, axis);
 * Bytes below 0x20 and 0x7f in the result are written as \xHH; the line is cut at 1023 bytes. */
quant_status quant_fail(quant_context *ctx, quant_status s, const char *format, ...)
    QUANT_PRINTF(3, 4);

/* Put "PREFIX: " before the message of the last failure and return s: how a reader adds the
 * file, an encoder the tensor. */
quant_status quant_fail_prefix(quant_context *ctx, quant_status s, const char *prefix);

/* count * size bytes from the context's allocator, 64-byte aligned, not cleared; an overflowing
 * product or an exhausted allocator gives NULL and a message. count * size = 0 gives a valid
 * pointer. Release with the very same count and size; NULL is allowed there. */
QUANT_NODISCARD void *quant_alloc(quant_context *ctx, size_t count, size_t size);
void quant_release(quant_context *ctx, void *memory, size_t count, size_t size);

/* Natural logarithm of a finite x > 0 in operations that IEEE 754 fixes to the last bit, so that
 * whatever is drawn through it is the same for every compiler and libm. Bounds in random.c. */
double quant_log(double x);

/* Return from the calling function on any failure. */
#define QUANT_TRY(call)                        \
    do {                                       \
        quant_status quant_try_ = (call);      \
        if (quant_try_ != QUANT_OK) {          \
            return quant_try_;                 \
        }                                      \
    } while (0)

#endif
