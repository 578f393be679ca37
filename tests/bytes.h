/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bytes.h - files made in memory, byte by byte, for the suites of the readers. */
#ifndef QUANT_TESTS_BYTES_H
#define QUANT_TESTS_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "quant/bank/bank.h"

typedef struct bytes {
    unsigned char *at;
    size_t count, room;
} bytes;

void bytes_add(bytes *b, const void *data, size_t count);
void bytes_zero(bytes *b, size_t count);
void bytes_pad(bytes *b, size_t multiple);
/* Lowest `width` bytes of value, little-endian. */
void bytes_number(bytes *b, uint64_t value, int width);
void bytes_free(bytes *b);

/* Append what a line of words says:
 *   r:TEXT raw text; s:TEXT u64 length and text; b: w: d: q: a number of 1, 2, 4, 8 bytes;
 *   z:N zero bytes; f:N bytes 0xff; p:N pad with zeros to a multiple of N.
 * Numbers are decimal, 0x.., 2^K, or 2^K-M / 2^K+M. */
void bytes_assemble(bytes *b, const char *line);

/* u64 length, header, `data` bytes that count 0, 1, 2, ... */
void bytes_safetensors(bytes *b, const char *header, size_t length, size_t data);
/* An .npy file of version MAJOR.MINOR whose literal is padded as numpy does. */
void bytes_npy(bytes *b, int major, int minor, const char *literal, size_t length, size_t data);

/* Write to a scratch file of that name; the path is test_scratch_path's. */
const char *bytes_save(const bytes *b, const char *name);
const char *bytes_save_text(const char *name, const char *text);

/* Open as a bank; a failure is the test's, NULL then. bytes_open frees b. */
quant_bank *bytes_open(quant_context *ctx, bytes *b);
quant_bank *bytes_open_path(quant_context *ctx, const char *path);

#endif
