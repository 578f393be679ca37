/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source.h - one file, opened for reading and remembered.
 *
 * Regular files only: a folder, FIFO, device or socket is QUANT_EIO and never blocks. Nothing is
 * mapped, so a file that shrinks under us is a status and not a signal. */
#ifndef QUANT_BANK_SOURCE_H
#define QUANT_BANK_SOURCE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "quant/context.h"

typedef struct quant_source {
    int fd;
    char *path;
    size_t path_bytes; /* of the allocation */
    uint64_t size;
    dev_t device;
    ino_t inode;
    struct timespec changed;
} quant_source;

/* On failure nothing is left open. Messages begin with the path. */
quant_status quant_source_open(quant_context *ctx, const char *path, quant_source *source);
void quant_source_close(quant_context *ctx, quant_source *source);

/* Bytes [offset, offset+count) into out. Asking beyond source->size is QUANT_ETRUNC; an end that
 * comes earlier than that size is QUANT_EIO. The message has no path. */
quant_status quant_source_read(quant_context *ctx, const quant_source *source, uint64_t offset,
                               void *out, size_t count);

/* QUANT_EIO when size, time or inode are no longer those of the opening. */
quant_status quant_source_unchanged(quant_context *ctx, const quant_source *source);

/* Says in words what a file is that only looks like a bank: Git LFS pointer, web page, gzip, zip,
 * ...; NULL when none of those. head[bytes] is its beginning. */
const char *quant_source_accident(const unsigned char *head, size_t bytes);

#endif
