/* SPDX-License-Identifier: GPL-3.0-or-later */
/* output.h - a file that appears whole or not at all.
 *
 * The bytes go to a temporary file .NAME.PID.RANDOM.tmp beside the target (mode 0600 until it is
 * complete); commit makes it durable and renames it over the target (fsync, rename, fsync of the
 * folder). Until then, and after any failure before the rename, the target is what it was. Input
 * and output may be the same path. INT, TERM, HUP, XFSZ and PIPE remove the temporary file when
 * quant_output_guard_signals was called; what SIGKILL or a power cut leaves behind is removed by
 * the next run that writes the same target, once the process that made it is gone. */
#ifndef QUANT_BANK_OUTPUT_H
#define QUANT_BANK_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#include "quant/context.h"

typedef struct quant_output quant_output;

/* Begin. bytes, when known, is the exact final size: it is reserved now, so that a full disk says
 * so at once, and commit insists on it; 0 otherwise. QUANT_EIO when path is anything but a regular
 * file or a free name (folder, FIFO, device, socket), is write-protected or cannot be created. An
 * existing file will be replaced at commit and keeps its permissions; a new one gets 0666 less
 * the umask. A symbolic link stays a link: the file that it leads to is replaced; a link that
 * leads nowhere is refused. At most 16 outputs may be open in a process (QUANT_ELIMIT). */
quant_status quant_output_open(quant_context *ctx, const char *path, uint64_t bytes,
                               quant_output **out);
/* Write count bytes at offset; pieces may come in any order. */
quant_status quant_output_write(quant_context *ctx, quant_output *out, uint64_t offset,
                                const void *data, size_t count);
/* Make it durable and visible. Frees out in any case. When only the very last step fails, the sync
 * of the folder, the target already is the complete new file and the message says so. */
quant_status quant_output_commit(quant_context *ctx, quant_output *out);
/* Give up: remove the temporary file, free out. NULL allowed. */
void quant_output_discard(quant_context *ctx, quant_output *out);
/* Install handlers that remove the temporary files and end with 128 + signal; a signal that the
 * process was told to ignore stays ignored. For commands. */
void quant_output_guard_signals(void);

#endif
