/* SPDX-License-Identifier: Apache-2.0 */
/* context.h - allocator, thread count and last message of a caller.
 *
 * Every function that may fail takes a context first. NULL is always allowed and means: malloc,
 * one thread, message dropped. A context may be used by one thread at a time; different contexts
 * are independent. */
#ifndef QUANT_CONTEXT_H
#define QUANT_CONTEXT_H

#include <stddef.h>

#include "quant/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct quant_context quant_context;

/* Hooks for all scratch memory. alloc returns NULL on failure, otherwise memory aligned for any
 * object; bytes > 0. release gets what alloc gave, with the same byte count. When threads > 1 the
 * library still calls both hooks from the calling thread only. */
typedef struct quant_allocator {
    void *(*alloc)(void *user, size_t bytes);
    void (*release)(void *user, void *memory, size_t bytes);
    void *user;
} quant_allocator;

/* A context with one thread; allocator NULL means malloc and free, otherwise it is copied.
 * Returns NULL when memory is short. */
quant_context *quant_context_new(const quant_allocator *allocator);
void quant_context_free(quant_context *ctx); /* NULL is allowed */

/* Threads used inside one call; 0 means all processors, values above 256 mean 256. Results do not
 * depend on it. */
void quant_context_set_threads(quant_context *ctx, int threads);
int quant_context_threads(const quant_context *ctx);

/* One line on the last failure of this context, "" when there was none. Valid until the next call
 * that uses the context. Control bytes in names are escaped. */
const char *quant_context_message(const quant_context *ctx);

#ifdef __cplusplus
}
#endif
#endif
