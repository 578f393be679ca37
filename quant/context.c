/* SPDX-License-Identifier: Apache-2.0 */
#include "quant/context.h"

#include <omp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/internal.h"

enum { MESSAGE_BYTES = 1024, MAX_THREADS = 256, ALIGNMENT = 64 };

struct quant_context {
    quant_allocator allocator;
    int threads;
    char message[MESSAGE_BYTES];
};

static void *default_alloc(void *user, size_t bytes)
{
    (void)user;
    return malloc(bytes);
}

static void default_release(void *user, void *memory, size_t bytes)
{
    (void)user;
    (void)bytes;
    free(memory);
}

static const quant_allocator default_allocator = {default_alloc, default_release, NULL};

quant_context *quant_context_new(const quant_allocator *allocator)
{
    const quant_allocator *a = allocator ? allocator : &default_allocator;
    quant_context *ctx = a->alloc(a->user, sizeof *ctx);
    if (ctx) {
        ctx->allocator = *a;
        ctx->threads = 1;
        ctx->message[0] = '\0';
    }
    return ctx;
}

void quant_context_free(quant_context *ctx)
{
    if (ctx) {
        quant_allocator a = ctx->allocator;
        a.release(a.user, ctx, sizeof *ctx);
    }
}

void quant_context_set_threads(quant_context *ctx, int threads)
{
    if (!ctx) {
        return;
    }
    int wanted = threads == 0 ? omp_get_num_procs() : threads;
    ctx->threads = wanted < 1 ? 1 : wanted > MAX_THREADS ? MAX_THREADS : wanted;
}

int quant_context_threads(const quant_context *ctx)
{
    return ctx ? ctx->threads : 1;
}

const char *quant_context_message(const quant_context *ctx)
{
    return ctx ? ctx->message : "";
}

/* Copy text into the message with control bytes as \xHH, so that a tensor may be called ESC[31m. */
static void set_message(quant_context *ctx, const char *text)
{
    size_t to = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p && to + 5 < MESSAGE_BYTES; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            to += (size_t)snprintf(ctx->message + to, MESSAGE_BYTES - to, "\\x%02x", *p);
        } else {
            ctx->message[to++] = (char)*p;
        }
    }
    ctx->message[to] = '\0';
}

quant_status quant_fail(quant_context *ctx, quant_status s, const char *format, ...)
{
    if (ctx) {
        char raw[MESSAGE_BYTES];
        va_list args;
        va_start(args, format);
        vsnprintf(raw, sizeof raw, format, args);
        va_end(args);
        set_message(ctx, raw);
    }
    return s;
}

quant_status quant_fail_prefix(quant_context *ctx, quant_status s, const char *prefix)
{
    if (ctx) {
        char rest[MESSAGE_BYTES];
        memcpy(rest, ctx->message, sizeof rest);
        return quant_fail(ctx, s, "%s: %s", prefix, rest);
    }
    return s;
}

/* The allocator promises alignment for any object only, so a block is over-allocated by one
 * alignment and the distance to its true start is kept in the byte before it. */
void *quant_alloc(quant_context *ctx, size_t count, size_t size)
{
    const quant_allocator *a = ctx ? &ctx->allocator : &default_allocator;
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        quant_fail(ctx, QUANT_ENOMEM, "memory: %zu items of %zu bytes do not fit", count, size);
        return NULL;
    }
    unsigned char *start = a->alloc(a->user, bytes + ALIGNMENT);
    if (!start) {
        quant_fail(ctx, QUANT_ENOMEM, "memory: %zu bytes could not be had", bytes);
        return NULL;
    }
    size_t shift = ALIGNMENT - (uintptr_t)start % ALIGNMENT;
    start[shift - 1] = (unsigned char)shift;
    return start + shift;
}

void quant_release(quant_context *ctx, void *memory, size_t count, size_t size)
{
    if (memory) {
        const quant_allocator *a = ctx ? &ctx->allocator : &default_allocator;
        unsigned char *m = memory;
        a->release(a->user, m - m[-1], count * size + ALIGNMENT);
    }
}
