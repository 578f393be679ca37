/* SPDX-License-Identifier: GPL-3.0-or-later */
/* output.h - a file that appears whole or not at all.
 *
 * The bytes go to a temporary file .NAME.PID.RANDOM.tmp beside the target; commit makes it durable
 * and renames it over the target (fsync, rename, fsync of the folder). Until then, and after any
 * failure, the target is what it was. Input and output may be the same path. INT, TERM, HUP,
 * XFSZ and PIPE remove the temporary file when quant_output_guard_signals was called. */
#ifndef QUANT_BANK_OUTPUT_H
#define QUANT_BANK_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "quant/context.h"

typedef struct quant_output quant_output;

/* Begin. bytes, when known, are reserved now, so that a full disk says so at once; 0 otherwise.
 * QUANT_EIO when path is a folder, a FIFO or cannot be created. An existing regular file will
 * be replaced at commit and keeps its mode. */
quant_status quant_output_open(quant_context *ctx, const char *path, uint64_t bytes,
                               quant_output **out);
/* Write count bytes at offset; pieces may come in any order. */
quant_status quant_output_write(quant_context *ctx, quant_output *out, uint64_t offset,
                                const void *data, size_t count);
/* Make it durable and visible. Frees out in any case. */
quant_status quant_output_commit(quant_context *ctx, quant_output *out);
/* Give up: remove the temporary file, free out. NULL allowed. */
void quant_output_discard(quant_context *ctx, quant_output *out);
/* Install handlers that remove the temporary file and end with 128 + signal. For commands. */
void quant_output_guard_signals(void);

#endif
